/*
 * The life of a live volume: make, open, close, status.
 *
 * To open: lock, have the log recover its tail, load the newest checkpoint, apply the deltas after
 * it (first those that heads list, then those above the newest head), drop orphans, start the
 * scheduler.
 * To close: take a last checkpoint and make a last head, so that the next opening has no deltas to
 * apply.
 */

#include "volume_internal.h"

#include "blocks.h"
#include "catalog.h"
#include "clock.h"
#include "file.h"
#include "keys.h"
#include "log.h"
#include "log_shm.h"
#include "msg.h"
#include "params.h"
#include "source.h"
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY_DEFAULT (UINT64_C(256) << 20)
#ifndef MEMORY_MIN /* the simulation has a smaller one */
#define MEMORY_MIN (UINT64_C(64) << 20)
#endif
#define LOCK_WAIT_MS 30000u
#define LOCK_GRACE_MS 2000u
#define LOCK_POLL_MS 20u
#define LOCK_TEXT_MAX 64u

/* Write into the lock file who holds the lock, for the message to a process that is refused. */
static void lock_say(int fd, const char *state)
{
	char text[LOCK_TEXT_MAX];
	int len = snprintf(text, sizeof(text), "%-8s %-20ld\n", state, (long)getpid());

	/* Ignore an error: only a message depends on it. */
	if (file_write_at(fd, text, (size_t)len, 0) < 0)
		return;
}

static int lock_refused(int fd, const char *dir)
{
	char text[LOCK_TEXT_MAX] = "", state[16];
	long pid = 0;
	ssize_t len = file_read_at(fd, text, sizeof(text) - 1, 0);

	if (len > 0 && sscanf(text, "%15s %ld", state, &pid) == 2 && pid > 0) {
		/* A supervisor keeps the lock when its daemon dies. */
		if (kill((pid_t)pid, 0) < 0 && errno == ESRCH)
			return err_say(-ERR_LOCKED,
				       "%s: process %ld, which had it mounted, was "
				       "killed, and another is about to take its place; unmount it "
				       "then, or mount with -o ro",
				       dir, pid);
		if (strcmp(state, "closing") == 0)
			return err_say(-ERR_LOCKED,
				       "%s: process %ld is unmounted and still closing "
				       "it; try again, or mount with -o ro",
				       dir, pid);
		return err_say(-ERR_LOCKED,
			       "%s: in use by process %ld; unmount it there first, or "
			       "mount with -o ro",
			       dir, pid);
	}
	return err_say(-ERR_LOCKED,
		       "%s: in use by another process; unmount it there first, or mount "
		       "with -o ro",
		       dir);
}

/*
 * Wait for a holder that is closing: umount returns before the last bytes are durable.  It even
 * returns before the holder knows of it, so the holder has LOCK_GRACE_MS to say that it is closing.
 */
static bool holder_closes(int fd)
{
	char text[LOCK_TEXT_MAX] = "";

	return file_read_at(fd, text, sizeof(text) - 1, 0) > 0 && strncmp(text, "closing", 7) == 0;
}

/* Takes ${fd}, the open file ${path}: closes it on an error. */
static int lock_file(int fd, const char *path, const char *dir, int *out_fd)
{
	int rc;

	for (unsigned waited = 0;; waited += LOCK_POLL_MS) {
		rc = file_lock(fd);
		if (rc != -EAGAIN || waited >= LOCK_WAIT_MS ||
		    (waited >= LOCK_GRACE_MS && !holder_closes(fd)))
			break;
		usleep(LOCK_POLL_MS * 1000);
	}
	if (rc < 0) {
		rc = rc == -EAGAIN ? lock_refused(fd, dir)
				   : err_say(rc, "%s: %s", path, strerror(-rc));
		file_close(fd);
		return rc;
	}
	lock_say(fd, "open");
	*out_fd = fd;
	return 0;
}

int volume_lock(const char *dir, int *out_fd)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = file_open(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		return err_say(fd, "%s: %s", path, strerror(-fd));
	return lock_file(fd, path, dir, out_fd);
}

