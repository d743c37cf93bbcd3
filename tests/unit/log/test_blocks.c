/* Reading blocks through a source that counts, fails and lies. */

#include "blocks.h"
#include "err.h"
#include "frame.h"
#include "log.h"
#include "log_fixture.h"
#include "segment_keys.h"
#include "source.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Passes reads on to a log's source. */
struct spy {
	struct source source;
	struct source *below;
	unsigned reads, hints;
	uint64_t hint_pos; /* the newest hint's */
	uint64_t fail_pos; /* reads that cover this position fail */
	int fail_rc;
	uint64_t flip_pos; /* the byte at this position comes wrong */
};

static int spy_read(struct source *s, uint64_t pos, size_t len, void *out)
{
	struct spy *spy = (struct spy *)s;
	int rc;

	spy->reads++;
	if (spy->fail_rc && spy->fail_pos >= pos && spy->fail_pos < pos + len)
		return spy->fail_rc;
	rc = spy->below->ops->read(spy->below, pos, len, out);
	if (rc == 0 && spy->flip_pos >= pos && spy->flip_pos < pos + len)
		((uint8_t *)out)[spy->flip_pos - pos] ^= 1;
	return rc;
}

static void spy_hint(struct source *s, uint64_t pos, size_t len)
{
	(void)len;
	((struct spy *)s)->hints++;
	((struct spy *)s)->hint_pos = pos;
}

static int spy_header(struct source *s, uint64_t number, uint8_t out[SEGMENT_BLOCK_LEN])
{
	return spy_read(s, segment_start(number), SEGMENT_BLOCK_LEN, out);
}

static void spy_hint_header(struct source *s, uint64_t number)
{
	spy_hint(s, segment_start(number), SEGMENT_BLOCK_LEN);
}

static const struct source_ops spy_ops = {
	.read = spy_read, .hint = spy_hint, .header = spy_header, .hint_header = spy_hint_header};

struct setup {
	struct log_fixture f;
	struct log *log;
	struct spy spy;
	struct blocks *blocks;
};

static void setup_init(struct setup *s)
{
	struct log_tail tail;

	memset(s, 0, sizeof(*s));
	log_fixture_init(&s->f, NULL);
	cr_assert_eq(log_fixture_open(&s->f, &s->log, &tail), 0);
	log_tail_release(&tail);
	s->spy.source.ops = &spy_ops;
	s->spy.source.params = &s->f.params;
	s->spy.below = log_source(s->log);
	s->spy.flip_pos = UINT64_MAX;
	cr_assert_eq(blocks_new(&s->spy.source, s->f.log_key, &s->blocks), 0);
}

static void setup_release(struct setup *s)
{
	blocks_free(s->blocks);
	cr_assert_eq(log_close(s->log), 0);
	log_fixture_release(&s->f);
}

static struct block_ptr append_ok(struct setup *s, enum block_kind kind, uint64_t seed, size_t len,
				  bool random)
{
	uint8_t *p = malloc(len);
	struct block_ptr ptr;

	log_fixture_pattern(seed, p, len, random);
	cr_assert_eq(log_append(s->log, kind, p, len, 1, &ptr), 0);
	free(p);
	return ptr;
}

static bool is_pattern(uint64_t seed, const uint8_t *p, size_t off, size_t len, size_t whole,
		       bool random)
{
	uint8_t *want = malloc(whole);
	bool same;

	log_fixture_pattern(seed, want, whole, random);
	same = memcmp(want + off, p, len) == 0;
	free(want);
	return same;
}

