/* The appender: what is let in, what is refused, and what a full disk leaves. */

#include "vault_fixture.h"

#include "err.h"
#include "storage_memory.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(appender, .init = fix_set_up, .fini = fix_tear_down, .timeout = 300);

Test(appender, nothing_after_the_newest_head_counts)
{
	struct appender *a;

	synth_grow(&log_, 3 << 20);
	fix_append_all();
	synth_block(&log_, 70000);
	synth_segment(&log_, 1);
	synth_block(&log_, 70000);
	cr_assert_eq(fix_begin(&a), 0);
	cr_assert_eq(fix_feed(a, fix_committed().end, log_.end, 1 << 20), 0);
	cr_expect_not(appender_has_heads(a));
	fix_expect_holds(1);
	appender_end(a);
	fix_expect_holds(1);
	cr_expect_eq(fix_segment_len(0), (long)synth_head_end(&log_, 1));
	cr_expect_eq(fix_segment_len(1), -1);
	/* The same bytes are taken when they come again with a head. */
	synth_head(&log_);
	fix_append_all();
	fix_expect_holds(2);
}

Test(appender, heads_share_a_sync)
{
	struct copy_committed s;
	struct appender *a;

	synth_segment(&log_, 0);
	for (unsigned i = 0; i < 3 * APPENDER_HEADS_MAX + 5; i++) {
		synth_block(&log_, 40 + i);
		synth_head(&log_);
	}
	cr_assert_eq(fix_begin(&a), 0);
	cr_assert_eq(fix_feed(a, 0, log_.end, 1 << 20), 0);
	cr_expect(appender_has_heads(a));
	cr_assert_eq(appender_commit(a, &s), 0);
	cr_expect_eq(s.head, log_.number);
	cr_expect_not(appender_has_heads(a));
	appender_end(a);
	fix_expect_holds(log_.number);
	fix_close();
	fix_open();
	fix_expect_holds(log_.number);
}

/* Whatever a head lies about, it is refused, and what came before it stays. */
Test(appender, every_lie_is_refused)
{
	struct buf conf = {0};

	synth_conf(&log_, 2, 2, &conf);
	cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &copy), 0);
	buf_release(&conf);
	synth_grow(&log_, 200000);
	/* The epoch that is granted newest is the one that may append. */
	log_.epoch = 2;
	fix_append_all();
	log_.epoch = 1;
	for (int lie = 0; lie < LIE_END; lie++) {
		struct synth bad;
		struct appender *a;
		int rc;

		synth_init(&bad, 7);
		synth_grow(&bad, 200000);
		synth_block(&bad, 1000);
		synth_lying_head(&bad, (enum synth_lie)lie);
		log_.epoch = 2;
		cr_assert_eq(fix_begin(&a), 0);
		struct synth good = log_;
		log_ = bad;
		rc = fix_feed(a, synth_head_end(&bad, 1), bad.end, 1 << 20);
		log_ = good;
		cr_expect_eq(rc, -ERR_TAMPERED, "lie %d: %s", lie, err_detail(rc));
		cr_expect_not(appender_has_heads(a));
		appender_end(a);
		log_.epoch = 1;
		fix_expect_holds(1);
		synth_release(&bad);
	}
}

static int feed_raw(uint64_t pos, const void *bytes, size_t len)
{
	struct appender *a;
	uint8_t *room;
	int rc;

	cr_assert_eq(fix_begin(&a), 0);
	rc = appender_room(a, pos, len, &room);
	if (rc == 0) {
		memcpy(room, bytes, len);
		rc = appender_take(a);
	}
	appender_end(a);
	return rc;
}

