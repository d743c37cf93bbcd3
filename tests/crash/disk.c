/*
 * The disk of disk.h.
 *
 * Key idea: each file and folder has a durable state and a list of changes since, in order.  A
 * sync applies what was there when it began.  A cut applies some of the rest, which may leave out
 * any, and forgets the others.
 *
 * Invariant: durable state plus all pending changes is what a running program sees.
 */

#include "disk.h"

#include "file.h"
#include "model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u
#define SECTOR 512u
#define NAME_MAX_LEN 64u

/* A change that no sync covers yet. */
struct change {
	enum { CHANGE_BYTES, CHANGE_SIZE, CHANGE_LINK, CHANGE_UNLINK, CHANGE_RENAME } kind;
	uint64_t number; /* over the whole disk, ascending */
	bool lost;
	/* CHANGE_BYTES: data NULL means zeros.  CHANGE_SIZE: off. */
	uint64_t off, len;
	const uint8_t *data;
	bool keep_size;
	/* Of a folder. */
	char name[NAME_MAX_LEN], to[NAME_MAX_LEN];
	struct object *object;
};

struct entry {
	char name[NAME_MAX_LEN];
	struct object *object;
};

struct object {
	bool folder;
	/* Durable. */
	uint8_t **pages;
	size_t n_pages;
	uint64_t size;
	struct entry *entries;
	size_t n_entries;
	/* Pending. */
	struct change *changes;
	size_t n_changes, cap_changes;
	/* As a running program sees it. */
	struct entry *live;
	size_t n_live;
};

struct sync {
	uint64_t number;
	struct object *object;
	uint64_t up_to; /* changes below this number are covered */
};

struct disk {
	char *root;
	enum forget forget;
	struct object **objects;
	size_t n_objects;
	struct object *top;
	struct object **openings;
	size_t n_openings;
	struct sync syncs[64];
	size_t n_syncs;
	uint64_t number;
};

static void die(const char *what, const char *which)
{
	fprintf(stderr, "disk: %s: %s\n", what, which);
	abort();
}

static void *grow(void *p, size_t n, size_t size)
{
	p = realloc(p, n * size);
	if (!p)
		die("no memory", "");
	return p;
}

static struct object *object_new(struct disk *d, bool folder)
{
	struct object *o = calloc(1, sizeof(*o));

	if (!o)
		die("no memory", "");
	o->folder = folder;
	d->objects = grow(d->objects, d->n_objects + 1, sizeof(*d->objects));
	d->objects[d->n_objects++] = o;
	return o;
}

struct disk *disk_new(const char *root, enum forget forget)
{
	struct disk *d = calloc(1, sizeof(*d));

	if (!d)
		die("no memory", "");
	d->root = strdup(root);
	d->forget = forget;
	d->top = object_new(d, true);
	return d;
}

void disk_free(struct disk *d)
{
	for (size_t i = 0; i < d->n_objects; i++) {
		struct object *o = d->objects[i];

		for (size_t p = 0; p < o->n_pages; p++)
			free(o->pages[p]);
		free(o->pages);
		free(o->entries);
		free(o->live);
		free(o->changes);
		free(o);
	}
	free(d->objects);
	free(d->openings);
	free(d->root);
	free(d);
}

/* ---- names ---- */

static struct entry *find(struct entry *e, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(e[i].name, name) == 0)
			return &e[i];
	return NULL;
}

static void put_entry(struct entry **list, size_t *n, const char *name, struct object *o)
{
	struct entry *e = find(*list, *n, name);
	size_t len = strlen(name) + 1;

	if (!e) {
		*list = grow(*list, *n + 1, sizeof(**list));
		e = &(*list)[(*n)++];
		if (len > sizeof(e->name))
			die("too long a name", name);
		memcpy(e->name, name, len);
	}
	e->object = o;
}

