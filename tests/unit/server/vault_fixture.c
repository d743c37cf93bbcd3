/* See vault_fixture.h. */

#include "vault_fixture.h"

#include "err.h"
#include "file.h"

#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char dir[256];
struct synth log_;
struct vault *vault;
struct copy *copy;

void fix_no_cancel(void *ctx)
{
	(void)ctx;
}

void fix_open(void)
{
	cr_assert_eq(vault_open(dir, &vault), 0);
	cr_assert_eq(vault_find(vault, log_.id, &copy), 0);
}

void fix_close(void)
{
	vault_close(vault);
	vault = NULL;
}

void fix_set_up(void)
{
	const char *tmp = getenv("TMPDIR");
	struct buf conf = {0};

	snprintf(dir, sizeof(dir), "%s/embassyd-vault-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(dir));
	synth_init(&log_, 7);
	cr_assert_eq(vault_open(dir, &vault), 0);
	synth_conf(&log_, 1, 1, &conf);
	cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &copy), 0);
	buf_release(&conf);
}

void fix_tear_down(void)
{
	file_set_fault(NULL, NULL);
	fix_close();
	synth_release(&log_);
	cr_expect_eq(file_remove_tree(AT_FDCWD, dir), 0);
}

struct copy_stand fix_stand(void)
{
	struct copy_stand s;

	copy_get_stand(copy, &s);
	return s;
}

int fix_begin(struct appender **out)
{
	struct copy_stand s = fix_stand();
	struct appender_opening o = {
		.epoch = log_.epoch, .position = s.end, .head = s.head, .cancel = fix_no_cancel};

	return appender_begin(copy, WHO, &o, out);
}

/* Give the log's bytes from ${pos} to ${limit} to the appender; the first error. */
int fix_feed(struct appender *a, uint64_t pos, uint64_t limit, size_t piece)
{
	while (pos < limit) {
		uint8_t *room;
		size_t len;
		uint64_t at = synth_piece(&log_, pos, piece, &len);
		int rc;

		cr_assert_gt(len, 0);
		rc = appender_room(a, at, len, &room);
		if (rc < 0)
			return rc;
		memcpy(room, synth_bytes(&log_, at), len);
		rc = appender_take(a);
		if (rc < 0)
			return rc;
		pos = at + len;
	}
	return 0;
}

/* Append all there is and commit. */
void fix_append_all(void)
{
	struct copy_stand s;
	struct appender *a;
	int rc;

	rc = fix_begin(&a);
	cr_assert_eq(rc, 0, "%s", err_detail(rc));
	rc = fix_feed(a, fix_stand().end, log_.end, 1 << 20);
	cr_assert_eq(rc, 0, "%s", err_detail(rc));
	cr_assert_eq(appender_commit(a, &s), 0);
	cr_assert_eq(s.end, synth_head_end(&log_, log_.number));
	appender_end(a);
}

/* The copy holds exactly the log up to head ${number}. */
void fix_expect_holds(uint64_t number)
{
	uint64_t end = synth_head_end(&log_, number);
	uint8_t *bytes = malloc(BLOCK_STORED_MAX);

	cr_assert_eq(fix_stand().head, number, "head %lu", (unsigned long)fix_stand().head);
	cr_assert_eq(fix_stand().end, end);
	for (size_t i = 0; i < log_.n_blocks; i++) {
		const struct synth_place *b = &log_.blocks[i];
		uint64_t len;

		if (b->pos >= end) {
			cr_assert_eq(copy_clip(copy, b->pos, b->len, &len), -ERR_ABSENT);
			continue;
		}
		cr_assert_eq(copy_clip(copy, b->pos, b->len, &len), 0);
		cr_assert_eq(len, b->len);
		cr_assert_eq(copy_read(copy, b->pos, b->len, bytes), 0);
		cr_assert_arr_eq(bytes, synth_bytes(&log_, b->pos), b->len);
	}
	free(bytes);
}

/* The length of a segment's file; -1: not there. */
long fix_file_len(uint64_t number)
{
	char path[512], id[2 * VOLUME_ID_LEN + 1];
	struct stat st;

	for (unsigned i = 0; i < VOLUME_ID_LEN; i++)
		sprintf(id + 2 * i, "%02x", log_.id[i]);
	snprintf(path, sizeof(path), "%s/%s/log/%016llx.seg", dir, id, (unsigned long long)number);
	return stat(path, &st) < 0 ? -1 : (long)st.st_size;
}

void fix_path(const char *name, char out[512])
{
	char id[2 * VOLUME_ID_LEN + 1];

	for (unsigned i = 0; i < VOLUME_ID_LEN; i++)
		sprintf(id + 2 * i, "%02x", log_.id[i]);
	snprintf(out, 512, "%s/%s/%s", dir, id, name);
}
