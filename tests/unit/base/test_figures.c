/*
 * Figures: what is set is read back through each writer; hostile texts stay inside their quotes, and
 * another process's JSON does no harm.
 */

#include "figures.h"

#include "buf.h"
#include "jsontext.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

/* What ${writer} makes of ${f}; owned by ${b}. */
static const char *text_of(int (*writer)(const struct figures *, struct buf *),
			   const struct figures *f, struct buf *b)
{
	buf_reset(b);
	cr_assert_eq(writer(f, b), 0);
	cr_assert_eq(buf_add_u8(b, 0), 0);
	return (const char *)b->p;
}

static int openmetrics(const struct figures *f, struct buf *out)
{
	return figures_openmetrics(f, 1, out);
}

/* Each figure has a text for monitoring, and a name of its own in JSON. */
Test(figures, the_list)
{
	for (unsigned i = 0; i < FIGURE_N; i++) {
		const struct figure_about *a = &figure_about[i];
		const char *value = a->words ? strchr(a->words, '%') : NULL;

		cr_expect(strlen(a->help) > 10 && !strpbrk(a->help, "\"\\\n"), "%s", a->key);
		cr_expect(a->help[strlen(a->help) - 1] != '.', "%s", a->key);
		cr_expect(strlen(a->key) < 32 &&
			  strspn(a->key, "abcdefghijklmnopqrstuvwxyz_.") == strlen(a->key));
		cr_expect(!value || !strchr(value + 1, '%'), "%s has its value once", a->key);
		for (unsigned k = 0; k < i; k++)
			cr_expect(figure_about[k].of != a->of ||
					  strcmp(figure_about[k].key, a->key) != 0,
				  "%s is there twice", a->key);
	}
}

static void set_head(struct figures *f, uint64_t number)
{
	figures_set(f, FIGURE_EPOCH, 2);
	figures_set(f, FIGURE_HEAD_NUMBER, number);
	figures_set(f, FIGURE_HEAD_POSITION, 100);
	figures_set(f, FIGURE_HEAD_END, 123);
	figures_set_time(f, FIGURE_HEAD_TIME, 1500000000);
}

static void make_view(struct figures *f)
{
	figures_set_text(f, FIGURE_VOLUME, "ab01");
	figures_set(f, FIGURE_MODE, FIGURE_MODE_VIEW);
	set_head(f, 7);
	figures_set(f, FIGURE_LOG_END, 123);
	figures_set(f, FIGURE_SUPERVISED, false);
	figures_set_time(f, FIGURE_TAKEOVER_TIME, 0);
	figures_set_text(f, FIGURE_UPGRADE_FAILURE, "");
}

static void make_live(struct figures *f)
{
	figures_set_text(f, FIGURE_VOLUME, "ab01");
	figures_set(f, FIGURE_MODE, FIGURE_MODE_LIVE);
	set_head(f, 9);
	figures_set(f, FIGURE_LOG_END, 300);
	figures_set(f, FIGURE_DURABLE_END, 200);
	figures_set(f, FIGURE_LOG_BYTES, 2048);
	figures_set(f, FIGURE_UNDURABLE_BYTES, 100);
	figures_set(f, FIGURE_MEMORY_CHANGES, 11);
	figures_set(f, FIGURE_WRITABLE, true);
	figures_set_text(f, FIGURE_REASON, "");
	figures_set_text(f, FIGURE_VERSION, "1.2");
	figures_set(f, FIGURE_TAKEOVERS, 3);
	figures_set_time(f, FIGURE_TAKEOVER_TIME, 2);
	figures_embassy(f, "host:1");
	figures_set(f, FIGURE_STATE, FIGURE_STATE_REFUSED);
	figures_set_text(f, FIGURE_EMBASSY_REASON, "says \"no\"\n\\ \xff\xc2\x9b");
	figures_set(f, FIGURE_LAG_BYTES, 6000);
	figures_set_seconds(f, FIGURE_LAG_SECONDS, 0.25);
	figures_set_seconds(f, FIGURE_ETA_SECONDS, NAN);
	figures_set_time(f, FIGURE_ACKNOWLEDGED_TIME, 0);
	figures_embassy(f, "host:2");
	figures_set(f, FIGURE_STATE, FIGURE_STATE_STREAMING);
	figures_set_text(f, FIGURE_EMBASSY_REASON, "");
	figures_set_text(f, FIGURE_WARNING, "look");
	figures_set(f, FIGURE_LAG_BYTES, 5 << 20);
	figures_set_seconds(f, FIGURE_LAG_SECONDS, 1.5);
	figures_set(f, FIGURE_SENT_RATE, 1 << 20);
	figures_set_seconds(f, FIGURE_ETA_SECONDS, 5);
	figures_set_time(f, FIGURE_ACKNOWLEDGED_TIME, 1);
	figures_set_seconds(f, FIGURE_HEARD_SECONDS, 1.5000004);
}