static void drop_entry(struct entry *list, size_t *n, const char *name)
{
	struct entry *e = find(list, *n, name);

	if (e)
		*e = list[--*n];
}

static void apply_entry(struct entry **list, size_t *n, const struct change *c)
{
	if (c->kind == CHANGE_UNLINK || c->kind == CHANGE_RENAME)
		drop_entry(*list, n, c->name);
	if (c->kind == CHANGE_LINK)
		put_entry(list, n, c->name, c->object);
	if (c->kind == CHANGE_RENAME)
		put_entry(list, n, c->to, c->object);
}

/* The folder that ${path} lies in, and the last name. */
static struct object *walk(struct disk *d, const char *path, char name[NAME_MAX_LEN])
{
	const char *at = path + strlen(d->root);
	struct object *o = d->top;

	name[0] = '\0';
	while (*at) {
		struct entry *e;
		size_t len;

		at += strspn(at, "/");
		len = strcspn(at, "/");
		if (len >= NAME_MAX_LEN)
			die("too long a name", path);
		memcpy(name, at, len);
		name[len] = '\0';
		at += len;
		if (!*at)
			break;
		e = find(o->live, o->n_live, name);
		if (!e || !e->object->folder)
			die("no such folder", path);
		o = e->object;
	}
	return o;
}

/* ---- changes ---- */

static struct change *add_change(struct disk *d, struct object *o)
{
	struct change *c;

	if (o->n_changes == o->cap_changes) {
		o->cap_changes = 2 * o->cap_changes + 16;
		o->changes = grow(o->changes, o->cap_changes, sizeof(*o->changes));
	}
	c = &o->changes[o->n_changes++];
	memset(c, 0, sizeof(*c));
	c->number = ++d->number;
	return c;
}

static void change_names(struct disk *d, struct object *folder, int kind, const char *name,
			 const char *to, struct object *o)
{
	struct change *c = add_change(d, folder);

	c->kind = kind;
	c->object = o;
	snprintf(c->name, sizeof(c->name), "%s", name);
	snprintf(c->to, sizeof(c->to), "%s", to);
	apply_entry(&folder->live, &folder->n_live, c);
}

static void need_page(struct object *o, size_t page)
{
	if (page >= o->n_pages) {
		o->pages = grow(o->pages, page + 1, sizeof(*o->pages));
		memset(o->pages + o->n_pages, 0, (page + 1 - o->n_pages) * sizeof(*o->pages));
		o->n_pages = page + 1;
	}
	if (!o->pages[page])
		o->pages[page] = calloc(1, PAGE);
	if (!o->pages[page])
		die("no memory", "");
}

static void store(struct object *o, uint64_t off, uint64_t len, const uint8_t *data)
{
	while (len > 0) {
		size_t page = (size_t)(off / PAGE), in = off % PAGE;
		size_t n = len < PAGE - in ? (size_t)len : PAGE - in;

		if (data) {
			need_page(o, page);
			memcpy(o->pages[page] + in, data, n);
			data += n;
		} else if (page < o->n_pages && o->pages[page]) {
			memset(o->pages[page] + in, 0, n);
		}
		off += n;
		len -= n;
	}
}

static void cut_size(struct object *o, uint64_t size)
{
	if (size < o->size)
		store(o, size, o->size - size, NULL);
	o->size = size;
}

/* A whole change, to what is durable. */
static void apply(struct object *o, const struct change *c)
{
	switch (c->kind) {
	case CHANGE_BYTES:
		store(o, c->off, c->len, c->data);
		if (!c->keep_size && c->off + c->len > o->size)
			o->size = c->off + c->len;
		break;
	case CHANGE_SIZE:
		cut_size(o, c->off);
		break;
	default:
		apply_entry(&o->entries, &o->n_entries, c);
	}
}

