#ifndef SOURCE_H_
#define SOURCE_H_

/*
 * Where a reader gets a log from: a volume's folder, or an embassy over the network (fs/replica).
 * Bytes are given as stored.  Heads are given with their signature verified, and proven to be of
 * one history, since the folder or embassy that they come from is not trusted.
 */

#include "compiler.h"
#include "frame.h"
#include "head.h"

#include <stddef.h>

struct params;

struct source;

struct source_ops {
	/*
	 * read(s, pos, len, out): exactly ${len} stored bytes inside one segment.  0,
	 * -ERR_ABSENT, -ERR_UNREACHABLE, -errno.
	 */
	int (*read)(struct source *s, log_pos pos, size_t len, void *out);
	/* hint(s, pos, len): will be read soon.  May be NULL. */
	void (*hint)(struct source *s, log_pos pos, size_t len);
	/*
	 * header(s, number, out): the header block of segment ${number}, verified to be the one
	 * over which the heads that this source gives were signed.  Keys are made from no other.
	 * 0; -ERR_TAMPERED or -ERR_DAMAGED, with a detail: what is there is not that block; as
	 * read.
	 */
	int (*header)(struct source *s, segment_no number, uint8_t out[SEGMENT_BLOCK_LEN]);
	/* hint_header(s, number): will be wanted soon.  May be NULL. */
	void (*hint_header)(struct source *s, segment_no number);
	/*
	 * head_at(s, time_ns, out): the newest head not after ${time_ns} (INT64_MAX: the
	 * newest).  0, -ERR_TOO_EARLY, -ERR_TAMPERED, -ERR_ABSENT (no head at all), ...
	 */
	int (*head_at)(struct source *s, int64_t time_ns, struct head *out);
	/*
	 * heads(s, first, n, out, out_n): heads ${first}.. in order, at most ${n} (n >= 1);
	 * fewer at the end.  -ERR_ABSENT if ${first} is not there.
	 */
	int (*heads)(struct source *s, head_no first, size_t n, struct head *out, size_t *out_n);
	void (*free)(struct source *s);
};

struct source {
	const struct source_ops *ops;
	const struct params *params; /* owned by the source */
};

/* source_free(NULL) is a no-op. */
void source_free(struct source *s);

#endif /* !SOURCE_H_ */
