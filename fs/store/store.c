/*
 * The segment files of one volume.
 *
 * Key idea: a segment is one file with a name made from its number, so nothing has to remember
 * which segments there are: the folder says so.
 *
 * Invariant: a segment gets its name when it is allocated (store_take_spare), or empty (create);
 * the name is durable before anybody is told that the segment exists.
 */

#include "store_internal.h"

#include "file.h"
#include "frame.h"
#include "msg.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNREADABLE 0xee /* byte that stands for one that can't be read */

void store_segment_name(segment_no number, char out[SEGMENT_NAME_LEN])
{
	snprintf(out, SEGMENT_NAME_LEN, "%016llx.seg", (unsigned long long)number);
}

bool store_segment_parse(const char *name, segment_no *out)
{
	segment_no number = 0;

	if (strlen(name) != SEGMENT_NAME_LEN - 1 || strcmp(name + 16, ".seg") != 0)
		return false;
	for (unsigned i = 0; i < 16; i++) {
		const char *digits = "0123456789abcdef";
		const char *p = strchr(digits, name[i]);

		if (!p)
			return false;
		number = number << 4 | (uint64_t)(p - digits);
	}
	*out = number;
	return number <= SEGMENT_NUMBER_MAX;
}

int store_folder_is_copy(const char *volume_dir)
{
	int volume = file_open(AT_FDCWD, volume_dir, O_RDONLY | O_DIRECTORY, 0);
	int rc = volume < 0 ? volume : file_exists(volume, "owner");

	if (volume >= 0)
		file_close(volume);
	return rc;
}

static struct store *store_new(const char *volume_dir, unsigned how)
{
	struct store *st = calloc(1, sizeof(*st));

	if (!st)
		return NULL;
	st->volume_fd = st->dirfd = -1;
	st->writable = how & STORE_WRITABLE;
	st->around = how & STORE_AROUND;
	for (unsigned i = 0; i < STORE_OPEN_MAX; i++)
		st->handles[i].fd = -1;
	pthread_mutex_init(&st->mu, NULL);
	pthread_mutex_init(&st->sizes_mu, NULL);
	pthread_mutex_init(&st->numbers_mu, NULL);
	pthread_cond_init(&st->released, NULL);
	st->dir = strdup(volume_dir);
	if (!st->dir) {
		store_close(st);
		return NULL;
	}
	st->storage.ops = &storage_folder_ops;
	st->storage.name = st->dir;
	st->storage.is_copy = how & STORE_COPY;
	return st;
}

static int open_folders(struct store *st, bool look)
{
	int rc;

	st->volume_fd = rc = file_open(AT_FDCWD, st->dir, O_RDONLY | O_DIRECTORY, 0);
	if (rc < 0)
		return rc;
	if (st->writable) {
		rc = file_mkdir(st->volume_fd, "log", 0700);
		/* Also where it was there: who made it may have died, or failed, before this. */
		if (rc == 0 || rc == -EEXIST)
			rc = file_sync(st->volume_fd);
		if (rc < 0)
			return rc;
	}
	if (look) {
		rc = file_exists(st->volume_fd, "owner");
		if (rc < 0)
			return rc;
		st->storage.is_copy = rc == 1;
	}
	st->dirfd = rc = file_open(st->volume_fd, "log", O_RDONLY | O_DIRECTORY, 0);
	if (rc < 0)
		return rc;
	/* A segment may have got its name from a process that died before the name was durable. */
	return st->writable ? file_sync(st->dirfd) : 0;
}

int store_open(const char *volume_dir, unsigned how, struct store **out)
{
	struct store *st = store_new(volume_dir, how);
	int rc;

	if (!st)
		return -ENOMEM;
	rc = open_folders(st, how & STORE_LOOK);
	if (rc == -ENOENT || rc == -ENOTDIR)
		rc = err_say(-ERR_NO_VOLUME, "%s: has no log folder", volume_dir);
	if (rc == 0 && st->writable)
		rc = store_rewrite_noted(st);
	if (rc < 0) {
		store_close(st);
		return rc;
	}
	*out = st;
	return 0;
}

struct storage *store_storage(struct store *st)
{
	return &st->storage;
}

bool store_is_copy(const struct store *st)
{
	return st->storage.is_copy;
}

void store_close(struct store *st)
{
	if (!st)
		return;
	for (unsigned i = 0; i < STORE_OPEN_MAX; i++) {
		assert(st->handles[i].refs == 0);
		file_close(st->handles[i].fd);
	}
	file_close(st->dirfd);
	file_close(st->volume_fd);
	pthread_cond_destroy(&st->released);
	pthread_mutex_destroy(&st->mu);
	pthread_mutex_destroy(&st->sizes_mu);
	pthread_mutex_destroy(&st->numbers_mu);
	free(st->stored.sizes);
	free(st->numbers.kept);
	free(st->dir);
	free(st);
}

