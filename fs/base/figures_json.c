/*
 * Figures as JSON, and read back from JSON that another process wrote.
 */

#include "figures.h"

#include "jsontext.h"
#include "units.h"
#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Round to microseconds. */
static json_t *real(double x)
{
	return json_real(isfinite(x) ? round(x * 1e6) / 1e6 : -1);
}

static json_t *spread_json(const struct figure_spread *s)
{
	json_t *le = json_object();

	for (unsigned i = 0; i < FIGURE_BUCKETS; i++)
		if (json_object_set_new(le, figure_bound[i], json_integer(jsontext_u64(s->le[i]))) <
		    0) {
			json_decref(le);
			return NULL;
		}
	return json_pack("{s:I, s:o, s:o}", "count", jsontext_u64(s->le[FIGURE_BUCKETS - 1]),
			 "sum_seconds", real(s->sum_seconds), "le", le);
}

static json_t *value_json(enum figure_id id, const union figure_value *v)
{
	const char *state;

	switch (figure_type(id)) {
	case FIGURE_IS_SECONDS:
		return real(v->x);
	case FIGURE_IS_TIME:
		return v->time_ns ? jsontext_time(v->time_ns) : json_string("");
	case FIGURE_IS_TEXT:
		return jsontext_string(v->text);
	case FIGURE_IS_SPREAD:
		return spread_json(v->spread);
	case FIGURE_IS_N:
		break;
	}
	if (figure_about[id].kind == FIGURE_KIND_FLAG)
		return json_boolean(v->n != 0);
	if (figure_about[id].kind != FIGURE_KIND_STATE)
		return json_integer(jsontext_u64(v->n));
	state = figure_state(id, v->n);
	return json_string(state ? state : "");
}

/*
 * Find, or make, the object of ${all} that contains ${*key}, and strip that object's name from
 * ${*key}.
 */
static json_t *parent_of(json_t *all, const char **key)
{
	const char *dot = strchr(*key, '.');
	char name[32];
	json_t *o;

	if (!dot)
		return all;
	snprintf(name, sizeof(name), "%.*s", (int)(dot - *key), *key);
	*key = dot + 1;
	o = json_object_get(all, name);
	if (!o && json_object_set_new(all, name, json_object()) == 0)
		o = json_object_get(all, name);
	return o;
}

static int set_json(json_t *all, enum figure_id id, const union figure_value *v)
{
	const char *key = figure_about[id].key;
	json_t *o = parent_of(all, &key);
	char seconds[64];

	if (json_object_set_new(o, key, value_json(id, v)) < 0)
		return -ENOMEM;
	if (figure_type(id) != FIGURE_IS_TIME || !v->time_ns)
		return 0;
	snprintf(seconds, sizeof(seconds), "%s_seconds", key);
	return json_object_set_new(o, seconds, real((double)v->time_ns / NS_PER_S)) < 0 ? -ENOMEM
											: 0;
}

static json_t *row_json(const struct figure_row *r)
{
	json_t *o = json_object();

	for (unsigned id = 0; id < FIGURE_N; id++)
		if (figure_is_set(r, id) && set_json(o, id, &r->value[id]) < 0) {
			json_decref(o);
			return NULL;
		}
	return o;
}

int figures_json(const struct figures *f, struct buf *out)
{
	json_t *all, *list = json_array();
	int rc = f->no_memory ? -ENOMEM : 0;

	all = row_json(&f->volume);
	for (size_t i = 0; i < f->n; i++)
		if (json_array_append_new(list, row_json(&f->embassy[i])) < 0)
			rc = -ENOMEM;
	if (json_object_set_new(all, "embassies", list) < 0)
		rc = -ENOMEM;
	if (rc == 0)
		return jsontext_line(all, out);
	json_decref(all);
	return rc;
}

/* ---- back ---- */

static void read_number(const json_t *j, enum figure_id id, struct figures *out)
{
	const char *state;

	if (figure_about[id].kind == FIGURE_KIND_FLAG) {
		if (json_is_boolean(j))
			figures_set(out, id, json_is_true(j));
	} else if (figure_about[id].kind == FIGURE_KIND_STATE) {
		for (uint64_t n = 0; json_is_string(j) && (state = figure_state(id, n)) != NULL;
		     n++)
			if (strcmp(state, json_string_value(j)) == 0)
				figures_set(out, id, n);
	} else if (json_is_integer(j) && json_integer_value(j) >= 0) {
		figures_set(out, id, (uint64_t)json_integer_value(j));
	}
}

static void read_time(const json_t *j, enum figure_id id, struct figures *out)
{
	struct when when;

	if (json_is_string(j) && when_parse(json_string_value(j), 0, &when) == 0 &&
	    when.kind == WHEN_TIME)
		figures_set_time(out, id, when.time_ns);
}

/* Reject counts that do not grow from bound to bound: no writer makes such. */
static void read_spread(const json_t *j, enum figure_id id, struct figures *out)
{
	struct figure_spread s = {
		.sum_seconds = json_number_value(json_object_get(j, "sum_seconds"))};
	const json_t *le = json_object_get(j, "le");

	for (unsigned i = 0; i < FIGURE_BUCKETS; i++) {
		s.le[i] = jsontext_get_u64(le, figure_bound[i]);
		if (i > 0 && s.le[i] < s.le[i - 1])
			return;
	}
	if (le && s.sum_seconds >= 0)
		figures_set_spread(out, id, &s);
}

static void read_value(const json_t *j, enum figure_id id, struct figures *out)
{
	switch (figure_type(id)) {
	case FIGURE_IS_N:
		read_number(j, id, out);
		break;
	case FIGURE_IS_SECONDS:
		if (json_is_number(j))
			figures_set_seconds(out, id,
					    json_number_value(j) >= 0 ? json_number_value(j) : NAN);
		break;
	case FIGURE_IS_TIME:
		read_time(j, id, out);
		break;
	case FIGURE_IS_TEXT:
		if (json_is_string(j))
			figures_set_text(out, id, json_string_value(j));
		break;
	case FIGURE_IS_SPREAD:
		read_spread(j, id, out);
		break;
	}
}

static void read_row(const json_t *o, enum figure_of of, struct figures *out)
{
	for (unsigned id = 0; id < FIGURE_N; id++) {
		const char *key = figure_about[id].key, *dot = strchr(key, '.');
		const json_t *at = o;
		char name[32];

		if (figure_about[id].of != of)
			continue;
		if (dot) {
			snprintf(name, sizeof(name), "%.*s", (int)(dot - key), key);
			at = json_object_get(o, name);
			key = dot + 1;
		}
		read_value(json_object_get(at, key), id, out);
	}
}

int figures_from_json(const json_t *json, struct figures *out)
{
	const json_t *e;
	size_t i;

	read_row(json, FIGURE_OF_VOLUME, out);
	json_array_foreach(json_object_get(json, "embassies"), i, e) {
		figures_embassy(out, jsontext_get(e, figure_about[FIGURE_ADDRESS].key));
		read_row(e, FIGURE_OF_EMBASSY, out);
	}
	return out->no_memory ? -ENOMEM : 0;
}
