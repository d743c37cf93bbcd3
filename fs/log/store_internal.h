#ifndef STORE_INTERNAL_H_
#define STORE_INTERNAL_H_

/* What store.c and spare.c share. */

#include "store.h"

#include <pthread.h>
#include <stdatomic.h>

#define SEGMENT_NAME_LEN 21u /* 16 hex digits, ".seg", NUL */

struct handle {
	uint64_t number;
	uint64_t used; /* st->clock when last given out */
	unsigned refs;
	int fd; /* -1: free */
	bool direct, stale;
};

struct store {
	int dirfd;
	bool writable, is_copy;
	_Atomic bool no_direct; /* the filesystem refused O_DIRECT */
	pthread_mutex_t mu;
	pthread_cond_t released;
	/* Guarded by mu. */
	struct handle handles[STORE_OPEN_MAX];
	uint64_t clock;
};

void store_segment_name(uint64_t number, char out[SEGMENT_NAME_LEN]);

/* store_segment_parse(name, out): the number of a segment's file; false: it is not the name of one. */
bool store_segment_parse(const char *name, uint64_t *out);

#endif /* !STORE_INTERNAL_H_ */
