/* The log: append, read, sync, segments, heads, errors while it runs. */

#include "blocks.h"
#include "catalog.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "log.h"
#include "log_fixture.h"
#include "merkle.h"
#include "scan.h"
#include "source.h"
#include "store.h"

#include "../sampled.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING ((size_t)4 << 20)

static struct log *open_ok(struct log_fixture *f, struct log_tail *tail)
{
	struct log *log = NULL;
	int rc = log_fixture_open(f, &log, tail);

	cr_assert_eq(rc, 0, "log_open: %s", err_detail(rc));
	return log;
}

static struct log *open_fresh(struct log_fixture *f)
{
	struct log_tail tail;
	struct log *log;

	log_fixture_init(f, NULL);
	f->ring_bytes = RING;
	log = open_ok(f, &tail);
	log_tail_release(&tail);
	return log;
}

static struct block_ptr append_ok(struct log *log, enum block_kind kind, uint64_t seed, size_t len,
				  bool random)
{
	uint8_t *p = malloc(len);
	struct block_ptr ptr;

	log_fixture_pattern(seed, p, len, random);
	cr_assert_eq(log_append(log, kind, p, len, 1, &ptr), 0);
	free(p);
	return ptr;
}

static bool holds(struct log *log, enum block_kind kind, const struct block_ptr *ptr, uint64_t seed,
		  bool random)
{
	uint8_t *want = malloc(ptr->plain_len), *got = malloc(ptr->plain_len);
	bool same;

	log_fixture_pattern(seed, want, ptr->plain_len, random);
	same = blocks_read(log_blocks(log), ptr, kind, got) == 0 &&
	       memcmp(want, got, ptr->plain_len) == 0;
	free(want);
	free(got);
	return same;
}

static uint64_t spare_len(const char *dir)
{
	char path[512];
	struct stat s;

	snprintf(path, sizeof(path), "%s/log/spare", dir);
	return stat(path, &s) == 0 ? (uint64_t)s.st_size : 0;
}

Test(log, opens_empty_and_leaves_no_trace)
{
	struct log_fixture f;
	struct log_tail tail;
	struct store *st;
	struct log *log;
	struct head h;
	uint64_t number;

	log_fixture_init(&f, NULL);
	for (int i = 0; i < 2; i++) {
		log = open_ok(&f, &tail);
		cr_assert_eq(tail.end, 0);
		cr_assert_eq(tail.head.number, 0);
		cr_assert_eq(tail.n_deltas + tail.n_checkpoints, 0);
		cr_assert_eq(log_end(log), 0);
		cr_assert_eq(log_sync(log, UINT64_MAX), 0);
		log_newest_head(log, &h);
		cr_assert_eq(h.number, 0);
		log_prepare(log);
		cr_assert_eq(log_close(log), 0);
		log_tail_release(&tail);
	}
	cr_assert_eq(store_open(f.dir, 0, &st), 0);
	cr_assert_eq(store_last(st, &number), -ERR_ABSENT);
	cr_assert_eq(spare_len(f.dir), 0);
	store_close(st);
	log_fixture_release(&f);
}

Test(log, wrong_writer_is_refused)
{
	struct log_fixture f;
	struct log_tail tail;
	struct log *log;

	log_fixture_init(&f, NULL);
	f.writer_secret[40] ^= 1;
	cr_assert_eq(log_fixture_open(&f, &log, &tail), -ERR_WRONG_KEY);
	log_fixture_release(&f);
}

struct writer {
	struct log *log;
	unsigned id, n;
	struct block_ptr *ptrs;
	unsigned bad;
};

static size_t writer_len(unsigned id, unsigned i)
{
	return i % 61 == 60 ? BLOCK_PLAIN_MAX - i : 1 + (id * 7919 + i * 104729) % 20000;
}

static enum block_kind writer_kind(unsigned i)
{
	return BLOCK_DATA + i % 4;
}

