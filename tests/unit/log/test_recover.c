/* Recovery: damage that is no tear, catalogs that are gone or wrong, errors. */

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

#include "../sampled.h"
#include "../spoil.h"

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

Test(recover, dropped_bytes_are_counted)
{
	struct log_tail tail;
	struct recover_small s;
	struct log *log;

	recover_small_init(&s);
	memset(s.segment.p + s.tail[2].pos + 20, 0, s.tail[2].stored_len - 20);
	/* Zeros at the end don't count, and one seal in 256 ends in one. */
	s.segment.p[s.segment.len - 1] = 1;
	recover_store_open(&s.f, 0, s.segment.p, s.segment.len);
	log = recover_open(&s.f, &tail);
	cr_assert_eq(tail.dropped_bytes, s.segment.len - s.tail[2].pos);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	recover_small_release(&s);
}

/* No crash damages what a head covers, so nothing may be cut off. */
Test(recover, damage_under_a_head_is_not_a_tear)
{
	struct log_tail tail;
	struct recover_small s;
	struct log *log;
	struct head h = {0};
	char path[320];

	recover_small_init(&s);
	/* A second head above the tail, in the same file: an unclean end without a catalog. */
	recover_lose_catalog(&s);
	recover_segment_path(&s.f, 0, path);
	cr_assert_eq(unlink(path), 0);
	log = recover_open(&s.f, &tail);
	recover_append(log, BLOCK_DELTA, 1, 40);
	s.tail[0] = recover_append(log, BLOCK_DELTA, 2, 40);
	cr_assert_eq(log_add_head(log, &h), 0);
	recover_append(log, BLOCK_DELTA, 3, 40);
	cr_assert_eq(log_close(log), 0);
	free(s.segment.p);
	s.segment = recover_load(&s.f, 0);

	for (size_t off = s.tail[0].pos; off < h.pos; off += sampled(3)) {
		struct recover_bytes hole = recover_load(&s.f, 0);

		recover_lose_catalog(&s);
		/* As if never written: only the head behind it tells. */
		memset(hole.p + off, 0, h.pos - off);
		recover_store_open(&s.f, 0, hole.p, hole.len);
		recover_refused_as_it_is(&s, -ERR_DAMAGED, "a hole under a head");
		s.segment.p[off] ^= 1;
		recover_refused(&s, -ERR_DAMAGED, "flip under a head");
		s.segment.p[off] ^= 1;
		recover_store(&s.f, 0, s.segment.p, s.segment.len);
		free(hole.p);
	}
	recover_small_release(&s);
}

Test(recover, damage_before_the_last_segment)
{
	struct log_tail tail;
	struct recover_small s;
	struct log *log;

	recover_small_init(&s);
	log = recover_open(&s.f, &tail);
	log_tail_release(&tail);
	recover_append(log, BLOCK_DELTA, 1, 40);
	cr_assert_eq(log_close(log), 0);
	cr_assert_eq(recover_last_segment(&s.f), 1);
	for (size_t off = s.tail[0].pos; off < s.segment.len; off += 5) {
		s.segment.p[off] ^= 1;
		recover_refused(&s, -ERR_DAMAGED, "flip in a whole segment");
		s.segment.p[off] ^= 1;
	}
	s.segment.len -= 3;
	recover_refused(&s, -ERR_DAMAGED, "cut in a whole segment");
	s.segment.len += 3;
	recover_store(&s.f, 0, s.segment.p, s.segment.len);
	log = recover_open(&s.f, &tail);
	cr_assert_eq(tail.n_deltas, 3);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	recover_small_release(&s);
}

