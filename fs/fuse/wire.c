/*
 * The layer between libfuse and the kernel.
 *
 * libfuse reads and writes the kernel's device through two functions of ours.  A thread handles a
 * request before it reads the next.  libfuse's request has no place for what we find in the
 * message, so this is kept in a thread-local here; from the handler on it is passed as an argument
 * (request.h).  A request that libfuse does not know is answered here, and libfuse never sees it.
 *
 * Each request is recorded as under way from its reading to its answer, and changes to the volume
 * carry its number.  So a process that takes over can tell which of a request's changes were made.
 */

#include "wire.h"

#include "attributes.h"
#include "err.h"
#include "inflight.h"
#include "msg.h"
#include "reply.h"
#include "request.h"
#include "supervisor.h"
#include "unnamed.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

/* Since 7.40; the system's header may be older. */
#define NOTIFY_RESEND 7
#define HAS_RESEND_2 (1u << (39 - 32)) /* in fuse_init_in.flags2 */
#define UNIQUE_RESEND (UINT64_C(1) << 63)
#define NOTIFY_INC_EPOCH 8 /* since 7.44 */
#define NOTIFY_PRUNE 9	   /* since 7.45 */

static _Thread_local struct request current; /* of the request that this thread read */

/*
 * The first request.  A session has exactly one, and the kernel sends no other before its answer.
 */
static struct {
	uint64_t unique;
	bool pending;
	bool killpriv; /* the kernel offers it */
	bool adopting; /* the kernel has its answer already */
	bool differs;  /* and that answer differs from ours */
} first;

const struct request *request_of(fuse_req_t req)
{
	(void)req;
	return &current;
}

static ssize_t answer(int fd, const struct iovec *iov, int count)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	ssize_t n = writev(fd, iov, count);

	/* Notifications have no request number. */
	if (out->unique != 0)
		inflight_end(out->unique & ~UNIQUE_RESEND);
	return n;
}

/* Record the request as under way, if it is one that gets an answer. */
static void note(const struct fuse_in_header *in, struct request *out)
{
	uint64_t unique = in->unique & ~UNIQUE_RESEND;
	struct inflight_request known;

	*out = (struct request){.caller = {.uid = in->uid, .gid = in->gid}};

	switch (in->opcode) {
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
	case FUSE_NOTIFY_REPLY:
	case FUSE_INIT:
		break; /* the kernel never gives it again */
	default:
		inflight_begin(unique, in->unique & UNIQUE_RESEND, &known);
		out->caller.tag = unique;
		out->caller.note = known.note;
		out->steps = known.steps;
		out->made = known.made;
	}
}

static void fill_attr(const struct stat *st, struct fuse_attr *out)
{
	*out = (struct fuse_attr){
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = (uint64_t)st->st_atim.tv_sec,
		.mtime = (uint64_t)st->st_mtim.tv_sec,
		.ctime = (uint64_t)st->st_ctim.tv_sec,
		.atimensec = (uint32_t)st->st_atim.tv_nsec,
		.mtimensec = (uint32_t)st->st_mtim.tv_nsec,
		.ctimensec = (uint32_t)st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.blksize = (uint32_t)st->st_blksize,
	};
}

/* FUSE_TMPFILE: make a file without a name, and answer. */
static void answer_tmpfile(struct mount *m, int fd, const struct request *r,
			   const struct fuse_in_header *in, const struct fuse_create_in *arg)
{
	struct fuse_out_header out = {.len = sizeof(out), .unique = in->unique};
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} body = {.open = {.open_flags = FOPEN_KEEP_CACHE}};
	struct iovec iov[2] = {{&out, sizeof(out)}, {&body, sizeof(body)}};
	const struct node_ops *ops = node_ops_of(m, in->nodeid);
	struct fuse_entry_param e;
	int rc = -EROFS;

	if (ops->make_unnamed)
		rc = ops->make_unnamed(m, r, in->nodeid, S_IFREG | (arg->mode & 07777), arg->umask,
				       &e);
	if (rc < 0) {
		out.error = -err_errno(rc);
	} else {
		out.len += sizeof(body);
		body.entry.nodeid = e.ino;
		body.entry.generation = e.generation;
		body.entry.entry_valid = (uint64_t)e.entry_timeout;
		body.entry.attr_valid = (uint64_t)e.attr_timeout;
		fill_attr(&e.attr, &body.entry.attr);
	}
	if (answer(fd, iov, rc < 0 ? 1 : 2) < 0 && rc == 0)
		unnamed_forget(m->unnamed,
			       e.ino); /* the caller was interrupted: nobody will use it */
}

