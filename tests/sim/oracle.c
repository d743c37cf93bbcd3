/*
 * See oracle.h.
 *
 * Key idea: at each head that becomes known the bytes between the head before and this one are
 * copied from the home's files; they must never change again, there or at any embassy.
 */

#include "oracle.h"

#include "blocks.h"
#include "disk.h"
#include "err.h"
#include "frame.h"
#include "head.h"
#include "kept.h"
#include "log.h"
#include "model.h"
#include "params.h"
#include "scan.h"
#include "source.h"
#include "store.h"
#include "world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX 8u

struct piece_of_log {
	uint8_t *bytes;
	size_t len;
};

struct line {
	struct piece_of_log *segments;
	size_t n_segments;
	uint64_t end;	     /* of the newest head */
	uint64_t n_restored; /* segments below came from a backup, with the salts that they had */
	struct head *heads;  /* heads[i].number == i + 1 */
	size_t n_heads;
};

/* What one embassy has said, and what was compared of its copy. */
struct promise {
	uint64_t head, end; /* acknowledged */
	uint64_t published; /* the end of what it serves */
	uint64_t booked;
	unsigned line; /* that the copy is on */
	uint64_t seen_head, seen_end;
};

struct oracle_moment {
	struct line line;
	struct op *ops;
	size_t n_ops;
	uint64_t synced;
	uint64_t checked_end, checked_ops;
	struct model_moment *model;
};

static struct line lines[LINES_MAX];
static unsigned n_lines = 1;
static struct op *ops;
static size_t n_ops, cap_ops;
static uint64_t synced;
static uint64_t checked_end, checked_ops; /* a head's end, and the operations below it */
static struct promise promises[EMBASSIES_MAX];
static uint8_t (*salts)[SALT_LEN];
static size_t n_salts;

typedef unsigned long long ull;

static struct line *now(void)
{
	return &lines[n_lines - 1];
}

void oracle_fill(uint8_t *out, size_t len, uint64_t seed)
{
	struct prng p = {seed};
	size_t i = 0;

	/* Some of it is worth compressing. */
	for (; i + 8 <= len; i += 8) {
		uint64_t v = seed % 3 ? prng_next(&p) : seed;

		memcpy(out + i, &v, 8);
	}
	for (; i < len; i++)
		out[i] = (uint8_t)prng_next(&p);
}

/* ---- operations ---- */

size_t oracle_op_encode(const struct op *op, uint8_t out[ORACLE_OP_MAX])
{
	size_t n = 0;

	memcpy(out, &op->number, 8);
	n += 8;
	for (uint32_t i = 0; i < op->n_blocks; i++) {
		memcpy(out + n, &op->blocks[i].ptr.pos, 8);
		memcpy(out + n + 8, &op->blocks[i].seed, 8);
		n += 16;
	}
	oracle_fill(out + n, op->filler, op->number);
	return n + op->filler;
}

void oracle_op_begin(struct op *op)
{
	op->number = n_ops + 1;
	if (n_ops == cap_ops) {
		cap_ops = cap_ops ? 2 * cap_ops : 256;
		ops = realloc(ops, cap_ops * sizeof(*ops));
		assert(ops);
	}
	ops[n_ops++] = *op;
}

void oracle_op_undo(void)
{
	n_ops--;
}

void oracle_synced(uint64_t number)
{
	if (number > synced)
		synced = number;
}

uint64_t oracle_n_ops(void)
{
	return n_ops;
}

/* ---- the line ---- */

static void segment_path(char out[96], uint64_t number)
{
	snprintf(out, 96, "/1/v/log/%016llx.seg", (ull)number);
}

static void check_salt(const struct piece_of_log *p, uint64_t number)
{
	struct segment_header h;

	if (segment_header_decode(p->bytes, number, &h) < 0)
		fail("segment %llu: no header", (ull)number);
	for (size_t i = 0; i < n_salts; i++)
		if (memcmp(salts[i], h.salt, SALT_LEN) == 0)
			fail("segment %llu: its salt was used before", (ull)number);
	salts = realloc(salts, (n_salts + 1) * sizeof(*salts));
	assert(salts);
	memcpy(salts[n_salts++], h.salt, SALT_LEN);
}