static void *write_many(void *arg)
{
	struct writer *w = arg;
	uint8_t *p = malloc(BLOCK_PLAIN_MAX);

	for (unsigned i = 0; i < w->n; i++) {
		size_t len = writer_len(w->id, i);
		struct block_ptr *ptr = &w->ptrs[i];

		log_fixture_pattern(w->id * 100000 + i, p, len, i & 1);
		if (log_append(w->log, writer_kind(i), p, len, 1, ptr) != 0)
			w->bad++;
		else if (!holds(w->log, writer_kind(i), ptr, w->id * 100000 + i, i & 1))
			w->bad++;
		if (i % 13 == 0) {
			w->bad += log_sync(w->log, ptr->pos + ptr->stored_len) != 0;
			w->bad += log_durable_end(w->log) < ptr->pos + ptr->stored_len;
		}
		/* Something older, which may have left the ring. */
		if (i > 50 && !holds(w->log, writer_kind(i / 2), &w->ptrs[i / 2],
				     w->id * 100000 + i / 2, (i / 2) & 1))
			w->bad++;
	}
	free(p);
	return NULL;
}

static void run_writers(struct log *log, struct writer *w, unsigned n_writers, unsigned n,
			int heads)
{
	pthread_t t[8];
	struct head h = {0};

	for (unsigned i = 0; i < n_writers; i++) {
		w[i] = (struct writer){.log = log, .id = i, .n = n};
		w[i].ptrs = calloc(n, sizeof(struct block_ptr));
		cr_assert_eq(pthread_create(&t[i], NULL, write_many, &w[i]), 0);
	}
	for (int i = 0; i < heads; i++)
		cr_assert_eq(log_add_head(log, &h), 0);
	for (unsigned i = 0; i < n_writers; i++) {
		pthread_join(t[i], NULL);
		cr_assert_eq(w[i].bad, 0);
	}
}

static void check_writers(struct log *log, struct writer *w, unsigned n_writers)
{
	for (unsigned i = 0; i < n_writers; i++) {
		for (unsigned j = 0; j < w[i].n; j++)
			cr_assert(holds(log, writer_kind(j), &w[i].ptrs[j], i * 100000 + j, j & 1),
				  "writer %u block %u", i, j);
	}
}

/* Every head's position, count and root, against a walk over the files. */
struct walk {
	struct catalog *catalog;
	struct merkle m;
	uint64_t heads, end;
};

static int walk_block(void *ctx, const struct scan_block *b)
{
	struct walk *w = ctx;
	struct head_ref ref;
	uint8_t root[HASH_LEN];
	struct head h;

	if (b->frame.kind == BLOCK_HEAD) {
		cr_assert_eq(head_decode(b->bytes + FRAME_LEN, b->frame.body_len, &h), 0);
		merkle_root(&w->m, root);
		cr_assert_eq(h.number, ++w->heads);
		cr_assert_eq(h.pos, b->pos);
		cr_assert_eq(h.n_blocks, w->m.n);
		cr_assert_eq(memcmp(root, h.root, HASH_LEN), 0);
		cr_assert_eq(catalog_head(w->catalog, h.number, &ref), 0);
		cr_assert_eq(ref.pos, b->pos);
		cr_assert_eq(ref.stored_len, b->len);
	}
	merkle_add(&w->m, b->leaf);
	w->end = b->pos + b->len;
	return SCAN_GO;
}

static void check_files(struct log_fixture *f, uint64_t heads, uint64_t end)
{
	struct walk w = {0};
	struct scan_result result;
	uint64_t number = 0, len;
	struct store *st;

	merkle_init(&w.m);
	cr_assert_eq(store_open(f->dir, 0, &st), 0);
	cr_assert_eq(catalog_open(f->dir, f->params.id, CATALOG_READ, &w.catalog), 0);
	cr_assert_eq(scan_blocks(store_storage(st), 0, walk_block, &w, &result), 0);
	cr_assert_eq(result.verdict, SCAN_END);
	cr_assert_eq(w.heads, heads);
	cr_assert_eq(w.end, end);
	cr_assert_eq(store_last(st, &number), 0);
	cr_assert_eq(number, segment_of(end - 1));
	cr_assert_eq(store_size(st, number, &len), 0);
	cr_assert_eq(segment_start(number) + len, end, "the last file ends where the log does");
	cr_assert_eq(spare_len(f->dir), STORE_SPARE_SHORT);
	catalog_close(w.catalog);
	store_close(st);
}

