/* See breaks.h.  The functions are put in by --wrap. */

#include "breaks.h"

#include "agree.h"
#include "bytes.h"
#include "catalog.h"
#include "copy_internal.h"
#include "disk.h"
#include "kept.h"
#include "log_shm.h"
#include "oracle.h"
#include "params.h"
#include "replicator_step.h"
#include "secret.h"
#include "sectors.h"
#include "storage_folder.h"
#include "store.h"
#include "volume_internal.h"
#include "world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum mistake {
	NOTHING,
	SERVER_SYNC,
	SERVER_COMMIT,
	HOME_SYNC,
	FOLDER_SYNC,
	SERVER_BYTES,
	SERVER_CUT,
	HOME_CUT,
	HEAD_BACK,
	RESUME_WRONG,
	SAME_SALT,
	NO_RESCUE,
	NO_SETTLE,
	STORE_NAME,
	LOST_WRITE,
	TORN_ROLLUP,
	LOST_DELTA,
	CHECKPOINT_AHEAD,
	NO_JOURNAL,
	MISTAKES,
};

static const char *const names[] = {
	[NOTHING] = "nothing",
	[SERVER_SYNC] = "server-sync",	   /* acknowledges before the bytes are durable */
	[SERVER_COMMIT] = "server-commit", /* the same, of a storage that keeps commits apart */
	[HOME_SYNC] = "home-sync",	   /* says "synced" before they are */
	[FOLDER_SYNC] = "folder-sync",	   /* names are never made durable */
	[SERVER_BYTES] = "server-bytes", /* now and then a bit is not written as it was verified */
	[SERVER_CUT] = "server-cut",	 /* what was not acknowledged is left behind */
	[HOME_CUT] = "home-cut",	 /* a torn tail is left in the log */
	[HEAD_BACK] = "head-back",	 /* any acknowledgement is believed */
	[RESUME_WRONG] = "resume-wrong", /* a stream begins a head too low */
	[SAME_SALT] = "same-salt",	 /* each segment has the same */
	[NO_RESCUE] = "no-rescue",	 /* what a killed daemon had in memory is forgotten */
	[NO_SETTLE] = "no-settle",	 /* what a failed sync left in the page cache is believed */
	[STORE_NAME] = "store-name",	 /* a server takes its store's name for durable */
	[LOST_WRITE] = "lost-write",	 /* what an attempt found is believed after others wrote */
	[TORN_ROLLUP] =
		"torn-rollup", /* half a roll-up is applied, and its deleted ranges come first */
	[LOST_DELTA] = "lost-delta", /* a delta now and then is in no head */
	[CHECKPOINT_AHEAD] =
		"checkpoint-ahead",  /* one says that it covers two flushes more than it does */
	[NO_JOURNAL] = "no-journal", /* what a killed daemon had in no delta is forgotten */
};

/* Each as --breaks tells it with EMBASSYFS_TEST_FULL set, less one. */
static const uint64_t skip[MISTAKES] = {
	[SERVER_CUT] = 131,  [HEAD_BACK] = 173,	 [NO_SETTLE] = 76,  [LOST_WRITE] = 412,
	[TORN_ROLLUP] = 139, [LOST_DELTA] = 241, [NO_JOURNAL] = 61,
};

static enum mistake mistake;
static struct prng numbers; /* random_bytes() */

void __real_sectors_sync(struct sectors *s);
void __wrap_sectors_sync(struct sectors *s);
int __real_store_sync(struct store *st, uint64_t number);
int __real_store_truncate(struct store *st, uint64_t number, uint64_t len);
int __real_store_write(struct store *st, uint64_t pos, const void *buf, size_t len, bool direct);
int __real_store_rewrite(struct store *st, uint64_t from);
int __wrap_store_rewrite(struct store *st, uint64_t from);
int __real_storage_folder_open(const char *dir, struct storage_pool **out);
int __wrap_storage_folder_open(const char *dir, struct storage_pool **out);
int __real_cut_find(struct volume *v, uint64_t ino, uint64_t from, uint64_t to, struct need *need,
		    struct cut *c);
int __wrap_cut_find(struct volume *v, uint64_t ino, uint64_t from, uint64_t to, struct need *need,
		    struct cut *c);
int __real_overlay_encode(const struct overlay *ov, size_t max, piece_fn *fn, void *ctx);
int __real_view_apply_tail(struct view *v, const struct block_ptr *ptr, uint64_t *seq,
			   uint8_t **out_plain);
int __wrap_view_apply_tail(struct view *v, const struct block_ptr *ptr, uint64_t *seq,
			   uint8_t **out_plain);
int __real_delta_decode(const void *plain, size_t len, struct delta *out);
int __wrap_delta_decode(const void *plain, size_t len, struct delta *out);
int __real_commit_since_add(struct volume *v, const struct block_ptr *ptr, const void *plain,
			    size_t len);
int __wrap_commit_since_add(struct volume *v, const struct block_ptr *ptr, const void *plain,
			    size_t len);
