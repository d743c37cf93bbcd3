/* The store folder: who may do what, locks, and damage that stays with its volume. */

#include "vault_fixture.h"

#include "appender.h"
#include "err.h"
#include "file.h"
#include "params.h"
#include "storage_folder.h"
#include "storage_memory.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(vault, .init = fix_set_up, .fini = fix_tear_down, .timeout = 300);

Test(vault, a_damaged_volume_is_an_error_of_its_own)
{
	struct synth other;
	struct buf conf = {0};
	int rc;

	synth_init(&other, 8);
	synth_conf(&other, 1, 1, &conf);
	cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &copy), 0);
	cr_assert_eq(vault_find(vault, log_.id, &copy), 0);
	synth_grow(&log_, 70 << 20);
	fix_append_all();
	fix_close();
	fix_put(1 << 20, "xxxx", 4);
	fix_drop_index();
	fix_open_vault();
	rc = vault_find(vault, log_.id, &copy);
	cr_expect(rc == -ERR_DAMAGED || rc == -ERR_TAMPERED, "%d", rc);
	cr_expect(strlen(err_detail(rc)) > 20);
	cr_expect_eq(vault_find(vault, log_.id, &copy), rc, "the failure is remembered");
	cr_expect_eq(vault_find(vault, other.id, &copy), 0);
	buf_release(&conf);
	synth_release(&other);
}

static int fail_stat(void *ctx, const char *op)
{
	(void)ctx;
	return strcmp(op, fix_memory ? "has" : "stat") == 0 ? -EIO : 0;
}

/* A home that hears "no such volume" would have it created. */
Test(vault, a_folder_that_cannot_be_looked_at_is_not_absent)
{
	struct buf conf = {0};

	synth_conf(&log_, 1, 1, &conf);
	fix_close();
	fix_open_vault();
	fix_set_fault(fail_stat, NULL);
	cr_expect_eq(vault_find(vault, log_.id, &copy), -EIO);
	cr_expect_eq(vault_put(vault, conf.p, conf.len, WHO, &copy), -EIO);
	fix_set_fault(NULL, NULL);
	cr_expect_eq(vault_find(vault, log_.id, &copy), 0);
	buf_release(&conf);
}

static int fail_sync(void *ctx, const char *op)
{
	(void)ctx;
	return strcmp(op, fix_memory ? "put_conf" : "sync") == 0 ? -EIO : 0;
}

/* The server that made the store's folder may have been killed before its name was durable. */
Test(vault, a_store_that_is_there_already_is_made_durable_in_name)
{
	struct storage_pool *pool;

	FOLDER_ONLY();
	fix_close();
	fix_set_fault(fail_sync, NULL);
	cr_expect_eq(storage_folder_open(dir, &pool), -EIO);
	fix_set_fault(NULL, NULL);
	fix_open_vault();
}

Test(vault, volume_conf)
{
	struct buf first = {0}, second = {0}, fewer = {0}, stored = {0};
	struct copy *same;

	synth_conf(&log_, 1, 1, &first);
	synth_conf(&log_, 2, 2, &second);
	synth_conf(&log_, 3, 1, &fewer);
	cr_expect_eq(vault_put(vault, first.p, first.len, WHO, &same), 0, "the same again");
	cr_expect_eq(same, copy);
	cr_expect_eq(vault_put(vault, second.p, second.len, "cn:thief", &same), -ERR_FORBIDDEN);
	cr_expect_eq(vault_put(vault, second.p, second.len, WHO, &same), 0);
	cr_expect_eq(vault_put(vault, first.p, first.len, WHO, &same), -ERR_STALE);
	cr_expect_eq(vault_put(vault, fewer.p, fewer.len, WHO, &same), -ERR_FORBIDDEN);
	second.p[second.len / 2] ^= 1;
	cr_expect_lt(vault_put(vault, second.p, second.len, WHO, &same), 0);
	second.p[second.len / 2] ^= 1;
	cr_expect_lt(vault_put(vault, "", 0, WHO, &same), 0);
	fix_close();
	fix_open();
	cr_assert_eq(copy_get_params(copy, &stored), 0);
	cr_expect_eq(stored.len, second.len);
	cr_expect_arr_eq(stored.p, second.p, second.len);
	cr_expect(copy_owned_by(copy, WHO));
	cr_expect_not(copy_owned_by(copy, "local"));
	buf_release(&first);
	buf_release(&second);
	buf_release(&fewer);
	buf_release(&stored);
}

