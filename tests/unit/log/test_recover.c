/* Recovery: crashes at any moment, torn and damaged tails, catalogs that are gone or wrong. */

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

#define RING ((size_t)4 << 20)

static struct log *open_ok(struct log_fixture *f, struct log_tail *tail)
{
	struct log *log = NULL;
	int rc = log_fixture_open(f, &log, tail);

	cr_assert_eq(rc, 0, "log_open: %s", err_detail(rc));
	return log;
}

static struct block_ptr append_ok(struct log *log, enum block_kind kind, uint64_t seed, size_t len)
{
	uint8_t *p = malloc(len);
	struct block_ptr ptr;

	log_fixture_pattern(seed, p, len, seed & 1);
	cr_assert_eq(log_append(log, kind, p, len, 1, &ptr), 0);
	free(p);
	return ptr;
}

static bool holds(struct log *log, enum block_kind kind, const struct block_ptr *ptr, uint64_t seed)
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

static void segment_path(const struct log_fixture *f, uint64_t number, char out[320])
{
	snprintf(out, 320, "%s/log/%016llx.seg", f->dir, (unsigned long long)number);
}

struct bytes {
	uint8_t *p;
	size_t len;
};

static struct bytes load_segment(const struct log_fixture *f, uint64_t number)
{
	char path[320];
	struct bytes b;
	void *p;

	segment_path(f, number, path);
	cr_assert_eq(file_read_all(AT_FDCWD, path, SEGMENT_SIZE, &p, &b.len), 0);
	b.p = p;
	return b;
}

static void store_segment(const struct log_fixture *f, uint64_t number, const void *p, size_t len)
{
	char path[320];
	int fd;

	segment_path(f, number, path);
	fd = file_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(file_write_at(fd, p, len, 0), 0);
	file_close(fd);
}

/* As a crash leaves it: of its whole length. */
static void store_open_segment(const struct log_fixture *f, uint64_t number, const void *p,
			       size_t len)
{
	char path[320];

	store_segment(f, number, p, len);
	segment_path(f, number, path);
	cr_assert_eq(truncate(path, (off_t)SEGMENT_SIZE), 0);
}

static uint64_t last_segment(const struct log_fixture *f)
{
	struct store *st;
	uint64_t number;

	cr_assert_eq(store_open(f->dir, false, &st), 0);
	cr_assert_eq(store_last(st, &number), 0);
	store_close(st);
	return number;
}

/* Shared with the process that is going to die. */
#define SYNCED_MAX 20000u
struct diary {
	atomic_uint n;
	struct entry {
		struct block_ptr ptr;
		uint32_t kind;
		uint64_t seed;
		_Atomic bool synced;
	} entry[SYNCED_MAX];
	_Atomic uint64_t head; /* newest that log_add_head() returned */
	atomic_uint events;
};

struct victim {
	struct log *log;
	struct diary *diary;
	unsigned die_at, seed;
	bool heads;
};

static void event(struct victim *v)
{
	if (atomic_fetch_add(&v->diary->events, 1) + 1 == v->die_at)
		_exit(42);
}

static void *live(void *arg)
{
	struct victim *v = arg;
	uint8_t *p = malloc(EXTENT_MAX);
	unsigned rnd = v->seed;
	struct head h = {0};

	for (;;) {
		enum block_kind kind = BLOCK_DATA + rand_r(&rnd) % 4;
		unsigned n = atomic_fetch_add(&v->diary->n, 1);
		struct entry *e = &v->diary->entry[n];
		size_t len = 1 + (unsigned)rand_r(&rnd) % (rand_r(&rnd) % 8 ? 3000 : EXTENT_MAX);

		if (n >= SYNCED_MAX)
			_exit(43);
		e->kind = kind;
		e->seed = (uint64_t)rand_r(&rnd);
		log_fixture_pattern(e->seed, p, len, e->seed & 1);
		event(v);
		if (log_append(v->log, kind, p, len, 1, &e->ptr) != 0)
			_exit(44);
		event(v);
		if (rand_r(&rnd) % 4 == 0) {
			if (log_sync(v->log, e->ptr.pos + e->ptr.stored_len) != 0)
				_exit(45);
			e->synced = true;
			event(v);
		}
		if (v->heads && rand_r(&rnd) % 8 == 0) {
			if (log_add_head(v->log, &h) != 0)
				_exit(46);
			v->diary->head = h.number;
			event(v);
		}
	}
}

