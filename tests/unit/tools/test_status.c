/* `embassy status HOST:PORT`, of a server that answers as it is told here. */

#include "cmd.h"

#include "err.h"
#include "remote.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define VOLUMES 4

static int answers[VOLUMES]; /* to what is asked of each volume: 0, or an error */
static unsigned asked;

int __wrap_remote_list_volumes(const struct remote_config *cfg,
			       int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]), void *ctx);
int __wrap_remote_volume_status(const struct remote_config *cfg, struct remote_status *out);

/* What is allocated from now on is no zeros by chance. */
static void dirty_memory(void)
{
	void *volatile p[64];

	for (unsigned i = 0; i < 64; i++) {
		p[i] = malloc(1000);
		memset(p[i], 0xff, 1000);
	}
	for (unsigned i = 0; i < 64; i++)
		free(p[i]);
}

int __wrap_remote_list_volumes(const struct remote_config *cfg,
			       int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]), void *ctx)
{
	uint8_t id[VOLUME_ID_LEN] = {0};
	int rc = 0;

	(void)cfg;
	dirty_memory();
	for (uint8_t i = 0; rc == 0 && i < VOLUMES; i++) {
		id[0] = i;
		rc = fn(ctx, id);
	}
	return rc;
}

int __wrap_remote_volume_status(const struct remote_config *cfg, struct remote_status *out)
{
	int rc = answers[cfg->volume[0]];

	asked++;
	*out = (struct remote_status){.end = 100u + cfg->volume[0]};
	return rc < 0 ? err_say(rc, "so it was told") : 0;
}

/* What it prints is in ${out}.  Its exit code. */
static int status(const char *option, char *out, size_t cap)
{
	const char *argv[] = {"status", "host:1", option, NULL};
	int fd = memfd_create("stdout", MFD_CLOEXEC), was = dup(1), code;
	ssize_t n;

	cr_assert(fd >= 0 && was >= 0 && fflush(stdout) == 0 && dup2(fd, 1) == 1);
	optind = 1;
	code = cmd_status.run(&cmd_status, 3, (char **)argv);
	cr_assert(fflush(stdout) == 0 && dup2(was, 1) == 1);
	n = pread(fd, out, cap - 1, 0);
	cr_assert_geq(n, 0);
	out[n] = '\0';
	close(fd);
	close(was);
	return code;
}

static unsigned times(const char *text, const char *what)
{
	unsigned n = 0;

	while ((text = strstr(text, what)) != NULL) {
		n++;
		text += strlen(what);
	}
	return n;
}

/* A volume that is damaged there is told at the end, and hides no other. */
Test(status, of_a_server_with_a_damaged_volume)
{
	char out[8192];

	answers[1] = -ERR_TAMPERED;
	cr_expect_eq(status("--openmetrics", out, sizeof(out)), err_exit(-ERR_TAMPERED));
	cr_expect_eq(asked, VOLUMES);
	cr_expect_eq(times(out, "# TYPE embassyfs_log_end gauge\n"), 1);
	cr_expect_eq(times(out, "\nembassyfs_log_end{volume="), VOLUMES - 1, "%s", out);
	cr_expect_str_eq(out + strlen(out) - 6, "# EOF\n");
}

/* Of one that goes away meanwhile nothing is printed: what is missing would look like gone. */
Test(status, of_a_server_that_goes_away)
{
	char out[8192];

	answers[2] = -ERR_UNREACHABLE;
	cr_expect_eq(status("--openmetrics", out, sizeof(out)), err_exit(-ERR_UNREACHABLE));
	cr_expect_eq(asked, 3);
	cr_expect_str_eq(out, "");
}
