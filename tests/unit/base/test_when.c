/* The times that users write, and those that must be refused. */

#include "when.h"

#include "err.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define S INT64_C(1000000000)
/* 2026-11-24T10:00:05Z */
#define NOW (INT64_C(1795514405) * S)

static int64_t time_of(const char *text)
{
	struct when w;

	cr_assert_eq(when_parse(text, NOW, &w), 0, "%s: %s", text, err_detail(-ERR_BAD_TIME));
	cr_assert_eq(w.kind, WHEN_TIME);
	return w.time_ns;
}

Test(when, absolute)
{
	cr_assert_eq(time_of("2026-11-24T10:00:05Z"), NOW);
	cr_assert_eq(time_of("2026-11-24t10:00:05z"), NOW);
	cr_assert_eq(time_of("2026-11-24T12:30:05+02:30"), NOW);
	cr_assert_eq(time_of("2026-11-23T23:00:05-11:00"), NOW);
	cr_assert_eq(time_of("2026-11-24T10:00:05.5Z"), NOW + S / 2);
	cr_assert_eq(time_of("2026-11-24T10:00:05.000000001Z"), NOW + 1);
	cr_assert_eq(time_of("2026-11-24 10:00"), NOW - 5 * S);
	cr_assert_eq(time_of("2026-11-24 10:00:05"), NOW);
	cr_assert_eq(time_of("2026-11-24 10:00:05.25"), NOW + S / 4);
	cr_assert_eq(time_of("2026-11-24 11:00:05+01:00"), NOW);
	cr_assert_eq(time_of("1970-01-01T00:00:00Z"), 0);
	cr_assert_eq(time_of("1969-12-31T23:59:59.9Z"), -S / 10);
	cr_assert_eq(time_of("2024-02-29T00:00:00Z"), INT64_C(1709164800) * S);
}

/* What date(1), stat(1) and PostgreSQL print. */
Test(when, as_programs_print_them)
{
	cr_assert_eq(time_of("2026-11-24T10:00+00:00"), NOW - 5 * S);
	cr_assert_eq(time_of("2026-11-24T12:00+02:00"), NOW - 5 * S);
	cr_assert_eq(time_of("2026-11-24 10:00:05.123456789 +0000"), NOW + 123456789);
	cr_assert_eq(time_of("2026-11-24 12:00:05.000000000 +0200"), NOW);
	cr_assert_eq(time_of("2026-11-24 10:00:05.5 UTC"), NOW + S / 2);
	cr_assert_eq(time_of("2026-11-24 12:00:05.25+02"), NOW + S / 4);
	cr_assert_eq(time_of("2026-11-24 04:30:05-05:30"), NOW);
	cr_assert_eq(time_of("2026-11-24T10:00:05"), NOW);
	cr_assert_eq(time_of("2026-11-24T10:00Z"), NOW - 5 * S);
	cr_assert_eq(time_of("2026-11-24 10:00 gmt"), NOW - 5 * S);
}

Test(when, relative)
{
	cr_assert_eq(time_of("5m30s"), NOW - 330 * S);
	cr_assert_eq(time_of("1h 30m ago"), NOW - 5400 * S);
	cr_assert_eq(time_of("1 day 2 hours 3 minutes"), NOW - (86400 + 7200 + 180) * S);

	cr_assert_eq(time_of("30s"), NOW - 30 * S);
	cr_assert_eq(time_of("5m"), NOW - 300 * S);
	cr_assert_eq(time_of("5 minutes ago"), NOW - 300 * S);
	cr_assert_eq(time_of("1 hour"), NOW - 3600 * S);
	cr_assert_eq(time_of("2h"), NOW - 7200 * S);
	cr_assert_eq(time_of("3d"), NOW - 3 * 86400 * S);
	cr_assert_eq(time_of("1w"), NOW - 7 * 86400 * S);
	cr_assert_eq(time_of("yesterday"), NOW - 86400 * S);
	cr_assert_eq(time_of("today"), NOW - (10 * 3600 + 5) * S);
	cr_assert_eq(time_of("now"), NOW);
}

Test(when, today_before_1970)
{
	struct when w;

	cr_assert_eq(when_parse("today", -1, &w), 0);
	cr_assert_eq(w.time_ns, -86400 * S);
}

Test(when, other_kinds)
{
	struct when w;

	cr_assert_eq(when_parse("latest", NOW, &w), 0);
	cr_assert_eq(w.kind, WHEN_LATEST);
	cr_assert_eq(when_parse("head:18446744073709551615", NOW, &w), 0);
	cr_assert_eq(w.kind, WHEN_HEAD);
	cr_assert_eq(w.head, UINT64_MAX);
	cr_assert_eq(when_parse("snapshot:before the storm", NOW, &w), 0);
	cr_assert_eq(w.kind, WHEN_SNAPSHOT);
	cr_assert_str_eq(w.snapshot, "before the storm");
}

