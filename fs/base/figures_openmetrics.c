/*
 * Figures as OpenMetrics text (version 1.0.0): one family after the other.  Each has TYPE, UNIT and
 * HELP before its samples, and a sample for each volume or embassy.  "# EOF" ends the text.
 */

#include "figures.h"

#include "buf.h"
#include "units.h"
#include "utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_LEN 80u

static const char *const types[] = {
	[FIGURE_KIND_COUNTER] = "counter",     [FIGURE_KIND_GAUGE] = "gauge",
	[FIGURE_KIND_HISTOGRAM] = "histogram", [FIGURE_KIND_FLAG] = "gauge",
	[FIGURE_KIND_STATE] = "stateset",      [FIGURE_KIND_INFO] = "info",
	[FIGURE_KIND_NOTE] = "gauge",
};

static const char *const units[] = {
	[FIGURE_UNIT_BYTES] = "bytes",		 [FIGURE_UNIT_HEADS] = "heads",
	[FIGURE_UNIT_RATE] = "bytes_per_second", [FIGURE_UNIT_SECONDS] = "seconds",
	[FIGURE_UNIT_TIME] = "seconds",
};

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), end_len = strlen(end);

	return len > end_len && s[len - end_len - 1] == '_' && strcmp(s + len - end_len, end) == 0;
}

/* The name of the family. */
static void name_of(enum figure_id id, char out[NAME_LEN])
{
	const struct figure_about *a = &figure_about[id];
	const char *unit = units[a->unit];

	snprintf(out, NAME_LEN, "embassyfs_%s%s", a->of == FIGURE_OF_EMBASSY ? "embassy_" : "",
		 a->key);
	for (char *p = out; *p; p++)
		*p = *p == '.' ? '_' : *p;
	if (unit && !ends_with(out, unit))
		snprintf(out + strlen(out), NAME_LEN - strlen(out), "_%s", unit);
}

/* Escape for OpenMetrics, and make it safe for a terminal too. */
static int add_quoted(struct buf *out, const char *label, const char *value)
{
	char shown[UTF8_SHOWN_LEN];
	int rc = buf_printf(out, "%s=\"", label);

	while (rc == 0 && *value) {
		value += utf8_show(value, shown);
		for (const char *c = shown; rc == 0 && *c; c++)
			rc = *c == '\\' || *c == '"' ? buf_printf(out, "\\%c", *c)
						     : buf_add_u8(out, (uint8_t)*c);
	}
	return rc == 0 ? buf_add_u8(out, '"') : rc;
}

/* The beginning of one sample of the figure ${id}: name, labels and a space. */
struct line {
	const struct figures *f;
	const struct figure_row *row;
	enum figure_id id;
	struct buf *out;
};

static int begin(const struct line *l, const char *suffix, const char *label, const char *value)
{
	bool embassy = figure_about[l->id].of == FIGURE_OF_EMBASSY;
	char name[NAME_LEN];
	int rc;

	name_of(l->id, name);
	rc = buf_printf(l->out, "%s%s{", name, suffix);
	if (rc == 0)
		rc = add_quoted(l->out, "volume", figure_text(&l->f->volume, FIGURE_VOLUME));
	if (rc == 0 && embassy)
		rc = add_quoted(l->out, ",embassy", figure_text(l->row, FIGURE_ADDRESS));
	if (rc == 0 && label)
		rc = buf_add_u8(l->out, ',');
	if (rc == 0 && label)
		rc = add_quoted(l->out, label, value);
	return rc == 0 ? buf_printf(l->out, "} ") : rc;
}

static int add_u64(const struct line *l, const char *suffix, const char *label, const char *value,
		   uint64_t n)
{
	int rc = begin(l, suffix, label, value);

	return rc == 0 ? buf_printf(l->out, "%" PRIu64 "\n", n) : rc;
}

static int add_seconds(const struct line *l, const char *suffix, double x)
{
	int rc = begin(l, suffix, NULL, NULL);

	return rc == 0 ? buf_printf(l->out, "%.6f\n", x) : rc;
}

