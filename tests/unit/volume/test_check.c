/*
 * Check: a sound volume passes; every flipped byte, every lost part and every lie in the namespace
 * is found.
 */

#include "check.h"
#include "err.h"
#include "fixture.h"
#include "frame.h"
#include "volume_internal.h"

#include "../spoil.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS_MAX 65536

struct words {
	char text[WORDS_MAX];
	size_t len;
};

static void collect(void *ctx, enum check_level level, const char *text)
{
	struct words *w = ctx;

	(void)level;
	w->len += (size_t)snprintf(w->text + w->len, sizeof(w->text) - w->len, "%s\n", text);
	cr_assert_lt(w->len, sizeof(w->text));
}

static int check_or_recount(struct fixture *f, unsigned percent, bool recount, struct words *w,
			    struct check_counts *counts)
{
	struct check_config cfg = {
		.dir = f->dir,
		.keys = &f->keys,
		.read_percent = percent,
		.recount = recount,
		.report = collect,
		.ctx = w,
	};

	w->len = 0;
	w->text[0] = '\0';
	return volume_check(&cfg, counts);
}

static int check(struct fixture *f, unsigned percent, struct words *w, struct check_counts *counts)
{
	return check_or_recount(f, percent, false, w, counts);
}

static uint64_t make(struct volume *v, uint64_t parent, const char *name, uint32_t mode)
{
	struct caller c = {0};
	struct attr a;

	cr_assert_eq(
		volume_make_node(v, &c, parent, name, mode, 0, S_ISLNK(mode) ? "to" : NULL, &a), 0);
	return a.ino;
}

/*
 * A folder with a file (two extents), a second name for it, a symbolic link, a long attribute, a
 * subfolder, a snapshot.
 */
static void fill(struct volume *v)
{
	static char data[3 * 4096];
	uint64_t dir = make(v, INO_ROOT, "registry", S_IFDIR | 0755);
	uint64_t file = make(v, dir, "deeds", S_IFREG | 0644);
	struct snapshot s;
	struct attr a;

	memset(data, 'x', sizeof(data));
	cr_assert_eq(volume_write(v, NULL, file, 0, 4096, data, false), 0);
	cr_assert_eq(volume_write(v, NULL, file, 8192, 4096, data, false), 0);
	cr_assert_eq(volume_link(v, NULL, file, INO_ROOT, "deeds-again", &a), 0);
	cr_assert_eq(volume_setxattr(v, NULL, file, "user.seal", data, sizeof(data), 0), 0);
	make(v, dir, "link", S_IFLNK | 0777);
	make(v, dir, "sub", S_IFDIR | 0700);
	cr_assert_eq(volume_snapshot(v, NULL, "first", false, &s), 0);
	make(v, INO_ROOT, "later", S_IFREG | 0600);
}

static void make_filled(struct fixture *f)
{
	struct volume *v;

	fixture_make(f);
	v = fixture_open(f);
	fill(v);
	cr_assert_eq(volume_close(v), 0);
}

Test(check, sound)
{
	static struct words w;
	struct check_counts n;
	struct fixture f;

	make_filled(&f);
	cr_assert_eq(check(&f, 100, &w, &n), 0, "%s", w.text);
	cr_assert_eq(w.len, 0, "%s", w.text);
	cr_assert(n.names_checked);
	cr_assert_eq(n.inodes, 6);
	cr_assert_eq(n.entries, 6);
	cr_assert_eq(n.extents, 2);
	cr_assert_eq(n.snapshots, 1);
	cr_assert_eq(n.data_total, 3);
	cr_assert_eq(n.data_opened, 3);
	cr_assert_eq(check(&f, 0, &w, &n), 0);
	cr_assert_eq(n.data_opened, 0);
	fixture_remove(&f);
}

Test(check, without_keys)
{
	static struct words w;
	struct check_counts n;
	struct fixture f;
	struct check_config cfg = {.dir = f.dir, .report = collect, .ctx = &w};

	make_filled(&f);
	cr_assert_eq(volume_check(&cfg, &n), 0, "%s", w.text);
	cr_assert_not(n.names_checked);
	cr_assert_gt(n.heads, 1);
	fixture_remove(&f);
}

Test(check, locked_and_missing)
{
	static struct words w;
	struct check_counts n;
	struct volume *v;
	struct fixture f;

	make_filled(&f);
	v = fixture_open(&f);
	cr_assert_eq(check(&f, 0, &w, &n), -ERR_LOCKED);
	cr_assert_eq(volume_close(v), 0);

	struct check_config cfg = {.dir = "/nonexistent", .report = collect, .ctx = &w};
	cr_assert_eq(volume_check(&cfg, &n), -ERR_NO_VOLUME);
	fixture_remove(&f);
}

