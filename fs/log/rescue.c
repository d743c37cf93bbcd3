/*
 * Writing the ring of a killed process into the segment files.
 *
 * Key idea: SIGKILL stops a process between two of its stores, and the memory that it shared
 * stays.  All bytes from written to filled are in the ring; writing them again, where they belong,
 * does what the dead process would have done next.  Then the ordinary recovery finds whole blocks
 * up to where the log ended.
 *
 * A position that was reserved and not filled is sealed as a block of zeros.  This is the first
 * ciphertext that the position gets in any file: if the dead process had begun to seal there, that
 * was never below filled, and so was never written.
 */

#include "log_shm.h"

#include "err.h"
#include "format.h"
#include "frame.h"
#include "huge.h"
#include "log.h"
#include "ring.h"
#include "seal.h"
#include "store.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct rescue {
	const struct log_config *cfg;
	struct store *store;
	struct log_shm *shm;
	struct ring ring;
	log_pos written, old_end;
	log_pos end; /* every block below is whole */
};

/* The ring comes first, so that both begin at a huge page. */
static size_t shm_offset(size_t ring_bytes)
{
	return huge_up(ring_bytes_whole(ring_bytes));
}

size_t log_shm_bytes(size_t ring_bytes)
{
	return shm_offset(ring_bytes) + huge_up(sizeof(struct log_shm));
}

struct log_shm *log_shm_at(void *mem, size_t ring_bytes)
{
	return (struct log_shm *)((uint8_t *)mem + shm_offset(ring_bytes));
}

struct log_shm *log_shm_init(void *mem, size_t ring_bytes)
{
	struct log_shm *k = log_shm_at(mem, ring_bytes);

	memset(k, 0, sizeof(*k));
	k->version = LOG_SHM_VERSION;
	k->ring_offset = (uint32_t)shm_offset(ring_bytes);
	k->ring_bytes = ring_bytes;
	return k;
}

void log_shm_reset(struct log_shm *k)
{
	/*
	 * Each of these stores may be the last.  First pushed becomes folded, so that there are no
	 * slots.  Then filled becomes 0; from then on neither old_end nor written is looked at.
	 */
	atomic_store(&k->pushed, atomic_load(&k->folded));
	atomic_store(&k->filled, 0);
	atomic_store(&k->old_end, 0);
	atomic_store(&k->written, 0);
}

/* Get the key of the segment that ${pos} lies in, whose header is in the ring or in a file. */
static int key_at(const struct rescue *r, log_pos pos, struct segment_key **out)
{
	log_pos start = segment_start(segment_of(pos));
	uint8_t block[SEGMENT_BLOCK_LEN];
	struct segment_header h;
	int rc = 0;

	if (start >= page_down(r->written))
		ring_copy_out(&r->ring, start, sizeof(block), block);
	else
		rc = store_read(r->store, start, sizeof(block), block);
	if (rc == 0)
		rc = segment_header_decode(block, segment_of(pos), &h);
	return rc < 0 ? rc : segment_key_new(r->cfg->log_key, &h, out);
}

static int seal_filler(struct rescue *r, const struct shm_slot *s)
{
	uint32_t body_len = s->len - FRAME_LEN;
	struct frame f = {
		.kind = BLOCK_DATA, .flags = (uint8_t)filler_flags(body_len), .body_len = body_len};
	struct segment_key *key;
	uint8_t *zeros;
	int rc = key_at(r, s->pos, &key);

	if (rc < 0)
		return rc;
	zeros = calloc(1, BLOCK_PLAIN_MAX);
	rc = zeros ? seal_block(key, s->pos, &f, zeros, opened_len(f.body_len, f.flags),
				ring_at(&r->ring, s->pos))
		   : -ENOMEM;
	if (rc == 0)
		ring_wrap(&r->ring, s->pos, s->len);
	free(zeros);
	segment_key_free(key);
	return rc;
}

