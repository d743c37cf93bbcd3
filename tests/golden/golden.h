#ifndef GOLDEN_H_
#define GOLDEN_H_

/* The files of tests/golden, whose folder the build gives as GOLDEN_DIR. */

#include "buf.h"
#include "file.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>

/* golden_read(name, out): the whole file, with a NUL after it that is not counted. */
static inline void golden_read(const char *name, struct buf *out)
{
	char path[512];
	void *data;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s", GOLDEN_DIR, name);
	cr_assert_eq(file_read_all(AT_FDCWD, path, 1 << 20, &data, &len), 0, "%s", path);
	*out = (struct buf){.p = data, .len = len, .cap = len + 1};
}

#endif /* !GOLDEN_H_ */
