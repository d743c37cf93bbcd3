#ifndef FIGURES_H_
#define FIGURES_H_

/*
 * Figures: the state of a volume as values with a name, a unit and words, listed in figure_list.h.
 * A module copies its figures under its own lock, so that values that belong together are of one
 * moment, and sets them in a struct figures.  Three writers turn that into JSON, text and
 * OpenMetrics.  How to add a figure: tools/doc/extending.md.
 *
 * A figure that only grows is counted where it happens, in a figure_counter or figure_histogram:
 * any thread, no lock.  A struct figures belongs to one thread.
 *
 * In OpenMetrics a figure is called embassyfs_KEY or embassyfs_embassy_KEY, with _ for '.'.  Its
 * unit is appended unless the key ends with it; times are seconds since 1970 UTC.  Labels are
 * volume="ID" and embassy="ADDRESS".  A NOTE is 1 if there is one.
 */

#include "compiler.h"
#include "figure_list.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct json_t;

#define X(id, ...) FIGURE_##id,
enum figure_id { FIGURE_LIST(X) FIGURE_N };
#undef X

/* The values of FIGURE_MODE, and of FIGURE_STATE, which begin with the states of a replicator. */
enum { FIGURE_MODE_LIVE, FIGURE_MODE_VIEW };
enum {
	FIGURE_STATE_CONNECTING,
	FIGURE_STATE_STREAMING,
	FIGURE_STATE_IDLE,
	FIGURE_STATE_REFUSED,
	FIGURE_STATE_RECORDED
};

/* ---- counting ---- */

struct figure_counter {
	_Atomic uint64_t n;
};

static inline void figure_count(struct figure_counter *c, uint64_t n)
{
	atomic_fetch_add_explicit(&c->n, n, memory_order_relaxed);
}

/* Buckets with upper bounds of 0.1 ms to 10 s, and a last one without a bound. */
#define FIGURE_BUCKETS 16u

struct figure_histogram {
	_Atomic uint64_t bucket[FIGURE_BUCKETS], sum_ns;
};

/* figure_took(h, ns): count something that took ${ns}. */
void figure_took(struct figure_histogram *h, uint64_t ns);

/* ---- counted and measured values, all of one moment ---- */

struct figure_spread {
	uint64_t le[FIGURE_BUCKETS]; /* how many did not exceed the bucket's bound; the last: all */
	double sum_seconds;
};

union figure_value {
	uint64_t n;
	double x;		      /* SECONDS */
	int64_t time_ns;	      /* TIME; 0: none */
	char *text;		      /* LABEL, INFO, NOTE; owned */
	struct figure_spread *spread; /* HISTOGRAM; owned */
};

/* The figures of a volume or of one embassy. */
struct figure_row {
	uint64_t has; /* bit FIGURE_X: value[FIGURE_X] is set */
	union figure_value value[FIGURE_N];
};

/* A zeroed struct has none; release with figures_release(). */
struct figures {
	struct figure_row volume;
	struct figure_row *embassy; /* n */
	size_t n;
	bool no_memory; /* out of memory: a value is missing, and every writer fails */
};

void figures_release(struct figures *f);

/* figures_embassy(f, address): add an embassy; values set from now on belong to it. */
void figures_embassy(struct figures *f, const char *address);

/*
 * figures_set*(f, id, value): set the value, replacing an earlier one.  Its type follows from unit
 * and kind (union figure_value).  Texts and spreads are copied.  A time of 0 means that there is
 * none.
 */
void figures_set(struct figures *f, enum figure_id id, uint64_t n);
void figures_set_counter(struct figures *f, enum figure_id id, const struct figure_counter *c);
void figures_set_histogram(struct figures *f, enum figure_id id, const struct figure_histogram *h);
void figures_set_spread(struct figures *f, enum figure_id id, const struct figure_spread *s);
void figures_set_seconds(struct figures *f, enum figure_id id, double x);
void figures_set_time(struct figures *f, enum figure_id id, int64_t time_ns);
void figures_set_text(struct figures *f, enum figure_id id, const char *text);

static inline bool figure_is_set(const struct figure_row *r, enum figure_id id)
{
	return r->has >> id & 1;
}

/*
 * figure_n(), figure_time_ns(), figure_seconds(), figure_text(r, id): the value; 0, NaN or "" if it
 * is not set.
 */
uint64_t figure_n(const struct figure_row *r, enum figure_id id);
int64_t figure_time_ns(const struct figure_row *r, enum figure_id id);
double figure_seconds(const struct figure_row *r, enum figure_id id);
const char *figure_text(const struct figure_row *r, enum figure_id id);

/* ---- readers: each 0 or -ENOMEM ---- */

/*
 * figures_json(f, out): append one JSON object and a newline.  A TIME has two members: its key with
 * RFC 3339 text, empty if there is none, and KEY_seconds.  SECONDS that are not known are -1.
 * figures_from_json(json, out): read such an object, which may come from another version or be
 * forged.  A member that has the wrong type, or is not known here, is left out.
 */
MUST_CHECK int figures_json(const struct figures *f, struct buf *out);
MUST_CHECK int figures_from_json(const struct json_t *json, struct figures *out);

/* figures_words(f, out): append lines for people; texts are made safe for a terminal. */
MUST_CHECK int figures_words(const struct figures *f, struct buf *out);

/* figures_openmetrics(f, n, out): append the text for ${n} volumes, from "# TYPE" to "# EOF". */
MUST_CHECK int figures_openmetrics(const struct figures *f, size_t n, struct buf *out);

/* ---- for the writers ---- */

enum figure_of { FIGURE_OF_VOLUME, FIGURE_OF_EMBASSY };
enum figure_kind {
	FIGURE_KIND_COUNTER,
	FIGURE_KIND_GAUGE,
	FIGURE_KIND_HISTOGRAM,
	FIGURE_KIND_FLAG,
	FIGURE_KIND_STATE,
	FIGURE_KIND_LABEL,
	FIGURE_KIND_INFO,
	FIGURE_KIND_NOTE
};
enum figure_unit {
	FIGURE_UNIT_NONE,
	FIGURE_UNIT_BYTES,
	FIGURE_UNIT_HEADS,
	FIGURE_UNIT_RATE,
	FIGURE_UNIT_SECONDS,
	FIGURE_UNIT_TIME
};
/* The type of a figure's value, a member of union figure_value. */
enum figure_type {
	FIGURE_IS_N,
	FIGURE_IS_SECONDS,
	FIGURE_IS_TIME,
	FIGURE_IS_TEXT,
	FIGURE_IS_SPREAD
};

struct figure_about {
	enum figure_of of;
	enum figure_kind kind;
	enum figure_unit unit;
	const char *key, *words, *none, *help;
};
extern const struct figure_about figure_about[FIGURE_N];

enum figure_type figure_type(enum figure_id id);

/*
 * figure_states(id): the names of a STATE's values, ended by NULL.  figure_state(id, n): the name
 * of the value ${n}, or NULL.
 */
const char *const *figure_states(enum figure_id id);
const char *figure_state(enum figure_id id, uint64_t n);

/* The bound of bucket ${i} as a number in decimal, "+Inf" for the last. */
extern const char *const figure_bound[FIGURE_BUCKETS];

#endif /* !FIGURES_H_ */
