/* The times of changes: taken before the lock, and in order all the same. */

#include "fixture.h"

#include "cache.h"
#include "clock.h"
#include "volume_internal.h"

#include <criterion/criterion.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>

static const struct caller user = {.uid = 1000, .gid = 100};
static struct fixture f;
static struct volume *v;
static unsigned stamps, stamps_under_lock;
static time_t load_s; /* how long it takes to load a node */
static time_t waited_s;

struct timespec __real_clock_stamp(void);
struct timespec __wrap_clock_stamp(void);

static bool lock_is_free(struct view *view) UNFOLLOWED; /* tries the lock */

/* One thread alone changes the volume. */
static bool lock_is_free(struct view *view)
{
	if (pthread_rwlock_tryrdlock(&view->mu) != 0)
		return false;
	pthread_rwlock_unlock(&view->mu);
	return true;
}

struct timespec __wrap_clock_stamp(void)
{
	struct timespec stamp;

	if (v && !lock_is_free(&v->view))
		stamps_under_lock++;
	stamps++;
	stamp = __real_clock_stamp();
	stamp.tv_sec += waited_s;
	return stamp;
}

int __real_node_cache_load(struct node_cache *c, const struct need *need, struct node **out);
int __wrap_node_cache_load(struct node_cache *c, const struct need *need, struct node **out);

int __wrap_node_cache_load(struct node_cache *c, const struct need *need, struct node **out)
{
	waited_s += load_s;
	return __real_node_cache_load(c, need, out);
}

static void setup(void)
{
	fixture_make(&f);
	v = fixture_open(&f);
}

static void teardown(void)
{
	struct volume *was = v;

	v = NULL;
	cr_assert_eq(volume_close(was), 0);
	fixture_remove(&f);
}

TestSuite(times, .init = setup, .fini = teardown);

static uint64_t make(const char *name, uint32_t mode)
{
	struct attr a;

	cr_assert_eq(volume_make_node(v, &user, INO_ROOT, name, mode, 0, NULL, &a), 0);
	return a.ino;
}

/* Other threads wait for the exclusive lock: no system call is made under it. */
Test(times, the_kernel_is_not_asked_under_the_lock)
{
	struct attr a, want = {.size = 5};
	uint64_t file, done;

	stamps = 0;
	file = make("file", S_IFREG | 0600);
	cr_assert_eq(volume_write(v, &user, file, 0, 5, "bytes", 0), 0);
	cr_assert_eq(volume_setattr(v, &user, file, SET_SIZE, &want, &a), 0);
	cr_assert_eq(volume_allocate(v, &user, file, 0, 0, 9), 0);
	cr_assert_eq(volume_allocate(v, &user, file, FALLOC_FL_ZERO_RANGE, 0, 4), 0);
	cr_assert_eq(volume_copy_range(v, &user, file, 0, file, 100, 9, &done), 0);
	cr_assert_eq(volume_setxattr(v, &user, file, "user.a", "1", 1, 0), 0);
	cr_assert_eq(volume_removexattr(v, &user, file, "user.a"), 0);
	cr_assert_eq(volume_link(v, &user, file, INO_ROOT, "link", &a), 0);
	cr_assert_eq(volume_rename(v, &user, INO_ROOT, "link", INO_ROOT, "new", 0), 0);
	cr_assert_eq(volume_unlink(v, &user, INO_ROOT, "new"), 0);
	make("folder", S_IFDIR | 0700);
	cr_assert_eq(volume_rmdir(v, &user, INO_ROOT, "folder"), 0);
	cr_assert_eq(volume_make_unnamed(v, &user, INO_ROOT, S_IFREG | 0600, &a), 0);
	volume_accessed(v, file, true);
	cr_assert_eq(stamps_under_lock, 0);
	cr_assert_eq(stamps, 15, "one for each operation, not %u", stamps);
}

/* Who says all times, as the kernel does for what it cached, needs none. */
Test(times, the_kernel_is_not_asked_for_nothing)
{
	struct attr a, want = {.size = 5, .mtime.tv_sec = 7, .ctime.tv_sec = 8};
	uint64_t file = make("file", S_IFREG | 0600);

	stamps = 0;
	cr_assert_eq(volume_write(v, &user, file, 0, 5, "bytes", WRITE_KEEP_TIMES), 0);
	cr_assert_eq(volume_setattr(v, &user, file, SET_SIZE | SET_MTIME | SET_CTIME, &want, &a),
		     0);
	cr_assert_eq(a.mtime.tv_sec, 7);
	cr_assert_eq(a.ctime.tv_sec, 8);
	cr_assert_eq(stamps, 0);
}

/* A head that is made while a change waits for the disk must not be newer than the change. */
Test(times, a_change_that_waited_is_not_older)
{
	struct attr a, want = {.mode = 0640};
	uint64_t file = 0;

	for (unsigned i = 0; i < 2000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "file%u", i);
		file = make(name, S_IFREG | 0600);
	}
	cr_assert_eq(volume_close(v), 0);
	v = NULL;
	v = fixture_open(&f);
	load_s = 1000;
	waited_s = 0;
	cr_assert_eq(volume_setattr(v, &user, file - 1000, SET_MODE, &want, &a), 0);
	cr_assert_geq(waited_s, load_s, "nothing was waited for");
	cr_expect_geq(a.ctime.tv_sec, clock_stamp().tv_sec - 500, "%lld s old",
		      (long long)(clock_stamp().tv_sec - a.ctime.tv_sec));
}

static struct timespec time_of(const struct change_stamp *s)
{
	struct timespec t;

	change_lock(v);
	t = change_time(v, s);
	change_unlock(v, NULL);
	return t;
}

static bool equal(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* One asked for the time first and makes its change second: it is not older than the other. */
Test(times, changes_have_times_in_their_order)
{
	struct change_stamp first = change_stamp(v), second = change_stamp(v), later;
	struct timespec t;

	first.at.tv_sec -= 2;
	second.at.tv_sec -= 1;
	time_of(&second);
	t = time_of(&first);
	cr_assert(equal(&t, &second.at));
	later = change_stamp(v);
	t = time_of(&later);
	cr_assert(equal(&t, &later.at));
}

/* Times follow a clock that is set back at once, as the kernel's own do. */
Test(times, a_clock_is_set_back)
{
	struct change_stamp before = change_stamp(v), between = change_stamp(v), after;
	struct timespec t;

	time_of(&before);
	after = change_stamp(v);
	after.at.tv_sec -= 3600;
	t = time_of(&after);
	cr_assert(equal(&t, &after.at));
	/* Asked before it was set back, made after: for this one change the clock goes on. */
	t = time_of(&between);
	cr_assert(equal(&t, &between.at));
	after = change_stamp(v);
	after.at.tv_sec -= 3600;
	t = time_of(&after);
	cr_assert(equal(&t, &after.at));
}