Test(figures, json_of_a_view)
{
	struct figures f = {0};
	struct buf b = {0};

	make_view(&f);
	cr_expect_str_eq(text_of(figures_json, &f, &b),
			 "{\"volume\": \"ab01\", \"mode\": \"view\", \"epoch\": 2, "
			 "\"head\": {\"number\": 7, \"position\": 100, \"end\": 123, "
			 "\"time\": \"1970-01-01T00:00:01.500000000Z\", \"time_seconds\": 1.5}, "
			 "\"log_end\": 123, \"supervised\": false, \"takeover_time\": \"\", "
			 "\"upgrade_failure\": \"\", \"embassies\": []}\n");
	figures_release(&f);
	buf_release(&b);
}

Test(figures, json_of_a_live_volume)
{
	static const char *const parts[] = {
		"\"mode\": \"live\"",
		"\"log_end\": 300, \"durable_end\": 200, \"log_bytes\": 2048",
		"\"memory\": {\"changes\": 11}",
		"\"writable\": true, \"reason\": \"\"",
		"\"takeovers\": 3, \"takeover_time\": \"1970-01-01T00:00:00.000000002Z\"",
		("\"state\": \"refused\", \"reason\": \"says \\\"no\\\"\\n\\\\ "
		 "\xef\xbf\xbd\\u009B\""),
		"\"lag_seconds\": 0.25, \"eta_seconds\": -1.0, \"acknowledged_time\": \"\"}",
		"{\"address\": \"host:2\", \"state\": \"streaming\"",
		"\"acknowledged_time\": \"1970-01-01T00:00:00.000000001Z\"",
		"\"heard_seconds\": 1.5, \"warning\": \"look\"}]}\n",
	};
	struct figures f = {0};
	struct buf b = {0};
	const char *text;

	make_live(&f);
	text = text_of(figures_json, &f, &b);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		cr_expect(strstr(text, parts[i]), "%s is not in %s", parts[i], text);
	figures_release(&f);
	buf_release(&b);
}

static void read_text(const char *text, struct figures *out)
{
	json_t *j = json_loads(text, 0, NULL);

	cr_assert_not_null(j, "%s", text);
	cr_assert_eq(figures_from_json(j, out), 0);
	json_decref(j);
}

/* What one process writes means the same to another, in each form. */
Test(figures, json_is_read_back)
{
	int (*const writers[])(const struct figures *, struct buf *) = {figures_json, figures_words,
									openmetrics};
	struct figures f = {0}, back = {0};
	struct buf b = {0}, again = {0};
	struct figure_spread s = {.sum_seconds = 0.75};

	make_live(&f);
	for (unsigned i = 0; i < FIGURE_BUCKETS; i++)
		s.le[i] = i / 2;
	figures_set_spread(&f, FIGURE_SYNC_SECONDS, &s);
	read_text(text_of(figures_json, &f, &b), &back);
	cr_assert_eq(back.n, 2);
	cr_expect_eq(figure_n(&back.volume, FIGURE_HEAD_NUMBER), 9);
	cr_expect_eq(figure_time_ns(&back.volume, FIGURE_HEAD_TIME), 1500000000);
	cr_expect_eq(figure_n(&back.embassy[0], FIGURE_STATE), FIGURE_STATE_REFUSED);
	cr_expect(isnan(figure_seconds(&back.embassy[0], FIGURE_ETA_SECONDS)));
	cr_expect_str_eq(figure_text(&back.embassy[1], FIGURE_ADDRESS), "host:2");
	cr_expect_not(figure_is_set(&back.volume, FIGURE_DISK_FREE));
	/* But for the byte that is no text. */
	figures_release(&f);
	read_text(text_of(figures_json, &back, &b), &f);
	for (unsigned i = 0; i < 3; i++)
		cr_expect_str_eq(text_of(writers[i], &f, &b), text_of(writers[i], &back, &again));
	figures_release(&f);
	figures_release(&back);
	buf_release(&b);
	buf_release(&again);
}

