/*
 * Ordered keys and values, by RocksDB.
 *
 * Key idea: a reader beside a live writer has a read-only view of the moment it was opened.
 * The writer may delete files under that view, so a read that fails is tried once more on a new
 * view.  It may also move the newest changes from a log into a table, and delete the log, while
 * a view is being opened, which RocksDB does not notice: the view would have a gap.  The
 * manifest grows before any log goes, so a view counts only if the manifest did not change
 * while it was opened.
 *
 * Invariants: no iterator outlives a call (RocksDB aborts on close with one open); db is never
 * closed while a call uses it; a reader's views follow each other in time.
 *
 * Locks: renew, then swap.  swap is held for reading while db is used, for writing while it is
 * exchanged; renew by the thread that makes a new view.
 */

#include "kv_ops.h"

#include "file.h"
#include "thread.h"

#include "err.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_CACHE_LEN ((size_t)8 << 20)
#define WRITE_BUFFER_LEN ((size_t)4 << 20)
#define OPEN_FILES_MAX 64
#define OPEN_TRIES 20u
#define MANIFEST_NAME_MAX 64u
#define INFO_LOG_NOTHING 5

struct rocks {
	struct kv kv; /* first */
	bool writable;
	char *dir; /* owned */
	rocksdb_options_t *options;
	rocksdb_readoptions_t *read;
	rocksdb_writeoptions_t *write, *write_durable;
	pthread_mutex_t renew;
	pthread_rwlock_t swap;
	rocksdb_t *db; /* guarded by swap; NULL: it could not be opened again */
};

static const struct kv_ops rocks_ops;

static struct rocks *rocks_of(struct kv *kv)
{
	return (struct rocks *)kv;
}

/*
 * Translate a RocksDB error text.  Takes ${text}.  A text that is not known counts as damage, and
 * then the database is made anew; so every error that may be gone by the next attempt has to be
 * listed here.
 */
static int say_error(const struct rocks *kv, char *text)
{
	/* clang-format off */
	static const struct {
		const char *part;
		int rc;
	} known[] = {
		{"While lock file", -ERR_LOCKED},
		{"lock hold by current process", -ERR_LOCKED},
		{"No space left", -ENOSPC},
		{"Disk quota exceeded", -ENOSPC},
		{"File too large", -EFBIG},
		{"Cannot allocate memory", -ENOMEM},
		{"Operation not permitted", -EPERM},
		{"Operation not supported", -EOPNOTSUPP},
		{"Stale file handle", -ESTALE},
		{"Connection timed out", -ETIMEDOUT},
		{"Transport endpoint is not connected", -ENOTCONN},
		{"Resource temporarily unavailable", -EAGAIN},
		{"Interrupted system call", -EINTR},
		{"No such device", -ENXIO}, /* or address */
		{"Permission denied", -EACCES},
		{"Read-only file system", -EROFS},
		{"Too many open files", -EMFILE},
		{"Input/output error", -EIO},
	};
	/* clang-format on */
	int rc = -ERR_DAMAGED;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strstr(text, known[i].part)) {
			rc = known[i].rc;
			break;
		}
	}
	err_say(rc, "%s: %s", kv->dir, text);
	rocksdb_free(text);
	return rc;
}

/* No preallocation: on a full disk RocksDB must not take more room than it fills. */
static void set_no_fallocate(rocksdb_options_t *o)
{
	rocksdb_options_t *base = rocksdb_options_create_copy(o);
	char *err = NULL;

	rocksdb_get_options_from_string(base, "allow_fallocate=false", o, &err);
	assert(!err);
	rocksdb_options_destroy(base);
}