int volume_lock_to_read(const char *dir, int *out_fd)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = file_open(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
	/* flock() works without write permission. */
	if (fd == -EROFS || fd == -EACCES || fd == -EPERM)
		fd = file_open(AT_FDCWD, path, O_RDONLY, 0);
	if (fd >= 0)
		return lock_file(fd, path, dir, out_fd);
	*out_fd = -1;
	return fd == -ENOENT || fd == -EACCES ? 0 : err_say(fd, "%s: %s", path, strerror(-fd));
}

/*
 * The supervisor kept the killed process's lock for this process, so that nobody else could write
 * to the volume meanwhile.
 */
static int lock_or_inherit(struct volume *v)
{
	if (!v->shm.take_over || v->shm.lock_fd < 0)
		return volume_lock(v->cfg.dir, &v->lock_fd);
	v->lock_fd = fcntl(v->shm.lock_fd, F_DUPFD_CLOEXEC, 3);
	if (v->lock_fd < 0)
		return -errno;
	lock_say(v->lock_fd, "open");
	return 0;
}

static void init_locks(struct volume *v)
{
	pthread_mutex_init(&v->flush_mu, NULL);
	pthread_mutex_init(&v->orphan_mu, NULL);
	pthread_mutex_init(&v->clock_mu, NULL);
	clock_cond_init(&v->clock_wake);
	clock_cond_init(&v->checkpoint_done);
}

static void destroy_locks(struct volume *v)
{
	pthread_cond_destroy(&v->checkpoint_done);
	pthread_cond_destroy(&v->clock_wake);
	pthread_mutex_destroy(&v->clock_mu);
	pthread_mutex_destroy(&v->orphan_mu);
	pthread_mutex_destroy(&v->flush_mu);
}

static struct log_config log_config_of(const struct volume_config *cfg)
{
	return (struct log_config){
		.volume_dir = cfg->dir,
		.params = cfg->params,
		.log_key = cfg->keys->log_key,
		.writer_secret = cfg->keys->writer_secret,
	};
}

/* UNFOLLOWED: no lock is needed, since no other thread exists yet. */
static int apply_tail(struct volume *v, const struct log_tail *tail) UNFOLLOWED;

/* Apply the deltas above the newest head.  No head lists them yet, so the next one must. */
static int apply_tail(struct volume *v, const struct log_tail *tail)
{
	uint64_t seq = 0;
	uint8_t *plain;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < tail->n_deltas; i++) {
		rc = view_apply_tail(&v->view, &tail->deltas[i], &seq, &plain);
		if (rc < 0)
			break;
		if (!plain)
			continue;
		rc = commit_since_add(v, &tail->deltas[i], plain, tail->deltas[i].plain_len);
		free(plain);
	}
	return rc;
}

static int load(struct volume *v, const struct log_tail *tail)
{
	struct block_ptr ptr = tail->head.checkpoint;
	struct checkpoint c;
	log_pos named;
	int rc;

	if (tail->n_checkpoints > 0) {
		ptr = tail->checkpoints[tail->n_checkpoints - 1];
		v->checkpoint_news = true;
	}
	named = ptr.pos;
	rc = view_load(&v->view, &ptr, &tail->head, &c);
	if (rc == 0)
		rc = apply_tail(v, tail);
	if (rc < 0)
		return rc;
	/* The newest can't be read: heads to come name this one, until there is a new one, soon. */
	if (ptr.pos != named)
		scheduler_want_checkpoint(v);
	v->checkpoint = ptr;
	v->checkpoint_head = c.from_head;
	v->delta_end = tail->end;
	scheduler_head_made(v, tail->head.time_ns);
	if (tail->head.number != 0) {
		atomic_store(&v->head_end, head_end(&tail->head));
		atomic_store(&v->head_blocks, tail->head.n_blocks);
	}
	if (tail->dropped_bytes != 0)
		msg_event(MSG_NOTICE, "volume-recovered",
			  "%s: %" PRIu64 " bytes that were never made durable were cut off the log",
			  v->cfg.dir, tail->dropped_bytes);
	return 0;
}

