/*
 * Operations that are likely to mean something.
 *
 * The generator does not know what a file system does; it guesses what is at each path, believing
 * that everything succeeds, and prefers paths where its guess fits.  A part of all choices is
 * blind, so that errors come up as well.
 */

#include "generate.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum guess { NOTHING, FILE_THERE, FOLDER, OTHER };

struct gen {
	uint64_t rnd;
	enum guess at[N_PLAIN];
	bool slots[N_SLOTS];
	bool remounts;
};

uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static int64_t below(struct gen *g, int64_t n)
{
	return (int64_t)(random_next(&g->rnd) % (uint64_t)n);
}

static bool chance(struct gen *g, int percent)
{
	return below(g, 100) < percent;
}

#define PICK(g, ...)                                                                               \
	((const int64_t[]){                                                                        \
		__VA_ARGS__}[below(g, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))])

/* A path where there is ${want} by our guess, if there is one; for NOTHING, one in a folder. */
static int64_t path_with(struct gen *g, enum guess want)
{
	int64_t p, parent;

	if (chance(g, 3))
		return N_PLAIN + below(g, (int64_t)path_count() - N_PLAIN);
	if (!chance(g, 15)) {
		for (int i = 0; i < 200; i++) {
			p = below(g, chance(g, 40) ? N_NAMES : N_PLAIN);
			parent = path_parent(p);
			if (g->at[p] == want &&
			    (want != NOTHING || parent < 0 || g->at[parent] == FOLDER))
				return p;
		}
	}
	return below(g, N_PLAIN);
}

static int64_t some_path(struct gen *g)
{
	return path_with(g, (enum guess)PICK(g, FILE_THERE, FILE_THERE, FILE_THERE, FOLDER, OTHER));
}

static int64_t slot_in_use(struct gen *g)
{
	int64_t s = below(g, N_SLOTS);

	for (int i = 0; i < N_SLOTS && !g->slots[s]; i++)
		s = (s + 1) % N_SLOTS;
	return s;
}

/* Near where blocks, pages and the kernel's requests begin and end, or anywhere. */
static int64_t offset(struct gen *g)
{
	static const int64_t edges[] = {
		0, 4096, 65536, 131072, 262144, 1 << 20, (1 << 20) + 131072};

	if (chance(g, 1))
		return ((int64_t)1 << 33) + below(g, 10000);
	if (chance(g, 40))
		return below(g, 20000);
	if (chance(g, 30))
		return below(g, 1500000);
	return edges[below(g, sizeof(edges) / sizeof(*edges))] + (chance(g, 40) ? 0 : below(g, 5));
}

static int64_t length(struct gen *g)
{
	if (chance(g, 2))
		return 0;
	if (chance(g, 50))
		return 1 + below(g, 5000);
	if (chance(g, 30))
		return 4096 * (1 + below(g, 40));
	return chance(g, 50) ? 131072 + below(g, 3) - 1 : 1 + below(g, 200000);
}

static int64_t mode(struct gen *g)
{
	return PICK(g, 0644, 0600, 0755, 0777, 0666, 0000, 04755, 02755, 02775, 06777, 01777, 0444,
		    0070, 0007, 02644, 0711);
}

static int64_t owner(struct gen *g)
{
	return PICK(g, 0, 1000, 1001, 1000, -1, 65534);
}

static int64_t a_time(struct gen *g)
{
	if (chance(g, 15))
		return TIME_NOW;
	if (chance(g, 15))
		return TIME_OMIT;
	if (chance(g, 5))
		return PICK(g, 0, -1000000000, -1500000000, 999999999, 1);
	return below(g, TIME_SET_MAX_NS);
}

static int64_t open_flag(struct gen *g)
{
	int64_t f = PICK(g, O_RDONLY, O_WRONLY, O_RDWR, O_RDWR, O_RDWR);

	if (chance(g, 60))
		f |= O_CREAT;
	if (chance(g, 10))
		f |= O_EXCL;
	if (chance(g, 15))
		f |= O_TRUNC;
	if (chance(g, 20))
		f |= O_APPEND;
	if (chance(g, 4))
		f |= PICK(g, O_SYNC, O_DSYNC);
	if (chance(g, 4))
		f |= O_DIRECTORY;
	if (chance(g, 5))
		f |= O_NOFOLLOW;
	/* The kernel knows O_CREAT with O_DIRECTORY as a mistake, old ones did not. */
	if ((f & O_DIRECTORY) && (f & O_CREAT))
		f &= ~(int64_t)O_CREAT;
	return f;
}

