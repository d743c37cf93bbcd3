/*
 * Items that no writer of ours makes: a damaged copy's, or another program's.  What can't be trusted is
 * an error for the file or folder that it is of; nothing crashes, nothing goes on for ever, and nothing
 * else is lost.
 */

#include "fixture.h"

#include "err.h"
#include "volume_internal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LEN ((size_t)EXTENT_MAX)

static struct fixture f;
static struct volume *v;
static const struct caller user = {.uid = 1000, .gid = 100};
static uint8_t data[LEN], got[4 * LEN];

static void set_up(void)
{
	fixture_make(&f);
	v = fixture_open(&f);
	memset(data, 'x', sizeof(data));
}

static void tear_down(void)
{
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}

TestSuite(foreign, .init = set_up, .fini = tear_down, .timeout = 300);

static uint64_t make(uint64_t dir, const char *name, uint32_t mode)
{
	struct attr a;

	cr_assert_eq(volume_make_node(v, &user, dir, name, mode, 0, NULL, &a), 0);
	return a.ino;
}

static struct attr get(uint64_t ino)
{
	struct attr a;

	cr_assert_eq(view_getattr(volume_view(v), ino, &a), 0);
	return a;
}

static void put(const struct item_key *key, const void *value, size_t len)
{
	change_lock(v);
	cr_assert_eq(change_reserve(v, 1, len), 0);
	overlay_put(v->view.map.live, key->b, key->len, value, len);
	change_unlock(v, NULL);
}

static void put_attr(const struct attr *a)
{
	uint8_t value[ITEM_INODE_LEN];
	struct item_key key;

	item_key(&key, a->ino, ITEM_INODE);
	item_inode_encode(a, value);
	put(&key, value, sizeof(value));
}

static struct extent first_extent(uint64_t ino)
{
	struct extent_walk w;
	struct extent e;

	cr_assert_eq(extent_first(&w, &v->view, ino, 0, NULL, &e), 0);
	extent_walk_end(&w);
	return e;
}

static void put_extent(uint64_t ino, const struct extent *e)
{
	uint8_t value[ITEM_EXTENT_LEN];
	struct item_key key;

	item_key_num(&key, ino, ITEM_EXTENT, e->off);
	item_extent_encode(e, value);
	put(&key, value, sizeof(value));
}

static uint64_t make_file(const char *name)
{
	uint64_t ino = make(INO_ROOT, name, S_IFREG | 0644);

	cr_assert_eq(volume_write(v, NULL, ino, 0, LEN, data, 0), 0);
	cr_assert_eq(volume_write(v, NULL, ino, LEN, LEN, data, 0), 0);
	return ino;
}

static void expect_damage(int rc, const char *words)
{
	cr_assert_eq(rc, -ERR_DAMAGED, "%d: %s", rc, err_detail(rc));
	cr_assert_not_null(strstr(err_detail(rc), words), "%s", err_detail(rc));
}

/* All that reads or changes its middle is refused, until it is cut to nothing. */
static void expect_file_is_damaged(uint64_t ino, const char *words)
{
	struct view *view = volume_view(v);
	uint64_t whole = make_file("whole"), at, n;
	struct attr a, want = {.size = LEN / 2 + 10};
	size_t len;

	expect_damage(view_read(view, ino, 0, sizeof(got), got, &len), words);
	expect_damage(view_seek(view, ino, 0, true, &at), words);
	expect_damage(volume_write(v, NULL, ino, LEN / 2, LEN, data, 0), words);
	expect_damage(volume_allocate(v, NULL, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10,
				      2 * LEN - 20),
		      words);
	expect_damage(volume_copy_range(v, NULL, ino, 0, whole, 0, 2 * LEN, &n), words);
	expect_damage(volume_setattr(v, NULL, ino, SET_SIZE, &want, &a), words);
	cr_assert_eq(get(whole).size, 2 * LEN);
	cr_assert_eq(view_read(view, whole, 0, sizeof(got), got, &len), 0);
	cr_assert_eq(len, 2 * LEN);
	want.size = 0;
	cr_assert_eq(volume_setattr(v, NULL, ino, SET_SIZE, &want, &a), 0);
	cr_assert_eq(volume_write(v, NULL, ino, 0, LEN, data, 0), 0);
	cr_assert_eq(view_read(view, ino, 0, sizeof(got), got, &len), 0);
	cr_assert_eq(len, LEN);
	cr_assert_arr_eq(got, data, LEN);
}

