#ifndef LOG_FIXTURE_H_
#define LOG_FIXTURE_H_

/* A volume with keys in a temporary folder, for tests and benchmarks of the sealed log. */

#include "format.h"
#include "log.h"
#include "params.h"

struct log_fixture {
	char dir[256];
	struct params params;
	uint8_t log_key[32];
	uint8_t writer_secret[64];
	size_t ring_bytes;
};

/*
 * log_fixture_init(f, base): make a volume in a new folder under ${base} (NULL: $TMPDIR or /tmp).
 * Aborts if that fails.  log_fixture_release() removes it.
 */
void log_fixture_init(struct log_fixture *f, const char *base);
void log_fixture_release(struct log_fixture *f);

/* log_fixture_open(f, out, tail): as log_open().  log_tail_release(t): free what it owns. */
int log_fixture_open(struct log_fixture *f, struct log **out, struct log_tail *tail);
void log_tail_release(struct log_tail *t);

/* log_fixture_pattern(seed, p, len, random): fill; compressible unless ${random}. */
void log_fixture_pattern(uint64_t seed, uint8_t *p, size_t len, bool random);

#endif /* !LOG_FIXTURE_H_ */
