#ifndef JUDGE_H_
#define JUDGE_H_

/*
 * "A signed head lies here": decided in one place, with every check, for all who ask.  Needs no key.
 */

#include "compiler.h"
#include "frame.h"
#include "head.h"

#include <stdbool.h>
#include <stddef.h>

struct params;
struct storage;

/* The longest block of a head. */
#define HEAD_BLOCK_MAX (FRAME_LEN + HEAD_NOTE_MAX)

/*
 * head_judge(params, pos, bytes, len, out): whether the ${len} bytes ${bytes} that lie at position
 * ${pos} begin with the whole block of a head: its frame, its note in the one spelling, of this
 * volume, stating ${pos}, of an epoch that is granted, and signed by that epoch's writer.  ${*out}
 * is the head, with its stored_len.  What only the log before it can tell (number, parent, time,
 * count, root) is history_step()'s to judge.  Any thread.
 * Returns 0; -ERR_DAMAGED (no whole block of a head); -ERR_TAMPERED (a block of a head that lies,
 * or is not signed as it should be); -ERR_VERSION; each with a detail.
 */
MUST_CHECK int head_judge(const struct params *params, uint64_t pos, const void *bytes, size_t len,
			  struct head *out);

/*
 * head_judge_note(params, note, len, out): the same of a note alone, which lies where it says.
 */
MUST_CHECK int head_judge_note(const struct params *params, const void *note, size_t len,
			       struct head *out);

/*
 * head_search(params, st, from, fn, ctx): call ${fn} for each head that head_judge() accepts and
 * that begins at or after position ${from} in the segment of ${from}, in order, whatever lies
 * around it; until ${fn} returns other than 0, which is returned.  Any thread.
 * Returns 0, also where the segment has no file or loses bytes meanwhile; -ENOMEM; -errno.
 */
typedef int head_found_fn(void *ctx, const struct head *h);
MUST_CHECK int head_search(const struct params *params, struct storage *st, uint64_t from,
			   head_found_fn *fn, void *ctx);

#endif /* !JUDGE_H_ */
