/* A leaf of the tree that can't be read, and changes that fall into it. */

#include "fixture.h"

#include "block.h"
#include "err.h"
#include "log.h"
#include "source.h"
#include "source_folder.h"
#include "volume_internal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES 3000u
#define TOUCHED 1500u /* one of them */
#define MEMORY (UINT64_C(64) << 20)

static const struct caller me = {0};

/* The process ends at the append that this counts down to; 0: at none. */
static unsigned appends_to_kill;

int __real_log_append(struct log *log, enum block_kind kind, const void *plain, size_t len,
		      int level, struct block_ptr *out);
int __wrap_log_append(struct log *log, enum block_kind kind, const void *plain, size_t len,
		      int level, struct block_ptr *out);

int __wrap_log_append(struct log *log, enum block_kind kind, const void *plain, size_t len,
		      int level, struct block_ptr *out)
{
	/* All that was appended before is durable. */
	if (appends_to_kill > 0 && --appends_to_kill == 0)
		_exit(log_sync(log, UINT64_MAX) < 0 ? 6 : 9);
	return __real_log_append(log, kind, plain, len, level, out);
}

/* A place that the disk can't give: in a segment's file of this volume; 0: there is none. */
static uint64_t lost_pos;

/* It is found before libc's. */
ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	uint64_t at = lost_pos % SEGMENT_SIZE;
	char link[64], name[32], path[200] = "";

	if (lost_pos > 0 && (uint64_t)off <= at && (uint64_t)off + len > at) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		snprintf(name, sizeof(name), "%016" PRIx64 ".seg", segment_of(lost_pos));
		if (readlink(link, path, sizeof(path) - 1) > 0 && strstr(path, name)) {
			errno = EIO;
			return -1;
		}
	}
	return syscall(SYS_pread64, fd, buf, len, off);
}

/* In a process that the test forked, which does not answer to Criterion. */
#define need(rc)                                                                                   \
	do {                                                                                       \
		if ((rc) < 0)                                                                      \
			_exit(6);                                                                  \
	} while (0)

static struct volume *open_small(struct fixture *f)
{
	struct volume_config cfg = {
		.dir = f->dir, .params = &f->params, .keys = &f->keys, .memory_bytes = MEMORY};
	struct volume *v;

	return volume_open(&cfg, &v) < 0 ? NULL : v;
}

static void name_of(char out[16], unsigned i)
{
	snprintf(out, 16, "f%u", i);
}

static int set_mode(struct volume *v, uint64_t ino, uint32_t mode)
{
	struct attr want = {.mode = S_IFREG | mode}, got;

	return volume_setattr(v, NULL, ino, SET_MODE, &want, &got);
}

/* A leaf that can't be read, and what was changed there before, which deltas say. */
struct scene {
	struct fixture f;
	struct block_ptr leaf;
	uint64_t touched, gone; /* inodes: mode 0640, with attributes; unlinked */
};

/* Attributes of ${touched}, of ATTRIBUTE_LEN: more than a delta of what a checkpoint leaves out holds. */
#define ATTRIBUTES 600u
#define ATTRIBUTE_LEN 1000u

static int add_attributes(struct volume *v, uint64_t ino, unsigned n)
{
	static char value[ATTRIBUTE_LEN];
	char name[24];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < n; i++) {
		snprintf(name, sizeof(name), "user.%u", i);
		rc = volume_setxattr(v, NULL, ino, name, value, sizeof(value), 0);
	}
	return rc;
}

static void make_files(struct scene *s)
{
	struct volume *v;
	struct attr a;
	char name[16];

	fixture_make(&s->f);
	v = fixture_open(&s->f);
	for (unsigned i = 0; i < FILES; i++) {
		name_of(name, i);
		cr_assert_eq(volume_make_node(v, &me, INO_ROOT, name, S_IFREG | 0600, 0, NULL, &a),
			     0);
		if (i == TOUCHED)
			s->touched = a.ino;
		if (i == TOUCHED + 1)
			s->gone = a.ino;
	}
	cr_assert_eq(volume_close(v), 0);
}

static void expect_exit(int code)
{
	int status;

	cr_assert(wait(&status) > 0);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == code, "it ended with %x", status);
}

