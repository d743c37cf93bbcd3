/* Random operations, and the model that they are applied to beside the volume. */

#include "model.h"

#include "volume.h"

#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct caller root_user = {0};

uint64_t model_random(uint64_t *random)
{
	*random = *random * 6364136223846793005u + 1442695040888963407u;
	return *random >> 33;
}

void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; i < MODEL_FILES; i++) {
		m->file[i].data = calloc(1, MODEL_SIZE_MAX);
		if (!m->file[i].data)
			abort();
	}
	m->next_ino = INO_ROOT + 1;
}

void model_release(struct model *m)
{
	for (unsigned i = 0; i < MODEL_FILES; i++)
		free(m->file[i].data);
}

void model_copy(struct model *to, const struct model *from)
{
	to->next_ino = from->next_ino;
	for (unsigned i = 0; i < MODEL_FILES; i++) {
		to->file[i].ino = from->file[i].ino;
		to->file[i].size = from->file[i].size;
		memcpy(to->file[i].data, from->file[i].data, MODEL_SIZE_MAX);
	}
}

static void name_of(unsigned i, char out[16])
{
	snprintf(out, 16, "file-%u", i);
}

struct op op_random(uint64_t *random)
{
	struct op op = {0};

	op.kind = (unsigned)(model_random(random) % 10);
	op.a = (unsigned)(model_random(random) % MODEL_FILES);
	op.b = (unsigned)(model_random(random) % MODEL_FILES);
	op.fill = (uint8_t)model_random(random);
	op.noise = model_random(random) % 2;
	op.off = model_random(random) % (MODEL_SIZE_MAX - 1);
	if (model_random(random) % 2)
		op.off &= ~UINT64_C(4095);
	op.len = model_random(random) % 3 ? model_random(random) % 9000 + 1
					  : model_random(random) % 300000 + 1;
	if (op.off + op.len > MODEL_SIZE_MAX)
		op.len = MODEL_SIZE_MAX - op.off;
	op.off2 = model_random(random) % (MODEL_SIZE_MAX - op.len + 1);
	return op;
}

static void fill_data(const struct op *op, uint8_t *out)
{
	uint64_t x = op->fill + 1;

	for (size_t i = 0; i < op->len; i++) {
		x = x * 6364136223846793005u + 1;
		out[i] = op->noise ? (uint8_t)(x >> 56) : (uint8_t)(op->fill + i / 1000);
	}
}

static int apply_create(struct model *m, struct volume *v, const struct op *op)
{
	struct model_file *f = &m->file[op->a];
	struct attr a = {.ino = m->next_ino};
	char name[16];
	int rc = 0;

	name_of(op->a, name);
	if (v)
		rc = volume_make_node(v, &root_user, INO_ROOT, name, S_IFREG | 0600, 0, NULL, &a);
	if (f->ino != 0)
		return !v || rc == -EEXIST ? 0 : rc ? rc : 1;
	if (rc < 0)
		return rc;
	if (a.ino != m->next_ino)
		return 1;
	f->ino = m->next_ino++;
	f->size = 0;
	memset(f->data, 0, MODEL_SIZE_MAX);
	return 0;
}

static int apply_write(struct model *m, struct volume *v, const struct op *op)
{
	static uint8_t data[MODEL_SIZE_MAX];
	struct model_file *f = &m->file[op->a];
	int rc = 0;

	if (f->ino == 0)
		return 0;
	fill_data(op, data);
	if (v)
		rc = volume_write(v, NULL, f->ino, op->off, op->len, data, false);
	if (rc < 0)
		return rc;
	memcpy(f->data + op->off, data, op->len);
	if (op->off + op->len > f->size)
		f->size = op->off + op->len;
	return 0;
}

static int apply_truncate(struct model *m, struct volume *v, const struct op *op)
{
	struct model_file *f = &m->file[op->a];
	struct attr want = {.size = op->off}, got;
	int rc = 0;

	if (f->ino == 0)
		return 0;
	if (v)
		rc = volume_setattr(v, NULL, f->ino, SET_SIZE, &want, &got);
	if (rc < 0)
		return rc;
	if (op->off < f->size)
		memset(f->data + op->off, 0, f->size - op->off);
	f->size = op->off;
	return 0;
}

static int apply_punch(struct model *m, struct volume *v, const struct op *op)
{
	int mode = op->noise ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	struct model_file *f = &m->file[op->a];
	int rc = 0;

	if (f->ino == 0)
		return 0;
	if (v)
		rc = volume_allocate(v, NULL, f->ino, mode, op->off, op->len);
	if (rc < 0)
		return rc;
	memset(f->data + op->off, 0, op->len);
	if (op->noise && op->off + op->len > f->size)
		f->size = op->off + op->len;
	return 0;
}

