#ifndef CATALOG_H_
#define CATALOG_H_

/*
 * The catalog: an index over a log, in RocksDB, under VOLUME/catalog.  Nothing is true because
 * the catalog says so: it can be deleted and rebuilt from the log (catalog_rebuild), and its
 * heads are not synced, so after a crash it may be older than the log, and the log's tail is
 * scanned from its newest head.  It is never newer: only durable heads are put in.  RocksDB
 * itself is behind kv.h.
 *
 * Keys: 'H' number u64 BE -> position u64, stored_len u32, time i64 (LE)
 *       'T' time u64 BE (sign bit flipped), number u64 BE -> nothing
 *       'M' level u8, index u64 BE -> up to 256 hashes (the tiles of c2sp.org/tlog-tiles; the
 *         last of a level may be partial)
 *       'C' name -> a cursor's bytes (per embassy: what it has acknowledged)
 *       'V' -> format version u32, volume id
 *       'W' -> nothing; there if it is whole, see catalog_set_whole()
 */

#include "compiler.h"
#include "format.h"
#include "merkle.h"

#include <stdbool.h>
#include <stddef.h>

struct buf;
struct catalog;
struct head;
struct kv;
struct leaf_row;
struct storage;
struct params;
struct tile;

struct head_ref {
	head_no number;
	log_pos pos;
	uint32_t stored_len;
	int64_t time_ns;
};

enum catalog_mode { CATALOG_WRITE, CATALOG_READ };

/*
 * catalog_open(volume_dir, id, mode, out): CATALOG_WRITE makes it where missing; CATALOG_READ
 * takes no lock and works beside a writer (it sees what was written until it was opened;
 * catalog_refresh() looks again).
 * Returns 0; -ERR_ABSENT (CATALOG_READ and there is none); -ERR_DAMAGED (RocksDB refuses it, or
 * it is another volume's: rebuild it); -ERR_LOCKED; -ERR_VERSION; -errno.
 * catalog_close(NULL) is a no-op.
 */
MUST_CHECK int catalog_open(const char *volume_dir, const uint8_t id[VOLUME_ID_LEN],
			    enum catalog_mode mode, struct catalog **out);
void catalog_close(struct catalog *c);
MUST_CHECK int catalog_refresh(struct catalog *c);

/*
 * catalog_open_in(kv, id, mode, out): the same in ${kv}, which it takes, also when it fails.
 * Returns as catalog_open().
 */
MUST_CHECK int catalog_open_in(struct kv *kv, const uint8_t id[VOLUME_ID_LEN],
			       enum catalog_mode mode, struct catalog **out);

/*
 * catalog_reopen(c): for a writer (CATALOG_WRITE) whose write failed, which shuts RocksDB for good:
 * open the catalog anew; or, if it is of no use any more, an empty one in its place.  It may have
 * lost its newest heads: catalog_catch_up() finds them.  Readers at any time; between the error and
 * the next success they get -EIO.
 * Returns 0 or -errno.
 */
MUST_CHECK int catalog_reopen(struct catalog *c);

/*
 * catalog_add_head(c, h, leaves, n_leaves): record head ${h} and, in the same atomic batch, the
 * leaf hashes of the blocks since the previous recorded head: leaves[0] is leaf number
 * (h->n_blocks - n_leaves).  The head's own block's leaf comes with the next head.  One caller
 * at a time; readers at any time.
 * Returns 0; -ERR_DAMAGED if ${h} does not follow the newest head and its leaves; -ENOSPC or
 * -EIO.  Nothing is changed then.
 */
MUST_CHECK int catalog_add_head(struct catalog *c, const struct head *h,
				const uint8_t (*leaves)[HASH_LEN], size_t n_leaves);

/*
 * catalog_add_row(c, h, row): the same, where of some subtrees only the root is known (tile.h).
 */
MUST_CHECK int catalog_add_row(struct catalog *c, const struct head *h, const struct leaf_row *row);

/*
 * A catalog is whole if it was begun together with its log, or was rebuilt from all of it.  Then a
 * power cut can have taken its newest heads at most, and what follows its newest head in the log is
 * what the writer was still writing.  Of a catalog that is not whole, nothing is known.
 * catalog_set_whole(c): record that it is, durably, and with that all that the catalog holds
 * (CATALOG_WRITE).  Returns 0, -ENOSPC, -EIO, -ERR_DAMAGED.
 * catalog_is_whole(c): 1, 0, -ERR_DAMAGED or -EIO.  Any thread.
 */
MUST_CHECK int catalog_set_whole(struct catalog *c);
MUST_CHECK int catalog_is_whole(struct catalog *c);

/*
 * catalog_newest(), catalog_head() by number, catalog_head_at(): the newest with time <= time_ns.
 * Each returns 0; -ERR_ABSENT if there is none; -EIO or -ERR_DAMAGED.  Any thread.
 */