/* The n-th segment's file, in the order of their numbers. */
static int open_segment(const struct fixture *f, unsigned n, off_t *out_size)
{
	struct dirent **list;
	char path[512];
	struct stat st;
	int count, fd;

	snprintf(path, sizeof(path), "%s/log", f->dir);
	count = scandir(path, &list, NULL, alphasort);
	cr_assert_gt(count, (int)n + 2);
	snprintf(path, sizeof(path), "%s/log/%s", f->dir, list[n + 2]->d_name);
	for (int i = 0; i < count; i++)
		free(list[i]);
	free(list);
	fd = open(path, O_RDWR);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fstat(fd, &st), 0);
	*out_size = st.st_size;
	return fd;
}

static void flip(int fd, off_t at)
{
	uint8_t b;

	cr_assert_eq(pread(fd, &b, 1, at), 1);
	b ^= 0x20;
	cr_assert_eq(pwrite(fd, &b, 1, at), 1);
}

Test(check, every_flipped_byte, .timeout = 300)
{
	static struct words w;
	struct check_counts n;
	struct fixture f;

	make_filled(&f);
	for (unsigned segment = 0; segment < 2; segment++) {
		off_t size;
		int fd = open_segment(&f, segment, &size);

		/* A step that is no multiple of a block's parts meets all of them. */
		for (off_t at = 0; at < size; at += 1 + size / 97) {
			int rc;

			flip(fd, at);
			rc = check(&f, 100, &w, &n);
			cr_assert(rc == -ERR_DAMAGED || rc == -ERR_TAMPERED || rc == -ERR_VERSION,
				  "segment %u byte %ld: %s\n%s", segment, (long)at, err_text(rc),
				  w.text);
			cr_assert_gt(n.problems, 0);
			flip(fd, at);
		}
		close(fd);
	}
	cr_assert_eq(check(&f, 100, &w, &n), 0, "%s", w.text);
	fixture_remove(&f);
}

/* Find the first block of a kind, by walking the frames. */
static off_t find_block(int fd, uint64_t segment, off_t size, unsigned kind)
{
	uint8_t bytes[FRAME_LEN];
	struct frame frame;

	for (off_t at = 0; at < size; at += FRAME_LEN + frame.body_len) {
		cr_assert_eq(pread(fd, bytes, sizeof(bytes), at), (ssize_t)sizeof(bytes));
		cr_assert_eq(frame_decode(bytes, segment_start(segment) + (uint64_t)at, &frame), 0);
		if (frame.kind == kind)
			return at;
	}
	cr_assert_fail("no such block");
	return -1;
}

Test(check, damaged_data_is_told_with_its_paths)
{
	static struct words w;
	struct check_counts n;
	struct fixture f;
	off_t size;
	int fd;

	make_filled(&f);
	fd = open_segment(&f, 1, &size);
	flip(fd, find_block(fd, 1, size, BLOCK_DATA) + FRAME_LEN + 20);
	close(fd);
	cr_assert_eq(check(&f, 100, &w, &n), -ERR_DAMAGED);
	cr_assert(strstr(w.text, "seal does not fit"), "%s", w.text);
	cr_assert(strstr(w.text, "deeds"), "%s", w.text);
	cr_assert(strstr(w.text, "bytes 0 to 4095"), "%s", w.text);
	fixture_remove(&f);
}