Test(appender, bad_bytes_are_refused)
{
	uint8_t garbage[1000];
	uint64_t end;

	memset(garbage, 0xa5, sizeof(garbage));
	cr_expect_eq(feed_raw(0, garbage, sizeof(garbage)), -ERR_DAMAGED);
	cr_expect_eq(feed_raw(100, garbage, sizeof(garbage)), -EINVAL);
	synth_segment(&log_, 0);
	synth_block(&log_, 3000);
	synth_head(&log_);
	/* Half a block, a flipped frame, no header first. */
	cr_expect_eq(feed_raw(0, synth_bytes(&log_, 0), log_.end - 1), -ERR_DAMAGED);
	cr_expect_eq(feed_raw(0, synth_bytes(&log_, 0), 5), -ERR_DAMAGED);
	cr_expect_eq(feed_raw(0, synth_bytes(&log_, log_.blocks[1].pos), 100), -ERR_DAMAGED);
	fix_expect_holds(0);
	fix_append_all();
	end = log_.end;
	synth_block(&log_, 3000);
	/* Not where the log ends; over a segment's end; nothing; too much. */
	cr_expect_eq(feed_raw(end + 1, synth_bytes(&log_, end), 100), -EINVAL);
	cr_expect_eq(feed_raw(end - 1, synth_bytes(&log_, end), 100), -EINVAL);
	cr_expect_eq(feed_raw(SEGMENT_SIZE - 10, garbage, 100), -EINVAL);
	cr_expect_eq(feed_raw(end, garbage, 0), -EINVAL);
	cr_expect_eq(feed_raw(0, garbage, 100), -EINVAL);
	cr_expect_eq(feed_raw(UINT64_MAX - SEGMENT_SIZE + 1, garbage, 100), -EINVAL);
	cr_expect_eq(feed_raw(APPENDER_POSITION_MAX, garbage, 100), -EINVAL);
	/* Data in the place of a segment's header. */
	cr_expect_eq(feed_raw(SEGMENT_SIZE, synth_bytes(&log_, end), 3012), -ERR_DAMAGED);
	fix_expect_holds(1);
	cr_expect_eq(fix_segment_len(1), -1);
}

Test(appender, too_much_in_one_message)
{
	struct appender *a;
	uint8_t *room;

	cr_assert_eq(fix_begin(&a), 0);
	cr_expect_eq(appender_room(a, 0, APPENDER_DATA_MAX + 1, &room), -EINVAL);
	appender_end(a);
}

/* A flipped bit anywhere in what a head covers is found by the head at the latest. */
Test(appender, a_flipped_bit_is_found)
{
	synth_segment(&log_, 0);
	synth_block(&log_, 300);
	synth_head(&log_);
	for (size_t at = 0; at < log_.end; at += 7) {
		uint8_t *bytes = malloc(log_.end);
		int rc;

		memcpy(bytes, synth_bytes(&log_, 0), log_.end);
		bytes[at] ^= 1 << at % 8;
		rc = feed_raw(0, bytes, log_.end);
		free(bytes);
		cr_assert(rc == -ERR_DAMAGED || rc == -ERR_TAMPERED || rc == -ERR_VERSION,
			  "byte %zu: %d", at, rc);
	}
	fix_expect_holds(0);
}

Test(appender, openings)
{
	struct appender_opening o = {.epoch = 1, .cancel = fix_no_cancel};
	struct appender *a;
	struct buf conf = {0};

	synth_segment(&log_, 0);
	synth_head(&log_);
	cr_expect_eq(appender_begin(copy, "cn:thief", &o, &a), -ERR_FORBIDDEN);
	o.epoch = 2;
	cr_expect_eq(appender_begin(copy, WHO, &o, &a), -ERR_STALE);
	o.epoch = 1;
	o.position = 5;
	cr_expect_eq(appender_begin(copy, WHO, &o, &a), -ERR_STALE);
	fix_append_all();
	/* A fork: other ends, other heads. */
	o.position = log_.end;
	o.head = 2;
	cr_expect_eq(appender_begin(copy, WHO, &o, &a), -ERR_STALE);
	cr_expect(strstr(err_detail(-ERR_STALE), "stands at head 1"));
	o.position = 0;
	o.head = 0;
	cr_expect_eq(appender_begin(copy, WHO, &o, &a), -ERR_STALE);
	/* A granted epoch fences the one before. */
	o.position = log_.end;
	o.head = 1;
	cr_assert_eq(appender_begin(copy, WHO, &o, &a), 0);
	appender_end(a);
	synth_conf(&log_, 2, 2, &conf);
	cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &copy), 0);
	cr_expect_eq(appender_begin(copy, WHO, &o, &a), -ERR_STALE);
	o.epoch = 2;
	cr_assert_eq(appender_begin(copy, WHO, &o, &a), 0);
	appender_end(a);
	buf_release(&conf);
}

struct former {
	struct appender *a;
	pthread_mutex_t mu;
	pthread_cond_t told;
	bool cancelled;
};

