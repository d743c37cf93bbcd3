#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_LEN_MAX 1024

struct running {
	const struct config *cfg;
	const char *name;
	struct side side[2];
	uid_t user;
	bool after_tick;
};

_Noreturn void give_up(const char *what, const char *about)
{
	fprintf(stderr, "model: %s: %s: %s\n", about, what, strerror(errno));
	exit(2);
}

void run_thread_begin(void)
{
	/* A working folder and a umask of one's own. */
	if (unshare(CLONE_FS) < 0)
		give_up("unshare", "thread");
}

static void become(uid_t user)
{
	setfsuid(0);
	setfsgid(user);
	setfsuid(user);
}

static void open_root(struct running *r, int i)
{
	char path[PATH_LEN_MAX];

	snprintf(path, sizeof(path), "%s/%s", r->cfg->root[i], r->name);
	r->side[i].root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r->side[i].root < 0)
		give_up("open", path);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

void remove_tree(const char *path)
{
	if (nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
		give_up("remove", path);
}

static void remove_folders(const struct running *r)
{
	char path[PATH_LEN_MAX];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", r->cfg->root[i], r->name);
		remove_tree(path);
	}
}

static void begin(struct running *r)
{
	char path[PATH_LEN_MAX];

	umask(0);
	remove_folders(r);
	for (int i = 0; i < 2; i++) {
		struct side *s = &r->side[i];

		*s = (struct side){.name = i ? "reference" : "tested",
				   .broken = i ? BREAK_NONE : r->cfg->broken};
		memset(s->slot, -1, sizeof(s->slot));
		s->buf = aligned_alloc(4096, IO_MAX);
		if (!s->buf)
			give_up("memory", r->name);
		snprintf(path, sizeof(path), "%s/%s", r->cfg->root[i], r->name);
		if (mkdir(path, 0777) < 0)
			give_up("mkdir", path);
		open_root(r, i);
	}
	umask(022);
}

static void leave(struct running *r)
{
	if (chdir("/") < 0)
		give_up("chdir", "/");
	for (int i = 0; i < 2; i++) {
		side_close(&r->side[i]);
		close(r->side[i].root);
	}
}

static void end(struct running *r)
{
	become(0);
	leave(r);
	remove_folders(r);
	free(r->side[0].buf);
	free(r->side[1].buf);
}

/* Nothing of ours may keep the mount busy. */
static void remount(struct running *r)
{
	if (!r->cfg->remount)
		return;
	leave(r);
	if (system(r->cfg->remount) != 0)
		give_up("the command to remount failed", r->cfg->remount);
	open_root(r, 0);
	open_root(r, 1);
}

static bool check(struct running *r, bool cold, struct counts *counts, struct difference *d)
{
	bool same;

	become(0);
	same = same_all(&r->side[0], &r->side[1], cold, d);
	become(r->user);
	counts->compared++;
	return same;
}

/*
 * An attribute without a value may have had none before.  Other systems leave ctime alone then; the
 * kernel's FUSE stamps it itself, whatever the file system does.
 */
static bool sets_the_empty(const struct op *op)
{
	return (op->kind == OP_setxattr || op->kind == OP_fsetxattr) && op->arg[2] == 0;
}

static bool step(struct running *r, const struct op *op, struct counts *counts,
		 struct difference *d)
{
	struct side *a = &r->side[0], *b = &r->side[1];
	struct moment m = {.after_tick = r->after_tick && !sets_the_empty(op),
			   .set_atime = (op->kind == OP_utimens || op->kind == OP_futimens) &&
					op->arg[1] != TIME_OMIT};
	struct result ra, rb;
	bool same;

	clock_gettime(CLOCK_REALTIME, &m.begin);
	apply(a, op, &ra);
	apply(b, op, &rb);
	counts->ops++;
	counts->succeeded += ra.err == 0 && ra.ret != RET_SKIPPED;
	r->after_tick = op->kind == OP_tick;
	if (op->kind == OP_as)
		r->user = (uid_t)op->arg[0];
	if (op->kind == OP_check)
		return check(r, op->arg[0] != 0, counts, d);
	if (op->kind == OP_remount) {
		become(0);
		remount(r);
		return check(r, false, counts, d);
	}
	if (!same_result(a, b, &ra, &rb, d))
		return false;
	if (ra.ret == RET_SKIPPED)
		return true;
	m.set_atime = m.set_atime && ra.err == 0;
	/* Not by who did it: attributes are compared where its user can't look. */
	become(0);
	same = same_touched(a, b, op, &m, d);
	become(r->user);
	counts->compared++;
	return same;
}

bool run(const struct config *cfg, const char *name, const struct op *ops, size_t n,
	 struct counts *counts, struct failure *out)
{
	struct running r = {.cfg = cfg, .name = name};
	bool same = true;
	size_t i;

	begin(&r);
	for (i = 0; i < n && same; i++)
		same = step(&r, &ops[i], counts, &out->d);
	if (same) {
		same = check(&r, false, counts, &out->d) && check(&r, true, counts, &out->d);
		i = n + 1;
	}
	if (!same) {
		out->index = i - 1;
		out->kind = out->index < n ? ops[out->index].kind : OP_check;
	}
	end(&r);
	return same;
}