Test(log, eight_threads, .timeout = 300)
{
	struct log_fixture f;
	struct log *log = open_fresh(&f);
	struct writer w[8];
	struct log_tail tail;
	uint64_t end;

	run_writers(log, w, 8, 250, 20);
	check_writers(log, w, 8);
	cr_assert_eq(log_sync(log, UINT64_MAX), 0);
	end = log_end(log);
	cr_assert_eq(log_durable_end(log), end);
	cr_assert_eq(log_close(log), 0);
	check_files(&f, 20, end);

	log = open_ok(&f, &tail);
	cr_assert_eq(tail.end, end);
	cr_assert_eq(tail.head.number, 20);
	cr_assert_eq(tail.dropped_bytes, 0);
	check_writers(log, w, 8);
	for (int i = 0; i < 8; i++)
		free(w[i].ptrs);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	log_fixture_release(&f);
}

/* Incompressible blocks over four segments; each file but the last ends at its last block. */
Test(log, rolls, .timeout = 300)
{
	enum { N = 230 };
	struct log_fixture f;
	struct log *log = open_fresh(&f);
	struct block_ptr ptr[N];
	struct head h = {0};

	for (unsigned i = 0; i < N; i++) {
		ptr[i] = append_ok(log, BLOCK_DATA, i, BLOCK_PLAIN_MAX, true);
		if (i % 50 == 0)
			cr_assert_eq(log_add_head(log, &h), 0);
		if (i % 7 == 0)
			cr_assert(holds(log, BLOCK_DATA, &ptr[i / 2], i / 2, true));
		log_prepare(log);
	}
	cr_assert_eq(segment_of(ptr[N - 1].pos), 3);
	for (unsigned i = 0; i < N; i++)
		cr_assert(holds(log, BLOCK_DATA, &ptr[i], i, true));
	cr_assert_eq(log_add_head(log, &h), 0);
	cr_assert_eq(log_close(log), 0);
	check_files(&f, 6, head_end(&h));
	log_fixture_release(&f);
}

Test(log, each_mount_has_its_own_segment)
{
	struct log_fixture f;
	struct log *log = open_fresh(&f);
	struct block_ptr a, b;
	struct log_tail tail;

	a = append_ok(log, BLOCK_DELTA, 1, 100, false);
	cr_assert_eq(a.pos, SEGMENT_BLOCK_LEN);
	cr_assert_eq(log_close(log), 0);
	log = open_ok(&f, &tail);
	cr_assert_eq(tail.n_deltas, 1);
	cr_assert_eq(memcmp(&tail.deltas[0], &a, sizeof(a)), 0);
	log_tail_release(&tail);
	b = append_ok(log, BLOCK_CHECKPOINT, 2, 100, true);
	cr_assert_eq(b.pos, SEGMENT_SIZE + SEGMENT_BLOCK_LEN);
	cr_assert(holds(log, BLOCK_DELTA, &a, 1, false));
	cr_assert(holds(log, BLOCK_CHECKPOINT, &b, 2, true));
	cr_assert_eq(log_close(log), 0);
	log_fixture_release(&f);
}

