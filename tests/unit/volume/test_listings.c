/*
 * Every listing ends, and shows the greatest key that there can be: from memory, and from a checkpoint.
 */

#include "fixture.h"

#include "err.h"
#include "head.h"
#include "log.h"
#include "source.h"
#include "view.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NAMES 100u

static const struct caller user = {.uid = 1000, .gid = 100};

static struct fixture f;
static struct volume *v;

static void setup(void)
{
	fixture_make(&f);
	v = fixture_open(&f);
}

static void teardown(void)
{
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}

TestSuite(listings, .init = setup, .fini = teardown, .timeout = 120);

/* As it is in memory; and again with all of it in a checkpoint, which is read anew. */
static void in_both(void (*check)(void))
{
	check();
	cr_assert_eq(volume_checkpoint(v), 0);
	cr_assert_eq(volume_close(v), 0);
	v = fixture_open(&f);
	check();
}

static uint64_t make(uint64_t parent, const char *name, uint32_t mode)
{
	struct attr a;

	cr_assert_eq(volume_make_node(v, &user, parent, name, mode, 0, NULL, &a), 0);
	return a.ino;
}

/* The greatest name there is, but that its first bytes say which. */
static void name_of(char out[NAME_LEN_MAX + 1], unsigned i)
{
	memset(out, 0xff, NAME_LEN_MAX);
	if (i > 0) {
		out[0] = (char)(1 + i % 40);
		out[1] = (char)(1 + i / 40);
	}
	out[NAME_LEN_MAX] = '\0';
}

/* ---- folders ---- */

static uint64_t folder;

struct one {
	uint64_t cookie;
	unsigned taken, max;
	bool seen[NAMES], greatest;
};

static int take_some(void *ctx, const struct view_entry *e)
{
	struct one *o = ctx;
	char name[NAME_LEN_MAX + 1];

	if (o->taken == o->max)
		return 1;
	o->taken++;
	o->cookie = e->cookie;
	for (unsigned i = 0; i < NAMES; i++) {
		name_of(name, i);
		if (strcmp(name, e->name) != 0)
			continue;
		cr_assert_not(o->seen[i], "name %u comes twice", i);
		o->seen[i] = true;
	}
	return 0;
}

/* So many at a time, each time from the cookie on. */
static void list_folder(unsigned max)
{
	struct one o = {.max = max};
	unsigned rounds = 0, n = 0;

	do {
		o.taken = 0;
		cr_assert_eq(view_readdir(volume_view(v), folder, o.cookie, true, take_some, &o),
			     0);
		cr_assert_lt(rounds++, NAMES + 4, "it does not end");
	} while (o.taken > 0);
	for (unsigned i = 0; i < NAMES; i++)
		n += o.seen[i];
	cr_assert_eq(n, NAMES);
	/* From the greatest cookie on there is nothing. */
	o.taken = 0;
	cr_assert_eq(view_readdir(volume_view(v), folder, INT64_MAX, true, take_some, &o), 0);
	cr_assert_eq(o.taken, 0);
}

static void check_folder(void)
{
	list_folder(1);
	list_folder(7);
	list_folder(UINT_MAX);
}

Test(listings, a_folder)
{
	char name[NAME_LEN_MAX + 1];

	folder = make(INO_ROOT, "folder", S_IFDIR | 0755);
	for (unsigned i = 0; i < NAMES; i++) {
		name_of(name, i);
		make(folder, name, S_IFREG | 0600);
	}
	/* Inodes behind it, whose items follow its own. */
	make(INO_ROOT, "behind", S_IFREG | 0600);
	in_both(check_folder);
}

/* ---- attributes ---- */

static uint64_t file;

static void xattr_name(char out[NAME_LEN_MAX + 1], unsigned i)
{
	char name[NAME_LEN_MAX + 1];

	name_of(name, i);
	snprintf(out, NAME_LEN_MAX + 1, "user.%.*s", (int)NAME_LEN_MAX - 5, name);
}

static void check_xattrs(void)
{
	static char list[(NAMES + 1) * (NAME_LEN_MAX + 1)];
	char name[NAME_LEN_MAX + 1];
	size_t len, at = 0;
	unsigned n = 0;

	cr_assert_eq(view_listxattr(volume_view(v), file, list, sizeof(list), &len), 0);
	while (at < len) {
		at += strlen(list + at) + 1;
		n++;
	}
	cr_assert_eq(at, len);
	cr_assert_eq(n, NAMES);
	xattr_name(name, 0);
	cr_assert(memmem(list, len, name, sizeof(name)), "the greatest is not listed");
	cr_assert_eq(view_getxattr(volume_view(v), file, name, NULL, 0, &len), 0);
}