static void no_cancel(void *ctx)
{
	(void)ctx;
}

/* Whether a writer of epoch 1 may append. */
static int try_old_writer(void)
{
	struct appender_opening o = {.epoch = 1, .cancel = no_cancel};
	struct copy_committed s;
	struct appender *a;
	int rc;

	copy_get_committed(copy, &s);
	o.position = s.end;
	o.head = s.head;
	rc = appender_begin(copy, WHO, &o, &a);
	if (rc == 0)
		appender_end(a);
	return rc;
}

/*
 * A volume.conf that fences the old writer, and a folder's sync that fails: the owner is told, what was
 * in force stays, and the same again is written again, not taken for done: then the fence is up.
 */
Test(vault, a_fence_that_could_not_be_stored_is_put_up_by_the_next_attempt)
{
	struct buf second = {0};
	struct copy *same;

	synth_conf(&log_, 2, 2, &second);
	cr_expect_eq(try_old_writer(), 0);
	for (int i = 0; i < 2; i++) {
		fix_set_fault(fail_sync, NULL);
		cr_expect_eq(vault_put(vault, second.p, second.len, WHO, &same), -EIO);
		fix_set_fault(NULL, NULL);
		cr_expect_eq(try_old_writer(), 0);
	}
	cr_expect_eq(vault_put(vault, second.p, second.len, WHO, &same), 0);
	cr_expect_eq(try_old_writer(), -ERR_STALE);
	fix_close();
	fix_open();
	cr_expect_eq(try_old_writer(), -ERR_STALE);
	buf_release(&second);
}

Test(vault, same_serial_other_bytes)
{
	struct buf other = {0};
	struct copy *same;

	/* Serial 1 as before, but one more grant. */
	synth_conf(&log_, 1, 2, &other);
	cr_expect_eq(vault_put(vault, other.p, other.len, WHO, &same), -ERR_STALE);
	buf_release(&other);
}

static int count_name(void *ctx, const char *name)
{
	(void)name;
	++*(int *)ctx;
	return 0;
}

static int descriptors(void)
{
	int n = 0;

	cr_assert_eq(file_list(AT_FDCWD, "/proc/self/fd", count_name, &n), 0);
	return n;
}

/* What a volume takes is for as long as it is in use. */
Test(vault, a_copy_that_nobody_uses_is_closed_and_opened_again)
{
	struct appender *a;
	int open_n, closed_n;

	synth_grow(&log_, 1 << 20);
	fix_append_all();
	fix_close();
	fix_open_vault();
	closed_n = descriptors();
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(vault_find(vault, log_.id, &copy), 0);
		fix_expect_holds(log_.number);
		open_n = descriptors();
		cr_expect(fix_memory || open_n > closed_n);
		/* Another counts too, and a stream that is at work. */
		copy_ref(copy);
		cr_assert_eq(fix_begin(&a), 0);
		copy_unref(copy);
		cr_expect_eq(vault_rest(vault, 0), 0, "it is in use");
		cr_expect_eq(descriptors(), open_n);
		appender_end(a);
		copy_unref(copy);
		cr_expect_eq(vault_rest(vault, UINT64_C(3600) * 1000000000), 0, "it just was");
		cr_expect_eq(vault_rest(vault, 0), 1);
		cr_expect_eq(vault_rest(vault, 0), 0);
		cr_expect_eq(descriptors(), closed_n);
	}
	cr_assert_eq(vault_find(vault, log_.id, &copy), 0);
}

#define ASKERS 3
#define QUESTIONS 60

static atomic_uint asking;

static void *ask(void *arg)
{
	uint64_t end = synth_head_end(&log_, log_.number);

	for (int i = 0; i < QUESTIONS; i++) {
		struct copy_committed s;
		struct copy *c;
		uint64_t len;
		int rc;

		/* On a machine that stands still for long it may take too long. */
		while ((rc = vault_find(vault, log_.id, &c)) == -ERR_LOCKED)
			;
		cr_assert_eq(rc, 0);
		sched_yield();
		copy_get_committed(c, &s);
		cr_expect_eq(s.end, end);
		cr_expect(copy_owned_by(c, WHO));
		/* From the disk. */
		cr_expect_eq(copy_clip(c, 0, 1, &len), 0);
		copy_unref(c);
	}
	atomic_fetch_sub(&asking, 1);
	return arg;
}