Test(check, torn_tail_is_no_damage)
{
	/* A frame whose block never came, and one that no writer makes. */
	static const uint8_t zeros[100], half[100] = {1, 2, 3, 4};
	static const char rubbish[100] = "no block begins like this";
	static struct words w;
	struct check_counts n;
	struct fixture f;
	off_t size;
	int fd;

	make_filled(&f);
	fd = open_segment(&f, 1, &size);
	cr_assert_eq(pwrite(fd, half, sizeof(half), size), (ssize_t)sizeof(half));
	cr_assert_eq(ftruncate(fd, (off_t)SEGMENT_SIZE), 0);
	cr_assert_eq(check(&f, 100, &w, &n), 0, "%s", w.text);
	cr_assert(strstr(w.text, "torn"), "%s", w.text);
	cr_assert_eq(pwrite(fd, rubbish, sizeof(rubbish), size), (ssize_t)sizeof(rubbish));
	cr_assert_eq(check(&f, 100, &w, &n), -ERR_DAMAGED);
	cr_assert(strstr(w.text, "no tail of a crash"), "%s", w.text);
	cr_assert_eq(pwrite(fd, zeros, sizeof(zeros), size), (ssize_t)sizeof(zeros));
	cr_assert_eq(check(&f, 100, &w, &n), 0, "%s", w.text);
	cr_assert(strstr(w.text, "torn") == NULL, "%s", w.text);

	/* A file that was cut when it was closed has no such tail. */
	cr_assert_eq(ftruncate(fd, size + (off_t)sizeof(rubbish)), 0);
	cr_assert_eq(check(&f, 100, &w, &n), -ERR_DAMAGED);
	cr_assert(strstr(w.text, "closed at its last block"), "%s", w.text);

	/* Cutting off what a head states is another matter. */
	cr_assert_eq(ftruncate(fd, size - 10), 0);
	cr_assert(check(&f, 100, &w, &n) < 0);
	close(fd);
	fixture_remove(&f);
}

Test(check, catalog_is_rebuilt)
{
	static struct words w;
	struct check_counts n;
	struct fixture f;
	char command[512];

	make_filled(&f);
	snprintf(command, sizeof(command), "rm -r %s/catalog", f.dir);
	cr_assert_eq(system(command), 0);
	cr_assert_eq(check(&f, 0, &w, &n), 0, "%s", w.text);
	cr_assert(n.catalog_rebuilt);
	cr_assert_eq(check(&f, 0, &w, &n), 0);
	cr_assert_not(n.catalog_rebuilt);

	snprintf(command, sizeof(command), "for f in %s/catalog/MANIFEST*; do : >$f; done", f.dir);
	cr_assert_eq(system(command), 0);
	cr_assert_eq(check(&f, 0, &w, &n), 0, "%s", w.text);
	cr_assert(n.catalog_rebuilt);
	fixture_remove(&f);
}

/* Also where its newest head and the root are right: the order of older heads, and each leaf. */
Test(check, a_catalog_that_is_wrong_inside_is_rebuilt)
{
	static struct words w;
	struct check_counts n;
	struct fixture f;
	struct volume *v;
	struct head h;

	fixture_make(&f);
	v = fixture_open(&f);
	fill(v);
	cr_assert_eq(volume_add_head(v, &h), 0);
	for (unsigned i = 0; i < 600; i++)
		cr_assert_eq(volume_setxattr(v, NULL, INO_ROOT, "user.long", w.text, 2000, 0), 0);
	make(v, INO_ROOT, "last", S_IFREG | 0600);
	cr_assert_eq(volume_close(v), 0);
	cr_assert_eq(check(&f, 0, &w, &n), 0, "%s", w.text);
	cr_expect_not(n.catalog_rebuilt);
	for (unsigned index = 0; index < 512; index += 37) {
		spoil_leaf(f.dir, index);
		cr_assert_eq(check(&f, 0, &w, &n), 0, "%s", w.text);
		cr_expect(n.catalog_rebuilt, "leaf %u", index);
	}
	for (uint64_t number = 1; number < h.number; number++) {
		spoil_order(f.dir, number);
		cr_assert_eq(check(&f, 0, &w, &n), 0, "%s", w.text);
		cr_expect(n.catalog_rebuilt, "head %u", (unsigned)number);
	}
	cr_assert_eq(check(&f, 0, &w, &n), 0, "%s", w.text);
	cr_expect_not(n.catalog_rebuilt);
	fixture_remove(&f);
}

/* Lies: items put into the tree behind the volume's back.  ${v} is open; names as in fill(). */
struct lie {
	const char *words; /* that the report must hold */
	void (*tell)(struct volume *v);
};

static void put(struct volume *v, const struct item_key *key, const void *value, size_t len)
{
	view_wrlock(&v->view);
	cr_assert_eq(overlay_reserve(v->view.map.live, 1, key->len + len), 0);
	overlay_put(v->view.map.live, key->b, key->len, value, len);
	view_unlock(&v->view);
}

static void del(struct volume *v, const struct item_key *key)
{
	view_wrlock(&v->view);
	cr_assert_eq(overlay_reserve(v->view.map.live, 1, key->len), 0);
	overlay_del(v->view.map.live, key->b, key->len);
	view_unlock(&v->view);
}