static void look_at_init(struct mount *m, const void *buf, size_t len)
{
	const struct fuse_in_header *in = buf;
	const struct fuse_init_in *arg = (const struct fuse_init_in *)(in + 1);
	struct shared_state *e = m->successor->map.state;

	first.unique = in->unique;
	first.pending = true;
	if (len >= sizeof(*in) + sizeof(*arg))
		first.killpriv = arg->flags & FUSE_HANDLE_KILLPRIV_V2;
	if (e && !first.adopting && len <= sizeof(e->init)) {
		memcpy(e->init, buf, len);
		e->init_len = (uint32_t)len;
	}
}

/*
 * FUSE_STATX, which asks for birth times.  It is newer than the system's header that we build with,
 * so its layout is defined here, as in include/uapi/linux/fuse.h since Linux 6.6.
 */
#define OPCODE_STATX 52

struct sx_time {
	int64_t s;
	uint32_t ns;
	int32_t reserved;
};

struct statx_out {
	uint64_t attr_valid_s;
	uint32_t attr_valid_ns, flags;
	uint64_t spare[2];
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare_mode;
	uint64_t ino, size, blocks, attributes_mask;
	struct sx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare_end[14];
};

_Static_assert(sizeof(struct statx_out) == 288, "as the kernel has it");

static struct sx_time sx_time_of(const struct timespec *t)
{
	return (struct sx_time){.s = t->tv_sec, .ns = (uint32_t)t->tv_nsec};
}

static void fill_statx(const struct stat *st, double timeout_s, struct statx_out *out)
{
	*out = (struct statx_out){
		.attr_valid_s = (uint64_t)timeout_s,
		.mask = STATX_BASIC_STATS,
		.blksize = (uint32_t)st->st_blksize,
		.nlink = (uint32_t)st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mode = (uint16_t)st->st_mode,
		.ino = st->st_ino,
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.atime = sx_time_of(&st->st_atim),
		.ctime = sx_time_of(&st->st_ctim),
		.mtime = sx_time_of(&st->st_mtim),
		.rdev_major = major(st->st_rdev),
		.rdev_minor = minor(st->st_rdev),
	};
}

/* A statx request that waits until its file is written back. */
struct wire_statx {
	int fd;
	uint64_t unique;
	inode_no ino;
};

static bool put_off_statx(struct mount *m, int fd, uint64_t unique, const struct attr *a,
			  head_no head)
{
	struct wire_statx *asked;

	if (a->bytes != 0 || !S_ISREG(a->mode))
		return false;
	asked = malloc(sizeof(*asked));
	if (!asked)
		return false;
	*asked = (struct wire_statx){.fd = fd, .unique = unique, .ino = a->ino};
	if (ask_when_written(m, a, head, ASKS_STATX, asked))
		return true;
	free(asked);
	return false;
}

static void statx_of(const struct stat *st, double timeout_s, const struct timespec *btime,
		     struct statx_out *out)
{
	fill_statx(st, timeout_s, out);
	out->mask |= STATX_BTIME;
	out->btime = sx_time_of(btime);
}

static void send_statx(int fd, uint64_t unique, uint64_t id, int rc, struct statx_out *body)
{
	struct fuse_out_header out = {.len = sizeof(out), .unique = unique};
	struct iovec iov[2] = {{&out, sizeof(out)}, {body, sizeof(*body)}};

	if (rc < 0)
		out.error = -reply_errno(id, rc);
	else
		out.len += sizeof(*body);
	/* The caller may have been interrupted.  A lost answer does no harm. */
	if (answer(fd, iov, rc < 0 ? 1 : 2) < 0)
		return;
}

