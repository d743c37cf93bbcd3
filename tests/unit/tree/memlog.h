#ifndef MEMLOG_H_
#define MEMLOG_H_

/*
 * A log in memory behind the block interface, with faults to order: reads that fail, appends that
 * fail, bytes that change.  Positions grow as in a log.  Any number of threads may read while
 * nobody appends.
 */

#include "block.h"
#include "err.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MEMLOG_SEAL (FRAME_LEN + SEAL_TAG_LEN)

struct memlog {
	struct block_ptr *ptr;
	uint8_t **plain;
	size_t n, cap;
	uint64_t end;	     /* position of the next block */
	atomic_size_t reads; /* so far */
	uint64_t lost;	     /* reading the block at this position fails with -ERR_ABSENT */
	size_t appends_left; /* then -ENOSPC */
};

static inline void memlog_init(struct memlog *m)
{
	memset(m, 0, sizeof(*m));
	m->end = 64;
	m->appends_left = SIZE_MAX;
}

static inline void memlog_release(struct memlog *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->plain[i]);
	free(m->plain);
	free(m->ptr);
}

/* The plaintext of the block at ${pos}, to read or to damage; NULL: there is none. */
static inline uint8_t *memlog_plain(struct memlog *m, uint64_t pos)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->ptr[mid].pos < pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->n && m->ptr[lo].pos == pos ? m->plain[lo] : NULL;
}

static inline int memlog_read(void *ctx, const struct block_ptr *ptr, enum block_kind kind,
			      void *out)
{
	struct memlog *m = ctx;
	const uint8_t *plain = memlog_plain(m, ptr->pos);

	atomic_fetch_add(&m->reads, 1);
	if (ptr->pos == m->lost || !plain)
		return -ERR_ABSENT;
	if (kind != BLOCK_NODE || ptr->stored_len != ptr->plain_len + MEMLOG_SEAL)
		return -ERR_DAMAGED;
	memcpy(out, plain, ptr->plain_len);
	return 0;
}

static inline int memlog_append(void *ctx, enum block_kind kind, const void *plain, size_t len,
				struct block_ptr *out)
{
	struct memlog *m = ctx;
	uint8_t *copy;

	if (m->appends_left == 0 || kind != BLOCK_NODE)
		return -ENOSPC;
	m->appends_left--;
	if (m->n == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 64;
		m->ptr = realloc(m->ptr, m->cap * sizeof(*m->ptr));
		m->plain = realloc(m->plain, m->cap * sizeof(*m->plain));
		if (!m->ptr || !m->plain)
			abort();
	}
	copy = malloc(len);
	if (!copy)
		abort();
	memcpy(copy, plain, len);
	*out = (struct block_ptr){m->end, (uint32_t)len + MEMLOG_SEAL, (uint32_t)len};
	m->end += out->stored_len;
	m->ptr[m->n] = *out;
	m->plain[m->n++] = copy;
	return 0;
}

static inline struct block_io memlog_io(struct memlog *m)
{
	return (struct block_io){.read = memlog_read, .append = memlog_append, .ctx = m};
}

#endif /* !MEMLOG_H_ */
