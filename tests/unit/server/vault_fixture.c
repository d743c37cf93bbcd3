/* See vault_fixture.h. */

#include "vault_fixture.h"

#include "err.h"
#include "file.h"
#include "storage_folder.h"
#include "storage_memory.h"

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
bool fix_memory;
struct memory *memory;

void fix_no_cancel(void *ctx)
{
	(void)ctx;
}

const struct holes *fix_holes;
static struct storage_pool_ops pool_ops; /* but open(), as the pool has them */
static const struct storage_pool_ops *own_ops;

/* As a back end does that knows of bytes that are gone. */
static int open_with_holes(struct storage_pool *p, const uint8_t id[VOLUME_ID_LEN],
			   struct storage **out)
{
	int rc = own_ops->open(p, id, out);

	if (rc == 0)
		(*out)->holes = fix_holes;
	return rc;
}

void fix_open_vault(void)
{
	struct storage_pool *pool;

	if (fix_memory)
		cr_assert_eq(storage_memory_open(memory, dir, &pool), 0);
	else
		cr_assert_eq(storage_folder_open(dir, &pool), 0);
	own_ops = pool->ops;
	pool_ops = *own_ops;
	pool_ops.open = open_with_holes;
	pool->ops = &pool_ops;
	cr_assert_eq(vault_open(pool, &vault), 0);
}

void fix_open(void)
{
	fix_open_vault();
	cr_assert_eq(vault_find(vault, log_.id, &copy), 0);
}

void fix_close(void)
{
	vault_close(vault);
	vault = NULL;
}

void fix_set_up(void)
{
	const char *tmp = getenv("TMPDIR"), *storage = getenv("EMBASSYFS_TEST_STORAGE");
	struct buf conf = {0};

	snprintf(dir, sizeof(dir), "%s/embassyd-vault-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(dir));
	synth_init(&log_, 7);
	fix_memory = storage && strcmp(storage, "memory") == 0;
	if (fix_memory)
		cr_assert(memory = memory_new(1));
	fix_open_vault();
	synth_conf(&log_, 1, 1, &conf);
	cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &copy), 0);
	buf_release(&conf);
}

void fix_tear_down(void)
{
	fix_set_fault(NULL, NULL);
	fix_close();
	memory_free(memory);
	memory = NULL;
	synth_release(&log_);
	cr_expect_eq(file_remove_tree(AT_FDCWD, dir), 0);
}

struct copy_committed fix_committed(void)
{
	struct copy_committed s;

	copy_get_committed(copy, &s);
	return s;
}

int fix_begin(struct appender **out)
{
	struct copy_committed s = fix_committed();
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
	struct copy_committed s;
	struct appender *a;
	int rc;

	rc = fix_begin(&a);
	/* A copy that recovers first may then stand elsewhere than it said: as a home, ask again. */
	if (rc == -ERR_STALE)
		rc = fix_begin(&a);
	cr_assert_eq(rc, 0, "%s", err_detail(rc));
	rc = fix_feed(a, fix_committed().end, log_.end, 1 << 20);
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

	cr_assert_eq(fix_committed().head, number, "head %lu", (unsigned long)fix_committed().head);
	cr_assert_eq(fix_committed().end, end);
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

void fix_set_fault(int (*fn)(void *ctx, const char *op), void *ctx)
{
	if (fix_memory)
		memory_set_fault(memory, fn, ctx);
	else
		file_set_fault(fn, ctx);
}

void fix_path(const char *name, char out[512])
{
	char id[2 * VOLUME_ID_LEN + 1];

	for (unsigned i = 0; i < VOLUME_ID_LEN; i++)
		sprintf(id + 2 * i, "%02x", log_.id[i]);
	snprintf(out, 512, "%s/%s/%s", dir, id, name);
}

static void segment_path(uint64_t number, char out[512])
{
	char name[64];

	snprintf(name, sizeof(name), "log/%016llx.seg", (unsigned long long)number);
	fix_path(name, out);
}

long fix_segment_len(uint64_t number)
{
	char path[512];
	struct stat st;

	if (fix_memory)
		return (long)memory_len(memory, log_.id, number);
	segment_path(number, path);
	return stat(path, &st) < 0 ? -1 : (long)st.st_size;
}

void fix_put(uint64_t pos, const void *bytes, size_t len)
{
	char path[512];
	int fd;

	if (fix_memory) {
		memory_put(memory, log_.id, pos, bytes, len);
		return;
	}
	segment_path(segment_of(pos), path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	cr_assert(fd >= 0);
	cr_assert_eq(pwrite(fd, bytes, len, (off_t)(pos % SEGMENT_SIZE)), (ssize_t)len);
	close(fd);
}

void fix_flip(uint64_t pos)
{
	char path[512], byte;
	int fd;

	if (fix_memory) {
		cr_assert(memory_get(memory, log_.id, pos, &byte, 1));
	} else {
		segment_path(segment_of(pos), path);
		fd = open(path, O_RDONLY);
		cr_assert_eq(pread(fd, &byte, 1, (off_t)(pos % SEGMENT_SIZE)), 1);
		close(fd);
	}
	byte ^= 4;
	fix_put(pos, &byte, 1);
}

void fix_drop_segment(uint64_t number)
{
	char path[512];

	if (fix_memory) {
		memory_drop(memory, log_.id, number);
		return;
	}
	segment_path(number, path);
	cr_assert_eq(unlink(path), 0);
}

void fix_drop_index(void)
{
	char path[512];

	if (fix_memory) {
		memory_drop_index(memory, log_.id);
		return;
	}
	fix_path("catalog", path);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
}
