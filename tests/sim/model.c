/*
 * See model.h.
 *
 * Key idea: the changes are kept, and played again from the first where some of them are lost.
 */

#include "model.h"

#include "format.h"
#include "world.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ROOT 1u
#define DIR_MODE (S_IFDIR | 0755)
#define SNAPSHOTS_MAX 16u

typedef unsigned long long ull;

struct entry {
	uint64_t dir, ino;
	unsigned name;
};

static struct {
	struct model_inode **inodes; /* by number; NULL: none */
	size_t n_inodes;
	struct entry *entries;
	size_t n_entries, cap_entries;
	uint64_t snapshots[SNAPSHOTS_MAX];
	uint64_t digest;
} now;

struct changes {
	struct model_change *c;
	uint64_t *digests; /* digests[n]: after n of them */
	uint64_t n, cap, synced;
	uint64_t *heads; /* by number */
	uint64_t n_heads;
};

struct model_moment {
	struct changes changes;
};

static struct changes past;

/* ---- digests ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	struct prng p = {a ^ (b + UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xff51afd7ed558ccd)};

	return prng_next(&p);
}

uint64_t model_inode_digest(const struct model_inode *in)
{
	uint64_t d = mix(in->ino, in->mode);

	d = mix(d, in->nlink);
	d = mix(d, in->size);
	d = mix(d, S_ISDIR(in->mode) ? in->dir : 0);
	d = mix(d, in->target);
	d = mix(d, in->xattr);
	if (S_ISREG(in->mode))
		for (uint32_t i = 0; i < in->size; i++)
			if (in->cells[i])
				d += mix(i, in->cells[i]);
	return mix(d, 1);
}

uint64_t model_entry_digest(uint64_t dir, unsigned name, uint64_t ino)
{
	return mix(mix(mix(dir, name), ino), 2);
}

uint64_t model_snapshot_digest(unsigned name, uint64_t head)
{
	return head ? mix(mix(name, head), 3) : 0;
}

void model_cell(uint8_t *out, size_t len, uint64_t seed)
{
	uint64_t v = seed;

	for (; len >= 8; len -= 8, out += 8) {
		memcpy(out, &v, 8);
		v = v * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	}
	memcpy(out, &v, len);
}

static uint64_t written(const struct model_change *c, uint32_t i)
{
	return mix(c->seed, i) | 1;
}

void model_write_cells(uint8_t *out, const struct model_change *c)
{
	for (uint32_t i = 0; i < c->len; i++)
		model_cell(out + (size_t)i * MODEL_CELL, MODEL_CELL, written(c, i));
}

/* ---- parts ---- */

const struct model_inode *model_inode(uint64_t ino)
{
	return ino < now.n_inodes ? now.inodes[ino] : NULL;
}

const struct model_inode *model_next(uint64_t ino)
{
	while (++ino < now.n_inodes)
		if (now.inodes[ino])
			return now.inodes[ino];
	return NULL;
}

static struct model_inode *new_inode(uint64_t ino, uint32_t mode)
{
	struct model_inode *in = calloc(1, sizeof(*in));

	assert(in);
	if (ino >= now.n_inodes) {
		size_t n = (size_t)ino * 2 + 64;

		now.inodes = realloc(now.inodes, n * sizeof(*now.inodes));
		assert(now.inodes);
		memset(now.inodes + now.n_inodes, 0, (n - now.n_inodes) * sizeof(*now.inodes));
		now.n_inodes = n;
	}
	if (now.inodes[ino])
		fail("home: inode %llu is made twice", (ull)ino);
	in->ino = ino;
	in->mode = mode;
	in->nlink = S_ISDIR(mode) ? 2 : 1;
	now.inodes[ino] = in;
	return in;
}

static struct entry *find_entry(uint64_t dir, unsigned name)
{
	for (size_t i = 0; i < now.n_entries; i++)
		if (now.entries[i].dir == dir && now.entries[i].name == name)
			return &now.entries[i];
	return NULL;
}