static int open_journal(struct volume *v)
{
	int rc = 0;

	if (!v->shm.mem)
		return 0;
	if (v->shm.take_over)
		rc = takeover_replay(v);
	else
		journal_init(&v->journal, volume_journal_mem(v), v->view.seq + 1);
	v->next_ino = v->view.counts.next_ino;
	if (rc == 0)
		overlay_trace(v->view.map.live, &v->journal.trace);
	return rc;
}

static int open_log(struct volume *v, struct log_tail *tail)
{
	struct log_config cfg = log_config_of(&v->cfg);
	struct block_io io;
	int rc;

	if (v->shm.mem) {
		cfg.shm = log_shm_at(v->shm.mem, LOG_RING_DEFAULT);
		cfg.rescue = v->shm.take_over;
		if (!v->shm.take_over)
			log_shm_init(v->shm.mem, LOG_RING_DEFAULT);
	}
	rc = log_open(&cfg, &v->log, tail);
	if (rc < 0)
		return rc;
	io = blocks_io(log_blocks(v->log));
	rc = node_cache_new(v->cfg.memory_bytes / 4, &io, &v->cache);
	if (rc < 0)
		return rc;
	rc = view_init(&v->view, &(struct view_config){.source = log_source(v->log),
						       .blocks = log_blocks(v->log),
						       .cache = v->cache,
						       .name_key = v->cfg.keys->name_key});
	if (rc < 0)
		return rc;
	v->overlay_empty = overlay_bytes(v->view.map.live);
	rc = load(v, tail);
	return rc < 0 ? rc : open_journal(v);
}

/* Undo open_log(), no matter where it failed. */
static int close_log(struct volume *v)
{
	int rc = 0;

	if (v->view.map.live)
		view_release(&v->view);
	if (v->cache)
		node_cache_free(v->cache);
	if (v->log)
		rc = log_close(v->log);
	commit_release(v);
	tree_gaps_release(&v->gaps.tree);
	return rc;
}

int volume_open(const struct volume_config *cfg, struct volume **out)
{
	struct log_tail tail = {0};
	struct volume *v;
	int rc;

	/*
	 * The copy's writer is at home.  A second writer here would fork the volume within one
	 * epoch.  A folder that can't be looked at may be a copy; one that is not there is told below.
	 */
	rc = store_folder_is_copy(cfg->dir);
	if (rc < 0 && rc != -ENOENT && rc != -ENOTDIR)
		return err_say(rc, "%s/owner: can't be looked for: %s", cfg->dir, err_text(rc));
	if (rc > 0)
		return err_say(-ERR_FORBIDDEN,
			       "%s: it is an embassy's copy (it has a file 'owner'), which only "
			       "its block server changes; mount it with -o ro",
			       cfg->dir);
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->cfg = *cfg;
	if (cfg->shm)
		v->shm = *cfg->shm;
	if (v->cfg.memory_bytes == 0)
		v->cfg.memory_bytes = MEMORY_DEFAULT;
	if (v->cfg.memory_bytes < MEMORY_MIN)
		v->cfg.memory_bytes = MEMORY_MIN;
	v->overlay_max = v->cfg.memory_bytes / 6;
	for (size_t i = 0; i < EXTENT_CHANGES; i++)
		v->extent_changes[i] = 1;
	init_locks(v);
	rc = orphans_new(&v->orphans);
	if (rc < 0)
		goto destroy;
	rc = lock_or_inherit(v);
	if (rc < 0)
		goto destroy;
	rc = open_log(v, &tail);
	if (rc == 0 && v->shm.take_over)
		rc = orphans_adopt(v);
	if (rc < 0)
		goto close_log;
	rc = scheduler_start(v);
	if (rc < 0)
		goto close_log;
	if (!v->shm.take_over)
		orphans_drop(v);
	free(tail.deltas);
	free(tail.checkpoints);
	*out = v;
	return 0;

close_log:
	if (close_log(v) < 0)
		msg_warn("%s: closing the log failed too", cfg->dir);
	free(tail.deltas);
	free(tail.checkpoints);
	file_close(v->lock_fd);
destroy:
	orphans_free(v->orphans);
	destroy_locks(v);
	free(v);
	return rc;
}

