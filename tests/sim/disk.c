/*
 * The disks: inodes, what a sync makes durable, what a crash leaves, copies.
 *
 * Key idea: a file is pages, each with the bytes that readers see and those that are durable,
 * and a mark for each sector that a sync has yet to carry from the one to the other.  A folder
 * is the names that are seen and those that are durable, and a list of changes in between.
 */

#include "disk_internal.h"

#include "world.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct disk_snapshot {
	struct inode *root;
};

static struct inode *roots[MACHINES_MAX];
static struct disk_faults faults[MACHINES_MAX];
struct fd disk_fds[FDS_MAX];
static struct fiber *spared;
static struct {
	struct fiber *who;
	char folder[128];
} forgotten[MACHINES_MAX];
static bool lost_catalog[MACHINES_MAX];

struct disk_faults *disk_faults(unsigned machine)
{
	return &faults[machine];
}

void disk_spare(bool yes)
{
	spared = yes ? fiber_self() : NULL;
}

void disk_forget_names(const char *folder)
{
	unsigned m = fiber_machine();

	forgotten[m].who = folder ? fiber_self() : NULL;
	snprintf(forgotten[m].folder, sizeof(forgotten[m].folder), "%s", folder ? folder : "");
}

static bool is_forgotten(const struct inode *in)
{
	unsigned m = in->machine;

	return forgotten[m].who && forgotten[m].who == fiber_self() &&
	       inode_at(-1, forgotten[m].folder) == in;
}

int disk_fault(unsigned machine)
{
	const struct disk_faults *f = &faults[machine];

	fiber_pause();
	if (spared && spared == fiber_self())
		return 0;
	return f->one_in && prng_one_in(&world_random, f->one_in) ? -EIO : 0;
}

static void stop(unsigned machine, bool name)
{
	struct disk_faults *f = &faults[machine];

	if (f->stop_in == 0 || (f->stop_names && !name) || fiber_machine() != machine ||
	    --f->stop_in > 0)
		return;
	fiber_wake(f, true);
	for (;;)
		(void)fiber_wait(NULL, WORLD_NEVER);
}

void disk_stop(unsigned machine)
{
	stop(machine, false);
}

void disk_stop_name(unsigned machine)
{
	stop(machine, true);
}

void disk_wait_stop(unsigned machine, uint64_t until_ns)
{
	(void)fiber_wait(&faults[machine], until_ns);
	faults[machine].stop_in = 0;
}

/* ---- names ---- */

struct inode *names_find(const struct names *n, const char *name)
{
	for (size_t i = 0; i < n->n; i++)
		if (strcmp(n->e[i].name, name) == 0)
			return n->e[i].in;
	return NULL;
}

static void names_drop(struct names *n, const char *name)
{
	for (size_t i = 0; i < n->n; i++)
		if (strcmp(n->e[i].name, name) == 0) {
			n->e[i] = n->e[--n->n];
			return;
		}
}

static void names_set(struct names *n, const char *name, struct inode *in)
{
	names_drop(n, name);
	if (n->n == n->cap) {
		n->cap = n->cap ? 2 * n->cap : 8;
		n->e = realloc(n->e, n->cap * sizeof(*n->e));
		assert(n->e);
	}
	assert(strlen(name) < NAME_LEN);
	strcpy(n->e[n->n].name, name);
	n->e[n->n++].in = in;
}

void names_copy(struct names *to, const struct names *from)
{
	to->n = 0;
	for (size_t i = 0; i < from->n; i++)
		names_set(to, from->e[i].name, from->e[i].in);
}

static void apply(struct names *n, const struct change *c)
{
	if (c->from[0] && (!c->to[0] || names_find(n, c->from) == c->in))
		names_drop(n, c->from);
	if (c->to[0])
		names_set(n, c->to, c->in);
}

void inode_change(struct inode *dir, const char *from, const char *to, struct inode *in)
{
	struct change *c;

	if (dir->n_changes == dir->cap_changes) {
		dir->cap_changes = dir->cap_changes ? 2 * dir->cap_changes : 8;
		dir->changes = realloc(dir->changes, dir->cap_changes * sizeof(*dir->changes));
		assert(dir->changes);
	}
	c = &dir->changes[dir->n_changes++];
	assert(strlen(from) < NAME_LEN && strlen(to) < NAME_LEN);
	strcpy(c->from, from);
	strcpy(c->to, to);
	c->in = in;
	apply(&dir->seen, c);
}

struct inode *inode_new(unsigned machine, bool is_dir)
{
	struct inode *in = calloc(1, sizeof(*in));

