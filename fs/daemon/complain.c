/*
 * Rate-limited warnings: a small table of the subjects warned about lately, and one token bucket
 * for all of them.
 */

#include "complain.h"

#include "clock.h"
#include "hash.h"
#include "msg.h"
#include "units.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SUBJECTS 64u

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct {
	uint64_t subject;
	uint64_t at_ns;
} named[SUBJECTS];				       /* Guarded by mu, like all below. */
static uint64_t tokens_ns = COMPLAIN_BURST * NS_PER_S; /* one warning costs NS_PER_S */
static uint64_t filled_ns;

uint64_t complain_subject(uint64_t a, const char *text)
{
	static const uint8_t key[16] = "embassyfs logs.";
	uint64_t parts[2] = {a, text ? siphash(key, text, strlen(text)) : 0};

	return siphash(key, parts, sizeof(parts));
}

static bool admit(uint64_t subject)
{
	uint64_t now = clock_mono_ns();
	unsigned i = (unsigned)(subject % SUBJECTS);
	bool fresh;

	pthread_mutex_lock(&mu);
	if (filled_ns != 0) {
		tokens_ns += now - filled_ns;
		if (tokens_ns > COMPLAIN_BURST * NS_PER_S)
			tokens_ns = COMPLAIN_BURST * NS_PER_S;
	}
	filled_ns = now;
	fresh = named[i].at_ns == 0 || named[i].subject != subject ||
		now - named[i].at_ns >= COMPLAIN_AGAIN_S * NS_PER_S;
	if (fresh && tokens_ns < NS_PER_S)
		fresh = false;
	if (fresh) {
		tokens_ns -= NS_PER_S;
		named[i].subject = subject;
		named[i].at_ns = now;
	}
	pthread_mutex_unlock(&mu);
	return fresh;
}

void complain(uint64_t subject, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (!admit(subject))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	msg_warn("%s", text);
}