static void crash_once(struct log_fixture *f, struct diary *d, unsigned seed)
{
	struct victim v[4];
	struct log_tail tail;
	pthread_t t;
	struct log *log;
	pid_t pid;
	int status;

	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (log_fixture_open(f, &log, &tail) != 0)
			_exit(47);
		for (unsigned i = 0; i < 4; i++)
			v[i] = (struct victim){.log = log,
					       .diary = d,
					       .die_at = d->events + 1 + seed * 37 % 400,
					       .seed = seed * 4 + i,
					       .heads = i == 0};
		for (unsigned i = 1; i < 4; i++) {
			if (pthread_create(&t, NULL, live, &v[i]) != 0)
				_exit(48);
		}
		live(&v[0]);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 42, "seed %u: status %x", seed,
		  (unsigned)status);
}

static void check_diary(struct log_fixture *f, struct diary *d, unsigned seed)
{
	struct log_tail tail;
	struct log *log = open_ok(f, &tail);

	cr_assert_geq(tail.head.number, d->head, "seed %u: a head is lost", seed);
	d->head = tail.head.number;
	for (unsigned i = 0; i < d->n && i < SYNCED_MAX; i++) {
		if (d->entry[i].synced)
			cr_assert(holds(log, d->entry[i].kind, &d->entry[i].ptr, d->entry[i].seed),
				  "seed %u: block %u at %llu", seed, i,
				  (unsigned long long)d->entry[i].ptr.pos);
	}
	for (size_t i = 0; i < tail.n_deltas; i++)
		cr_assert_gt(tail.deltas[i].pos, tail.head.pos);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
}

/*
 * One salt, one writing of each position: what a dead mount left in a segment is at most cut, never
 * continued, by the next.
 */
static void check_salts(struct log_fixture *f, uint64_t number, const struct bytes *before)
{
	struct bytes after = {0};
	char path[320];

	segment_path(f, number, path);
	if (access(path, F_OK) < 0)
		return;
	after = load_segment(f, number);
	if (memcmp(after.p, before->p, SEGMENT_BLOCK_LEN) == 0) {
		cr_assert_leq(after.len, before->len);
		cr_assert_eq(memcmp(after.p, before->p, after.len), 0);
	}
	free(after.p);
}

Test(recover, killed_at_any_moment, .timeout = 300)
{
	struct diary *d = mmap(NULL, sizeof(*d), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			       -1, 0);
	struct log_fixture f;
	struct bytes before;
	uint64_t last;

	cr_assert_neq(d, MAP_FAILED);
	log_fixture_init(&f, NULL);
	f.ring_bytes = RING;
	for (unsigned seed = 1; seed <= 25; seed += sampled(4)) {
		crash_once(&f, d, seed);
		last = last_segment(&f);
		before = load_segment(&f, last);
		check_diary(&f, d, seed);
		check_salts(&f, last, &before);
		free(before.p);
	}
	log_fixture_release(&f);
	munmap(d, sizeof(*d));
}

/* A volume with one head and a few small blocks after it, closed. */
#define N_TAIL 4
struct small {
	struct log_fixture f;
	struct head head;
	struct block_ptr tail[N_TAIL];
	struct bytes segment; /* the file of segment 0 */
};

static const enum block_kind tail_kind[N_TAIL] = {BLOCK_DELTA, BLOCK_DATA, BLOCK_CHECKPOINT,
						  BLOCK_DELTA};