Test(figures, what_is_no_figure_is_left_out)
{
	static const char *const table[] = {
		"{}",
		"[1]",
		"{\"volume\": 7, \"head\": [], \"embassies\": {\"a\": 1}, \"log_end\": -1, "
		"\"log_bytes\": \"x\"}",
		"{\"head\": {\"number\": 1.5, \"time\": \"latest\"}, \"mode\": \"dead\", "
		"\"writable\": 1}",
		"{\"head\": {\"time\": \"no time\"}, \"takeover_time\": 5, \"epoch\": true, "
		"\"memory\": 1}",
		"{\"sync_seconds\": 3, \"lag_bytes\": 4, \"embassies\": 5}",
		"{\"sync_seconds\": {\"sum_seconds\": 1, \"le\": {\"0.001\": 5, \"+Inf\": 1}}}",
		"{\"sync_seconds\": {\"sum_seconds\": -1, \"le\": {\"+Inf\": 1}}}",
		"{\"sync_seconds\": {\"sum_seconds\": 1}}",
	};
	struct buf b = {0};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct figures f = {0};

		read_text(table[i], &f);
		cr_expect_eq(f.volume.has, 0, "%s", table[i]);
		cr_expect_eq(f.n, 0);
		cr_expect_str_eq(text_of(figures_words, &f, &b),
				 "volume     (, epoch 0)\nhead      none yet\n");
		cr_expect_str_eq(text_of(openmetrics, &f, &b), "# EOF\n");
		figures_release(&f);
	}
	buf_release(&b);
}

Test(figures, words_of_a_live_volume)
{
	struct figures f = {0};
	struct buf b = {0};

	make_live(&f);
	cr_expect_str_eq(text_of(figures_words, &f, &b),
			 "volume    ab01 (live, epoch 2)\n"
			 "head      9 of 1970-01-01T00:00:01.500000000Z\n"
			 "log       2.0 KiB, 100 B not durable yet\n"
			 "takeovers 3, the newest at 1970-01-01T00:00:00.000000002Z\n"
			 "embassy   host:1: refused: says \"no\"\\x0a\\ \\xff\\xc2\\x9b\n"
			 "          5.9 KiB behind, 0.2 s\n"
			 "embassy   host:2: streaming\n"
			 "          5.0 MiB behind, 1.5 s; 1.0 MiB a second; done in 5.0 s; "
			 "acknowledged the state of 1970-01-01T00:00:00.000000001Z\n"
			 "          warning: look\n");
	figures_set(&f, FIGURE_WRITABLE, false);
	figures_set_text(&f, FIGURE_REASON, "disk failed");
	cr_expect(strstr(text_of(figures_words, &f, &b), "\nstopped   disk failed\n"));
	figures_set(&f, FIGURE_WRITABLE, true);
	cr_expect(strstr(text_of(figures_words, &f, &b), "\nwarning   disk failed\n"));
	/* What depends on the state of an embassy; the newest is meant. */
	figures_set(&f, FIGURE_LAG_BYTES, 0);
	cr_expect(strstr(text_of(figures_words, &f, &b),
			 "          has everything; 1.0 MiB a second; ack"));
	figures_set(&f, FIGURE_STATE, FIGURE_STATE_CONNECTING);
	cr_expect(strstr(text_of(figures_words, &f, &b),
			 "          had everything when it last answered; "));
	figures_release(&f);
	buf_release(&b);
}