/* The changes below ${up_to}: durable, or lost. */
static void settle(struct object *o, uint64_t up_to, bool lost)
{
	size_t kept = 0;

	for (size_t i = 0; i < o->n_changes; i++) {
		struct change *c = &o->changes[i];

		if (c->number >= up_to || (lost && o->folder)) {
			o->changes[kept++] = *c;
		} else if (lost) {
			c->lost = true;
			o->changes[kept++] = *c;
		} else if (!c->lost) {
			apply(o, c);
		}
	}
	o->n_changes = kept;
}

/* ---- playing ---- */

static struct object *opened(struct disk *d, const struct record *r)
{
	if (r->opening >= d->n_openings || !d->openings[r->opening])
		die("a descriptor that nobody opened", "");
	return d->openings[r->opening];
}

static void play_open(struct disk *d, const struct record *r, const char *path)
{
	char name[NAME_MAX_LEN];
	struct object *folder = walk(d, path, name), *o = d->top;
	struct entry *e = name[0] ? find(folder->live, folder->n_live, name) : NULL;

	if (e) {
		o = e->object;
	} else if (name[0]) {
		if (!((int)r->a & O_CREAT))
			die("opened, and never made", path);
		o = object_new(d, false);
		change_names(d, folder, CHANGE_LINK, name, "", o);
	}
	if ((int)r->a & O_TRUNC)
		add_change(d, o)->kind = CHANGE_SIZE;
	if (r->opening >= d->n_openings) {
		d->openings = grow(d->openings, r->opening + 1, sizeof(*d->openings));
		for (size_t i = d->n_openings; i <= r->opening; i++)
			d->openings[i] = NULL;
		d->n_openings = r->opening + 1;
	}
	d->openings[r->opening] = o;
}

static void play_write(struct disk *d, const struct record *r, const uint8_t *data)
{
	struct object *o = opened(d, r);
	struct change *c = add_change(d, o);

	c->kind = CHANGE_BYTES;
	c->off = r->a;
	c->len = r->data_len;
	c->data = data;
	/* By O_DSYNC: but it covers no older write. */
	if (r->b) {
		apply(o, c);
		o->n_changes--;
	}
}

static void play_allocate(struct disk *d, const struct record *r)
{
	struct change *c;

	if (r->c == FALLOC_FL_KEEP_SIZE)
		return;
	c = add_change(d, opened(d, r));
	c->kind = CHANGE_BYTES;
	c->off = r->a;
	c->len = r->b;
	if (r->c == 0) {
		/* The size alone: what is there stays. */
		c->off += c->len;
		c->len = 0;
	} else if (r->c == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) {
		c->keep_size = true;
	} else {
		die("an unknown mode of fallocate", "");
	}
}

static void play_sync_begin(struct disk *d, const struct record *r)
{
	if (d->n_syncs == sizeof(d->syncs) / sizeof(d->syncs[0]))
		die("too many syncs at once", "");
	d->syncs[d->n_syncs++] = (struct sync){r->a, opened(d, r), d->number + 1};
}

static void play_sync_end(struct disk *d, const struct record *r)
{
	for (size_t i = 0; i < d->n_syncs; i++) {
		struct sync s = d->syncs[i];

		if (s.number != r->a)
			continue;
		d->syncs[i] = d->syncs[--d->n_syncs];
		if (d->forget != (s.object->folder ? FORGET_FOLDERS : FORGET_FILES))
			settle(s.object, s.up_to, r->b != 0);
		return;
	}
	die("a sync ends that did not begin", "");
}

static void play_names(struct disk *d, const struct record *r, const char *path)
{
	char name[NAME_MAX_LEN], to[NAME_MAX_LEN];
	struct object *folder = walk(d, path, name), *other = folder;
	struct entry *e = find(folder->live, folder->n_live, name);

	if (r->kind == RECORD_MKDIR) {
		change_names(d, folder, CHANGE_LINK, name, "", object_new(d, true));
		return;
	}
	if (!e)
		die("no such name", path);
	if (r->kind == RECORD_UNLINK) {
		change_names(d, folder, CHANGE_UNLINK, name, "", NULL);
		return;
	}
	other = walk(d, path + strlen(path) + 1, to);
	if (other != folder && r->kind == RECORD_RENAME)
		die("a rename from folder to folder", path);
	change_names(d, other, r->kind == RECORD_LINK ? CHANGE_LINK : CHANGE_RENAME,
		     r->kind == RECORD_LINK ? to : name, to, e->object);
}