static void small_init(struct small *s)
{
	struct log_tail tail;
	struct log *log;

	memset(s, 0, sizeof(*s));
	log_fixture_init(&s->f, NULL);
	s->f.ring_bytes = RING;
	log = open_ok(&s->f, &tail);
	append_ok(log, BLOCK_DELTA, 100, 50);
	cr_assert_eq(log_add_head(log, &s->head), 0);
	for (unsigned i = 0; i < N_TAIL; i++)
		s->tail[i] = append_ok(log, tail_kind[i], i, i == 3 ? 200 : 10 + i);
	cr_assert_eq(log_close(log), 0);
	s->segment = load_segment(&s->f, 0);
}

static void small_release(struct small *s)
{
	free(s->segment.p);
	log_fixture_release(&s->f);
}

/* The log must end after exactly ${n} of the blocks. */
static void check_cut(struct small *s, unsigned n, const char *what, size_t off)
{
	uint64_t end = n ? s->tail[n - 1].pos + s->tail[n - 1].stored_len : head_end(&s->head);
	size_t deltas = 0, checkpoints = 0;
	struct log_tail tail;
	struct log *log = open_ok(&s->f, &tail);
	struct bytes after;

	for (unsigned i = 0; i < n; i++) {
		deltas += tail_kind[i] == BLOCK_DELTA;
		checkpoints += tail_kind[i] == BLOCK_CHECKPOINT;
		cr_assert(holds(log, tail_kind[i], &s->tail[i], i), "%s at %zu: block %u", what,
			  off, i);
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
	after = load_segment(&s->f, 0);
	cr_assert_eq(after.len, end);
	cr_assert_eq(memcmp(after.p, s->segment.p, end), 0);
	free(after.p);
}

/* How many tail blocks end at or before ${off}. */
static unsigned whole_blocks(const struct small *s, size_t off)
{
	unsigned n = 0;

	while (n < N_TAIL && s->tail[n].pos + s->tail[n].stored_len <= off)
		n++;
	return n;
}

Test(recover, cut_at_every_byte, .timeout = 300)
{
	struct small s;

	small_init(&s);
	for (size_t off = s.segment.len; off >= head_end(&s.head); off -= sampled(7)) {
		/* A block that ends in a zero of its own is whole without it. */
		if (off < s.segment.len && s.segment.p[off] == 0)
			continue;
		store_open_segment(&s.f, 0, s.segment.p, off);
		check_cut(&s, whole_blocks(&s, off), "cut", off);
	}
	small_release(&s);
}

Test(recover, zeros_from_every_byte, .timeout = 300)
{
	struct small s;
	size_t len;
	uint8_t *p;

	small_init(&s);
	len = s.segment.len + 10000;
	p = calloc(1, len);
	memcpy(p, s.segment.p, s.segment.len);
	store_open_segment(&s.f, 0, p, len);
	check_cut(&s, N_TAIL, "zeros", s.segment.len);
	for (size_t off = s.segment.len; off-- > head_end(&s.head);) {
		bool was_zero = p[off] == 0;

		p[off] = 0;
		/* A block that ends in zeros of its own is whole all the same. */
		if (was_zero || off % sampled(7) != 0)
			continue;
		store_open_segment(&s.f, 0, p, len);
		check_cut(&s, whole_blocks(&s, off), "zeros", off);
	}
	free(p);
	small_release(&s);
}

/* What is refused is refused again, with the same words, and is left as it is. */
static void check_refused_as_it_is(struct small *s, int want, const char *what)
{
	struct bytes before = load_segment(&s->f, 0), after;
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
	after = load_segment(&s->f, 0);
	cr_assert_eq(after.len, before.len, "%s: the log was changed", what);
	cr_assert_eq(memcmp(after.p, before.p, after.len), 0);
	free(before.p);
	free(after.p);
}

static void check_refused(struct small *s, int want, const char *what)
{
	store_segment(&s->f, 0, s->segment.p, s->segment.len);
	check_refused_as_it_is(s, want, what);
}

static void lose_catalog(const struct small *s)
{
	char path[320];

	snprintf(path, sizeof(path), "%s/catalog", s->f.dir);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	/* Nor does anything else tell of it but the log. */
	cr_assert_eq(newest_forget(s->f.dir), 0);
}

/* A file that was closed has no torn tail, whether there is a catalog or not. */
Test(recover, every_byte_flipped_in_a_closed_file, .timeout = 300)
{
	struct small s;

	small_init(&s);
	for (size_t off = head_end(&s.head); off < s.segment.len; off += sampled(7)) {
		if (off % 2)
			lose_catalog(&s);
		s.segment.p[off] ^= 0x40;
		check_refused(&s, -ERR_DAMAGED, "flip");
		s.segment.p[off] ^= 0x40;
	}
	/* Shorter than it was: inside a block, which nothing explains. */
	for (size_t len = s.segment.len - 1; len > s.tail[3].pos; len -= 11) {
		size_t whole = s.segment.len;

		s.segment.len = len;
		check_refused(&s, -ERR_DAMAGED, "closed, then shortened");
		s.segment.len = whole;
	}
	store_segment(&s.f, 0, s.segment.p, s.segment.len);
	check_cut(&s, N_TAIL, "as it was", 0);
	small_release(&s);
}

/* The same in a file that a crash left: a crash changes no bit of what is on the disk. */
Test(recover, every_byte_flipped_after_a_crash, .timeout = 300)
{
	struct small s;

	small_init(&s);
	for (size_t off = head_end(&s.head); off < s.segment.len; off += sampled(7)) {
		unsigned n = whole_blocks(&s, off);
		size_t last = s.tail[n].pos +
			      (off < s.tail[n].pos + FRAME_LEN ? FRAME_LEN : s.tail[n].stored_len) -
			      1;

		s.segment.p[off] ^= 0x40;
		store_open_segment(&s.f, 0, s.segment.p, s.segment.len);
		/* One seal in 256 ends in a zero, as if it had not been written to its end. */
		if (s.segment.p[last] != 0)
			check_refused_as_it_is(&s, -ERR_DAMAGED, "flip after a crash");
		s.segment.p[off] ^= 0x40;
	}
	store_open_segment(&s.f, 0, s.segment.p, s.segment.len);
	check_cut(&s, N_TAIL, "as it was", 0);
	small_release(&s);
}

Test(recover, dropped_bytes_are_counted)
{
	struct log_tail tail;
	struct small s;
	struct log *log;

	small_init(&s);
	memset(s.segment.p + s.tail[2].pos + 20, 0, s.tail[2].stored_len - 20);
	/* Zeros at the end don't count, and one seal in 256 ends in one. */
	s.segment.p[s.segment.len - 1] = 1;
	store_open_segment(&s.f, 0, s.segment.p, s.segment.len);
	log = open_ok(&s.f, &tail);
	cr_assert_eq(tail.dropped_bytes, s.segment.len - s.tail[2].pos);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	small_release(&s);
}

/* No crash damages what a head covers, so nothing may be cut off. */
Test(recover, damage_under_a_head_is_not_a_tear)
{
	struct log_tail tail;
	struct small s;
	struct log *log;
	struct head h = {0};
	char path[320];

	small_init(&s);
	/* A second head above the tail, in the same file: an unclean end without a catalog. */
	lose_catalog(&s);
	segment_path(&s.f, 0, path);
	cr_assert_eq(unlink(path), 0);
	log = open_ok(&s.f, &tail);
	append_ok(log, BLOCK_DELTA, 1, 40);
	s.tail[0] = append_ok(log, BLOCK_DELTA, 2, 40);
	cr_assert_eq(log_add_head(log, &h), 0);
	append_ok(log, BLOCK_DELTA, 3, 40);
	cr_assert_eq(log_close(log), 0);
	free(s.segment.p);
	s.segment = load_segment(&s.f, 0);

	for (size_t off = s.tail[0].pos; off < h.pos; off += sampled(3)) {
		struct bytes hole = load_segment(&s.f, 0);

		lose_catalog(&s);
		/* As if never written: only the head behind it tells. */
		memset(hole.p + off, 0, h.pos - off);
		store_open_segment(&s.f, 0, hole.p, hole.len);
		check_refused_as_it_is(&s, -ERR_DAMAGED, "a hole under a head");
		s.segment.p[off] ^= 1;
		check_refused(&s, -ERR_DAMAGED, "flip under a head");
		s.segment.p[off] ^= 1;
		store_segment(&s.f, 0, s.segment.p, s.segment.len);
		free(hole.p);
	}
	small_release(&s);
}

Test(recover, damage_before_the_last_segment)
{
	struct log_tail tail;
	struct small s;
	struct log *log;

	small_init(&s);
	log = open_ok(&s.f, &tail);
	log_tail_release(&tail);
	append_ok(log, BLOCK_DELTA, 1, 40);
	cr_assert_eq(log_close(log), 0);
	cr_assert_eq(last_segment(&s.f), 1);
	for (size_t off = s.tail[0].pos; off < s.segment.len; off += 5) {
		s.segment.p[off] ^= 1;
		check_refused(&s, -ERR_DAMAGED, "flip in a whole segment");
		s.segment.p[off] ^= 1;
	}
	s.segment.len -= 3;
	check_refused(&s, -ERR_DAMAGED, "cut in a whole segment");
	s.segment.len += 3;
	store_segment(&s.f, 0, s.segment.p, s.segment.len);
	log = open_ok(&s.f, &tail);
	cr_assert_eq(tail.n_deltas, 3);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	small_release(&s);
}

/* The last segment says how many blocks lie before it: one that is missing is missed. */
Test(recover, segment_before_the_last_is_gone)
{
	struct log_tail tail;
	struct small s;
	struct log *log;
	char path[320], kept[400];

	small_init(&s);
	for (int i = 0; i < 2; i++) {
		log = open_ok(&s.f, &tail);
		log_tail_release(&tail);
		append_ok(log, BLOCK_DELTA, 1, 40);
		cr_assert_eq(log_close(log), 0);
	}
	cr_assert_eq(last_segment(&s.f), 2);
	segment_path(&s.f, 1, path);
	snprintf(kept, sizeof(kept), "%s/kept", s.f.dir);
	cr_assert_eq(rename(path, kept), 0);
	check_refused_as_it_is(&s, -ERR_DAMAGED, "a segment is missing");
	segment_path(&s.f, 2, path);
	cr_assert_eq(access(path, F_OK), 0, "the last segment was removed");
	segment_path(&s.f, 1, path);
	cr_assert_eq(rename(kept, path), 0);
	log = open_ok(&s.f, &tail);
	cr_assert_eq(tail.n_deltas, 4);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	small_release(&s);
}

/* The catalog holds durable heads only: a log without its newest is not what it was. */
Test(recover, head_that_the_catalog_knows_is_gone)
{
	struct small s;

	small_init(&s);
	s.segment.p[s.head.pos + 60] ^= 1;
	check_refused(&s, -ERR_DAMAGED, "flip in the head's text");
	s.segment.p[s.head.pos + 60] ^= 1;
	s.segment.p[s.head.pos + 1] ^= 1;
	check_refused(&s, -ERR_DAMAGED, "flip in the head's frame");
	s.segment.p[s.head.pos + 1] ^= 1;
	s.segment.len = s.head.pos;
	check_refused(&s, -ERR_DAMAGED, "head cut off");
	small_release(&s);
}

/* A crash may leave a segment that has its name and its length, and not a byte yet. */
Test(recover, segment_without_a_block_is_removed)
{
	static const size_t lens[] = {0, 7, SEGMENT_BLOCK_LEN - 1, SEGMENT_BLOCK_LEN, 70000};
	struct small s;
	char path[320];
	uint8_t *p = calloc(1, 70000);

	small_init(&s);
	segment_path(&s.f, 1, path);
	store_open_segment(&s.f, 1, p, 0);
	check_cut(&s, N_TAIL, "empty segment", 0);
	cr_assert_neq(access(path, F_OK), 0);
	/* Another length, or other bytes, it never had. */
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		store_segment(&s.f, 1, p, lens[i]);
		check_refused_as_it_is(&s, -ERR_DAMAGED, "closed without a block");
	}
	memset(p, 0x55, 100);
	store_open_segment(&s.f, 1, p, 100);
	check_refused_as_it_is(&s, -ERR_DAMAGED, "no header");
	free(p);
	small_release(&s);
}

