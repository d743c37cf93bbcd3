/*
 * Bit rot: one bit changes in one byte of a volume at rest, for each byte of each of its files in
 * turn, or for random ones of a bigger volume.
 *
 * What must hold each time: check reads it all and reports damage, unless the byte means nothing
 * (the catalog, which is rebuilt, the lock, and newest-head, which is written anew); a block of file data that
 * is damaged is told with the file's name; reading gives an error for what is damaged and the right bytes for everything
 * else, never wrong ones; opening the volume either refuses or has all, and a second opening decides as the
 * first, with the catalog as it was or as an earlier mount left it; and with a copy that is whole the log
 * is healed, byte for byte.
 */

#include "ground.h"
#include "model.h"

#include "blocks.h"
#include "cache.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "head.h"
#include "log.h"
#include "repair.h"
#include "source.h"
#include "source_folder.h"
#include "view.h"
#include "volume.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 4u
#define PATHS_MAX 32u
#define READ_LEN 4096u

struct file {
	char name[16];
	uint64_t ino;
	size_t size;
	uint8_t *data;
	uint64_t from, to; /* positions of the log between which its data lies */
};

/* A file of the volume's folder. */
struct victim {
	char path[GROUND_PATH];
	bool log, catalog, nothing; /* the lock, newest-head */
	uint64_t start; /* of a segment */
	size_t size;
	uint8_t *bytes;
};

struct run {
	uint64_t seed;
	unsigned stride, random; /* 0: each ${stride}-th byte; else so many random ones */
	bool large, blind;
	bool older; /* it is opened with the older catalog */
	char base[GROUND_PATH], dir[GROUND_PATH], good[GROUND_PATH];
	char catalog[GROUND_PATH], older_catalog[GROUND_PATH];
	struct ground ground;
	struct file files[FILES];
	struct victim victims[PATHS_MAX];
	unsigned n_victims;
	unsigned long flips, reported, harmless, healed, refused, opened;
	unsigned failed;
};

static uint64_t dice;

#define BAD(r, ...)                                                                                \
	do {                                                                                       \
		fprintf(stderr, __VA_ARGS__);                                                      \
		fputc('\n', stderr);                                                               \
		(r)->failed++;                                                                     \
	} while (0)

/* ---- the volume ---- */

static int add_file(struct run *r, struct volume *v, unsigned i)
{
	static const size_t sizes[FILES] = {300, 9000, 2500, 700};
	static const struct caller root = {0};
	struct file *f = &r->files[i];
	struct attr a;
	int rc;

	snprintf(f->name, sizeof(f->name), "rot-%u", i);
	f->size = sizes[i] * (r->large ? 700 : 1);
	f->data = malloc(f->size);
	for (size_t b = 0; b < f->size; b++)
		f->data[b] = i % 2 ? (uint8_t)model_random(&dice) : (uint8_t)(b / 100);
	f->from = log_end(volume_log(v));
	rc = volume_make_node(v, &root, INO_ROOT, f->name, S_IFREG | 0600, 0, NULL, &a);
	f->ino = a.ino;
	for (size_t at = 0; rc == 0 && at < f->size; at += 1 << 20) {
		size_t len = f->size - at < 1 << 20 ? f->size - at : 1 << 20;

		rc = volume_write(v, NULL, f->ino, at, len, f->data + at, false);
	}
	if (rc == 0)
		rc = volume_sync(v);
	f->to = log_end(volume_log(v));
	return rc;
}

static void copy_folder(const char *from, const char *to)
{
	char command[3 * GROUND_PATH];

	snprintf(command, sizeof(command), "cp -r '%s' '%s'", from, to);
	if (system(command) != 0)
		ground_die("no copy of %s", from);
}

static int make(struct run *r)
{
	struct volume *v;
	struct head head;
	int rc;

	if (mkdir(r->dir, 0700) < 0)
		return -errno;
	rc = ground_make(&r->ground, r->dir);
	for (unsigned session = 0; rc == 0 && session < 2; session++) {
		rc = ground_open(&r->ground, r->dir, &v);
		for (unsigned i = 0; rc == 0 && i < FILES / 2; i++) {
			rc = add_file(r, v, session * FILES / 2 + i);
			if (rc == 0)
				rc = volume_add_head(v, &head);
		}
		if (rc == 0)
			rc = volume_close(v);
		if (rc == 0 && session == 0)
			copy_folder(r->catalog, r->older_catalog);
	}
	return rc;
}