/* Take over what the home's files hold up to ${end}. */
static void extend(struct line *l, uint64_t end)
{
	uint64_t last = segment_of(end - 1);
	char path[96];

	if (last >= l->n_segments) {
		l->segments = realloc(l->segments, (last + 1) * sizeof(*l->segments));
		assert(l->segments);
		memset(l->segments + l->n_segments, 0,
		       (last + 1 - l->n_segments) * sizeof(*l->segments));
		l->n_segments = last + 1;
	}
	for (uint64_t n = l->end ? segment_of(l->end - 1) : 0; n <= last; n++) {
		struct piece_of_log *p = &l->segments[n];
		size_t len = 0, before = p->len;

		segment_path(path, n);
		if (n == last)
			len = (size_t)(end - segment_start(n));
		else
			len = disk_file_size(path);
		if (len <= before)
			continue;
		p->bytes = realloc(p->bytes, len);
		assert(p->bytes);
		if (!disk_read(path, before, p->bytes + before, len - before))
			fail("home: a head was made known, but segment %llu is shorter", (ull)n);
		p->len = len;
		if (before == 0 && n >= l->n_restored)
			check_salt(p, n);
	}
	l->end = end;
}

static void add_head(const struct head *h)
{
	struct line *l = now();

	if (h->number <= l->n_heads) {
		const struct head *known = &l->heads[h->number - 1];

		if (known->pos != h->pos || known->stored_len != h->stored_len ||
		    known->time_ns != h->time_ns)
			fail("home: head %llu is another than it was", (ull)h->number);
		return;
	}
	if (h->number != l->n_heads + 1)
		fail("home: head %llu after head %zu", (ull)h->number, l->n_heads);
	if (l->n_heads > 0 && h->time_ns <= l->heads[l->n_heads - 1].time_ns)
		fail("home: head %llu is not later than the one before", (ull)h->number);
	if (h->pos < l->end)
		fail("home: head %llu lies below the one before", (ull)h->number);
	l->heads = realloc(l->heads, (l->n_heads + 1) * sizeof(*l->heads));
	assert(l->heads);
	l->heads[l->n_heads++] = *h;
	extend(l, head_end(h));
	trace("home: head %llu ends at %llu", (ull)h->number, (ull)l->end);
}

/* A head may have become part of the log though adding it failed: the next one tells. */
void oracle_heads(struct log *log)
{
	struct source *s = log_source(log);
	struct head newest, h;
	size_t n;

	log_newest_head(log, &newest);
	while (now()->n_heads < newest.number) {
		/* A disk that fails now and then gives it in the end. */
		if (s->ops->heads(s, now()->n_heads + 1, 1, &h, &n) == 0)
			add_head(&h);
		else
			fiber_sleep(MS);
	}
	if (newest.number > 0)
		add_head(&newest);
}

#define HOME EMBASSIES_MAX

/* What a reader of the home's log sees, or of an embassy's copy. */
static bool read_of(unsigned who, uint64_t pos, void *out, size_t len)
{
	char path[96];

	if (who != HOME)
		return kept_read(who, pos, out, len);
	segment_path(path, segment_of(pos));
	return disk_read(path, pos % SEGMENT_SIZE, out, len);
}

/* The first position below ${upto} where what is kept differs from the line, or UINT64_MAX. */
static uint64_t compare(const struct line *l, unsigned who, uint64_t from, uint64_t upto)
{
	static uint8_t buf[65536];

	for (uint64_t n = segment_of(from); n < l->n_segments && segment_start(n) < upto; n++) {
		uint64_t start = segment_start(n);
		size_t len = l->segments[n].len, at = n == segment_of(from) ? from - start : 0;

		if (len > upto - start)
			len = (size_t)(upto - start);
		for (size_t step; at < len; at += step) {
			step = len - at < sizeof(buf) ? len - at : sizeof(buf);
			if (!read_of(who, start + at, buf, step) ||
			    memcmp(buf, l->segments[n].bytes + at, step) != 0)
				return start + at;
		}
	}
	return UINT64_MAX;
}

/* ---- the home after recovery ---- */

struct walk {
	struct blocks *blocks;
	uint64_t next; /* operation */
	uint8_t *plain, *want;
};

static void check_block(struct walk *w, const struct op_block *b, uint64_t number)
{
	int rc = blocks_read(w->blocks, &b->ptr, b->kind, w->plain);

	oracle_fill(w->want, b->ptr.plain_len, b->seed);
	if (rc < 0 || memcmp(w->plain, w->want, b->ptr.plain_len) != 0)
		fail("home: what operation %llu wrote at %llu: %s", (ull)number, (ull)b->ptr.pos,
		     rc < 0 ? err_detail(rc) : "differs");
}

