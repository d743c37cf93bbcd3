#ifndef OVERLAY_INTERNAL_H_
#define OVERLAY_INTERNAL_H_

/* The structure of an overlay, for the files of this folder.  Outsiders use overlay.h. */

#include "key.h"
#include "overlay.h"
#include "skip.h"

/* Flags of an entry. */
#define ENTRY_GONE 0x01u    /* a tombstone, without a value */
#define ENTRY_PENDING 0x02u /* on the pending list */
#define ENTRY_DEAD 0x04u    /* unlinked from the entries, but still on the pending list */

struct overlay {
	struct skip entries;	     /* key to value or tombstone */
	struct skip ranges;	     /* begin to end of a range; disjoint, never adjacent */
	struct skip pending_ranges;  /* those deleted since the last delta */
	struct skip_node *pending;   /* newest first; includes dead entries */
	size_t n_pending;	     /* entries on that list */
	size_t pending_bytes;	     /* length of the records of those not dead */
	uint64_t n_changes;	     /* made by operations so far */
	struct overlay_trace *trace; /* borrowed; NULL if off */
};

#define RECORD_PUT 1u
#define RECORD_DEL 2u
#define RECORD_RANGE 3u
#define RECORD_HEAD_MAX 5u

/* The length of an entry's record, as the entry is now. */
static inline size_t entry_record_len(const struct skip_node *n)
{
	return n->flags & ENTRY_GONE ? (size_t)3 + n->key_len
				     : (size_t)5 + n->key_len + n->value_len;
}

/* Change one key; ${pending}: the change goes into the next delta. */
void overlay_change(struct overlay *ov, const void *key, size_t key_len, const void *value,
		    size_t value_len, bool gone, bool pending);
void overlay_change_range(struct overlay *ov, const void *from, size_t from_len, const void *to,
			  size_t to_len, bool pending);

/* Append a change's record to ov->trace; for RECORD_DEL ${value} is NULL. */
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
