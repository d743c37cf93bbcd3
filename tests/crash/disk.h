#ifndef DISK_H_
#define DISK_H_

/*
 * A disk that a recording is played to, and what it may hold after a power cut.
 *
 * What it promises, and no more: bytes and size of a file once a sync of that file has returned,
 * for what was written before the sync began; a folder's entries likewise.  A rename happens whole
 * or not at all.  All else that was done may have reached it or not, each by itself, in sectors of
 * 512 bytes.  A sync that failed has lost, for good, what it should have covered.
 */

#include "recorder.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;

/* Which of the changes that no sync covers a cut leaves. */
enum cut {
	CUT_ALL,     /* every one: a kill, not a power cut */
	CUT_NONE,    /* none */
	CUT_ORDERED, /* the first so many, the last of them torn */
	CUT_RANDOM,  /* any, torn or not */
	CUT_FEW,     /* hardly any */
	CUT_MOST,    /* nearly all */
	CUT_NAMES,   /* names and sizes, no bytes: what was written reads as zeros */
	CUT_BYTES,   /* bytes within old sizes, no names */
	CUT_END
};
const char *cut_name(enum cut cut);

/* Which syncs a disk ignores: to show that the tests find a sync that a program forgot. */
enum forget { FORGET_NOTHING, FORGET_FILES, FORGET_FOLDERS };

/* All here abort, with a message, on a recording that can't be: it is our own. */
struct disk *disk_new(const char *root, enum forget forget);
void disk_free(struct disk *d);

/* disk_import(d, path): what lies in the folder ${path} is on the disk, and durable. */
void disk_import(struct disk *d, const char *path);

/* disk_play(d, r): the next record; its texts and data follow it in memory that outlives ${d}. */
void disk_play(struct disk *d, const struct record *r);

/* disk_pending(d): how many changes no sync covers. */
size_t disk_pending(const struct disk *d);

/*
 * disk_cut(d, cut, random): the power fails; then only disk_write() may follow.  ${*random}
 * is a generator's state.
 */
void disk_cut(struct disk *d, enum cut cut, uint64_t *random);

/* disk_write(d, path): make the folder ${path} with all that the disk holds. */
void disk_write(struct disk *d, const char *path);

/*
 * disk_compare(d, path): whether the folder holds exactly what was played, as a check that
 * the recorder missed nothing.  Says on stderr what differs.
 */
bool disk_compare(struct disk *d, const char *path);

/* A recording in memory. */
struct recording {
	uint8_t *bytes;
	size_t len;
};
void recording_load(struct recording *r, const char *path);
void recording_free(struct recording *r);
/* recording_next(r, at): the record at ${*at}, which moves on; NULL at the end. */
const struct record *recording_next(const struct recording *r, size_t *at);

#endif /* !DISK_H_ */