MUST_CHECK int catalog_newest(struct catalog *c, struct head_ref *out);
MUST_CHECK int catalog_head(struct catalog *c, head_no number, struct head_ref *out);
MUST_CHECK int catalog_head_at(struct catalog *c, int64_t time_ns, struct head_ref *out);

/*
 * catalog_heads(c, from, fn, ctx): each head from number ${from} on, in order, until fn returns
 * non-zero (returned if negative).
 */
MUST_CHECK int catalog_heads(struct catalog *c, head_no from,
			     int (*fn)(void *ctx, const struct head_ref *r), void *ctx);

/*
 * catalog_merkle(c, n, out): the state after the first ${n} leaves, from the tiles.
 * -ERR_ABSENT if the catalog has fewer, or if ${n} ends inside a run of which only the root is
 * known.
 */
MUST_CHECK int catalog_merkle(struct catalog *c, leaf_no n, struct merkle *out);

/*
 * catalog_leaf(c, index, out): the leaf hash of block number ${index} of the log.
 * Returns 0; -ERR_ABSENT if no head in the catalog covers that block, or if it is in a run of which
 * only the root is known; -ERR_DAMAGED; -EIO.
 */
MUST_CHECK int catalog_leaf(struct catalog *c, leaf_no index, uint8_t out[HASH_LEN]);

/*
 * catalog_tile(c, index, out): tile ${index} of the leaves (tile.h), for who compares many.  Returns as
 * catalog_leaf().
 */
MUST_CHECK int catalog_tile(struct catalog *c, uint64_t index, struct tile *out);

/*
 * catalog_prove(c, n, index, k, out): append the proof that the ${k} leaves index[0] < index[1] < ...
 * are among the first ${n} (proof.h).  Any thread.
 * Returns 0; -ERR_ABSENT if the catalog has fewer than ${n}; -EINVAL, -ENOMEM, -ERR_DAMAGED, -EIO.
 */
MUST_CHECK int catalog_prove(struct catalog *c, leaf_no n, const leaf_no *index, size_t k,
			     struct buf *out);

/*
 * Cursors: small values by name (at most 255 bytes, else -ENAMETOOLONG).  put: 0, -ENOSPC, -EIO.
 * get: 0, -ERR_ABSENT, -ERR_DAMAGED (longer than ${*len}), -EIO; ${*len} is capacity in, length
 * out.
 */
MUST_CHECK int catalog_put_cursor(struct catalog *c, const char *name, const void *value,
				  size_t len);
MUST_CHECK int catalog_get_cursor(struct catalog *c, const char *name, void *value, size_t *len);

/*
 * CURSOR_BEGUN, which is empty, is there if the catalog was begun together with its log: then no
 * cursor was ever lost.
 *
 * catalog_cursors(c, prefix, fn, ctx): call ${fn} with the name of each cursor that begins with
 * ${prefix}, from the last to the first, until it returns non-zero (returned if negative).
 * Returns 0; -ERR_DAMAGED; -EIO; -ENAMETOOLONG.
 */
#define CURSOR_BEGUN "begun"
MUST_CHECK int catalog_cursors(struct catalog *c, const char *prefix,
			       int (*fn)(void *ctx, const char *name), void *ctx);

/*
 * catalog_catch_up(c, p, st, progress, ctx): walk the log after the newest head of ${c}
 * (CATALOG_WRITE), and put in the heads that follow.  Every head's signature, parent, number,
 * position and Merkle root are verified on the way.  Blocks after the last good head are left to
 * recovery.  ${progress} (may be NULL) is called now and then with the position reached.  Works
 * beside a live writer of the log.
 * Returns 0; -ERR_DAMAGED or -ERR_TAMPERED with a detail, if anything that a head in the log covers
 * is not as the head says, or catalog and log do not agree; -ERR_VERSION; -errno.  Heads before the
 * fault stay in.
 */
MUST_CHECK int catalog_catch_up(struct catalog *c, const struct params *p, struct storage *st,
				void (*progress)(void *ctx, log_pos pos), void *ctx);

/*
 * catalog_remove(volume_dir): remove VOLUME/catalog.  A power cut meanwhile may leave an empty one
 * that is not whole.  Nobody has it open.  Returns 0, also if there is none, or -errno.
 * catalog_clear(volume_dir, id): the same, but leave an empty catalog with the cursors, as far as
 * they can be read, since nothing can make them anew; a power cut may take them.  Returns 0,
 * -ENOMEM or -errno.
 * catalog_rebuild(volume_dir, p, st, progress, ctx): clear it and catch up from the log's start.
 * Returns as catalog_clear() and catalog_catch_up().
 */
MUST_CHECK int catalog_remove(const char *volume_dir);
MUST_CHECK int catalog_clear(const char *volume_dir, const uint8_t id[VOLUME_ID_LEN]);
MUST_CHECK int catalog_rebuild(const char *volume_dir, const struct params *p, struct storage *st,
			       void (*progress)(void *ctx, log_pos pos), void *ctx);

#endif /* !CATALOG_H_ */