	assert(in);
	in->machine = machine;
	in->is_dir = is_dir;
	return in;
}

static struct inode *root_of(unsigned machine)
{
	assert(machine < MACHINES_MAX);
	if (!roots[machine])
		roots[machine] = inode_new(machine, true);
	return roots[machine];
}

/* The folder that ${path}'s last part lies in, and that part; NULL: there is none. */
struct inode *inode_walk(int dirfd, const char *path, char last[NAME_LEN])
{
	struct inode *in;
	const char *end;

	if (path[0] == '/') {
		in = root_of((unsigned)(path[1] - '0'));
		path += 2;
		path += *path == '/';
	} else {
		assert(dirfd >= FD_FIRST);
		in = disk_fds[dirfd - FD_FIRST].in;
	}
	last[0] = '\0';
	for (; *path; path = *end ? end + 1 : end) {
		char name[NAME_LEN];

		end = strchrnul(path, '/');
		if (end == path)
			continue;
		assert((size_t)(end - path) < NAME_LEN);
		memcpy(name, path, (size_t)(end - path));
		name[end - path] = '\0';
		if (strcmp(name, ".") == 0)
			continue;
		if (last[0]) {
			in = names_find(&in->seen, last);
			if (!in || !in->is_dir)
				return NULL;
		}
		strcpy(last, name);
	}
	return in;
}

struct inode *inode_at(int dirfd, const char *path)
{
	char last[NAME_LEN];
	struct inode *in = inode_walk(dirfd, path, last);

	return in && last[0] ? names_find(&in->seen, last) : in;
}

struct inode *inode_make_dir(int dirfd, const char *path)
{
	char last[NAME_LEN];
	struct inode *dir = inode_walk(dirfd, path, last), *in;

	if (!dir || !last[0])
		return dir;
	in = names_find(&dir->seen, last);
	if (!in) {
		in = inode_new(dir->machine, true);
		inode_change(dir, "", last, in);
	}
	return in;
}

struct table **inode_table(struct inode *in)
{
	return &in->table;
}

unsigned inode_machine(const struct inode *in)
{
	return in->machine;
}

/* ---- bytes ---- */

static struct page *page_at(struct inode *in, size_t i)
{
	if (i >= in->n_pages) {
		size_t n = i + 1 < 2 * in->n_pages ? 2 * in->n_pages : i + 1;

		in->pages = realloc(in->pages, n * sizeof(*in->pages));
		assert(in->pages);
		memset(in->pages + in->n_pages, 0, (n - in->n_pages) * sizeof(*in->pages));
		in->n_pages = n;
	}
	return &in->pages[i];
}

/* Its seen bytes are to change. */
static void own(struct page *p)
{
	uint8_t *seen;

	if (p->seen && p->seen != p->kept)
		return;
	seen = calloc(1, PAGE);
	assert(seen);
	if (p->seen)
		memcpy(seen, p->seen, PAGE);
	p->seen = seen;
}

void inode_put(struct inode *in, const uint8_t *from, size_t len, uint64_t off)
{
	while (len > 0) {
		size_t at = off % PAGE, n = PAGE - at < len ? PAGE - at : len;
		struct page *p = page_at(in, (size_t)(off / PAGE));

		own(p);
		p->version++;
		memcpy(p->seen + at, from, n);
		for (size_t s = at / SECTOR; s <= (at + n - 1) / SECTOR; s++)
			p->dirty |= (uint8_t)(1u << s);
		from += n;
		off += n;
		len -= n;
	}
}

void inode_get(const struct inode *in, uint8_t *to, size_t len, uint64_t off)
{
	while (len > 0) {
		size_t at = off % PAGE, n = PAGE - at < len ? PAGE - at : len;
		size_t i = (size_t)(off / PAGE);

		if (i < in->n_pages && in->pages[i].seen)
			memcpy(to, in->pages[i].seen + at, n);
		else
			memset(to, 0, n);
		to += n;
		off += n;
		len -= n;
	}
}

/* What lies from ${off} on reads as zeros. */
void inode_clear(struct inode *in, uint64_t off)
{
	for (size_t i = (size_t)(off / PAGE); i < in->n_pages; i++) {
		struct page *p = &in->pages[i];
		size_t at = i == off / PAGE ? off % PAGE : 0;

		if (!p->seen)
			continue;
		own(p);
		p->version++;
		memset(p->seen + at, 0, PAGE - at);
		for (size_t s = at / SECTOR; s < PAGE / SECTOR; s++)
			p->dirty |= (uint8_t)(1u << s);
	}
}