void wire_answer_statx(struct mount *m, struct wire_statx *asked, bool written)
{
	struct statx_out body;
	double timeout_s;
	struct stat st;
	struct attr a;
	int rc = view_getattr(m->view, asked->ino, &a);

	if (rc == 0) {
		timeout_s = written ? stat_written(m, &a, &st) : stat_for(m, &a, 0, &st);
		statx_of(&st, timeout_s, &a.btime, &body);
	}
	send_statx(asked->fd, asked->unique, asked->ino, rc, &body);
	free(asked);
}

static void answer_statx(struct mount *m, int fd, const struct fuse_in_header *in)
{
	struct statx_out body;
	struct node_attributes x;
	int rc = node_ops_of(m, in->nodeid)->attributes(m, in->nodeid, &x);

	if (rc == 0 && put_off_statx(m, fd, in->unique, &x.a, x.head))
		return;
	if (rc == 0 && x.a.ino != 0)
		statx_of(&x.st, x.timeout_s, &x.a.btime, &body);
	else if (rc == 0) /* a virtual node has no birth time */
		fill_statx(&x.st, x.timeout_s, &body);
	send_statx(fd, in->unique, in->nodeid, rc, &body);
}

/* Inspect a request.  Returns true if it was handled here and must not reach libfuse. */
static bool look(struct mount *m, int fd, const void *buf, size_t len)
{
	const struct fuse_in_header *in = buf;
	const void *arg = in + 1;
	size_t arg_len = len - sizeof(*in);

	note(in, &current);
	switch (in->opcode) {
	case FUSE_WRITE:
		if (arg_len >= sizeof(struct fuse_write_in))
			current.kills_priv = ((const struct fuse_write_in *)arg)->write_flags &
					     FUSE_WRITE_KILL_SUIDGID;
		return false;
	case FUSE_INIT:
		look_at_init(m, buf, len);
		return false;
	case FUSE_TMPFILE:
		if (!m->volume || arg_len < sizeof(struct fuse_create_in))
			return false;
		answer_tmpfile(m, fd, &current, in, arg);
		return true;
	case OPCODE_STATX:
		answer_statx(m, fd, in);
		return true;
	default:
		return false;
	}
}

static ssize_t read_request(int fd, void *buf, size_t size, void *ctx)
{
	ssize_t n;

	do {
		n = read(fd, buf, size);
	} while (n >= (ssize_t)sizeof(struct fuse_in_header) && look(ctx, fd, buf, (size_t)n));
	return n;
}

