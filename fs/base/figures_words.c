/*
 * Figures for people.
 */

#include "figures.h"

#include "buf.h"
#include "utf8.h"
#include "when.h"
#include "words.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define ABSENT UINT64_MAX

/*
 * Words that replace those of the list while ${other} has the value ${is}; the first match counts.
 * A figure that is only recorded of an embassy is put in the past tense, because the embassy was
 * not asked now.
 */
#define UP_TO "\nlog       up to position %"
#define RECORDED FIGURE_STATE, FIGURE_STATE_RECORDED
static const struct {
	enum figure_id id, other;
	uint64_t is;
	const char *words, *none;
} instead[] = {
	/* clang-format off */
	{FIGURE_LOG_END,           FIGURE_LOG_END, ABSENT,                NULL, NULL},
	{FIGURE_LOG_END,           FIGURE_LOG_BYTES, ABSENT,              UP_TO, UP_TO},
	{FIGURE_LOG_BYTES,         FIGURE_LOG_BYTES, ABSENT,              NULL, NULL},
	{FIGURE_REASON,            FIGURE_WRITABLE, false,                "\nstopped   %", NULL},
	{FIGURE_EMBASSIES_KNOWN,   FIGURE_EMBASSIES_KNOWN, ABSENT,        NULL, NULL},
	{FIGURE_EMBASSIES_KNOWN,   FIGURE_COPY, true,                     NULL, NULL},
	{FIGURE_STATE,             RECORDED,                              NULL, NULL},
	{FIGURE_LAG_BYTES,         RECORDED,                              ": had not acknowledged %", ": had acknowledged everything"},
	{FIGURE_LAG_BYTES,         FIGURE_STATE, FIGURE_STATE_STREAMING,  "\n          % behind", "\n          has everything"},
	{FIGURE_LAG_BYTES,         FIGURE_STATE, FIGURE_STATE_IDLE,       "\n          % behind", "\n          has everything"},
	{FIGURE_LAG_HEADS,         RECORDED,                              " (%)", NULL},
	{FIGURE_LAG_SECONDS,       RECORDED,                              "; the oldest it lacks is % old", NULL},
	{FIGURE_LAG_SECONDS,       FIGURE_LAG_BYTES, 0,                   NULL, NULL},
	{FIGURE_ETA_SECONDS,       FIGURE_LAG_BYTES, 0,                   NULL, NULL},
	{FIGURE_ACKNOWLEDGED_TIME, RECORDED,                              "\n          acknowledged the state of %", "\n          acknowledged nothing yet"},
	/* clang-format on */
};

struct words {
	const char *words, *none;
};

static struct words words_of(const struct figures *f, const struct figure_row *r, enum figure_id id)
{
	for (size_t i = 0; i < sizeof(instead) / sizeof(instead[0]); i++) {
		enum figure_id other = instead[i].other;
		const struct figure_row *at = figure_about[other].of == FIGURE_OF_VOLUME
						      ? &f->volume
						      : r;

		if (instead[i].id == id &&
		    (figure_is_set(at, other) ? figure_n(at, other) : ABSENT) == instead[i].is)
			return (struct words){instead[i].words, instead[i].none};
	}
	return (struct words){figure_about[id].words, figure_about[id].none};
}

static bool is_none(const struct figure_row *r, enum figure_id id)
{
	if (!figure_is_set(r, id))
		return true;
	switch (figure_type(id)) {
	case FIGURE_IS_SECONDS:
		return !(r->value[id].x > 0);
	case FIGURE_IS_TIME:
		return r->value[id].time_ns == 0;
	case FIGURE_IS_TEXT:
		return r->value[id].text[0] == '\0';
	case FIGURE_IS_SPREAD:
		return true;
	case FIGURE_IS_N:
		break;
	}
	return figure_about[id].kind != FIGURE_KIND_STATE && r->value[id].n == 0;
}

static int add_shown(struct buf *out, const char *s)
{
	char shown[UTF8_SHOWN_LEN];
	int rc = 0;

	while (rc == 0 && *s) {
		s += utf8_show(s, shown);
		rc = buf_printf(out, "%s", shown);
	}
	return rc;
}

static int add_number(struct buf *out, enum figure_id id, uint64_t n)
{
	char text[WORDS_LEN];

	if (figure_about[id].kind == FIGURE_KIND_STATE)
		return add_shown(out, figure_state(id, n));
	switch (figure_about[id].unit) {
	case FIGURE_UNIT_BYTES:
	case FIGURE_UNIT_RATE:
		return buf_printf(out, "%s", words_bytes((double)n, text));
	case FIGURE_UNIT_HEADS:
		return buf_printf(out, "%" PRIu64 " head%s", n, n == 1 ? "" : "s");
	case FIGURE_UNIT_NONE:
	case FIGURE_UNIT_SECONDS:
	case FIGURE_UNIT_TIME:
		break;
	}
	return buf_printf(out, "%" PRIu64, n);
}

static int add_value(struct buf *out, const struct figure_row *r, enum figure_id id)
{
	char time[WHEN_TEXT_LEN], text[WORDS_LEN];

	switch (figure_type(id)) {
	case FIGURE_IS_SECONDS:
		return buf_printf(out, "%s", words_seconds(figure_seconds(r, id), text));
	case FIGURE_IS_TIME:
		when_format(r->value[id].time_ns, time);
		return buf_printf(out, "%s", time);
	case FIGURE_IS_TEXT:
		return add_shown(out, figure_text(r, id));
	case FIGURE_IS_N:
		return add_number(out, id, figure_n(r, id));
	case FIGURE_IS_SPREAD:
		break;
	}
	return 0;
}

static int add_words(const struct figures *f, const struct figure_row *r, enum figure_id id,
		     struct buf *out)
{
	struct words w = words_of(f, r, id);
	const char *words = is_none(r, id) ? w.none : w.words, *value;
	int rc;

	if (!words || (figure_type(id) == FIGURE_IS_SECONDS && isnan(figure_seconds(r, id))))
		return 0;
	value = strchr(words, '%');
	rc = buf_printf(out, "%.*s", (int)(value ? (size_t)(value - words) : strlen(words)), words);
	if (rc == 0 && value)
		rc = add_value(out, r, id);
	if (rc == 0 && value)
		rc = buf_printf(out, "%s", value + 1);
	return rc;
}

static int add_row(const struct figures *f, const struct figure_row *r, enum figure_of of,
		   struct buf *out)
{
	int rc = 0;

	for (unsigned id = 0; rc == 0 && id < FIGURE_N; id++)
		if (figure_about[id].of == of)
			rc = add_words(f, r, id, out);
	return rc;
}

int figures_words(const struct figures *f, struct buf *out)
{
	int rc = f->no_memory ? -ENOMEM : add_row(f, &f->volume, FIGURE_OF_VOLUME, out);

	for (size_t i = 0; rc == 0 && i < f->n; i++)
		rc = add_row(f, &f->embassy[i], FIGURE_OF_EMBASSY, out);
	return rc == 0 ? buf_add_u8(out, '\n') : rc;
}
