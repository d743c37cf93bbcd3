#ifndef STORE_INTERNAL_H_
#define STORE_INTERNAL_H_

/*
 * What store.c, stored.c, numbers.c, handles.c, rewrite.c, spare.c, note.c and storage_volume.c
 * share.
 */

#include "locks.h"
#include "storage.h"
#include "store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#define DIRECT_ALIGN 4096u   /* of what O_DIRECT is given; a page */
#define SEGMENT_NAME_LEN 21u /* 16 hex digits, ".seg", NUL */

struct handle {
	segment_no number;
	uint64_t used; /* st->clock when last given out */
	unsigned refs;
	int fd; /* -1: free */
	bool direct, stale;
};

struct stored_size {
	segment_no number;
	uint64_t sum; /* bytes of all segments up to this one, and it */
};

/* The lengths of the segments below ${next}; see stored.c. */
struct stored {
	struct stored_size *sizes; /* by number */
	size_t n, cap;
	segment_no next;
};

/* Segments that exist, from number ${from} on: the lowest, in order; see numbers.c. */
struct numbers {
	segment_no from;
	segment_no *kept;
	size_t n, cap;
};

struct store {
	struct storage storage; /* first: see store_storage() */
	char *dir;		/* the volume's folder */
	int volume_fd, dirfd;	/* that, and its log */
	bool writable, around;		/* as in STORE_WRITABLE, STORE_AROUND */
	_Atomic bool met_unreadable;	/* around: a page could not be read */
	_Atomic bool no_direct; /* the filesystem refused O_DIRECT */
	/* Of the one writer that storage.h speaks of. */
	uint64_t unsynced; /* see storage_volume.c */
	bool noted;	   /* a segment may be, see store_rewrite_noted() */
	bool spare_shrunk; /* see store_shrink_spare() */

	pthread_mutex_t mu;
	pthread_cond_t released;
	/* Guarded by mu. */
	struct handle handles[STORE_OPEN_MAX];
	uint64_t clock;

	pthread_mutex_t sizes_mu;
	/* Guarded by sizes_mu. */
	struct stored stored;

	pthread_mutex_t numbers_mu;
	/* Guarded by numbers_mu. */
	struct numbers numbers;
};

/* What storage.h asks of a volume's folder; see storage_volume.c. */
extern const struct storage_ops storage_folder_ops;

/* store_forget_sizes(st, number): segment ${number} has another length now, or is gone. */
void store_forget_sizes(struct store *st, segment_no number) EXCLUDES(st->sizes_mu);

/*
 * store_find_next(st, from, out): as store_next(), for a number that is not there itself.
 * store_forget_numbers(st): a segment was made or removed.
 */
MUST_CHECK int store_find_next(struct store *st, segment_no from, segment_no *out)
	EXCLUDES(st->numbers_mu);
void store_forget_numbers(struct store *st) EXCLUDES(st->numbers_mu);

void store_segment_name(segment_no number, char out[SEGMENT_NAME_LEN]);

/* store_segment_parse(name, out): the number of a segment's file; false: it is not the name of one. */
bool store_segment_parse(const char *name, segment_no *out);

/*
 * store_acquire(st, number, direct, out): an open descriptor of segment ${number}, with O_DIRECT if
 * ${direct}, until store_release(); waits while all are in use.  Any thread.
 * Returns 0, -ERR_ABSENT or -errno.
 */
MUST_CHECK int store_acquire(struct store *st, segment_no number, bool direct, struct handle **out)
	EXCLUDES(st->mu);
void store_release(struct store *st, struct handle *h) EXCLUDES(st->mu);

/* store_forget_handles(st, number): the name ${number} is to belong to another file, or to none. */
void store_forget_handles(struct store *st, segment_no number) EXCLUDES(st->mu);

/*
 * store_read_around(fd, out, len, off, filler, first): as file_read_at(), page by page, with
 * ${filler} for those that can't be read.  ${*first}: the offset of the first of them, if there is
 * one.
 */
MUST_CHECK ssize_t store_read_around(int fd, uint8_t *out, size_t len, uint64_t off, int filler,
				     uint64_t *first);

/* store_say_unreadable(number, off, rc): ${rc}, with a detail: it can't be read at ${off}. */
int store_say_unreadable(segment_no number, uint64_t off, int rc);

/*
 * store_rewrite_around(st, number): as store_rewrite_segment(), of the whole segment; but pages that
 * can't be read, and which nobody sees, are passed over, so that the volume opens, and they can be
 * healed.
 */
MUST_CHECK int store_rewrite_around(struct store *st, segment_no number);

#endif /* !STORE_INTERNAL_H_ */