/* Keep the answer in the shared state: the kernel relies on it, so a successor's must equal it. */
static void keep_reply(struct shared_state *e, const struct iovec *iov, int count)
{
	size_t len = 0;

	for (int i = 0; i < count; i++) {
		if (len + iov[i].iov_len > sizeof(e->reply))
			return;
		memcpy(e->reply + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	e->reply_len = (uint32_t)len;
}

static bool reply_is(const struct shared_state *e, const struct iovec *iov, int count)
{
	size_t len = 0;

	for (int i = 0; i < count; i++) {
		if (len + iov[i].iov_len > e->reply_len ||
		    memcmp(e->reply + len, iov[i].iov_base, iov[i].iov_len) != 0)
			return false;
		len += iov[i].iov_len;
	}
	return len == e->reply_len;
}

/* The answer to the first request; of a successor, the answer that it would have given. */
static ssize_t give_first(struct mount *m, int fd, const struct iovec *iov, int count)
{
	struct shared_state *e = m->successor->map.state;
	ssize_t n = 0;

	if (first.adopting) {
		first.differs = !reply_is(e, iov, count);
		for (int i = 0; i < count; i++)
			n += (ssize_t)iov[i].iov_len;
		return n;
	}
	if (e)
		keep_reply(e, iov, count);
	n = writev(fd, iov, count);
	if (n > 0 && count > 1 && m->ready)
		m->ready(m->ready_ctx);
	return n;
}

/* Write the same answer with our flag added. */
static ssize_t write_first(struct mount *m, int fd, const struct iovec *iov, int count)
{
	struct fuse_init_out body;
	struct iovec patched[2];

	first.pending = false;
	if (count != 2 || iov[1].iov_len > sizeof(body) || !m->volume || !first.killpriv ||
	    iov[1].iov_len < offsetof(struct fuse_init_out, max_background))
		return give_first(m, fd, iov, count);
	memcpy(&body, iov[1].iov_base, iov[1].iov_len);
	body.flags |= FUSE_HANDLE_KILLPRIV_V2;
	patched[0] = iov[0];
	patched[1] = (struct iovec){&body, iov[1].iov_len};
	atomic_store(&m->handles_killpriv, true);
	return give_first(m, fd, patched, 2);
}

static ssize_t write_answer(int fd, struct iovec *iov, int count, void *ctx)
{
	const struct fuse_out_header *out = iov[0].iov_base;

	if (first.pending && out->unique == first.unique)
		return write_first(ctx, fd, iov, count);
	return answer(fd, iov, count);
}

int wire_attach(struct mount *m, int fd)
{
	static const struct fuse_custom_io io = {.writev = write_answer, .read = read_request};

	return fuse_session_custom_io(m->session, &io, fd);
}

int wire_adopt(struct mount *m)
{
	struct shared_state *e = m->successor->map.state;
	uint8_t init[SHARED_INIT_MAX];
	struct fuse_buf buf = {.mem = init, .size = e->init_len};

	if (e->init_len < sizeof(struct fuse_in_header) || e->init_len > sizeof(init))
		return err_say(-ERR_VERSION, "the kernel was never answered; unmount and mount "
					     "again");
	memcpy(init, e->init, e->init_len);
	first.adopting = true;
	look_at_init(m, init, e->init_len);
	fuse_session_process_buf(m->session, &buf);
	first.adopting = false;
	if (!first.pending && !first.differs)
		return 0;
	return err_say(-ERR_VERSION, "this program speaks to the kernel otherwise than the one "
				     "before; unmount and mount instead");
}

static void fail_request(void *ctx, uint64_t unique)
{
	struct mount *m = ctx;
	struct fuse_out_header out = {.len = sizeof(out), .error = -EIO, .unique = unique};

	/*
	 * If the request was answered already, the kernel does not know its number, and nothing is
	 * lost.
	 */
	if (write(fuse_session_fd(m->session), &out, sizeof(out)) < 0)
		return;
}

void wire_resend(struct mount *m)
{
	const struct shared_state *e = m->successor->map.state;
	const struct fuse_init_in *init =
		(const struct fuse_init_in *)(e->init + sizeof(struct fuse_in_header));
	struct fuse_out_header out = {.len = sizeof(out), .error = NOTIFY_RESEND};

	if (e->init_len >= sizeof(struct fuse_in_header) + sizeof(*init) &&
	    (init->flags & FUSE_INIT_EXT) && (init->flags2 & HAS_RESEND_2) &&
	    write(fuse_session_fd(m->session), &out, sizeof(out)) == (ssize_t)sizeof(out))
		return;
	/* ENODEV: it was unmounted meanwhile, and no caller waits. */
	if (errno == ENODEV)
		return;
	msg_warn("this kernel (before 6.9) does not give requests again: those under way fail");
	inflight_each(fail_request, m);
	inflight_clear();
}

bool wire_new_epoch(struct mount *m)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = NOTIFY_INC_EPOCH};

	return write(fuse_session_fd(m->session), &out, sizeof(out)) == (ssize_t)sizeof(out);
}

void wire_prune(struct mount *m, const uint64_t *nodes, unsigned n)
{
	struct {
		struct fuse_out_header out;
		uint32_t count, padding;
		uint64_t spare;
		uint64_t nodes[WIRE_PRUNE_MAX];
	} msg = {.out = {.error = NOTIFY_PRUNE}, .count = n};
	size_t len = offsetof(__typeof__(msg), nodes) + n * sizeof(*nodes);

	memcpy(msg.nodes, nodes, n * sizeof(*nodes));
	msg.out.len = (uint32_t)len;
	/* An older kernel does not know this message; it forgets the nodes when it needs memory. */
	if (write(fuse_session_fd(m->session), &msg, len) < 0)
		return;
}
