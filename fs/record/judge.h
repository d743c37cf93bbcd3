#ifndef JUDGE_H_
#define JUDGE_H_

/*
 * "A signed head lies here": decided in one place, with every check, for all who ask; and the one
 * search for heads.  Needs no key.
 */

#include "compiler.h"
#include "frame.h"
#include "head.h"

#include <stdbool.h>
#include <stddef.h>

struct head_ref;
struct merkle;
struct params;
struct storage;

/* The longest block of a head. */
#define HEAD_BLOCK_MAX (FRAME_LEN + HEAD_NOTE_MAX)

/* The position of a note that is kept apart from the log: accept the one that it states. */
#define HEAD_ANYWHERE UINT64_MAX

/*
 * What is known of a head before it is looked at.  ${params} and ${pos} are always set.  Of the
 * rest, zero or NULL means not known; what is known is checked.  All is borrowed.
 */
struct head_known {
	const struct params *params; /* whose volume it is of, and who may sign in which epoch */
	bool params_may_be_old;	     /* an epoch that they don't grant is then -ERR_STALE, no lie */
	log_pos pos;		     /* where the bytes lie */
	bool is_note;		     /* the bytes are a whole note, without a frame */
	uint32_t stored_len;	     /* of the whole block, frame included */
	head_no number;
	const struct head_ref *ref;  /* what an index says: number, position, length and time */
	const struct head *same;     /* another copy's verified head, which it should be */
	const struct head *parent;   /* the head before it; its number is 0 if it is the first */
	epoch_no epoch;		     /* of the segment in which it lies; only with ${parent} */
	const struct merkle *merkle; /* over all blocks below it */
	/*
	 * The signature was verified before the head got into the index that ${ref} is from, and is
	 * not verified again.
	 */
	bool signature_known;
	/* Out, if it is not NULL: true if all but the root is as it should be. */
	bool *root_differs;
};

/*
 * head_judge(k, bytes, len, out): whether the ${len} bytes ${bytes} begin with the whole block of a
 * head, or are its note, and all that ${k} says is true of it.  Checks the frame; that the note is
 * in its one spelling, is of this volume, and states the position where it lies; that its epoch is
 * granted, and that this epoch's writer signed it; and all else that ${k} knows.  ${*out} is the
 * head, with its stored_len.  Any thread.
 * Returns 0, or with a detail:
 * -ERR_DAMAGED: no whole block of a head, or another head than ${ref}, ${same} or ${number} names;
 * -ERR_TAMPERED: a head that lies, or is not signed as it should be;
 * -ERR_STALE: see params_may_be_old; -ERR_VERSION.
 */
MUST_CHECK int head_judge(const struct head_known *k, const void *bytes, size_t len,
			  struct head *out);

/* head_is_same(a, b): whether both state the same, in the same place. */
bool head_is_same(const struct head *a, const struct head *b);

/*
 * head_read(k, read, from, block, out): read the head that ${k->ref} names into ${block}
 * (HEAD_BLOCK_MAX bytes) with ${read}(${from}, ...), and judge it at the position that ${k->ref}
 * gives.
 * Returns as head_judge(); -ERR_DAMAGED if no head is as long as ${k->ref} says; as ${read}.
 *
 * head_from_storage: a head_read_fn, ${from} being a struct storage.
 */
typedef int head_read_fn(void *from, log_pos pos, size_t len, void *out);
MUST_CHECK int head_read(const struct head_known *k, head_read_fn *read, void *from,
			 uint8_t block[HEAD_BLOCK_MAX], struct head *out);
MUST_CHECK int head_from_storage(void *from, log_pos pos, size_t len, void *out);

/*
 * head_search(params, st, from, to, fn, ctx): call ${fn}, in order, for each head that head_judge()
 * accepts and that begins at or after position ${from} and ends at or below ${to}, whatever lies
 * around it.  Skips what st->holes says is gone.  Ends when ${fn} returns other than 0, and returns
 * that.  Any thread.
 * Returns 0, also where a segment loses bytes meanwhile; -ENOMEM; -errno.
 */
typedef int head_found_fn(void *ctx, const struct head *h);
MUST_CHECK int head_search(const struct params *params, struct storage *st, log_pos from,
			   log_pos to, head_found_fn *fn, void *ctx);

#endif /* !JUDGE_H_ */