void inode_resize(struct inode *in, uint64_t size)
{
	if (size < in->size)
		inode_clear(in, size);
	in->size = size;
	if (size < in->cut)
		in->cut = size;
}

/* ---- syncs ---- */

/* A sync under way: what it found when it began, which is all that it carries over. */
struct sync {
	struct inode *in;
	uint64_t number;
	struct taken {
		size_t page;
		uint8_t dirty;
		uint64_t version;
		uint8_t bytes[PAGE];
	} * pages;
	size_t n_pages;
	uint64_t size, changes;
};

static void keep_sector(struct page *p, const uint8_t *from, unsigned s)
{
	if (!p->kept || p->kept == p->seen) {
		uint8_t *kept = calloc(1, PAGE);

		assert(kept);
		if (p->kept)
			memcpy(kept, p->kept, PAGE);
		p->kept = kept;
	}
	memcpy(p->kept + s * SECTOR, from + s * SECTOR, SECTOR);
}

static void sync_begin(struct inode *in, struct sync *s)
{
	size_t n = 0;

	*s = (struct sync){.in = in,
			   .number = ++in->n_syncs,
			   .size = in->size,
			   .changes = in->n_durable + in->n_changes};
	for (size_t i = 0; i < in->n_pages; i++)
		n += in->pages[i].dirty != 0;
	if (n == 0)
		return;
	s->pages = malloc(n * sizeof(*s->pages));
	assert(s->pages);
	for (size_t i = 0; i < in->n_pages; i++) {
		const struct page *p = &in->pages[i];
		struct taken *t = &s->pages[s->n_pages];

		if (!p->dirty)
			continue;
		*t = (struct taken){.page = i, .dirty = p->dirty, .version = p->version};
		memcpy(t->bytes, p->seen, PAGE);
		s->n_pages++;
	}
}

static void end_page(struct sync *s, const struct taken *t, bool lose)
{
	struct page *p = &s->in->pages[t->page];

	/* A later sync may have ended before. */
	for (unsigned i = 0; !lose && p->kept_by < s->number && i < PAGE / SECTOR; i++)
		if (t->dirty & 1u << i)
			keep_sector(p, t->bytes, i);
	if (!lose && p->kept_by < s->number)
		p->kept_by = s->number;
	p->lost = p->lost || lose;
	/* What was written meanwhile is the next sync's. */
	if (p->version != t->version)
		return;
	p->dirty = 0;
	if (!lose && !p->lost && p->kept != p->seen) {
		free(p->kept);
		p->kept = p->seen;
	}
}

static void sync_end(struct sync *s, bool lose)
{
	struct inode *in = s->in;

	for (size_t i = 0; i < s->n_pages; i++)
		end_page(s, &s->pages[i], lose);
	free(s->pages);
	s->pages = NULL;
	if (lose || in->size_kept_by > s->number)
		return;
	in->size_kept_by = s->number;
	in->kept_size = s->size;
	if (in->size == s->size)
		in->cut = s->size;
}

static void sync_folder(struct sync *s)
{
	struct inode *in = s->in;
	size_t n = s->changes > in->n_durable ? (size_t)(s->changes - in->n_durable) : 0;

	for (size_t i = 0; i < n; i++)
		apply(&in->kept, &in->changes[i]);
	in->n_changes -= n;
	in->n_durable += n;
	if (in->n_changes > 0)
		memmove(in->changes, in->changes + n, in->n_changes * sizeof(*in->changes));
}

static void sync_effect(struct sync *s, int rc)
{
	const struct disk_faults *f = &faults[s->in->machine];

	if (s->in->is_dir) {
		if (rc == 0 && !f->deaf_folders && !is_forgotten(s->in))
			sync_folder(s);
	} else if (!f->deaf_files || rc < 0) {
		/* What a sync that failed should have covered is lost, or still to be written. */
		if (rc == 0 || prng_one_in(&world_random, 2))
			sync_end(s, rc < 0);
	}
}

int inode_sync(struct inode *in)
{
	uint64_t ns = prng_log(&world_random, faults[in->machine].slow ? SECOND : 3 * MS);
	int rc = disk_fault(in->machine);
	bool late = !prng_one_in(&world_random, 4);
	struct sync s;

	sync_begin(in, &s);
	if (!late)
		sync_effect(&s, rc);
	stop(in->machine, in->is_dir);
	fiber_sleep(ns);
	if (late)
		sync_effect(&s, rc);
	stop(in->machine, in->is_dir);
	free(s.pages);
	return rc;
}

/* ---- crashes and copies ---- */

/* How much of what no sync covers a crash leaves: of 8, so many. */
static bool survives(unsigned of_eight)
{
	return prng_below(&world_random, 8) < of_eight;
}

