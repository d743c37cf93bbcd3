#ifndef FILE_INTERNAL_H_
#define FILE_INTERNAL_H_

/* Shared by file*.c. */

#include "compiler.h"
#include "err.h"

#include <errno.h>

/* file_fault(op): 0, or the negative errno that a test wants ${op} to fail with. */
MUST_CHECK int file_fault(const char *op);

/* Repeat ${call} while it is interrupted; ${rc} becomes its result or -errno. */
#define CALL(rc, op, call)                                                                     \
	do {                                                                                   \
		(rc) = file_fault(op);                                                         \
		if ((rc) >= 0) {                                                               \
			(rc) = (call);                                                         \
			if ((rc) < 0)                                                          \
				(rc) = -errno;                                                 \
		}                                                                              \
		if ((rc) < 0)                                                                  \
			err_forget((int)(rc));                                                 \
	} while ((rc) == -EINTR)

#endif /* !FILE_INTERNAL_H_ */
