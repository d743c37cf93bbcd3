#ifndef ESTATE_H_
#define ESTATE_H_

/*
 * What a daemon leaves to its successor when it is killed: memory that both share.
 *
 *	volume_keep_bytes()	the log's ring, and changes that are in no delta (a live mount)
 *	struct estate		the session with the kernel, requests under way
 *	slots_bytes()		which views of the past the kernel knows (a live mount)
 *
 * and, in memory of its own that is locked and mapped by the supervisor for good, by a daemon only
 * while it starts, the volume's keys.
 *
 * One process uses an estate at a time; it is made by the supervisor (supervisor.h), which looks at
 * none of it but the header.
 */

#include "compiler.h"
#include "inflight.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ESTATE_MAGIC UINT64_C(0x6574617473657465)
#define ESTATE_VERSION 2u
#define ESTATE_INIT_MAX 512u /* bytes of the kernel's first request, and of our answer */

struct estate {
	uint64_t magic;
	uint32_t version, live;
	char program[32]; /* the version of the program that serves, or served last */
	char failure[128]; /* why the newest upgrade did not come about; empty: it did, or none */

	uint32_t takeovers, upgrades; /* so far */
	uint32_t upgrades_before;     /* when one was last asked for */
	int64_t takeover_ns;	      /* when the newest was, since 1970 UTC */

	uint64_t device; /* the mount's number (mounted.h); 0: not known */
	_Atomic uint32_t stopping; /* somebody asked for the mount's end: it is a successor's task too */

	uint64_t view_head; /* what a view shows; 0: not yet */

	/* The first request of the session and what was answered; lengths 0: not yet. */
	uint32_t init_len, reply_len;
	uint8_t init[ESTATE_INIT_MAX], reply[ESTATE_INIT_MAX];

	struct inflight inflight;
};

struct volume_keys;

/* The volume's keys, as a mount needs them. */
struct estate_keys {
	uint32_t filled, has_writer;
	uint8_t log_key[32], name_key[16], writer_secret[64];
};

/* An estate as a process has it mapped. */
struct estate_map {
	int fd, keys_fd; /* memfds */
	uint8_t *mem;	 /* estate_bytes(live) bytes, aligned to 2 MiB */
	struct estate *estate;
	void *slots; /* NULL: a view */
	struct estate_keys *keys; /* NULL: let go of */
};

/* estate_make(live, out): a new one, empty.  Returns 0 or -errno. */
MUST_CHECK int estate_make(bool live, struct estate_map *out);

/*
 * estate_attach(fd, keys_fd, live, out): map one that was made by another process.  Takes the
 * descriptors.  Returns 0; -errno; or -ERR_VERSION with a detail: it is another program's.
 */
MUST_CHECK int estate_attach(int fd, int keys_fd, bool live, struct estate_map *out);

/*
 * estate_occupy(map): have all of it present in memory, so that nothing that serves the mount waits
 * for memory there, which may be full of what is to be written to the mount.  A process that is
 * forked from here on has none of it mapped.
 */
void estate_occupy(struct estate_map *map);

/*
 * estate_leave_keys(k, keys): leave the volume's keys to successors.  A process that is killed meanwhile
 * leaves none: k->filled is 0 then.
 */
void estate_leave_keys(struct estate_keys *k, const struct volume_keys *keys);

/*
 * estate_unmap_keys(map): whoever else has them mapped keeps them; the descriptor stays.
 * estate_drop_keys(map): and that goes too.
 */
void estate_unmap_keys(struct estate_map *map);
void estate_drop_keys(struct estate_map *map);

/* estate_wipe(map): nothing is left of the keys, in any process.  Unmaps and closes all. */
void estate_wipe(struct estate_map *map);

#endif /* !ESTATE_H_ */
