/* Inodes without a name that an unclean stop left, as the next mount finds them. */

#include "fixture.h"

#include "err.h"
#include "volume_internal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct caller me = {0};

/* In the process that the test forked, which does not answer to Criterion. */
#define need(rc)                                                                                   \
	do {                                                                                       \
		if ((rc) < 0)                                                                      \
			_exit(6);                                                                  \
	} while (0)

/* A file "first", ${n} orphans, and a file "last"; then the process ends without a close. */
static void leave_orphans(struct fixture *f, unsigned n, bool checkpoint)
{
	struct volume_config cfg = {.dir = f->dir, .params = &f->params, .keys = &f->keys};
	struct volume *v;
	struct attr a;
	struct head h;

	need(volume_open(&cfg, &v));
	need(volume_make_node(v, &me, INO_ROOT, "first", S_IFREG | 0600, 0, NULL, &a));
	for (unsigned i = 0; i < n; i++) {
		need(volume_make_unnamed(v, &me, INO_ROOT, S_IFREG | 0600, &a));
		need(volume_write(v, NULL, a.ino, 0, 5, "bytes", false));
	}
	need(volume_make_node(v, &me, INO_ROOT, "last", S_IFREG | 0600, 0, NULL, &a));
	need(checkpoint ? volume_checkpoint(v) : volume_add_head(v, &h));
	_exit(0);
}

static void make_with_orphans(struct fixture *f, unsigned n, bool checkpoint)
{
	int status;

	fixture_make(f);
	if (fork() == 0)
		leave_orphans(f, n, checkpoint);
	cr_assert(wait(&status) > 0);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it ended with %x", status);
}

/* Wait for the dropper, and count what is left. */
static uint64_t inodes_left(struct volume *v)
{
	struct view_usage usage;

	orphans_drop_end(v);
	view_usage(volume_view(v), &usage);
	return usage.inodes;
}

Test(orphans, many_are_dropped_while_the_volume_is_used)
{
	struct view_usage usage;
	struct fixture f;
	struct volume *v;
	struct attr a, mine;

	make_with_orphans(&f, 9000, true);
	v = fixture_open(&f);
	/* One of this mount's own is none that was left. */
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "last", &mine), 0);
	cr_assert_eq(volume_unlink(v, NULL, INO_ROOT, "last"), 0);
	cr_assert_eq(inodes_left(v), 3);
	cr_assert_eq(view_getattr(volume_view(v), mine.ino, &a), 0);
	volume_forget(v, mine.ino);
	cr_assert_eq(view_getattr(volume_view(v), mine.ino, &a), -ENOENT);
	view_usage(volume_view(v), &usage);
	cr_assert_eq(usage.inodes, 2);
	cr_assert_eq(usage.bytes, 0);
	cr_assert_eq(volume_close(v), 0);
	cr_assert_eq(fixture_check(&f), 0);
	fixture_remove(&f);
}

Test(orphans, a_close_does_not_wait_for_all_to_be_dropped)
{
	struct fixture f;
	struct volume *v;

	make_with_orphans(&f, 9000, false);
	v = fixture_open(&f);
	cr_assert_eq(volume_close(v), 0);
	v = fixture_open(&f);
	(void)inodes_left(v);
	cr_assert_eq(volume_close(v), 0);
	v = fixture_open(&f);
	cr_assert_eq(inodes_left(v), 3);
	cr_assert_eq(volume_close(v), 0);
	cr_assert_eq(fixture_check(&f), 0);
	fixture_remove(&f);
}

/* Nor does the thread wait for room in memory: no checkpoint comes any more. */
Test(orphans, a_close_ends_though_memory_is_full, .timeout = 60)
{
	struct fixture f;
	struct volume *v;
	struct attr a;

	fixture_make(&f);
	v = fixture_open(&f);
	cr_assert_eq(volume_make_node(v, &me, INO_ROOT, "f", S_IFREG | 0600, 0, NULL, &a), 0);
	pthread_mutex_lock(&v->clock_mu);
	v->stopping = true;
	pthread_mutex_unlock(&v->clock_mu);
	v->overlay_max = 1;
	cr_assert_eq(change_begin(v), 0);
	cr_assert_eq(volume_close(v), 0);
	cr_assert_eq(fixture_check(&f), 0);
	fixture_remove(&f);
}

/* An item that calls a file with a name an orphan is dropped, and the file is not. */
Test(orphans, one_that_has_a_name_stays, .timeout = 60)
{
	struct item_key key;
	struct fixture f;
	struct volume *v;
	struct attr a;

	fixture_make(&f);
	v = fixture_open(&f);
	cr_assert_eq(volume_make_node(v, &me, INO_ROOT, "f", S_IFREG | 0600, 0, NULL, &a), 0);
	cr_assert_eq(volume_write(v, NULL, a.ino, 0, 5, "bytes", false), 0);
	item_key_num(&key, 0, ITEM_ORPHAN, a.ino);
	change_lock(v);
	cr_assert_eq(change_reserve(v, 1, 0), 0);
	overlay_put(v->view.map.live, key.b, key.len, "", 0);
	change_unlock(v, NULL);
	cr_assert_eq(volume_close(v), 0);
	cr_assert_eq(fixture_check(&f), -ERR_DAMAGED);

	v = fixture_open(&f);
	cr_assert_eq(inodes_left(v), 2);
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "f", &a), 0);
	cr_assert_eq(a.nlink, 1);
	cr_assert_eq(a.size, 5);
	cr_assert_eq(volume_close(v), 0);
	cr_assert_eq(fixture_check(&f), 0);
	fixture_remove(&f);
}

/* One in a leaf that is damaged stays, and keeps neither the mount nor the others back. */
Test(orphans, those_in_a_damaged_leaf_stay)
{
	struct fixture f;
	struct volume *v;
	struct attr a;
	struct block_ptr leaf;
	uint64_t left;

	make_with_orphans(&f, 9000, true);
	/* Read only: nothing is dropped. */
	leaf = fixture_leaf(&f, INO_ROOT + 2000);
	fixture_damage(&f, leaf.pos + leaf.stored_len / 2);
	v = fixture_open(&f);
	left = inodes_left(v);
	cr_assert_gt(left, 3);
	cr_assert_lt(left, 1000);
	cr_assert_eq(volume_make_node(v, &me, INO_ROOT, "new", S_IFREG | 0600, 0, NULL, &a), 0);
	cr_assert_eq(volume_close(v), 0);
	v = fixture_open(&f);
	cr_assert_eq(inodes_left(v), left + 1);
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "new", &a), 0);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}

static struct volume *told_of;
static unsigned told;

static void forget_it(void *ctx, uint64_t ino)
{
	(void)ctx;
	told++;
	volume_forget(told_of, ino);
}

/* Who is told of them may do what needs the volume's locks. */
Test(orphans, are_told_without_a_lock, .timeout = 60)
{
	struct fixture f;
	struct attr a;

	fixture_make(&f);
	told_of = fixture_open(&f);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(volume_make_unnamed(told_of, &me, INO_ROOT, S_IFREG | 0600, &a), 0);
	cr_assert_eq(volume_orphans(told_of, forget_it, NULL), 0);
	cr_assert_eq(told, 3);
	cr_assert_eq(volume_orphans(told_of, forget_it, NULL), 0);
	cr_assert_eq(told, 3);
	cr_assert_eq(volume_close(told_of), 0);
	fixture_remove(&f);
}
