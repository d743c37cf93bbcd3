/* VOLUME/newest-serial: only ever higher, durable, and a clear error where it is spoiled. */

#include "err.h"
#include "file.h"
#include "serial.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Test(serial, only_goes_up)
{
	const char *tmp = getenv("TMPDIR");
	char dir[200], path[256];
	uint64_t serial;

	snprintf(dir, sizeof(dir), "%s/serial-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/newest-serial", dir);
	cr_expect_eq(serial_newest(dir, &serial), 0);
	cr_expect_eq(serial, 0);
	cr_expect_eq(serial_note(dir, 7), 0);
	cr_expect_eq(serial_note(dir, 3), 0);
	cr_expect_eq(serial_newest(dir, &serial), 0);
	cr_expect_eq(serial, 7);
	cr_expect_eq(serial_note(dir, UINT64_MAX), 0);
	cr_expect_eq(serial_newest(dir, &serial), 0);
	cr_expect_eq(serial, UINT64_MAX);
	cr_assert_eq(file_replace(AT_FDCWD, path, "many\n", 5, 0600), 0);
	cr_expect_eq(serial_newest(dir, &serial), -ERR_FORMAT);
	cr_expect(strstr(err_detail(-ERR_FORMAT), path));
	cr_expect_eq(serial_note(dir, 9), -ERR_FORMAT);
	cr_assert_eq(file_remove_tree(AT_FDCWD, dir), 0);
	cr_expect_eq(serial_note(dir, 9), -ENOENT);
}
