/*
 * How results become answers to the kernel.
 */

#include "reply.h"

#include "complain.h"
#include "err.h"
#include "slots.h"
#include "view.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

int reply_errno(uint64_t id, int rc)
{
	/*
	 * An errno is a normal answer.  One of our own codes means that stored data is damaged or
	 * out of reach.
	 */
	if (-rc > ERR_BASE)
		complain(complain_subject(id & (INO_MAX - 1), err_text(rc)),
			 "inode %" PRIu64 ": %s", id & (INO_MAX - 1), err_detail(rc));
	return rc ? err_errno(rc) : 0;
}

void reply_rc(fuse_req_t req, uint64_t id, int rc)
{
	fuse_reply_err(req, reply_errno(id, rc));
}

void reply_unchangeable(fuse_req_t req)
{
	fuse_reply_err(req, EROFS);
}

void reply_bytes(fuse_req_t req, uint64_t id, int rc, const void *p, size_t len)
{
	if (rc < 0)
		reply_rc(req, id, rc);
	else
		fuse_reply_buf(req, p, len);
}

void reply_entry(fuse_req_t req, struct mount *m, const struct fuse_entry_param *e, int slot)
{
	if (fuse_reply_entry(req, e) != 0 && slot >= 0)
		slots_drop(m->slots, (uint32_t)slot, 1);
}

static pthread_key_t buffer_key;
static pthread_once_t buffer_once = PTHREAD_ONCE_INIT;
static int buffer_rc;

struct thread_memory {
	void *p;
	size_t size;
};

static void free_thread_memory(void *arg)
{
	struct thread_memory *t = arg;

	free(t->p);
	free(t);
}

static void make_buffer_key(void)
{
	buffer_rc = pthread_key_create(&buffer_key, free_thread_memory);
}

void *thread_buffer(size_t size)
{
	struct thread_memory *t;
	void *p;

	pthread_once(&buffer_once, make_buffer_key);
	if (buffer_rc != 0)
		return NULL;
	t = pthread_getspecific(buffer_key);
	if (!t) {
		t = calloc(1, sizeof(*t));
		if (!t)
			return NULL;
		if (pthread_setspecific(buffer_key, t) != 0) {
			free(t);
			return NULL;
		}
	}
	if (t->size < size) {
		size = (size + 4095) & ~(size_t)4095;
		p = aligned_alloc(4096, size);
		if (!p)
			return NULL;
		free(t->p);
		t->p = p;
		t->size = size;
	}
	return t->p;
}
