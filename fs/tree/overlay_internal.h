#ifndef OVERLAY_INTERNAL_H_
#define OVERLAY_INTERNAL_H_

/* An overlay as the files of this folder see it: they walk it.  Outsiders use overlay.h. */

#include "key.h"
#include "overlay.h"
#include "skip.h"

/* Flags of an entry. */
#define ENTRY_GONE 0x01u    /* a tombstone; it has no value */
#define ENTRY_PENDING 0x02u /* on the pending list */
#define ENTRY_DEAD 0x04u    /* unlinked while on the pending list */

struct overlay {
	struct skip entries;	     /* key: value or tombstone */
	struct skip ranges;	     /* from: to; disjoint, never adjacent */
	struct skip pending_ranges;  /* those deleted since the last delta */
	struct skip_node *pending;   /* newest first; dead ones among them */
	size_t n_pending;	     /* on that list */
	size_t pending_bytes;	     /* records of those not dead */
	uint64_t n_changes;	     /* made by operations so far */
	struct overlay_trace *trace; /* borrowed; NULL: none */
};

#define RECORD_PUT 1u
#define RECORD_DEL 2u
#define RECORD_RANGE 3u
#define RECORD_HEAD_MAX 5u

/* The bytes of the record of an entry, as it is now. */
static inline size_t entry_record_len(const struct skip_node *n)
{
	return n->flags & ENTRY_GONE ? (size_t)3 + n->key_len
				     : (size_t)5 + n->key_len + n->value_len;
}

/* Changes that become pending or not. */
void overlay_change(struct overlay *ov, const void *key, size_t key_len, const void *value,
		    size_t value_len, bool gone, bool pending);
void overlay_change_range(struct overlay *ov, const void *from, size_t from_len, const void *to,
			  size_t to_len, bool pending);

/* Append the record of a change to ov->trace.  ${value} NULL: of RECORD_DEL. */
void overlay_trace_record(const struct overlay *ov, uint8_t type, const void *key, size_t key_len,
			  const void *value, size_t value_len);

/*
 * overlay_seek(): the first entry with key >= ${key}, or NULL.  overlay_seek_range(): the first
 * range that ends after ${key}, or NULL.
 */
static inline const struct skip_node *overlay_seek(const struct overlay *ov, const void *key,
						   size_t len)
{
	return skip_seek(&ov->entries, key, len);
}

const struct skip_node *overlay_seek_range(const struct overlay *ov, const void *key, size_t len);

#endif /* !OVERLAY_INTERNAL_H_ */