static void all_durable(struct inode *in)
{
	struct sync s;

	sync_begin(in, &s);
	sync_end(&s, false);
}

static void crash_file(struct inode *in, unsigned of_eight)
{
	uint64_t seen_size = in->size;
	bool new_size = survives(of_eight);

	for (size_t i = 0; i < in->n_pages; i++) {
		struct page *p = &in->pages[i];

		for (unsigned s = 0; p->dirty && s < PAGE / SECTOR; s++) {
			uint64_t off = i * PAGE + s * SECTOR;

			/* What a new size cut off goes with that size. */
			if (p->dirty & 1u << s &&
			    (off >= in->cut && off < in->kept_size && off >= seen_size
				     ? new_size
				     : survives(of_eight)))
				keep_sector(p, p->seen, s);
		}
		p->dirty = 0;
		p->lost = false;
		if (p->seen != p->kept)
			free(p->seen);
		p->seen = p->kept;
	}
	if (!new_size)
		in->size = in->kept_size;
	in->kept_size = in->cut = in->size;
	inode_clear(in, in->size);
	all_durable(in);
}

static void crash_inode(struct inode *in, unsigned of_eight)
{
	bool in_order = prng_one_in(&world_random, 2), cut = false;

	if (!in->is_dir) {
		crash_file(in, of_eight);
		return;
	}
	for (size_t i = 0; i < in->n_changes; i++) {
		bool here = survives(of_eight);

		cut = cut || (in_order && !here);
		if (here && !cut)
			apply(&in->kept, &in->changes[i]);
	}
	in->n_durable += in->n_changes;
	in->n_changes = 0;
	names_copy(&in->seen, &in->kept);
	for (size_t i = 0; i < in->seen.n; i++)
		crash_inode(in->seen.e[i].in, of_eight);
	if (in->table)
		table_crash(in->table);
}

static void unlock_all(struct inode *in)
{
	in->locked_by = 0;
	for (size_t i = 0; i < in->seen.n; i++)
		unlock_all(in->seen.e[i].in);
}

void disk_kill(unsigned machine)
{
	for (int i = 0; i < FDS_MAX; i++)
		if (disk_fds[i].in && disk_fds[i].machine == machine)
			disk_fds[i].in = NULL;
	unlock_all(root_of(machine));
	faults[machine].stop_in = 0;
}

void disk_crash(unsigned machine)
{
	static const unsigned kinds[] = {0, 0, 1, 4, 7, 8};

	disk_kill(machine);
	crash_inode(root_of(machine),
		    kinds[prng_below(&world_random, sizeof(kinds) / sizeof(kinds[0]))]);
}

static void drop_tables(struct inode *in)
{
	if (in->table)
		lost_catalog[in->machine] = true;
	in->table = NULL;
	for (size_t i = 0; i < in->seen.n; i++)
		drop_tables(in->seen.e[i].in);
}

void disk_drop_catalogs(unsigned machine)
{
	drop_tables(root_of(machine));
}

bool disk_lost_catalog(unsigned machine)
{
	return lost_catalog[machine];
}

/* A copy of what is seen, all of it durable. */
static struct inode *inode_copy(const struct inode *in)
{
	struct inode *c = inode_new(in->machine, in->is_dir);

	for (size_t i = 0; i < in->seen.n; i++)
		names_set(&c->seen, in->seen.e[i].name, inode_copy(in->seen.e[i].in));
	names_copy(&c->kept, &c->seen);
	for (size_t i = 0; i < in->n_pages; i++)
		if (in->pages[i].seen)
			inode_put(c, in->pages[i].seen, PAGE, i * PAGE);
	c->size = in->size;
	if (in->table)
		c->table = table_copy(in->table);
	all_durable(c);
	return c;
}

struct disk_snapshot *disk_snapshot(unsigned machine)
{
	struct disk_snapshot *s = malloc(sizeof(*s));

	assert(s);
	s->root = inode_copy(root_of(machine));
	return s;
}

void disk_restore(unsigned machine, const struct disk_snapshot *s)
{
	roots[machine] = inode_copy(s->root);
}

void disk_wipe(unsigned machine)
{
	roots[machine] = inode_new(machine, true);
}

bool disk_read(const char *path, uint64_t off, void *out, size_t len)
{
	const struct inode *in = inode_at(-1, path);

	if (!in || in->is_dir || off + len > in->size)
		return false;
	inode_get(in, out, len, off);
	return true;
}

size_t disk_file_size(const char *path)
{
	const struct inode *in = inode_at(-1, path);

	return in ? (size_t)in->size : 0;
}