void __real_checkpoint_encode(const struct checkpoint *c, uint8_t out[CHECKPOINT_LEN]);
void __wrap_checkpoint_encode(const struct checkpoint *c, uint8_t out[CHECKPOINT_LEN]);
typedef int entry_fn(void *ctx, const struct journal_entry *e);
int __real_journal_walk(const struct journal *j, unsigned gen, entry_fn *fn, void *ctx);
int __wrap_journal_walk(const struct journal *j, unsigned gen, entry_fn *fn, void *ctx);
int __real_log_rescue(const struct log_config *cfg, struct store *st);
int __wrap_log_rescue(const struct log_config *cfg, struct store *st);
int __real_copy_cut(struct copy *c, uint64_t end);
bool __real_step_acknowledged(struct step *s, uint64_t now_ns, const struct step_head *h);
int __real_agree_check(const struct params *p, struct store *st, struct catalog *c,
		       const struct Embassyfs__V1__Volume *v, struct step_head *out);
int __wrap_store_sync(struct store *st, uint64_t number);
void __real_copy_publish(struct copy *c, const struct copy_committed *s);
void __wrap_copy_publish(struct copy *c, const struct copy_committed *s);
int __wrap_store_truncate(struct store *st, uint64_t number, uint64_t len);
int __wrap_store_write(struct store *st, uint64_t pos, const void *buf, size_t len, bool direct);
int __wrap_copy_cut(struct copy *c, uint64_t end);
bool __wrap_step_acknowledged(struct step *s, uint64_t now_ns, const struct step_head *h);
int __wrap_agree_check(const struct params *p, struct store *st, struct catalog *c,
		       const struct Embassyfs__V1__Volume *v, struct step_head *out);
void __wrap_random_bytes(void *out, size_t len);

bool breaks_set(const char *name)
{
	for (unsigned i = 1; i < MISTAKES; i++)
		if (strcmp(names[i], name) == 0) {
			mistake = (enum mistake)i;
			return true;
		}
	return false;
}

const char *breaks_name(size_t i)
{
	return i + 1 < MISTAKES ? names[i + 1] : NULL;
}

uint64_t breaks_skip(size_t i)
{
	return skip[i + 1];
}

bool breaks_any(void)
{
	return mistake != NOTHING;
}

void breaks_begin(void)
{
	if (mistake == SERVER_COMMIT)
		kept_use_memory();
	if (mistake == FOLDER_SYNC)
		for (unsigned m = 0; m < MACHINES_MAX; m++)
			disk_faults(m)->deaf_folders = true;
}

static bool at_home(void)
{
	return fiber_machine() == MACHINE_HOME;
}

void __wrap_sectors_sync(struct sectors *s)
{
	if (mistake != SERVER_COMMIT)
		__real_sectors_sync(s);
}

int __wrap_store_sync(struct store *st, uint64_t number)
{
	if (mistake == SERVER_SYNC && !at_home())
		return 0;
	if (mistake == HOME_SYNC && at_home())
		return 0;
	return __real_store_sync(st, number);
}

int __wrap_store_truncate(struct store *st, uint64_t number, uint64_t len)
{
	if (mistake == HOME_CUT && at_home())
		return 0;
	return __real_store_truncate(st, number, len);
}

int __wrap_store_write(struct store *st, uint64_t pos, const void *buf, size_t len, bool direct)
{
	static uint8_t copy[8 << 20] __attribute__((aligned(4096)));

	if (mistake != SERVER_BYTES || at_home() || len > sizeof(copy) ||
	    !prng_one_in(&world_random, 10))
		return __real_store_write(st, pos, buf, len, direct);
	memcpy(copy, buf, len);
	copy[prng_below(&world_random, len)] ^= 1;
	return __real_store_write(st, pos, copy, len, direct);
}

int __wrap_store_rewrite(struct store *st, uint64_t from)
{
	return mistake == NO_SETTLE ? 0 : __real_store_rewrite(st, from);
}

int __wrap_log_rescue(const struct log_config *cfg, struct store *st)
{
	return mistake == NO_RESCUE ? 0 : __real_log_rescue(cfg, st);
}

int __wrap_storage_folder_open(const char *dir, struct storage_pool **out)
{
	char folder[128];
	int rc;

	snprintf(folder, sizeof(folder), "/%u", fiber_machine());
	disk_forget_names(mistake == STORE_NAME ? folder : NULL);
	rc = __real_storage_folder_open(dir, out);
	disk_forget_names(NULL);
	return rc;
}

int __wrap_copy_cut(struct copy *c, uint64_t end)
{
	return mistake == SERVER_CUT ? 0 : __real_copy_cut(c, end);
}

bool __wrap_step_acknowledged(struct step *s, uint64_t now_ns, const struct step_head *h)
{
	if (mistake != HEAD_BACK || s->phase != STEP_STREAMING || h->end > s->sent)
		return __real_step_acknowledged(s, now_ns, h);
	s->acked = *h;
	return true;
}

