/* See live.h. */

#include "live.h"

#include "check.h"
#include "conf.h"
#include "disk.h"
#include "err.h"
#include "huge.h"
#include "keys.h"
#include "log.h"
#include "look.h"
#include "model.h"
#include "oracle.h"
#include "source.h"
#include "view.h"
#include "volume.h"
#include "work.h"
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

typedef unsigned long long ull;

static struct volume *volume;
static void (*head_made)(void);
static struct volume_keys keys;
static void *memory; /* what a supervisor holds */
static bool kept;    /* ... is of use to the next */

/* The keys as a mount has them, which are never changed. */
static void take_keys(const struct params *params)
{
	keys = (struct volume_keys){
		.log_key = (uint8_t *)(uintptr_t)conf_log_key(),
		.name_key = (uint8_t *)(uintptr_t)conf_name_key(),
		.writer_secret = (uint8_t *)(uintptr_t)conf_writer_secret(params_epoch(params)),
	};
}

int live_make(const char *dir, const struct params *params)
{
	take_keys(params);
	model_head(1, 0);
	return volume_make(dir, params, &keys, 0, 0);
}

static void on_head(void *ctx, const struct head *h)
{
	(void)ctx;
	(void)h;
	head_made();
}

/* ---- what must be there ---- */

/* False where the disk does not give it now. */
static bool look_well(struct view *v, const char *what, struct model_parts *parts, uint64_t *out)
{
	int rc;

	disk_spare(true);
	rc = look_view(v, what, parts, out);
	disk_spare(false);
	if (rc < 0 && rc != -EIO)
		fail("home: %s cannot be read: %s", what, err_detail(rc));
	return rc == 0;
}

/* ${v} is not what was seen after one of ${from} to ${to} changes. */
static _Noreturn void differs(struct view *v, const char *what, uint64_t from, uint64_t to)
{
	struct model_parts parts = {0};
	uint64_t digest, n;

	while (!look_well(v, what, &parts, &digest))
		parts.n = 0;
	n = model_find(digest, 0, model_n());
	if (n != MODEL_UNKNOWN)
		fail("home: %s is as after %llu changes, not %llu to %llu", what, (ull)n, (ull)from,
		     (ull)to);
	model_tell(&parts, from, to);
	fail("home: %s is as it never was; it must be as after %llu to %llu changes", what,
	     (ull)from, (ull)to);
}

/* The view at ${h} and what is seen there; NULL where the disk does not give it. */
static struct view *see_head(const struct head *h, uint64_t *out_digest)
{
	struct view *v;
	int rc = view_open(volume_view_config(volume), h, &v);

	if (rc < 0 && rc != -EIO)
		fail("home: head %llu cannot be seen: %s", (ull)h->number, err_detail(rc));
	if (rc < 0)
		return NULL;
	if (look_well(v, "the past", NULL, out_digest))
		return v;
	view_close(v);
	return NULL;
}

/*
 * The newest head, after ${n} changes were found in the volume: a daemon that was killed may have made it
 * and told nobody.
 */
static void learn_head(const struct head *newest, uint64_t n)
{
	uint64_t digest;
	struct view *v;

	if (newest->number == 0 || model_head_n(newest->number) != MODEL_UNKNOWN)
		return;
	v = see_head(newest, &digest);
	if (v && digest == model_digest(n))
		model_head(newest->number, n);
	view_close(v);
}

/* After opening: after which of the changes it is as it is. */
static void examine(bool taken_over)
{
	struct view *v = volume_view(volume);
	const char *what = taken_over ? "what was taken over" : "the volume";
	uint64_t to = model_n(), from = taken_over ? to : model_n_synced();
	uint64_t digest, n;
	struct head newest;

	while (!look_well(v, what, NULL, &digest))
		fiber_sleep(MS);
	n = model_find(digest, from, to);
	if (n == MODEL_UNKNOWN)
		differs(v, what, from, to);
	trace("home: %s is as after %llu of %llu changes, %llu synced", what, (ull)n, (ull)to,
	      (ull)model_n_synced());
	log_newest_head(volume_log(volume), &newest);
	model_back_to(n, newest.number, !taken_over);
	learn_head(&newest, n);
}

/* One head of those that there are; the disk may not give it. */
static void look_at_past(void)
{
	struct source *src = log_source(volume_log(volume));
	uint64_t n, digest;
	struct head h;
	struct view *v;
	size_t got;
	int rc;

	log_newest_head(volume_log(volume), &h);
	if (h.number == 0)
		return;
	n = 1 + prng_below(&world_random, h.number);
	rc = src->ops->heads(src, n, 1, &h, &got);
	if (rc < 0 && rc != -EIO)
		fail("home: head %llu cannot be found: %s", (ull)n, err_detail(rc));
	v = rc < 0 ? NULL : see_head(&h, &digest);
	if (!v)
		return;
	n = model_head_n(h.number);
	if (n != MODEL_UNKNOWN && digest != model_digest(n))
		differs(v, "the past", n, n);
	view_close(v);
}

void live_look(void)
{
	struct view *v = volume_view(volume);
	uint64_t digest;

	work_hold(true);
	if (look_well(v, "what is seen", NULL, &digest) && digest != model_digest(model_n()))
		differs(v, "what is seen", model_n(), model_n());
	work_hold(false);
	look_at_past();
}

/* ---- its life ---- */

int live_open(const struct live_config *cfg, struct log **out)
{
	struct volume_shm shm = {.take_over = kept, .lock_fd = -1};
	struct volume_config vc = {.dir = cfg->dir,
				   .params = cfg->params,
				   .keys = &keys,
				   .checkpoint_s = 7,
				   .memory_bytes = cfg->memory_bytes,
				   .on_head = on_head,
				   .shm = &shm};
	struct head newest;
	int rc;

	if (!memory)
		memory = huge_alloc(volume_shm_bytes());
	assert(memory);
	shm.mem = memory;
	head_made = cfg->on_head;
	take_keys(cfg->params);
	rc = volume_open(&vc, &volume);
	if (rc < 0)
		return rc;
	*out = volume_log(volume);
	log_newest_head(*out, &newest);
	oracle_log_opened(*out, newest.number);
	examine(shm.take_over);
	kept = cfg->supervised;
	work_begin(volume, cfg->stuck);
	return 0;
}

int live_close(void)
{
	uint64_t n = model_n();
	int rc;

	/* The mount is gone: nobody takes over from here on. */
	kept = false;
	rc = volume_close(volume);
	work_begin(NULL, NULL);
	if (rc == 0)
		model_synced(n);
	return rc;
}

void live_crashed(bool power)
{
	work_crashed();
	volume = NULL;
	if (power)
		kept = false;
}

static void report(void *ctx, enum check_level level, const char *text)
{
	(void)ctx;
	trace("check: %s", text);
	if (level == CHECK_BAD)
		fail("check: %s", text);
}

void live_check(const char *dir, const struct params *params)
{
	struct check_config cfg = {
		.dir = dir, .keys = &keys, .read_percent = 100, .report = report};
	struct check_counts counts;
	int rc;

	take_keys(params);
	disk_spare(true);
	rc = volume_check(&cfg, &counts);
	disk_spare(false);
	if (rc < 0)
		fail("check: %s", err_detail(rc));
}