static int visit(void *ctx, const struct scan_block *b)
{
	struct walk *w = ctx;
	struct block_ptr ptr = {.pos = b->pos, .stored_len = (uint32_t)b->len};
	struct op *op;
	size_t len;
	int rc;

	if (b->frame.kind != BLOCK_DELTA)
		return SCAN_GO;
	if (w->next > n_ops)
		fail("home: a delta at %llu that nobody wrote", (ull)b->pos);
	op = &ops[w->next - 1];
	ptr.plain_len = opened_len(b->frame.body_len, b->frame.flags);
	len = oracle_op_encode(op, w->want);
	rc = blocks_read(w->blocks, &ptr, BLOCK_DELTA, w->plain);
	if (rc < 0 || ptr.plain_len != len || memcmp(w->plain, w->want, len) != 0)
		fail("home: operation %llu at %llu: %s", (ull)w->next, (ull)b->pos,
		     rc < 0 ? err_detail(rc) : "differs");
	for (uint32_t i = 0; i < op->n_blocks; i++)
		check_block(w, &op->blocks[i], op->number);
	op->ptr = ptr;
	w->next++;
	return SCAN_GO;
}

/* The deltas that the log says must be rolled forward are those after its newest head. */
static void check_tail(const struct log_tail *tail)
{
	size_t first = n_ops;

	while (first > 0 && ops[first - 1].ptr.pos > tail->head.pos)
		first--;
	if (tail->head.number == 0)
		first = 0;
	if (tail->n_deltas != n_ops - first)
		fail("home: %zu deltas after head %llu, not %zu", tail->n_deltas,
		     (ull)tail->head.number, n_ops - first);
	for (size_t i = 0; i < tail->n_deltas; i++)
		if (tail->deltas[i].pos != ops[first + i].ptr.pos)
			fail("home: delta %zu after head %llu is another", i,
			     (ull)tail->head.number);
}

void oracle_log_opened(struct log *log, uint64_t head)
{
	struct line *l = now();
	uint64_t differs;

	if (head < l->n_heads)
		fail("home: head %zu was durable, recovered is head %llu", l->n_heads, (ull)head);
	differs = compare(l, HOME, 0, l->end);
	if (differs != UINT64_MAX)
		fail("home: what lies at %llu is not what it was", (ull)differs);
	oracle_heads(log);
}

void oracle_opened(struct log *log, struct store *store, const struct log_tail *tail)
{
	struct line *l = now();
	struct walk w = {.blocks = log_blocks(log), .next = checked_ops + 1};
	struct scan_result found;
	int rc;

	oracle_log_opened(log, tail->head.number);
	w.plain = malloc(BLOCK_PLAIN_MAX);
	w.want = malloc(BLOCK_PLAIN_MAX);
	assert(w.plain && w.want);
	rc = scan_blocks(store_storage(store), checked_end, visit, &w, &found);
	free(w.plain);
	free(w.want);
	if (rc < 0)
		fail("home: %s", err_detail(rc));
	if (found.end != tail->end)
		fail("home: recovered up to %llu, but its blocks end at %llu", (ull)tail->end,
		     (ull)found.end);
	if (w.next - 1 < synced)
		fail("home: operation %llu was synced, but only %llu are there", (ull)synced,
		     (ull)(w.next - 1));
	n_ops = w.next - 1;
	check_tail(tail);
	trace("home: opened, head %llu, %zu operations, end %llu", (ull)tail->head.number, n_ops,
	      (ull)tail->end);
	checked_end = l->end;
	for (checked_ops = 0; checked_ops < n_ops && ops[checked_ops].ptr.pos < l->end;)
		checked_ops++;
}

/* ---- embassies ---- */

void oracle_acknowledged(unsigned embassy, uint64_t head, uint64_t end)
{
	struct promise *p = &promises[embassy];

	if (head < p->head || end < p->end)
		fail("embassy %u: acknowledges head %llu after head %llu", embassy, (ull)head,
		     (ull)p->head);
	p->head = head;
	p->end = end;
}

void oracle_published(unsigned embassy, uint64_t head, uint64_t end)
{
	struct promise *p = &promises[embassy];

	if (head < p->head || end < p->end)
		fail("embassy %u: goes back from head %llu to head %llu", embassy, (ull)p->head,
		     (ull)head);
	if (end > p->published)
		p->published = end;
}

void oracle_booked(unsigned embassy, uint64_t head, uint64_t end)
{
	struct promise *p = &promises[embassy];

	if (head < p->booked)
		fail("home: embassy %u had head %llu, and now head %llu", embassy, (ull)p->booked,
		     (ull)head);
	if (end > p->published)
		fail("home: believes that embassy %u holds head %llu, which it never said", embassy,
		     (ull)head);
	if (end > now()->end)
		fail("home: embassy %u is said to hold more than there is", embassy);
	p->booked = head;
}

void oracle_books_opened(void)
{
	for (unsigned e = 0; e < EMBASSIES_MAX; e++)
		promises[e].booked = 0;
}

