#ifndef PAGE_CACHE_H_
#define PAGE_CACHE_H_

/*
 * A local cache of a distant log's bytes: pages in an unlinked file, their index in memory.  It
 * holds ciphertext only, and trusts it: the layers above check the seals.  Two threads that want
 * one page fetch it once.  For sequential readers it reads ahead.
 */

#include "compiler.h"
#include "numbers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_LEN (UINT32_C(128) << 10)
#define PAGE_RUN_MAX 8u		  /* pages in one fetch */
#define PAGE_SLOTS_MIN 64u	  /* the smallest cache: 8 MiB */
#define PAGE_SLOTS_MAX (1u << 24) /* the largest: 2 TiB */
#define PAGE_THREADS 16u	  /* fetches in the background at a time */
#define PAGE_QUEUE_MAX 256u	  /* runs waiting for one of them */
#define PAGE_READERS 8u		  /* sequential readers told apart */
#define PAGE_AHEAD_SLACK (UINT64_C(4) << 20) /* how far apart the reads of one reader may be */
#define PAGE_AHEAD_FIRST (UINT64_C(4) << 20) /* window until the line's speed is known */
#define PAGE_AHEAD_MAX (UINT64_C(16) << 20)

struct page_cache;

struct page_cache_config {
	uint64_t bytes; /* of the file; at least PAGE_SLOTS_MIN pages are used */
	/*
	 * fetch(ctx, pos, len, patient, out, out_len): fetch at most ${len} bytes from ${pos} on,
	 * all in one segment; fewer only at the (present) end of the log.  ${patient}: somebody
	 * waits, so it is worth retrying.  Any thread, several at once.
	 * Returns 0 or a negative error.
	 */
	int (*fetch)(void *ctx, log_pos pos, size_t len, bool patient, void *out, size_t *out_len);
	void *ctx;
};

/*
 * page_cache_new(cfg, out): make the file in $TMPDIR, /tmp or /var/tmp and start the background
 * threads.
 * Returns 0, -ENOMEM, -EAGAIN (no thread), or -errno of the file.
 */
MUST_CHECK int page_cache_new(const struct page_cache_config *cfg, struct page_cache **out);

/*
 * page_cache_free(c): no reader may be inside; waits for the fetches under way.  NULL is a no-op.
 */
void page_cache_free(struct page_cache *c);

/*
 * page_cache_read(c, pos, len, out): exactly ${len} bytes, of one segment.  Any thread.
 * Returns 0; -ERR_ABSENT if the log ends before; fetch's error; -ENOMEM.
 */
MUST_CHECK int page_cache_read(struct page_cache *c, log_pos pos, size_t len, void *out);

/*
 * page_cache_hint(c, pos, len): begin to fetch this range (at most PAGE_AHEAD_MAX of it) if
 * nothing else keeps the threads busy.
 */
void page_cache_hint(struct page_cache *c, log_pos pos, size_t len);

/* page_cache_stop(c): begin no fetch in the background any more. */
void page_cache_stop(struct page_cache *c);

#endif /* !PAGE_CACHE_H_ */