Test(log, heads)
{
	struct log_fixture f;
	struct log *log = open_fresh(&f);
	struct head h = {.time_ns = 1000}, first, newest, list[5];
	struct source *src = log_source(log);
	struct log_tail tail;
	size_t n;

	cr_assert_eq(src->ops->head_at(src, INT64_MAX, &newest), -ERR_ABSENT);
	cr_assert_eq(src->ops->heads(src, 1, 5, list, &n), -ERR_ABSENT);
	cr_assert_eq(log_add_head(log, &h), 0);
	first = h;
	cr_assert_eq(h.number, 1);
	cr_assert_eq(h.n_blocks, 1, "the segment's header");
	cr_assert_eq(h.pos, SEGMENT_BLOCK_LEN);
	cr_assert_eq(h.parent_pos, 0);
	cr_assert_eq(h.time_ns, 1000);

	h = (struct head){.time_ns = 5};
	h.deltas[0] = append_ok(log, BLOCK_DELTA, 1, 100, false);
	h.n_deltas = 1;
	h.checkpoint = append_ok(log, BLOCK_CHECKPOINT, 2, 100, false);
	cr_assert_eq(log_add_head(log, &h), 0);
	cr_assert_eq(h.number, 2);
	cr_assert_eq(h.time_ns, 1001, "raised");
	cr_assert_eq(h.parent_pos, first.pos);
	cr_assert_eq(h.n_blocks, 4);
	cr_assert_eq(log_durable_end(log), head_end(&h));
	log_newest_head(log, &newest);
	cr_assert_eq(memcmp(&newest, &h, sizeof(h)), 0);

	cr_assert_eq(src->ops->heads(src, 1, 5, list, &n), 0);
	cr_assert_eq(n, 2);
	cr_assert_eq(list[0].pos, first.pos);
	cr_assert_eq(memcmp(list[0].root, first.root, HASH_LEN), 0);
	cr_assert_eq(list[1].deltas[0].pos, h.deltas[0].pos);
	cr_assert_eq(src->ops->head_at(src, 999, &newest), -ERR_TOO_EARLY);
	cr_assert_eq(src->ops->head_at(src, 1000, &newest), 0);
	cr_assert_eq(newest.number, 1);
	cr_assert_eq(src->ops->head_at(src, 1001, &newest), 0);
	cr_assert_eq(newest.number, 2);
	cr_assert_eq(log_close(log), 0);

	log = open_ok(&f, &tail);
	cr_assert_eq(tail.head.number, 2);
	cr_assert_eq(tail.head.stored_len, h.stored_len);
	cr_assert_eq(tail.end, head_end(&h));
	cr_assert_eq(tail.n_deltas + tail.n_checkpoints, 0, "those below the head do not count");
	log_tail_release(&tail);
	h = (struct head){0};
	cr_assert_eq(log_add_head(log, &h), 0);
	cr_assert_eq(h.pos, SEGMENT_SIZE + SEGMENT_BLOCK_LEN);
	cr_assert_eq(log_close(log), 0);
	check_files(&f, 3, head_end(&h));
	log_fixture_release(&f);
}

Test(log, source_reads_what_is_there_only)
{
	struct log_fixture f;
	struct log *log = open_fresh(&f);
	struct source *src = log_source(log);
	uint8_t *buf = malloc(BLOCK_STORED_MAX);
	struct block_ptr ptr;
	uint64_t end;

	cr_assert_eq(src->ops->read(src, 0, 1, buf), -ERR_ABSENT);
	for (unsigned i = 0; i < 64; i++)
		ptr = append_ok(log, BLOCK_DATA, i, BLOCK_PLAIN_MAX, true);
	cr_assert_eq(segment_of(ptr.pos), 1);
	end = SEGMENT_BLOCK_LEN + UINT64_C(63) * BLOCK_STORED_MAX;
	cr_assert_eq(src->ops->read(src, end - 12, 12, buf), 0);
	cr_assert_eq(src->ops->read(src, end - 12, 13, buf), -ERR_ABSENT, "the gap");
	cr_assert_eq(src->ops->read(src, end, FRAME_LEN, buf), -ERR_ABSENT);
	cr_assert_eq(src->ops->read(src, SEGMENT_SIZE, SEGMENT_BLOCK_LEN, buf), 0);
	cr_assert_eq(src->ops->read(src, log_end(log) - 1, 1, buf), 0);
	cr_assert_eq(src->ops->read(src, log_end(log), 1, buf), -ERR_ABSENT);
	cr_assert_eq(src->ops->read(src, UINT64_MAX - 1, 8, buf), -ERR_ABSENT);
	/* From the files into the ring. */
	cr_assert_eq(src->ops->read(src, end - RING - BLOCK_STORED_MAX / 2, BLOCK_STORED_MAX, buf),
		     0);
	free(buf);
	cr_assert_eq(log_close(log), 0);
	log_fixture_release(&f);
}

/* A filesystem of its own that can be filled up; returns false where that is not allowed. */
static bool mount_small(char dir[64], const char *options)
{
	strcpy(dir, "/tmp/embassyfs-small-XXXXXX");
	if (!mkdtemp(dir))
		return false;
	if (mount("none", dir, "tmpfs", 0, options) == 0)
		return true;
	rmdir(dir);
	return false;
}

static int append_rc(struct log *log, enum block_kind kind)
{
	static uint8_t p[EXTENT_MAX];
	struct block_ptr ptr;

	return log_append(log, kind, p, sizeof(p), 0, &ptr);
}

/* A file without a name, whose bytes the disk has back when it is closed. */
static int make_ballast(const char *dir)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/ballast", dir);
	fd = file_open(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(unlink(path), 0);
	return fd;
}