uint64_t model_lookup(uint64_t dir, unsigned name)
{
	const struct entry *e = find_entry(dir, name);

	return e ? e->ino : 0;
}

/* An inode that is about to change, and after it has: what it adds to the digest. */
static struct model_inode *take(uint64_t ino)
{
	struct model_inode *in = ino < now.n_inodes ? now.inodes[ino] : NULL;

	if (!in)
		fail("home: inode %llu changes, and there is none", (ull)ino);
	if (in->nlink > 0)
		now.digest -= model_inode_digest(in);
	return in;
}

static void give(const struct model_inode *in)
{
	if (in->nlink > 0)
		now.digest += model_inode_digest(in);
}

static void add_entry(uint64_t dir, unsigned name, uint64_t ino)
{
	struct model_inode *d = take(dir), *in;

	if (!S_ISDIR(d->mode) || d->nlink == 0)
		fail("home: inode %llu gets a name, and is no folder, or gone", (ull)dir);
	if (find_entry(dir, name))
		fail("home: name %u of folder %llu is made, and is there", name, (ull)dir);
	if (now.n_entries == now.cap_entries) {
		now.cap_entries = now.cap_entries ? 2 * now.cap_entries : 64;
		now.entries = realloc(now.entries, now.cap_entries * sizeof(*now.entries));
		assert(now.entries);
	}
	now.entries[now.n_entries++] = (struct entry){dir, ino, name};
	now.digest += model_entry_digest(dir, name, ino);
	in = now.inodes[ino];
	d->size++;
	if (S_ISDIR(in->mode))
		d->nlink++;
	give(d);
	if (S_ISDIR(in->mode)) {
		in = take(ino);
		in->dir = dir;
		give(in);
	}
}

static uint64_t drop_entry(uint64_t dir, unsigned name)
{
	struct entry *e = find_entry(dir, name);
	struct model_inode *d;
	uint64_t ino;

	if (!e)
		fail("home: name %u of folder %llu goes, and is not there", name, (ull)dir);
	ino = e->ino;
	now.digest -= model_entry_digest(dir, name, ino);
	*e = now.entries[--now.n_entries];
	d = take(dir);
	d->size--;
	if (S_ISDIR(now.inodes[ino]->mode))
		d->nlink--;
	give(d);
	return ino;
}

/* One name fewer. */
static void unname(uint64_t ino)
{
	struct model_inode *in = take(ino);

	if (S_ISDIR(in->mode) && in->size > 0)
		fail("home: folder %llu goes, and is not empty", (ull)ino);
	in->nlink = S_ISDIR(in->mode) ? 0 : in->nlink - 1;
	give(in);
}

/* One that got a name again since whoever forgets it looked stays, which look.c sees. */
static void forget(uint64_t ino)
{
	struct model_inode *in;

	if (now.inodes[ino]->nlink > 0)
		return;
	in = take(ino);
	now.inodes[ino] = NULL;
	free(in);
}

/* ---- changes ---- */

static void rename_entry(const struct model_change *c)
{
	uint64_t ino = drop_entry(c->dir, c->name);

	if (find_entry(c->to_dir, c->to_name))
		unname(drop_entry(c->to_dir, c->to_name));
	add_entry(c->to_dir, c->to_name, ino);
}

static void exchange_entries(const struct model_change *c)
{
	uint64_t ino = drop_entry(c->dir, c->name), to = drop_entry(c->to_dir, c->to_name);

	add_entry(c->to_dir, c->to_name, ino);
	add_entry(c->dir, c->name, to);
}

static void link_inode(const struct model_change *c)
{
	struct model_inode *in = take(c->ino);

	in->nlink++;
	give(in);
	add_entry(c->dir, c->name, c->ino);
}