static void look_up(struct volume *v, const char *name, struct attr *a)
{
	struct attr dir;

	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "registry", &dir), 0);
	cr_assert_eq(
		view_lookup(volume_view(v), name ? dir.ino : INO_ROOT, name ? name : "registry", a),
		0);
}

static void put_attr(struct volume *v, const struct attr *a)
{
	uint8_t value[ITEM_INODE_LEN];
	struct item_key key;

	item_key(&key, a->ino, ITEM_INODE);
	item_inode_encode(a, value);
	put(v, &key, value, sizeof(value));
}

static void put_entry(struct volume *v, uint64_t dir, const char *name, uint64_t ino, uint32_t type,
		      uint64_t hash_off)
{
	struct entry e = {.ino = ino, .type = type, .name = name, .name_len = strlen(name)};
	uint8_t value[ENTRY_LEN_MAX];
	struct item_key key;

	item_key_num(&key, dir, ITEM_ENTRY,
		     item_entry_hash(v->view.cfg.name_key, name, e.name_len) + hash_off);
	put(v, &key, value, item_entry_encode(&e, value));
}

static void lie_links(struct volume *v)
{
	struct attr a;

	look_up(v, "deeds", &a);
	a.nlink = 3;
	put_attr(v, &a);
}

static void lie_gone(struct volume *v)
{
	struct item_key key;
	struct attr a;

	look_up(v, "link", &a);
	item_key(&key, a.ino, ITEM_INODE);
	del(v, &key);
	item_key(&key, a.ino, ITEM_SYMLINK);
	del(v, &key);
}

static void lie_no_attributes(struct volume *v)
{
	struct item_key key;
	struct attr a;

	look_up(v, "deeds", &a);
	item_key(&key, a.ino, ITEM_INODE);
	del(v, &key);
}

static void lie_never_made(struct volume *v)
{
	put_entry(v, INO_ROOT, "ghost", 999999, S_IFREG, 0);
}

/* A number that is far from all that there are. */
static void lie_far_away(struct volume *v)
{
	view_wrlock(&v->view);
	v->view.counts.next_ino = UINT64_C(1) << 40;
	view_unlock(&v->view);
	put_entry(v, INO_ROOT, "ghost", UINT64_C(1) << 39, S_IFREG, 0);
}

static void lie_hash(struct volume *v)
{
	struct attr a;

	look_up(v, "deeds", &a);
	put_entry(v, INO_ROOT, "misplaced", a.ino, S_IFREG, 1);
}

static void lie_type(struct volume *v)
{
	struct attr a;

	look_up(v, "deeds", &a);
	put_entry(v, INO_ROOT, "deeds-again", a.ino, S_IFIFO, 0);
}

static void lie_entries(struct volume *v)
{
	struct attr a;

	look_up(v, NULL, &a);
	a.size++;
	put_attr(v, &a);
}

static void lie_parent(struct volume *v)
{
	struct attr a;

	look_up(v, "sub", &a);
	a.parent = INO_ROOT;
	put_attr(v, &a);
}

/* "registry" goes into its own subfolder. */
static void lie_circle(struct volume *v)
{
	struct attr dir, sub;
	struct item_key key;

	look_up(v, NULL, &dir);
	look_up(v, "sub", &sub);
	item_key_num(&key, INO_ROOT, ITEM_ENTRY,
		     item_entry_hash(v->view.cfg.name_key, "registry", 8));
	del(v, &key);
	put_entry(v, sub.ino, "registry", dir.ino, S_IFDIR, 0);
	dir.parent = sub.ino;
	put_attr(v, &dir);
}

static void lie_symlink(struct volume *v)
{
	struct item_key key;
	struct attr a;

	look_up(v, "link", &a);
	item_key(&key, a.ino, ITEM_SYMLINK);
	del(v, &key);
}

static void lie_size(struct volume *v)
{
	struct attr a;

	look_up(v, "deeds", &a);
	a.size = 100;
	put_attr(v, &a);
}

static void lie_bytes(struct volume *v)
{
	struct attr a;

	look_up(v, "deeds", &a);
	a.bytes -= 1;
	put_attr(v, &a);
}

static void put_extent(struct volume *v, uint64_t off, uint64_t pos, uint32_t stored_len)
{
	struct extent e = {.off = off, .ptr = {pos, stored_len, 4096}, .len = 4096};
	uint8_t value[ITEM_EXTENT_LEN];
	struct item_key key;
	struct attr a;

	look_up(v, "deeds", &a);
	item_key_num(&key, a.ino, ITEM_EXTENT, off);
	item_extent_encode(&e, value);
	put(v, &key, value, sizeof(value));
}

