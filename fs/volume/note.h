#ifndef NOTE_H_
#define NOTE_H_

/*
 * Which changes of a request were made, in memory that outlives the process (struct volume_shm).
 *
 * The volume notes a change under its exclusive lock, after the change is in the journal and before
 * a delta can take it from there.  If the process is killed between the two, the journal's entry
 * remains, and it contains the request's number too.  The successor that replays the entry notes
 * the change again.  Changes are numbered, so it is counted only once.
 *
 * Any thread; lock-free.
 */

#include "numbers.h"

#include <stdatomic.h>
#include <stdint.h>

struct change_note {
	_Atomic uint64_t tag;	/* the request that owns it now; others note nothing */
	_Atomic uint64_t state; /* number of its newest change << 16 | changes so far */
	_Atomic inode_no made;	/* the inode that they made, or 0 */
};

/*
 * note_change(n, tag, number, made): change ${number} of the request ${tag} is in the journal; it
 * made the inode ${made}, or none if 0.  Does nothing if another request owns ${n} by now, or if
 * the change was noted already.
 */
void note_change(struct change_note *n, uint64_t tag, uint64_t number, inode_no made);

/* note_mark(n): count one change that is in no journal. */
void note_mark(struct change_note *n);

/* note_steps(n): how many changes were made, at most 65535. */
uint32_t note_steps(const struct change_note *n);

#endif /* !NOTE_H_ */