/* Whether ${s} is a plausible slot: the shared memory is checked, lest it be of another layout. */
static bool slot_ok(const struct rescue *r, const struct shm_slot *s)
{
	return s->len > FRAME_LEN && s->len <= BLOCK_STORED_MAX && s->pos >= r->end &&
	       s->pos + s->len - page_down(r->written) <= r->ring.size &&
	       (s->pos == r->end || s->pos == segment_start(segment_of(s->pos)));
}

/* Advance from filled over the slots, up to the last that is done, and fill the gaps on the way. */
static int close_gaps(struct rescue *r)
{
	uint64_t from = atomic_load(&r->shm->folded), n = atomic_load(&r->shm->pushed);
	uint64_t last = from;

	if (n - from > LOG_SLOTS)
		return -ERR_DAMAGED;
	for (uint64_t i = from; i < n; i++)
		if (atomic_load(&r->shm->slots[i % LOG_SLOTS].done))
			last = i + 1;
	for (uint64_t i = from; i < last; i++) {
		struct shm_slot *s = &r->shm->slots[i % LOG_SLOTS];
		int rc = 0;

		if (s->pos + s->len <= r->end)
			continue;
		if (!slot_ok(r, s))
			return -ERR_DAMAGED;
		if (!atomic_load(&s->done))
			rc = seal_filler(r, s);
		if (rc < 0)
			return rc;
		r->end = s->pos + s->len;
	}
	return 0;
}

/* Write out [from, to), which lies in one segment that has its file. */
static int write_out(const struct rescue *r, log_pos from, log_pos to)
{
	while (from < to) {
		uint64_t len = to - from;
		int rc;

		if (len > ring_run(&r->ring, from))
			len = ring_run(&r->ring, from);
		rc = store_write(r->store, from, ring_at(&r->ring, from), len, false);
		if (rc < 0)
			return rc;
		from += len;
	}
	return 0;
}

/*
 * Finish the segment before the newest: all of it written, durable, and no longer than its blocks.
 * What the dead process wrote of it may be in the page cache only, and its sync may have failed; so
 * it is written again.  Once its successor has a name, recovery takes it for whole.
 */
static int finish_old(const struct rescue *r)
{
	segment_no number = segment_of(r->old_end - 1);
	log_pos to = r->end < r->old_end ? r->end : r->old_end;
	int rc = write_out(r, r->written, to);

	if (rc < 0 || r->end <= r->old_end)
		return rc;
	rc = store_rewrite_segment(r->store, number, 0);
	if (rc < 0)
		return rc;
	return store_truncate(r->store, number, r->old_end - segment_start(number));
}

static int write_newest(const struct rescue *r, log_pos from)
{
	segment_no number;
	uint64_t size;
	int rc;

	if (from >= r->end)
		return 0;
	number = segment_of(r->end - 1);
	if (segment_of(from) != number)
		return -ERR_DAMAGED;
	rc = store_size(r->store, number, &size);
	if (rc == -ERR_ABSENT)
		rc = store_take_spare(r->store, number);
	return rc < 0 ? rc : write_out(r, from, r->end);
}

int log_rescue(const struct log_config *cfg, struct store *st)
{
	struct log_shm *k = cfg->shm;
	struct rescue r = {.cfg = cfg, .store = st, .shm = k};
	int rc;

	if (k->version != LOG_SHM_VERSION || k->ring_offset == 0)
		return err_say(-ERR_VERSION, "what the last daemon left is of another version");
	ring_borrow(&r.ring, (uint8_t *)k - k->ring_offset, k->ring_bytes);
	r.written = atomic_load(&k->written);
	r.end = atomic_load(&k->filled);
	r.old_end = atomic_load(&k->old_end);
	rc = close_gaps(&r);
	if (rc == 0 && r.end > r.written && r.old_end != 0 && r.written <= r.old_end) {
		rc = finish_old(&r);
		if (rc == 0 && r.end > r.old_end)
			rc = write_newest(&r, segment_start(segment_of(r.end - 1)));
	} else if (rc == 0) {
		rc = write_newest(&r, r.written);
	}
	if (rc == -ERR_DAMAGED)
		rc = err_say(rc, "%s: what the last daemon left of the log makes no sense",
			     cfg->volume_dir);
	return rc;
}