static void add_victim(struct run *r, const char *folder, const char *name)
{
	struct victim *f = &r->victims[r->n_victims];
	void *bytes;

	if (r->n_victims == PATHS_MAX)
		ground_die("too many files");
	ground_path(f->path, folder, name);
	if (file_read_all(AT_FDCWD, f->path, SEGMENT_SIZE, &bytes, &f->size) < 0)
		ground_die("%s: can't be read", f->path);
	f->bytes = bytes;
	f->log = strstr(f->path, "/log/") != NULL;
	f->catalog = strstr(f->path, "/catalog/") != NULL;
	f->nothing = strcmp(name, "lock") == 0 || strcmp(name, "newest-head") == 0;
	f->start = f->log ? segment_start(strtoull(name, NULL, 16)) : 0;
	r->n_victims++;
}

struct listing {
	struct run *r;
	const char *folder;
};

static int take_name(void *ctx, const char *name)
{
	struct listing *l = ctx;
	char path[GROUND_PATH];
	struct stat st;

	/* What is allocated ahead holds nothing yet. */
	if (strcmp(name, "spare") == 0)
		return 0;
	ground_path(path, l->folder, name);
	if (stat(path, &st) < 0)
		ground_die("%s: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode)) {
		struct listing below = {l->r, path};

		return file_list(AT_FDCWD, path, take_name, &below);
	}
	add_victim(l->r, l->folder, name);
	return 0;
}

static void take_victims(struct run *r)
{
	struct listing l = {r, r->dir};

	if (file_list(AT_FDCWD, r->dir, take_name, &l) < 0)
		ground_die("%s: can't be listed", r->dir);
}

static void write_victim(const struct victim *f)
{
	int fd = open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || (f->size > 0 && write(fd, f->bytes, f->size) != (ssize_t)f->size))
		ground_die("%s: %s", f->path, strerror(errno));
	close(fd);
}

/* All as it was, but for the log unless ${log}. */
static void restore(struct run *r, bool log)
{
	ground_remove(r->catalog);
	if (mkdir(r->catalog, 0700) < 0)
		ground_die("%s: %s", r->catalog, strerror(errno));
	for (unsigned i = 0; i < r->n_victims; i++)
		if (r->victims[i].catalog || (log && r->victims[i].log))
			write_victim(&r->victims[i]);
}

/* ---- what must hold ---- */

struct reader {
	struct source *src;
	struct view_config vc;
	struct view *v;
};

static int reader_open(const struct run *r, const char *dir, struct reader *rd)
{
	struct block_io io;
	struct head head;
	int rc;

	memset(rd, 0, sizeof(*rd));
	rd->vc.name_key = r->ground.keys.name_key;
	rc = source_open_folder(dir, &rd->src);
	if (rc < 0)
		return rc;
	rd->vc.source = rd->src;
	rc = blocks_new(rd->src, r->ground.keys.log_key, &rd->vc.blocks);
	if (rc < 0)
		return rc;
	io = blocks_io(rd->vc.blocks);
	rc = node_cache_new((size_t)4 << 20, &io, &rd->vc.cache);
	if (rc == 0)
		rc = rd->src->ops->head_at(rd->src, INT64_MAX, &head);
	if (rc == 0)
		rc = view_open(&rd->vc, &head, &rd->v);
	return rc;
}

static void reader_close(struct reader *rd)
{
	if (rd->v)
		view_close(rd->v);
	if (rd->vc.cache)
		node_cache_free(rd->vc.cache);
	if (rd->vc.blocks)
		blocks_free(rd->vc.blocks);
	if (rd->src)
		source_free(rd->src);
}

static bool is_damage(int rc)
{
	return rc == -ERR_DAMAGED || rc == -ERR_TAMPERED || rc == -ERR_ABSENT ||
	       rc == -ERR_FORMAT || rc == -ERR_VERSION;
}

/* Bit i: file i can't be read as a whole.  Wrong bytes are a failure. */
static unsigned read_files(struct run *r, struct view *v)
{
	static uint8_t buf[READ_LEN];
	unsigned hurt = 0;

	for (unsigned i = 0; i < FILES; i++) {
		struct file *f = &r->files[i];
		struct attr a;
		size_t len;
		int rc = view_lookup(v, INO_ROOT, f->name, &a);

		if (rc == 0 && a.size != f->size)
			BAD(r, "%s: has %llu bytes", f->name, (unsigned long long)a.size);
		if (rc == -ENOENT)
			BAD(r, "%s: is gone without an error", f->name);
		for (size_t at = 0; rc == 0 && at < f->size; at += READ_LEN) {
			int part = view_read(v, a.ino, at, READ_LEN, buf, &len);

			if (part == 0 && memcmp(buf, f->data + at, len) != 0)
				BAD(r, "%s: reads wrong bytes at %zu", f->name, at);
			if (part < 0 && !is_damage(part))
				BAD(r, "%s: error %d", f->name, part);
			if (part < 0)
				hurt |= 1u << i;
		}
		if (rc < 0)
			hurt |= 1u << i;
	}
	return hurt;
}