Test(log, full_disk, .timeout = 120)
{
	struct log_fixture f;
	struct log_tail tail;
	struct log *log;
	uint64_t tries = UINT64_C(500000000);
	unsigned n_data = 0, n_delta = 0;
	char dir[64];
	int fd, rc;

	if (!mount_small(dir, "size=228m"))
		cr_skip_test("no tmpfs here");
	fd = make_ballast(dir);
	cr_assert_eq(file_allocate(fd, 0, UINT64_C(80) << 20), 0);
	log_fixture_init(&f, dir);
	f.ring_bytes = RING;
	log = open_ok(&f, &tail);
	log_tail_release(&tail);

	/* Two segments fit beside the ballast: the second is the metadata's. */
	while ((rc = append_rc(log, BLOCK_DATA)) == 0)
		n_data++;
	cr_assert_eq(rc, -ENOSPC);
	cr_assert_gt(n_data, 400);
	cr_assert_lt(n_data, 600);
	cr_assert_eq(log_sync(log, UINT64_MAX), 0);
	while ((rc = append_rc(log, BLOCK_DELTA)) == 0)
		n_delta++;
	cr_assert_eq(rc, -ENOSPC);
	cr_assert_gt(n_delta, 400);
	cr_assert_eq(log_sync(log, UINT64_MAX), 0);

	/* It goes on by itself. */
	file_close(fd);
	while ((rc = append_rc(log, BLOCK_DATA)) == -ENOSPC && --tries)
		;
	cr_assert_eq(rc, 0);
	cr_assert_eq(append_rc(log, BLOCK_DELTA), 0);
	cr_assert_eq(log_close(log), 0);

	log = open_ok(&f, &tail);
	cr_assert_eq(tail.n_deltas, n_delta + 1);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	log_fixture_release(&f);
	cr_assert_eq(umount(dir), 0);
	rmdir(dir);
}

/* All that the disk still has. */
static void fill(int fd)
{
	static const uint8_t zeros[4096];
	uint64_t len;

	cr_assert_eq(file_size(fd, &len), 0);
	while (file_write_at(fd, zeros, sizeof(zeros), len) == 0)
		len += sizeof(zeros);
}

/* A delta and a head over it, and no data. */
static void change_on_full_disk(struct log *log)
{
	struct head h = {.time_ns = 1};

	uint64_t end;

	cr_assert_eq(append_rc(log, BLOCK_DATA), -ENOSPC);
	cr_assert_eq(append_rc(log, BLOCK_DELTA), 0);
	cr_assert_eq(log_sync(log, UINT64_MAX), 0);
	/* Also now that there is a segment, before anybody has looked for the next spare. */
	cr_assert_eq(append_rc(log, BLOCK_DATA), -ENOSPC);
	/* What is set aside is not for checkpoints either, however often one is tried. */
	end = log_end(log);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(append_rc(log, BLOCK_NODE), -ENOSPC);
		cr_assert_eq(append_rc(log, BLOCK_CHECKPOINT), -ENOSPC);
	}
	cr_assert_eq(log_end(log), end);
	cr_assert_eq(log_add_head(log, &h), 0);
}

/*
 * Others fill the disk while the volume is closed, and again each time that it is: what needs no
 * data goes on, since the spare stays.
 */
Test(log, full_disk_when_opened, .timeout = 120)
{
	struct log_fixture f;
	struct log_tail tail;
	struct log *log;
	uint64_t tries = UINT64_C(500000000);
	char dir[64];
	int fd, rc;

	if (!mount_small(dir, "size=228m"))
		cr_skip_test("no tmpfs here");
	fd = make_ballast(dir);
	log_fixture_init(&f, dir);
	f.ring_bytes = RING;
	log = open_ok(&f, &tail);
	log_tail_release(&tail);
	cr_assert_eq(append_rc(log, BLOCK_DATA), 0);
	cr_assert_eq(log_close(log), 0);

	for (unsigned i = 0; i < 3; i++) {
		cr_assert_geq(spare_len(f.dir), STORE_SPARE_MIN);
		fill(fd);
		log = open_ok(&f, &tail);
		cr_assert_eq(tail.head.number, i);
		log_tail_release(&tail);
		change_on_full_disk(log);
		cr_assert_eq(log_close(log), 0);
	}

	fill(fd);
	log = open_ok(&f, &tail);
	log_tail_release(&tail);
	change_on_full_disk(log);
	file_close(fd);
	while ((rc = append_rc(log, BLOCK_DATA)) == -ENOSPC && --tries)
		;
	cr_assert_eq(rc, 0);
	cr_assert_eq(log_close(log), 0);
	log = open_ok(&f, &tail);
	cr_assert_eq(tail.head.number, 4);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	cr_assert_eq(spare_len(f.dir), STORE_SPARE_SHORT);
	log_fixture_release(&f);
	cr_assert_eq(umount(dir), 0);
	rmdir(dir);
}

