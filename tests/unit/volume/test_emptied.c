/*
 * A large folder whose entries were all removed since the newest checkpoint, as a mount after a kill
 * finds it: the tree still has them, the overlay says of each that it is gone, no node is in memory,
 * and the cache has no room for all of them.
 */

#include "fixture.h"

#include "err.h"
#include "volume_internal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* As items of the tree they have more than MEMORY / 4. */
#define FILES 80000u
#define MEMORY (UINT64_C(64) << 20)

static const struct caller me = {0};
static struct fixture f;
static struct volume *v;
static struct attr dir;

/* In the process that the test forked, which does not answer to Criterion. */
#define need(rc)                                                                                   \
	do {                                                                                       \
		if ((rc) < 0)                                                                      \
			_exit(6);                                                                  \
	} while (0)

static struct volume *open_with(uint64_t memory)
{
	struct volume_config cfg = {.dir = f.dir,
				    .params = &f.params,
				    .keys = &f.keys,
				    .checkpoint_s = 100000,
				    .memory_bytes = memory};
	struct volume *opened;

	return volume_open(&cfg, &opened) < 0 ? NULL : opened;
}

/* All but the first ${keep} of them are removed. */
static void leave_emptied(unsigned keep)
{
	char name[NAME_LEN_MAX + 1];
	struct attr a;

	v = open_with(UINT64_C(1) << 30);
	need(v == NULL ? -EIO : 0);
	need(volume_make_node(v, &me, INO_ROOT, "d", S_IFDIR | 0755, 0, NULL, &dir));
	need(volume_make_node(v, &me, INO_ROOT, "e", S_IFDIR | 0755, 0, NULL, &a));
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "%0250u", i);
		need(volume_make_node(v, &me, dir.ino, name, S_IFREG | 0600, 0, NULL, &a));
	}
	need(volume_checkpoint(v));
	for (unsigned i = keep; i < FILES; i++) {
		snprintf(name, sizeof(name), "%0250u", i);
		need(view_lookup(volume_view(v), dir.ino, name, &a));
		need(volume_unlink(v, NULL, dir.ino, name));
		volume_forget(v, a.ino);
	}
	need(volume_sync(v));
	_exit(0);
}

static void make_emptied(unsigned keep)
{
	int status;

	fixture_make(&f);
	if (fork() == 0)
		leave_emptied(keep);
	cr_assert(wait(&status) > 0);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it ended with %x", status);
	v = open_with(MEMORY);
	cr_assert_not_null(v);
	/* No checkpoint comes to help. */
	v->overlay_max = MEMORY;
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "d", &dir), 0);
}

static void end(void)
{
	cr_assert_eq(volume_close(v), 0);
	cr_assert_eq(fixture_check(&f), 0);
	fixture_remove(&f);
}

static int count(void *ctx, const struct view_entry *e)
{
	unsigned *n = ctx;

	*n += strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0;
	return 0;
}

static unsigned entries(void)
{
	unsigned n = 0;

	cr_assert_eq(view_readdir(volume_view(v), dir.ino, 0, true, count, &n), 0);
	return n;
}

Test(emptied, it_is_removed, .timeout = 120)
{
	make_emptied(0);
	cr_assert_eq(volume_rmdir(v, NULL, INO_ROOT, "d"), 0);
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "d", &dir), -ENOENT);
	end();
}

Test(emptied, another_takes_its_place, .timeout = 120)
{
	make_emptied(0);
	cr_assert_eq(volume_rename(v, &me, INO_ROOT, "e", INO_ROOT, "d", 0), 0);
	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "e", &dir), -ENOENT);
	end();
}

Test(emptied, it_is_listed, .timeout = 120)
{
	make_emptied(3);
	cr_assert_eq(entries(), 3);
	cr_assert_eq(volume_rmdir(v, NULL, INO_ROOT, "d"), -ENOTEMPTY);
	end();
}

/* What is left of it is found, though it states nothing. */
Test(emptied, one_that_states_too_little_stays, .timeout = 120)
{
	int rc;

	make_emptied(3);
	change_lock(v);
	cr_assert_eq(change_reserve(v, 1, 0), 0);
	dir.size = 0;
	change_inode(v, &dir);
	change_unlock(v, NULL);
	rc = volume_rmdir(v, NULL, INO_ROOT, "d");
	cr_assert_eq(rc, -ERR_DAMAGED, "%s", err_detail(rc));
	rc = volume_rename(v, &me, INO_ROOT, "e", INO_ROOT, "d", 0);
	cr_assert_eq(rc, -ERR_DAMAGED, "%s", err_detail(rc));
	cr_assert_eq(entries(), 3);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}