static void make_scene(struct scene *s, unsigned attributes)
{
	make_files(s);
	if (fork() == 0) {
		struct volume *v = open_small(&s->f);
		struct head h;
		char name[16];

		name_of(name, TOUCHED + 1);
		need(v == NULL ? -EIO : set_mode(v, s->touched, 0640));
		need(add_attributes(v, s->touched, attributes));
		need(volume_unlink(v, NULL, INO_ROOT, name));
		volume_forget(v, s->gone);
		need(volume_add_head(v, &h));
		_exit(0);
	}
	expect_exit(0);
	s->leaf = fixture_leaf(&s->f, s->touched);
	fixture_damage(&s->f, s->leaf.pos + s->leaf.stored_len / 2);
}

static void expect_changes(struct view *view, const struct scene *s, uint32_t mode)
{
	char name[16], value[ATTRIBUTE_LEN];
	struct attr a;
	size_t len;

	cr_assert_eq(view_getattr(view, s->touched, &a), 0);
	cr_assert_eq(a.mode & 07777, mode);
	cr_assert_eq(view_getattr(view, s->gone, &a), -ENOENT);
	name_of(name, TOUCHED + 1);
	cr_assert_eq(view_lookup(view, INO_ROOT, name, &a), -ENOENT);
	snprintf(name, sizeof(name), "user.%u", ATTRIBUTES - 1);
	cr_assert_eq(view_getxattr(view, s->touched, name, value, sizeof(value), &len), 0);
	cr_assert_eq(len, ATTRIBUTE_LEN);
}

/* As whoever mounts the newest head sees it. */
static void expect_in_head(struct volume *v, const struct scene *s, uint32_t mode)
{
	struct head h;
	struct view *past;
	int rc;

	cr_assert_eq(volume_add_head(v, &h), 0);
	rc = view_open(volume_view_config(v), &h, &past);
	cr_assert_eq(rc, 0, "%s", err_detail(rc));
	expect_changes(past, s, mode);
	view_close(past);
}

static void expect_status_names(struct volume *v, const struct block_ptr *leaf, bool stopped)
{
	const struct figure_row *st = fixture_look(v);
	const char *reason = figure_text(st, FIGURE_REASON);
	char at[32];

	snprintf(at, sizeof(at), "%" PRIu64, leaf->pos);
	cr_assert_not_null(strstr(reason, at), "the status says '%s', not %s", reason, at);
	cr_assert_eq(figure_n(st, FIGURE_WRITABLE), !stopped);
}

static void expect_changes_stay(struct scene *s, uint32_t mode)
{
	struct volume *v = fixture_open(&s->f);

	expect_changes(volume_view(v), s, mode);
	expect_in_head(v, s, mode);
	cr_assert_eq(volume_close(v), 0);
}

/* Checkpoints go on, and so does all else, for many times what the overlays hold. */
Test(damaged, a_leaf_stops_nothing_elsewhere, .timeout = 120)
{
	static char value[1000];
	struct scene s;
	struct volume *v;
	struct attr a;
	char name[24];
	int rc;

	make_scene(&s, ATTRIBUTES);
	v = open_small(&s.f);
	cr_assert_not_null(v);
	expect_changes(volume_view(v), &s, 0640);
	cr_assert_eq(view_getattr(volume_view(v), s.touched + 2, &a), -ERR_DAMAGED);
	rc = volume_checkpoint(v);
	cr_assert_eq(rc, 0, "%s", err_detail(rc));
	expect_status_names(v, &s.leaf, false);
	cr_assert_eq(volume_make_node(v, &me, INO_ROOT, "new", S_IFREG | 0600, 0, NULL, &a), 0);
	for (unsigned i = 0; i < 40000; i++) {
		snprintf(name, sizeof(name), "user.%u", i % 20000);
		rc = volume_setxattr(v, NULL, a.ino, name, value, sizeof(value), 0);
		cr_assert_eq(rc, 0, "change %u: %s", i, err_detail(rc));
	}
	cr_assert_eq(volume_unlink(v, NULL, INO_ROOT, "f0"), 0);
	expect_in_head(v, &s, 0640);
	expect_status_names(v, &s.leaf, false);

	/* One more change there, of what memory knows. */
	cr_assert_eq(set_mode(v, s.touched, 0644), 0);
	cr_assert_eq(volume_checkpoint(v), 0);
	expect_changes(volume_view(v), &s, 0644);
	expect_in_head(v, &s, 0644);
	cr_assert_eq(volume_close(v), 0);
	expect_changes_stay(&s, 0644);

	/* Once it can be read again, nothing is missing. */
	fixture_damage(&s.f, s.leaf.pos + s.leaf.stored_len / 2);
	expect_changes_stay(&s, 0644);
	cr_assert_eq(fixture_check(&s.f), 0);
	fixture_remove(&s.f);
}