static int add_states(const struct line *l, uint64_t n)
{
	const char *const *states = figure_states(l->id);
	char name[NAME_LEN];
	int rc = 0;

	name_of(l->id, name);
	for (uint64_t i = 0; rc == 0 && states[i]; i++)
		rc = add_u64(l, "", name, states[i], i == n);
	return rc;
}

static int add_spread(const struct line *l, const struct figure_spread *s)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < FIGURE_BUCKETS; i++)
		rc = add_u64(l, "_bucket", "le", figure_bound[i], s->le[i]);
	if (rc == 0)
		rc = add_u64(l, "_count", NULL, NULL, s->le[FIGURE_BUCKETS - 1]);
	return rc == 0 ? add_seconds(l, "_sum", s->sum_seconds) : rc;
}

static int add_samples(const struct line *l, const union figure_value *v)
{
	switch (figure_about[l->id].kind) {
	case FIGURE_KIND_COUNTER:
		return add_u64(l, "_total", NULL, NULL, v->n);
	case FIGURE_KIND_STATE:
		return add_states(l, v->n);
	case FIGURE_KIND_HISTOGRAM:
		return add_spread(l, v->spread);
	case FIGURE_KIND_INFO:
		return add_u64(l, "_info", figure_about[l->id].key, v->text, 1);
	case FIGURE_KIND_NOTE:
		return add_u64(l, "", NULL, NULL, v->text[0] != '\0');
	case FIGURE_KIND_GAUGE:
	case FIGURE_KIND_FLAG:
	case FIGURE_KIND_LABEL:
		break;
	}
	if (figure_type(l->id) == FIGURE_IS_N)
		return add_u64(l, "", NULL, NULL, v->n);
	return add_seconds(
		l, "", figure_type(l->id) == FIGURE_IS_TIME ? (double)v->time_ns / NS_PER_S : v->x);
}

/* Labels of other figures have no sample of their own, nor do unknown values. */
static bool has_sample(const struct figure_row *r, enum figure_id id)
{
	if (!figure_is_set(r, id) || figure_about[id].kind == FIGURE_KIND_LABEL)
		return false;
	if (figure_type(id) == FIGURE_IS_SECONDS)
		return isfinite(r->value[id].x);
	return figure_type(id) != FIGURE_IS_TIME || r->value[id].time_ns != 0;
}

static int add_head(enum figure_id id, struct buf *out)
{
	const struct figure_about *a = &figure_about[id];
	char name[NAME_LEN];
	int rc;

	name_of(id, name);
	rc = buf_printf(out, "# TYPE %s %s\n", name, types[a->kind]);
	if (rc == 0 && units[a->unit])
		rc = buf_printf(out, "# UNIT %s %s\n", name, units[a->unit]);
	return rc == 0 ? buf_printf(out, "# HELP %s %s\n", name, a->help) : rc;
}

/*
 * Append the sample of ${r}, and before the first one, as ${*first} says, the head of the family.
 */
static int add_row(const struct figures *f, const struct figure_row *r, enum figure_id id,
		   bool *first, struct buf *out)
{
	const struct line l = {.f = f, .row = r, .id = id, .out = out};
	int rc = 0;

	if (!has_sample(r, id))
		return 0;
	if (*first)
		rc = add_head(id, out);
	*first = false;
	return rc == 0 ? add_samples(&l, &r->value[id]) : rc;
}

static int add_family(const struct figures *f, size_t n, enum figure_id id, struct buf *out)
{
	bool first = true;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++) {
		rc = add_row(&f[i], &f[i].volume, id, &first, out);
		for (size_t k = 0; rc == 0 && k < f[i].n; k++)
			rc = add_row(&f[i], &f[i].embassy[k], id, &first, out);
	}
	return rc;
}

int figures_openmetrics(const struct figures *f, size_t n, struct buf *out)
{
	int rc = 0;

	for (size_t i = 0; i < n; i++)
		if (f[i].no_memory)
			rc = -ENOMEM;
	for (unsigned id = 0; rc == 0 && id < FIGURE_N; id++)
		rc = add_family(f, n, id, out);
	return rc == 0 ? buf_printf(out, "# EOF\n") : rc;
}
