#ifndef TITLE_H_
#define TITLE_H_

/*
 * What ps(1) shows of a process: main's arguments, in their own memory.  Whoever looks for the
 * daemon of a mount by its command line must not find the supervisor.
 */

#include "compiler.h"

#include <stddef.h>

/*
 * title_save(argc, argv): main's.  Nobody uses the strings after title_set().  Returns 0 or
 * -ENOMEM.  title_set(text): shown from now on, cut to what fits.  title_restore(): as it was.
 */
MUST_CHECK int title_save(int argc, char **argv);
void title_set(const char *text);
void title_restore(void);

/*
 * title_program(out, size): the path of the file that this process was executed from, also if another
 * one stands there by now.  Returns 0; -ENAMETOOLONG; -errno.
 */
MUST_CHECK int title_program(char *out, size_t size);

#endif /* !TITLE_H_ */