static rocksdb_options_t *make_options(bool create)
{
	rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
	rocksdb_cache_t *cache = rocksdb_cache_create_lru(BLOCK_CACHE_LEN);
	rocksdb_options_t *o = rocksdb_options_create();

	rocksdb_block_based_options_set_block_cache(table, cache);
	rocksdb_options_set_block_based_table_factory(o, table);
	rocksdb_cache_destroy(cache);
	rocksdb_block_based_options_destroy(table);
	rocksdb_options_set_create_if_missing(o, create);
	rocksdb_options_set_write_buffer_size(o, WRITE_BUFFER_LEN);
	rocksdb_options_set_max_write_buffer_number(o, 2);
	rocksdb_options_set_max_open_files(o, OPEN_FILES_MAX);
	rocksdb_options_set_max_background_jobs(o, 1);
	rocksdb_options_set_compression(o, rocksdb_no_compression); /* hashes do not compress */
	/*
	 * Nothing goes into its journal of events: a build with assertions, such as Debian's,
	 * aborts at the second line that it can't write, as when the disk is full.
	 */
	rocksdb_options_set_info_log_level(o, INFO_LOG_NOTHING);
	rocksdb_options_set_keep_log_file_num(o, 1);
	rocksdb_options_set_stats_dump_period_sec(o, 0);
	rocksdb_options_set_stats_persist_period_sec(o, 0);
	set_no_fallocate(o);
	return o;
}

/* Which manifest is current, and its size: the same before and after means no change between. */
struct manifest {
	char name[MANIFEST_NAME_MAX];
	uint64_t size;
};