/* All but ${pages} pages of what the disk still has. */
static void fill_but(int fd, uint64_t pages)
{
	uint64_t len;

	fill(fd);
	cr_assert_eq(file_size(fd, &len), 0);
	cr_assert_eq(file_truncate(fd, len - pages * 4096), 0);
}

static void in_folder(const char *dir, const char *command)
{
	char line[600];

	snprintf(line, sizeof(line), "cd '%s' && %s", dir, command);
	cr_assert_eq(system(line), 0, "%s", line);
}

/*
 * The catalog is older than the log, as after a crash, and opening it takes the last of the room:
 * what it then lacks for the heads that recovery finds comes from the spare too.
 */
Test(log, full_disk_while_recovering, .timeout = 120)
{
	const unsigned n_heads = 300;
	struct log_fixture f;
	struct log_tail tail;
	struct log *log;
	char dir[64];
	int fd;

	if (!mount_small(dir, "size=228m"))
		cr_skip_test("no tmpfs here");
	log_fixture_init(&f, dir);
	f.ring_bytes = RING;
	log = open_ok(&f, &tail);
	log_tail_release(&tail);
	append_ok(log, BLOCK_DELTA, 1, 100, false);
	cr_assert_eq(log_add_head(log, &(struct head){.time_ns = 1}), 0);
	cr_assert_eq(log_close(log), 0);
	in_folder(f.dir, "cp -r catalog older");
	log = open_ok(&f, &tail);
	log_tail_release(&tail);
	for (unsigned i = 1; i < n_heads; i++) {
		append_ok(log, BLOCK_DELTA, i, 100, false);
		cr_assert_eq(log_add_head(log, &(struct head){.time_ns = 1 + i}), 0);
	}
	cr_assert_eq(log_close(log), 0);

	for (uint64_t pages = 0; pages < 32; pages += 3) {
		in_folder(f.dir, "rm -r catalog && cp -r older catalog");
		fd = make_ballast(dir);
		fill_but(fd, pages);
		log = open_ok(&f, &tail);
		cr_assert_eq(tail.head.number, n_heads);
		log_tail_release(&tail);
		/* Cut, since an inode without a name may outlive its last descriptor for a moment. */
		cr_assert_eq(file_truncate(fd, 0), 0);
		file_close(fd);
		/* What it took of the spare is there again for the next. */
		cr_assert_eq(log_close(log), 0);
		cr_assert_eq(spare_len(f.dir), STORE_SPARE_SHORT);
	}
	log_fixture_release(&f);
	cr_assert_eq(umount(dir), 0);
	rmdir(dir);
}

/* Fails calls of one kind, or all, from the ${left}th on, ${times} times. */
struct fault {
	const char *op;
	int left, times, rc;
};

static int fault_fn(void *ctx, const char *op)
{
	struct fault *f = ctx;

	if (f->op && strcmp(op, f->op) != 0)
		return 0;
	if (f->left-- > 0 || f->times == 0)
		return 0;
	f->times--;
	return f->rc;
}

Test(log, lost_sync_is_not_forgotten)
{
	struct fault fault = {.op = "sync_data", .times = 1, .rc = -EIO};
	struct log_fixture f;
	struct log *log = open_fresh(&f);
	struct head h = {0};
	struct block_ptr a, b;

	a = append_ok(log, BLOCK_DELTA, 1, 100, false);
	cr_assert_eq(log_sync(log, UINT64_MAX), 0);
	b = append_ok(log, BLOCK_DELTA, 2, 100, false);
	file_set_fault(fault_fn, &fault);
	cr_assert_eq(log_sync(log, UINT64_MAX), -EIO);
	cr_assert_eq(fault.times, 0);
	/* The device is well again, but what it lost stays lost. */
	cr_assert_eq(log_sync(log, UINT64_MAX), -ERR_STUCK);
	cr_assert_eq(log_sync(log, a.pos + a.stored_len), 0, "durable before");
	cr_assert_eq(append_rc(log, BLOCK_DATA), -ERR_STUCK);
	cr_assert_eq(log_add_head(log, &h), -ERR_STUCK);
	cr_assert(holds(log, BLOCK_DELTA, &b, 2, false), "readable still");
	cr_assert_eq(log_close(log), -ERR_STUCK);
	file_set_fault(NULL, NULL);
	log_fixture_release(&f);
}