static void lie_overlap(struct volume *v)
{
	put_extent(v, 2048, SEGMENT_SIZE + SEGMENT_BLOCK_LEN, 100);
}

static void lie_pointer(struct volume *v)
{
	put_extent(v, 4096, SEGMENT_SIZE + 7, 100);
}

static void lie_above(struct volume *v)
{
	put_extent(v, 4096, 1000 * SEGMENT_SIZE, 100);
}

static void lie_orphan(struct volume *v)
{
	struct item_key key;

	item_key_num(&key, 0, ITEM_ORPHAN, 4711);
	put(v, &key, "", 0);
}

static void lie_unlisted_orphan(struct volume *v)
{
	struct attr a;

	look_up(v, "deeds", &a);
	a.nlink = 0;
	put_attr(v, &a);
}

static void lie_snapshot(struct volume *v)
{
	struct snapshot s = {.head = 123456, .time_ns = 1};
	uint8_t value[ITEM_SNAPSHOT_LEN];
	struct item_key key;

	item_key_name(&key, 0, ITEM_SNAPSHOT, "phantom", 7);
	item_snapshot_encode(&s, value);
	put(v, &key, value, sizeof(value));
}

static void lie_attributes(struct volume *v)
{
	struct item_key key;
	struct attr a;

	look_up(v, "link", &a);
	item_key(&key, a.ino, ITEM_INODE);
	put(v, &key, "short", 5);
}

static void lie_counts(struct volume *v)
{
	view_wrlock(&v->view);
	v->view.counts.inodes += 5;
	v->view.counts.bytes += 5;
	view_unlock(&v->view);
	make(v, INO_ROOT, "so-that-a-delta-says-it", S_IFREG | 0600);
}

static const struct lie lies[] = {
	{"its link count is 3, and it has 2 names", lie_links},
	{"a folder names it, and it does not exist", lie_gone},
	{"it has contents and no attributes", lie_no_attributes},
	{"names it, but it was never made", lie_never_made},
	{"1 names are of inodes that do not exist", lie_far_away},
	{"in the wrong place", lie_hash},
	{"of another type", lie_type},
	{"entries and has", lie_entries},
	{"but it says that", lie_parent},
	{"in a circle", lie_circle},
	{"has no target", lie_symlink},
	{"extents up to", lie_size},
	{"bytes of data and has", lie_bytes},
	{"extents overlap", lie_overlap},
	{"does not hold the block", lie_pointer},
	{"above its head", lie_above},
	{"not listed as an orphan", lie_unlisted_orphan},
	{"'phantom' can't be opened", lie_snapshot},
	{"its attributes are malformed", lie_attributes},
	{"the volume states", lie_counts},
	{"listed as an orphan and does not exist", lie_orphan},
};

/* A file that was cut to nothing, and what an older version left in it. */
static void lie_left_behind(struct volume *v)
{
	struct attr a;

	look_up(v, "deeds", &a);
	a.size = 0;
	a.bytes = 0;
	put_attr(v, &a);
}

static void lie_folder_links(struct volume *v)
{
	struct attr a;

	look_up(v, NULL, &a);
	a.nlink = 7;
	put_attr(v, &a);
}

static void lie_next_ino(struct volume *v)
{
	view_wrlock(&v->view);
	v->view.counts.next_ino -= 2;
	view_unlock(&v->view);
	lie_folder_links(v);
}

static void lie_all_counts(struct volume *v)
{
	lie_bytes(v);
	lie_entries(v);
	lie_folder_links(v);
	lie_counts(v);
}

/* Numbers that can be counted anew are, and nothing is left to be told. */
Test(check, wrong_counts_are_set_right, .timeout = 300)
{
	static void (*const lies_told[])(struct volume *) = {
		lie_bytes,	  lie_entries,	lie_links,	 lie_counts,
		lie_folder_links, lie_next_ino, lie_left_behind, lie_all_counts};
	static struct words w;

	for (size_t i = 0; i < sizeof(lies_told) / sizeof(lies_told[0]); i++) {
		struct check_counts n;
		struct fixture f;
		struct volume *v;

		fixture_make(&f);
		v = fixture_open(&f);
		fill(v);
		lies_told[i](v);
		cr_assert_eq(volume_close(v), 0);
		cr_assert_eq(check_or_recount(&f, 0, true, &w, &n), -ERR_DAMAGED, "lie %zu", i);
		cr_assert_gt(n.recounted, 0, "lie %zu", i);
		cr_assert_not_null(strstr(w.text, "set right"), "%s", w.text);
		cr_assert_eq(check(&f, 100, &w, &n), 0, "lie %zu: %s", i, w.text);
		v = fixture_open(&f);
		(void)make(v, INO_ROOT, "made-afterwards", S_IFREG | 0600);
		cr_assert_eq(volume_close(v), 0);
		cr_assert_eq(check(&f, 100, &w, &n), 0, "lie %zu: %s", i, w.text);
		fixture_remove(&f);
	}
}