int __wrap_agree_check(const struct params *p, struct store *st, struct catalog *c,
		       const struct Embassyfs__V1__Volume *v, struct step_head *out)
{
	int rc = __real_agree_check(p, st, c, v, out);
	struct head_ref ref;

	if (mistake == RESUME_WRONG && rc == 0 && out->number > 1 &&
	    catalog_head(c, out->number - 1, &ref) == 0)
		*out = (struct step_head){ref.number, ref.pos + ref.stored_len, ref.time_ns};
	return rc;
}

/* ---- the volume's ---- */

int __wrap_cut_find(struct volume *v, uint64_t ino, uint64_t from, uint64_t to, struct need *need,
		    struct cut *c)
{
	if (mistake == LOST_WRITE && c->change != 0)
		c->change = v->extent_changes[ino % EXTENT_CHANGES];
	return __real_cut_find(v, ino, from, to, need, c);
}

/* Records of a roll-up, those of one type first. */
struct sorted {
	uint8_t *ranges, *others;
	size_t n_ranges, n_others;
};

static size_t record_len(const uint8_t *p)
{
	return p[0] == 2 ? 3u + get_le16(p + 1) : 5u + get_le16(p + 1) + get_le16(p + 3);
}

static int sort_piece(void *ctx, const void *records, size_t len)
{
	struct sorted *s = ctx;
	size_t n;

	for (const uint8_t *p = records, *end = p + len; p < end; p += n) {
		uint8_t **to = p[0] == 3 ? &s->ranges : &s->others;
		size_t *at = p[0] == 3 ? &s->n_ranges : &s->n_others;

		n = record_len(p);
		*to = realloc(*to, *at + n);
		assert(*to);
		memcpy(*to + *at, p, n);
		*at += n;
	}
	return 0;
}

static int give_pieces(const uint8_t *p, size_t len, size_t max, piece_fn *fn, void *ctx)
{
	int rc = 0;

	while (rc == 0 && len > 0) {
		size_t n = 0;

		while (n < len && n + record_len(p + n) <= max)
			n += record_len(p + n);
		rc = fn(ctx, p, n);
		p += n;
		len -= n;
	}
	return rc;
}

int breaks_roll_up(const struct overlay *ov, size_t max, piece_fn *fn, void *ctx)
{
	struct sorted s = {0};
	uint8_t *all;
	int rc;

	if (mistake != TORN_ROLLUP)
		return __real_overlay_encode(ov, max, fn, ctx);
	rc = __real_overlay_encode(ov, max, sort_piece, &s);
	assert(rc == 0);
	all = realloc(s.ranges, s.n_ranges + s.n_others + 1);
	assert(all);
	memcpy(all + s.n_ranges, s.others ? s.others : all, s.n_others);
	rc = give_pieces(all, s.n_ranges + s.n_others, max, fn, ctx);
	free(all);
	free(s.others);
	return rc;
}

/* Recovery would pass over what is left of a roll-up: that is a mend too. */
static bool any_delta;

int __wrap_delta_decode(const void *plain, size_t len, struct delta *out)
{
	int rc = __real_delta_decode(plain, len, out);

	if (any_delta)
		out->first_seq = out->last_seq;
	return rc;
}

int __wrap_view_apply_tail(struct view *v, const struct block_ptr *ptr, uint64_t *seq,
			   uint8_t **out_plain)
{
	uint64_t none = 0;
	int rc;

	if (mistake != TORN_ROLLUP)
		return __real_view_apply_tail(v, ptr, seq, out_plain);
	any_delta = true;
	rc = __real_view_apply_tail(v, ptr, &none, out_plain);
	any_delta = false;
	*seq = none > *seq ? none : *seq;
	return rc;
}

int __wrap_commit_since_add(struct volume *v, const struct block_ptr *ptr, const void *plain,
			    size_t len)
{
	if (mistake == LOST_DELTA && prng_one_in(&world_random, 50))
		return 0;
	return __real_commit_since_add(v, ptr, plain, len);
}

void __wrap_checkpoint_encode(const struct checkpoint *c, uint8_t out[CHECKPOINT_LEN])
{
	struct checkpoint said = *c;

	said.covers_seq += mistake == CHECKPOINT_AHEAD ? 2 : 0;
	__real_checkpoint_encode(&said, out);
}

int __wrap_journal_walk(const struct journal *j, unsigned gen, entry_fn *fn, void *ctx)
{
	return mistake == NO_JOURNAL ? 0 : __real_journal_walk(j, gen, fn, ctx);
}

void __wrap_random_bytes(void *out, size_t len)
{
	uint8_t *p = out;

	for (size_t i = 0; i < len; i++)
		p[i] = mistake == SAME_SALT && len == SALT_LEN ? 1 : (uint8_t)prng_next(&numbers);
}

/* No mistake: what an embassy serves is told to the oracle. */
void __wrap_copy_publish(struct copy *c, const struct copy_committed *s)
{
	oracle_published(fiber_machine() - MACHINE_EMBASSY, s->head, s->end);
	__real_copy_publish(c, s);
}