void disk_play(struct disk *d, const struct record *r)
{
	const char *text = (const char *)(r + 1);
	struct change *c;

	switch (r->kind) {
	case RECORD_OPEN:
		play_open(d, r, text);
		break;
	case RECORD_WRITE:
		play_write(d, r, (const uint8_t *)text + r->text_len);
		break;
	case RECORD_SYNC_BEGIN:
		play_sync_begin(d, r);
		break;
	case RECORD_SYNC_END:
		play_sync_end(d, r);
		break;
	case RECORD_TRUNCATE:
		c = add_change(d, opened(d, r));
		c->kind = CHANGE_SIZE;
		c->off = r->a;
		break;
	case RECORD_ALLOCATE:
		play_allocate(d, r);
		break;
	case RECORD_MARK:
		break;
	default:
		play_names(d, r, text);
	}
}

size_t disk_pending(const struct disk *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_objects; i++)
		n += d->objects[i]->n_changes;
	return n;
}

/* ---- what was there before ---- */

static void import_file(struct object *o, int dirfd, const char *name)
{
	static uint8_t buf[64 * PAGE];
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	off_t at = 0, end;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		die("can't import", name);
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		end = lseek(fd, at, SEEK_HOLE);
		while (at < end && (n = pread(fd, buf, sizeof(buf), at)) > 0) {
			store(o, (uint64_t)at, (uint64_t)n, buf);
			at += n;
		}
	}
	o->size = (uint64_t)st.st_size;
	close(fd);
}

static void import_folder(struct disk *d, struct object *o, int dirfd, const char *path)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(dup(fd));
	struct dirent *e;

	if (!dir)
		die("can't import", path);
	while ((e = readdir(dir)) != NULL) {
		struct object *child;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		child = object_new(d, e->d_type == DT_DIR);
		put_entry(&o->entries, &o->n_entries, e->d_name, child);
		put_entry(&o->live, &o->n_live, e->d_name, child);
		if (child->folder)
			import_folder(d, child, fd, e->d_name);
		else
			import_file(child, fd, e->d_name);
	}
	closedir(dir);
	close(fd);
}

void disk_import(struct disk *d, const char *path)
{
	import_folder(d, d->top, AT_FDCWD, path);
}

/* ---- the cut ---- */

const char *cut_name(enum cut cut)
{
	static const char *const names[CUT_END] = {"all", "none", "ordered", "random",
						   "few", "most", "names",   "bytes"};

	return names[cut];
}

/* Some sectors of a write. */
static void tear(struct object *o, const struct change *c, bool in_order, uint64_t *random)
{
	uint64_t at = c->off, end = c->off + c->len;
	uint64_t stop = in_order ? c->off + model_random(random) % (c->len + 1) : end;

	while (at < end) {
		uint64_t next = at / SECTOR * SECTOR + SECTOR;

		if (next > end)
			next = end;
		if (in_order ? next <= stop : model_random(random) % 2)
			store(o, at, next - at, c->data ? c->data + (at - c->off) : NULL);
		at = next;
	}
}

/* The size that a write leads to may be known before its bytes are there, or after. */
static void grow_size(struct object *o, const struct change *c)
{
	if (c->kind == CHANGE_BYTES && !c->keep_size && c->off + c->len > o->size)
		o->size = c->off + c->len;
}

struct fate {
	enum cut cut;
	uint64_t last; /* CUT_ORDERED: changes after this are not there */
	uint64_t *random;
};

