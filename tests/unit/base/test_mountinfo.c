/* Lines of mountinfo as the kernel writes them, and such as it does not. */

#include "mountinfo.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char text[] =
	"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n"
	"37 36 0:45 / /a\\040b\\134\\011c rw - fuse.embassyfs /home/v\\040w rw\n"
	"38 36 0:46 / /odd\\9 rw - fuse \\08 rw\n"
	"not a line\n"
	"39 36 0:47 / /no-end rw\n"
	"40 36 0:48 / /no-source rw - tmpfs\n"
	"41 36 0:49 / /last rw - proc proc rw\n";

Test(mountinfo, lines)
{
	char path[] = "/tmp/test_mountinfo.XXXXXX";
	int fd = mkstemp(path);
	struct mountinfo m;

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	close(fd);
	cr_assert_eq(mountinfo_read(path, &m), 0);
	unlink(path);
	cr_assert_eq(m.n, 4);
	cr_expect_eq(m.row[0].id, 36);
	cr_expect_eq(m.row[0].parent, 35);
	cr_expect_eq(m.row[0].dev, makedev(98, 0));
	cr_expect_str_eq(m.row[0].path, "/mnt2");
	cr_expect_str_eq(m.row[0].type, "ext3");
	cr_expect_str_eq(m.row[0].source, "/dev/root");
	cr_expect_str_eq(m.row[1].path, "/a b\\\tc");
	cr_expect_str_eq(m.row[1].type, "fuse.embassyfs");
	cr_expect_str_eq(m.row[1].source, "/home/v w");
	cr_expect_str_eq(m.row[2].path, "/odd\\9");
	cr_expect_str_eq(m.row[2].source, "\\08");
	cr_expect_str_eq(m.row[3].path, "/last");
	mountinfo_release(&m);
	cr_expect_eq(m.n, 0);
}

Test(mountinfo, own_and_none)
{
	struct mountinfo m;

	cr_assert_eq(mountinfo_read(MOUNTINFO_OWN, &m), 0);
	cr_expect_gt(m.n, 0);
	mountinfo_release(&m);
	cr_expect_eq(mountinfo_read("/proc/self/none", &m), -ENOENT);
}
