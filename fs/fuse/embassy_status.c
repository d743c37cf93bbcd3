/*
 * Status texts.
 *
 * The kernel caches a file's contents and trusts the size that it knows; it cannot be told
 * otherwise for one file, because this mount gets no open requests.  So each lookup of a status
 * file makes a new node, whose text and size never change.  The name's lookup is not cached, so
 * each use of the name leads to another node.
 */

#include "embassy_internal.h"

#include "reply.h"
#include "status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void embassy_lookup_status(fuse_req_t req, struct mount *m)
{
	struct embassy_dir *d = m->embassy;
	struct fuse_entry_param e = {.generation = 1, .attr_timeout = TIMEOUT_LONG_S};
	struct text t = {.made = embassy_now(), .uid = fuse_req_ctx(req)->uid};
	size_t i, of_user = 0;
	int rc = status_text(m, &t.buf);

	if (rc < 0)
		goto fail;
	pthread_mutex_lock(&d->mu);
	for (i = 0; i < EMBASSY_TEXTS_MAX; i++)
		of_user += d->texts[i].node != 0 && d->texts[i].uid == t.uid;
	for (i = 0; i < EMBASSY_TEXTS_MAX && d->texts[i].node != 0; i++)
		;
	/* The texts of one user are bounded, so that others, and root, can still get one. */
	if (t.uid != 0 && of_user >= EMBASSY_TEXTS_OF_USER_MAX)
		i = EMBASSY_TEXTS_MAX;
	if (i < EMBASSY_TEXTS_MAX) {
		t.node = d->next++;
		embassy_fill_stat(m, t.node, &t, &e.attr);
		d->texts[i] = t;
	}
	pthread_mutex_unlock(&d->mu);
	rc = -ENFILE;
	if (i == EMBASSY_TEXTS_MAX)
		goto fail;

	e.ino = embassy_id(t.node);
	if (fuse_reply_entry(req, &e) != 0)
		embassy_forget(m, e.ino, 1);
	return;

fail:
	buf_release(&t.buf);
	reply_rc(req, INO_ROOT, rc);
}

void embassy_forget(struct mount *m, uint64_t id, uint64_t n)
{
	struct embassy_dir *d = m->embassy;
	uint64_t node = embassy_node(id);

	(void)n; /* a text has exactly one reference, since each lookup makes another text */
	if (node < EMBASSY_NODE_STATUS)
		return;
	pthread_mutex_lock(&d->mu);
	for (size_t i = 0; i < EMBASSY_TEXTS_MAX; i++)
		if (d->texts[i].node == node) {
			buf_release(&d->texts[i].buf);
			d->texts[i].node = 0;
		}
	pthread_mutex_unlock(&d->mu);
}

/* Find the text of a status node. */
const struct text *embassy_text_locked(const struct embassy_dir *d, uint64_t node)
{
	for (size_t i = 0; i < EMBASSY_TEXTS_MAX; i++)
		if (d->texts[i].node == node)
			return &d->texts[i];
	return NULL;
}

void embassy_read(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off, int flags)
{
	struct embassy_dir *d = m->embassy;
	char *out = thread_buffer(size);
	const struct text *t;
	size_t n = 0;

	(void)flags;
	if (!out) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_lock(&d->mu);
	t = embassy_text_locked(d, embassy_node(id));
	if (t && off >= 0 && (uint64_t)off < t->buf.len) {
		n = t->buf.len - (size_t)off;
		if (n > size)
			n = size;
		memcpy(out, t->buf.p + off, n);
	}
	pthread_mutex_unlock(&d->mu);
	if (!t) {
		/*
		 * A process that is gone made this text.  ESTALE makes the kernel look the name up
		 * anew.
		 */
		fuse_reply_err(req, ESTALE);
		return;
	}
	fuse_reply_buf(req, out, n);
}