Test(listings, attributes)
{
	char name[NAME_LEN_MAX + 1];
	uint64_t behind;

	file = make(INO_ROOT, "file", S_IFREG | 0600);
	behind = make(INO_ROOT, "behind", S_IFREG | 0600);
	for (unsigned i = 0; i < NAMES; i++) {
		xattr_name(name, i);
		cr_assert_eq(volume_setxattr(v, NULL, file, name, "x", 1, 0), 0);
	}
	cr_assert_eq(volume_setxattr(v, NULL, behind, "user.a", "x", 1, 0), 0);
	in_both(check_xattrs);
}

/* ---- snapshots ---- */

/* The greatest text of 255 bytes: U+10FFFF, and what is left in the greatest byte that is one. */
static void greatest_text(char out[NAME_LEN_MAX + 1])
{
	for (unsigned i = 0; i + 4 <= NAME_LEN_MAX; i += 4)
		memcpy(out + i, "\xf4\x8f\xbf\xbf", 4);
	memset(out + NAME_LEN_MAX / 4 * 4, '~', NAME_LEN_MAX % 4);
	out[NAME_LEN_MAX] = '\0';
}

struct snapshots {
	unsigned n, max;
	char last[NAME_LEN_MAX + 1];
	bool removes;
};

static int take_snapshot(void *ctx, const struct snapshot *s)
{
	struct snapshots *t = ctx;

	cr_assert(strcmp(s->name, t->last) > 0, "not in order");
	strcpy(t->last, s->name);
	cr_assert_lt(t->n++, 8, "it does not end");
	if (t->removes)
		cr_assert_eq(volume_snapshot_remove(v, NULL, s->name), 0);
	return 0;
}

static void check_snapshots(void)
{
	struct snapshots t = {0};
	char name[NAME_LEN_MAX + 1];

	greatest_text(name);
	cr_assert_eq(view_snapshots(volume_view(v), take_snapshot, &t), 0);
	cr_assert_eq(t.n, 3);
	cr_assert_str_eq(t.last, name);
}

Test(listings, snapshots)
{
	struct snapshots t = {.removes = true};
	char name[NAME_LEN_MAX + 1];
	struct snapshot s;

	greatest_text(name);
	cr_assert_eq(volume_snapshot(v, NULL, name, false, &s), 0);
	cr_assert_eq(volume_snapshot(v, NULL, "a", false, &s), 0);
	cr_assert_eq(volume_snapshot(v, NULL, "b", false, &s), 0);
	in_both(check_snapshots);
	/* Each removed as it is shown: none is passed over. */
	cr_assert_eq(view_snapshots(volume_view(v), take_snapshot, &t), 0);
	cr_assert_eq(t.n, 3);
}

/* ---- extents ---- */

static void check_extents(void)
{
	uint64_t at, last = FILE_SIZE_MAX - 1;
	char byte = 0;
	size_t len;

	cr_assert_eq(view_seek(volume_view(v), file, 1, false, &at), 0);
	cr_assert_eq(at, last);
	cr_assert_eq(view_seek(volume_view(v), file, last, true, &at), 0);
	cr_assert_eq(at, FILE_SIZE_MAX);
	cr_assert_eq(view_seek(volume_view(v), file, FILE_SIZE_MAX, false, &at), -ENXIO);
	cr_assert_eq(view_read(volume_view(v), file, last, 1, &byte, &len), 0);
	cr_assert(len == 1 && byte == 'z');
	cr_assert_eq(view_read(volume_view(v), file, FILE_SIZE_MAX, 1, &byte, &len), 0);
	cr_assert_eq(len, 0);
}

Test(listings, extents_at_the_greatest_offset)
{
	file = make(INO_ROOT, "file", S_IFREG | 0600);
	cr_assert_eq(volume_write(v, NULL, file, 0, 1, "a", false), 0);
	cr_assert_eq(volume_write(v, NULL, file, FILE_SIZE_MAX - 1, 1, "z", false), 0);
	make(INO_ROOT, "behind", S_IFREG | 0600);
	in_both(check_extents);
}

/* ---- heads ---- */

static void check_heads(void)
{
	struct source *s = log_source(volume_log(v));
	struct head newest, h[4];
	size_t n;

	log_newest_head(volume_log(v), &newest);
	cr_assert_eq(s->ops->heads(s, newest.number, 4, h, &n), 0);
	cr_assert(n == 1 && h[0].number == newest.number);
	cr_assert_eq(s->ops->heads(s, newest.number + 1, 4, h, &n), -ERR_ABSENT);
	cr_assert_eq(s->ops->heads(s, UINT64_MAX, 4, h, &n), -ERR_ABSENT);
	cr_assert_eq(s->ops->head_at(s, INT64_MAX, h), 0);
	cr_assert_eq(h[0].number, newest.number);
	cr_assert_eq(s->ops->head_at(s, INT64_MIN, h), -ERR_TOO_EARLY);
}

Test(listings, heads)
{
	struct head h;

	for (unsigned i = 0; i < 3; i++) {
		char name[2] = {(char)('a' + i), '\0'};

		make(INO_ROOT, name, S_IFREG | 0600);
		cr_assert_eq(volume_add_head(v, &h), 0);
	}
	in_both(check_heads);
}
