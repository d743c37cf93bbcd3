/*
 * Parsing and formatting the times that users write.
 *
 * A cursor walks the text; each form either takes it to its end or does not match.  A time is
 * nanoseconds since 1970 in int64_t, from the year 1677 to 2262.  Times outside that range are
 * refused, as is every text that two people could read differently (a date alone, "1 month", a leap
 * second).
 */

#include "when.h"

#include "err.h"
#include "units.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define S_PER_DAY INT64_C(86400)

/*
 * timegm() and gmtime_r() are not used: under TZ=right/..., which counts leap seconds, their
 * results differ, and stored text must mean the same everywhere.
 */

/* Days from 1970-01-01 to a day of the proleptic Gregorian calendar; year >= 0. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
	/* Count years from March, so that the leap day is the last day of a year. */
	int64_t y = month > 2 ? year : year - 1;
	int64_t m = month > 2 ? month - 3 : month + 9;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * m + 2) / 5 + day - 1;

	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
	       day_of_year - 719468;
}

static void date_from_days(int64_t days, int *out_year, int *out_month, int *out_day)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t day_of_era = z - era * 146097;
	int64_t year_of_era =
		(day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year =
		day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t m = (5 * day_of_year + 2) / 153;

	*out_day = (int)(day_of_year - (153 * m + 2) / 5 + 1);
	*out_month = (int)(m < 10 ? m + 3 : m - 9);
	*out_year = (int)(year_of_era + era * 400 + (*out_month <= 2 ? 1 : 0));
}

/* Exactly ${n} digits within ${min} to ${max}. */
static bool take_number(const char **p, int n, int64_t min, int64_t max, int64_t *out)
{
	int64_t v = 0;

	for (int i = 0; i < n; i++) {
		if (!isdigit((unsigned char)(*p)[i]))
			return false;
		v = v * 10 + ((*p)[i] - '0');
	}
	if (v < min || v > max)
		return false;
	*p += n;
	*out = v;
	return true;
}

static bool take_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

/* One to nine digits after a point, as nanoseconds. */
static bool take_fraction(const char **p, int64_t *out_ns)
{
	int64_t v = 0;
	int n = 0;

	for (; isdigit((unsigned char)**p) && n < 9; n++, (*p)++)
		v = v * 10 + (**p - '0');
	if (n == 0 || isdigit((unsigned char)**p))
		return false;
	for (; n < 9; n++)
		v *= 10;
	*out_ns = v;
	return true;
}

static bool take_word(const char **p, const char *word)
{
	size_t len = strlen(word);

	if (strncasecmp(*p, word, len) != 0 || isalnum((unsigned char)(*p)[len]))
		return false;
	*p += len;
	return true;
}

/*
 * "Z", "UTC", "GMT", "+HH", "+HHMM" or "+HH:MM", or with "-", after a space or not, as seconds east
 * of UTC: what RFC 3339, date(1), stat(1) and PostgreSQL print.
 */
static bool take_offset(const char **p, int64_t *out_s)
{
	int64_t sign, hours, minutes = 0;

	*out_s = 0;
	(void)take_char(p, ' ');
	if (take_word(p, "Z") || take_word(p, "UTC") || take_word(p, "GMT"))
		return true;
	if (**p != '+' && **p != '-')
		return false;
	sign = *(*p)++ == '-' ? -1 : 1;
	if (!take_number(p, 2, 0, 23, &hours))
		return false;
	if (take_char(p, ':') || **p) {
		if (!take_number(p, 2, 0, 59, &minutes))
			return false;
	}
	*out_s = sign * (hours * 3600 + minutes * 60);
	return true;
}

/*
 * DATE (T|space) HH:MM[:SS[.fraction]] [offset].  Without an offset the time is UTC.
 */
static bool parse_absolute(const char *text, int64_t *out_ns)
{
	int64_t year, month, day, hour, minute, second = 0, fraction = 0, offset = 0, days, s;
	int real_year, real_month, real_day;
	const char *p = text;

	if (!take_number(&p, 4, 0, 9999, &year) || !take_char(&p, '-') ||
	    !take_number(&p, 2, 1, 12, &month) || !take_char(&p, '-') ||
	    !take_number(&p, 2, 1, 31, &day))
		return false;
	days = days_from_date(year, month, day);
	date_from_days(days, &real_year, &real_month, &real_day);
	if (real_day != day)
		return false; /* such as February 30 */
	if (!take_char(&p, 'T') && !take_char(&p, 't') && !take_char(&p, ' '))
		return false;
	if (!take_number(&p, 2, 0, 23, &hour) || !take_char(&p, ':') ||
	    !take_number(&p, 2, 0, 59, &minute))
		return false;
	if (take_char(&p, ':')) {
		if (!take_number(&p, 2, 0, 59, &second))
			return false;
		if (take_char(&p, '.') && !take_fraction(&p, &fraction))
			return false;
	}
	if (*p && !take_offset(&p, &offset))
		return false;
	if (*p)
		return false;

	s = days * S_PER_DAY + hour * 3600 + minute * 60 + second -
	    offset;
	return !__builtin_mul_overflow(s, NS_PER_S, out_ns) &&
	       !__builtin_add_overflow(*out_ns, fraction, out_ns);
}