Test(foreign, extents_that_overlap)
{
	uint64_t ino = make_file("file");
	struct extent e = first_extent(ino);

	e.off = LEN / 2;
	put_extent(ino, &e);
	expect_file_is_damaged(ino, "extents overlap at byte 65536");
}

Test(foreign, an_extent_with_a_longer_key)
{
	uint64_t ino = make_file("file");
	struct item_key key;

	item_key_num(&key, ino, ITEM_EXTENT, LEN / 2);
	key.b[key.len++] = 0;
	put(&key, data, ITEM_EXTENT_LEN);
	expect_file_is_damaged(ino, "an extent has a malformed key");
}

Test(foreign, an_extent_of_another_length)
{
	uint64_t ino = make_file("file");
	struct item_key key;

	item_key_num(&key, ino, ITEM_EXTENT, LEN);
	put(&key, data, ITEM_EXTENT_LEN - 1);
	expect_file_is_damaged(ino, "malformed");
}

/* What an older version left behind a file's end is gone when the file is written anew. */
Test(foreign, extents_behind_the_end_of_an_empty_file)
{
	uint64_t ino = make_file("file");
	struct attr a = get(ino);
	size_t len;

	a.size = a.bytes = 0;
	put_attr(&a);
	cr_assert_eq(volume_write(v, NULL, ino, 0, LEN / 2, data, 0), 0);
	cr_assert_eq(volume_write(v, NULL, ino, LEN / 2, LEN, data, 0), 0);
	cr_assert_eq(view_read(volume_view(v), ino, 0, sizeof(got), got, &len), 0);
	cr_assert_eq(len, LEN + LEN / 2);
	cr_assert_arr_eq(got, data, LEN);
	cr_assert_eq(get(ino).bytes, LEN + LEN / 2);
}

/* Nor does it come back where the file gets a length without being written. */
Test(foreign, extents_behind_the_end_of_an_empty_file_that_grows)
{
	for (unsigned how = 0; how < 2; how++) {
		uint64_t ino = make_file(how == 0 ? "set" : "allocated");
		struct attr a = get(ino), want = {.size = LEN};
		size_t len;

		a.size = a.bytes = 0;
		put_attr(&a);
		if (how == 0)
			cr_assert_eq(volume_setattr(v, NULL, ino, SET_SIZE, &want, &a), 0);
		else
			cr_assert_eq(volume_allocate(v, NULL, ino, 0, 0, LEN), 0);
		cr_assert_eq(view_read(volume_view(v), ino, 0, sizeof(got), got, &len), 0);
		cr_assert_eq(len, LEN);
		for (size_t i = 0; i < len; i++)
			cr_assert_eq(got[i], 0, "way %u: byte %zu", how, i);
		cr_assert_eq(get(ino).bytes, 0);
	}
}

/* The first was counted by an attempt that found the node behind it missing. */
Test(foreign, extents_that_overlap_in_two_attempts)
{
	uint64_t ino = make_file("file");
	struct extent e = first_extent(ino);
	struct cut c = {.ino = ino,
			.to = LEN + LEN / 2,
			.scanned = LEN,
			.bytes = LEN,
			.touched = LEN,
			.any = true};

	e.off = LEN / 2;
	put_extent(ino, &e);
	change_lock(v);
	c.change = v->extent_changes[ino % EXTENT_CHANGES];
	expect_damage(cut_find(v, ino, c.from, c.to, NULL, &c), "extents overlap at byte 65536");
	change_unlock(v, NULL);
}

static uint64_t dice;