static bool is_there(const struct fate *f, const struct change *c)
{
	unsigned percent = f->cut == CUT_RANDOM ? 50 : f->cut == CUT_FEW ? 8 : 92;

	if (c->lost)
		return false;
	switch (f->cut) {
	case CUT_ALL:
		return true;
	case CUT_NONE:
		return false;
	case CUT_ORDERED:
		return c->number <= f->last;
	case CUT_NAMES:
		return true;
	case CUT_BYTES:
		return c->kind == CHANGE_BYTES;
	default:
		return model_random(f->random) % 100 < percent;
	}
}

static void cut_object(struct object *o, const struct fate *f)
{
	bool may_tear = f->cut == CUT_RANDOM || f->cut == CUT_FEW || f->cut == CUT_MOST;

	for (size_t i = 0; i < o->n_changes; i++) {
		struct change *c = &o->changes[i];
		bool there = is_there(f, c);

		if (f->cut == CUT_NAMES && c->kind == CHANGE_BYTES) {
			if (there)
				grow_size(o, c);
		} else if (f->cut == CUT_BYTES) {
			if (there)
				store(o, c->off, c->len, c->data);
		} else if (c->kind == CHANGE_BYTES && may_tear && !c->lost &&
			   model_random(f->random) % 4 == 0) {
			tear(o, c, false, f->random);
			if (model_random(f->random) % 2)
				grow_size(o, c);
		} else if (c->kind == CHANGE_BYTES && f->cut == CUT_ORDERED && there &&
			   c->number == f->last) {
			tear(o, c, true, f->random);
			grow_size(o, c);
		} else if (there) {
			apply(o, c);
		}
	}
	o->n_changes = 0;
	/* Bytes beyond the size are not there. */
	if (o->n_pages * (uint64_t)PAGE > o->size)
		store(o, o->size, o->n_pages * (uint64_t)PAGE - o->size, NULL);
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static uint64_t some_number(const struct disk *d, uint64_t *random)
{
	size_t n = disk_pending(d), at = 0;
	uint64_t *numbers, found;

	if (n == 0)
		return 0;
	numbers = grow(NULL, n, sizeof(*numbers));
	for (size_t i = 0; i < d->n_objects; i++)
		for (size_t j = 0; j < d->objects[i]->n_changes; j++)
			numbers[at++] = d->objects[i]->changes[j].number;
	qsort(numbers, n, sizeof(*numbers), by_number);
	found = numbers[model_random(random) % n];
	free(numbers);
	return found;
}

void disk_cut(struct disk *d, enum cut cut, uint64_t *random)
{
	struct fate f = {.cut = cut, .random = random};

	if (cut == CUT_ORDERED)
		f.last = some_number(d, random);
	for (size_t i = 0; i < d->n_objects; i++)
		cut_object(d->objects[i], &f);
}

/* ---- folders on the real disk ---- */

static void write_file(const struct object *o, int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)o->size) < 0)
		die("can't make a file", name);
	for (size_t i = 0; i < o->n_pages && (uint64_t)i * PAGE < o->size; i++) {
		uint64_t left = o->size - (uint64_t)i * PAGE;
		size_t len = left < PAGE ? (size_t)left : PAGE;

		if (o->pages[i] && pwrite(fd, o->pages[i], len, (off_t)i * PAGE) != (ssize_t)len)
			die("can't write a file", name);
	}
	close(fd);
}

static void write_folder(const struct object *o, int dirfd, const char *path)
{
	int fd;

	if (mkdirat(dirfd, path, 0700) < 0)
		die("can't make a folder", path);
	fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		die("can't open a folder", path);
	for (size_t i = 0; i < o->n_entries; i++) {
		const struct entry *e = &o->entries[i];

		if (e->object->folder)
			write_folder(e->object, fd, e->name);
		else
			write_file(e->object, fd, e->name);
	}
	close(fd);
}