/* Whoever asks while it is being closed waits, and gets it opened anew. */
Test(vault, a_copy_is_asked_for_while_it_is_closed)
{
	pthread_t threads[ASKERS];
	struct buf conf = {0};

	synth_conf(&log_, 1, 1, &conf);
	synth_grow(&log_, 1 << 20);
	fix_append_all();
	copy_unref(copy);
	atomic_store(&asking, ASKERS);
	for (int i = 0; i < ASKERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, ask, NULL), 0);
	while (atomic_load(&asking) > 0)
		(void)vault_rest(vault, 0);
	for (int i = 0; i < ASKERS; i++)
		pthread_join(threads[i], NULL);
	/* Refusals give theirs back, too. */
	cr_expect_eq(vault_put(vault, conf.p, conf.len, "cn:thief", &copy), -ERR_FORBIDDEN);
	(void)vault_rest(vault, 0);
	cr_expect_eq(vault_find(vault, log_.id, &copy), 0);
	copy_unref(copy);
	cr_expect_eq(vault_rest(vault, 0), 1);
	buf_release(&conf);
}

static struct {
	pthread_mutex_t mu;
	pthread_cond_t change;
	unsigned most; /* so many openings take until the test lets them end */
	unsigned begun;
	bool may_end;
} opening = {.mu = PTHREAD_MUTEX_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

static int take_long(void *ctx, const char *op)
{
	(void)ctx;
	if (strcmp(op, fix_memory ? "take" : "mkdir") != 0)
		return 0;
	pthread_mutex_lock(&opening.mu);
	if (opening.begun < opening.most) {
		opening.begun++;
		pthread_cond_broadcast(&opening.change);
		while (!opening.may_end)
			pthread_cond_wait(&opening.change, &opening.mu);
	}
	pthread_mutex_unlock(&opening.mu);
	return 0;
}

static void *open_it(void *arg)
{
	struct copy *c;

	cr_assert_eq(vault_find(vault, arg, &c), 0);
	return c;
}

/* Have the ${n} volumes opened, which takes until end_openings(). */
static void begin_openings(uint8_t (*ids)[VOLUME_ID_LEN], pthread_t *openers, unsigned n)
{
	opening.most = n;
	fix_set_fault(take_long, NULL);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(pthread_create(&openers[i], NULL, open_it, ids[i]), 0);
	pthread_mutex_lock(&opening.mu);
	while (opening.begun < n)
		pthread_cond_wait(&opening.change, &opening.mu);
	pthread_mutex_unlock(&opening.mu);
}

static void end_openings(pthread_t *openers, unsigned n)
{
	pthread_mutex_lock(&opening.mu);
	opening.may_end = true;
	pthread_cond_broadcast(&opening.change);
	pthread_mutex_unlock(&opening.mu);
	for (unsigned i = 0; i < n; i++)
		pthread_join(openers[i], NULL);
}

/* Make ${n} volumes, and open the vault anew. */
static void make_volumes(uint8_t (*ids)[VOLUME_ID_LEN], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct buf conf = {0};
		struct synth other;
		struct copy *c;

		synth_init(&other, 8 + i);
		synth_conf(&other, 1, 1, &conf);
		cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &c), 0);
		memcpy(ids[i], other.id, VOLUME_ID_LEN);
		buf_release(&conf);
		synth_release(&other);
	}
	fix_close();
	fix_open_vault();
}

/* A recovery may take hours: it must not take a thread of each who asks meanwhile. */
Test(vault, who_asks_for_a_volume_that_takes_long_to_open_is_sent_away)
{
	uint8_t ids[2][VOLUME_ID_LEN];
	struct copy *none;
	pthread_t opener;

	make_volumes(ids, 2);
	begin_openings(ids, &opener, 1);
	for (int i = 0; i < 2; i++) {
		cr_expect_eq(vault_find(vault, ids[0], &none), -ERR_LOCKED);
		cr_expect_null(none);
	}
	cr_expect_eq(vault_rest(vault, 0), 0);
	cr_expect_eq(vault_find(vault, ids[1], &none), 0, "the others are served");
	end_openings(&opener, 1);
	cr_expect_eq(vault_find(vault, ids[0], &none), 0);
}

