/*
 * Messages of a running program.
 *
 * A line is put together first and handed over whole, so that lines of different threads
 * do not mix.  Control characters become '?', so that one message is one line whatever
 * bytes were put into it.
 */

#include "msg.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <syslog.h>

#define MSG_LEN 2048u

static const char *program_name = "embassyfs";
static atomic_bool to_syslog;

void msg_init(const char *program)
{
	program_name = program;
}

void msg_use_syslog(void)
{
	openlog(program_name, LOG_PID, LOG_DAEMON);
	atomic_store(&to_syslog, true);
}

static void PRINTF_LIKE(2, 0) put(int priority, const char *fmt, va_list ap)
{
	char text[MSG_LEN];

	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		return;
	for (char *c = text; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';

	if (atomic_load(&to_syslog))
		syslog(priority, "%s", text);
	else
		fprintf(stderr, "%s: %s\n", program_name, text);
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
