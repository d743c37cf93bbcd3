#ifndef RECOVER_FIXTURE_H_
#define RECOVER_FIXTURE_H_

/* What the tests of recovery share: a log's segments as bytes, and a small log that is damaged. */

#include "log.h"
#include "log_fixture.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECOVER_RING ((size_t)4 << 20)

struct recover_bytes {
	uint8_t *p;
	size_t len;
};

/* A volume with one head and a few small blocks after it, closed. */
#define RECOVER_TAIL 4
struct recover_small {
	struct log_fixture f;
	struct head head;
	struct block_ptr tail[RECOVER_TAIL];
	struct recover_bytes segment; /* the file of segment 0 */
};

extern const enum block_kind recover_tail_kind[RECOVER_TAIL];

struct log *recover_open(struct log_fixture *f, struct log_tail *tail);
struct block_ptr recover_append(struct log *log, enum block_kind kind, uint64_t seed, size_t len);
bool recover_holds(struct log *log, enum block_kind kind, const struct block_ptr *ptr,
		   uint64_t seed);
void recover_segment_path(const struct log_fixture *f, uint64_t number, char out[320]);
struct recover_bytes recover_load(const struct log_fixture *f, uint64_t number);
void recover_store(const struct log_fixture *f, uint64_t number, const void *p, size_t len);
void recover_store_open(const struct log_fixture *f, uint64_t number, const void *p, size_t len);
uint64_t recover_last_segment(const struct log_fixture *f);
void recover_small_init(struct recover_small *s);
void recover_small_release(struct recover_small *s);
void recover_refused_as_it_is(struct recover_small *s, int want, const char *what);
void recover_refused(struct recover_small *s, int want, const char *what);
void recover_lose_catalog(const struct recover_small *s);

/* The log must end after exactly ${n} of the tail's blocks. */
void recover_cut(struct recover_small *s, unsigned n, const char *what, size_t off);

#endif /* !RECOVER_FIXTURE_H_ */
