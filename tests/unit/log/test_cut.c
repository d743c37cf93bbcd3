/* What a person gives up: what was named, and only where the log is damaged. */

#include "cut.h"

#include "err.h"
#include "file.h"
#include "log_fixture.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct log_fixture f;
static struct head first, second;
static struct block_ptr deltas[3];
static char told[1000];

/* A byte of a file of a whole segment's length that the disk can't give; 0: there is none. */
static uint64_t bad_off;

ssize_t __real_file_read_at(int fd, void *buf, size_t len, uint64_t off);
ssize_t __wrap_file_read_at(int fd, void *buf, size_t len, uint64_t off);

ssize_t __wrap_file_read_at(int fd, void *buf, size_t len, uint64_t off)
{
	struct stat st;

	if (bad_off != 0 && off <= bad_off && bad_off < off + len && fstat(fd, &st) == 0 &&
	    st.st_size == SEGMENT_SIZE)
		return -EIO;
	return __real_file_read_at(fd, buf, len, off);
}

static struct block_ptr append_delta(struct log *log, uint64_t seed)
{
	uint8_t p[3000];
	struct block_ptr ptr;

	log_fixture_pattern(seed, p, sizeof(p), true);
	cr_assert_eq(log_append(log, BLOCK_DELTA, p, sizeof(p), 0, &ptr), 0);
	return ptr;
}

/* A delta, a head, two deltas, a head: each of the two mounts has a segment. */
static void setup(void)
{
	struct log_tail tail;
	struct log *log;

	log_fixture_init(&f, NULL);
	cr_assert_eq(log_fixture_open(&f, &log, &tail), 0);
	log_tail_release(&tail);
	deltas[0] = append_delta(log, 1);
	cr_assert_eq(log_add_head(log, &first), 0);
	cr_assert_eq(log_close(log), 0);
	cr_assert_eq(log_fixture_open(&f, &log, &tail), 0);
	log_tail_release(&tail);
	deltas[1] = append_delta(log, 2);
	deltas[2] = append_delta(log, 3);
	cr_assert_eq(log_add_head(log, &second), 0);
	cr_assert_eq(log_close(log), 0);
	told[0] = '\0';
}

static void teardown(void)
{
	log_fixture_release(&f);
}

TestSuite(cut, .init = setup, .fini = teardown, .timeout = 120);

static void tell(void *ctx, const char *text)
{
	(void)ctx;
	snprintf(told, sizeof(told), "%s", text);
}

static int cut(uint64_t pos)
{
	const struct log_cut_config cfg = {.dir = f.dir,
					   .params = &f.params,
					   .log_key = f.log_key,
					   .pos = pos,
					   .report = tell};

	return log_cut(&cfg);
}

static void flip(uint64_t pos)
{
	char path[400];
	uint8_t b;
	int fd;

	snprintf(path, sizeof(path), "%s/log/%016llx.seg", f.dir,
		 (unsigned long long)segment_of(pos));
	fd = open(path, O_RDWR);
	cr_assert_eq(pread(fd, &b, 1, (off_t)(pos % SEGMENT_SIZE)), 1);
	b ^= 1;
	cr_assert_eq(pwrite(fd, &b, 1, (off_t)(pos % SEGMENT_SIZE)), 1);
	close(fd);
}

static void expect_refused(void)
{
	struct log_tail tail;
	struct log *log;
	int rc = log_fixture_open(&f, &log, &tail);

	cr_assert(rc == -ERR_DAMAGED || rc == -ERR_TAMPERED, "%d", rc);
}

static void expect_opens(uint64_t head, size_t n_deltas)
{
	struct log_tail tail;
	struct log *log;

	cr_assert_eq(log_fixture_open(&f, &log, &tail), 0, "%s", err_detail(-ERR_DAMAGED));
	cr_expect_eq(tail.head.number, head);
	cr_expect_eq(tail.n_deltas, n_deltas);
	log_tail_release(&tail);
	cr_assert_eq(log_close(log), 0);
}

Test(cut, a_whole_log_is_left_alone)
{
	cr_expect_eq(cut(second.pos), -EINVAL);
	cr_expect(strstr(err_detail(-EINVAL), "is not damaged"));
	cr_expect_eq(cut(first.pos), -EINVAL);
	expect_opens(2, 0);
}