void disk_write(struct disk *d, const char *path)
{
	write_folder(d->top, AT_FDCWD, path);
}

/* The live content of a file: durable bytes and all changes. */
static uint8_t *live_bytes(const struct object *o, uint64_t *out_size)
{
	struct object copy = {.size = o->size};
	uint64_t size = o->size;
	uint8_t *bytes;

	copy.pages = grow(NULL, o->n_pages + 1, sizeof(*copy.pages));
	memset(copy.pages, 0, (o->n_pages + 1) * sizeof(*copy.pages));
	copy.n_pages = o->n_pages;
	for (size_t i = 0; i < o->n_pages; i++)
		if (o->pages[i])
			store(&copy, (uint64_t)i * PAGE, PAGE, o->pages[i]);
	for (size_t i = 0; i < o->n_changes; i++)
		apply(&copy, &o->changes[i]);
	size = copy.size;
	bytes = calloc(1, (size_t)size + PAGE);
	for (size_t i = 0; i < copy.n_pages; i++) {
		if (copy.pages[i] && (uint64_t)i * PAGE < size)
			memcpy(bytes + i * PAGE, copy.pages[i], PAGE);
		free(copy.pages[i]);
	}
	free(copy.pages);
	*out_size = size;
	return bytes;
}

static bool same_file(const struct object *o, int dirfd, const char *name)
{
	uint64_t size;
	uint8_t *want = live_bytes(o, &size), *got;
	bool same = false;
	struct stat st;
	int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);

	got = malloc((size_t)size + 1);
	if (fd >= 0 && fstat(fd, &st) == 0)
		same = (uint64_t)st.st_size == size &&
		       read(fd, got, (size_t)size) == (ssize_t)size &&
		       memcmp(want, got, (size_t)size) == 0;
	/* RocksDB's journal of events is written as a stream, which nobody records. */
	if (!same && strncmp(name, "LOG", 3) == 0)
		same = true;
	if (!same)
		fprintf(stderr, "disk: file %s is not as recorded\n", name);
	if (fd >= 0)
		close(fd);
	free(want);
	free(got);
	return same;
}

static bool same_folder(const struct object *o, int dirfd, const char *path)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(dup(fd));
	bool same = dir != NULL;
	struct dirent *e;
	size_t n = 0;

	while (dir && (e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		n++;
		if (!find(o->live, o->n_live, e->d_name)) {
			fprintf(stderr, "disk: %s was made unseen\n", e->d_name);
			same = false;
		}
	}
	if (n != o->n_live) {
		fprintf(stderr, "disk: folder %s has %zu names, not %zu\n", path, n, o->n_live);
		same = false;
	}
	for (size_t i = 0; same && i < o->n_live; i++) {
		const struct entry *le = &o->live[i];

		same = le->object->folder ? same_folder(le->object, fd, le->name)
					  : same_file(le->object, fd, le->name);
	}
	if (dir)
		closedir(dir);
	if (fd >= 0)
		close(fd);
	return same;
}

bool disk_compare(struct disk *d, const char *path)
{
	return same_folder(d->top, AT_FDCWD, path);
}

/* ---- recordings ---- */

void recording_load(struct recording *r, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die("no recording", path);
	r->len = (size_t)st.st_size;
	r->bytes = r->len ? mmap(NULL, r->len, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
	if (r->bytes == MAP_FAILED)
		die("can't map", path);
	close(fd);
}

void recording_free(struct recording *r)
{
	if (r->len)
		munmap(r->bytes, r->len);
}

const struct record *recording_next(const struct recording *r, size_t *at)
{
	const struct record *rec;

	if (*at == r->len)
		return NULL;
	rec = (const struct record *)(r->bytes + *at);
	if (r->len - *at < sizeof(*rec))
		die("a recording that is cut off", "");
	*at += sizeof(*rec) + rec->text_len + rec->data_len + record_padding(rec);
	return rec;
}
