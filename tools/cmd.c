/*
 * What the commands share.  Messages go to standard error, results to standard output.
 */

#include "cmd.h"

#include "credential.h"
#include "err.h"
#include "keys.h"
#include "msg.h"
#include "params.h"
#include "utf8.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_LEN 512

volatile sig_atomic_t cmd_interrupted;

int cmd_usage(const struct command *cmd, const char *fmt, ...)
{
	char text[LINE_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	msg_error("%s: %s; see 'embassy %s --help'", cmd->name, text, cmd->name);
	return EXIT_USAGE;
}

int cmd_getopt(const struct command *cmd, int argc, char **argv, const struct option *options,
	       int *out_code)
{
	int opt;

	opterr = 0;
	opt = getopt_long(argc, argv, ":h", options, NULL);
	if (opt == 'h') {
		printf("%s", cmd->help);
		*out_code = 0;
		return '?';
	}
	if (opt == ':')
		*out_code = cmd_usage(cmd, "%s: it needs a value", argv[optind - 1]);
	else if (opt == '?' && optopt != 'h' && isgraph(optopt))
		*out_code = cmd_usage(cmd, "-%c: no such option", optopt);
	else if (opt == '?')
		*out_code = cmd_usage(cmd, "%s: %s", argv[optind - 1],
				      optopt == 0 ? "no such option" : "it takes no value");
	return opt == ':' ? '?' : opt;
}

int cmd_fail(int rc, const char *thing)
{
	const char *detail = err_detail(rc);

	cmd_progress_end();
	if (detail == err_text(rc))
		msg_error("%s: %s", thing, detail);
	else
		msg_error("%s", detail);
	if (rc == -EINTR)
		return EXIT_INTERRUPTED;
	return rc == -EACCES ? err_exit(-ERR_FORBIDDEN) : err_exit(rc);
}

int cmd_flush(void)
{
	int rc = fflush(stdout) != 0 ? -errno : ferror(stdout) ? -EIO : 0;

	return rc < 0 ? err_say(rc, "standard output can't be written: %s", strerror(-rc)) : 0;
}

bool cmd_number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' && *out <= max;
}

const char *cmd_shown(const char *text)
{
	static char *kept[16];
	static unsigned next;
	char **out = &kept[next++ % 16];

	free(*out);
	*out = utf8_shown(text);
	return *out ? *out : "?";
}

int cmd_unlock(const struct cmd_credential *c, const struct params *p, struct volume_keys *out)
{
	struct credential credential = {0};
	int rc;

	rc = credential_find(c->passphrase_file, c->key_file, "Passphrase: ", false, &credential);
	if (rc < 0)
		return rc;
	rc = keys_unlock(p, &credential, out);
	credential_release(&credential);
	return rc;
}

static void on_signal(int number)
{
	(void)number;
	cmd_interrupted = 1;
}

void cmd_catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

void cmd_sleep(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	if (!cmd_interrupted)
		nanosleep(&t, NULL);
}

static bool progress_shown;

void cmd_progress(const char *fmt, ...)
{
	va_list ap;

	if (!isatty(STDERR_FILENO))
		return;
	progress_shown = true;
	fputs("\r\033[K", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fflush(stderr);
}

void cmd_progress_end(void)
{
	if (progress_shown)
		fputs("\r\033[K", stderr);
	progress_shown = false;
}
