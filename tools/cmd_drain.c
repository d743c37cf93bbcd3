/*
 * embassy drain: wait until every embassy holds, durably, all that was written before the call.
 *
 * syncfs() writes the kernel's dirty pages to the mount.  fsync() of MOUNT/.embassy then makes a
 * signed head that states them.  That head is compared with what each embassy has acknowledged.
 */

#include "cmd.h"

#include "clock.h"
#include "err.h"
#include "file.h"
#include "jsontext.h"
#include "msg.h"
#include "target.h"
#include "units.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_MS_MIN 20u
#define POLL_MS_MAX 250u

enum { OPT_TIMEOUT = 1, OPT_ACCEPT_LOSS };

struct drain {
	const char *mount;
	uint64_t begin_ns, deadline_ns; /* UINT64_MAX: none */
	double elapsed_seconds;		/* from begin_ns to the last request for the status */
	head_no head;			/* the head number that all must reach */
	log_pos end;			/* position after that head's block */
};

static int sync_mount(const char *mount)
{
	char *path;
	int fd, rc;

	if (asprintf(&path, "%s/.embassy", mount) < 0)
		return -ENOMEM;
	fd = file_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	free(path);
	if (fd == -EACCES)
		return target_not_yours(mount);
	if (fd < 0)
		return err_say(fd, "%s: %s", mount, strerror(-fd));
	rc = syncfs(fd) < 0 ? -errno : 0;
	if (rc == 0)
		rc = file_sync(fd);
	file_close(fd);
	if (rc == -EACCES || rc == -EPERM)
		return target_not_yours(mount);
	return rc < 0 ? err_say(rc, "%s: it can't make durable what was written: %s", mount,
				strerror(-rc))
		      : 0;
}

static int read_status(struct drain *d, json_t **out)
{
	d->elapsed_seconds = (double)(clock_mono_ns() - d->begin_ns) / 1e9;
	return target_read_status(d->mount, out);
}

/* Set the goal: the newest head, which the sync has made. */
static int set_goal(struct drain *d)
{
	const json_t *head;
	json_t *s;
	int rc;

	rc = read_status(d, &s);
	if (rc < 0)
		return rc;
	head = json_object_get(s, "head");
	d->head = jsontext_get_u64(head, "number");
	d->end = jsontext_get_u64(head, "end");
	if (d->end == 0)
		d->end = jsontext_get_u64(head, "position") + 1;
	if (strcmp(jsontext_get(s, "mode"), "live") != 0)
		rc = err_say(-EROFS,
			     "%s: a view of the past has nothing to send; give the live mount",
			     d->mount);
	else if (!head)
		rc = err_say(-ERR_FORMAT, "%s: its status names no head", d->mount);
	json_decref(s);
	return rc;
}

/*
 * An acknowledged position is always the end of a head's block.  An earlier acknowledgement counts
 * only if the embassy is connected and has said, since this command began, that it still holds
 * that.
 */
static bool has_arrived(const struct drain *d, const json_t *embassy)
{
	double heard = json_number_value(json_object_get(embassy, "heard_seconds"));
	const char *state = jsontext_get(embassy, "state");

	if (strcmp(state, "streaming") != 0 && strcmp(state, "idle") != 0)
		return false;
	return heard >= 0 && heard <= d->elapsed_seconds &&
	       jsontext_get_u64(embassy, "acknowledged") >= d->end;
}

struct tally {
	unsigned n, missing;
	bool refused;
	uint64_t lag;
	double speed;
};

static void count(const struct drain *d, const json_t *embassies, struct tally *out)
{
	const json_t *e;
	size_t i;

	memset(out, 0, sizeof(*out));
	json_array_foreach(embassies, i, e) {
		uint64_t lag = jsontext_get_u64(e, "lag_bytes");

		out->n++;
		if (has_arrived(d, e))
			continue;
		out->missing++;
		out->refused |= strcmp(jsontext_get(e, "state"), "refused") == 0;
		if (lag > out->lag)
			out->lag = lag;
		out->speed += json_number_value(json_object_get(e, "bytes_per_second"));
	}
}

static void tell_missing(const struct drain *d, const json_t *embassies)
{
	char bytes[WORDS_LEN];
	const json_t *e;
	size_t i;

	cmd_progress_end();
	json_array_foreach(embassies, i, e) {
		const char *reason = jsontext_get(e, "reason");

		if (!has_arrived(d, e))
			msg_error("%s: %s%s%s; %s behind", jsontext_get(e, "address"),
				  jsontext_get(e, "state"), reason[0] ? ": " : "", reason,
				  words_bytes((double)jsontext_get_u64(e, "lag_bytes"), bytes));
	}
}

/* Print what a person should look at although everything has arrived. */
static void tell_warnings(const json_t *embassies)
{
	const json_t *e;
	size_t i;

	cmd_progress_end();
	json_array_foreach(embassies, i, e) {
		const char *warning = jsontext_get(e, "warning");

		if (warning[0])
			msg_warn("%s: %s", jsontext_get(e, "address"), warning);
	}
}