Test(blocks, compression_is_kept_where_it_gains)
{
	struct setup s;
	struct block_ptr a, b, c;
	uint8_t out[10000];

	setup_init(&s);
	a = append_ok(&s, BLOCK_NODE, 1, 10000, false);
	cr_assert_lt(a.stored_len, 9000u);
	b = append_ok(&s, BLOCK_NODE, 2, 10000, true);
	cr_assert_eq(b.stored_len, 10000 + FRAME_LEN + SEAL_TAG_LEN);
	memset(out, 0, sizeof(out));
	cr_assert_eq(log_append(s.log, BLOCK_NODE, out, 10000, 0, &c), 0);
	cr_assert_eq(c.stored_len, 10000 + FRAME_LEN + SEAL_TAG_LEN, "level 0");
	cr_assert_eq(blocks_read(s.blocks, &a, BLOCK_NODE, out), 0);
	cr_assert(is_pattern(1, out, 0, 10000, 10000, false));
	cr_assert_eq(blocks_read(s.blocks, &b, BLOCK_NODE, out), 0);
	cr_assert(is_pattern(2, out, 0, 10000, 10000, true));
	setup_release(&s);
}

/* Records whose first half is random: what a sample shows must not depend on their alignment. */
Test(blocks, half_random_records_are_compressed)
{
	uint8_t records[32 << 10];
	struct setup s;
	struct block_ptr p;

	setup_init(&s);
	for (size_t width = 2; width <= 4096; width *= 2) {
		log_fixture_pattern(width, records, sizeof(records), true);
		for (size_t i = 0; i < sizeof(records); i++)
			if (i % width >= width / 2)
				records[i] = 0;
		cr_assert_eq(log_append(s.log, BLOCK_DATA, records, sizeof(records), 1, &p), 0);
		cr_assert_lt(p.stored_len, sizeof(records), "records of %zu", width);
	}
	setup_release(&s);
}

Test(blocks, pointers_that_lie)
{
	struct setup s;
	struct block_ptr good, bad;
	struct block_io io;
	uint8_t *out = malloc(2 * BLOCK_PLAIN_MAX);

	setup_init(&s);
	for (int random = 0; random < 2; random++) {
		good = append_ok(&s, BLOCK_NODE, 1, 5000, random);
		append_ok(&s, BLOCK_NODE, 2, 5000, true);
		io = blocks_io(s.blocks);
		cr_assert_null(io.append);
		cr_assert_eq(io.read(io.ctx, &good, BLOCK_NODE, out), 0);
		cr_assert_eq(io.read(io.ctx, &good, BLOCK_DATA, out), -ERR_DAMAGED, "kind");
		for (int i = 0; i < 10; i++) {
			bad = good;
			switch (i) {
			case 0: bad.pos += 1; break;
			case 1: bad.pos = 0; break;
			case 2: bad.pos = UINT64_MAX - 4; break;
			case 3: bad.pos = SEGMENT_SIZE - 20; break;
			case 4: bad.stored_len--; break;
			case 5: bad.stored_len = FRAME_LEN + SEAL_TAG_LEN; break;
			case 6: bad.stored_len = BLOCK_STORED_MAX + 1; break;
			case 7: bad.plain_len++; break;
			case 8: bad.plain_len = 0; break;
			case 9: bad.plain_len = BLOCK_PLAIN_MAX + 1; break;
			}
			cr_assert_eq(blocks_read(s.blocks, &bad, BLOCK_NODE, out), -ERR_DAMAGED,
				     "case %d", i);
			cr_assert_neq(strcmp(err_detail(-ERR_DAMAGED), err_text(-ERR_DAMAGED)), 0);
		}
	}
	free(out);
	setup_release(&s);
}

Test(blocks, damage_absence_and_errors_differ)
{
	static const int codes[] = {-ERR_ABSENT, -ERR_UNREACHABLE, -EIO};
	struct block_ptr ptr;
	struct setup s;
	uint8_t out[1000];

	setup_init(&s);
	ptr = append_ok(&s, BLOCK_DATA, 1, 1000, false);
	s.spy.flip_pos = 30; /* in the header: the volume's id */
	cr_assert_eq(blocks_read(s.blocks, &ptr, BLOCK_DATA, out), -ERR_DAMAGED);
	for (size_t i = 0; i < 3; i++) {
		s.spy.fail_pos = i == 0 ? 0 : ptr.pos;
		s.spy.fail_rc = codes[i];
		s.spy.flip_pos = UINT64_MAX;
		cr_assert_eq(blocks_read(s.blocks, &ptr, BLOCK_DATA, out), codes[i]);
	}
	s.spy.fail_rc = 0;
	for (uint64_t p = ptr.pos; p < ptr.pos + ptr.stored_len; p++) {
		s.spy.flip_pos = p;
		cr_assert_eq(blocks_read(s.blocks, &ptr, BLOCK_DATA, out), -ERR_DAMAGED);
	}
	s.spy.flip_pos = UINT64_MAX;
	cr_assert_eq(blocks_read(s.blocks, &ptr, BLOCK_DATA, out), 0);
	setup_release(&s);
}

