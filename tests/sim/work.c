/*
 * See work.h.
 *
 * As the kernel does, an inode that an operation is under way on is not forgotten, and what a range
 * is copied from is not written meanwhile.  Writes of one file are not kept apart: pages that are
 * written back are not either.
 */

#include "work.h"

#include "err.h"
#include "model.h"
#include "told.h"
#include "volume.h"
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NAMES 9u
#define FOLDER_NAMES 3u /* these are of folders only */
#define SNAPSHOTS 4u
#define INODES_FULL 70u /* from here on more goes than comes */
#define PIECES_MAX 900u /* a copy of more extents would be several changes */

typedef unsigned long long ull;

struct work_knobs work_knobs;

static struct volume *volume;
static void (*on_error)(int rc);
static bool held;

static uint64_t draw(uint64_t n)
{
	return prng_below(&world_random, n);
}

void work_begin(struct volume *v, void (*stuck)(int rc))
{
	held = false;
	volume = v;
	on_error = stuck;
	told_begin(v != NULL);
}

void work_crashed(void)
{
	work_begin(NULL, NULL);
}

/* ---- one operation ---- */

static bool in_use(uint64_t ino)
{
	for (unsigned i = 0; i < DOING_MAX; i++)
		if (doings[i].fiber && (doings[i].c.ino == ino || doings[i].c.to_ino == ino))
			return true;
	return false;
}

static bool is_copied_from(uint64_t ino)
{
	for (unsigned i = 0; i < DOING_MAX; i++)
		if (doings[i].fiber && doings[i].c.kind == MODEL_COPY && doings[i].c.ino == ino)
			return true;
	return false;
}

static bool is_usual(int rc)
{
	return rc == -EEXIST || rc == -ENOENT || rc == -ENOTEMPTY || rc == -ENOTDIR ||
	       rc == -EISDIR || rc == -EINVAL || rc == -EPERM || rc == -ENODATA;
}

/* ${changes}: whether it must have changed something when it succeeds. */
static void done(struct doing *d, int rc, bool changes)
{
	enum model_kind kind = d->c.kind;
	unsigned made = d->made;

	d->fiber = NULL;
	if (held)
		fiber_wake(&held, true);
	if (rc == 0 && changes && made == 0)
		fail("home: an operation of kind %d succeeded, and changed nothing", (int)kind);
	if (rc < 0 && made > 0 && kind != MODEL_SNAPSHOT)
		fail("home: an operation of kind %d failed (%s), and changed something", (int)kind,
		     err_detail(rc));
	if (rc < 0 && !is_usual(rc))
		on_error(rc);
}

static const struct model_inode *some_inode(uint32_t format, bool named)
{
	const struct model_inode *in, *found = NULL;
	unsigned n = 0;

	for (uint64_t ino = 0; (in = model_next(ino)); ino = in->ino)
		if ((in->mode & S_IFMT) == format && (in->nlink > 0 || !named) && draw(++n) == 0)
			found = in;
	return found;
}

static uint64_t some_dir(void)
{
	return some_inode(S_IFDIR, draw(20))->ino;
}

static void name_text(char out[16], unsigned name)
{
	snprintf(out, 16, "n%u", name);
}

static bool is_full(void)
{
	uint64_t inodes, bytes;

	model_usage(&inodes, &bytes);
	return inodes >= INODES_FULL;
}

static void make(void)
{
	static const uint32_t modes[] = {S_IFREG | 0644, S_IFREG | 0644, S_IFREG | 0600,
					 S_IFREG | 0644, S_IFDIR | 0755, S_IFLNK | 0777};
	static const struct caller root = {0};
	struct model_change c = {.kind = MODEL_MAKE,
				 .dir = some_dir(),
				 .name = (unsigned)draw(NAMES),
				 .mode = modes[draw(6)],
				 .seed = draw(1u << 30)};
	char name[16], target[32];
	struct doing *d;
	struct attr a;

	if (is_full())
		return;
	if (S_ISDIR(c.mode) == (c.name >= FOLDER_NAMES))
		c.name = (c.name + FOLDER_NAMES) % NAMES;
	if (S_ISDIR(c.mode) == (c.name >= FOLDER_NAMES))
		return;
	d = doing_new(&c);
	name_text(name, c.name);
	snprintf(target, sizeof(target), "t%llx", (ull)c.seed);
	done(d, volume_make_node(volume, &root, c.dir, name, c.mode, 0, target, &a), true);
}

