/*
 * Memory that a daemon and its successors share.
 *
 * Key idea: memfds.  They outlive any one process, a newly executed program can map them, and they
 * have no name that another process could open.
 */

#include "shared_state.h"

#include "err.h"
#include "huge.h"
#include "keys.h"
#include "log.h"
#include "secret.h"
#include "slots.h"
#include "volume.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE ((size_t)4096)

static size_t up(size_t len, size_t to)
{
	return (len + to - 1) & ~(to - 1);
}

static size_t slots_offset(bool live)
{
	return (live ? up(volume_shm_bytes(), PAGE) : 0) + up(sizeof(struct shared_state), PAGE);
}

static size_t total_bytes(bool live)
{
	return slots_offset(live) + (live ? up(slots_bytes(), PAGE) : 0);
}

/* Map it at a multiple of a huge page, so that the shared memory can consist of huge pages. */
static int map_memory(int fd, size_t len, uint8_t **out)
{
	size_t room = len + HUGE_PAGE;
	uint8_t *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *at;

	if (p == MAP_FAILED)
		return -errno;
	at = (uint8_t *)up((uintptr_t)p, HUGE_PAGE);
	if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		int rc = -errno;

		munmap(p, room);
		return rc;
	}
	/*
	 * It contains names and attributes: keep it out of core files and, if permitted, of swap.
	 */
	(void)madvise(at, len, MADV_DONTDUMP);
	*out = at;
	return 0;
}

static int map_keys(int fd, struct shared_keys **out)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	if (mlock(p, PAGE) < 0 || madvise(p, PAGE, MADV_DONTDUMP) < 0) {
		int rc = -errno;

		munmap(p, PAGE);
		return rc;
	}
	*out = p;
	return 0;
}

static int map_all(bool live, struct shared_map *map)
{
	int rc = map_memory(map->fd, total_bytes(live), &map->mem);

	if (rc == 0)
		rc = map_keys(map->keys_fd, &map->keys);
	if (rc < 0)
		return rc;
	map->state = (struct shared_state *)(map->mem + slots_offset(live) -
					     up(sizeof(struct shared_state), PAGE));
	map->slots = live ? map->mem + slots_offset(live) : NULL;
	return 0;
}

int shared_make(bool live, struct shared_map *out)
{
	struct shared_map map = {
		.fd = memfd_create("embassyfs", MFD_CLOEXEC),
		.keys_fd = memfd_create("embassyfs keys", MFD_CLOEXEC),
	};
	int rc = map.fd < 0 || map.keys_fd < 0 ? -errno : 0;

	if (rc == 0 && (ftruncate(map.fd, (off_t)total_bytes(live)) < 0 ||
			ftruncate(map.keys_fd, (off_t)PAGE) < 0))
		rc = -errno;
	if (rc == 0)
		rc = map_all(live, &map);
	if (rc < 0) {
		shared_wipe(&map);
		return rc;
	}
	if (live) {
		huge_shared(map.mem, LOG_RING_DEFAULT); /* the log's ring lies first */
		/* Keep it out of swap, if permitted. */
		(void)mlock2(map.mem, total_bytes(live), MLOCK_ONFAULT);
	}
	map.state->magic = SHARED_MAGIC;
	map.state->version = SHARED_VERSION;
	map.state->live = live;
	*out = map;
	return 0;
}

int shared_attach(int fd, int keys_fd, bool live, struct shared_map *out)
{
	struct shared_map map = {.fd = fd, .keys_fd = keys_fd};
	struct stat st;
	int rc = fstat(fd, &st) < 0 ? -errno : 0;

	if (rc == 0 && (size_t)st.st_size != total_bytes(live))
		rc = err_say(-ERR_VERSION, "the running daemon's memory is laid out otherwise; "
					   "unmount and mount instead");
	if (rc == 0)
		rc = map_all(live, &map);
	if (rc == 0 && (map.state->magic != SHARED_MAGIC || map.state->version != SHARED_VERSION))
		rc = err_say(-ERR_VERSION, "the running daemon's memory is laid out otherwise; "
					   "unmount and mount instead");
	if (rc == 0) {
		(void)mlock2(map.mem, total_bytes(live), MLOCK_ONFAULT);
		*out = map;
	}
	return rc;
}

void shared_occupy(struct shared_map *map)
{
	size_t len = total_bytes(map->slots);

	/* Both are best effort: a limit may forbid them, and kernels before 5.14 lack the first. */
	(void)madvise(map->mem, len, MADV_POPULATE_WRITE);
	(void)madvise(map->mem, len, MADV_DONTFORK);
	(void)madvise(map->keys, PAGE, MADV_DONTFORK);
}

void shared_leave_keys(struct shared_keys *k, const struct volume_keys *keys)
{
	memcpy(k->log_key, keys->log_key, sizeof(k->log_key));
	memcpy(k->name_key, keys->name_key, sizeof(k->name_key));
	k->has_writer = keys->writer_secret ? 1 : 0;
	if (k->has_writer)
		memcpy(k->writer_secret, keys->writer_secret, sizeof(k->writer_secret));
	/* Set the flag last: a process killed before this line has left no keys. */
	atomic_signal_fence(memory_order_seq_cst);
	k->filled = 1;
}

static void wipe_keys(struct shared_keys *k)
{
	/* Clear the flag first, so that no successor takes half-wiped keys. */
	k->filled = 0;
	atomic_signal_fence(memory_order_seq_cst);
	secret_wipe(k, sizeof(*k));
}

void shared_unmap_keys(struct shared_map *map)
{
	if (map->keys)
		munmap(map->keys, PAGE);
	map->keys = NULL;
}

void shared_drop_keys(struct shared_map *map)
{
	shared_unmap_keys(map);
	if (map->keys_fd >= 0)
		close(map->keys_fd);
	map->keys_fd = -1;
}

void shared_wipe(struct shared_map *map)
{
	if (map->keys)
		wipe_keys(map->keys);
	shared_drop_keys(map);
	if (map->mem)
		munmap(map->mem, total_bytes(map->slots));
	if (map->fd >= 0)
		close(map->fd);
	*map = (struct shared_map){.fd = -1, .keys_fd = -1};
}