Test(recover, catalog_is_made_anew)
{
	struct catalog *c;
	struct head_ref ref;
	struct small s;
	char path[300], file[320];
	int fd;

	small_init(&s);
	snprintf(path, sizeof(path), "%s/catalog", s.f.dir);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	check_cut(&s, N_TAIL, "catalog gone", 0);
	snprintf(file, sizeof(file), "%s/CURRENT", path);
	fd = file_open(AT_FDCWD, file, O_RDWR | O_TRUNC, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(file_write_at(fd, "nonsense\n", 9, 0), 0);
	file_close(fd);
	check_cut(&s, N_TAIL, "catalog damaged", 0);
	cr_assert_eq(catalog_open(s.f.dir, s.f.params.id, CATALOG_READ, &c), 0);
	cr_assert_eq(catalog_newest(c, &ref), 0);
	cr_assert_eq(ref.pos, s.head.pos);
	catalog_close(c);
	small_release(&s);
}

Test(recover, spare_is_kept)
{
	struct store *st;
	struct small s;
	uint64_t len;

	small_init(&s);
	cr_assert_eq(store_open(s.f.dir, true, &st), 0);
	cr_assert_eq(store_make_spare(st, &len), 0);
	check_cut(&s, N_TAIL, "spare", 0);
	cr_assert(store_shrink_spare(st, 0));
	store_close(st);
	small_release(&s);
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
	struct small s;
	struct log *log;
	int rc = -1;

	small_init(&s);
	for (int n = 0; rc != 0; n++) {
		int left = n;

		cr_assert_lt(n, 500);
		store_segment(&s.f, 0, s.segment.p, s.segment.len);
		file_set_fault(fail_nth, &left);
		rc = log_fixture_open(&s.f, &log, &tail);
		file_set_fault(NULL, NULL);
		if (rc == 0) {
			cr_assert_eq(tail.n_deltas, 2, "call %d", n);
			log_tail_release(&tail);
			cr_assert_eq(log_close(log), 0);
			rc = left < 0;
		}
		check_cut(&s, N_TAIL, "after an error", (size_t)n);
	}
	small_release(&s);
}

static int fail_sync(void *ctx, const char *op)
{
	int *writes = ctx;

	*writes += strcmp(op, "write") == 0;
	return strcmp(op, "sync_data") == 0 ? -EIO : 0;
}

static uint64_t newest_in_catalog(struct small *s)
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
	struct small s;
	struct log *log;

	small_init(&s);
	snprintf(dir, sizeof(dir), "%s/catalog", s.f.dir);
	snprintf(old, sizeof(old), "%s/catalog.old", s.f.dir);
	snprintf(command, sizeof(command), "cp -a '%s' '%s'", dir, old);
	cr_assert_eq(system(command), 0);
	log = open_ok(&s.f, &tail);
	log_tail_release(&tail);
	append_ok(log, BLOCK_DELTA, 5, 40);
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
		log = open_ok(&s.f, &tail);
		cr_assert_eq(tail.head.number, 2);
		log_tail_release(&tail);
		cr_assert_eq(log_close(log), 0);
		cr_assert_eq(newest_in_catalog(&s), 2);
	}
	small_release(&s);
}

