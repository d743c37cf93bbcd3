/*
 * Volumes in memory as data, whoever has them open.
 *
 * Key idea and locks: see storage_memory.c.  Everything here is called under memory.mu, except what
 * storage_memory.h declares.
 */

#include "memory_internal.h"

#include "kv_memory.h"
#include "locks.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int memory_blob_set(struct blob *b, const void *bytes, size_t len)
{
	uint8_t *copy = malloc(len + 1);

	if (!copy)
		return -ENOMEM;
	if (len > 0)
		memcpy(copy, bytes, len);
	free(b->bytes);
	*b = (struct blob){copy, len};
	return 0;
}

int memory_blob_get(const struct blob *b, size_t max, void **out, size_t *out_len)
{
	struct blob copy = {0};
	int rc = b->len > max ? -EFBIG : memory_blob_set(&copy, b->bytes, b->len);

	if (rc < 0)
		return rc;
	*out = copy.bytes;
	*out_len = copy.len;
	return 0;
}

/* Where segment ${number} is, or would be. */
size_t memory_rank(const struct volume *v, segment_no number)
{
	size_t i = 0;

	while (i < v->n_segments && v->segments[i]->number < number)
		i++;
	return i;
}

struct segment *memory_segment(const struct volume *v, segment_no number)
{
	size_t i = memory_rank(v, number);

	return i < v->n_segments && v->segments[i]->number == number ? v->segments[i] : NULL;
}