Test(figures, words_of_what_is_recorded)
{
	struct figures f = {0};
	struct buf b = {0};

	make_view(&f);
	figures_set(&f, FIGURE_COPY, false);
	figures_set(&f, FIGURE_EMBASSIES_KNOWN, true);
	figures_embassy(&f, "host:1");
	figures_set(&f, FIGURE_STATE, FIGURE_STATE_RECORDED);
	figures_set(&f, FIGURE_LAG_BYTES, 2048);
	figures_set(&f, FIGURE_LAG_HEADS, 1);
	figures_set_seconds(&f, FIGURE_LAG_SECONDS, 300);
	figures_set_time(&f, FIGURE_ACKNOWLEDGED_TIME, 1);
	figures_embassy(&f, "host:2");
	figures_set(&f, FIGURE_STATE, FIGURE_STATE_RECORDED);
	figures_set(&f, FIGURE_LAG_BYTES, 0);
	figures_set_seconds(&f, FIGURE_LAG_SECONDS, 0);
	cr_expect_str_eq(text_of(figures_words, &f, &b),
			 "volume    ab01 (view, epoch 2)\n"
			 "head      7 of 1970-01-01T00:00:01.500000000Z\n"
			 "log       up to position 123\n"
			 "embassy   host:1: had not acknowledged 2.0 KiB (1 head); the oldest it "
			 "lacks is 5 min old\n"
			 "          acknowledged the state of 1970-01-01T00:00:00.000000001Z\n"
			 "embassy   host:2: had acknowledged everything\n"
			 "          acknowledged nothing yet\n");
	figures_release(&f);
	make_view(&f);
	figures_set(&f, FIGURE_COPY, true);
	figures_set(&f, FIGURE_EMBASSIES_KNOWN, false);
	cr_expect(strstr(text_of(figures_words, &f, &b),
			 "\ncopy      an embassy's; it has no embassies itself\n"));
	cr_expect_null(strstr(text_of(figures_words, &f, &b), "not known"));
	figures_set(&f, FIGURE_COPY, false);
	cr_expect(strstr(text_of(figures_words, &f, &b), "\nembassies not known: the catalog"));
	figures_release(&f);
	buf_release(&b);
}

Test(figures, openmetrics_of_two_volumes)
{
	struct figures f[2] = {0};
	struct buf b = {0};

	figures_set_text(&f[0], FIGURE_VOLUME, "ab01");
	figures_set_time(&f[0], FIGURE_HEAD_TIME, INT64_C(1764500000123456789));
	figures_set_text(&f[0], FIGURE_REASON, "no disk");
	figures_set_text(&f[0], FIGURE_VERSION, "1.2");
	figures_set(&f[0], FIGURE_TAKEOVERS, 3);
	figures_embassy(&f[0], "a\"\\\n\xc2\x9b\xff:1");
	figures_set(&f[0], FIGURE_STATE, FIGURE_STATE_IDLE);
	figures_set_seconds(&f[0], FIGURE_LAG_SECONDS, INFINITY);
	figures_set(&f[0], FIGURE_SENT_RATE, 5);
	figures_set_text(&f[1], FIGURE_VOLUME, "ab02");
	figures_set(&f[1], FIGURE_LOG_BYTES, 7);
	figures_set_time(&f[1], FIGURE_HEAD_TIME, 0);
	figures_set_text(&f[1], FIGURE_REASON, "");
	cr_assert_eq(figures_openmetrics(f, 2, &b), 0);
	cr_assert_eq(buf_add_u8(&b, 0), 0);
#define EMBASSY "{volume=\"ab01\",embassy=\"a\\\"\\\\\\\\x0a\\\\xc2\\\\x9b\\\\xff:1\""
	cr_expect_str_eq(
		(const char *)b.p,
		"# TYPE embassyfs_head_time_seconds gauge\n"
		"# UNIT embassyfs_head_time_seconds seconds\n"
		"# HELP embassyfs_head_time_seconds when the newest head was made\n"
		"embassyfs_head_time_seconds{volume=\"ab01\"} 1764500000.123457\n"
		"# TYPE embassyfs_log_bytes gauge\n"
		"# UNIT embassyfs_log_bytes bytes\n"
		"# HELP embassyfs_log_bytes length of the log's files, as far as it is durable\n"
		"embassyfs_log_bytes{volume=\"ab02\"} 7\n"
		"# TYPE embassyfs_reason gauge\n"
		"# HELP embassyfs_reason what is wrong with the volume here\n"
		"embassyfs_reason{volume=\"ab01\"} 1\n"
		"embassyfs_reason{volume=\"ab02\"} 0\n"
		"# TYPE embassyfs_version info\n"
		"# HELP embassyfs_version version of the program that serves the mount\n"
		"embassyfs_version_info{volume=\"ab01\",version=\"1.2\"} 1\n"
		"# TYPE embassyfs_takeovers counter\n"
		"# HELP embassyfs_takeovers times that another process took over from one that "
		"died\n"
		"embassyfs_takeovers_total{volume=\"ab01\"} 3\n"
		"# TYPE embassyfs_embassy_state stateset\n"
		"# HELP embassyfs_embassy_state how it stands with the embassy\n"
		"embassyfs_embassy_state" EMBASSY ",embassyfs_embassy_state=\"connecting\"} 0\n"
		"embassyfs_embassy_state" EMBASSY ",embassyfs_embassy_state=\"streaming\"} 0\n"
		"embassyfs_embassy_state" EMBASSY ",embassyfs_embassy_state=\"idle\"} 1\n"
		"embassyfs_embassy_state" EMBASSY ",embassyfs_embassy_state=\"refused\"} 0\n"
		"embassyfs_embassy_state" EMBASSY ",embassyfs_embassy_state=\"recorded\"} 0\n"
		"# TYPE embassyfs_embassy_bytes_per_second gauge\n"
		"# UNIT embassyfs_embassy_bytes_per_second bytes_per_second\n"
		"# HELP embassyfs_embassy_bytes_per_second bytes sent a second, of the last few "
		"seconds\n"
		"embassyfs_embassy_bytes_per_second" EMBASSY "} 5\n"
		"# EOF\n");
	figures_release(&f[0]);
	figures_release(&f[1]);
	buf_release(&b);
}

