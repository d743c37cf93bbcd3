/* A copy on a disk that has lost a page: what the owner sends again goes there, whatever was before. */

#include "vault_fixture.h"

#include "err.h"
#include "file.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096
#define SEGMENT "0000000000000000.seg"

/* A page of a file that can't be read until it is written whole; ino 0: there is none. */
static struct {
	ino_t ino;
	off_t off;
} lost;

static bool meets(int fd, size_t len, off_t off)
{
	struct stat st;

	return lost.ino && off < lost.off + PAGE && off + (off_t)len > lost.off &&
	       fstat(fd, &st) == 0 && st.st_ino == lost.ino;
}

/* Both are found before libc's. */
ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	if (!meets(fd, len, off))
		return syscall(SYS_pread64, fd, buf, len, off);
	errno = EIO;
	return -1;
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	if (!meets(fd, len, off))
		return syscall(SYS_pwrite64, fd, buf, len, off);
	/* The kernel reads a page to write a part of it. */
	if (off > lost.off || off + (off_t)len < lost.off + PAGE) {
		errno = EIO;
		return -1;
	}
	lost.ino = 0;
	return syscall(SYS_pwrite64, fd, buf, len, off);
}

static void lose(off_t off)
{
	char path[512];
	struct stat st;

	fix_path("log/" SEGMENT, path);
	cr_assert_eq(stat(path, &st), 0);
	lost.ino = st.st_ino;
	lost.off = off;
}

static void set_up(void)
{
	fix_set_up();
	synth_segment(&log_, 0);
	for (unsigned i = 0; i < 3; i++)
		synth_block(&log_, 5000);
	synth_head(&log_);
	fix_append_all();
}

TestSuite(lost_page, .init = set_up, .fini = fix_tear_down, .timeout = 300);

/* All that the head states. */
static void mend_all(void)
{
	for (unsigned i = 0; i < log_.n_blocks - 1; i++) {
		const struct synth_place *b = &log_.blocks[i];
		uint32_t n;
		int rc = copy_repair(copy, WHO, b->pos, i, synth_bytes(&log_, b->pos), b->len, &n);

		cr_expect_eq(rc, 0, "block %u: %s", i, err_detail(rc));
	}
	cr_expect_eq(lost.ino, 0);
	fix_expect_holds(1);
}

Test(lost_page, is_mended)
{
	for (off_t off = 0; off < 3 * PAGE; off += PAGE) {
		lose(off);
		mend_all();
	}
}

/* A mending was cut short in its segment: the copy opens all the same, else nobody could mend it. */
Test(lost_page, in_a_segment_that_was_being_mended)
{
	char path[512];

	fix_close();
	fix_path("log/healing", path);
	cr_assert_eq(file_replace(AT_FDCWD, path, SEGMENT, strlen(SEGMENT), 0600), 0);
	lose(PAGE);
	fix_open();
	cr_expect_eq(file_exists(AT_FDCWD, path), 0);
	mend_all();
}