/* The last segment says how many blocks lie before it: one that is missing is missed. */
Test(recover, segment_before_the_last_is_gone)
{
	struct log_tail tail;
	struct recover_small s;
	struct log *log;
	char path[320], kept[400];

	recover_small_init(&s);
	for (int i = 0; i < 2; i++) {
		log = recover_open(&s.f, &tail);
		log_tail_release(&tail);
		recover_append(log, BLOCK_DELTA, 1, 40);
		cr_assert_eq(log_close(log), 0);
	}
	cr_assert_eq(recover_last_segment(&s.f), 2);
	recover_segment_path(&s.f, 1, path);
	snprintf(kept, sizeof(kept), "%s/kept", s.f.dir);
	cr_assert_eq(rename(path, kept), 0);
	recover_refused_as_it_is(&s, -ERR_DAMAGED, "a segment is missing");
	recover_segment_path(&s.f, 2, path);
	cr_assert_eq(access(path, F_OK), 0, "the last segment was removed");
	recover_segment_path(&s.f, 1, path);
	cr_assert_eq(rename(kept, path), 0);
	log = recover_open(&s.f, &tail);
	cr_assert_eq(tail.n_deltas, 4);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	recover_small_release(&s);
}

/* The catalog recover_holds durable heads only: a log without its newest is not what it was. */
Test(recover, head_that_the_catalog_knows_is_gone)
{
	struct recover_small s;

	recover_small_init(&s);
	s.segment.p[s.head.pos + 60] ^= 1;
	recover_refused(&s, -ERR_DAMAGED, "flip in the head's text");
	s.segment.p[s.head.pos + 60] ^= 1;
	s.segment.p[s.head.pos + 1] ^= 1;
	recover_refused(&s, -ERR_DAMAGED, "flip in the head's frame");
	s.segment.p[s.head.pos + 1] ^= 1;
	s.segment.len = s.head.pos;
	recover_refused(&s, -ERR_DAMAGED, "head cut off");
	recover_small_release(&s);
}

/* A crash may leave a segment that has its name and its length, and not a byte yet. */
Test(recover, segment_without_a_block_is_removed)
{
	static const size_t lens[] = {0, 7, SEGMENT_BLOCK_LEN - 1, SEGMENT_BLOCK_LEN, 70000};
	struct recover_small s;
	char path[320];
	uint8_t *p = calloc(1, 70000);

	recover_small_init(&s);
	recover_segment_path(&s.f, 1, path);
	recover_store_open(&s.f, 1, p, 0);
	recover_cut(&s, RECOVER_TAIL, "empty segment", 0);
	cr_assert_neq(access(path, F_OK), 0);
	/* Another length, or other bytes, it never had. */
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		recover_store(&s.f, 1, p, lens[i]);
		recover_refused_as_it_is(&s, -ERR_DAMAGED, "closed without a block");
	}
	memset(p, 0x55, 100);
	recover_store_open(&s.f, 1, p, 100);
	recover_refused_as_it_is(&s, -ERR_DAMAGED, "no header");
	free(p);
	recover_small_release(&s);
}