ssize_t store_read_around(int fd, uint8_t *out, size_t len, uint64_t off, int filler,
			  uint64_t *first)
{
	uint64_t size, end;
	int rc = file_size(fd, &size);

	if (rc < 0 || off >= size)
		return rc;
	end = len < size - off ? off + len : size;
	for (uint64_t at = off, next; at < end; out += next - at, at = next) {
		ssize_t n;

		next = (at / DIRECT_ALIGN + 1) * DIRECT_ALIGN;
		next = next < end ? next : end;
		n = file_read_at(fd, out, next - at, at);
		if (n < 0 && n != -EIO)
			return n;
		if (n >= 0 && (uint64_t)n < next - at)
			return (ssize_t)(at - off) + n;
		if (n < 0)
			memset(out, filler, next - at);
		if (n < 0 && at < *first)
			*first = at;
	}
	return (ssize_t)(end - off);
}

int store_say_unreadable(segment_no number, uint64_t off, int rc)
{
	return err_say(rc, "segment %016llx: can't be read at offset %llu: %s",
		       (unsigned long long)number, (unsigned long long)off, err_text(rc));
}

static ssize_t read_handle(struct store *st, const struct handle *h, uint8_t *out, size_t len,
			   uint64_t off)
{
	uint64_t first = UINT64_MAX;
	ssize_t n = file_read_at(h->fd, out, len, off);

	if (n == -EIO && st->around)
		n = store_read_around(h->fd, out, len, off, UNREADABLE, &first);
	if (first != UINT64_MAX) {
		atomic_store(&st->met_unreadable, true);
		msg_event(MSG_WARN, "segment-unreadable", "%s: %s", st->dir,
			  err_detail(store_say_unreadable(h->number, first, -EIO)));
	}
	return n < 0 ? store_say_unreadable(h->number, off, (int)n) : n;
}

bool store_met_unreadable(struct store *st)
{
	return atomic_exchange(&st->met_unreadable, false);
}

/*
 * The page in which the file ends is given back to the disk, so that the file keeps its length also if the
 * process dies: one that goes on behind its last block is damaged.
 */
static int drop_last_page(int fd, uint64_t off, uint64_t size)
{
	int rc = file_punch(fd, off, DIRECT_ALIGN);

	if (rc != -EOPNOTSUPP)
		return rc;
	/* In between it is short: what it lacks is healed, as what could not be read would be. */
	rc = file_truncate(fd, off);
	return rc < 0 ? rc : file_truncate(fd, size);
}

static int wipe_page(struct store *st, int fd, log_pos pos, uint64_t size)
{
	static _Alignas(DIRECT_ALIGN) const uint8_t zeros[DIRECT_ALIGN];
	uint64_t off = pos % SEGMENT_SIZE;
	uint8_t *page = malloc(DIRECT_ALIGN);
	int rc = page ? 0 : -ENOMEM;
	ssize_t n = 0;

	if (rc == 0)
		n = file_read_at(fd, page, DIRECT_ALIGN, off);
	if (n == -EIO && off < size && off + DIRECT_ALIGN > size) {
		rc = drop_last_page(fd, off, size);
		if (rc == 0)
			n = file_read_at(fd, page, DIRECT_ALIGN, off);
	}
	if (rc == 0 && n == -EIO)
		rc = store_write(st, pos, zeros, DIRECT_ALIGN, true);
	free(page);
	return rc;
}

int store_wipe(struct store *st, log_pos pos, size_t len)
{
	segment_no number = segment_of(pos);
	log_pos end = pos + len;
	uint64_t size, now;
	struct handle *h;
	int rc;

	assert(st->writable && segment_of(end - 1) == number);
	rc = store_acquire(st, number, false, &h);
	if (rc < 0)
		return rc;
	rc = file_size(h->fd, &size);
	for (pos -= pos % DIRECT_ALIGN; rc == 0 && pos < end; pos += DIRECT_ALIGN)
		rc = wipe_page(st, h->fd, pos, size);
	if (rc == 0)
		rc = file_size(h->fd, &now);
	store_release(st, h);
	/* The last page had to be written whole, and has its end behind the file's. */
	return rc == 0 && now > size ? store_truncate(st, number, size) : rc;
}

int store_read(struct store *st, log_pos pos, size_t len, void *out)
{
	uint64_t off = pos % SEGMENT_SIZE;
	struct handle *h;
	ssize_t n;
	int rc;

	if (len > SEGMENT_SIZE - off)
		return -ERR_ABSENT;
	rc = store_acquire(st, segment_of(pos), false, &h);
	if (rc < 0)
		return rc;
	n = read_handle(st, h, out, len, off);
	store_release(st, h);
	if (n < 0)
		return (int)n;
	return (size_t)n < len ? -ERR_ABSENT : 0;
}

static void advise(struct store *st, log_pos pos, size_t len, int advice)
{
	struct handle *h;

	if (store_acquire(st, segment_of(pos), false, &h) < 0)
		return;
	file_advise(h->fd, pos % SEGMENT_SIZE, len, advice);
	store_release(st, h);
}