static void cancel_former(void *ctx)
{
	struct former *f = ctx;

	pthread_mutex_lock(&f->mu);
	f->cancelled = true;
	pthread_cond_signal(&f->told);
	pthread_mutex_unlock(&f->mu);
}

static void *end_when_told(void *ctx)
{
	struct former *f = ctx;

	pthread_mutex_lock(&f->mu);
	while (!f->cancelled)
		pthread_cond_wait(&f->told, &f->mu);
	pthread_mutex_unlock(&f->mu);
	appender_end(f->a);
	return NULL;
}

Test(appender, a_newer_stream_takes_over)
{
	struct former f = {.mu = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};
	struct appender_opening o = {.epoch = 1, .cancel = cancel_former, .ctx = &f};
	struct appender *second;
	pthread_t thread;

	synth_segment(&log_, 0);
	synth_block(&log_, 100);
	cr_assert_eq(appender_begin(copy, WHO, &o, &f.a), 0);
	cr_assert_eq(fix_feed(f.a, 0, log_.end, 1 << 20), 0);
	cr_assert_eq(pthread_create(&thread, NULL, end_when_told, &f), 0);
	cr_assert_eq(fix_begin(&second), 0);
	pthread_join(thread, NULL);
	synth_head(&log_);
	cr_assert_eq(fix_feed(second, 0, log_.end, 1 << 20), 0);
	appender_end(second);
	fix_expect_holds(0);
	fix_append_all();
	fix_expect_holds(1);
}

struct fence {
	struct former former;
	bool in_force; /* guarded by former.mu */
};

static void *grant_next(void *arg)
{
	struct fence *f = arg;
	struct buf conf = {0};
	int rc;

	synth_conf(&log_, 2, 2, &conf);
	rc = copy_put_params(copy, conf.p, conf.len);
	buf_release(&conf);
	pthread_mutex_lock(&f->former.mu);
	f->in_force = true;
	pthread_cond_broadcast(&f->former.told);
	pthread_mutex_unlock(&f->former.mu);
	return (void *)(intptr_t)rc;
}

/* A head that verified before a newer epoch was granted is committed before it is in force, or never. */
Test(appender, a_fence_waits_for_who_it_keeps_out)
{
	struct fence f = {
		.former = {.mu = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER}};
	struct appender_opening o = {.epoch = 1, .cancel = cancel_former, .ctx = &f.former};
	struct appender *a;
	struct copy_committed s;
	pthread_t thread;
	void *rc;

	synth_segment(&log_, 0);
	synth_head(&log_);
	cr_assert_eq(appender_begin(copy, WHO, &o, &a), 0);
	cr_assert_eq(fix_feed(a, 0, log_.end, 1 << 20), 0);
	cr_assert_eq(pthread_create(&thread, NULL, grant_next, &f), 0);
	pthread_mutex_lock(&f.former.mu);
	while (!f.former.cancelled && !f.in_force)
		pthread_cond_wait(&f.former.told, &f.former.mu);
	cr_expect(!f.in_force, "the older epoch's appender is still at work");
	pthread_mutex_unlock(&f.former.mu);
	cr_expect_eq(appender_commit(a, &s), 0);
	appender_end(a);
	cr_assert_eq(pthread_join(thread, &rc), 0);
	cr_expect_eq((intptr_t)rc, 0);
	fix_expect_holds(1);
	cr_expect_eq(appender_begin(copy, WHO, &o, &a), -ERR_STALE);
}

/* Fail the Nth call of one kind, once. */
struct fault {
	const char *op;
	int countdown;
	int rc;
	bool hit;
};

static int fail_nth(void *ctx, const char *op)
{
	struct fault *f = ctx;

	if (strcmp(op, f->op) != 0 || f->countdown-- != 0)
		return 0;
	f->hit = true;
	return f->rc;
}

/*
 * Every write, sync, creation and cut fails once; the copy stays what it was, and takes the rest
 * afterwards.
 */