Test(log, one_failed_write_is_tried_again)
{
	struct fault fault = {.op = "write", .times = 1, .rc = -EIO};
	struct log_fixture f;
	struct log *log = open_fresh(&f);

	append_ok(log, BLOCK_DELTA, 1, 100, false);
	file_set_fault(fault_fn, &fault);
	cr_assert_eq(log_sync(log, UINT64_MAX), 0);
	cr_assert_eq(fault.times, 0);
	append_ok(log, BLOCK_DELTA, 2, 100, false);
	fault = (struct fault){.op = "write", .times = 2, .rc = -EIO};
	cr_assert_eq(log_sync(log, UINT64_MAX), -EIO);
	cr_assert_eq(log_sync(log, UINT64_MAX), -ERR_STUCK);
	file_set_fault(NULL, NULL);
	cr_assert_eq(log_close(log), -ERR_STUCK);
	log_fixture_release(&f);
}

/* Lack of space loses nothing; the place of a head that could not be made is filled. */
Test(log, no_space_passes)
{
	struct fault fault = {.op = "write", .times = -1, .rc = -ENOSPC};
	struct log_fixture f;
	struct log *log = open_fresh(&f);
	struct head h = {0};
	struct log_tail tail;
	struct block_ptr a, b;

	cr_assert_eq(log_add_head(log, &h), 0);
	a = append_ok(log, BLOCK_DELTA, 1, 100, false);
	file_set_fault(fault_fn, &fault);
	cr_assert_eq(log_sync(log, UINT64_MAX), -ENOSPC);
	cr_assert_eq(log_add_head(log, &h), -ENOSPC);
	cr_assert_eq(log_add_head(log, &h), -ENOSPC);
	b = append_ok(log, BLOCK_DELTA, 2, 100, false);
	cr_assert_eq(log_sync(log, UINT64_MAX), -ENOSPC);
	file_set_fault(NULL, NULL);
	cr_assert_eq(log_sync(log, UINT64_MAX), 0);
	cr_assert(holds(log, BLOCK_DELTA, &a, 1, false));
	cr_assert_eq(log_add_head(log, &h), 0);
	cr_assert_eq(h.number, 2);
	cr_assert_eq(log_close(log), 0);
	check_files(&f, 2, head_end(&h));
	log = open_ok(&f, &tail);
	cr_assert(holds(log, BLOCK_DELTA, &a, 1, false));
	cr_assert(holds(log, BLOCK_DELTA, &b, 2, false));
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	log_fixture_release(&f);
}

/* While a write is under way, other threads fill the segment and begin the next, which gets no name. */
struct roll_meanwhile {
	struct log *log;
	struct block_ptr last, next; /* the last block of segment 0, the first of segment 1 */
	bool armed;
	unsigned refused;
};

static int roll_meanwhile_fn(void *ctx, const char *op)
{
	static const uint8_t data[8000];
	struct roll_meanwhile *m = ctx;

	if (strcmp(op, "rename") == 0) {
		m->refused++;
		return -ENOSPC;
	}
	if (!m->armed || strcmp(op, "write") != 0)
		return 0;
	m->armed = false;
	while (segment_of(m->next.pos) == 0) {
		m->last = m->next;
		cr_assert_eq(log_append(m->log, BLOCK_DELTA, data, sizeof(data), 0, &m->next), 0);
	}
	return 0;
}

