/* See recover_fixture.h. */

#include "recover_fixture.h"

#include "blocks.h"
#include "catalog.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "log.h"
#include "log_fixture.h"
#include "newest.h"
#include "store.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct log *recover_open(struct log_fixture *f, struct log_tail *tail)
{
	struct log *log = NULL;
	int rc = log_fixture_open(f, &log, tail);

	cr_assert_eq(rc, 0, "log_open: %s", err_detail(rc));
	return log;
}

struct block_ptr recover_append(struct log *log, enum block_kind kind, uint64_t seed, size_t len)
{
	uint8_t *p = malloc(len);
	struct block_ptr ptr;

	log_fixture_pattern(seed, p, len, seed & 1);
	cr_assert_eq(log_append(log, kind, p, len, 1, &ptr), 0);
	free(p);
	return ptr;
}

bool recover_holds(struct log *log, enum block_kind kind, const struct block_ptr *ptr,
		   uint64_t seed)
{
	uint8_t *want = malloc(ptr->plain_len), *got = malloc(ptr->plain_len);
	bool same;

	log_fixture_pattern(seed, want, ptr->plain_len, seed & 1);
	same = blocks_read(log_blocks(log), ptr, kind, got) == 0 &&
	       memcmp(want, got, ptr->plain_len) == 0;
	free(want);
	free(got);
	return same;
}

void recover_segment_path(const struct log_fixture *f, uint64_t number, char out[320])
{
	snprintf(out, 320, "%s/log/%016llx.seg", f->dir, (unsigned long long)number);
}

struct recover_bytes recover_load(const struct log_fixture *f, uint64_t number)
{
	char path[320];
	struct recover_bytes b;
	void *p;

	recover_segment_path(f, number, path);
	cr_assert_eq(file_read_all(AT_FDCWD, path, SEGMENT_SIZE, &p, &b.len), 0);
	b.p = p;
	return b;
}

void recover_store(const struct log_fixture *f, uint64_t number, const void *p, size_t len)
{
	char path[320];
	int fd;

	recover_segment_path(f, number, path);
	fd = file_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(file_write_at(fd, p, len, 0), 0);
	file_close(fd);
}

/* As a crash leaves it: of its whole length. */
void recover_store_open(const struct log_fixture *f, uint64_t number, const void *p, size_t len)
{
	char path[320];

	recover_store(f, number, p, len);
	recover_segment_path(f, number, path);
	cr_assert_eq(truncate(path, (off_t)SEGMENT_SIZE), 0);
}

uint64_t recover_last_segment(const struct log_fixture *f)
{
	struct store *st;
	uint64_t number;

	cr_assert_eq(store_open(f->dir, 0, &st), 0);
	cr_assert_eq(store_last(st, &number), 0);
	store_close(st);
	return number;
}

const enum block_kind recover_tail_kind[RECOVER_TAIL] = {BLOCK_DELTA, BLOCK_DATA, BLOCK_CHECKPOINT,
							 BLOCK_DELTA};

void recover_small_init(struct recover_small *s)
{
	struct log_tail tail;
	struct log *log;

	memset(s, 0, sizeof(*s));
	log_fixture_init(&s->f, NULL);
	s->f.ring_bytes = RECOVER_RING;
	log = recover_open(&s->f, &tail);
	recover_append(log, BLOCK_DELTA, 100, 50);
	cr_assert_eq(log_add_head(log, &s->head), 0);
	for (unsigned i = 0; i < RECOVER_TAIL; i++)
		s->tail[i] = recover_append(log, recover_tail_kind[i], i, i == 3 ? 200 : 10 + i);
	cr_assert_eq(log_close(log), 0);
	s->segment = recover_load(&s->f, 0);
}

void recover_small_release(struct recover_small *s)
{
	free(s->segment.p);
	log_fixture_release(&s->f);
}

/* What is refused is refused again, with the same words, and is left as it is. */
void recover_refused_as_it_is(struct recover_small *s, int want, const char *what)
{
	struct recover_bytes before = recover_load(&s->f, 0), after;
	struct log_tail tail = {0};
	char path[320], words[1024];
	struct log *log;
	bool had_catalog;

	snprintf(path, sizeof(path), "%s/catalog", s->f.dir);
	had_catalog = access(path, F_OK) == 0;
	for (int i = 0; i < 3; i++) {
		int rc = log_fixture_open(&s->f, &log, &tail);

		cr_assert_eq(rc, want, "%s, attempt %d: %d, %s", what, i, rc, err_detail(rc));
		cr_assert_neq(strcmp(err_detail(want), err_text(want)), 0, "%s: no detail", what);
		if (i > 0)
			cr_assert_str_eq(err_detail(want), words, "%s, attempt %d: '%s', not '%s'",
					 what, i, err_detail(want), words);
		snprintf(words, sizeof(words), "%s", err_detail(want));
		cr_assert_eq(access(path, F_OK) == 0, had_catalog, "%s: attempt %d", what, i);
	}
	after = recover_load(&s->f, 0);
	cr_assert_eq(after.len, before.len, "%s: the log was changed", what);
	cr_assert_eq(memcmp(after.p, before.p, after.len), 0);
	free(before.p);
	free(after.p);
}

void recover_refused(struct recover_small *s, int want, const char *what)
{
	recover_store(&s->f, 0, s->segment.p, s->segment.len);
	recover_refused_as_it_is(s, want, what);
}

void recover_lose_catalog(const struct recover_small *s)
{
	char path[320];

	snprintf(path, sizeof(path), "%s/catalog", s->f.dir);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	/* Nor does anything else tell of it but the log. */
	cr_assert_eq(newest_forget(s->f.dir), 0);
}

/* The log must end after exactly ${n} of the blocks. */
void recover_cut(struct recover_small *s, unsigned n, const char *what, size_t off)
{
	uint64_t end = n ? s->tail[n - 1].pos + s->tail[n - 1].stored_len : head_end(&s->head);
	size_t deltas = 0, checkpoints = 0;
	struct log_tail tail;
	struct log *log = recover_open(&s->f, &tail);
	struct recover_bytes after;

	for (unsigned i = 0; i < n; i++) {
		deltas += recover_tail_kind[i] == BLOCK_DELTA;
		checkpoints += recover_tail_kind[i] == BLOCK_CHECKPOINT;
		cr_assert(recover_holds(log, recover_tail_kind[i], &s->tail[i], i),
			  "%s at %zu: block %u", what, off, i);
	}
	cr_assert_eq(tail.end, end, "%s at %zu: end %llu, not %llu", what, off,
		     (unsigned long long)tail.end, (unsigned long long)end);
	cr_assert_eq(tail.head.number, 1);
	cr_assert_eq(tail.n_deltas, deltas);
	cr_assert_eq(tail.n_checkpoints, checkpoints);
	for (size_t i = 0; i < deltas; i++)
		cr_assert_gt(tail.deltas[i].plain_len, 9u);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	after = recover_load(&s->f, 0);
	cr_assert_eq(after.len, end);
	cr_assert_eq(memcmp(after.p, s->segment.p, end), 0);
	free(after.p);
}