/* Seconds in the unit of ${len} letters at ${p}, or 0. */
static int64_t unit_seconds(const char *p, size_t len)
{
	static const struct {
		int64_t seconds;
		const char *names[5];
	} units[] = {
		{1, {"s", "sec", "secs", "second", "seconds"}},
		{60, {"m", "min", "mins", "minute", "minutes"}},
		{3600, {"h", "hr", "hrs", "hour", "hours"}},
		{S_PER_DAY, {"d", "day", "days"}},
		{7 * S_PER_DAY, {"w", "week", "weeks"}},
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		for (size_t j = 0; j < 5 && units[i].names[j]; j++)
			if (strlen(units[i].names[j]) == len &&
			    strncasecmp(units[i].names[j], p, len) == 0)
				return units[i].seconds;
	return 0;
}

/*
 * Parse NUMBER[ ]UNIT.  The unit must be smaller than ${*below} seconds, which becomes that unit.
 */
static bool parse_part(const char **text, int64_t *below, int64_t *out_ns)
{
	const char *p = *text;
	int64_t n = 0, unit;
	size_t len = 0;

	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
			return false;
	take_char(&p, ' ');
	while (isalpha((unsigned char)p[len]))
		len++;
	unit = unit_seconds(p, len);
	if (unit == 0 || unit >= *below)
		return false;
	*below = unit;
	*text = p + len;
	return !__builtin_mul_overflow(n, unit * NS_PER_S, out_ns);
}

/* "5m", "5 minutes", "1h30m", "1 h 30 m"; ${*out_rest} is what follows. */
static bool parse_amount(const char *text, int64_t *out_ns, const char **out_rest)
{
	int64_t below = INT64_MAX, part;
	const char *next;

	if (!parse_part(&text, &below, out_ns))
		return false;
	for (;;) {
		next = text + (*text == ' ');
		if (!isdigit((unsigned char)*next))
			break;
		if (!parse_part(&next, &below, &part) ||
		    __builtin_add_overflow(*out_ns, part, out_ns))
			return false;
		text = next;
	}
	*out_rest = text;
	return true;
}

/* "5m" or "5 minutes ago", or a word. */
static bool parse_relative(const char *text, int64_t now_ns, int64_t *out_ns)
{
	int64_t ago, day_ns = S_PER_DAY * NS_PER_S;
	const char *rest;

	if (strcasecmp(text, "now") == 0) {
		*out_ns = now_ns;
		return true;
	}
	if (strcasecmp(text, "today") == 0) {
		int64_t past = now_ns % day_ns;

		ago = past < 0 ? past + day_ns : past;
	} else if (strcasecmp(text, "yesterday") == 0)
		ago = day_ns;
	else if (!parse_amount(text, &ago, &rest) || (*rest && strcasecmp(rest, " ago") != 0))
		return false;
	return !__builtin_sub_overflow(now_ns, ago, out_ns);
}

/* A decimal number from 1 without leading zeros. */
static bool parse_head(const char *text, uint64_t *out)
{
	uint64_t n = 0;

	if (*text == '0' || !*text)
		return false;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*text - '0'), &n))
			return false;
	*out = n;
	return !*text;
}

int when_parse(const char *text, int64_t now_ns, struct when *out)
{
	*out = (struct when){0};
	if (strcasecmp(text, "latest") == 0) {
		out->kind = WHEN_LATEST;
		return 0;
	}
	if (strncmp(text, "head:", 5) == 0 && parse_head(text + 5, &out->head)) {
		out->kind = WHEN_HEAD;
		return 0;
	}
	if (strncmp(text, "snapshot:", 9) == 0 && text[9] &&
	    strlen(text + 9) < sizeof(out->snapshot)) {
		out->kind = WHEN_SNAPSHOT;
		memcpy(out->snapshot, text + 9, strlen(text + 9) + 1);
		return 0;
	}
	if (parse_relative(text, now_ns, &out->time_ns) || parse_absolute(text, &out->time_ns)) {
		out->kind = WHEN_TIME;
		return 0;
	}
	return err_say(-ERR_BAD_TIME,
		       "%.200s: not a time; give 2026-11-24T10:00:05Z (or another offset), "
		       "\"2026-11-24 10:00\" (UTC), 30s, 5m, 2h, 3d or 1w (ago), yesterday, today, "
		       "now, latest, head:NUMBER or snapshot:NAME",
		       text);
}

int when_parse_duration(const char *text, int64_t *out_ns)
{
	const char *rest;

	if (parse_amount(text, out_ns, &rest) && !*rest)
		return 0;
	return err_say(-ERR_BAD_TIME, "%.200s: not a duration; give 30s, 5m, 2h, 3d or 1w", text);
}

static int format_seconds(int64_t time_ns, char *out, int64_t *out_fraction)
{
	int64_t s = time_ns / NS_PER_S, fraction = time_ns % NS_PER_S, days, of_day;
	int year, month, day;

	if (fraction < 0) {
		fraction += NS_PER_S;
		s--;
	}
	days = s / S_PER_DAY;
	of_day = s % S_PER_DAY;
	if (of_day < 0) {
		of_day += S_PER_DAY;
		days--;
	}
	date_from_days(days, &year, &month, &day);
	*out_fraction = fraction;
	return snprintf(out, WHEN_TEXT_LEN, "%04d-%02d-%02dT%02d:%02d:%02d", year, month, day,
			(int)(of_day / 3600), (int)(of_day / 60 % 60), (int)(of_day % 60));
}

void when_format(int64_t time_ns, char *out)
{
	int64_t fraction;
	int len = format_seconds(time_ns, out, &fraction);

	snprintf(out + len, (size_t)(WHEN_TEXT_LEN - len), ".%09dZ", (int)fraction);
}

void when_format_seconds(int64_t time_ns, char *out)
{
	int64_t fraction;
	int len = format_seconds(time_ns, out, &fraction);

	snprintf(out + len, (size_t)(WHEN_TEXT_LEN - len), "Z");
}