static uint64_t damage_newest_checkpoint(struct fixture *f)
{
	struct source *src;
	struct head h;

	cr_assert_eq(source_open_folder(f->dir, &src), 0);
	cr_assert_eq(src->ops->head_at(src, INT64_MAX, &h), 0);
	source_free(src);
	cr_assert_neq(h.checkpoint.pos, 0);
	fixture_damage(f, h.checkpoint.pos + h.checkpoint.stored_len / 2);
	return h.checkpoint.pos;
}

static void expect_files(struct view *view, unsigned n)
{
	char name[16];
	struct attr a;

	for (unsigned i = 0; i < n; i++) {
		name_of(name, i);
		cr_assert_eq(view_lookup(view, INO_ROOT, name, &a), 0, "%s", name);
	}
}

/* What it says is said by the one before it and the deltas since; a new one is taken soon. */
Test(damaged, a_checkpoint_costs_nothing, .timeout = 120)
{
	struct scene s;
	struct volume *v;
	struct head h, mended;
	struct view *past;
	struct attr a;
	uint64_t pos;

	make_files(&s);
	(void)damage_newest_checkpoint(&s.f); /* there is none before it */
	v = fixture_open(&s.f);
	expect_files(volume_view(v), FILES);
	for (unsigned round = 1; round < 3; round++) {
		char name[16];

		name_of(name, FILES - 1 + round);
		cr_assert_eq(volume_make_node(v, &me, INO_ROOT, name, S_IFREG | 0600, 0, NULL, &a),
			     0);
		cr_assert_eq(volume_close(v), 0);
		pos = damage_newest_checkpoint(&s.f);
		v = fixture_open(&s.f);
		expect_files(volume_view(v), FILES + round);
		/* Whoever reads the head that names it, and those from now on. */
		log_newest_head(volume_log(v), &h);
		cr_assert_eq(view_open(volume_view_config(v), &h, &past), 0);
		expect_files(past, FILES + round);
		view_close(past);
		cr_assert_eq(volume_checkpoint(v), 0);
		cr_assert_eq(volume_add_head(v, &mended), 0);
		cr_expect_gt(mended.checkpoint.pos, pos);
	}
	cr_assert_eq(volume_close(v), 0);
	v = fixture_open(&s.f);
	expect_files(volume_view(v), FILES + 2);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&s.f);
}

static int count_entry(void *ctx, const struct view_entry *e)
{
	(void)e;
	++*(unsigned *)ctx;
	return 0;
}

/* One leaf costs a folder the attributes of those whose inodes are in it, and no name. */
static void expect_all_names(struct scene *s, uint64_t lost, int want)
{
	struct volume *v = open_small(&s->f);
	unsigned n = 0;
	struct attr a;
	int rc;

	cr_assert_not_null(v);
	lost_pos = lost;
	cr_assert_eq(view_getattr(volume_view(v), s->touched + 2, &a), want);
	rc = view_readdir(volume_view(v), INO_ROOT, 0, true, count_entry, &n);
	cr_expect_eq(rc, 0, "%s", err_detail(rc));
	cr_expect_eq(n, FILES + 2);
	lost_pos = 0;
	cr_assert_eq(volume_close(v), 0);
}

Test(damaged, a_leaf_takes_no_names_from_a_folder)
{
	struct scene s;

	make_files(&s);
	s.leaf = fixture_leaf(&s.f, s.touched);
	fixture_damage(&s.f, s.leaf.pos + s.leaf.stored_len / 2);
	expect_all_names(&s, 0, -ERR_DAMAGED);
	fixture_damage(&s.f, s.leaf.pos + s.leaf.stored_len / 2);
	expect_all_names(&s, s.leaf.pos + s.leaf.stored_len / 2, -EIO);
	fixture_remove(&s.f);
}

/* A checkpoint that would only leave the same out again is not taken. */
Test(damaged, a_leaf_costs_an_idle_volume_no_log)
{
	struct scene s;
	struct volume *v;
	uint64_t end;

	make_scene(&s, ATTRIBUTES);
	v = open_small(&s.f);
	cr_assert_not_null(v);
	cr_assert_eq(volume_checkpoint(v), 0);
	end = log_end(volume_log(v));
	for (unsigned i = 0; i < 5; i++)
		cr_assert_eq(volume_checkpoint(v), 0);
	cr_assert_eq(log_end(volume_log(v)), end);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&s.f);
}

