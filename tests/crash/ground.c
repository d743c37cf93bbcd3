/* See ground.h. */

#include "ground.h"

#include "buf.h"
#include "err.h"
#include "file.h"
#include "hash.h"
#include "secret.h"
#include "volume.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef RECORDER_PATH
#error "RECORDER_PATH: where the recorder lies"
#endif

#define REPORTS_MAX (1u << 20)

static char reports[REPORTS_MAX];
static size_t reports_len;

void ground_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

static uint8_t *fixed_key(size_t len, uint8_t fill)
{
	uint8_t *key = secret_alloc(len);

	if (!key)
		ground_die("no locked memory");
	memset(key, fill, len);
	return key;
}

void ground_init(struct ground *g)
{
	uint8_t seed[32], digest[32], message[GRANT_MESSAGE_LEN];
	struct grant *grant = &g->params.grants[0];
	struct buf text = {0};

	memset(g, 0, sizeof(*g));
	if (secret_init() < 0)
		ground_die("no secrets");
	g->keys.log_key = fixed_key(VOLUME_KEY_LEN, 1);
	g->keys.name_key = fixed_key(NAME_KEY_LEN, 2);
	g->keys.writer_secret = fixed_key(SIGN_SECRET_LEN, 0);
	g->keys.authority_secret = fixed_key(SIGN_SECRET_LEN, 0);
	memset(seed, 3, sizeof(seed));
	crypto_sign_seed_keypair(g->params.authority, g->keys.authority_secret, seed);
	memset(seed, 4, sizeof(seed));
	crypto_sign_seed_keypair(grant->writer, g->keys.writer_secret, seed);
	sha256_parts(g->params.authority, SIGN_PUBLIC_LEN, NULL, 0, NULL, 0, digest);
	memcpy(g->params.id, digest, VOLUME_ID_LEN);
	grant->epoch = 1;
	g->params.n_grants = 1;
	params_grant_message(g->params.id, grant, message);
	crypto_sign_detached(grant->signature, NULL, message, sizeof(message),
			     g->keys.authority_secret);
	g->params.serial = 1;
	g->params.cipher = 1;
	g->params.compress = 1;
	if (params_encode_unsigned(&g->params, &text) < 0)
		ground_die("no memory");
	crypto_sign_detached(g->params.signature, NULL, text.p, text.len, g->keys.authority_secret);
	buf_release(&text);
}

void ground_release(struct ground *g)
{
	keys_release(&g->keys);
	params_release(&g->params);
}

int ground_make(const struct ground *g, const char *dir)
{
	int rc = params_store(&g->params, dir);

	return rc < 0 ? rc : volume_make(dir, &g->params, &g->keys, 0, 0);
}

int ground_open(const struct ground *g, const char *dir, struct volume **out)
{
	struct volume_config cfg = {.dir = dir, .params = &g->params, .keys = &g->keys};

	return volume_open(&cfg, out);
}

static void report(void *ctx, enum check_level level, const char *text)
{
	int n = snprintf(reports + reports_len, sizeof(reports) - reports_len, "%s%s\n",
			 level == CHECK_BAD ? "BAD: " : "", text);

	(void)ctx;
	if (n > 0 && (size_t)n < sizeof(reports) - reports_len)
		reports_len += (size_t)n;
}

int ground_check(const struct ground *g, const char *dir, bool loud, struct check_counts *out)
{
	struct check_config cfg = {
		.dir = dir, .keys = &g->keys, .read_percent = 100, .report = report};
	int rc;

	reports_len = 0;
	reports[0] = '\0';
	rc = volume_check(&cfg, out);
	if (loud && (rc < 0 || out->problems > 0))
		fprintf(stderr, "check: %s\n%s", err_detail(rc), reports);
	return rc;
}

const char *ground_reports(void)
{
	return reports;
}

void ground_recorder(struct recorder *out)
{
	out->start = (recorder_start_fn *)dlsym(RTLD_DEFAULT, "recorder_start");
	out->stop = (recorder_stop_fn *)dlsym(RTLD_DEFAULT, "recorder_stop");
	out->flush = (recorder_flush_fn *)dlsym(RTLD_DEFAULT, "recorder_flush");
	out->kill = (recorder_kill_fn *)dlsym(RTLD_DEFAULT, "recorder_kill");
	out->mark = (recorder_mark_fn *)dlsym(RTLD_DEFAULT, "recorder_mark");
	out->fail = (recorder_fail_fn *)dlsym(RTLD_DEFAULT, "recorder_fail");
	out->calls = (recorder_calls_fn *)dlsym(RTLD_DEFAULT, "recorder_calls");
	out->failed = (recorder_failed_fn *)dlsym(RTLD_DEFAULT, "recorder_failed");
}

/* The exit code of our child, or 128 and a signal. */
static int await(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		ground_die("fork: %s", strerror(errno));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int ground_run_recorded(char **argv)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	pid_t pid;

	if (len < 0)
		ground_die("where am I?");
	self[len] = '\0';
	pid = fork();
	if (pid == 0) {
		setenv("LD_PRELOAD", RECORDER_PATH, 1);
		execv(self, argv);
		_exit(127);
	}
	return await(pid);
}

int ground_apart(void (*fn)(void *ctx), void *ctx, unsigned seconds, const char *words)
{
	pid_t pid;
	int fd;

	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		fd = open(words, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (fd < 0 || dup2(fd, 2) < 0)
			_exit(9);
		alarm(seconds);
		fn(ctx);
		exit(0);
	}
	return await(pid);
}

void ground_show(const char *words)
{
	char line[4096];
	FILE *f = fopen(words, "r");

	while (f && fgets(line, sizeof(line), f))
		fprintf(stderr, "    %s", line);
	if (f)
		fclose(f);
}

void ground_folder(char out[GROUND_PATH])
{
	const char *tmp = getenv("CRASH_DIR");

	snprintf(out, GROUND_PATH, "%s/embassyfs-crash-XXXXXX", tmp && *tmp ? tmp : "/dev/shm");
	if (!mkdtemp(out))
		ground_die("%s: %s", out, strerror(errno));
}

void ground_path(char out[GROUND_PATH], const char *dir, const char *name)
{
	if (snprintf(out, GROUND_PATH, "%s/%s", dir, name) >= GROUND_PATH)
		ground_die("%s: too long a path", dir);
}

void ground_remove(const char *path)
{
	int rc = file_remove_tree(AT_FDCWD, path);

	if (rc < 0)
		ground_die("%s: %s", path, err_text(rc));
}
