/* What a state that a power cut leaves must be: see power.c. */

#include "power_internal.h"

#include "copy.h"
#include "err.h"
#include "file.h"
#include "head.h"
#include "params.h"
#include "source.h"
#include "source_folder.h"
#include "vault.h"
#include "view.h"
#include "volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define REQUIRE(cond, ...)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, __VA_ARGS__);                                              \
			fputc('\n', stderr);                                                       \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* Bring ${m} to the state found: after ${*at} operations.  ${*at} in: the first possible. */
static bool find_prefix(const struct run *r, struct view *view, struct model *m, uint64_t *random,
			unsigned *at)
{
	int rc = 0;

	for (;;) {
		struct op op;

		if (model_equal(view, m, &rc))
			return true;
		REQUIRE(rc == 0, "can't be read: %s", err_detail(rc));
		/* The one that was under way may be there too. */
		if (*at > r->mark[MARK_DONE])
			return false;
		op = power_next_op(r, random, (*at)++);
		(void)model_apply(m, NULL, &op);
	}
}

/* As a mount with -o ro finds it: nothing is recovered, the newest head is what there is. */
static void require_readable(const struct run *r, const char *dir)
{
	struct source *src;
	struct head head;
	int rc = source_open_folder(dir, &src);

	(void)r;
	REQUIRE(rc == 0, "read-only: %s", err_detail(rc));
	rc = src->ops->head_at(src, INT64_MAX, &head);
	REQUIRE(rc == 0, "read-only, newest head: %s", err_detail(rc));
	source_free(src);
}

static void lose_catalog(const char *dir)
{
	char path[GROUND_PATH];

	ground_path(path, dir, "catalog");
	ground_remove(path);
}

/* Cut a byte of the catalog's newest files: it is damaged, not lost. */
static int spoil_file(void *ctx, const char *name)
{
	char path[GROUND_PATH];
	struct stat st;
	int fd;

	ground_path(path, (const char *)ctx, name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0)
		(void)!pwrite(fd, "x", 1, st.st_size / 2);
	close(fd);
	return 0;
}

static void spoil_catalog(const char *dir)
{
	char path[GROUND_PATH];

	ground_path(path, dir, "catalog");
	(void)!file_list(AT_FDCWD, path, spoil_file, path);
}

/* The one that an earlier moment left, which a power cut can leave too.  Nothing, if there is none yet. */
static void age_catalog(const struct run *r, const char *dir, const char *below)
{
	char older[GROUND_PATH], volume[GROUND_PATH], catalog[GROUND_PATH],
		command[3 * GROUND_PATH];

	ground_path(older, r->base, "older");
	ground_path(volume, older, below);
	ground_path(older, volume, "catalog");
	if (access(older, F_OK) < 0)
		return;
	lose_catalog(dir);
	ground_path(catalog, dir, "catalog");
	snprintf(command, sizeof(command), "cp -r '%s' '%s'", older, catalog);
	if (system(command) != 0)
		ground_die("no older catalog");
}

static void require_sound(const struct run *r, const char *dir, const char *when)
{
	struct check_counts counts;
	int rc = ground_check(&r->ground, dir, true, &counts);

	REQUIRE(rc == 0 && counts.problems == 0, "%s: not sound: %s", when, err_detail(rc));
}

/* Its catalog is another than it was. */
static void change_catalog(struct run *r, const char *dir, const char *below, enum way way)
{
	if (way == WAY_NO_CATALOG)
		lose_catalog(dir);
	else if (way == WAY_BAD_CATALOG)
		spoil_catalog(dir);
	else if (way == WAY_OLDER_CATALOG)
		age_catalog(r, dir, below);
}

static struct volume *open_home(struct run *r, const char *dir, struct model *m, uint64_t *random,
				unsigned *at)
{
	struct volume *v;
	int rc = ground_open(&r->ground, dir, &v);

	REQUIRE(rc == 0, "does not open: %s", err_detail(rc));
	REQUIRE(find_prefix(r, volume_view(v), m, random, at),
		"holds no state from operation %llu to %llu",
		(unsigned long long)r->mark[MARK_SYNCED], (unsigned long long)r->mark[MARK_DONE]);
	return v;
}

/* What a first process finds, which is killed then, in ${*shared}; it ends with what ${found} returns. */
static int look_first(int (*found)(struct run *r, const char *dir, void *shared), struct run *r,
		      const char *dir, void *shared)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(found(r, dir, shared));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		ground_die("fork: %s", strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 1)
		exit(1); /* it said why */
	return WEXITSTATUS(status);
}

static void recall_synced(const struct run *r, struct model *m, uint64_t *random, unsigned *at)
{
	*random = r->seed;
	model_init(m);
	for (*at = 0; *at < r->mark[MARK_SYNCED]; ++*at) {
		struct op op = power_next_op(r, random, *at);

		(void)model_apply(m, NULL, &op);
	}
}

static int find_home(struct run *r, const char *dir, void *shared)
{
	struct model m;
	uint64_t random;

	recall_synced(r, &m, &random, shared);
	(void)open_home(r, dir, &m, &random, shared);
	return 0;
}