#define N 24
#define LEN 100000u

/* One slice of each block, or of parts; block 7 apart from the rest. */
static size_t make_slices(const struct block_ptr *ptr, struct block_slice *s, uint8_t *out)
{
	size_t n = 0;

	for (unsigned i = 0; i < N; i++) {
		struct block_slice whole = {.ptr = ptr[i], .len = LEN, .out = out + i * LEN};

		if (i % 3) {
			s[n++] = whole;
			continue;
		}
		s[n] = whole;
		s[n++].len = 1000;
		s[n] = whole;
		s[n].off = 1000;
		s[n].out += 1000;
		s[n++].len = LEN - 1000;
	}
	return n;
}

static void check_slices(const uint8_t *out, unsigned n, unsigned except)
{
	for (unsigned i = 0; i < n; i++) {
		if (i != except)
			cr_assert(is_pattern(i, out + i * LEN, 0, LEN, LEN, i & 1), "block %u", i);
	}
}

Test(blocks, slices)
{
	struct block_slice slices[2 * N];
	struct block_ptr ptr[N];
	uint8_t *out = malloc(N * LEN);
	struct setup s;
	size_t n;

	setup_init(&s);
	for (unsigned i = 0; i < N; i++)
		ptr[i] = append_ok(&s, BLOCK_DATA, i, LEN, i & 1);
	n = make_slices(ptr, slices, out);
	memset(out, 0xee, N * LEN);
	cr_assert_eq(blocks_read_slices(s.blocks, slices, n), 0);
	check_slices(out, N, N);
	cr_assert_leq(s.spy.reads, 3u, "one header, one run of 2 MiB or less each");

	/* One block that cannot be had, or is damaged, leaves the others alone. */
	for (int damaged = 0; damaged < 2; damaged++) {
		s.spy.flip_pos = damaged ? ptr[9].pos + 50 : UINT64_MAX;
		s.spy.fail_pos = ptr[9].pos + 50;
		s.spy.fail_rc = damaged ? 0 : -ERR_ABSENT;
		memset(out, 0xee, N * LEN);
		cr_assert_eq(blocks_read_slices(s.blocks, slices, n),
			     damaged ? -ERR_DAMAGED : -ERR_ABSENT);
		check_slices(out, N, 9);
		for (size_t i = 0; i < n; i++)
			cr_assert_eq(slices[i].rc == 0, slices[i].ptr.pos != ptr[9].pos);
	}
	s.spy.fail_rc = 0;
	s.spy.flip_pos = UINT64_MAX;

	/* Out of order: no runs, the rest of them hinted. */
	s.spy.reads = s.spy.hints = 0;
	for (unsigned i = 0; i < 4; i++)
		slices[i] = (struct block_slice){
			.ptr = ptr[3 - i], .len = LEN, .out = out + (3 - i) * LEN};
	memset(out, 0xee, 4 * LEN);
	cr_assert_eq(blocks_read_slices(s.blocks, slices, 4), 0);
	check_slices(out, 4, N);
	cr_assert_eq(s.spy.reads, 4u);
	cr_assert_eq(s.spy.hints, 3u);
	cr_assert_eq(blocks_read_slices(s.blocks, slices, 0), 0);
	free(out);
	setup_release(&s);
}