static void make_open(struct gen *g, struct op *op)
{
	op->arg[0] = below(g, N_SLOTS);
	op->arg[2] = open_flag(g);
	op->arg[3] = mode(g);
	op->arg[1] = path_with(g, (op->arg[2] & O_CREAT) && chance(g, 50) ? NOTHING : FILE_THERE);
	if (chance(g, 6)) {
		op->arg[1] = path_with(g, FOLDER);
		op->arg[2] = O_TMPFILE | PICK(g, O_RDWR, O_WRONLY) | (chance(g, 15) ? O_EXCL : 0);
	} else if (chance(g, 4)) {
		op->arg[1] = path_with(g, FOLDER);
		op->arg[2] = O_RDONLY | O_DIRECTORY;
	} else if ((op->arg[2] & O_CREAT) && op->arg[1] < N_PLAIN && !g->at[op->arg[1]]) {
		g->at[op->arg[1]] = FILE_THERE;
	}
	g->slots[op->arg[0]] = true;
}

/* What a kind of argument is where nothing better is known. */
static int64_t argument(struct gen *g, char kind)
{
	switch (kind) {
	case 'p':
		return some_path(g);
	case 'f':
		return slot_in_use(g);
	case 'x':
		return chance(g, 92) ? below(g, N_XATTRS - 2) : below(g, N_XATTRS);
	case 'o':
		return mode(g);
	case 'R':
		return PICK(g, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_EXCHANGE,
			    RENAME_NOREPLACE | RENAME_EXCHANGE);
	case 'A':
		return PICK(g, 0, 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
			    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE);
	case 'X':
		return PICK(g, 0, 0, 0, XATTR_CREATE, XATTR_REPLACE);
	case 'W':
		return below(g, 5);
	default:
		return below(g, 1 << 20); /* a seed of contents, or what make() puts right */
	}
}

static void guess_renamed(struct gen *g, const struct op *op)
{
	int64_t from = op->arg[0], to = op->arg[1];
	enum guess was;

	if (from >= N_PLAIN || to >= N_PLAIN)
		return;
	was = g->at[to];
	g->at[to] = g->at[from];
	g->at[from] = op->arg[2] & RENAME_EXCHANGE ? was : NOTHING;
}

static void guess_at(struct gen *g, int64_t path, enum guess what)
{
	if (path < N_PLAIN)
		g->at[path] = what;
}

/* Operations on names. */
static void make_named(struct gen *g, struct op *op)
{
	switch (op->kind) {
	case OP_mkdir:
		op->arg[0] = path_with(g, NOTHING);
		op->arg[1] = chance(g, 60) ? 0777 : mode(g);
		guess_at(g, op->arg[0], FOLDER);
		break;
	case OP_rmdir:
		op->arg[0] = path_with(g, FOLDER);
		guess_at(g, op->arg[0], NOTHING);
		break;
	case OP_unlink:
		op->arg[0] = path_with(g, chance(g, 70) ? FILE_THERE : OTHER);
		guess_at(g, op->arg[0], NOTHING);
		break;
	case OP_rename:
		op->arg[1] = chance(g, 50) ? path_with(g, NOTHING) : some_path(g);
		guess_renamed(g, op);
		break;
	case OP_link:
		op->arg[1] = path_with(g, NOTHING);
		op->arg[2] = chance(g, 30);
		guess_at(g, op->arg[1], FILE_THERE);
		break;
	case OP_linkfd:
		op->arg[1] = path_with(g, NOTHING);
		guess_at(g, op->arg[1], FILE_THERE);
		break;
	case OP_symlink:
		/* ".." could lead out of the folder once the link has moved. */
		op->arg[0] = below(g, N_PLAIN);
		op->arg[1] = path_with(g, NOTHING);
		guess_at(g, op->arg[1], OTHER);
		break;
	case OP_mknod:
		op->arg[0] = path_with(g, NOTHING);
		op->arg[1] = PICK(g, S_IFIFO, S_IFIFO, S_IFSOCK, S_IFREG, S_IFCHR, S_IFBLK) | 0644;
		op->arg[2] = S_ISCHR(op->arg[1]) || S_ISBLK(op->arg[1]) ? 0x703 : 0;
		guess_at(g, op->arg[0], OTHER);
		break;
	default:
		break;
	}
}

/* Operations on attributes, and those of the run itself. */
static void make_attribute(struct gen *g, struct op *op)
{
	switch (op->kind) {
	case OP_chown:
	case OP_fchown:
		op->arg[1] = owner(g);
		op->arg[2] = owner(g);
		/* A chown of nothing is refused or not depending on bits that it might clear. */
		if (op->arg[1] < 0 && op->arg[2] < 0)
			op->arg[2] = 1000;
		break;
	case OP_utimens:
	case OP_futimens:
		op->arg[1] = a_time(g);
		op->arg[2] = a_time(g);
		break;
	case OP_setxattr:
	case OP_fsetxattr:
		/* All of them fit into the one block that some file systems have for them. */
		op->arg[2] = chance(g, 10) ? 0 : below(g, 500);
		break;
	case OP_access:
		op->arg[1] = below(g, 8);
		break;
	case OP_as:
		op->arg[0] = PICK(g, 0, 0, 0, 1000, 1001);
		break;
	case OP_umask:
		op->arg[0] = PICK(g, 022, 0, 077, 027);
		break;
	case OP_check:
		op->arg[0] = below(g, 2);
		break;
	case OP_remount:
		memset(g->slots, 0, sizeof(g->slots));
		break;
	default:
		break;
	}
}

