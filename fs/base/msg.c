/*
 * Messages of a running program.
 *
 * A line is formatted first and written in one call, so that the lines of several threads do not
 * mix.
 *
 * Each event id has a bucket that bounds its lines.  A bucket holds up to MSG_BURST tokens and gets
 * one each second.  A line takes a token; lines that find none are dropped and counted.
 */

#include "msg.h"

#include "clock.h"
#include "locks.h"
#include "units.h"
#include "utf8.h"

#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define MSG_LEN 2048u
#define LINE_LEN (4 * MSG_LEN) /* each byte may become \xHH */

struct bucket {
	const char *id;
	int priority;	  /* of the newest line */
	unsigned tokens;  /* lines that may be written now */
	uint64_t from_ns; /* when tokens was last updated */
	uint64_t left_out;
};

static const char *program_name = "embassyfs";
static atomic_bool to_syslog;
static bool to_journal;

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
/* Guarded by mu. */
static struct bucket buckets[MSG_EVENTS_MAX];
static size_t n_buckets;

static struct bucket *find_bucket_locked(const char *id, uint64_t now_ns) REQUIRES(mu);
static bool take_locked(struct bucket *b, uint64_t now_ns) REQUIRES(mu);

/* $JOURNAL_STREAM names the device and inode of the journal's socket. */
static bool is_journal(int fd)
{
	const char *text = getenv("JOURNAL_STREAM");
	char mine[64];
	struct stat st;

	if (!text || fstat(fd, &st) < 0)
		return false;
	snprintf(mine, sizeof(mine), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(text, mine) == 0;
}

void msg_init(const char *program)
{
	program_name = program;
	to_journal = is_journal(STDERR_FILENO);
}

void msg_use_syslog(void)
{
	openlog(program_name, LOG_PID, LOG_DAEMON);
	atomic_store(&to_syslog, true);
}

static void escape(const char *text, char out[LINE_LEN])
{
	size_t at = 0;

	out[0] = '\0';
	while (*text) {
		assert(at + UTF8_SHOWN_LEN <= LINE_LEN);
		text += utf8_show(text, out + at);
		at += strlen(out + at);
	}
}

/* Write the line "text suffix". */
static void put_text(int priority, const char *text, const char *suffix)
{
	char line[LINE_LEN];

	escape(text, line);
	if (atomic_load(&to_syslog))
		syslog(priority, "%s%s", line, suffix);
	else if (to_journal)
		fprintf(stderr, "<%d>%s: %s%s\n", priority, program_name, line, suffix);
	else
		fprintf(stderr, "%s: %s%s\n", program_name, line, suffix);
}

static void PRINTF_LIKE(2, 0) put(int priority, const char *fmt, va_list ap)
{
	char text[MSG_LEN];

	if (vsnprintf(text, sizeof(text), fmt, ap) >= 0)
		put_text(priority, text, "");
}

void msg_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put(LOG_ERR, fmt, ap);
	va_end(ap);
}

void msg_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put(LOG_WARNING, fmt, ap);
	va_end(ap);
}

void msg_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put(LOG_INFO, fmt, ap);
	va_end(ap);
}

/* Find the bucket of an id, or make a full one. */
static struct bucket *find_bucket_locked(const char *id, uint64_t now_ns)
{
	for (size_t i = 0; i < n_buckets; i++) {
		if (strcmp(buckets[i].id, id) == 0)
			return &buckets[i];
	}
	assert(n_buckets < MSG_EVENTS_MAX);
	buckets[n_buckets] = (struct bucket){.id = id, .tokens = MSG_BURST, .from_ns = now_ns};
	return &buckets[n_buckets++];
}

/* Take a token. */
static bool take_locked(struct bucket *b, uint64_t now_ns)
{
	uint64_t seconds = now_ns > b->from_ns ? (now_ns - b->from_ns) / NS_PER_S : 0;

	if (seconds > 0) {
		b->tokens = seconds >= MSG_BURST - b->tokens ? MSG_BURST
							     : b->tokens + (unsigned)seconds;
		b->from_ns += seconds * NS_PER_S;
	}
	assert(b->tokens <= MSG_BURST);
	if (b->tokens == 0)
		return false;
	b->tokens--;
	return true;
}

/* May a line of ${id} be written, and how many were dropped before it? */
static bool admit(const char *id, int priority, uint64_t *out_left_out)
{
	uint64_t now_ns = clock_mono_ns();
	struct bucket *b;
	bool may;

	pthread_mutex_lock(&mu);
	b = find_bucket_locked(id, now_ns);
	b->priority = priority;
	may = take_locked(b, now_ns);
	*out_left_out = may ? b->left_out : 0;
	b->left_out = may ? 0 : b->left_out + 1;
	pthread_mutex_unlock(&mu);
	return may;
}

void msg_event(enum msg_level level, const char *id, const char *fmt, ...)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO};
	char text[MSG_LEN], suffix[128];
	uint64_t left_out;
	va_list ap;
	int rc;

	if (!admit(id, priorities[level], &left_out))
		return;
	va_start(ap, fmt);
	rc = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (rc < 0)
		return;
	if (left_out > 0)
		snprintf(suffix, sizeof(suffix), " (%ju more before were left out) [%s]",
			 (uintmax_t)left_out, id);
	else
		snprintf(suffix, sizeof(suffix), " [%s]", id);
	put_text(priorities[level], text, suffix);
}

void msg_left_out(void)
{
	uint64_t now_ns = clock_mono_ns();

	pthread_mutex_lock(&mu);
	for (size_t i = 0; i < n_buckets; i++) {
		struct bucket *b = &buckets[i];
		char text[64], suffix[64];

		if (b->left_out == 0 || !take_locked(b, now_ns))
			continue;
		snprintf(text, sizeof(text), "%ju lines were left out", (uintmax_t)b->left_out);
		snprintf(suffix, sizeof(suffix), " [%s]", b->id);
		b->left_out = 0;
		put_text(b->priority, text, suffix);
	}
	pthread_mutex_unlock(&mu);
}
