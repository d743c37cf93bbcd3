#ifndef OVERLAY_H_
#define OVERLAY_H_

/*
 * Item changes in memory: an ordered map of key to value or tombstone, plus deleted key ranges, to
 * be laid over a tree.  Within one overlay, a range deletion acts on what lies below (older
 * overlays and the tree) and on the overlay's own earlier entries; later puts stand above it.  Not
 * locked: the caller's lock covers it.  Functions on a const overlay change nothing, so one that no
 * longer changes can be read by any number of threads.
 *
 * An overlay remembers which changes are not yet in a delta ("pending"); overlay_take_delta() gives
 * their net effect.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct overlay;

#define TREE_KEY_MAX 320u /* bytes; at least 1 */
#ifndef TREE_VALUE_MAX /* the simulation has a smaller one, so that the records of deltas are smaller too */
#define TREE_VALUE_MAX 4352u
#endif

/* Returns 0 or -ENOMEM.  overlay_free(NULL) is a no-op. */
MUST_CHECK int overlay_new(struct overlay **out);
void overlay_free(struct overlay *ov);

/*
 * overlay_reserve(ov, n, bytes): make sure that ${n} further changes with together ${bytes} bytes
 * of keys and values cannot fail for memory.  An operation reserves for all its changes first, so
 * that it is applied whole or not at all.  Returns 0 or -ENOMEM.
 */
MUST_CHECK int overlay_reserve(struct overlay *ov, size_t n, size_t bytes);

/*
 * Changes; each becomes pending.  Room was reserved, and lengths are within the limits above
 * (asserted).  Overlapping and adjacent ranges become one.  An empty range [from, to), to <= from,
 * changes nothing.
 */
void overlay_put(struct overlay *ov, const void *key, size_t key_len, const void *value,
		 size_t value_len);
void overlay_del(struct overlay *ov, const void *key, size_t key_len);
void overlay_del_range(struct overlay *ov, const void *from, size_t from_len, const void *to,
		       size_t to_len);

/*
 * overlay_trace(ov, t): from now on each change is also appended to ${t} as a record of a delta,
 * in the order of the changes; NULL: no more.  ${t} is borrowed; that the records have room in it
 * is the caller's to see to (asserted).
 */
struct overlay_trace {
	uint8_t *p;
	size_t len, cap;
};

void overlay_trace(struct overlay *ov, struct overlay_trace *t);

enum overlay_hit { OVERLAY_MISS, OVERLAY_FOUND, OVERLAY_GONE };

/*
 * overlay_get(): FOUND with a borrowed value (until the key's next change); GONE: deleted here (key
 * or range); MISS: look below.
 */
enum overlay_hit overlay_get(const struct overlay *ov, const void *key, size_t key_len,
			     const uint8_t **out_value, size_t *out_len);

/*
 * overlay_bytes(ov): memory in use, beside what is set ready (a few times the largest reserve, or
 * some 1.5 MiB); 0: nothing was ever changed.
 * overlay_pending_bytes(ov): what overlay_take_delta() would add; 0: nothing pending.
 * overlay_changes(ov): calls of overlay_put(), overlay_del() and overlay_del_range() so far.
 */
size_t overlay_bytes(const struct overlay *ov);
uint64_t overlay_changes(const struct overlay *ov);
size_t overlay_pending_bytes(const struct overlay *ov);

/*
 * Records of a delta, in this order: deleted ranges, then puts and deletes by key:
 *   u8 3, u16 from_len, u16 to_len, from, to
 *   u8 1, u16 key_len, u16 value_len, key, value
 *   u8 2, u16 key_len, key
 * Applying the records of consecutive deltas in order gives the same state however often any of
 * them is applied again in order.
 *
 * overlay_take_delta(ov, out): append the net records of all pending changes to ${out}; nothing is
 * pending then.
 * Returns 0, or -ENOMEM and all is still pending.
 */
MUST_CHECK int overlay_take_delta(struct overlay *ov, struct buf *out);

#define OVERLAY_RECORD_MAX (5u + TREE_KEY_MAX + TREE_VALUE_MAX) /* bytes of the longest record */

/*
 * overlay_apply(ov, records, len): replay records read from a delta; they are not pending
 * afterwards (but a key that was pending before stays so).  Validates: returns 0, -ERR_FORMAT with
 * a detail (a record is malformed; those before it are applied) or -ENOMEM (likewise).
 */
MUST_CHECK int overlay_apply(struct overlay *ov, const void *records, size_t len);

/* overlay_replay(ov, records, len): the same, but the changes become pending.  Not traced. */
MUST_CHECK int overlay_replay(struct overlay *ov, const void *records, size_t len);

/* The least that a piece may have: a range, cut, and an entry at its first key. */
#define OVERLAY_PIECE_MIN (OVERLAY_RECORD_MAX + 5u + 3u * TREE_KEY_MAX)

/*
 * overlay_encode(ov, piece_max, fn, ctx): all changes, pending or not, as records in pieces of at
 * most ${piece_max} bytes (at least OVERLAY_PIECE_MIN, asserted), none empty, each given to fn.
 * The pieces are in the order of keys, and each holds all changes, deleted ranges too, of the keys
 * from its first to the next one's first.  So each stands by itself: applied in any order, and any
 * number of them to a state that holds them all already, they give this overlay.
 * Stops at fn's first non-zero, returned.  Else 0 or -ENOMEM.
 */
MUST_CHECK int overlay_encode(const struct overlay *ov, size_t piece_max,
			      int (*fn)(void *ctx, const void *records, size_t len), void *ctx);

/* Keys from..to; to_len 0: without an end. */
struct overlay_span {
	uint8_t from[TREE_KEY_MAX], to[TREE_KEY_MAX];
	size_t from_len, to_len;
};

/*
 * overlay_span_bytes(ov, span): the memory that what ${ov} changes in ${span} takes in an overlay,
 * roughly.
 */
size_t overlay_span_bytes(const struct overlay *ov, const struct overlay_span *span);

/*
 * overlay_renew(ov, below, span, bytes_max): let ${ov} hold what it, laid over ${below}, changes in
 * ${span}, all of it pending and traced, however old.  ${ov} over ${below} is what it was before.
 * Stops before it adds more than ${bytes_max} of records (but for what one key has), and moves the
 * beginning of ${span} to where it stopped.
 * Returns 1: something is left; 0; or -ENOMEM, nothing changed.
 */
MUST_CHECK int overlay_renew(struct overlay *ov, const struct overlay *below,
			     struct overlay_span *span, size_t bytes_max);

#endif /* !OVERLAY_H_ */