/* What is no count stays as it is, and is told again; counts beside it are set right. */
Test(check, what_cannot_be_counted_is_left, .timeout = 300)
{
	static void (*const lies_told[])(struct volume *) = {lie_size, lie_overlap, lie_hash,
							     lie_gone};
	static struct words w;

	for (size_t i = 0; i < sizeof(lies_told) / sizeof(lies_told[0]); i++) {
		struct check_counts n;
		struct fixture f;
		struct volume *v;

		fixture_make(&f);
		v = fixture_open(&f);
		fill(v);
		lies_told[i](v);
		lie_folder_links(v);
		cr_assert_eq(volume_close(v), 0);
		cr_assert_eq(check_or_recount(&f, 0, true, &w, &n), -ERR_DAMAGED);
		cr_assert_gt(n.recounted, 0);
		cr_assert_eq(check(&f, 0, &w, &n), -ERR_DAMAGED);
		cr_assert_null(strstr(w.text, "link count is 7"), "%s", w.text);
		fixture_remove(&f);
	}
}

Test(check, every_lie_is_found, .timeout = 300)
{
	static struct words w;

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct check_counts n;
		struct fixture f;
		struct volume *v;

		fixture_make(&f);
		v = fixture_open(&f);
		fill(v);
		lies[i].tell(v);
		cr_assert_eq(volume_close(v), 0);
		cr_assert_eq(check(&f, 100, &w, &n), -ERR_DAMAGED, "lie %zu was believed", i);
		cr_assert(strstr(w.text, lies[i].words), "expected '%s' in:\n%s", lies[i].words,
			  w.text);
		fixture_remove(&f);
	}
}

/*
 * The newest head is damaged and no catalog knows it: neither check nor a mount takes it for a torn
 * tail.
 */
Test(check, newest_head_without_catalog)
{
	struct volume_config cfg;
	static struct words w;
	struct check_counts n;
	struct volume *v;
	struct fixture f;
	char command[512];
	off_t size, after;
	int fd, rc;

	make_filled(&f);
	snprintf(command, sizeof(command), "rm -r %s/catalog", f.dir);
	cr_assert_eq(system(command), 0);
	fd = open_segment(&f, 1, &size);
	flip(fd, size - 20);
	cfg = (struct volume_config){.dir = f.dir, .params = &f.params, .keys = &f.keys};
	rc = volume_open(&cfg, &v);
	cr_assert_eq(rc, -ERR_DAMAGED, "%s", err_text(rc));
	cr_assert(strstr(err_detail(rc), "--repair"), "%s", err_detail(rc));
	cr_assert((after = lseek(fd, 0, SEEK_END)) == size, "cut to %ld", (long)after);
	cr_assert(check(&f, 100, &w, &n) < 0);
	cr_assert_geq(n.problems, 1u);
	close(fd);
	fixture_remove(&f);
}

/* No link goes that a name which can't be read may need. */
Test(check, a_name_that_cannot_be_read_counts)
{
	static struct words w;
	struct check_counts n;
	struct item_key key;
	struct fixture f;
	struct volume *v;
	struct attr a;

	fixture_make(&f);
	v = fixture_open(&f);
	fill(v);
	item_key_num(&key, INO_ROOT, ITEM_ENTRY,
		     item_entry_hash(v->view.cfg.name_key, "deeds-again", strlen("deeds-again")));
	put(v, &key, "malformed", 9);
	lie_folder_links(v);
	cr_assert_eq(volume_close(v), 0);
	cr_assert_eq(check_or_recount(&f, 0, true, &w, &n), -ERR_DAMAGED);
	cr_assert_not_null(strstr(w.text, "its link count is 2, and it has 1 names"), "%s", w.text);
	cr_assert_gt(n.recounted, 0);
	v = fixture_open(&f);
	look_up(v, "deeds", &a);
	cr_assert_eq(a.nlink, 2);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}