static int apply_copy(struct model *m, struct volume *v, const struct op *op)
{
	struct model_file *f = &m->file[op->a], *t = &m->file[op->b];
	size_t len = op->len;
	uint64_t copied;
	int rc = 0;

	if (f->ino == 0 || t->ino == 0 || op->a == op->b || op->off >= f->size)
		return 0;
	if (len > f->size - op->off)
		len = f->size - op->off;
	copied = len;
	if (v)
		rc = volume_copy_range(v, NULL, f->ino, op->off, t->ino, op->off2, len, &copied);
	if (rc < 0)
		return rc;
	memcpy(t->data + op->off2, f->data + op->off, len);
	if (op->off2 + len > t->size)
		t->size = op->off2 + len;
	return copied == len ? 0 : 1;
}

static int apply_rename(struct model *m, struct volume *v, const struct op *op)
{
	struct model_file *f = &m->file[op->a], *t = &m->file[op->b], swap;
	unsigned flags = op->noise && t->ino != 0 ? RENAME_EXCHANGE : 0;
	char from[16], to[16];
	int rc = 0;

	name_of(op->a, from);
	name_of(op->b, to);
	if (f->ino == 0 || op->a == op->b)
		return 0;
	if (v)
		rc = volume_rename(v, &root_user, INO_ROOT, from, INO_ROOT, to, flags);
	if (rc < 0)
		return rc;
	if (v && flags == 0 && t->ino != 0)
		volume_forget(v, t->ino);
	swap = *t;
	*t = *f;
	*f = swap;
	if (flags == 0)
		f->ino = 0;
	return 0;
}

static int apply_unlink(struct model *m, struct volume *v, const struct op *op)
{
	struct model_file *f = &m->file[op->a];
	char name[16];
	int rc = 0;

	name_of(op->a, name);
	if (v)
		rc = volume_unlink(v, NULL, INO_ROOT, name);
	if (f->ino == 0)
		return !v || rc == -ENOENT ? 0 : rc ? rc : 1;
	if (rc < 0)
		return rc;
	if (v)
		volume_forget(v, f->ino);
	f->ino = 0;
	return 0;
}

int model_apply(struct model *m, struct volume *v, const struct op *op)
{
	switch (op->kind) {
	case 0:
	case 1:
		return apply_create(m, v, op);
	case 2:
	case 3:
	case 4:
		return apply_write(m, v, op);
	case 5:
		return apply_truncate(m, v, op);
	case 6:
		return apply_punch(m, v, op);
	case 7:
		return apply_copy(m, v, op);
	case 8:
		return apply_rename(m, v, op);
	default:
		return apply_unlink(m, v, op);
	}
}

static uint64_t covered(struct view *view, uint64_t ino, uint64_t size)
{
	uint64_t at = 0, hole = 0, sum = 0;

	while (at < size && view_seek(view, ino, at, false, &at) == 0) {
		if (view_seek(view, ino, at, true, &hole) < 0)
			return UINT64_MAX;
		sum += hole - at;
		at = hole;
	}
	return sum;
}

/* 1: equal; 0: not; negative: can't be read. */
static int file_equal(struct view *view, const struct model_file *f, const char *name)
{
	static uint8_t data[MODEL_SIZE_MAX + 1];
	struct attr a;
	size_t len;
	int rc = view_lookup(view, INO_ROOT, name, &a);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (f->ino == 0 || rc == -ENOENT)
		return f->ino == 0 && rc == -ENOENT;
	if (a.ino != f->ino || a.size != f->size)
		return 0;
	rc = view_read(view, a.ino, 0, sizeof(data), data, &len);
	if (rc < 0)
		return rc;
	return len == f->size && memcmp(data, f->data, len) == 0 &&
	       a.bytes == covered(view, a.ino, a.size);
}

static int count_entry(void *ctx, const struct view_entry *e)
{
	(void)e;
	(*(unsigned *)ctx)++;
	return 0;
}

bool model_equal(struct view *view, const struct model *m, int *out_rc)
{
	unsigned listed = 0, there = 0;
	struct view_usage usage;
	char name[16];
	int rc = 1;

	for (unsigned i = 0; rc == 1 && i < MODEL_FILES; i++) {
		name_of(i, name);
		rc = file_equal(view, &m->file[i], name);
		there += m->file[i].ino != 0;
	}
	if (rc == 1) {
		rc = view_readdir(view, INO_ROOT, 0, true, count_entry, &listed);
		rc = rc < 0 ? rc : 1;
	}
	if (out_rc)
		*out_rc = rc < 0 ? rc : 0;
	if (rc != 1)
		return false;
	view_usage(view, &usage);
	return listed == there + 2 && usage.inodes == there + 1 && usage.next_ino == m->next_ino;
}
