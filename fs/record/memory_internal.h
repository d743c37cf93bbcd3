#ifndef MEMORY_INTERNAL_H_
#define MEMORY_INTERNAL_H_

/*
 * What memory.c and storage_memory*.c share.  All is called under memory.mu, except memory_fault().
 */

#include "sectors.h"
#include "storage_memory.h"

#include <pthread.h>

#define LATE_MAX 8u
#define OWNER_MAX 256u

struct blob {
	uint8_t *bytes; /* owned; NULL: none */
	size_t len;
};

struct segment {
	segment_no number;
	struct sectors bytes;
	struct blob leaves;
};

/* A write that was reported as failed, and may still be carried out. */
struct late {
	log_pos pos;
	struct blob data;
	struct storage_commit commit;
	bool has_commit;
};

struct volume {
	struct volume *next;
	uint8_t id[VOLUME_ID_LEN];
	char owner[OWNER_MAX];
	struct blob conf, note;
	struct segment **segments; /* by number */
	size_t n_segments, cap_segments;
	struct storage_commit commit;
	struct kv_memory *index;
	bool repairing; /* what a repair() wrote may not be durable */
	epoch_no epoch;
	bool leased; /* the holder of that epoch has a lease that has not run out */
	struct late late[LATE_MAX];
	size_t n_late;
};

struct memory {
	pthread_mutex_t mu;
	uint64_t random;
	uint64_t life; /* counts crashes */
	bool deaf;
	struct volume *volumes;
	int (*fault)(void *ctx, const char *op);
	void *fault_ctx;
	void (*pause)(void *ctx);
	void *pause_ctx;
};

struct pool {
	struct storage_pool pool; /* first */
	struct memory *memory;
	uint64_t life; /* of the memory, when it was opened */
};

struct opened {
	struct storage storage; /* first */
	struct memory *memory;
	struct volume *volume;
	uint64_t life;
	epoch_no epoch; /* 0: no lease was taken */
	char name[160];
};

/*
 * memory_blob_set(b, bytes, len): replace what was there with a copy of these bytes.
 * memory_blob_get(b, max, out, out_len): a copy, owned by the caller.
 * Return 0, -ENOMEM, -EFBIG.
 */
MUST_CHECK int memory_blob_set(struct blob *b, const void *bytes, size_t len);
MUST_CHECK int memory_blob_get(const struct blob *b, size_t max, void **out, size_t *out_len);

/*
 * memory_rank(v, number): the index of segment ${number} among those of ${v}, or where it would
 * be.  memory_segment(): that segment, or NULL.  memory_segment_new(v, number, out): make it
 * (${out} may be NULL).  Returns 0 or -ENOMEM.  memory_segment_drop(): remove it.
 */
size_t memory_rank(const struct volume *v, segment_no number);
struct segment *memory_segment(const struct volume *v, segment_no number);
MUST_CHECK int memory_segment_new(struct volume *v, segment_no number, struct segment **out);
void memory_segment_drop(struct volume *v, struct segment *s);

/*
 * memory_find(m, id): the volume, or NULL.  memory_volume_new(): one without a segment; 0 or
 * -ENOMEM.
 */
struct volume *memory_find(const struct memory *m, const uint8_t id[VOLUME_ID_LEN]);
MUST_CHECK int memory_volume_new(const uint8_t id[VOLUME_ID_LEN], const char *owner,
				 const void *conf, size_t len, struct volume **out);

/* memory_fault(m, op): what the hook says (memory_set_fault()); 0: nothing.  Without the lock. */
int memory_fault(const struct memory *m, const char *op);

/* memory_read_at(v, pos, len, out): what readers see.  Returns 0 or -ERR_ABSENT. */
MUST_CHECK int memory_read_at(const struct volume *v, log_pos pos, size_t len, void *out);

/*
 * memory_carry_out(m, v, pos, bytes, len, commit): do a write(), with all that a commit promises.
 * Returns 0, -ERR_ABSENT or -ENOMEM.
 * memory_finish_late(m, v): each late write takes effect now, or never.
 * memory_sync_all(v): make durable all that readers see.
 */
MUST_CHECK int memory_carry_out(struct memory *m, struct volume *v, log_pos pos, const void *bytes,
				size_t len, const struct storage_commit *commit);
void memory_finish_late(struct memory *m, struct volume *v);
void memory_sync_all(struct volume *v);

/* What storage_pool_open() gives; see storage_memory.c. */
extern const struct storage_ops storage_memory_ops;

#endif /* !MEMORY_INTERNAL_H_ */