/* The block that holds position ${pos}, from the log as it was. */
static bool is_data(const struct run *r, const struct victim *f, size_t off)
{
	size_t at = 0;
	struct frame fr;

	(void)r;
	while (at + FRAME_LEN <= f->size && frame_decode(f->bytes + at, f->start + at, &fr) == 0) {
		/* A flip in the frame itself ends the walk, so only the body counts. */
		if (off >= at + FRAME_LEN && off < at + FRAME_LEN + fr.body_len)
			return fr.kind == BLOCK_DATA;
		at += FRAME_LEN + fr.body_len;
	}
	return false;
}

static void judge_data(struct run *r, const struct victim *f, size_t off, unsigned hurt)
{
	for (unsigned i = 0; i < FILES; i++) {
		const struct file *one = &r->files[i];
		uint64_t pos = f->start + off;
		bool its = pos >= one->from && pos < one->to;
		char words[64];

		if (!its && hurt & 1u << i)
			BAD(r, "position %llu costs %s, which does not lie there",
			    (unsigned long long)pos, one->name);
		if (its && !(hurt & 1u << i))
			BAD(r, "position %llu: %s is read as if nothing were",
			    (unsigned long long)pos, one->name);
		snprintf(words, sizeof(words), "damaged: /%s (inode", one->name);
		if (its && !strstr(ground_reports(), words))
			BAD(r, "position %llu: check does not name %s:\n%s",
			    (unsigned long long)pos, one->name, ground_reports());
	}
}

static void repair_report(void *ctx, const char *text)
{
	(void)ctx;
	(void)text;
}

/* With the whole copy in ${r->good}. */
static void judge_healing(struct run *r, const struct victim *f, size_t off)
{
	struct repair_config cfg = {
		.dir = r->dir, .params = &r->ground.params, .report = repair_report};
	struct repair_counts counts;
	void *bytes;
	size_t len;
	int rc = source_open_folder(r->good, &cfg.source);

	if (rc < 0)
		ground_die("the good copy: %s", err_detail(rc));
	rc = repair_log(&cfg, &counts);
	source_free(cfg.source);
	if (rc < 0 || counts.failed) {
		BAD(r, "%s byte %zu: not healed: %s", f->path, off, err_detail(rc));
		return;
	}
	if (file_read_all(AT_FDCWD, f->path, SEGMENT_SIZE, &bytes, &len) < 0)
		ground_die("%s: can't be read", f->path);
	if (len != f->size || memcmp(bytes, f->bytes, len) != 0)
		BAD(r, "%s byte %zu: healed to other bytes", f->path, off);
	else
		r->healed++;
	free(bytes);
}

/* A volume that opens must have everything.  Returns why it does not open, or 0 and ${*out_hurt}. */
static int open_once(struct run *r, const struct victim *f, size_t off, unsigned *out_hurt)
{
	struct volume *v;
	int rc = ground_open(&r->ground, r->dir, &v);

	*out_hurt = 0;
	if (rc < 0) {
		r->refused++;
		if (!is_damage(rc))
			BAD(r, "%s byte %zu: does not open: %d %s", f->path, off, rc,
			    err_detail(rc));
		return rc;
	}
	r->opened++;
	*out_hurt = read_files(r, volume_view(v));
	if ((f->catalog || f->nothing) && *out_hurt != 0)
		BAD(r, "%s byte %zu: costs a file", f->path, off);
	/* What it writes now is undone with the rest. */
	(void)!volume_close(v);
	return 0;
}

/* Whatever the first opening did to the catalog, or to a tail, the second finds the same. */
static void judge_opening(struct run *r, const struct victim *f, size_t off)
{
	unsigned first_hurt, second_hurt;
	int first = open_once(r, f, off, &first_hurt);
	int second = open_once(r, f, off, &second_hurt);

	if (first != second || first_hurt != second_hurt)
		BAD(r, "%s byte %zu%s: opened with %d and files %#x hurt, and then with %d and %#x",
		    f->path, off, r->older ? ", older catalog" : "", first, first_hurt, second,
		    second_hurt);
}

/* With the catalog that the first session left: it knows less of the log than there is. */
static void put_older_catalog(struct run *r)
{
	ground_remove(r->catalog);
	copy_folder(r->older_catalog, r->catalog);
}

static void try_opening(struct run *r, struct victim *f, size_t off, uint8_t bit, bool older)
{
	restore(r, false);
	r->older = older;
	if (older)
		put_older_catalog(r);
	if (!f->log) {
		f->bytes[off] ^= bit;
		write_victim(f);
		f->bytes[off] ^= bit;
	}
	judge_opening(r, f, off);
	restore(r, true);
	f->bytes[off] ^= bit;
	write_victim(f);
	f->bytes[off] ^= bit;
}