int memory_segment_new(struct volume *v, segment_no number, struct segment **out)
{
	size_t i = memory_rank(v, number), cap = v->cap_segments ? 2 * v->cap_segments : 16;
	struct segment *s;
	void *p;

	if (v->n_segments == v->cap_segments) {
		p = realloc(v->segments, cap * sizeof(struct segment *));
		if (!p)
			return -ENOMEM;
		v->segments = p;
		v->cap_segments = cap;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->number = number;
	memmove(v->segments + i + 1, v->segments + i,
		(v->n_segments - i) * sizeof(struct segment *));
	v->segments[i] = s;
	v->n_segments++;
	if (out)
		*out = s;
	return 0;
}

static void segment_free(struct segment *s)
{
	sectors_release(&s->bytes);
	free(s->leaves.bytes);
	free(s);
}

void memory_segment_drop(struct volume *v, struct segment *s)
{
	size_t i = memory_rank(v, s->number);

	v->n_segments--;
	memmove(v->segments + i, v->segments + i + 1,
		(v->n_segments - i) * sizeof(struct segment *));
	segment_free(s);
}

static void volume_free(struct volume *v)
{
	for (size_t i = 0; i < v->n_segments; i++)
		segment_free(v->segments[i]);
	for (size_t i = 0; i < v->n_late; i++)
		free(v->late[i].data.bytes);
	free(v->segments);
	free(v->conf.bytes);
	free(v->note.bytes);
	kv_memory_free(v->index);
	free(v);
}

/* ---- the memory ---- */

struct memory *memory_new(uint64_t seed)
{
	struct memory *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->random = seed;
	pthread_mutex_init(&m->mu, NULL);
	return m;
}

void memory_free(struct memory *m)
{
	if (!m)
		return;
	for (struct volume *v = m->volumes, *next; v; v = next) {
		next = v->next;
		kv_memory_let_go(v->index, true);
		volume_free(v);
	}
	pthread_mutex_destroy(&m->mu);
	free(m);
}

void memory_set_fault(struct memory *m, int (*fn)(void *ctx, const char *op), void *ctx)
{
	m->fault = fn;
	m->fault_ctx = ctx;
	for (struct volume *v = m->volumes; v; v = v->next)
		kv_memory_set_fault(v->index, fn, ctx);
}

void memory_set_pause(struct memory *m, void (*fn)(void *ctx), void *ctx)
{
	m->pause = fn;
	m->pause_ctx = ctx;
}

/* Called under the lock, or while no other thread is in a call. */
struct volume *memory_find(const struct memory *m, const uint8_t id[VOLUME_ID_LEN])
{
	struct volume *v = m->volumes;

	while (v && memcmp(v->id, id, VOLUME_ID_LEN) != 0)
		v = v->next;
	return v;
}

void memory_set_deaf(struct memory *m, bool yes)
{
	m->deaf = yes;
}

int memory_fault(const struct memory *m, const char *op)
{
	return m->fault ? m->fault(m->fault_ctx, op) : 0;
}

int memory_carry_out(struct memory *m, struct volume *v, log_pos pos, const void *bytes, size_t len,
		     const struct storage_commit *commit)
{
	struct segment *s = memory_segment(v, segment_of(pos));
	int rc = 0;

	if (!s)
		return -ERR_ABSENT;
	if (len > 0)
		rc = sectors_put(&s->bytes, pos % SEGMENT_SIZE, bytes, len);
	if (rc < 0 || !commit)
		return rc;
	for (size_t i = 0; i < v->n_segments && !m->deaf; i++)
		sectors_sync(&v->segments[i]->bytes);
	v->commit = *commit;
	return 0;
}

void memory_sync_all(struct volume *v)
{
	for (size_t i = 0; i < v->n_segments; i++)
		sectors_sync(&v->segments[i]->bytes);
	v->repairing = false;
}

/* Each late write takes effect now, or never. */
void memory_finish_late(struct memory *m, struct volume *v)
{
	for (size_t i = 0; i < v->n_late; i++) {
		struct late *l = &v->late[i];

		if (sectors_dice(&m->random) & 1)
			(void)!memory_carry_out(m, v, l->pos, l->data.bytes, l->data.len,
						l->has_commit ? &l->commit : NULL);
		free(l->data.bytes);
	}
	v->n_late = 0;
}

static void crash_volume(struct memory *m, struct volume *v, enum memory_crash how)
{
	size_t pending = kv_memory_pending(v->index);
	uint64_t *random = how == MEMORY_SOME ? &m->random : NULL;

	memory_finish_late(m, v);
	v->leased = false;
	kv_memory_let_go(v->index, true);
	if (how == MEMORY_KILL)
		return;
	for (size_t i = 0; i < v->n_segments; i++)
		sectors_crash(&v->segments[i]->bytes, random);
	kv_memory_cut(v->index, random ? (size_t)(sectors_dice(random) % (pending + 1)) : pending);
}

void memory_crash(struct memory *m, enum memory_crash how)
{
	/* The thread that held the lock is dead: make the lock anew. */
	pthread_mutex_init(&m->mu, NULL);
	pthread_mutex_lock(&m->mu);
	m->life++;
	for (struct volume *v = m->volumes; v; v = v->next)
		crash_volume(m, v, how);
	pthread_mutex_unlock(&m->mu);
}

void memory_expire(struct memory *m)
{
	pthread_mutex_lock(&m->mu);
	for (struct volume *v = m->volumes; v; v = v->next)
		v->leased = false;
	pthread_mutex_unlock(&m->mu);
}

/* ---- behind everybody's back: without locks ---- */

void memory_put(struct memory *m, const uint8_t id[VOLUME_ID_LEN], log_pos pos, const void *bytes,
		size_t len)
{
	struct volume *v = memory_find(m, id);
	struct segment *s;

	assert(v);
	s = memory_segment(v, segment_of(pos));
	if (!s && memory_segment_new(v, segment_of(pos), &s) < 0)
		abort();
	if (sectors_put(&s->bytes, pos % SEGMENT_SIZE, bytes, len) < 0)
		abort();
	sectors_sync(&s->bytes);
}

int memory_read_at(const struct volume *v, log_pos pos, size_t len, void *out)
{
	const struct segment *s = v ? memory_segment(v, segment_of(pos)) : NULL;
	uint64_t off = pos % SEGMENT_SIZE;

	if (!s || off > s->bytes.len || len > s->bytes.len - off)
		return -ERR_ABSENT;
	sectors_get(&s->bytes, off, out, len);
	return 0;
}

bool memory_get(struct memory *m, const uint8_t id[VOLUME_ID_LEN], log_pos pos, void *bytes,
		size_t len)
{
	return memory_read_at(memory_find(m, id), pos, len, bytes) == 0;
}

int64_t memory_len(struct memory *m, const uint8_t id[VOLUME_ID_LEN], segment_no number)
{
	const struct volume *v = memory_find(m, id);
	const struct segment *s = v ? memory_segment(v, number) : NULL;

	return s ? (int64_t)s->bytes.len : -1;
}

void memory_drop(struct memory *m, const uint8_t id[VOLUME_ID_LEN], segment_no number)
{
	struct volume *v = memory_find(m, id);

	assert(v && memory_segment(v, number));
	memory_segment_drop(v, memory_segment(v, number));
}

void memory_drop_index(struct memory *m, const uint8_t id[VOLUME_ID_LEN])
{
	struct volume *v = memory_find(m, id);

	if (!v)
		return;
	kv_memory_free(v->index);
	v->index = kv_memory_new();
	if (!v->index)
		abort();
	kv_memory_set_fault(v->index, m->fault, m->fault_ctx);
}

int memory_volume_new(const uint8_t id[VOLUME_ID_LEN], const char *owner, const void *conf,
		      size_t len, struct volume **out)
{
	struct volume *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->index = kv_memory_new();
	if (!v->index || memory_blob_set(&v->conf, conf, len) < 0) {
		volume_free(v);
		return -ENOMEM;
	}
	memcpy(v->id, id, VOLUME_ID_LEN);
	assert(strlen(owner) < sizeof(v->owner));
	strcpy(v->owner, owner);
	*out = v;
	return 0;
}