/* A sync of an old segment's bytes, which are durable by then, does not fail for want of a new one. */
Test(log, no_space_for_the_next_segment_is_no_failure_of_the_last, .timeout = 120)
{
	struct log_fixture f;
	struct log *log = open_fresh(&f);
	struct roll_meanwhile m = {.log = log};
	struct block_ptr ptr = {0};
	uint8_t *data = malloc(BLOCK_PLAIN_MAX);

	log_fixture_pattern(1, data, BLOCK_PLAIN_MAX, true);
	while (segment_start(1) - ptr.pos > 3 * BLOCK_STORED_MAX)
		cr_assert_eq(log_append(log, BLOCK_DELTA, data, BLOCK_PLAIN_MAX - 1000, 0, &ptr),
			     0);
	cr_assert_eq(log_sync(log, UINT64_MAX), 0);
	m.armed = true;
	file_set_fault(roll_meanwhile_fn, &m);
	while (m.armed)
		cr_assert_eq(log_append(log, BLOCK_DELTA, data, 8000, 0, &ptr), 0);
	cr_assert_eq(segment_of(m.next.pos), 1);
	cr_assert_eq(m.refused, 0);
	cr_assert_eq(log_sync(log, m.last.pos + m.last.stored_len), 0);
	cr_assert_eq(m.refused, 1);
	cr_assert_eq(log_sync(log, UINT64_MAX), -ENOSPC);
	file_set_fault(NULL, NULL);
	cr_assert_eq(log_sync(log, UINT64_MAX), 0);
	free(data);
	cr_assert_eq(log_close(log), 0);
	log_fixture_release(&f);
}

/* What a run with faults was promised. */
struct promise {
	struct block_ptr ptr[80];
	unsigned n, n_synced;
	uint64_t head;
};

/* A mount with appends over more than a segment, syncs and heads, whatever fails. */
static void run_promises(struct log_fixture *f, struct promise *p)
{
	uint8_t *data = malloc(BLOCK_PLAIN_MAX);
	struct head h = {0};
	struct log_tail tail;
	struct log *log;

	memset(p, 0, sizeof(*p));
	if (log_fixture_open(f, &log, &tail) == 0) {
		log_tail_release(&tail);
		for (unsigned i = 0; i < 70; i++) {
			size_t len = i < 68 ? BLOCK_PLAIN_MAX - 1000 : 500;

			log_fixture_pattern(i, data, len, true);
			if (log_append(log, BLOCK_NODE, data, len, 0, &p->ptr[p->n]) != 0)
				break;
			p->n++;
			if ((i == 1 || i > 65) && log_sync(log, UINT64_MAX) == 0)
				p->n_synced = p->n;
			if ((i == 2 || i == 68) && log_add_head(log, &h) == 0) {
				p->head = h.number;
				p->n_synced = p->n;
			}
		}
		if (log_close(log) == 0)
			p->n_synced = p->n;
	}
	free(data);
}

static void check_promises(struct log_fixture *f, const struct promise *p, const char *what, int n)
{
	struct log_tail tail;
	struct log *log = open_ok(f, &tail);

	cr_assert_geq(tail.head.number, p->head, "%s %d: head", what, n);
	for (unsigned i = 0; i < p->n_synced; i++)
		cr_assert(holds(log, BLOCK_NODE, &p->ptr[i], i, true), "%s %d: block %u", what, n,
			  i);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
}

static void fail_each(const char *op, int rc, int times)
{
	struct log_fixture f;
	struct promise p;
	bool hit = true;

	for (int n = 0; hit; n += (n < 24 ? 1 : 7) * (int)sampled(5)) {
		struct fault fault = {.op = op, .left = n, .times = times, .rc = rc};

		log_fixture_init(&f, NULL);
		f.ring_bytes = RING;
		file_set_fault(fault_fn, &fault);
		run_promises(&f, &p);
		file_set_fault(NULL, NULL);
		hit = fault.left < 0 && fault.times != times;
		if (!hit)
			cr_assert_eq(p.n_synced, 70, "%s: nothing failed", op);
		check_promises(&f, &p, op, n);
		log_fixture_release(&f);
	}
}

Test(log, promises_hold_when_writes_fail, .timeout = 300)
{
	fail_each("write", -EIO, 2);
	fail_each("write", -ENOSPC, 3);
}

Test(log, promises_hold_when_syncs_fail, .timeout = 300)
{
	fail_each("sync_data", -EIO, 1);
	fail_each("sync", -EIO, 1);
}

Test(log, promises_hold_when_names_fail, .timeout = 300)
{
	fail_each("rename", -EIO, 1);
	fail_each("rename", -ENOSPC, 2);
	fail_each("truncate", -EIO, 1);
	fail_each("allocate", -ENOSPC, 1);
	fail_each("open", -EMFILE, 1);
}
