#ifndef OVERLAY_H_
#define OVERLAY_H_

/*
 * Item changes in memory: an ordered map of key to value or tombstone, plus deleted key ranges,
 * read as a layer over a tree.  A range deletion acts on the layers below (older overlays and the
 * tree) and on the overlay's own earlier entries; later puts override it.  Not locked: the caller's
 * lock covers it.  Functions on a const overlay change nothing, so any number of threads can read
 * an overlay that no longer changes.
 *
 * An overlay remembers which changes are not yet in a delta ("pending"); overlay_take_delta()
 * returns their net effect.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct overlay;

#define TREE_KEY_MAX 320u /* bytes; at least 1 */
#ifndef TREE_VALUE_MAX /* the simulation's is smaller, and so are its delta records */
#define TREE_VALUE_MAX 4352u
#endif

/* Returns 0 or -ENOMEM.  overlay_free(NULL) is a no-op. */
MUST_CHECK int overlay_new(struct overlay **out);
void overlay_free(struct overlay *ov);

/*
 * overlay_reserve(ov, n, bytes): make sure that ${n} further changes, with ${bytes} bytes of keys
 * and values in all, cannot fail for want of memory.  An operation reserves for all its changes
 * first, so that it is applied whole or not at all.  Returns 0 or -ENOMEM.
 */
MUST_CHECK int overlay_reserve(struct overlay *ov, size_t n, size_t bytes);

/*
 * Changes; each becomes pending.  The caller has reserved room and keeps to the limits above (both
 * asserted).  Overlapping and adjacent ranges become one.  An empty range [from, to), to <= from,
 * changes nothing.
 */
void overlay_put(struct overlay *ov, const void *key, size_t key_len, const void *value,
		 size_t value_len);
void overlay_del(struct overlay *ov, const void *key, size_t key_len);
void overlay_del_range(struct overlay *ov, const void *from, size_t from_len, const void *to,
		       size_t to_len);

/*
 * overlay_trace(ov, t): from now on each change is also appended to ${t} as a delta record, in the
 * order of the changes; NULL: stop.  ${t} is borrowed.  The caller sees to it that the records fit
 * (asserted).
 */
struct overlay_trace {
	uint8_t *p;
	size_t len, cap;
};

void overlay_trace(struct overlay *ov, struct overlay_trace *t);

enum overlay_hit { OVERLAY_MISS, OVERLAY_FOUND, OVERLAY_GONE };

/*
 * overlay_get(): FOUND with a value, borrowed until the key's next change; GONE: deleted here, by
 * key or by range; MISS: the caller asks the layer below.
 */
enum overlay_hit overlay_get(const struct overlay *ov, const void *key, size_t key_len,
			     const uint8_t **out_value, size_t *out_len);

/*
 * overlay_bytes(ov): memory in use, without reserved room (a few times the largest reserve, or some
 * 1.5 MiB); 0: nothing was ever changed.
 * overlay_pending_bytes(ov): what overlay_take_delta() would append; 0: nothing is pending.
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
 * The records of consecutive deltas can be applied again, in order, any number of times: the state
 * is the same.
 *
 * overlay_take_delta(ov, out): append the net records of all pending changes to ${out}; afterwards
 * nothing is pending.
 * Returns 0, or -ENOMEM and all is still pending.
 */
MUST_CHECK int overlay_take_delta(struct overlay *ov, struct buf *out);

#define OVERLAY_RECORD_MAX (5u + TREE_KEY_MAX + TREE_VALUE_MAX) /* bytes of the longest record */

/*
 * overlay_apply(ov, records, len): replay records read from a delta; they are not pending
 * afterwards (but a key that was pending before stays pending).  Validates its input.  Returns 0;
 * -ERR_FORMAT with a detail (a record is malformed; those before it are applied); or -ENOMEM
 * (likewise).
 */
MUST_CHECK int overlay_apply(struct overlay *ov, const void *records, size_t len);

/* overlay_replay(ov, records, len): the same, but the changes become pending.  Not traced. */
MUST_CHECK int overlay_replay(struct overlay *ov, const void *records, size_t len);

/* The smallest piece that overlay_encode() can fill: a range that is cut, and one entry. */
#define OVERLAY_PIECE_MIN (OVERLAY_RECORD_MAX + 5u + 3u * TREE_KEY_MAX)

/*
 * overlay_encode(ov, piece_max, fn, ctx): give fn all changes, pending or not, as records, in
 * pieces of at most ${piece_max} bytes (at least OVERLAY_PIECE_MIN, asserted).  No piece is empty.
 * Pieces come in key order.  Each holds all changes, deleted ranges included, to the keys from its
 * own first up to the next piece's first.  So pieces are independent: they can be applied in any
 * order, and any of them again to a state that has them all, and still give this overlay.
 * Stops at fn's first non-zero and returns that; else returns 0 or -ENOMEM.
 */
MUST_CHECK int overlay_encode(const struct overlay *ov, size_t piece_max,
			      int (*fn)(void *ctx, const void *records, size_t len), void *ctx);

/* The keys from <= key < to; to_len 0: no upper end. */
struct overlay_span {
	uint8_t from[TREE_KEY_MAX], to[TREE_KEY_MAX];
	size_t from_len, to_len;
};

/*
 * overlay_span_bytes(ov, span): roughly the memory that the changes of ${ov} in ${span} take.
 */
size_t overlay_span_bytes(const struct overlay *ov, const struct overlay_span *span);

/*
 * overlay_renew(ov, below, span, bytes_max): make pending again, and trace, every change in ${span}
 * that ${ov} over ${below} makes, however old it is.  ${ov} then holds them all; what ${ov} over
 * ${below} says is unchanged.  Stops before the records exceed ${bytes_max} (unless one key's alone
 * do), and moves the start of ${span} to where it stopped.
 * Returns 1 if part of ${span} is left; 0; or -ENOMEM with nothing changed.
 */
MUST_CHECK int overlay_renew(struct overlay *ov, const struct overlay *below,
			     struct overlay_span *span, size_t bytes_max);

#endif /* !OVERLAY_H_ */
