/*
 * Attributes and sizes.
 */

#include "volume_internal.h"

#include "clock.h"
#include "units.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define CAPABILITY_XATTR "security.capability"
#define ATIME_AGE_S_MAX (24 * 60 * 60)
#define PERMISSIONS ((uint32_t)0777)

/* A write, a truncation or a new owner clears set-id bits and file capabilities. */
void kill_priv(struct volume *v, struct attr *a)
{
	struct item_key key;

	if (S_ISDIR(a->mode))
		return;
	a->mode &= ~(uint32_t)S_ISUID;
	if (a->mode & S_IXGRP)
		a->mode &= ~(uint32_t)S_ISGID;
	item_key_name(&key, a->ino, ITEM_XATTR, CAPABILITY_XATTR, strlen(CAPABILITY_XATTR));
	overlay_del(v->view.map.live, key.b, key.len);
}

struct setting {
	inode_no ino;
	unsigned set;
	const struct attr *want;
	struct change_stamp now; /* if needs_time() */
	struct cut *cut; /* what a new size removes; see cut_find(), cut_find_lost() */
};

static bool needs_time(unsigned set)
{
	return !(set & SET_CTIME) || ((set & SET_SIZE) && !(set & SET_MTIME));
}

static void assign(struct volume *v, const struct setting *s, struct attr *a)
{
	const struct attr *want = s->want;
	struct timespec now = {0};

	if (needs_time(s->set))
		now = change_time(v, &s->now);
	if (s->set & SET_KILL_PRIV)
		kill_priv(v, a);
	if (s->set & SET_MODE)
		a->mode = (a->mode & S_IFMT) | (want->mode & 07777);
	if (s->set & SET_PERMISSIONS)
		a->mode = (a->mode & ~PERMISSIONS) | (want->mode & PERMISSIONS);
	if (s->set & SET_KILL_SGID)
		a->mode &= ~(uint32_t)S_ISGID;
	if (s->set & SET_UID)
		a->uid = want->uid;
	if (s->set & SET_GID)
		a->gid = want->gid;
	if (s->set & SET_ATIME)
		a->atime = want->atime;
	if (s->set & SET_SIZE)
		a->mtime = now;
	if (s->set & SET_MTIME)
		a->mtime = want->mtime;
	a->ctime = s->set & SET_CTIME ? want->ctime : now;
}

static int set_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct setting *s = in;
	struct attr *a = out;
	uint64_t taken = 0;
	bool cuts, grows;
	int rc;

	rc = view_inode_locked(&v->view, s->ino, need, a);
	if (rc < 0)
		return rc;
	if ((s->set & SET_SIZE) && !S_ISREG(a->mode))
		return S_ISDIR(a->mode) ? -EISDIR : -EINVAL;
	cuts = (s->set & SET_SIZE) && s->want->size < a->size;
	if (cuts && s->want->size == 0)
		cut_all(v, s->ino, a->bytes, s->cut);
	else if (cuts)
		rc = cut_find(v, s->ino, s->want->size, FILE_SIZE_MAX, need, s->cut);
	if (cuts)
		taken = s->cut->bytes;
	grows = (s->set & SET_SIZE) && a->size == 0 && s->want->size > 0;
	if (grows)
		rc = cut_find_lost(v, a, need, s->cut, &taken);
	if (rc < 0)
		return rc;
	if (change_reserve(v, 6, 0) < 0)
		return -ENOMEM;

	if (cuts || grows)
		cut_apply(v, s->cut);
	a->bytes -= taken;
	v->view.counts.bytes -= taken;
	if (s->set & SET_SIZE)
		a->size = s->want->size;
	assign(v, s, a);
	change_inode(v, a);
	return 0;
}

int volume_setattr(struct volume *v, const struct caller *c, inode_no ino, unsigned set,
		   const struct attr *want, struct attr *out)
{
	struct cut cut = {0};
	struct setting s = {.ino = ino, .set = set, .want = want, .cut = &cut};
	int rc;

	if ((set & SET_SIZE) && want->size > FILE_SIZE_MAX)
		return -EFBIG;
	rc = change_begin(v);
	if (rc < 0)
		return rc;
	if (needs_time(set))
		s.now = change_stamp(v);
	return change_run(v, c, set_locked, &s, out, sizeof(*out));
}

static bool is_after(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

static bool atime_is_due(const struct attr *a, const struct timespec *now, bool strict)
{
	if (strict)
		return is_after(now, &a->atime);
	return !is_after(&a->atime, &a->mtime) || !is_after(&a->atime, &a->ctime) ||
	       now->tv_sec - a->atime.tv_sec >= ATIME_AGE_S_MAX;
}

struct access {
	inode_no ino;
	bool strict;
	struct change_stamp now;
};

static int accessed_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct access *x = in;
	struct timespec now;
	struct attr a;
	int rc = view_inode_locked(&v->view, x->ino, need, &a);

	(void)out;
	if (rc < 0)
		return rc;
	now = change_time(v, &x->now);
	if (!atime_is_due(&a, &now, x->strict))
		return 0;
	if (change_reserve(v, 1, 0) < 0)
		return -ENOMEM;
	a.atime = now;
	change_inode(v, &a);
	return 0;
}

void volume_accessed(struct volume *v, inode_no ino, bool strict)
{
	int64_t now_ns = clock_wall_ns();
	struct timespec now = {.tv_sec = now_ns / NS_PER_S, .tv_nsec = now_ns % NS_PER_S};
	struct access x = {.ino = ino, .strict = strict};
	struct attr a;
	int rc = view_getattr(&v->view, ino, &a);

	/*
	 * Nearly always nothing needs to change.  Then neither the kernel is asked for a stamp nor
	 * the exclusive lock is taken.
	 */
	if (rc < 0 || !atime_is_due(&a, &now, strict) || change_begin(v) < 0)
		return;
	x.now = change_stamp(v);
	/* An error here is not reported: the next change meets it, and reports it. */
	if (change_run(v, NULL, accessed_locked, &x, NULL, 0) < 0)
		return;
}