Test(recover, catalog_is_made_anew)
{
	struct catalog *c;
	struct head_ref ref;
	struct recover_small s;
	char path[300], file[320];
	int fd;

	recover_small_init(&s);
	snprintf(path, sizeof(path), "%s/catalog", s.f.dir);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	recover_cut(&s, RECOVER_TAIL, "catalog gone", 0);
	snprintf(file, sizeof(file), "%s/CURRENT", path);
	fd = file_open(AT_FDCWD, file, O_RDWR | O_TRUNC, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(file_write_at(fd, "nonsense\n", 9, 0), 0);
	file_close(fd);
	recover_cut(&s, RECOVER_TAIL, "catalog damaged", 0);
	spoil_time(s.f.dir, s.head.number);
	recover_cut(&s, RECOVER_TAIL, "a wrong time in the catalog", 0);
	cr_assert_eq(catalog_open(s.f.dir, s.f.params.id, CATALOG_READ, &c), 0);
	cr_assert_eq(catalog_newest(c, &ref), 0);
	cr_assert_eq(ref.pos, s.head.pos);
	cr_assert_eq(ref.time_ns, s.head.time_ns);
	catalog_close(c);
	recover_small_release(&s);
}

/* After a crash, or where it was spoiled, newest-head tells of an older head or of none. */
Test(recover, what_newest_head_lacks_is_written_at_the_end)
{
	struct log_tail tail;
	struct recover_small s;
	struct store *st;
	struct head h;

	recover_small_init(&s);
	cr_assert_eq(newest_forget(s.f.dir), 0);
	/* Nothing is written by this mount. */
	cr_assert_eq(log_close(recover_open(&s.f, &tail)), 0);
	log_tail_release(&tail);
	cr_assert_eq(store_open(s.f.dir, 0, &st), 0);
	newest_known(&s.f.params, store_storage(st), &h);
	cr_expect_eq(h.number, s.head.number);
	store_close(st);
	recover_small_release(&s);
}

Test(recover, spare_is_kept)
{
	struct store *st;
	struct recover_small s;
	uint64_t len;

	recover_small_init(&s);
	cr_assert_eq(store_open(s.f.dir, STORE_WRITABLE, &st), 0);
	cr_assert_eq(store_make_spare(st, &len), 0);
	recover_cut(&s, RECOVER_TAIL, "spare", 0);
	cr_assert(store_shrink_spare(st, 0));
	store_close(st);
	recover_small_release(&s);
}

/* Fails the ${left}th file call. */
static int fail_nth(void *ctx, const char *op)
{
	int *left = ctx;

	(void)op;
	return (*left)-- == 0 ? -EIO : 0;
}

/* An error of the disk while recovering is never taken for a tear. */
Test(recover, io_errors_cut_nothing, .timeout = 300)
{
	struct log_tail tail;
	struct recover_small s;
	struct log *log;
	int rc = -1;

	recover_small_init(&s);
	for (int n = 0; rc != 0; n++) {
		int left = n;

		cr_assert_lt(n, 500);
		recover_store(&s.f, 0, s.segment.p, s.segment.len);
		file_set_fault(fail_nth, &left);
		rc = log_fixture_open(&s.f, &log, &tail);
		file_set_fault(NULL, NULL);
		if (rc == 0) {
			cr_assert_eq(tail.n_deltas, 2, "call %d", n);
			log_tail_release(&tail);
			cr_assert_eq(log_close(log), 0);
			rc = left < 0;
		}
		recover_cut(&s, RECOVER_TAIL, "after an error", (size_t)n);
	}
	recover_small_release(&s);
}

static int fail_sync(void *ctx, const char *op)
{
	int *writes = ctx;

	*writes += strcmp(op, "write") == 0;
	return strcmp(op, "sync_data") == 0 ? -EIO : 0;
}

static uint64_t newest_in_catalog(struct recover_small *s)
{
	struct head_ref ref = {0};
	struct catalog *c;
	int rc = catalog_open(s->f.dir, s->f.params.id, CATALOG_READ, &c);

	if (rc == -ERR_ABSENT)
		return 0;
	cr_assert_eq(rc, 0);
	rc = catalog_newest(c, &ref);
	cr_assert(rc == 0 || rc == -ERR_ABSENT);
	catalog_close(c);
	return ref.number;
}

/*
 * What recovery finds after the newest head that the catalog knows may be in the page cache only,
 * also after a sync that failed: it is written again, and a head is not in the catalog before all
 * is durable.
 */
Test(recover, heads_count_once_they_are_durable)
{
	char old[400], dir[400], command[1000];
	struct head second = {0};
	struct log_tail tail;
	struct recover_small s;
	struct log *log;

	recover_small_init(&s);
	snprintf(dir, sizeof(dir), "%s/catalog", s.f.dir);
	snprintf(old, sizeof(old), "%s/catalog.old", s.f.dir);
	snprintf(command, sizeof(command), "cp -a '%s' '%s'", dir, old);
	cr_assert_eq(system(command), 0);
	log = recover_open(&s.f, &tail);
	log_tail_release(&tail);
	recover_append(log, BLOCK_DELTA, 5, 40);
	cr_assert_eq(log_add_head(log, &second), 0);
	cr_assert_eq(log_close(log), 0);

	for (int gone = 0; gone < 2; gone++) {
		int writes = 0;

		cr_assert_eq(file_remove_tree(AT_FDCWD, dir), 0);
		snprintf(command, sizeof(command), "cp -a '%s' '%s'", old, dir);
		cr_assert(gone || system(command) == 0);
		cr_assert_eq(newest_in_catalog(&s), gone ? 0 : 1);
		file_set_fault(fail_sync, &writes);
		cr_assert_eq(log_fixture_open(&s.f, &log, &tail), -EIO);
		file_set_fault(NULL, NULL);
		cr_assert_gt(writes, 0);
		cr_assert_eq(newest_in_catalog(&s), gone ? 0 : 1);
		log = recover_open(&s.f, &tail);
		cr_assert_eq(tail.head.number, 2);
		log_tail_release(&tail);
		cr_assert_eq(log_close(log), 0);
		cr_assert_eq(newest_in_catalog(&s), 2);
	}
	recover_small_release(&s);
}

/* Two heads; the catalog knows none, one or both of them, in turn. */
enum knows { KNOWS_NONE, KNOWS_OLDER, KNOWS_NEWEST, KNOWS_END };

struct two {
	struct recover_small s;
	struct head second;
	char catalog[320], older[400], newest[400];
	char noted[320], note[320]; /* newest-head, and where it is kept: nothing else tells but the log */
};

static void copy_folder(const char *from, const char *to)
{
	char command[1000];

	snprintf(command, sizeof(command), "rm -rf '%s' && cp -a '%s' '%s'", to, from, to);
	cr_assert_eq(system(command), 0);
}

static void two_init(struct two *t)
{
	struct log_tail tail;
	struct log *log;

	memset(t, 0, sizeof(*t));
	recover_small_init(&t->s);
	snprintf(t->catalog, sizeof(t->catalog), "%s/catalog", t->s.f.dir);
	snprintf(t->older, sizeof(t->older), "%s/older", t->s.f.dir);
	snprintf(t->newest, sizeof(t->newest), "%s/newest", t->s.f.dir);
	copy_folder(t->catalog, t->older);
	log = recover_open(&t->s.f, &tail);
	log_tail_release(&tail);
	recover_append(log, BLOCK_DELTA, 5, 4000);
	cr_assert_eq(log_add_head(log, &t->second), 0);
	cr_assert_eq(log_close(log), 0);
	copy_folder(t->catalog, t->newest);
	cr_assert_eq(recover_last_segment(&t->s.f), 1);
	snprintf(t->noted, sizeof(t->noted), "%s/newest-head", t->s.f.dir);
	snprintf(t->note, sizeof(t->note), "%s/kept-head", t->s.f.dir);
	cr_assert_eq(rename(t->noted, t->note), 0);
}

static void set_catalog(const struct two *t, enum knows knows)
{
	if (knows == KNOWS_NONE)
		cr_assert_eq(file_remove_tree(AT_FDCWD, t->catalog), 0);
	else
		copy_folder(knows == KNOWS_OLDER ? t->older : t->newest, t->catalog);
}

/*
 * Damage to the newest head, or below it, is refused whatever the catalog knows: once and again, and
 * with another catalog after that.
 */
Test(recover, damaged_newest_head_beside_any_catalog, .timeout = 300)
{
	struct recover_bytes b;
	uint64_t start = segment_start(1);
	struct log_tail tail;
	struct log *log;
	struct two t;

	two_init(&t);
	b = recover_load(&t.s.f, 1);
	for (int closed = 0; closed < 2; closed++) {
		for (uint64_t at = SEGMENT_BLOCK_LEN + 1; at < b.len; at += sampled(61)) {
			for (int knows = 0; knows < KNOWS_END; knows++) {
				set_catalog(&t, (enum knows)knows);
				b.p[at] ^= 2;
				if (closed)
					recover_store(&t.s.f, 1, b.p, b.len);
				else
					recover_store_open(&t.s.f, 1, b.p, b.len);
				/* Below a head that it knows nothing is looked at by a mount. */
				if (knows != KNOWS_NEWEST || start + at >= t.second.pos)
					recover_refused_as_it_is(&t.s, -ERR_DAMAGED, "any catalog");
				b.p[at] ^= 2;
			}
		}
	}
	/* Zeros instead: where the file was closed, or a catalog knows of the head. */
	memset(b.p + (t.second.pos - start), 0, t.second.stored_len);
	for (int knows = 0; knows < KNOWS_END; knows++) {
		set_catalog(&t, (enum knows)knows);
		recover_store(&t.s.f, 1, b.p, b.len);
		recover_refused_as_it_is(&t.s, -ERR_DAMAGED, "zeros in a closed file");
	}
	recover_store_open(&t.s.f, 1, b.p, b.len);
	recover_refused_as_it_is(&t.s, -ERR_DAMAGED, "zeros where a head is known");
	cr_assert_eq(rename(t.note, t.noted), 0);
	for (int knows = 0; knows < KNOWS_NEWEST; knows++) {
		set_catalog(&t, (enum knows)knows);
		recover_refused_as_it_is(&t.s, -ERR_DAMAGED,
					 "zeros where newest-head tells of a head");
	}
	/* Nothing else tells that from a head that never came: what it would have listed is there. */
	cr_assert_eq(newest_forget(t.s.f.dir), 0);
	set_catalog(&t, KNOWS_OLDER);
	log = recover_open(&t.s.f, &tail);
	cr_assert_eq(tail.head.number, 1);
	cr_assert_eq(tail.n_deltas, 3);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	free(b.p);
	recover_small_release(&t.s);
}

/*
 * The segment of a head is gone with its file: the catalog knows of it, or only newest-head does.  And
 * so are all of them.
 */
Test(recover, last_segment_is_gone)
{
	char path[320], kept[400];
	struct log_tail tail;
	struct log *log;
	struct two t;

	two_init(&t);
	recover_segment_path(&t.s.f, 1, path);
	snprintf(kept, sizeof(kept), "%s/kept", t.s.f.dir);
	cr_assert_eq(rename(path, kept), 0);
	recover_refused_as_it_is(&t.s, -ERR_DAMAGED, "last segment gone");
	cr_assert(strstr(err_detail(-ERR_DAMAGED), "head 2 is in the catalog"));
	cr_assert_eq(rename(t.note, t.noted), 0);
	for (int knows = 0; knows < KNOWS_NEWEST; knows++) {
		set_catalog(&t, (enum knows)knows);
		recover_refused_as_it_is(&t.s, -ERR_DAMAGED, "last segment gone, and the catalog");
		cr_assert(strstr(err_detail(-ERR_DAMAGED), "but head 2 of"), "%s",
			  err_detail(-ERR_DAMAGED));
	}
	cr_assert_eq(rename(kept, path), 0);
	log = recover_open(&t.s.f, &tail);
	cr_assert_eq(tail.head.number, 2);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	set_catalog(&t, KNOWS_NONE);
	for (uint64_t number = 0; number < 2; number++) {
		recover_segment_path(&t.s.f, number, path);
		cr_assert_eq(unlink(path), 0);
	}
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(log_fixture_open(&t.s.f, &log, &tail), -ERR_DAMAGED);
		cr_assert(strstr(err_detail(-ERR_DAMAGED), "ends with head 0, but head 2 of"));
	}
	recover_small_release(&t.s);
}