/* Whether the copy is the line's first ${end} bytes. */
static bool is_on(const struct line *l, unsigned embassy, uint64_t head, uint64_t end,
		  uint64_t from)
{
	if (end == 0)
		return true;
	if (head > l->n_heads || head_end(&l->heads[head - 1]) != end)
		return false;
	return compare(l, embassy, from, end) == UINT64_MAX;
}

/* A line that the copy is a prefix of, the newest first; none: LINES_MAX. */
static unsigned find_line(unsigned embassy, uint64_t head, uint64_t end)
{
	for (unsigned i = n_lines; i-- > 0;)
		if (is_on(&lines[i], embassy, head, end, 0))
			return i;
	return LINES_MAX;
}

void oracle_crashed(unsigned embassy)
{
	const struct promise *p = &promises[embassy];

	/* The home may have been told before we were; then the next look finds it. */
	if (p->head <= now()->n_heads && find_line(embassy, p->head, p->end) == LINES_MAX)
		fail("embassy %u: head %llu was acknowledged, and is not on its disk", embassy,
		     (ull)p->head);
}

void oracle_copy(unsigned embassy, uint64_t head, uint64_t end, bool whole)
{
	struct promise *p = &promises[embassy];

	if (head < p->head || end < p->end)
		fail("embassy %u: acknowledged head %llu, and stands at head %llu", embassy,
		     (ull)p->head, (ull)head);
	if (head < p->seen_head)
		fail("embassy %u: stood at head %llu, and stands at head %llu", embassy,
		     (ull)p->seen_head, (ull)head);
	if (head > now()->n_heads && n_lines == 1)
		fail("embassy %u: holds head %llu, and the home has %zu", embassy, (ull)head,
		     now()->n_heads);
	if (whole || !is_on(&lines[p->line], embassy, head, end, p->seen_end)) {
		p->line = find_line(embassy, head, end);
		if (p->line == LINES_MAX)
			fail("embassy %u: its copy up to head %llu is not the home's log", embassy,
			     (ull)head);
	}
	p->seen_head = head;
	p->seen_end = end;
}

bool oracle_copy_fits(unsigned embassy)
{
	const struct promise *p = &promises[embassy];

	return is_on(now(), embassy, p->seen_head, p->seen_end, 0);
}

bool oracle_copy_is_newest(unsigned embassy)
{
	struct promise *p = &promises[embassy];

	if (p->seen_head != now()->n_heads)
		return false;
	if (p->line != n_lines - 1 && oracle_copy_fits(embassy))
		p->line = n_lines - 1;
	return p->line == n_lines - 1;
}

uint64_t oracle_copy_head(unsigned embassy)
{
	return promises[embassy].seen_head;
}

void oracle_wiped(unsigned embassy)
{
	promises[embassy] = (struct promise){0};
}

/* ---- backups ---- */

static void line_copy(struct line *to, const struct line *from)
{
	*to = *from;
	to->segments = calloc(from->n_segments + 1, sizeof(*to->segments));
	to->heads = malloc((from->n_heads + 1) * sizeof(*to->heads));
	assert(to->segments && to->heads);
	if (from->n_heads > 0)
		memcpy(to->heads, from->heads, from->n_heads * sizeof(*to->heads));
	for (size_t i = 0; i < from->n_segments; i++) {
		to->segments[i].len = from->segments[i].len;
		to->segments[i].bytes = malloc(from->segments[i].len + 1);
		assert(to->segments[i].bytes);
		if (from->segments[i].len > 0)
			memcpy(to->segments[i].bytes, from->segments[i].bytes,
			       from->segments[i].len);
	}
}

struct oracle_moment *oracle_moment(void)
{
	struct oracle_moment *m = calloc(1, sizeof(*m));

	char path[96];

	assert(m);
	line_copy(&m->line, now());
	do
		segment_path(path, m->line.n_restored++);
	while (disk_file_size(path) > 0);
	m->ops = malloc((n_ops + 1) * sizeof(*m->ops));
	assert(m->ops);
	if (n_ops > 0)
		memcpy(m->ops, ops, n_ops * sizeof(*m->ops));
	m->n_ops = n_ops;
	m->synced = synced;
	m->checked_end = checked_end;
	m->checked_ops = checked_ops;
	m->model = model_moment();
	return m;
}

void oracle_back_to(const struct oracle_moment *m)
{
	assert(n_lines < LINES_MAX);
	line_copy(&lines[n_lines++], &m->line);
	assert(m->n_ops <= cap_ops || m->n_ops == 0);
	if (m->n_ops > 0)
		memcpy(ops, m->ops, m->n_ops * sizeof(*ops));
	n_ops = m->n_ops;
	synced = m->synced;
	checked_end = m->checked_end;
	checked_ops = m->checked_ops;
	model_back_to_moment(m->model);
}