static void make_inode(const struct model_change *c)
{
	struct model_inode *in = new_inode(c->ino, c->mode);

	in->target = S_ISLNK(c->mode) ? c->seed : 0;
	in->dir = c->dir;
	give(in);
	add_entry(c->dir, c->name, c->ino);
}

static void set_size(struct model_inode *in, uint32_t size)
{
	if (size < in->size)
		memset(in->cells + size, 0, (in->size - size) * sizeof(*in->cells));
	in->size = size;
	if (size == 0)
		in->pieces = 0;
}

/* Changes of a file's contents. */
static void change_cells(const struct model_change *c)
{
	const struct model_inode *from = now.inodes[c->ino];
	struct model_inode *in = take(c->kind == MODEL_COPY ? c->to_ino : c->ino);
	uint32_t off = c->kind == MODEL_COPY ? c->to_off : c->off;

	assert(off + c->len <= MODEL_CELLS_MAX);
	for (uint32_t i = 0; i < c->len; i++) {
		uint64_t v = c->kind == MODEL_WRITE  ? written(c, i)
			     : c->kind == MODEL_COPY ? from->cells[c->off + i]
						     : 0;

		if (off + i < in->size || c->extend)
			in->cells[off + i] = v;
	}
	if (c->extend && off + c->len > in->size)
		in->size = off + c->len;
	in->pieces += c->kind == MODEL_COPY ? from->pieces + 1
					    : 3 + c->len * MODEL_CELL / EXTENT_MAX;
	give(in);
}

static void change_attr(const struct model_change *c)
{
	struct model_inode *in = take(c->ino);

	switch (c->kind) {
	case MODEL_SIZE:
		set_size(in, c->len);
		break;
	case MODEL_GROW:
		set_size(in, c->len > in->size ? c->len : in->size);
		break;
	case MODEL_MODE:
		in->mode = (in->mode & S_IFMT) | c->mode;
		break;
	default:
		in->xattr = c->seed;
		break;
	}
	give(in);
}

static void apply(const struct model_change *c)
{
	switch (c->kind) {
	case MODEL_NOTHING:
		break;
	case MODEL_MAKE:
		make_inode(c);
		break;
	case MODEL_LINK:
		link_inode(c);
		break;
	case MODEL_REMOVE:
		unname(drop_entry(c->dir, c->name));
		break;
	case MODEL_RENAME:
		rename_entry(c);
		break;
	case MODEL_EXCHANGE:
		exchange_entries(c);
		break;
	case MODEL_FORGET:
		forget(c->ino);
		break;
	case MODEL_WRITE:
	case MODEL_HOLE:
	case MODEL_COPY:
		change_cells(c);
		break;
	case MODEL_SNAPSHOT:
		now.digest -= model_snapshot_digest(c->name, now.snapshots[c->name]);
		now.snapshots[c->name] = c->seed;
		now.digest += model_snapshot_digest(c->name, c->seed);
		break;
	default:
		change_attr(c);
		break;
	}
}

static void begin(void)
{
	for (size_t i = 0; i < now.n_inodes; i++) {
		free(now.inodes[i]);
		now.inodes[i] = NULL;
	}
	now.n_entries = 0;
	memset(now.snapshots, 0, sizeof(now.snapshots));
	now.digest = 0;
	new_inode(ROOT, DIR_MODE)->dir = ROOT;
	give(now.inodes[ROOT]);
}