void store_hint(struct store *st, log_pos pos, size_t len)
{
	advise(st, pos, len, POSIX_FADV_WILLNEED);
}

void store_forget(struct store *st, log_pos pos, size_t len)
{
	advise(st, pos, len, POSIX_FADV_DONTNEED);
}

int store_size(struct store *st, segment_no number, uint64_t *out_len)
{
	struct handle *h;
	int rc = store_acquire(st, number, false, &h);

	if (rc < 0)
		return rc;
	rc = file_size(h->fd, out_len);
	store_release(st, h);
	return rc;
}

int store_next(struct store *st, segment_no from, segment_no *out_number)
{
	uint64_t len;
	int rc = store_size(st, from, &len);

	/* A walk asks for the very next one, which mostly is there: spare it the whole folder. */
	if (rc == -ERR_ABSENT)
		return store_find_next(st, from, out_number);
	if (rc == 0)
		*out_number = from;
	return rc;
}

/* The highest of all numbers. */
struct search {
	segment_no found;
	bool any;
};

static int search_name(void *ctx, const char *name)
{
	struct search *s = ctx;
	segment_no number;

	if (!store_segment_parse(name, &number))
		return 0;
	if (!s->any || number > s->found)
		s->found = number;
	s->any = true;
	return 0;
}

int store_last(struct store *st, segment_no *out_number)
{
	struct search s = {0};
	int rc = file_list(st->dirfd, ".", search_name, &s);

	if (rc < 0)
		return rc;
	if (!s.any)
		return -ERR_ABSENT;
	*out_number = s.found;
	return 0;
}

int store_create(struct store *st, segment_no number)
{
	char name[SEGMENT_NAME_LEN];
	int fd, rc;

	assert(st->writable && number <= SEGMENT_NUMBER_MAX);
	store_segment_name(number, name);
	fd = file_open(st->dirfd, name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	file_close(fd);
	rc = file_sync(st->dirfd);
	if (rc < 0)
		(void)!file_unlink(st->dirfd, name);
	store_forget_numbers(st);
	return rc;
}

int store_write(struct store *st, log_pos pos, const void *buf, size_t len, bool direct)
{
	uint64_t off = pos % SEGMENT_SIZE;
	struct handle *h;
	int rc;

	assert(st->writable && len <= SEGMENT_SIZE - off);
	assert(!direct || (off % DIRECT_ALIGN == 0 && len % DIRECT_ALIGN == 0 &&
			   (uintptr_t)buf % DIRECT_ALIGN == 0));
	if (direct && !atomic_load(&st->no_direct)) {
		rc = store_acquire(st, segment_of(pos), true, &h);
		if (rc == 0) {
			rc = file_write_at(h->fd, buf, len, off);
			store_release(st, h);
		}
		if (rc != -EINVAL)
			return rc;
		atomic_store(&st->no_direct, true);
	}
	rc = store_acquire(st, segment_of(pos), false, &h);
	if (rc < 0)
		return rc;
	rc = file_write_at(h->fd, buf, len, off);
	store_release(st, h);
	return rc;
}

int store_sync(struct store *st, segment_no number)
{
	struct handle *h;
	int rc = store_acquire(st, number, false, &h);

	if (rc < 0)
		return rc;
	rc = file_sync_data(h->fd);
	store_release(st, h);
	if (rc == -ENOENT)
		rc = err_say(rc, "%s: segment %llu, which is being written, was removed", st->dir,
			     (unsigned long long)number);
	return rc;
}

int store_truncate(struct store *st, segment_no number, uint64_t len)
{
	struct handle *h;
	int rc;

	assert(st->writable && len <= SEGMENT_SIZE);
	rc = store_acquire(st, number, false, &h);
	if (rc < 0)
		return rc;
	rc = file_truncate(h->fd, len);
	if (rc == 0)
		rc = file_sync(h->fd);
	store_release(st, h);
	store_forget_sizes(st, number);
	return rc;
}

int store_punch(struct store *st, log_pos pos, uint64_t len)
{
	uint64_t off = pos % SEGMENT_SIZE;
	struct handle *h;
	int rc;

	assert(st->writable && len <= SEGMENT_SIZE - off);
	rc = store_acquire(st, segment_of(pos), false, &h);
	if (rc < 0)
		return rc;
	rc = file_punch(h->fd, off, len);
	store_release(st, h);
	return rc;
}

int store_remove(struct store *st, segment_no number)
{
	char name[SEGMENT_NAME_LEN];
	int rc;

	assert(st->writable);
	if (number > SEGMENT_NUMBER_MAX)
		return -ERR_ABSENT;
	store_segment_name(number, name);
	rc = file_unlink(st->dirfd, name);
	if (rc < 0)
		return rc == -ENOENT ? -ERR_ABSENT : rc;
	store_forget_handles(st, number);
	store_forget_sizes(st, number);
	store_forget_numbers(st);
	return file_sync(st->dirfd);
}