static void fail_each(const char *op, int why)
{
	for (int n = 0;; n++) {
		struct fault f = {.op = op, .countdown = n, .rc = why};
		struct copy_committed s;
		struct appender *a;
		uint64_t before = fix_committed().head;
		int rc;

		synth_block(&log_, 300000);
		synth_segment(&log_, segment_of(log_.end) + 1);
		synth_block(&log_, 300000);
		synth_head(&log_);
		fix_set_fault(fail_nth, &f);
		rc = fix_begin(&a);
		if (rc == 0) {
			rc = fix_feed(a, fix_committed().end, log_.end, 1 << 20);
			if (rc == 0)
				rc = appender_commit(a, &s);
			appender_end(a);
		}
		fix_set_fault(NULL, NULL);
		if (rc < 0)
			cr_assert(f.hit, "%s", err_detail(rc));
		fix_expect_holds(rc == 0 ? log_.number : before);
		fix_append_all();
		fix_expect_holds(log_.number);
		fix_close();
		fix_open();
		fix_expect_holds(log_.number);
		if (!f.hit)
			break;
		cr_assert_lt(n, 50);
	}
}

static void fail_all(const char *const *ops, int why)
{
	synth_segment(&log_, 0);
	synth_head(&log_);
	fix_append_all();
	for (; *ops; ops++)
		fail_each(*ops, why);
}

Test(appender, full_disk)
{
	static const char *const files[] = {"write", NULL};
	static const char *const slots[] = {"write", "commit", "create", "kv_write", NULL};

	fail_all(fix_memory ? slots : files, -ENOSPC);
}

Test(appender, failing_syncs)
{
	static const char *const files[] = {"sync_data", "sync", NULL};
	static const char *const slots[] = {"commit", "drain", NULL};

	fail_all(fix_memory ? slots : files, -EIO);
}

Test(appender, failing_opens_and_cuts)
{
	static const char *const files[] = {"open", "truncate", "unlink", NULL};
	static const char *const slots[] = {"truncate", "remove", "read", "take", "index", NULL};

	fail_all(fix_memory ? slots : files, -EIO);
}

/* What was called a failure may be carried out later, or never; an acknowledgement is never taken back. */
Test(appender, failures_that_land_later)
{
	if (!fix_memory)
		return;
	synth_segment(&log_, 0);
	synth_head(&log_);
	fix_append_all();
	fail_each("write", MEMORY_LATE | EIO);
	fail_each("commit", MEMORY_LATE | EIO);
}

/* Another server has taken the lease: nothing of this one's lands any more, and it says so. */
Test(appender, a_lease_that_is_lost_ends_the_stream)
{
	struct buf conf = {0};
	struct storage_pool *pool;
	struct vault *other;
	struct copy *theirs;
	struct copy_committed s;
	struct appender *a;

	if (!fix_memory)
		return;
	synth_segment(&log_, 0);
	synth_head(&log_);
	fix_append_all();
	synth_block(&log_, 70);
	synth_head(&log_);
	cr_assert_eq(fix_begin(&a), 0);
	cr_assert_eq(fix_feed(a, fix_committed().end, log_.end, 1 << 20), 0);
	cr_assert_eq(storage_memory_open(memory, "other", &pool), 0);
	cr_assert_eq(vault_open(pool, &other), 0);
	cr_expect_eq(vault_find(other, log_.id, &theirs), -ERR_LOCKED);
	vault_close(other);
	memory_expire(memory);
	cr_assert_eq(storage_memory_open(memory, "other", &pool), 0);
	cr_assert_eq(vault_open(pool, &other), 0);
	cr_assert_eq(vault_find(other, log_.id, &theirs), 0);
	cr_expect_eq(appender_commit(a, &s), -ERR_STALE);
	appender_end(a);
	copy_get_committed(theirs, &s);
	cr_expect_eq(s.head, 1);
	cr_expect_eq(fix_committed().head, 1);
	cr_expect_eq(fix_begin(&a), -ERR_LOCKED);
	/* What its owner told the other one meanwhile counts here too. */
	synth_conf(&log_, 2, 2, &conf);
	cr_expect_eq(vault_put(other, conf.p, conf.len, WHO, &theirs), 0);
	buf_release(&conf);
	vault_close(other);
	cr_expect_eq(fix_begin(&a), -ERR_STALE);
	cr_expect(strstr(err_detail(-ERR_STALE), "the newest granted here is 2"), "%s",
		  err_detail(-ERR_STALE));
	log_.epoch = 2;
	cr_assert_eq(fix_begin(&a), 0);
	appender_end(a);
	fix_expect_holds(1);
}