/* Two heads; the catalog knows none, one or both of them, in turn. */
enum knows { KNOWS_NONE, KNOWS_OLDER, KNOWS_NEWEST, KNOWS_END };

struct two {
	struct small s;
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
	small_init(&t->s);
	snprintf(t->catalog, sizeof(t->catalog), "%s/catalog", t->s.f.dir);
	snprintf(t->older, sizeof(t->older), "%s/older", t->s.f.dir);
	snprintf(t->newest, sizeof(t->newest), "%s/newest", t->s.f.dir);
	copy_folder(t->catalog, t->older);
	log = open_ok(&t->s.f, &tail);
	log_tail_release(&tail);
	append_ok(log, BLOCK_DELTA, 5, 4000);
	cr_assert_eq(log_add_head(log, &t->second), 0);
	cr_assert_eq(log_close(log), 0);
	copy_folder(t->catalog, t->newest);
	cr_assert_eq(last_segment(&t->s.f), 1);
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
	struct bytes b;
	uint64_t start = segment_start(1);
	struct log_tail tail;
	struct log *log;
	struct two t;

	two_init(&t);
	b = load_segment(&t.s.f, 1);
	for (int closed = 0; closed < 2; closed++) {
		for (uint64_t at = SEGMENT_BLOCK_LEN + 1; at < b.len; at += sampled(61)) {
			for (int knows = 0; knows < KNOWS_END; knows++) {
				set_catalog(&t, (enum knows)knows);
				b.p[at] ^= 2;
				if (closed)
					store_segment(&t.s.f, 1, b.p, b.len);
				else
					store_open_segment(&t.s.f, 1, b.p, b.len);
				/* Below a head that it knows nothing is looked at by a mount. */
				if (knows != KNOWS_NEWEST || start + at >= t.second.pos)
					check_refused_as_it_is(&t.s, -ERR_DAMAGED, "any catalog");
				b.p[at] ^= 2;
			}
		}
	}
	/* Zeros instead: where the file was closed, or a catalog knows of the head. */
	memset(b.p + (t.second.pos - start), 0, t.second.stored_len);
	for (int knows = 0; knows < KNOWS_END; knows++) {
		set_catalog(&t, (enum knows)knows);
		store_segment(&t.s.f, 1, b.p, b.len);
		check_refused_as_it_is(&t.s, -ERR_DAMAGED, "zeros in a closed file");
	}
	store_open_segment(&t.s.f, 1, b.p, b.len);
	check_refused_as_it_is(&t.s, -ERR_DAMAGED, "zeros where a head is known");
	cr_assert_eq(rename(t.note, t.noted), 0);
	for (int knows = 0; knows < KNOWS_NEWEST; knows++) {
		set_catalog(&t, (enum knows)knows);
		check_refused_as_it_is(&t.s, -ERR_DAMAGED, "zeros where newest-head tells of a head");
	}
	/* Nothing else tells that from a head that never came: what it would have listed is there. */
	cr_assert_eq(newest_forget(t.s.f.dir), 0);
	set_catalog(&t, KNOWS_OLDER);
	log = open_ok(&t.s.f, &tail);
	cr_assert_eq(tail.head.number, 1);
	cr_assert_eq(tail.n_deltas, 3);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	free(b.p);
	small_release(&t.s);
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
	segment_path(&t.s.f, 1, path);
	snprintf(kept, sizeof(kept), "%s/kept", t.s.f.dir);
	cr_assert_eq(rename(path, kept), 0);
	check_refused_as_it_is(&t.s, -ERR_DAMAGED, "last segment gone");
	cr_assert(strstr(err_detail(-ERR_DAMAGED), "head 2 is in the catalog"));
	cr_assert_eq(rename(t.note, t.noted), 0);
	for (int knows = 0; knows < KNOWS_NEWEST; knows++) {
		set_catalog(&t, (enum knows)knows);
		check_refused_as_it_is(&t.s, -ERR_DAMAGED, "last segment gone, and the catalog");
		cr_assert(strstr(err_detail(-ERR_DAMAGED), "but head 2 of"), "%s",
			  err_detail(-ERR_DAMAGED));
	}
	cr_assert_eq(rename(kept, path), 0);
	log = open_ok(&t.s.f, &tail);
	cr_assert_eq(tail.head.number, 2);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
	set_catalog(&t, KNOWS_NONE);
	for (uint64_t number = 0; number < 2; number++) {
		segment_path(&t.s.f, number, path);
		cr_assert_eq(unlink(path), 0);
	}
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(log_fixture_open(&t.s.f, &log, &tail), -ERR_DAMAGED);
		cr_assert(strstr(err_detail(-ERR_DAMAGED), "ends with head 0, but head 2 of"));
	}
	small_release(&t.s);
}
