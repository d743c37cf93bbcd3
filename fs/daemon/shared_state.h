#ifndef SHARED_STATE_H_
#define SHARED_STATE_H_

/*
 * What a killed daemon leaves to its successor: memory that both share.
 *
 *	volume_shm_bytes()	the log's ring, and changes that are in no delta (a live mount)
 *	struct shared_state		the session with the kernel, requests under way
 *	slots_bytes()		which views of the past the kernel knows (a live mount)
 *
 * The volume's keys lie in locked memory of their own.  The supervisor keeps that mapped always, a
 * daemon only while it starts.
 *
 * One process at a time uses the shared state.  The supervisor (supervisor.h) creates it and reads
 * nothing of it but the header.
 */

#include "compiler.h"
#include "inflight.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARED_MAGIC UINT64_C(0x6574617473657465)
#define SHARED_VERSION 2u
#define SHARED_INIT_MAX 512u /* bytes of the kernel's INIT request, and of our reply to it */

struct shared_state {
	uint64_t magic;
	uint32_t version, live;
	char program[32];  /* version of the program that serves, or served last */
	char failure[128]; /* why the last upgrade failed; empty: it succeeded, or there was none */

	uint32_t takeovers, upgrades; /* so far */
	uint32_t upgrades_before;     /* value of ${upgrades} when the last upgrade was requested */
	int64_t takeover_ns;	      /* time of the last takeover, since 1970 UTC */

	uint64_t device; /* the mount's device number (mounted.h); 0: unknown */
	/* The mount is to end.  A successor must end it too. */
	_Atomic uint32_t stopping;

	head_no view_head; /* the head that a view shows; 0: not resolved yet */

	/* The session's first request and our reply, for a successor; lengths 0: not yet. */
	uint32_t init_len, reply_len;
	uint8_t init[SHARED_INIT_MAX], reply[SHARED_INIT_MAX];

	struct inflight inflight;
};

struct volume_keys;

/* The keys that a mount needs. */
struct shared_keys {
	uint32_t filled, has_writer;
	uint8_t log_key[32], name_key[16], writer_secret[64];
};

/* The shared state as mapped by one process. */
struct shared_map {
	int fd, keys_fd; /* memfds */
	uint8_t *mem;	 /* total_bytes() of shared_state.c, aligned to 2 MiB */
	struct shared_state *state;
	void *slots;		  /* NULL: a view */
	struct shared_keys *keys; /* NULL: unmapped */
};

/* shared_make(live, out): create an empty one.  Returns 0 or -errno. */
MUST_CHECK int shared_make(bool live, struct shared_map *out);

/*
 * shared_attach(fd, keys_fd, live, out): map one that another process created.  Takes the
 * descriptors.  Returns 0; -errno; or -ERR_VERSION with a detail if another version's layout is
 * found.
 */
MUST_CHECK int shared_attach(int fd, int keys_fd, bool live, struct shared_map *out);

/*
 * shared_occupy(map): allocate all its pages now.  Later the machine's memory may be full of pages
 * dirty for this very mount, and the daemon that must write them must not wait for a page.
 * Processes forked after this do not have it mapped.
 */
void shared_occupy(struct shared_map *map);

/*
 * shared_leave_keys(k, keys): leave the volume's keys to successors.  A process killed in the
 * middle leaves none: k->filled is still 0.
 */
void shared_leave_keys(struct shared_keys *k, const struct volume_keys *keys);

/*
 * shared_unmap_keys(map): unmap the keys; other processes keep their mappings, and the descriptor
 * stays open.
 * shared_drop_keys(map): close the descriptor as well.
 */
void shared_unmap_keys(struct shared_map *map);
void shared_drop_keys(struct shared_map *map);

/* shared_wipe(map): erase the keys for all processes that map them; unmap and close everything. */
void shared_wipe(struct shared_map *map);

#endif /* !SHARED_STATE_H_ */
