/*
 * zstd for blocks.
 *
 * Key idea: the output buffer is one sixteenth smaller than the input.  So zstd itself gives up
 * when compression gains too little, and the buffer never has to hold more than a plain block.
 *
 * Data that looks encrypted or compressed already is stored without a try: of 256 bytes sampled
 * from such a block some 162 values differ, of text and tables fewer than 100.  Random-looking data
 * that repeats itself could still be compressed; that gain is given up to save zstd's futile
 * searches.
 *
 * Level 1, the default, uses a hash table that fits into the L1 cache beside the data (8 KiB;
 * zstd's own level 1 has 32 KiB) for large blocks: a third faster on text for a tenth more space, a
 * tenth faster on source code for a twentieth.  tests/bench/README.md has the figures.
 */

#include "compress.h"

#include "err.h"
#include "format.h"

#include <zstd.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define LEVEL_FAST 1
#define FAST_FROM (32u << 10) /* bytes; for smaller blocks zstd's own tables are as small */
#define FAST_HASH_LOG 11
#define FAST_MATCH 6

#define SAMPLES 256u
#define SAMPLES_RANDOM 145u /* distinct bytes among the samples; text never has so many */

struct thread_state {
	ZSTD_CCtx *cctx;
	ZSTD_CCtx *fast; /* set up for LEVEL_FAST */
	ZSTD_DCtx *dctx;
	uint8_t *out; /* BLOCK_PLAIN_MAX bytes, allocated by the first compression */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;
static _Thread_local struct thread_state *mine;

static void free_state(void *p)
{
	struct thread_state *t = p;

	ZSTD_freeCCtx(t->cctx);
	ZSTD_freeCCtx(t->fast);
	ZSTD_freeDCtx(t->dctx);
	free(t->out);
	free(t);
	mine = NULL;
}

static void init_once(void)
{
	if (pthread_key_create(&thread_key, free_state) != 0)
		abort();
}

static struct thread_state *state(void)
{
	if (mine)
		return mine;
	pthread_once(&once, init_once);
	mine = calloc(1, sizeof(*mine));
	if (mine && pthread_setspecific(thread_key, mine) != 0)
		free_state(mine);
	return mine;
}

/* If zstd does not know a setting, its default stays in force, which is as good. */
static ZSTD_CCtx *make_fast(void)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();

	if (!c)
		return NULL;
	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, LEVEL_FAST);
	ZSTD_CCtx_setParameter(c, ZSTD_c_hashLog, FAST_HASH_LOG);
	ZSTD_CCtx_setParameter(c, ZSTD_c_minMatch, FAST_MATCH);
	return c;
}

/* The step is odd; with an even one, records of 2^n bytes would be sampled in one column only. */
static bool looks_random(const uint8_t *p, size_t len)
{
	size_t step = (len / SAMPLES - 1) | 1;
	bool seen[256] = {false};
	unsigned n = 0;

	if (len < 2 * SAMPLES)
		return false;
	for (size_t i = 0; i < SAMPLES; i++) {
		uint8_t b = p[i * step];

		n += !seen[b];
		seen[b] = true;
	}
	return n >= SAMPLES_RANDOM;
}

bool compress_block(const void *plain, size_t len, int level, const void **out, size_t *out_len)
{
	bool fast = level == LEVEL_FAST && len >= FAST_FROM;
	struct thread_state *t = state();
	size_t n, cap = len - len / 16;
	ZSTD_CCtx **c;

	if (!t || looks_random(plain, len))
		return false;
	c = fast ? &t->fast : &t->cctx;
	if (!*c)
		*c = fast ? make_fast() : ZSTD_createCCtx();
	if (!t->out)
		t->out = malloc(BLOCK_PLAIN_MAX);
	if (!*c || !t->out)
		return false;

	n = fast ? ZSTD_compress2(*c, t->out, cap, plain, len)
		 : ZSTD_compressCCtx(*c, t->out, cap, plain, len, level);
	if (ZSTD_isError(n))
		return false;
	*out = t->out;
	*out_len = n;
	return true;
}

int compress_plain_len(const void *frame, size_t len, uint32_t *out)
{
	unsigned long long n = ZSTD_getFrameContentSize(frame, len);

	if (n == ZSTD_CONTENTSIZE_UNKNOWN || n == ZSTD_CONTENTSIZE_ERROR || n == 0 ||
	    n > BLOCK_PLAIN_MAX)
		return -ERR_DAMAGED;
	*out = (uint32_t)n;
	return 0;
}

int decompress_block(const void *frame, size_t len, void *out, size_t out_len)
{
	struct thread_state *t = state();
	size_t n;

	if (t && !t->dctx)
		t->dctx = ZSTD_createDCtx();
	if (!t || !t->dctx)
		return -ENOMEM;

	n = ZSTD_decompressDCtx(t->dctx, out, out_len, frame, len);
	if (ZSTD_isError(n) || n != out_len)
		return -ERR_DAMAGED;
	return 0;
}
