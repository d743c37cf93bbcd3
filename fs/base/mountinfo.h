#ifndef MOUNTINFO_H_
#define MOUNTINFO_H_

/*
 * The mounts of a process's namespace, as the kernel lists them in /proc/PID/mountinfo: parents
 * first.
 */

#include "compiler.h"

#include <stddef.h>
#include <sys/types.h>

#define MOUNTINFO_OWN "/proc/self/mountinfo"

struct mountinfo_row {
	unsigned long id, parent;
	dev_t dev;
	char *path, *type, *source; /* owned; with the kernel's escapes of blanks undone */
};

struct mountinfo {
	struct mountinfo_row *row;
	size_t n;
};

/*
 * mountinfo_read(file, out): read all mounts; lines of another form are skipped.  Returns 0;
 * -ENOMEM or -errno, with ${*out} empty.  mountinfo_release() frees the rows.
 */
MUST_CHECK int mountinfo_read(const char *file, struct mountinfo *out);
void mountinfo_release(struct mountinfo *m);

#endif /* !MOUNTINFO_H_ */