static void tell_change(const struct model_change *c)
{
	static const char *const kinds[] = {
		[MODEL_NOTHING] = "nothing",  [MODEL_MAKE] = "make",
		[MODEL_LINK] = "link",	      [MODEL_REMOVE] = "remove",
		[MODEL_RENAME] = "rename",    [MODEL_EXCHANGE] = "exchange",
		[MODEL_FORGET] = "forget",    [MODEL_WRITE] = "write",
		[MODEL_HOLE] = "hole",	      [MODEL_SIZE] = "size",
		[MODEL_GROW] = "grow",	      [MODEL_COPY] = "copy",
		[MODEL_MODE] = "mode",	      [MODEL_XATTR] = "attribute",
		[MODEL_SNAPSHOT] = "snapshot"};

	trace("change %llu: %s inode %llu to %llu, %llu/n%u to %llu/n%u, off %u len %u to %u",
	      (ull)past.n, kinds[c->kind], (ull)c->ino, (ull)c->to_ino, (ull)c->dir, c->name,
	      (ull)c->to_dir, c->to_name, c->off, c->len, c->to_off);
}

void model_change(const struct model_change *c)
{
	if (past.n + 1 >= past.cap) {
		past.cap = past.cap ? 2 * past.cap : 1024;
		past.c = realloc(past.c, past.cap * sizeof(*past.c));
		past.digests = realloc(past.digests, (past.cap + 1) * sizeof(*past.digests));
		assert(past.c && past.digests);
	}
	apply(c);
	past.c[past.n++] = *c;
	tell_change(c);
	past.digests[past.n] = now.digest;
}

void model_make(void)
{
	past.digests = malloc(sizeof(*past.digests));
	assert(past.digests);
	begin();
	past.digests[0] = now.digest;
}

uint64_t model_n(void)
{
	return past.n;
}

uint64_t model_digest(uint64_t n)
{
	return past.digests[n];
}

void model_synced(uint64_t n)
{
	if (n > past.synced)
		past.synced = n;
}

uint64_t model_n_synced(void)
{
	return past.synced;
}

void model_head(uint64_t head, uint64_t n)
{
	if (head >= past.n_heads) {
		past.heads = realloc(past.heads, (head + 1) * sizeof(*past.heads));
		assert(past.heads);
		while (past.n_heads <= head)
			past.heads[past.n_heads++] = MODEL_UNKNOWN;
	}
	past.heads[head] = n;
}

uint64_t model_head_n(uint64_t head)
{
	return head < past.n_heads ? past.heads[head] : MODEL_UNKNOWN;
}

uint64_t model_find(uint64_t digest, uint64_t from, uint64_t to)
{
	for (uint64_t n = to + 1; n-- > from;)
		if (past.digests[n] == digest)
			return n;
	return MODEL_UNKNOWN;
}

static void play_again(uint64_t n)
{
	begin();
	for (uint64_t i = 0; i < n; i++)
		apply(&past.c[i]);
	past.n = n;
	assert(now.digest == past.digests[n]);
}

void model_back_to(uint64_t n, uint64_t newest, bool forget_unnamed)
{
	const struct model_inode *in;

	if (n < past.n)
		play_again(n);
	if (past.n_heads > newest + 1)
		past.n_heads = newest + 1;
	for (uint64_t ino = 0; forget_unnamed && (in = model_next(ino));) {
		ino = in->ino;
		if (in->nlink == 0)
			model_change(&(struct model_change){.kind = MODEL_FORGET, .ino = ino});
	}
}

void model_usage(uint64_t *out_inodes, uint64_t *out_bytes)
{
	const struct model_inode *in;

	*out_inodes = *out_bytes = 0;
	for (uint64_t ino = 0; (in = model_next(ino)); ino = in->ino) {
		++*out_inodes;
		for (uint32_t i = 0; S_ISREG(in->mode) && i < in->size; i++)
			*out_bytes += in->cells[i] ? MODEL_CELL : 0;
	}
}

/* ---- differences ---- */

