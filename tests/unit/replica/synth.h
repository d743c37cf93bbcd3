#ifndef SYNTH_H_
#define SYNTH_H_

/*
 * Logs made up for tests: a volume's folder with signed params, segments of random blocks, and
 * signed heads.
 */

#include "catalog.h"
#include "head.h"
#include "history.h"
#include "params.h"
#include "store.h"

#include <pthread.h>

struct synth {
	char dir[256];
	struct params params;
	uint8_t authority_secret[64], writer_secret[64];
	struct store *store;
	struct catalog *catalog;
	struct history history;
	uint64_t random;
	int64_t time_ns;
	pthread_mutex_t mu;
	struct head newest; /* guarded by mu */
};

/*
 * A new volume in the folder ${dir} (made).  Same seed, same keys and bytes.  Aborts on any error,
 * as all here.
 */
void synth_new(struct synth *s, const char *dir, uint64_t seed);

/* Reopen what lies in ${dir}, with the keys of ${seed}, writing on with other bytes. */
void synth_reopen(struct synth *s, const char *dir, uint64_t seed, uint64_t random);
void synth_close(struct synth *s);

/* Blocks of up to ${block_max} bytes, at least ${len} in all; then a head. */
void synth_add(struct synth *s, uint64_t len, size_t block_max);

/* Change volume.conf: a higher serial. */
void synth_new_serial(struct synth *s);

/* replicator_config.newest */
void synth_newest(void *ctx, struct head *out);

/* A fresh folder under $TMPDIR or /tmp; tmp_remove() deletes it and all in it. */
void tmp_make(char out[256]);
void tmp_remove(const char *dir);

/* A folder's log copied (segment files and volume.conf), without its catalog. */
void copy_volume(const char *from, const char *to);

/* Whether ${b} holds the same log bytes as ${a} up to ${end}, and no byte more. */
bool same_log(const char *a, const char *b, uint64_t end);

#endif /* !SYNTH_H_ */
