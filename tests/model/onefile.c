/* See onefile.h. */

#include "onefile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLOT_BITS_MIN 6
#define PLOT_BITS_MAX 16
#define NEAR_BITS_MIN 12 /* all threads work within a stretch of so many bytes */
#define NEAR_BITS_MAX 19
#define AROUND 40000u /* bytes about the end: what is allocated there matters */

struct worker {
	struct onefile *f;
	const struct subject *s;
	unsigned number, n_ops;
	uint64_t random;
	uint64_t end;	     /* the size is at least this, by what this thread did */
	uint8_t *data, *got; /* ONEFILE_IO_MAX bytes each */
};

/* Bytes of one thread, all in one plot. */
struct part {
	uint64_t off;
	size_t len;
};

uint64_t onefile_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t below(uint64_t *random, uint64_t n)
{
	return onefile_random(random) % n;
}

bool onefile_wrong(struct onefile *f, const char *fmt, ...)
{
	va_list ap;

	/* One is enough; others follow from it. */
	if (atomic_exchange(&f->failed, true))
		return false;
	fprintf(stderr, "onefile: seed %" PRIu64 ", round %u: ", f->seed, f->round);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return false;
}

void onefile_init(struct onefile *f, uint64_t seed, unsigned n_threads)
{
	f->seed = seed;
	f->n_threads = n_threads;
	f->cutter = -1;
}

static void raise_to(atomic_uint_least64_t *a, uint64_t to)
{
	uint64_t now = atomic_load(a);

	while (now < to && !atomic_compare_exchange_weak(a, &now, to))
		;
}

/* ---- the plots ---- */

static void draw_plots(struct onefile *f, uint64_t size)
{
	uint64_t random = f->seed * 1000003 + f->round, at = 0;

	f->cutter = -1;
	f->border = 0;
	if (f->round % 3 == 2) {
		f->cutter = (int)below(&random, f->n_threads);
		/* Sometimes all is the cutter's, which then truncates to nothing as well. */
		f->border = below(&random, 6) == 0 ? 0 : below(&random, size + 1);
	}
	f->n_plots = 0;
	while (at < ONEFILE_SIZE_MAX) {
		unsigned bits = PLOT_BITS_MIN +
				(unsigned)below(&random, PLOT_BITS_MAX - PLOT_BITS_MIN);
		uint64_t end = at + (UINT64_C(1) << bits) + below(&random, UINT64_C(1) << bits);
		unsigned n = f->n_plots++, owner = (unsigned)below(&random, f->n_threads);

		if (f->n_plots == ONEFILE_PLOTS_MAX || end > ONEFILE_SIZE_MAX)
			end = ONEFILE_SIZE_MAX;
		if (f->cutter >= 0 && at < f->border && end > f->border)
			end = f->border;
		f->plot[n] = (uint32_t)at;
		f->owner[n] = (uint8_t)(f->cutter >= 0 && at >= f->border ? (unsigned)f->cutter
									  : owner);
		at = end;
	}
	f->plot[f->n_plots] = ONEFILE_SIZE_MAX;
	f->near = UINT64_C(1) << (NEAR_BITS_MIN + below(&random, NEAR_BITS_MAX - NEAR_BITS_MIN));
	atomic_store(&f->place, below(&random, 2) ? size : below(&random, ONEFILE_SIZE_MAX));
}

