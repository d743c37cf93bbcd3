#ifndef NOTE_H_
#define NOTE_H_

/*
 * Which changes of a request were made, in memory that outlives the process (struct volume_shm).
 *
 * The volume notes a change while it holds its exclusive lock, after the change is in the journal and
 * before a delta can take it from there.  A process that is killed between the two leaves the journal's
 * entry, which has the request's number too: whoever replays it notes the change again, and since
 * changes are numbered it is counted once.
 *
 * Any thread; lock-free.
 */

#include <stdatomic.h>
#include <stdint.h>

struct change_note {
	_Atomic uint64_t tag;	/* whose it is by now; nothing is noted for another */
	_Atomic uint64_t state; /* number of its newest change << 16 | changes so far */
	_Atomic uint64_t made;	/* the inode that they made, or 0 */
};

/*
 * note_change(n, tag, number, made): change ${number}, of the request ${tag}, is in the journal;
 * ${made}: the inode that it made, or 0.  Does nothing if ${n} is another's by now, or knows of that
 * change.
 */
void note_change(struct change_note *n, uint64_t tag, uint64_t number, uint64_t made);

/* note_mark(n): as if there had been a change that is in no journal. */
void note_mark(struct change_note *n);

/* note_steps(n): how many changes there were; of more than 65535, that many. */
uint32_t note_steps(const struct change_note *n);

#endif /* !NOTE_H_ */