void volume_closing(struct volume *v)
{
	lock_say(v->lock_fd, "closing");
}

int volume_close(struct volume *v)
{
	struct head head;
	int rc, close_rc;

	volume_closing(v);
	scheduler_stop(v);
	orphans_drop_end(v);
	/*
	 * If this fails, nothing is lost: the deltas still contain every change.  On a full disk it
	 * fails.
	 */
	rc = checkpoint_take(v);
	if (rc < 0 && rc != -ENOSPC)
		msg_error("%s: the last checkpoint could not be taken: %s", v->cfg.dir,
			  err_detail(rc));
	rc = volume_add_head(v, &head);
	if (rc < 0)
		msg_error("%s: the last head could not be made: %s", v->cfg.dir, err_detail(rc));
	close_rc = close_log(v);
	file_close(v->lock_fd);
	orphans_free(v->orphans);
	destroy_locks(v);
	free(v);
	return rc < 0 ? rc : close_rc;
}

int volume_lock_fd(const struct volume *v)
{
	return v->lock_fd;
}

struct view *volume_view(struct volume *v)
{
	return &v->view;
}

struct log *volume_log(struct volume *v)
{
	return v->log;
}

const struct view_config *volume_view_config(struct volume *v)
{
	return &v->view.cfg;
}

/* Append the first delta of a volume: it contains the root folder. */
static int append_root(struct log *log, uint32_t uid, uint32_t gid, struct head *h)
{
	struct delta d = {
		.first_seq = 1, .last_seq = 1, .counts = {.next_ino = INO_ROOT + 1, .inodes = 1}};
	struct attr a = {.ino = INO_ROOT,
			 .mode = S_IFDIR | 0755,
			 .nlink = 2,
			 .uid = uid,
			 .gid = gid,
			 .parent = INO_ROOT};
	uint8_t value[ITEM_INODE_LEN];
	struct overlay *ov;
	struct item_key key;
	struct buf plain = {0};
	int rc;

	a.atime = a.mtime = a.ctime = a.btime = clock_stamp();
	rc = overlay_new(&ov);
	if (rc < 0)
		return rc;
	item_key(&key, INO_ROOT, ITEM_INODE);
	item_inode_encode(&a, value);
	rc = overlay_reserve(ov, 1, key.len + sizeof(value));
	if (rc == 0) {
		overlay_put(ov, key.b, key.len, value, sizeof(value));
		rc = delta_begin(&plain, &d);
	}
	if (rc == 0)
		rc = overlay_take_delta(ov, &plain);
	if (rc == 0)
		rc = log_append(log, BLOCK_DELTA, plain.p, plain.len, 0, &h->deltas[0]);
	h->n_deltas = 1;
	buf_release(&plain);
	overlay_free(ov);
	return rc;
}

int volume_make(const char *dir, const struct params *params, const struct volume_keys *keys,
		uint32_t uid, uint32_t gid)
{
	struct volume_config cfg = {.dir = dir, .params = params, .keys = keys};
	struct log_config log_cfg = log_config_of(&cfg);
	struct log_tail tail = {0};
	struct head head = {.time_ns = clock_wall_ns()};
	struct log *log;
	int lock_fd, rc, close_rc;

	rc = volume_lock(dir, &lock_fd);
	if (rc < 0)
		return rc;
	rc = log_open(&log_cfg, &log, &tail);
	if (rc < 0)
		goto unlock;
	if (tail.head.number != 0 || tail.end != 0)
		rc = err_say(-EEXIST, "%s: holds a log already; choose another folder", dir);
	if (rc == 0)
		rc = append_root(log, uid, gid, &head);
	if (rc == 0)
		rc = log_add_head(log, &head);
	if (rc == 0)
		rc = catalog_put_cursor(log_catalog(log), CURSOR_BEGUN, "", 0);
	close_rc = log_close(log);
	if (rc == 0)
		rc = close_rc;
	free(tail.deltas);
	free(tail.checkpoints);
unlock:
	file_close(lock_fd);
	return rc;
}