static uint64_t roll(uint64_t n)
{
	dice += UINT64_C(0x9e3779b97f4a7c15);
	return ((dice ^ dice >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 20) % n;
}

static uint64_t some(void)
{
	static const uint64_t edges[] = {0,	    1,		LEN - 1,       LEN,
					 LEN + 1,   UINT32_MAX, FILE_SIZE_MAX, FILE_SIZE_MAX + 1,
					 UINT64_MAX};

	return roll(2) ? roll(4 * LEN) : edges[roll(sizeof(edges) / sizeof(*edges))];
}

static bool is_allowed(int rc)
{
	return rc == 0 || rc == -ERR_DAMAGED || rc == -ERR_ABSENT || rc == -ENXIO || rc == -EFBIG ||
	       rc == -EINVAL || rc == -ENOSPC;
}

static void put_any_extent(uint64_t ino, const struct extent *sound)
{
	struct extent e = *sound;
	unsigned what = (unsigned)roll(64);

	e.off = some();
	if (what & 1)
		e.len = (uint32_t)some();
	if (what & 2)
		e.block_off = (uint32_t)some();
	if ((what & 12) == 4)
		e.ptr.pos = some();
	if ((what & 12) == 8)
		e.ptr.stored_len = (uint32_t)some();
	if ((what & 48) == 16)
		e.ptr.plain_len = (uint32_t)some();
	put_extent(ino, &e);
}

static int do_anything(uint64_t ino, uint64_t other)
{
	struct view *view = volume_view(v);
	struct attr a, want = {.size = some() % (FILE_SIZE_MAX + 1)};
	uint64_t at;
	size_t len;

	switch (roll(7)) {
	case 0:
		return volume_write(v, NULL, ino, some(), roll(LEN), data, 0);
	case 1:
		return volume_allocate(v, NULL, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				       some(), 1 + roll(4 * LEN));
	case 2:
		return volume_copy_range(v, NULL, ino, some(), other, some(), some(), &at);
	case 3:
		return volume_copy_range(v, NULL, other, some(), ino, some(), some(), &at);
	case 4:
		return volume_setattr(v, NULL, ino, SET_SIZE, &want, &a);
	case 5:
		return view_seek(view, ino, some(), roll(2), &at);
	default:
		return view_read(view, ino, some(), sizeof(got), got, &len);
	}
}

Test(foreign, any_extents)
{
	uint64_t ino = make_file("file"), other = make_file("other");
	struct extent sound = first_extent(ino);
	size_t len;

	for (unsigned i = 0; i < 3000; i++) {
		struct attr a = get(ino);
		int rc;

		a.size = some() % (FILE_SIZE_MAX + 1);
		if (roll(4) == 0)
			put_attr(&a);
		for (uint64_t n = roll(4); n > 0; n--)
			put_any_extent(ino, &sound);
		rc = do_anything(ino, other);
		cr_assert(is_allowed(rc), "round %u: %d: %s", i, rc, err_detail(rc));
		rc = view_read(volume_view(v), ino, 0, sizeof(got), got, &len);
		cr_assert(is_allowed(rc), "round %u: %d: %s", i, rc, err_detail(rc));
	}
}

/* A reader that takes so many entries a call. */
struct reader_of_names {
	uint64_t cookie;
	size_t room, n, dots;
	uint8_t seen[256]; /* by the name's last byte */
};

static int take_name(void *ctx, const struct view_entry *e)
{
	struct reader_of_names *r = ctx;

	if (r->room == 0)
		return 1;
	r->room--;
	r->cookie = e->cookie;
	if (e->name[0] == '.') {
		r->dots++;
		return 0;
	}
	r->n++;
	r->seen[(uint8_t)e->name[strlen(e->name) - 1]]++;
	return 0;
}

/* 0 or the error with which the listing ends. */
static int list(uint64_t dir, size_t room, bool attrs, struct reader_of_names *r)
{
	*r = (struct reader_of_names){.cookie = 0};
	for (unsigned calls = 0; calls < 2000; calls++) {
		int rc;

		r->room = room;
		rc = view_readdir(volume_view(v), dir, r->cookie, attrs, take_name, r);
		if (rc < 0 || r->room == room)
			return rc;
	}
	cr_assert_fail("the listing does not end");
	return 0;
}

/* ${n} names of one hash, which lead to one file. */
static uint64_t make_bucket(unsigned n)
{
	uint64_t dir = make(INO_ROOT, "dir", S_IFDIR | 0755);
	uint64_t file = make(dir, "file-", S_IFREG | 0644);
	struct item_key key;
	uint8_t value[TREE_VALUE_MAX];
	char name[2] = "";
	size_t len = 0;

	for (unsigned i = 0; i < n; i++) {
		struct entry e = {.ino = file, .type = S_IFREG, .name = name, .name_len = 1};

		name[0] = (char)(i % 200 + 48);
		len += item_entry_encode(&e, value + len);
	}
	item_key_num(&key, dir, ITEM_ENTRY, UINT64_C(1) << 61);
	put(&key, value, len);
	return dir;
}

Test(foreign, two_names_of_one_hash_are_listed_once_wherever_a_reader_stops)
{
	uint64_t dir = make_bucket(2);
	struct reader_of_names r;

	for (size_t room = 1; room < 8; room++) {
		cr_assert_eq(list(dir, room, room % 2, &r), 0);
		cr_assert_eq(r.n, 3);
		cr_assert_eq(r.seen['0'], 1);
		cr_assert_eq(r.seen['1'], 1);
		cr_assert_eq(r.dots, 2);
	}
}

/* More than a batch holds, as many as an item does. */
Test(foreign, many_names_of_one_hash_are_listed_or_refused)
{
	uint64_t dir = make_bucket(395);
	struct reader_of_names r;

	cr_assert_eq(list(dir, 1000, true, &r), 0);
	cr_assert_eq(r.n, 396);
	cr_assert_eq(list(dir, 1000, false, &r), 0);
	cr_assert_eq(r.n, 396);
	expect_damage(list(dir, 50, true, &r), "more names of one hash");
	expect_damage(list(dir, 1, false, &r), "more names of one hash");
}

static uint64_t dir_of(const char *name)
{
	uint64_t dir = make(INO_ROOT, name, S_IFDIR | 0755);

	make(dir, "a", S_IFREG | 0644);
	make(dir, "b", S_IFREG | 0644);
	return dir;
}

/* Its attributes would be malformed otherwise, and all that it holds out of reach. */
Test(foreign, a_folder_that_states_too_few_entries)
{
	uint64_t dir = dir_of("dir"), other = make(INO_ROOT, "other", S_IFDIR | 0755);
	struct attr a = get(dir);

	a.size = 0;
	put_attr(&a);
	expect_damage(volume_rmdir(v, NULL, INO_ROOT, "dir"), "states no entries and has some");
	expect_damage(volume_rename(v, &user, INO_ROOT, "other", INO_ROOT, "dir", 0),
		      "states no entries and has some");
	cr_assert_eq(volume_unlink(v, NULL, dir, "a"), 0);
	cr_assert_eq(get(dir).size, 0);
	cr_assert_eq(volume_rename(v, &user, dir, "b", other, "c", 0), 0);
	cr_assert_eq(get(dir).size, 0);
	cr_assert_eq(volume_rmdir(v, NULL, INO_ROOT, "dir"), 0);
}

Test(foreign, a_folder_that_states_too_few_links)
{
	uint64_t dir = make(INO_ROOT, "dir", S_IFDIR | 0755);
	struct attr a;

	make(dir, "a", S_IFDIR | 0755);
	make(dir, "b", S_IFDIR | 0755);
	a = get(dir);
	a.nlink = 2;
	put_attr(&a);
	cr_assert_eq(volume_rmdir(v, NULL, dir, "a"), 0);
	cr_assert_eq(volume_rename(v, &user, dir, "b", INO_ROOT, "b", 0), 0);
	cr_assert_eq(get(dir).nlink, 2);
	cr_assert_eq(volume_rmdir(v, NULL, INO_ROOT, "dir"), 0);
}

Test(foreign, a_named_file_that_states_no_links)
{
	uint64_t ino = make_file("file");
	struct attr a = get(ino);
	struct view_usage before, after;

	view_usage(volume_view(v), &before);
	a.nlink = 0;
	put_attr(&a);
	cr_assert_eq(volume_unlink(v, NULL, INO_ROOT, "file"), 0);
	volume_forget(v, ino);
	cr_assert_eq(view_getattr(volume_view(v), ino, &a), -ENOENT);
	view_usage(volume_view(v), &after);
	cr_assert_eq(after.inodes, before.inodes - 1);
}

Test(foreign, a_name_that_leads_nowhere)
{
	uint64_t dir = dir_of("dir");
	struct reader_of_names r;
	struct item_key key;
	struct attr a;

	cr_assert_eq(view_lookup(volume_view(v), dir, "a", &a), 0);
	item_key(&key, a.ino, ITEM_INODE);
	change_lock(v);
	cr_assert_eq(change_reserve(v, 1, 0), 0);
	overlay_del(v->view.map.live, key.b, key.len);
	change_unlock(v, NULL);
	expect_damage(view_lookup(volume_view(v), dir, "a", &a), "which is not there");
	expect_damage(volume_unlink(v, NULL, dir, "a"), "which is not there");
	expect_damage(volume_rename(v, &user, dir, "a", dir, "c", 0), "which is not there");
	expect_damage(volume_rename(v, &user, dir, "b", dir, "a", 0), "which is not there");
	/* Its neighbours are listed, and it is, though without attributes. */
	cr_assert_eq(list(dir, 100, true, &r), 0);
	cr_assert_eq(r.n, 2);
	cr_assert_eq(volume_unlink(v, NULL, dir, "b"), 0);
}

Test(foreign, a_name_that_leads_to_the_root)
{
	uint64_t dir = make(INO_ROOT, "dir", S_IFDIR | 0755);
	struct entry e = {.ino = INO_ROOT, .type = S_IFDIR, .name = "up", .name_len = 2};
	uint8_t value[ENTRY_LEN_MAX];
	struct item_key key;
	size_t len = item_entry_encode(&e, value);

	item_key_num(&key, dir, ITEM_ENTRY, item_entry_hash(v->view.cfg.name_key, "up", 2));
	put(&key, value, len);
	expect_damage(volume_rmdir(v, NULL, dir, "up"), "is the root");
	expect_damage(volume_rename(v, &user, dir, "up", INO_ROOT, "down", 0), "is the root");
	cr_assert_eq(get(INO_ROOT).nlink, 3);
}

static int count_snapshot(void *ctx, const struct snapshot *s)
{
	unsigned *n = ctx;

	(void)s;
	return ++*n > 10 ? -ELOOP : 0;
}

/* The greatest length, and a name that holds a zero byte. */
Test(foreign, a_listing_of_snapshots_ends)
{
	char name[NAME_LEN_MAX + 1];
	uint8_t value[ITEM_SNAPSHOT_LEN];
	struct snapshot s;
	struct item_key key;
	unsigned n = 0;

	memset(name, 'z', NAME_LEN_MAX);
	name[NAME_LEN_MAX] = '\0';
	cr_assert_eq(volume_snapshot(v, NULL, name, false, &s), 0);
	item_key_name(&key, 0, ITEM_SNAPSHOT, "a\0b", 3);
	item_snapshot_encode(&s, value);
	put(&key, value, sizeof(value));
	cr_assert_eq(volume_snapshot(v, NULL, "b", false, &s), 0);
	cr_assert_eq(view_snapshots(volume_view(v), count_snapshot, &n), 0);
	cr_assert_eq(n, 3);
}

/* Names of the greatest length and of one that is too long. */
Test(foreign, a_listing_of_attributes_ends)
{
	uint64_t ino = make(INO_ROOT, "file", S_IFREG | 0644);
	char name[NAME_LEN_MAX + 1], names[100 * (NAME_LEN_MAX + 1)];
	struct item_key key;
	size_t len, both;

	memset(name, 'z', NAME_LEN_MAX);
	name[NAME_LEN_MAX] = '\0';
	memcpy(name, "user.", 5);
	for (unsigned i = 0; i < 70; i++) {
		name[10] = (char)(' ' + i);
		cr_assert_eq(volume_setxattr(v, NULL, ino, name, "value", 5, 0), 0);
	}
	cr_assert_eq(view_listxattr(volume_view(v), ino, NULL, 0, &len), 0);
	cr_assert_eq(len, 70 * (NAME_LEN_MAX + 1));
	cr_assert_eq(view_listxattr(volume_view(v), ino, names, sizeof(names), &both), 0);
	cr_assert_eq(both, len);
	cr_assert_eq(view_listxattr(volume_view(v), ino, names, len - 1, &both), -ERANGE);
	item_key_name(&key, ino, ITEM_XATTR, name, NAME_LEN_MAX);
	memset(key.b + key.len - 5, 'y', 5);
	put(&key, "", 0);
	expect_damage(view_getxattr(volume_view(v), ino, (char *)memcpy(name, key.b + 9, 255), NULL,
				    0, &len),
		      "malformed");
}