static void make_link(void)
{
	const struct model_inode *in = some_inode(S_IFREG, draw(4));
	struct model_change c = {
		.kind = MODEL_LINK, .dir = some_dir(), .name = (unsigned)draw(NAMES)};
	char name[16];
	struct doing *d;
	struct attr a;

	if (!in)
		return;
	c.ino = in->ino;
	d = doing_new(&c);
	name_text(name, c.name);
	done(d, volume_link(volume, NULL, c.ino, c.dir, name, &a), true);
}

static void remove_name(void)
{
	struct model_change c = {
		.kind = MODEL_REMOVE, .dir = some_dir(), .name = (unsigned)draw(NAMES)};
	const struct model_inode *in = model_inode(model_lookup(c.dir, c.name));
	bool folder = in ? S_ISDIR(in->mode) : draw(2);
	char name[16];
	struct doing *d = doing_new(&c);

	name_text(name, c.name);
	done(d,
	     folder ? volume_rmdir(volume, NULL, c.dir, name)
		    : volume_unlink(volume, NULL, c.dir, name),
	     true);
}

/*
 * That no folder comes to lie below itself is the kernel's to see to: they change their names
 * only.
 */
static void move(void)
{
	static const struct caller root = {0};
	unsigned kind = (unsigned)draw(8), first = draw(4) ? FOLDER_NAMES : 0;
	unsigned n = first ? NAMES - FOLDER_NAMES : FOLDER_NAMES;
	struct model_change c = {.kind = kind == 0 ? MODEL_EXCHANGE : MODEL_RENAME,
				 .dir = some_dir(),
				 .name = first + (unsigned)draw(n),
				 .to_dir = some_dir(),
				 .to_name = first + (unsigned)draw(n)};
	char name[16], to_name[16];
	struct doing *d;

	if (!first)
		c.to_dir = c.dir;
	d = doing_new(&c);
	name_text(name, c.name);
	name_text(to_name, c.to_name);
	done(d,
	     volume_rename(volume, &root, c.dir, name, c.to_dir, to_name,
			   kind == 0   ? RENAME_EXCHANGE
			   : kind == 1 ? RENAME_NOREPLACE
				       : 0),
	     false);
}

static void forget(void)
{
	const struct model_inode *in, *found = NULL;
	struct model_change c = {.kind = MODEL_FORGET};

	for (uint64_t ino = 0; !found && (in = model_next(ino)); ino = in->ino)
		if (in->nlink == 0 && !in_use(ino = in->ino))
			found = in;
	if (!found)
		return;
	c.ino = found->ino;
	struct doing *d = doing_new(&c);

	volume_forget(volume, c.ino);
	done(d, 0, false);
}

/* A file that may be changed, and a range of it: often one that others are at, too. */
static const struct model_inode *some_file(struct model_change *c, uint32_t len_max)
{
	static uint64_t hot;
	const struct model_inode *in = model_inode(hot);

	if (draw(3) == 0 || !in || !S_ISREG(in->mode))
		in = some_inode(S_IFREG, draw(8));
	if (!in || is_copied_from(in->ino))
		return NULL;
	if (draw(4) == 0)
		hot = in->ino;
	c->ino = in->ino;
	c->len = 1 + (uint32_t)draw(len_max);
	c->off = (uint32_t)draw(MODEL_CELLS_MAX - c->len + 1);
	/* Among what is there, mostly. */
	if (draw(8))
		c->off = (uint32_t)draw(in->size + 1);
	if (c->off + c->len > MODEL_CELLS_MAX)
		c->off = MODEL_CELLS_MAX - c->len;
	return in;
}