Test(when, refused)
{
	static const char *const bad[] = {
		"", " ", "5", "m", "5x", "1 month", "5mago", "5m  ago", "5m ago ", "-5m", "1.5h",
		"99999999999999999999s", "9223372036854775807w", "2026-11-24", "10:00",
		"2026-11-24 25:00", "2026-11-24 10:60", "2026-11-24T10:00 ", "2026-11-24T10:00 EET",
		"2026-11-24 10:00 UTC+1", "2026-11-24 10:00 +1", "2026-11-24 10:00 +010", "5m5m",
		"30s5m", "5m 30", "1h30", "2026-11-24 10:00  UTC", "9223372036s9223372036s",
		"2026-11-24T10:00:60Z", "2026-13-01 00:00", "2026-00-01 00:00", "2026-02-29 00:00",
		"2026-11-31 00:00", "2026-11-24T10:00:05.Z", "2026-11-24T10:00:05.1234567891Z",
		"2026-11-24T10:00:05+24:00", "2026-11-24T10:00:05+01000", "26-11-24 10:00",
		"2026-11-24T10:00:05Zx", "11/24/2026", "2400-01-01T00:00:00Z",
		"1000-01-01T00:00:00Z", "head:", "head:0", "head:01", "head:1x",
		"head:18446744073709551616", "snapshot:", "tomorrow",
	};
	struct when w;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(when_parse(bad[i], NOW, &w), -ERR_BAD_TIME, "accepted: %s", bad[i]);
		cr_assert_not_null(strstr(err_detail(-ERR_BAD_TIME), bad[i]));
	}
}

Test(when, snapshot_name_too_long)
{
	char text[300] = "snapshot:";
	struct when w;

	memset(text + 9, 'x', 255);
	cr_assert_eq(when_parse(text, NOW, &w), 0);
	cr_assert_eq(strlen(w.snapshot), 255);
	text[9 + 255] = 'x';
	cr_assert_eq(when_parse(text, NOW, &w), -ERR_BAD_TIME);
}

Test(when, durations)
{
	int64_t ns;

	cr_assert_eq(when_parse_duration("5m", &ns), 0);
	cr_assert_eq(ns, 300 * S);
	cr_assert_eq(when_parse_duration("2 weeks", &ns), 0);
	cr_assert_eq(ns, 14 * 86400 * S);
	cr_assert_eq(when_parse_duration("5m ago", &ns), -ERR_BAD_TIME);
	cr_assert_eq(when_parse_duration("yesterday", &ns), -ERR_BAD_TIME);
	cr_assert_eq(when_parse_duration("", &ns), -ERR_BAD_TIME);
}

Test(when, format)
{
	char text[WHEN_TEXT_LEN];

	when_format(NOW + 123456789, text);
	cr_assert_str_eq(text, "2026-11-24T10:00:05.123456789Z");
	when_format_seconds(NOW + 999999999, text);
	cr_assert_str_eq(text, "2026-11-24T10:00:05Z");
	when_format(-1, text);
	cr_assert_str_eq(text, "1969-12-31T23:59:59.999999999Z");
	when_format(INT64_MIN, text);
	cr_assert_str_eq(text, "1677-09-21T00:12:43.145224192Z");
	when_format(INT64_MAX, text);
	cr_assert_str_eq(text, "2262-04-11T23:47:16.854775807Z");
}

/* The calendar against the C library's, and back by when_parse(). */
Test(when, calendar_agrees)
{
	for (int64_t day = -100000; day < 100000; day += 7) {
		time_t s = (time_t)(day * 86400 + 12345);
		char ours[WHEN_TEXT_LEN], theirs[WHEN_TEXT_LEN];
		struct tm tm;

		gmtime_r(&s, &tm);
		strftime(theirs, sizeof(theirs), "%Y-%m-%dT%H:%M:%SZ", &tm);
		when_format_seconds((int64_t)s * S, ours);
		cr_assert_str_eq(ours, theirs);
		cr_assert_eq(time_of(ours), (int64_t)s * S);
	}
}

/* A time zone that counts leap seconds changes gmtime_r(), and must not change ours. */
Test(when, leap_seconds_of_a_time_zone_do_not_count)
{
	static const char zone[] = "TZif\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
				   "\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\4" /* counts */
				   "\0\0\0\0\0\0UTC\0"
				   "\x04\xb2\x58\x00\0\0\0\1"; /* one second, in 1972 */
	char path[] = "/tmp/test_when.XXXXXX", tz[64], ours[WHEN_TEXT_LEN];
	time_t s = NOW / S;
	int fd = mkstemp(path);
	struct tm tm;

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, zone, sizeof(zone) - 1), sizeof(zone) - 1);
	close(fd);
	snprintf(tz, sizeof(tz), ":%s", path);
	cr_assert_eq(setenv("TZ", tz, 1), 0);
	tzset();
	unlink(path);
	cr_assert_neq(gmtime_r(&s, &tm)->tm_sec, 5, "the zone is not as this test needs it");
	when_format_seconds(NOW, ours);
	cr_assert_str_eq(ours, "2026-11-24T10:00:05Z");
	cr_assert_eq(time_of(ours), NOW);
}