static void flip(struct run *r, struct victim *f, size_t off)
{
	uint8_t bit = (uint8_t)(1u << model_random(&dice) % 8);
	unsigned failed = r->failed, hurt;
	struct check_counts counts;
	struct reader rd;
	int rc;

	f->bytes[off] ^= bit;
	write_victim(f);
	f->bytes[off] ^= bit;
	r->flips++;

	if (r->blind)
		write_victim(f);
	rc = ground_check(&r->ground, r->dir, false, &counts);
	if (f->catalog || f->nothing) {
		r->harmless++;
		if (rc < 0)
			BAD(r, "%s byte %zu: check: %d %s", f->path, off, rc, err_detail(rc));
	} else if (rc == 0) {
		BAD(r, "%s byte %zu: check finds nothing:\n%s", f->path, off, ground_reports());
	} else {
		r->reported++;
	}
	/* What a disk does is damage; tampering is told of what a disk can't do. */
	if (f->log && is_data(r, f, off) && rc != -ERR_DAMAGED)
		BAD(r, "%s byte %zu: check says %d:\n%s", f->path, off, rc, ground_reports());
	if (f->log) {
		rc = reader_open(r, r->dir, &rd);
		hurt = rc == 0 ? read_files(r, rd.v) : ~0u;
		if (rc < 0 && !is_damage(rc))
			BAD(r, "%s byte %zu: a reader gets %d %s", f->path, off, rc,
			    err_detail(rc));
		reader_close(&rd);
		if (is_data(r, f, off))
			judge_data(r, f, off, hurt);
	}
	if (r->flips % 4 == 0 || f->catalog)
		try_opening(r, f, off, bit, false);
	/* A byte of the catalog that is newer is none of the older one's. */
	if (r->flips % 4 == 2 && !f->catalog)
		try_opening(r, f, off, bit, true);
	if (f->log)
		judge_healing(r, f, off);
	write_victim(f);
	restore(r, r->failed > failed);
}

static bool run_flips(struct run *r)
{
	unsigned long total = 0;

	for (unsigned i = 0; i < r->n_victims; i++)
		total += r->victims[i].size;
	if (r->random == 0) {
		for (unsigned i = 0; i < r->n_victims; i++)
			for (size_t off = model_random(&dice) % r->stride;
			     off < r->victims[i].size && r->failed < 5; off += r->stride)
				flip(r, &r->victims[i], off);
	}
	for (unsigned n = 0; n < r->random && r->failed < 5; n++) {
		unsigned long at = (model_random(&dice) << 20 ^ model_random(&dice)) % total;
		unsigned i = 0;

		while (at >= r->victims[i].size)
			at -= r->victims[i++].size;
		flip(r, &r->victims[i], at);
	}
	printf("  %lu bytes flipped, of %lu: %lu reported, %lu harmless, %lu healed; "
	       "opening: %lu refused, %lu opened; %u went wrong\n",
	       r->flips, total, r->reported, r->harmless, r->healed, r->refused, r->opened,
	       r->failed);
	return r->failed == 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"stride", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'e'},
		{"large", required_argument, NULL, 'l'},
		{"blind", no_argument, NULL, 'b'},
		{NULL, 0, NULL, 0},
	};
	struct run *r = calloc(1, sizeof(*r));
	bool well;
	int opt;

	r->seed = (uint64_t)getpid() * 2654435761u;
	r->stride = 1;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			r->stride = (unsigned)atoi(optarg) ? (unsigned)atoi(optarg) : 1;
		else if (opt == 'e')
			r->seed = strtoull(optarg, NULL, 0);
		else if (opt == 'l')
			r->large = true, r->random = (unsigned)atoi(optarg);
		else if (opt == 'b')
			r->blind = true;
		else
			ground_die("usage: rot [--stride N | --large N] [--seed N]\n"
				   "       [--blind]   check sees the volume before it rots: must "
				   "fail");
	}
	dice = r->seed;
	ground_init(&r->ground);
	ground_folder(r->base);
	ground_path(r->dir, r->base, "volume");
	ground_path(r->good, r->base, "good");
	ground_path(r->catalog, r->dir, "catalog");
	ground_path(r->older_catalog, r->base, "older");
	printf("rot: seed %llu\n", (unsigned long long)r->seed);
	fflush(stdout);
	if (make(r) < 0)
		ground_die("no volume to begin with");
	copy_folder(r->dir, r->good);
	take_victims(r);
	well = run_flips(r);
	ground_remove(r->base);
	return well ? 0 : 1;
}