/* Operations on contents. */
static void make_content(struct gen *g, struct op *op)
{
	switch (op->kind) {
	case OP_open:
		make_open(g, op);
		break;
	case OP_close:
		g->slots[op->arg[0]] = false;
		break;
	case OP_read:
	case OP_write:
		op->arg[1] = length(g);
		break;
	case OP_seek:
		op->arg[1] = chance(g, 5) ? -1 - below(g, 100) : offset(g);
		break;
	case OP_truncate:
	case OP_ftruncate:
		op->arg[1] = chance(g, 2) ? -1 : offset(g);
		break;
	case OP_lock:
		op->arg[2] = below(g, 4) * 10;
		op->arg[3] = below(g, 3) * 15;
		break;
	case OP_copy:
		op->arg[1] = offset(g);
		op->arg[3] = offset(g);
		op->arg[4] = length(g);
		break;
	case OP_fallocate:
		op->arg[2] = offset(g);
		op->arg[3] = length(g);
		break;
	default: /* reads and writes at a place: after the file come the place and the length */
		op->arg[1] = offset(g);
		op->arg[2] = length(g);
		break;
	}
}

/* How often each comes up. */
static enum op_kind kind_of(struct gen *g)
{
	static const uint8_t weights[N_OPS] = {
		[OP_open] = 70,	     [OP_close] = 12,	  [OP_read] = 15,    [OP_write] = 30,
		[OP_pread] = 20,     [OP_pwrite] = 45,	  [OP_seek] = 20,    [OP_truncate] = 20,
		[OP_ftruncate] = 15, [OP_fallocate] = 20, [OP_mkdir] = 25,   [OP_rmdir] = 12,
		[OP_unlink] = 20,    [OP_rename] = 35,	  [OP_link] = 18,    [OP_linkfd] = 8,
		[OP_symlink] = 10,   [OP_readlink] = 5,	  [OP_mknod] = 6,    [OP_chmod] = 12,
		[OP_fchmod] = 5,     [OP_chown] = 10,	  [OP_fchown] = 5,   [OP_utimens] = 15,
		[OP_futimens] = 8,   [OP_setxattr] = 12,  [OP_getxattr] = 6, [OP_removexattr] = 5,
		[OP_fsetxattr] = 5,  [OP_stat] = 5,	  [OP_readdir] = 8,  [OP_access] = 6,
		[OP_copy] = 12,	     [OP_mapwrite] = 15,  [OP_mapread] = 8,  [OP_fsync] = 6,
		[OP_fdatasync] = 4,  [OP_syncdir] = 3,	  [OP_dread] = 6,    [OP_dwrite] = 8,
		[OP_flock] = 6,	     [OP_lock] = 8,	  [OP_drop] = 8,     [OP_as] = 8,
		[OP_umask] = 3,	     [OP_tick] = 8,	  [OP_check] = 12,   [OP_remount] = 1};
	int total = 0, kind = 0;
	int64_t at;

	for (size_t i = 0; i < N_OPS; i++)
		total += weights[i];
	at = below(g, total);
	while (kind < N_OPS - 1 && at >= weights[kind])
		at -= weights[kind++];
	return kind == OP_remount && !g->remounts ? OP_check : (enum op_kind)kind;
}

void generate(uint64_t seed, bool remounts, struct op *out, size_t n)
{
	struct gen g = {.rnd = seed, .remounts = remounts};

	for (size_t i = 0; i < n; i++) {
		struct op *op = &out[i];
		const char *args;

		*op = (struct op){.kind = kind_of(&g)};
		args = op_args(op->kind);
		for (size_t k = 0; args[k]; k++)
			op->arg[k] = argument(&g, args[k]);
		switch (op->kind) {
		case OP_open:
		case OP_close:
		case OP_read:
		case OP_write:
		case OP_pread:
		case OP_pwrite:
		case OP_seek:
		case OP_truncate:
		case OP_ftruncate:
		case OP_fallocate:
		case OP_copy:
		case OP_mapwrite:
		case OP_mapread:
		case OP_dread:
		case OP_dwrite:
		case OP_lock:
			make_content(&g, op);
			break;
		default:
			make_named(&g, op);
			make_attribute(&g, op);
			break;
		}
	}
}