static void add_part(struct model_parts *to, uint64_t digest, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

static void add_part(struct model_parts *to, uint64_t digest, const char *fmt, ...)
{
	struct model_part *p;
	va_list ap;

	to->p = realloc(to->p, (to->n + 1) * sizeof(*to->p));
	assert(to->p);
	p = &to->p[to->n++];
	p->digest = digest;
	va_start(ap, fmt);
	vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
}

void model_part_inode(struct model_parts *to, const struct model_inode *in)
{
	uint64_t cells = 0;

	for (uint32_t i = 0; S_ISREG(in->mode) && i < in->size; i++)
		cells += in->cells[i] ? mix(i, in->cells[i]) : 0;
	add_part(to, model_inode_digest(in),
		 "inode %llu mode %o nlink %u size %u in %llu attribute %llx contents %016llx",
		 (ull)in->ino, in->mode, in->nlink, in->size, (ull)in->dir, (ull)in->xattr,
		 (ull)cells);
}

void model_part_entry(struct model_parts *to, uint64_t dir, unsigned name, uint64_t ino)
{
	add_part(to, model_entry_digest(dir, name, ino), "%llu/n%u is inode %llu", (ull)dir, name,
		 (ull)ino);
}

void model_part_snapshot(struct model_parts *to, unsigned name, uint64_t head)
{
	add_part(to, model_snapshot_digest(name, head), "snapshot s%u is head %llu", name,
		 (ull)head);
}

static struct model_parts parts_now(void)
{
	struct model_parts parts = {0};
	const struct model_inode *in;

	for (uint64_t ino = 0; (in = model_next(ino)); ino = in->ino)
		if (in->nlink > 0)
			model_part_inode(&parts, in);
	for (size_t i = 0; i < now.n_entries; i++)
		model_part_entry(&parts, now.entries[i].dir, now.entries[i].name,
				 now.entries[i].ino);
	for (unsigned i = 0; i < SNAPSHOTS_MAX; i++)
		if (now.snapshots[i])
			model_part_snapshot(&parts, i, now.snapshots[i]);
	return parts;
}

/* How many parts of ${a} are not in ${b}; told, if ${as} says what they are. */
static size_t lacking(const struct model_parts *a, const struct model_parts *b, const char *as)
{
	size_t n = 0, k;

	for (size_t i = 0; i < a->n; i++) {
		for (k = 0; k < b->n && b->p[k].digest != a->p[i].digest; k++)
			;
		if (k < b->n)
			continue;
		n++;
		if (as)
			trace("%s: %s", as, a->p[i].text);
	}
	return n;
}

void model_tell(const struct model_parts *parts, uint64_t from, uint64_t to)
{
	uint64_t best = to;
	size_t least = SIZE_MAX;
	struct model_parts is;

	for (uint64_t n = to + 1; n-- > from;) {
		play_again(n);
		is = parts_now();
		if (lacking(&is, parts, NULL) + lacking(parts, &is, NULL) < least) {
			least = lacking(&is, parts, NULL) + lacking(parts, &is, NULL);
			best = n;
		}
		free(is.p);
	}
	play_again(best);
	trace("it is the most like what was seen after %llu changes", (ull)best);
	is = parts_now();
	(void)lacking(&is, parts, "must be");
	(void)lacking(parts, &is, "is");
	free(is.p);
}

/* ---- backups ---- */

static void *copy_of(const void *from, size_t len, size_t room)
{
	void *p = malloc(len + room);

	assert(p);
	if (len > 0)
		memcpy(p, from, len);
	return p;
}

static struct changes changes_copy(const struct changes *from)
{
	struct changes to = *from;

	to.cap = from->n + 1;
	to.c = copy_of(from->c, from->n * sizeof(*to.c), sizeof(*to.c));
	to.digests = copy_of(from->digests, to.cap * sizeof(*to.digests), sizeof(*to.digests));
	to.heads = copy_of(from->heads, from->n_heads * sizeof(*to.heads), 1);
	return to;
}

struct model_moment *model_moment(void)
{
	struct model_moment *m = calloc(1, sizeof(*m));

	assert(m);
	m->changes = changes_copy(&past);
	return m;
}

void model_back_to_moment(const struct model_moment *m)
{
	past = changes_copy(&m->changes);
	play_again(past.n);
}