/* Nor may many of them take all threads: volumes that are open are asked for meanwhile. */
Test(vault, few_volumes_are_opened_at_a_time)
{
	uint8_t ids[VAULT_OPENING_MAX + 2][VOLUME_ID_LEN];
	pthread_t openers[VAULT_OPENING_MAX];
	struct copy *c;

	make_volumes(ids, VAULT_OPENING_MAX + 2);
	cr_assert_eq(vault_find(vault, ids[VAULT_OPENING_MAX], &c), 0);
	begin_openings(ids, openers, VAULT_OPENING_MAX);
	for (int i = 0; i < 2; i++)
		cr_expect_eq(vault_find(vault, ids[VAULT_OPENING_MAX + 1], &c), -ERR_LOCKED);
	cr_expect_eq(vault_find(vault, ids[VAULT_OPENING_MAX], &c), 0, "it is open");
	end_openings(openers, VAULT_OPENING_MAX);
	cr_expect_eq(vault_find(vault, ids[VAULT_OPENING_MAX + 1], &c), 0, "it was not its failure");
}

static int count(void *ctx, const uint8_t id[VOLUME_ID_LEN])
{
	cr_expect_arr_eq(id, log_.id, VOLUME_ID_LEN);
	++*(int *)ctx;
	return 0;
}

Test(vault, lists_and_locks)
{
	uint8_t unknown[VOLUME_ID_LEN] = {1};
	struct storage_pool *second;
	struct copy *none;
	int n = 0;

	cr_assert_eq(vault_list(vault, count, &n), 0);
	cr_expect_eq(n, 1);
	cr_expect_eq(vault_find(vault, unknown, &none), -ERR_NO_VOLUME);
	FOLDER_ONLY();
	cr_expect_eq(storage_folder_open(dir, &second), -ERR_LOCKED);
	cr_expect_lt(storage_folder_open("/proc/nowhere/store", &second), 0);
}

/* What looks like a volume of ${who}'s. */
static void make_owned(const uint8_t id[VOLUME_ID_LEN], const char *who)
{
	char hex[VOLUME_ID_TEXT_LEN], path[600];
	struct storage_pool *pool;

	if (fix_memory) {
		cr_assert_eq(storage_memory_open(memory, dir, &pool), 0);
		cr_assert_eq(storage_pool_create(pool, id, who, "", 0), 0);
		storage_pool_close(pool);
		return;
	}
	volume_id_format(id, hex);
	snprintf(path, sizeof(path), "%s/%s", dir, hex);
	cr_assert_eq(file_mkdir(AT_FDCWD, path, 0700), 0);
	snprintf(path, sizeof(path), "%s/%s/owner", dir, hex);
	cr_assert_eq(file_replace(AT_FDCWD, path, who, strlen(who), 0600), 0);
}

static const uint8_t greatest_id[VOLUME_ID_LEN] = {[0 ... VOLUME_ID_LEN - 1] = 0xff};

struct greatest {
	unsigned n;
	bool seen;
};

static int see_greatest(void *ctx, const uint8_t id[VOLUME_ID_LEN])
{
	struct greatest *g = ctx;

	g->n++;
	g->seen = g->seen || memcmp(id, greatest_id, VOLUME_ID_LEN) == 0;
	return 0;
}

/* The listing of volumes ends, and has the one with the greatest number. */
Test(vault, lists_the_greatest_id)
{
	struct greatest g = {0};

	make_owned(greatest_id, WHO);
	cr_assert_eq(vault_list(vault, see_greatest, &g), 0);
	cr_assert(g.seen);
	cr_assert_eq(g.n, 2);
}

Test(vault, one_identity_may_own_its_share)
{
	struct synth other;
	struct copy *made;
	struct buf conf = {0};

	/* One is there already. */
	for (unsigned i = 1; i < VAULT_SHARE_MAX; i++) {
		uint8_t id[VOLUME_ID_LEN] = {(uint8_t)i, (uint8_t)(i >> 8)};

		make_owned(id, WHO);
	}
	synth_init(&other, 9);
	synth_conf(&other, 1, 1, &conf);
	cr_expect_eq(vault_put(vault, conf.p, conf.len, WHO, &made), -ENOSPC);
	cr_expect(strstr(err_detail(-ENOSPC), WHO), "%s", err_detail(-ENOSPC));
	cr_expect_eq(vault_put(vault, conf.p, conf.len, "cn:other", &made), 0);
	buf_release(&conf);
	synth_release(&other);
}