#define THREADS 4
#define TIMES 10000

static struct figure_counter counter;
static struct figure_histogram histogram;

static void *count_some(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < TIMES; i++) {
		figure_count(&counter, 2);
		figure_took(&histogram, 1000);
	}
	return NULL;
}

Test(figures, counted_by_many_at_a_time)
{
	static const uint64_t more[] = {100000, 100001, 10000000000, 10000000001, UINT64_MAX / 2};
	pthread_t threads[THREADS];
	struct figures f = {0};
	const struct figure_spread *s;
	struct buf b = {0};

	for (unsigned i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, count_some, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		figure_took(&histogram, more[i]);
	figures_set_text(&f, FIGURE_VOLUME, "v");
	figures_set_counter(&f, FIGURE_WRITTEN_BYTES, &counter);
	figures_set_histogram(&f, FIGURE_SYNC_SECONDS, &histogram);
	cr_expect_eq(figure_n(&f.volume, FIGURE_WRITTEN_BYTES), 2 * TIMES * THREADS);
	s = f.volume.value[FIGURE_SYNC_SECONDS].spread;
	cr_expect_eq(s->le[0], TIMES * THREADS + 1);
	cr_expect_eq(s->le[1], TIMES * THREADS + 2);
	cr_expect_eq(s->le[FIGURE_BUCKETS - 2], TIMES * THREADS + 3);
	cr_expect_eq(s->le[FIGURE_BUCKETS - 1], TIMES * THREADS + 5);
	text_of(openmetrics, &f, &b);
	cr_expect(strstr((const char *)b.p,
			 "_seconds_bucket{volume=\"v\",le=\"10.0\"} 40003\n"
			 "embassyfs_sync_seconds_bucket{volume=\"v\",le=\"+Inf\"} 40005\n"
			 "embassyfs_sync_seconds_count{volume=\"v\"} 40005\n"
			 "embassyfs_sync_seconds_sum{volume=\"v\"} "));
	figures_release(&f);
	buf_release(&b);
}

Test(figures, without_memory_nothing_is_said)
{
	struct figures f = {.no_memory = true},
		       all[2] = {{.no_memory = false}, {.no_memory = true}};
	struct buf b = {0};

	figures_embassy(&f, "host:1");
	figures_set(&f, FIGURE_LAG_BYTES, 1);
	figures_set_text(&f, FIGURE_VOLUME, "v");
	cr_expect_eq(figures_json(&f, &b), -ENOMEM);
	cr_expect_eq(figures_words(&f, &b), -ENOMEM);
	cr_expect_eq(figures_openmetrics(all, 2, &b), -ENOMEM);
	figures_release(&f);
	buf_release(&b);
}