/* What opening takes comes beside what is opened, where the source is far away. */
Test(blocks, a_header_that_will_be_wanted_is_hinted)
{
	struct block_ptr ptr;
	uint8_t out[1000];
	struct setup s;

	setup_init(&s);
	ptr = append_ok(&s, BLOCK_DATA, 1, sizeof(out), true);
	s.spy.hint_pos = UINT64_MAX;
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(blocks_read(s.blocks, &ptr, BLOCK_DATA, out), 0);
		cr_assert_eq(s.spy.hints, 1u, "once, as the key is kept then");
		cr_assert_eq(s.spy.hint_pos, segment_start(segment_of(ptr.pos)));
	}
	blocks_hint(s.blocks, &ptr);
	cr_assert_eq(s.spy.hints, 2u);
	cr_assert_eq(s.spy.hint_pos, ptr.pos);
	ptr.stored_len = 1;
	blocks_hint(s.blocks, &ptr);
	cr_assert_eq(s.spy.hints, 2u, "a pointer that can't be");
	setup_release(&s);
}

Test(blocks, slices_that_lie)
{
	struct block_slice slices[3];
	struct block_ptr ptr;
	uint8_t out[100];
	struct setup s;

	setup_init(&s);
	ptr = append_ok(&s, BLOCK_DATA, 1, 1000, true);
	slices[0] = (struct block_slice){.ptr = ptr, .off = 990, .len = 11, .out = out};
	slices[1] = (struct block_slice){.ptr = ptr, .off = UINT32_MAX, .len = 2, .out = out};
	slices[2] = (struct block_slice){.ptr = ptr, .off = 990, .len = 10, .out = out};
	cr_assert_eq(blocks_read_slices(s.blocks, slices, 3), -ERR_DAMAGED);
	cr_assert_eq(slices[0].rc, -ERR_DAMAGED);
	cr_assert_eq(slices[1].rc, -ERR_DAMAGED);
	cr_assert_eq(slices[2].rc, 0);
	slices[0] = slices[2];
	slices[0].ptr.stored_len = 0;
	cr_assert_eq(blocks_read_slices(s.blocks, slices, 1), -ERR_DAMAGED);
	setup_release(&s);
}

/* More segments than the cache has places for, by several threads. */
struct many {
	struct blocks *blocks;
	const struct block_ptr *ptr;
	unsigned n, seed, bad;
};

static void *read_many(void *arg)
{
	struct many *m = arg;
	uint8_t out[100];
	unsigned rnd = m->seed;

	for (unsigned i = 0; i < 2000; i++) {
		unsigned j = (unsigned)rand_r(&rnd) % m->n;

		if (blocks_read(m->blocks, &m->ptr[j], BLOCK_DELTA, out) != 0 ||
		    !is_pattern(j, out, 0, sizeof(out), sizeof(out), true))
			m->bad++;
	}
	return NULL;
}

Test(blocks, more_segments_than_keys, .timeout = 300)
{
	enum { SEGMENTS = SEGMENT_KEYS_MAX + 20 };
	struct block_ptr *ptr = calloc(SEGMENTS, sizeof(*ptr));
	struct many m[4];
	struct log_tail tail;
	pthread_t t[4];
	struct setup s;

	setup_init(&s);
	for (unsigned i = 0; i < SEGMENTS; i++) {
		ptr[i] = append_ok(&s, BLOCK_DELTA, i, 100, true);
		cr_assert_eq(log_close(s.log), 0);
		cr_assert_eq(log_fixture_open(&s.f, &s.log, &tail), 0);
		log_tail_release(&tail);
	}
	s.spy.below = log_source(s.log);
	blocks_free(s.blocks);
	cr_assert_eq(blocks_new(s.spy.below, s.f.log_key, &s.blocks), 0);
	for (unsigned i = 0; i < 4; i++) {
		m[i] = (struct many){.blocks = s.blocks, .ptr = ptr, .n = SEGMENTS, .seed = i};
		cr_assert_eq(pthread_create(&t[i], NULL, read_many, &m[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		cr_assert_eq(m[i].bad, 0);
	}
	free(ptr);
	setup_release(&s);
}