/* Half a volume: 'embassy init' did not end.  It opens or says why not, each time the same. */
static int find_half(struct run *r, const char *dir, void *shared)
{
	struct volume *v;
	int rc = ground_open(&r->ground, dir, &v);

	*(int *)shared = rc;
	if (rc == 0)
		REQUIRE(volume_close(v) == 0, "a new volume does not close");
	return 0;
}

void power_judge_home(struct run *r, const char *dir, enum way way)
{
	struct volume *v;
	struct model m;
	uint64_t random;
	unsigned at;
	int rc;

	if (!r->marked[MARK_MADE]) {
		int first, second;

		look_first(find_half, r, dir, r->shared);
		first = *(int *)r->shared;
		look_first(find_half, r, dir, r->shared);
		second = *(int *)r->shared;
		REQUIRE(first == second, "opened with %d, and then with %d", first, second);
		return;
	}
	if (way == WAY_CHECKED)
		require_sound(r, dir, "as found");
	else if (way == WAY_READ)
		require_readable(r, dir);
	change_catalog(r, dir, "volume", way);
	look_first(find_home, r, dir, r->shared);
	recall_synced(r, &m, &random, &at);
	v = open_home(r, dir, &m, &random, &at);
	REQUIRE(at == *(unsigned *)r->shared, "the state after %u operations, and then after %u",
		*(unsigned *)r->shared, at);
	for (unsigned i = 0; i < 6; i++) {
		struct op op = power_next_op(r, &random, at + i);

		rc = model_apply(&m, v, &op);
		REQUIRE(rc == 0, "does not go on: %s", rc < 0 ? err_detail(rc) : "wrong result");
	}
	rc = volume_close(v);
	REQUIRE(rc == 0, "does not close: %s", err_detail(rc));
	require_sound(r, dir, "after going on");
	if (way != WAY_READ) {
		REQUIRE(ground_open(&r->ground, dir, &v) == 0, "does not open again");
		REQUIRE(model_equal(volume_view(v), &m, NULL), "differs when opened again");
		REQUIRE(volume_close(v) == 0, "does not close again");
	}
	model_release(&m);
}

struct server_found {
	int rc;
	struct copy_committed committed;
};

static int find_server(struct run *r, const char *dir, void *shared)
{
	struct server_found *f = shared;
	struct vault *v;
	struct copy *c;

	f->rc = shipped_open_vault(dir, &v);
	if (f->rc == 0)
		f->rc = vault_find(v, r->ground.params.id, &c);
	if (f->rc == 0)
		copy_get_committed(c, &f->committed);
	return 0;
}

void power_judge_server(struct run *r, const char *dir, enum way way)
{
	const struct server_found *first = r->shared;
	char id[VOLUME_ID_TEXT_LEN], folder[GROUND_PATH], below[GROUND_PATH];
	struct copy_committed committed;
	struct params p;
	struct vault *v;
	struct copy *c;
	int rc;

	volume_id_format(r->ground.params.id, id);
	ground_path(folder, dir, id);
	ground_path(below, "store", id);
	if (r->marked[MARK_MADE])
		change_catalog(r, folder, below, way);
	look_first(find_server, r, dir, r->shared);
	rc = shipped_open_vault(dir, &v);
	REQUIRE(rc == 0, "the store does not open: %s", err_detail(rc));
	rc = vault_find(v, r->ground.params.id, &c);
	REQUIRE(rc == first->rc, "opened with %d, and then with %d: %s", first->rc, rc,
		err_detail(rc));
	if (rc == -ERR_NO_VOLUME && !r->marked[MARK_MADE])
		rc = power_put_conf(r, v, 1, &c);
	/*
	 * The index was lost, and a head lies beyond a hole: only the index knew whether it was
	 * acknowledged.  So the copy must be left as it is.
	 */
	if (rc == -ERR_DAMAGED && (way == WAY_NO_CATALOG || way == WAY_BAD_CATALOG) &&
	    strstr(err_detail(rc), "nothing tells whether")) {
		REQUIRE(shipped_folder_holds(&r->shipped, folder, r->mark[MARK_ACKED]),
			"refused, and not left as it was");
		exit(EXIT_REFUSED);
	}
	REQUIRE(rc == 0, "the copy does not open: %s", err_detail(rc));
	copy_get_committed(c, &committed);
	REQUIRE(committed.head >= r->mark[MARK_ACKED], "stands at head %llu, acknowledged %llu",
		(unsigned long long)committed.head, (unsigned long long)r->mark[MARK_ACKED]);
	if (first->rc == 0)
		REQUIRE(committed.head == first->committed.head &&
				committed.end == first->committed.end,
			"stood at head %llu, and then at %llu",
			(unsigned long long)first->committed.head,
			(unsigned long long)committed.head);
	REQUIRE(shipped_holds(&r->shipped, c), "is no prefix of the home's log");
	rc = params_load(folder, &p);
	REQUIRE(rc == 0 && p.serial >= r->mark[MARK_SERIAL], "volume.conf is lost");
	params_release(&p);
	rc = shipped_send(&r->shipped, c, r->shipped.heads, 1, NULL, NULL);
	REQUIRE(rc == 0, "does not go on: %s", err_detail(rc));
	REQUIRE(shipped_holds(&r->shipped, c), "is not the home's log");
	copy_get_committed(c, &committed);
	REQUIRE(committed.head == r->shipped.heads, "did not take all");
	vault_close(v);
	require_sound(r, folder, "after going on");
}