/* The last leaf takes all new inodes, but for this. */
Test(damaged, the_last_leaf_stops_no_new_files)
{
	struct fixture f;
	struct scene s;
	struct volume *v;
	struct attr a;
	char name[16];
	size_t len;
	int rc;

	make_files(&s);
	f = s.f;
	s.leaf = fixture_leaf(&f, UINT64_MAX);
	fixture_damage(&f, s.leaf.pos + s.leaf.stored_len / 2);
	for (unsigned round = 0; round < 3; round++) {
		v = fixture_open(&f);
		for (unsigned i = 0; i < 500; i++) {
			snprintf(name, sizeof(name), "n%u-%u", round, i);
			cr_assert_eq(volume_make_node(v, &me, INO_ROOT, name, S_IFREG | 0600, 0,
						      NULL, &a),
				     0);
			rc = volume_write(v, NULL, a.ino, 0, 5, "bytes", 0);
			cr_assert_eq(rc, 0, "%u: file %u: %s", round, i, err_detail(rc));
			rc = view_getxattr(volume_view(v), a.ino, "user.none", name, sizeof(name),
					   &len);
			cr_assert_eq(rc, -ENODATA, "%s", err_detail(rc));
		}
		cr_assert_eq(volume_checkpoint(v), 0);
		cr_assert_eq(view_getattr(volume_view(v), a.ino, &a), 0);
		/* The last delta before is applied again, and falls into the leaf; nothing new does. */
		cr_assert_leq(v->gaps.renewed, 100);
		cr_assert_eq(volume_close(v), 0);
	}
	fixture_damage(&f, s.leaf.pos + s.leaf.stored_len / 2);
	cr_assert_eq(fixture_check(&f), 0);
	fixture_remove(&f);
}

/* Killed before any append of such a checkpoint: nothing is lost. */
Test(damaged, a_kill_at_any_append_loses_nothing, .timeout = 120)
{
	struct scene s;
	struct volume *v;
	uint32_t mode = 0640;
	int status = 0;

	make_scene(&s, ATTRIBUTES);
	for (unsigned n = 1; n < 40; n++) {
		mode = 0600 + n % 60;
		if (fork() == 0) {
			v = open_small(&s.f);
			need(v == NULL ? -EIO : set_mode(v, s.touched, mode));
			need(volume_make_node(v, &me, INO_ROOT, "more", S_IFREG | 0600, 0, NULL,
					      &(struct attr){0}));
			need(volume_sync(v));
			appends_to_kill = n;
			need(checkpoint_take(v));
			_exit(0);
		}
		cr_assert(wait(&status) > 0);
		cr_assert(WIFEXITED(status) &&
				  (WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 0),
			  "it ended with %x", status);
		v = open_small(&s.f);
		cr_assert_not_null(v, "after %u appends", n);
		expect_changes(volume_view(v), &s, mode);
		cr_assert_eq(volume_unlink(v, NULL, INO_ROOT, "more"), 0);
		cr_assert_eq(volume_close(v), 0);
		if (status == 0)
			break;
	}
	cr_assert_eq(status, 0, "the checkpoint never came to its end");
	expect_changes_stay(&s, mode);
	fixture_damage(&s.f, s.leaf.pos + s.leaf.stored_len / 2);
	expect_changes_stay(&s, mode);
	cr_assert_eq(fixture_check(&s.f), 0);
	fixture_remove(&s.f);
}

/* What memory can't hold stays frozen, as before; the error names the leaf.  A larger one holds it. */
Test(damaged, more_than_memory_holds_is_told)
{
	struct scene s;
	struct volume *v;
	int rc;

	make_scene(&s, 8 * ATTRIBUTES);
	v = open_small(&s.f);
	cr_assert_not_null(v);
	rc = volume_checkpoint(v);
	cr_assert_eq(rc, -ERR_DAMAGED);
	expect_status_names(v, &s.leaf, true);
	expect_in_head(v, &s, 0640);
	cr_assert_eq(volume_close(v), 0);
	expect_changes_stay(&s, 0640);
	v = fixture_open(&s.f);
	cr_assert_eq(volume_checkpoint(v), 0, "%s", err_detail(-ERR_DAMAGED));
	expect_in_head(v, &s, 0640);
	cr_assert_eq(volume_close(v), 0);
	expect_changes_stay(&s, 0640);
	fixture_remove(&s.f);
}