static void write_cells(void)
{
	struct model_change c = {
		.kind = MODEL_WRITE, .seed = prng_next(&world_random), .extend = true};
	uint8_t *bytes;
	struct doing *d;

	if (!some_file(&c, work_knobs.cells))
		return;
	bytes = malloc(c.len * MODEL_CELL);
	assert(bytes);
	model_write_cells(bytes, &c);
	d = doing_new(&c);
	done(d,
	     volume_write(volume, NULL, c.ino, (uint64_t)c.off * MODEL_CELL, c.len * MODEL_CELL,
			  bytes, draw(2) ? WRITE_KEEP_TIMES : 0),
	     true);
	free(bytes);
}

static void make_hole(void)
{
	struct model_change c = {.kind = MODEL_HOLE, .extend = draw(3) == 0};
	struct doing *d;

	if (!some_file(&c, MODEL_CELLS_MAX / 2))
		return;
	d = doing_new(&c);
	done(d,
	     volume_allocate(volume, NULL, c.ino,
			     c.extend  ? FALLOC_FL_ZERO_RANGE
			     : draw(2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
				       : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			     (uint64_t)c.off * MODEL_CELL, (uint64_t)c.len * MODEL_CELL),
	     false);
}

static void set_size(void)
{
	struct model_change c = {.kind = MODEL_SIZE};
	struct attr want, a;
	struct doing *d;

	if (!some_file(&c, MODEL_CELLS_MAX))
		return;
	c.len = draw(3) ? c.off : 0;
	d = doing_new(&c);
	want.size = (uint64_t)c.len * MODEL_CELL;
	done(d, volume_setattr(volume, NULL, c.ino, SET_SIZE, &want, &a), true);
}

static void grow(void)
{
	struct model_change c = {.kind = MODEL_GROW};
	struct doing *d;

	if (!some_file(&c, MODEL_CELLS_MAX))
		return;
	d = doing_new(&c);
	done(d, volume_allocate(volume, NULL, c.ino, 0, 0, (uint64_t)c.len * MODEL_CELL), false);
}

static void copy(void)
{
	struct model_change c = {.kind = MODEL_COPY, .extend = true};
	const struct model_inode *from = some_inode(S_IFREG, true), *to;
	struct doing *d;
	uint64_t copied;
	int rc;

	to = some_file(&c, MODEL_CELLS_MAX / 2);
	if (!to || !from || in_use(from->ino) || from->size == 0 || from->pieces > PIECES_MAX)
		return;
	c.to_ino = c.ino;
	c.to_off = c.off;
	c.ino = from->ino;
	c.off = (uint32_t)draw(from->size);
	if (c.len > from->size - c.off)
		c.len = from->size - c.off;
	if (c.to_ino == c.ino && c.off < c.to_off + c.len && c.to_off < c.off + c.len)
		return;
	d = doing_new(&c);
	rc = volume_copy_range(volume, NULL, c.ino, (uint64_t)c.off * MODEL_CELL, c.to_ino,
			       (uint64_t)c.to_off * MODEL_CELL, (uint64_t)c.len * MODEL_CELL,
			       &copied);
	if (rc == 0 && copied != (uint64_t)c.len * MODEL_CELL)
		fail("home: %u cells were to be copied, and %llu bytes were", c.len, (ull)copied);
	done(d, rc, true);
}

static void set_mode(void)
{
	static const uint32_t modes[] = {0644, 0600, 0755, 0400};
	struct model_change c = {.kind = MODEL_MODE, .mode = modes[draw(4)]};
	struct attr want, a;
	struct doing *d;

	if (!some_file(&c, 1))
		return;
	d = doing_new(&c);
	want.mode = c.mode;
	done(d, volume_setattr(volume, NULL, c.ino, SET_MODE, &want, &a), true);
}

static void set_xattr(void)
{
	struct model_change c = {.kind = MODEL_XATTR,
				 .seed = draw(3) ? 1 + draw(UINT64_C(1) << 40) : 0};
	uint8_t value[4096];
	struct doing *d;

	if (!some_file(&c, 1))
		return;
	d = doing_new(&c);
	model_cell(value, model_xattr_len(c.seed), c.seed);
	done(d,
	     c.seed ? volume_setxattr(volume, NULL, c.ino, "user.a", value, model_xattr_len(c.seed),
				      0)
		    : volume_removexattr(volume, NULL, c.ino, "user.a"),
	     true);
}

static void snapshot(void)
{
	struct model_change c = {.kind = MODEL_SNAPSHOT, .name = (unsigned)draw(SNAPSHOTS)};
	uint64_t n = model_n();
	struct snapshot s = {0};
	struct doing *d;
	char name[16];
	int rc;

	snprintf(name, sizeof(name), "s%u", c.name);
	/* Two of one name at a time are one more than the model can tell apart. */
	for (unsigned i = 0; i < DOING_MAX; i++)
		if (doings[i].fiber && doings[i].c.kind == MODEL_SNAPSHOT &&
		    doings[i].c.name == c.name)
			return;
	d = doing_new(&c);
	if (draw(3) == 0) {
		done(d, volume_snapshot_remove(volume, NULL, name), true);
		return;
	}
	d->snapshot = &s;
	rc = volume_snapshot(volume, NULL, name, false, &s);
	if (rc == 0) {
		trace("home: snapshot %u is head %llu", c.name, (ull)s.head);
		if (model_head_n(s.head) == MODEL_UNKNOWN || model_head_n(s.head) < n)
			fail("home: a snapshot is of head %llu, which lacks what was done before",
			     (ull)s.head);
		model_synced(d->newest);
	}
	done(d, rc, true);
}

static void sync_all(void)
{
	static const struct model_change nothing = {.kind = MODEL_NOTHING};
	struct doing *d = doing_new(&nothing);
	uint64_t n = model_n();
	struct head h;
	unsigned how = (unsigned)draw(20);
	int rc;

	rc = how == 0	? volume_checkpoint(volume)
	     : how == 1 ? volume_add_head(volume, &h)
			: volume_sync(volume);
	if (rc == 0) {
		trace("home: %llu changes synced", (ull)n);
		model_synced(n);
	}
	done(d, rc, false);
}

/* Only that it can be read: what is there is for whoever looks at all of it. */
static void read_file(void)
{
	struct model_change c = {.kind = MODEL_NOTHING};
	static uint8_t bytes[MODEL_CELLS_MAX * MODEL_CELL];
	struct doing *d;
	size_t len;

	if (!some_file(&c, MODEL_CELLS_MAX))
		return;
	d = doing_new(&c);
	done(d,
	     view_read(volume_view(volume), c.ino, (uint64_t)c.off * MODEL_CELL, c.len * MODEL_CELL,
		       bytes, &len),
	     false);
}

/* ---- many ---- */

static const struct {
	void (*fn)(void);
	unsigned share;
} operations[] = {
	{make, 12},	   {make_link, 3}, {remove_name, 8}, {move, 6},	     {forget, 5},
	{write_cells, 30}, {make_hole, 5}, {set_size, 5},    {grow, 3},	     {copy, 4},
	{set_mode, 2},	   {set_xattr, 4}, {snapshot, 2},    {sync_all, 12}, {read_file, 4},
};

static void work_one(void)
{
	unsigned all = 0, pick;

	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		all += operations[i].share;
	pick = (unsigned)draw(all);
	for (size_t i = 0;; i++) {
		if (pick < operations[i].share) {
			operations[i].fn();
			return;
		}
		pick -= operations[i].share;
	}
}

void work_some(void)
{
	unsigned n = draw(2) ? 1 : (unsigned)prng_log(&world_random, 64);

	while (n-- > 0 && volume && !work_knobs.quiet) {
		while (held)
			(void)fiber_wait(&held, WORLD_NEVER);
		work_one();
		fiber_pause();
	}
}

void work_hold(bool yes)
{
	held = yes;
	if (!yes) {
		fiber_wake(&held, true);
		return;
	}
	for (unsigned i = 0; i < DOING_MAX; i++)
		while (doings[i].fiber)
			(void)fiber_wait(&held, WORLD_NEVER);
}
