#ifndef TITLE_H_
#define TITLE_H_

/*
 * The process title that ps(1) shows: main's arguments, overwritten in place.  A search for a
 * mount's daemon by its command line must not find the supervisor.
 */

#include "compiler.h"

#include <stddef.h>

/*
 * title_save(argc, argv): remember main's arguments.  After title_set() nobody may use the strings.
 * Returns 0 or -ENOMEM.  title_set(text): show ${text}, cut to what fits.  title_restore(): show
 * the arguments again.
 */
MUST_CHECK int title_save(int argc, char **argv);
void title_set(const char *text);
void title_restore(void);

/*
 * title_program(out, size): the path of the file that this process executes, even if another file
 * replaced it.  Returns 0; -ENAMETOOLONG; -errno.
 */
MUST_CHECK int title_program(char *out, size_t size);

#endif /* !TITLE_H_ */
