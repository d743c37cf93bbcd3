#ifndef SEGMENT_KEYS_H_
#define SEGMENT_KEYS_H_

/*
 * A bounded cache of segment keys.  A key that is missing is derived from the log key and the
 * segment's header, which is read through the source.  Any number of threads may use one cache.
 */

#include "compiler.h"
#include "seal.h"

#include <stdbool.h>
#include <stdint.h>

#define SEGMENT_KEYS_MAX 256u

struct held_key;
struct segment_keys;
struct source;

/*
 * segment_keys_new(src, log_key, out): borrows ${src}; copies the key into locked memory.
 * Returns 0 or -ENOMEM.  segment_keys_free(NULL) is a no-op; no key is held.
 */
MUST_CHECK int segment_keys_new(struct source *src, const uint8_t log_key[LOG_KEY_LEN],
				struct segment_keys **out);
void segment_keys_free(struct segment_keys *keys);

/*
 * segment_keys_get(keys, number, out): the key of segment ${number}, held until segment_keys_put().
 * No lock is held while the header is read.
 * Returns 0; -ERR_DAMAGED with a detail or -ERR_VERSION if the header is not a header of this
 * volume; -ENOMEM; or what the source returns.
 */
MUST_CHECK int segment_keys_get(struct segment_keys *keys, segment_no number,
				struct held_key **out);
void segment_keys_put(struct segment_keys *keys, struct held_key *k);

/* segment_keys_has(keys, number): is it cached now, so that its header need not be read? */
bool segment_keys_has(struct segment_keys *keys, segment_no number);

/* segment_keys_key(k): the key itself, borrowed while ${k} is held. */
const struct segment_key *segment_keys_key(const struct held_key *k);

#endif /* !SEGMENT_KEYS_H_ */