static unsigned plot_at(const struct onefile *f, uint64_t off)
{
	unsigned lo = 0, hi = f->n_plots;

	while (hi - lo > 1) {
		unsigned mid = lo + (hi - lo) / 2;

		if (f->plot[mid] <= off)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* Some bytes of this thread's, near where the others are.  False: it has none. */
static bool choose(struct worker *w, struct part *out)
{
	struct onefile *f = w->f;
	uint64_t place = atomic_fetch_add(&f->place, below(&w->random, f->near / 64));
	unsigned first = plot_at(f, (place + below(&w->random, f->near)) % ONEFILE_SIZE_MAX);
	unsigned i = first;
	size_t len;

	while (f->owner[i] != w->number) {
		i = (i + 1) % f->n_plots;
		if (i == first)
			return false;
	}
	out->off = f->plot[i];
	len = f->plot[i + 1] - f->plot[i];
	if (below(&w->random, 3) != 0) {
		uint64_t skip = below(&w->random, len);

		out->off += skip;
		len = 1 + below(&w->random, len - skip);
	}
	if (f->quick && len > 3000)
		len = 1 + below(&w->random, 3000);
	out->len = len < ONEFILE_IO_MAX ? len : ONEFILE_IO_MAX;
	return true;
}

/* ---- what is known ---- */

/* From now on the bytes may be the old ones or others. */
static void doubt(struct worker *w, uint64_t off, uint64_t len)
{
	memset(w->f->doubt + off, 1, len);
}

static void certain(struct worker *w, uint64_t off, uint64_t len)
{
	if (w->f->kept)
		memset(w->f->doubt + off, 0, len);
}

/* The call has returned that made the size at least ${end}. */
static void reaches(struct worker *w, uint64_t end)
{
	if (w->end < end)
		w->end = end;
	if (w->f->kept)
		raise_to(&w->f->floor, end);
}

static bool failed(struct worker *w, int rc, const char *what, uint64_t off, uint64_t len)
{
	if (rc == 0)
		return false;
	if (rc == -ENOTCONN)
		atomic_store(&w->f->stop, true);
	else
		onefile_wrong(w->f, "thread %u: %s of %" PRIu64 " bytes at %" PRIu64 ": %d %s",
			      w->number, what, len, off, rc, rc > -4096 ? strerror(-rc) : "");
	return true;
}

static bool same(struct onefile *f, const uint8_t *got, uint64_t off, size_t len, const char *when)
{
	uint64_t found = 0, want = 0;
	size_t at = 0, n;

	if (memcmp(got, f->want + off, len) == 0)
		return true;
	while (got[at] == f->want[off + at])
		at++;
	n = len - at < 8 ? len - at : 8;
	memcpy(&found, got + at, n);
	memcpy(&want, f->want + off + at, n);
	return onefile_wrong(f,
			     "%s: byte %" PRIu64 " (plot of thread %u) is wrong: %016" PRIx64
			     ", should be %016" PRIx64,
			     when, off + at, f->owner[plot_at(f, off + at)], found, want);
}

/* ---- operations ---- */

/* Bytes that tell who wrote them; half of them don't compress. */
static void fill(struct worker *w, size_t len)
{
	uint64_t tag = (uint64_t)(w->number + 1) << 56 | (onefile_random(&w->random) & 0xffffffff);
	bool noise = tag & 1;

	for (size_t i = 0; i < len; i += 8) {
		size_t n = len - i < 8 ? len - i : 8;

		if (noise)
			tag = (tag & UINT64_C(0xff) << 56) | onefile_random(&w->random) >> 8;
		memcpy(w->data + i, &tag, n);
	}
}

static void do_write(struct worker *w)
{
	struct onefile *f = w->f;
	struct part p;
	int rc;

	if (!choose(w, &p))
		return;
	fill(w, p.len);
	raise_to(&f->ceiling, p.off + p.len);
	doubt(w, p.off, p.len);
	rc = w->s->write(w->s->ctx, w->number, p.off, w->data, p.len);
	if (failed(w, rc, "write", p.off, p.len))
		return;
	memcpy(f->want + p.off, w->data, p.len);
	certain(w, p.off, p.len);
	reaches(w, p.off + p.len);
}

/* A hole, or zeros. */
static void do_clear(struct worker *w)
{
	struct onefile *f = w->f;
	bool extend = below(&w->random, 3) == 0;
	int mode = extend		       ? FALLOC_FL_ZERO_RANGE
		   : below(&w->random, 2) == 0 ? FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE
					       : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	struct part p;
	int rc;

	if (!choose(w, &p))
		return;
	if (extend)
		raise_to(&f->ceiling, p.off + p.len);
	doubt(w, p.off, p.len);
	rc = w->s->allocate(w->s->ctx, w->number, mode, p.off, p.len);
	if (failed(w, rc, "punch or zero", p.off, p.len))
		return;
	memset(f->want + p.off, 0, p.len);
	certain(w, p.off, p.len);
	if (extend)
		reaches(w, p.off + p.len);
}

/* Changes no byte, whosever they are. */
static void do_allocate(struct worker *w)
{
	struct onefile *f = w->f;
	uint64_t end = (atomic_load(&f->place) + below(&w->random, f->near)) % ONEFILE_SIZE_MAX + 1;
	uint64_t len = 1 + below(&w->random, end);
	bool keep = below(&w->random, 8) == 0;
	uint64_t size;
	int rc;

	/* About the end, where it may matter. */
	if (below(&w->random, 2) == 0 && w->s->size(w->s->ctx, w->number, &size) == 0) {
		end = size + below(&w->random, AROUND);
		end = end > AROUND / 2 ? end - AROUND / 2 : 1;
		end = end > ONEFILE_SIZE_MAX ? ONEFILE_SIZE_MAX : end;
		len = 1 + below(&w->random, end);
	}
	if (!keep)
		raise_to(&f->ceiling, end);
	rc = w->s->allocate(w->s->ctx, w->number, keep ? FALLOC_FL_KEEP_SIZE : 0, end - len, len);
	if (failed(w, rc, "allocation", end - len, len))
		return;
	/* The cutter may have cut meanwhile. */
	if (!keep && f->cutter < 0)
		reaches(w, end);
}

/* From bytes of one's own, which are known, or from anybody's, which are found out afterwards. */
static void do_copy(struct worker *w)
{
	struct onefile *f = w->f;
	bool own = below(&w->random, 2) == 0;
	struct part from, to;
	uint64_t size;
	int rc;

	if (!choose(w, &from) || !choose(w, &to))
		return;
	if (!own)
		from.off = below(&w->random, ONEFILE_SIZE_MAX - ONEFILE_IO_MAX);
	if (to.len > from.len)
		to.len = from.len;
	rc = w->s->size(w->s->ctx, w->number, &size);
	if (failed(w, rc, "size", 0, 0))
		return;
	/* Where the size is cut meanwhile a copy is shorter. */
	if (f->cutter >= 0 && f->cutter != (int)w->number)
		size = f->border;
	if (from.off + to.len > size || (from.off < to.off + to.len && to.off < from.off + to.len))
		return;
	raise_to(&f->ceiling, to.off + to.len);
	doubt(w, to.off, to.len);
	rc = w->s->copy(w->s->ctx, w->number, from.off, to.off, to.len);
	if (failed(w, rc, "copy", to.off, to.len))
		return;
	if (own) {
		memcpy(f->want + to.off, f->want + from.off, to.len);
	} else {
		rc = w->s->read(w->s->ctx, w->number, to.off, w->got, to.len);
		if (failed(w, rc, "read", to.off, to.len))
			return;
		memcpy(f->want + to.off, w->got, to.len);
	}
	certain(w, to.off, to.len);
	reaches(w, to.off + to.len);
}

static void do_truncate(struct worker *w)
{
	struct onefile *f = w->f;
	uint64_t size, room = ONEFILE_SIZE_MAX - f->border;
	int rc;

	if (f->cutter != (int)w->number)
		return;
	size = f->border + below(&w->random, room / (1 + below(&w->random, 8)) + 1);
	raise_to(&f->ceiling, size);
	atomic_store(&f->floor, f->border);
	doubt(w, size, ONEFILE_SIZE_MAX - size);
	rc = w->s->truncate(w->s->ctx, w->number, size);
	if (failed(w, rc, "truncation to a size", 0, size))
		return;
	memset(f->want + size, 0, ONEFILE_SIZE_MAX - size);
	certain(w, size, ONEFILE_SIZE_MAX - size);
	w->end = size;
	reaches(w, size);
}

static void do_read(struct worker *w)
{
	struct part p;
	int rc;

	if (!choose(w, &p))
		return;
	rc = w->s->read(w->s->ctx, w->number, p.off, w->got, p.len);
	if (!failed(w, rc, "read", p.off, p.len))
		same(w->f, w->got, p.off, p.len, "read by its owner");
}

static void do_size(struct worker *w)
{
	struct onefile *f = w->f;
	uint64_t least = f->cutter < 0 || f->cutter == (int)w->number ? w->end : f->border, size;
	int rc;

	rc = w->s->size(w->s->ctx, w->number, &size);
	if (failed(w, rc, "size", 0, 0))
		return;
	if (size < least || size > atomic_load(&f->ceiling))
		onefile_wrong(
			f, "thread %u: the size is %" PRIu64 ", should be %" PRIu64 " to %" PRIu64,
			w->number, size, least, (uint64_t)atomic_load(&f->ceiling));
}

/* All that this thread did is durable now, whatever the others are at. */
static void do_sync(struct worker *w)
{
	struct onefile *f = w->f;
	int rc;

	rc = w->s->sync(w->s->ctx, w->number);
	if (failed(w, rc, "sync", 0, 0))
		return;
	for (unsigned i = 0; i < f->n_plots; i++) {
		if (f->owner[i] == w->number)
			memset(f->doubt + f->plot[i], 0, f->plot[i + 1] - f->plot[i]);
	}
	if (f->cutter < 0 || f->cutter == (int)w->number)
		raise_to(&f->floor, w->end);
}

static void do_aside(struct worker *w)
{
	int rc = w->s->aside(w->s->ctx, w->number, onefile_random(&w->random));

	failed(w, rc, "something beside the contents", 0, 0);
}

static const struct {
	unsigned weight;
	void (*op)(struct worker *w);
} ops[] = {{40, do_write}, {14, do_clear}, {12, do_allocate}, {12, do_copy}, {12, do_truncate},
	   {16, do_read},  {8, do_size},   {3, do_sync},      {10, do_aside}};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct onefile *f = w->f;
	unsigned total = 0;

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		total += ops[i].weight;
	for (unsigned n = 0; n < w->n_ops && !atomic_load(&f->stop) && !atomic_load(&f->failed);
	     n++) {
		uint64_t pick = below(&w->random, total);
		size_t i = 0;

		while (pick >= ops[i].weight)
			pick -= ops[i++].weight;
		atomic_fetch_add(&f->ops, 1);
		ops[i].op(w);
	}
	free(w->data);
	free(w->got);
	return NULL;
}

/* A file that has its whole size can't grow. */
static bool shorten(struct onefile *f, const struct subject *s, uint64_t *size)
{
	uint64_t random = f->seed * 31 + f->round;
	int rc;

	*size = below(&random, *size + 1);
	rc = s->truncate(s->ctx, 0, *size);
	if (rc == 0)
		rc = s->sync(s->ctx, 0);
	if (rc < 0)
		return onefile_wrong(f, "it can't be made shorter: %d", rc);
	memset(f->want + *size, 0, ONEFILE_SIZE_MAX - *size);
	atomic_store(&f->floor, *size);
	atomic_store(&f->ceiling, *size);
	return true;
}

bool onefile_round(struct onefile *f, const struct subject *s, unsigned n_ops)
{
	struct worker worker[ONEFILE_THREADS_MAX];
	pthread_t thread[ONEFILE_THREADS_MAX];
	uint64_t size;
	int rc;

	f->round++;
	atomic_store(&f->stop, false);
	rc = s->size(s->ctx, 0, &size);
	if (rc < 0)
		return onefile_wrong(f, "no size: %d", rc);
	if (!shorten(f, s, &size))
		return false;
	draw_plots(f, size);
	for (unsigned i = 0; i < f->n_threads; i++) {
		worker[i] = (struct worker){.f = f,
					    .s = s,
					    .number = i,
					    .n_ops = n_ops,
					    .end = size,
					    .random = f->seed * 7919 + f->round * 64 + i,
					    .data = malloc(ONEFILE_IO_MAX),
					    .got = malloc(ONEFILE_IO_MAX)};
		if (!worker[i].data || !worker[i].got ||
		    pthread_create(&thread[i], NULL, work, &worker[i]) != 0) {
			fprintf(stderr, "onefile: no memory for a thread\n");
			exit(2);
		}
	}
	f->reached = 0;
	for (unsigned i = 0; i < f->n_threads; i++) {
		pthread_join(thread[i], NULL);
		if ((f->cutter < 0 || f->cutter == (int)i) && f->reached < worker[i].end)
			f->reached = worker[i].end;
	}
	return !atomic_load(&f->failed);
}

void onefile_settled(struct onefile *f)
{
	memset(f->doubt, 0, sizeof(f->doubt));
	raise_to(&f->floor, f->reached);
}

bool onefile_compare(struct onefile *f, const struct subject *s)
{
	uint8_t *got = malloc(ONEFILE_IO_MAX);
	uint64_t size;
	int rc;

	if (!got)
		return onefile_wrong(f, "no memory");
	rc = s->size(s->ctx, 0, &size);
	if (rc == 0 && (size < atomic_load(&f->floor) || size > atomic_load(&f->ceiling)))
		onefile_wrong(f, "the size is %" PRIu64 ", should be %" PRIu64 " to %" PRIu64, size,
			      (uint64_t)atomic_load(&f->floor), (uint64_t)atomic_load(&f->ceiling));
	for (uint64_t off = 0; rc == 0 && off < ONEFILE_SIZE_MAX; off += ONEFILE_IO_MAX) {
		rc = s->read(s->ctx, 0, off, got, ONEFILE_IO_MAX);
		if (rc < 0)
			break;
		for (size_t i = 0; i < ONEFILE_IO_MAX; i++) {
			if (f->doubt[off + i])
				f->want[off + i] = got[i];
		}
		if (!same(f, got, off, ONEFILE_IO_MAX, "after all"))
			break;
	}
	if (rc < 0)
		onefile_wrong(f, "it can't be read: %d", rc);
	free(got);
	memset(f->doubt, 0, sizeof(f->doubt));
	atomic_store(&f->floor, size);
	atomic_store(&f->ceiling, size);
	return !atomic_load(&f->failed);
}
