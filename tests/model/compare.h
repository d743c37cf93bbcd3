#ifndef MODEL_COMPARE_H_
#define MODEL_COMPARE_H_

/*
 * Do two sides look the same?
 *
 * Not compared, since POSIX leaves them open: inode numbers, st_blocks, sizes of folders, the order
 * of names, where holes are, and st_atime unless somebody has just set it; nor times of fifos.
 * mtime and atime that were set (by being before TIME_SET_MAX_NS) must be equal to the nanosecond;
 * those that a clock gave must be so on both sides.  After a tick it must also agree which of mtime
 * and ctime are new.
 */

#include "apply.h"

#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

struct difference {
	const char *aspect; /* one word */
	char text[600];
};

/* What is known about the time of the operation that is looked at. */
struct moment {
	struct timespec begin;
	bool after_tick; /* all times that are older than ${begin} are much older */
	bool set_atime;	 /* it did, so that it must agree as well */
};

bool same_result(const struct side *a, const struct side *b, const struct result *ra,
		 const struct result *rb, struct difference *d);

/* What an operation was about: its paths, the folders that they are in, its slots. */
bool same_touched(struct side *a, struct side *b, const struct op *op, const struct moment *m,
		  struct difference *d);

/*
 * Everything: names, attributes, links, contents, extended attributes, open files.
 * ${cold}: what is cached of the contents is written back and dropped before.
 */
bool same_all(struct side *a, struct side *b, bool cold, struct difference *d);

#endif /* !MODEL_COMPARE_H_ */