static void show_progress(const struct tally *t)
{
	char lag[WORDS_LEN], speed[WORDS_LEN], eta[WORDS_LEN] = "?";

	if (t->speed >= 1)
		words_seconds((double)t->lag / t->speed, eta);
	cmd_progress("draining: %s to go, %s a second, done in %s; %u of %u embassies have all",
		     words_bytes((double)t->lag, lag), words_bytes(t->speed, speed), eta,
		     t->n - t->missing, t->n);
}

/*
 * Judge a status that lists ${embassies}: 1 to wait longer, 0 if everything has arrived, or an
 * error.
 */
static int judge(const struct drain *d, const json_t *embassies)
{
	struct tally t;

	count(d, embassies, &t);
	if (t.n == 0)
		return err_say(-EINVAL, "%s: it has no embassy; mount it with -o embassy=HOST:PORT",
			       d->mount);
	if (t.missing == 0) {
		tell_warnings(embassies);
		return 0;
	}
	if (t.refused) {
		tell_missing(d, embassies);
		return err_say(-ERR_REFUSED,
			       "%s: an embassy refuses this volume; see 'embassy status %s'",
			       d->mount, d->mount);
	}
	if (cmd_interrupted)
		return -EINTR;
	if (clock_mono_ns() >= d->deadline_ns) {
		tell_missing(d, embassies);
		return err_say(-ERR_UNREACHABLE,
			       "%s: not all embassies have everything; what is missing stays at "
			       "home and is sent later",
			       d->mount);
	}
	show_progress(&t);
	return 1;
}

static int wait_all(struct drain *d)
{
	unsigned delay_ms = POLL_MS_MIN;
	json_t *s;
	int rc;

	for (;;) {
		rc = read_status(d, &s);
		if (rc < 0)
			return rc;
		rc = judge(d, json_object_get(s, "embassies"));
		json_decref(s);
		if (rc <= 0)
			return rc;
		cmd_sleep(delay_ms);
		delay_ms = delay_ms * 3 / 2 < POLL_MS_MAX ? delay_ms * 3 / 2 : POLL_MS_MAX;
	}
}

static int drain(struct drain *d)
{
	int rc = target_find_mount(d->mount);

	if (rc == 0)
		rc = sync_mount(d->mount);
	if (rc == 0)
		rc = set_goal(d);
	if (rc == 0)
		rc = wait_all(d);
	cmd_progress_end();
	return rc;
}

static int accept_loss(const char *mount, const char *address)
{
	int rc = target_find_mount(mount);

	if (rc < 0)
		return rc;
	rc = target_order(mount, "accept-loss", address);
	switch (rc) {
	case 0:
		printf("%s: its loss is accepted\n", address);
		return 0;
	case -ENOENT:
		return err_say(rc, "%s: has no embassy %s; see 'embassy status %s'", mount, address,
			       mount);
	case -EROFS:
		return err_say(rc, "%s: it is a view of the past; give the live mount", mount);
	case -EPERM:
	case -EACCES:
		return target_not_yours(mount);
	default:
		return err_say(rc, "%s: %s", mount, strerror(-rc));
	}
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		{"timeout", required_argument, NULL, OPT_TIMEOUT},
		{"accept-loss", required_argument, NULL, OPT_ACCEPT_LOSS},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct drain d = {.begin_ns = clock_mono_ns(), .deadline_ns = UINT64_MAX};
	const char *lossy = NULL;
	uint64_t seconds;
	int opt, code, rc;

	while ((opt = cmd_getopt(cmd, argc, argv, options, &code)) != -1) {
		if (opt == '?')
			return code;
		if (opt == OPT_ACCEPT_LOSS) {
			lossy = optarg;
			continue;
		}
		if (!cmd_number(optarg, 1000000000, &seconds))
			return cmd_usage(cmd, "--timeout: '%s' is no number of seconds", optarg);
		d.deadline_ns = clock_mono_ns() + seconds * NS_PER_S;
	}
	if (argc - optind != 1)
		return cmd_usage(cmd, "give one mount point");
	d.mount = argv[optind];
	if (lossy) {
		rc = accept_loss(d.mount, lossy);
		return rc < 0 ? cmd_fail(rc, d.mount) : 0;
	}
	cmd_catch_signals();
	rc = drain(&d);
	if (rc == -EINTR && cmd_interrupted)
		return EXIT_INTERRUPTED;
	if (rc < 0)
		return cmd_fail(rc, d.mount);
	printf("every embassy has all up to head %" PRIu64 "\n", d.head);
	return 0;
}

const struct command cmd_drain = {
	.name = "drain",
	.summary = "wait until every embassy has all that was written",
	.help = "usage: embassy drain MOUNT [--timeout SECONDS]\n"
		"       embassy drain MOUNT --accept-loss ADDRESS\n\n"
		"Returns 0 once every embassy has acknowledged, durably, all that was written\n"
		"before the call.  Writing may go on meanwhile.\n\n"
		"  --timeout SECONDS      give up after so long, with exit code 30\n"
		"  --accept-loss ADDRESS  drain nothing: why that embassy held less than it had\n"
		"                         acknowledged is known; the status warns of it no more\n"
		"  --help\n\n"
		"example: embassy drain /mnt/registers --timeout 600\n",
	.run = run,
};
