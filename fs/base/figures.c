/*
 * Figures: the list, counting, and setting values.
 */

#include "figures.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define X(id, of, kind, unit, key, words, none, help) \
	[FIGURE_##id] = {FIGURE_OF_##of, FIGURE_KIND_##kind, FIGURE_UNIT_##unit, key, words, none, help},
const struct figure_about figure_about[FIGURE_N] = {FIGURE_LIST(X)};
#undef X

const char *const figure_bound[FIGURE_BUCKETS] = {
	"0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025",
	"0.05",   "0.1",     "0.25",   "0.5",   "1.0",    "2.5",   "10.0", "+Inf",
};
static const uint64_t bound_ns[FIGURE_BUCKETS] = {
	100000,   250000,    500000,    1000000,   2500000,    5000000,    10000000,    25000000,
	50000000, 100000000, 250000000, 500000000, 1000000000, 2500000000, 10000000000, UINT64_MAX,
};
/* clang-format on */

_Static_assert(FIGURE_N <= 64, "figure_row.has has a bit for each");

static const char *const modes[] = {[FIGURE_MODE_LIVE] = "live", [FIGURE_MODE_VIEW] = "view", NULL};
static const char *const states[] = {[FIGURE_STATE_CONNECTING] = "connecting",
				     [FIGURE_STATE_STREAMING] = "streaming",
				     [FIGURE_STATE_IDLE] = "idle",
				     [FIGURE_STATE_REFUSED] = "refused",
				     [FIGURE_STATE_RECORDED] = "recorded",
				     NULL};

const char *const *figure_states(enum figure_id id)
{
	assert(figure_about[id].kind == FIGURE_KIND_STATE);
	return id == FIGURE_MODE ? modes : states;
}

const char *figure_state(enum figure_id id, uint64_t n)
{
	for (const char *const *s = figure_states(id); *s; s++)
		if (n-- == 0)
			return *s;
	return NULL;
}

enum figure_type figure_type(enum figure_id id)
{
	const struct figure_about *a = &figure_about[id];

	if (a->kind == FIGURE_KIND_HISTOGRAM)
		return FIGURE_IS_SPREAD;
	if (a->kind >= FIGURE_KIND_LABEL)
		return FIGURE_IS_TEXT;
	return a->unit == FIGURE_UNIT_TIME	? FIGURE_IS_TIME
	       : a->unit == FIGURE_UNIT_SECONDS ? FIGURE_IS_SECONDS
						: FIGURE_IS_N;
}

void figure_took(struct figure_histogram *h, uint64_t ns)
{
	unsigned i = 0;

	while (ns > bound_ns[i])
		i++;
	atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
}

static void drop(struct figure_row *r, enum figure_id id)
{
	if (!figure_is_set(r, id))
		return;
	if (figure_type(id) == FIGURE_IS_TEXT)
		free(r->value[id].text);
	if (figure_type(id) == FIGURE_IS_SPREAD)
		free(r->value[id].spread);
	r->has &= ~(UINT64_C(1) << id);
}

static void drop_all(struct figure_row *r)
{
	for (unsigned id = 0; id < FIGURE_N; id++)
		drop(r, id);
}

void figures_release(struct figures *f)
{
	drop_all(&f->volume);
	for (size_t i = 0; i < f->n; i++)
		drop_all(&f->embassy[i]);
	free(f->embassy);
	*f = (struct figures){0};
}

/* Where to put the value of ${id}, which must be of this type.  NULL if out of memory. */
static union figure_value *place(struct figures *f, enum figure_id id, enum figure_type type)
{
	struct figure_row *r = &f->volume;

	assert(figure_type(id) == type);
	if (f->no_memory)
		return NULL;
	if (figure_about[id].of == FIGURE_OF_EMBASSY) {
		assert(f->n > 0);
		r = &f->embassy[f->n - 1];
	}
	drop(r, id);
	r->has |= UINT64_C(1) << id;
	return &r->value[id];
}

void figures_embassy(struct figures *f, const char *address)
{
	struct figure_row *more = realloc(f->embassy, (f->n + 1) * sizeof(*more));

	if (!more) {
		f->no_memory = true;
		return;
	}
	f->embassy = more;
	more[f->n++] = (struct figure_row){0};
	figures_set_text(f, FIGURE_ADDRESS, address);
}

void figures_set(struct figures *f, enum figure_id id, uint64_t n)
{
	union figure_value *v = place(f, id, FIGURE_IS_N);

	if (v)
		v->n = n;
}

void figures_set_counter(struct figures *f, enum figure_id id, const struct figure_counter *c)
{
	figures_set(f, id, atomic_load_explicit(&c->n, memory_order_relaxed));
}

void figures_set_seconds(struct figures *f, enum figure_id id, double x)
{
	union figure_value *v = place(f, id, FIGURE_IS_SECONDS);

	if (v)
		v->x = isfinite(x) ? x : NAN;
}

void figures_set_time(struct figures *f, enum figure_id id, int64_t time_ns)
{
	union figure_value *v = place(f, id, FIGURE_IS_TIME);

	if (v)
		v->time_ns = time_ns;
}

void figures_set_text(struct figures *f, enum figure_id id, const char *text)
{
	union figure_value *v;
	char *copy = strdup(text);

	if (!copy)
		f->no_memory = true;
	v = place(f, id, FIGURE_IS_TEXT);
	if (v)
		v->text = copy;
	else
		free(copy);
}

void figures_set_spread(struct figures *f, enum figure_id id, const struct figure_spread *s)
{
	union figure_value *v;
	struct figure_spread *copy = malloc(sizeof(*copy));

	if (!copy)
		f->no_memory = true;
	v = place(f, id, FIGURE_IS_SPREAD);
	if (!v) {
		free(copy);
		return;
	}
	*copy = *s;
	v->spread = copy;
}

void figures_set_histogram(struct figures *f, enum figure_id id, const struct figure_histogram *h)
{
	struct figure_spread s;
	uint64_t all = 0;

	s.sum_seconds = (double)atomic_load_explicit(&h->sum_ns, memory_order_relaxed) / 1e9;
	for (unsigned i = 0; i < FIGURE_BUCKETS; i++)
		s.le[i] = all += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
	figures_set_spread(f, id, &s);
}

uint64_t figure_n(const struct figure_row *r, enum figure_id id)
{
	assert(figure_type(id) == FIGURE_IS_N);
	return figure_is_set(r, id) ? r->value[id].n : 0;
}

int64_t figure_time_ns(const struct figure_row *r, enum figure_id id)
{
	assert(figure_type(id) == FIGURE_IS_TIME);
	return figure_is_set(r, id) ? r->value[id].time_ns : 0;
}

double figure_seconds(const struct figure_row *r, enum figure_id id)
{
	assert(figure_type(id) == FIGURE_IS_SECONDS);
	return figure_is_set(r, id) ? r->value[id].x : NAN;
}

const char *figure_text(const struct figure_row *r, enum figure_id id)
{
	assert(figure_type(id) == FIGURE_IS_TEXT);
	return figure_is_set(r, id) ? r->value[id].text : "";
}