/* The path ${dir}/${name}, owned by the caller, or NULL. */
static char *path_in(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static int read_manifest(const struct rocks *kv, struct manifest *out)
{
	char *path;
	void *name;
	size_t len;
	int fd, rc;

	memset(out, 0, sizeof(*out));
	path = path_in(kv->dir, "CURRENT");
	if (!path)
		return -ENOMEM;
	rc = file_read_all(AT_FDCWD, path, MANIFEST_NAME_MAX - 1, &name, &len);
	free(path);
	if (rc < 0)
		return rc;
	memcpy(out->name, name, len);
	out->name[strcspn(out->name, "\n")] = '\0';
	free(name);
	path = path_in(kv->dir, out->name);
	if (!path)
		return -ENOMEM;
	fd = file_open(AT_FDCWD, path, O_RDONLY, 0);
	free(path);
	if (fd < 0)
		return fd;
	rc = file_size(fd, &out->size);
	file_close(fd);
	return rc;
}

static int open_writable(struct rocks *kv, rocksdb_t **out)
{
	char *err = NULL;

	*out = rocksdb_open(kv->options, kv->dir, &err);
	return err ? say_error(kv, err) : 0;
}

/* Open a view without gaps.  While a writer changes its files, an attempt may fail or not count. */
static int open_view(struct rocks *kv, rocksdb_t **out)
{
	struct manifest before, after;
	int rc = 0;

	for (unsigned i = 0; i < OPEN_TRIES; i++) {
		int before_rc = read_manifest(kv, &before);
		char *err = NULL;

		*out = rocksdb_open_for_read_only(kv->options, kv->dir, 0, &err);
		if (err) {
			rc = say_error(kv, err);
			continue;
		}
		if (before_rc == 0 && read_manifest(kv, &after) == 0 && before.size == after.size &&
		    strcmp(before.name, after.name) == 0)
			return 0;
		rocksdb_close(*out);
		rc = err_say(-EIO, "%s: changes too fast to be read", kv->dir);
	}
	return rc;
}

/* There is a database where RocksDB's CURRENT is. */
static int check_exists(const char *dir)
{
	char *path = path_in(dir, "CURRENT");
	int fd;

	if (!path)
		return -ENOMEM;
	fd = file_open(AT_FDCWD, path, O_RDONLY, 0);
	free(path);
	file_close(fd);
	if (fd == -ENOENT || fd == -ENOTDIR)
		return -ERR_ABSENT;
	return fd < 0 ? fd : 0;
}

static void rocks_close(struct kv *base)
{
	struct rocks *kv = rocks_of(base);

	if (kv->db)
		rocksdb_close(kv->db);
	rocksdb_options_destroy(kv->options);
	rocksdb_readoptions_destroy(kv->read);
	rocksdb_writeoptions_destroy(kv->write);
	rocksdb_writeoptions_destroy(kv->write_durable);
	pthread_rwlock_destroy(&kv->swap);
	pthread_mutex_destroy(&kv->renew);
	free(kv->dir);
	free(kv);
}

int kv_open(const char *dir, bool writable, struct kv **out)
{
	int rc = writable ? 0 : check_exists(dir);
	struct rocks *kv;

	if (rc < 0)
		return rc;
	kv = calloc(1, sizeof(*kv));
	if (!kv)
		return -ENOMEM;
	kv->kv.ops = &rocks_ops;
	kv->dir = strdup(dir);
	if (!kv->dir) {
		free(kv);
		return -ENOMEM;
	}
	kv->writable = writable;
	kv->options = make_options(writable);
	kv->read = rocksdb_readoptions_create();
	kv->write = rocksdb_writeoptions_create();
	kv->write_durable = rocksdb_writeoptions_create();
	rocksdb_writeoptions_set_sync(kv->write_durable, 1);
	pthread_mutex_init(&kv->renew, NULL);
	rwlock_init(&kv->swap);
	rc = writable ? open_writable(kv, &kv->db) : open_view(kv, &kv->db);
	if (rc < 0) {
		kv->db = NULL;
		rocks_close(&kv->kv);
		return rc;
	}
	*out = &kv->kv;
	return 0;
}

static int no_db(const struct rocks *kv)
{
	return err_say(-EIO, "%s: could not be opened again after an error", kv->dir);
}

/* Without CURRENT, RocksDB treats all else that is there as garbage. */
int kv_remove(const char *dir)
{
	char *path = path_in(dir, "CURRENT");
	int rc;

	if (!path)
		return -ENOMEM;
	rc = file_unlink(AT_FDCWD, path);
	free(path);
	if (rc == 0)
		rc = file_sync_dir(AT_FDCWD, dir);
	if (rc < 0 && rc != -ENOENT && rc != -ENOTDIR)
		return rc;
	return file_remove_tree(AT_FDCWD, dir);
}

static int rocks_reopen(struct kv *base, bool fresh)
{
	struct rocks *kv = rocks_of(base);
	int rc = 0;

	assert(kv->writable);
	pthread_rwlock_wrlock(&kv->swap);
	if (kv->db)
		rocksdb_close(kv->db);
	kv->db = NULL;
	if (fresh)
		rc = kv_remove(kv->dir);
	if (rc == 0)
		rc = open_writable(kv, &kv->db);
	if (rc < 0)
		kv->db = NULL;
	pthread_rwlock_unlock(&kv->swap);
	return rc;
}

static int rocks_refresh(struct kv *base)
{
	struct rocks *kv = rocks_of(base);
	rocksdb_t *db, *old;
	int rc;

	if (kv->writable)
		return 0;
	pthread_mutex_lock(&kv->renew);
	rc = open_view(kv, &db);
	if (rc == 0) {
		pthread_rwlock_wrlock(&kv->swap);
		old = kv->db;
		kv->db = db;
		pthread_rwlock_unlock(&kv->swap);
		rocksdb_close(old);
	}
	pthread_mutex_unlock(&kv->renew);
	return rc;
}

static int get_once(struct rocks *kv, const void *key, size_t key_len, void *out, size_t cap,
		    size_t *out_len)
{
	char *err = NULL, *value;

	pthread_rwlock_rdlock(&kv->swap);
	if (!kv->db) {
		pthread_rwlock_unlock(&kv->swap);
		return no_db(kv);
	}
	value = rocksdb_get(kv->db, kv->read, key, key_len, out_len, &err);
	pthread_rwlock_unlock(&kv->swap);
	if (err)
		return say_error(kv, err);
	if (!value)
		return -ERR_ABSENT;
	if (*out_len <= cap)
		memcpy(out, value, *out_len);
	rocksdb_free(value);
	if (*out_len > cap)
		return err_say(-ERR_DAMAGED, "%s: a value of %zu bytes, not at most %zu", kv->dir,
			       *out_len, cap);
	return 0;
}

static int last_once(struct rocks *kv, const void *key, size_t key_len, uint8_t out[KV_KEY_MAX],
		     size_t *out_len)
{
	rocksdb_iterator_t *it;
	char *err = NULL;
	int rc = -ERR_ABSENT;

	pthread_rwlock_rdlock(&kv->swap);
	if (!kv->db) {
		pthread_rwlock_unlock(&kv->swap);
		return no_db(kv);
	}
	it = rocksdb_create_iterator(kv->db, kv->read);
	rocksdb_iter_seek_for_prev(it, key, key_len);
	if (rocksdb_iter_valid(it)) {
		const char *found = rocksdb_iter_key(it, out_len);

		rc = *out_len <= KV_KEY_MAX ? 0 : -ERR_DAMAGED;
		if (rc == 0)
			memcpy(out, found, *out_len);
	} else {
		rocksdb_iter_get_error(it, &err);
	}
	rocksdb_iter_destroy(it);
	pthread_rwlock_unlock(&kv->swap);
	return err ? say_error(kv, err) : rc;
}

/* After a read that ended in ${rc}: open a new view if one may help; true if it was opened. */
static bool look_again(struct rocks *kv, int rc)
{
	return !kv->writable && rc < 0 && rc != -ERR_ABSENT && rocks_refresh(&kv->kv) == 0;
}

static int rocks_get(struct kv *base, const void *key, size_t key_len, void *out, size_t cap,
		     size_t *out_len)
{
	struct rocks *kv = rocks_of(base);
	int rc = get_once(kv, key, key_len, out, cap, out_len);

	return look_again(kv, rc) ? get_once(kv, key, key_len, out, cap, out_len) : rc;
}

static int rocks_last(struct kv *base, const void *key, size_t key_len, uint8_t out[KV_KEY_MAX],
		      size_t *out_len)
{
	struct rocks *kv = rocks_of(base);
	int rc = last_once(kv, key, key_len, out, out_len);

	return look_again(kv, rc) ? last_once(kv, key, key_len, out, out_len) : rc;
}

static struct kv_batch *rocks_batch_new(void)
{
	return (struct kv_batch *)rocksdb_writebatch_create();
}

static void rocks_batch_put(struct kv_batch *b, const void *key, size_t key_len, const void *value,
			    size_t len)
{
	rocksdb_writebatch_put((rocksdb_writebatch_t *)b, key, key_len, value, len);
}

static int rocks_write(struct kv *base, struct kv_batch *b, bool durable)
{
	struct rocks *kv = rocks_of(base);
	const rocksdb_writeoptions_t *how = durable ? kv->write_durable : kv->write;
	char *err = NULL;
	int rc = 0;

	assert(kv->writable);
	pthread_rwlock_rdlock(&kv->swap);
	if (kv->db)
		rocksdb_write(kv->db, how, (rocksdb_writebatch_t *)b, &err);
	else
		rc = no_db(kv);
	pthread_rwlock_unlock(&kv->swap);
	rocksdb_writebatch_destroy((rocksdb_writebatch_t *)b);
	return err ? say_error(kv, err) : rc;
}

static const struct kv_ops rocks_ops = {
	.close = rocks_close,
	.refresh = rocks_refresh,
	.reopen = rocks_reopen,
	.get = rocks_get,
	.last = rocks_last,
	.batch_new = rocks_batch_new,
	.batch_put = rocks_batch_put,
	.batch_write = rocks_write,
};