/* The second delta of the last segment: the first one stays, and is replayed. */
Test(cut, only_what_was_named_goes)
{
	char want[100], path[400];

	/* Below a head that its catalog knows a mount does not look. */
	snprintf(path, sizeof(path), "%s/catalog", f.dir);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	flip(deltas[2].pos + 700);
	expect_refused();
	cr_expect_eq(cut(0), -EINVAL);
	snprintf(want, sizeof(want), "whole up to position %llu;",
		 (unsigned long long)deltas[2].pos);
	cr_expect(strstr(err_detail(-EINVAL), want), "%s", err_detail(-EINVAL));
	cr_expect(strstr(err_detail(-EINVAL), "heads 2 to 2"), "%s", err_detail(-EINVAL));
	cr_expect_eq(cut(deltas[2].pos + 1), -EINVAL);
	cr_expect_eq(cut(deltas[1].pos), -EINVAL);
	cr_expect_str_eq(told, "");
	expect_refused();
	cr_assert_eq(cut(deltas[2].pos), 0, "%s", err_detail(-EINVAL));
	cr_expect(strstr(told, "heads 2 to 2"), "%s", told);
	expect_opens(1, 1);
	cr_expect_eq(cut(deltas[2].pos), -EINVAL);
}

/* Old bytes that are damaged cost what lies in them, and no more, as long as the catalog is there. */
Test(cut, what_a_mount_goes_on_with_is_kept)
{
	char path[400];

	flip(deltas[1].pos + 700);
	cr_expect_eq(cut(deltas[1].pos), -EINVAL);
	cr_expect(strstr(err_detail(-EINVAL), "a mount goes on with it, from head 2"), "%s",
		  err_detail(-EINVAL));
	cr_expect(strstr(err_detail(-EINVAL), "its seal does not fit"), "%s", err_detail(-EINVAL));
	cr_expect_str_eq(told, "");
	expect_opens(2, 0);
	/* Damage behind the newest head is another thing. */
	flip(second.pos + 80);
	expect_refused();
	cr_expect_eq(cut(0), -EINVAL);
	cr_expect(strstr(err_detail(-EINVAL), "whole up to position"), "%s", err_detail(-EINVAL));
	flip(second.pos + 80);
	expect_opens(2, 0);
	snprintf(path, sizeof(path), "%s/catalog", f.dir);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	expect_refused();
	cr_assert_eq(cut(deltas[1].pos), 0, "%s", err_detail(-EINVAL));
	expect_opens(1, 0);
}

/* The last segment is gone with the catalog: newest-head alone tells of it. */
Test(cut, segments_that_are_gone_are_given_up)
{
	char path[400];
	uint64_t end = head_end(&first);

	snprintf(path, sizeof(path), "%s/log/0000000000000001.seg", f.dir);
	cr_assert_eq(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/catalog", f.dir);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	expect_refused();
	cr_expect_eq(cut(0), -EINVAL);
	cr_assert_eq(cut(end), 0, "%s", err_detail(-EINVAL));
	expect_opens(1, 0);
}

/* Damage before the last segment: that one goes too. */
Test(cut, later_segments_go_too)
{
	char path[400];

	flip(first.pos + 80);
	snprintf(path, sizeof(path), "%s/catalog", f.dir);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	expect_refused();
	cr_expect_eq(cut(first.pos), -ERR_DAMAGED, "no head would be left");
	flip(first.pos + 80);
	expect_opens(2, 0);
}

/* Behind all blocks of an end that was not clean: no mount can tell what lies there. */
Test(cut, what_can_t_be_read_is_given_up)
{
	struct log_tail tail;
	struct log *log;
	char path[400];

	snprintf(path, sizeof(path), "%s/log/0000000000000001.seg", f.dir);
	cr_assert_eq(truncate(path, SEGMENT_SIZE), 0);
	bad_off = SEGMENT_SIZE / 2;
	cr_assert_eq(log_fixture_open(&f, &log, &tail), -EIO);
	cr_expect(strstr(err_detail(-EIO), "segment 0000000000000001: can't be read"), "%s",
		  err_detail(-EIO));
	cr_expect_eq(cut(0), -EINVAL);
	cr_expect(strstr(err_detail(-EINVAL), "whole up to position"), "%s", err_detail(-EINVAL));
	cr_assert_eq(cut(head_end(&second)), 0, "%s", err_detail(-EINVAL));
	expect_opens(2, 0);
}

Test(cut, an_embassy_s_copy_is_healed_instead)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/owner", f.dir);
	cr_assert_eq(file_replace(AT_FDCWD, path, "cn:home", 7, 0600), 0);
	flip(deltas[2].pos + 700);
	cr_expect_eq(cut(deltas[2].pos), -EINVAL);
	cr_expect(strstr(err_detail(-EINVAL), "an embassy's copy"));
}
