/*
 * Rename, in all its forms.  The kernel has checked that no folder moves into itself.
 */

#include "volume_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>

/* One end of a rename. */
struct end {
	inode_no parent;
	const char *name;
	struct attr dir;
	struct bucket bucket;
	struct entry entry;
	struct attr a; /* of the inode that the entry names */
	bool there;
};

struct renaming {
	struct end from, to;
	unsigned flags;
	const struct caller *caller;
	struct timespec now;
	uint64_t looked; /* as in folder_empty_locked() */
};

static int read_end(struct volume *v, struct end *e, struct need *need)
{
	int rc = view_folder_locked(&v->view, e->parent, need, &e->dir);

	if (rc == 0 && e->dir.nlink == 0)
		return -ENOENT;
	if (rc == 0)
		rc = view_bucket_locked(&v->view, e->parent, e->name, need, &e->bucket);
	if (rc < 0)
		return rc;
	rc = bucket_find(&e->bucket, e->name, &e->entry);
	e->there = rc == 0;
	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	return named_inode_locked(v, &e->entry, need, &e->a);
}

static int check(struct volume *v, const struct renaming *r, struct need *need)
{
	bool from_dir, to_dir;

	if (!r->from.there)
		return -ENOENT;
	if ((r->flags & RENAME_WHITEOUT) && v->view.counts.next_ino >= INO_MAX)
		return -ENOSPC;
	if (r->flags & RENAME_EXCHANGE)
		return r->to.there ? 0 : -ENOENT;
	if (!r->to.there)
		return 0;
	from_dir = S_ISDIR(r->from.a.mode);
	to_dir = S_ISDIR(r->to.a.mode);
	if (r->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (to_dir && !from_dir)
		return -EISDIR;
	if (!to_dir && from_dir)
		return -ENOTDIR;
	return to_dir ? folder_empty_locked(v, &r->to.a, r->looked, need) : 0;
}

/*
 * Two names in one folder share the folder's attributes and, if their hashes collide (once in an
 * age), their bucket.
 */
struct shared {
	struct attr *from_dir, *to_dir;
	struct bucket *from_bucket, *to_bucket;
};

static struct shared share(struct renaming *r)
{
	bool one_dir = r->from.parent == r->to.parent;
	bool one_bucket = one_dir && memcmp(r->from.bucket.key.b, r->to.bucket.key.b,
					    r->from.bucket.key.len) == 0;

	return (struct shared){
		.from_dir = &r->from.dir,
		.to_dir = one_dir ? &r->from.dir : &r->to.dir,
		.from_bucket = &r->from.bucket,
		.to_bucket = one_bucket ? &r->from.bucket : &r->to.bucket,
	};
}

static void put_places(struct volume *v, struct renaming *r, const struct shared *s)
{
	touch(s->from_dir, &r->now);
	touch(s->to_dir, &r->now);
	change_bucket(v, s->from_bucket);
	if (s->to_bucket != s->from_bucket)
		change_bucket(v, s->to_bucket);
	change_inode(v, s->from_dir);
	if (s->to_dir != s->from_dir)
		change_inode(v, s->to_dir);
}

/* A folder that moves is a link to its new parent, and its ".." leads there. */
static void move_inode(struct volume *v, struct renaming *r, struct attr *a, inode_no parent,
		       struct attr *old_dir, struct attr *new_dir)
{
	a->ctime = r->now;
	if (S_ISDIR(a->mode)) {
		a->parent = parent;
		old_dir->nlink -= old_dir->nlink > 2;
		new_dir->nlink++;
	}
	change_inode(v, a);
}

static int exchange(struct volume *v, struct renaming *r)
{
	struct shared s = share(r);
	uint32_t from_type = r->from.a.mode & S_IFMT, to_type = r->to.a.mode & S_IFMT;
	int rc;

	bucket_erase(s.from_bucket, r->from.name);
	bucket_erase(s.to_bucket, r->to.name);
	rc = bucket_insert(s.from_bucket, r->from.name, r->to.a.ino, to_type);
	if (rc == 0)
		rc = bucket_insert(s.to_bucket, r->to.name, r->from.a.ino, from_type);
	if (rc < 0)
		return rc;
	move_inode(v, r, &r->from.a, r->to.parent, s.from_dir, s.to_dir);
	move_inode(v, r, &r->to.a, r->from.parent, s.to_dir, s.from_dir);
	put_places(v, r, &s);
	return 0;
}

/* For overlayfs: a device 0/0 takes the place of the old name. */
static void put_whiteout(struct volume *v, struct renaming *r, struct attr *a)
{
	*a = (struct attr){.ino = v->view.counts.next_ino++,
			   .mode = S_IFCHR,
			   .nlink = 1,
			   .uid = r->caller->uid,
			   .gid = r->caller->gid};
	a->atime = a->mtime = a->ctime = a->btime = r->now;
	v->view.counts.inodes++;
	change_inode(v, a);
}

static int move(struct volume *v, struct renaming *r)
{
	struct shared s = share(r);
	bool whiteout = r->flags & RENAME_WHITEOUT;
	struct attr white;
	int rc = 0;

	if (r->to.there)
		bucket_erase(s.to_bucket, r->to.name);
	bucket_erase(s.from_bucket, r->from.name);
	rc = bucket_insert(s.to_bucket, r->to.name, r->from.a.ino, r->from.a.mode & S_IFMT);
	if (rc == 0 && whiteout)
		rc = bucket_insert(s.from_bucket, r->from.name, v->view.counts.next_ino, S_IFCHR);
	if (rc < 0)
		return rc;
	folder_loses(s.from_dir, false);
	folder_gains(s.to_dir, false);
	if (whiteout) {
		put_whiteout(v, r, &white);
		folder_gains(s.from_dir, false);
	}
	if (r->to.there) {
		folder_loses(s.to_dir, S_ISDIR(r->to.a.mode));
		name_dropped(v, &r->to.a, &r->now);
	}
	move_inode(v, r, &r->from.a, r->to.parent, s.from_dir, s.to_dir);
	put_places(v, r, &s);
	return 0;
}

struct request {
	inode_no parent, new_parent;
	const char *name, *new_name;
	unsigned flags;
	const struct caller *caller;
	struct change_stamp now;
	uint64_t looked; /* as in folder_empty_locked() */
};

/* ${out}: the folder, if this returns LOOK_FIRST. */
static int rename_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct request *q = in;
	uint64_t *look = out;
	struct renaming r;
	int rc;

	r.from.parent = q->parent;
	r.from.name = q->name;
	r.to.parent = q->new_parent;
	r.to.name = q->new_name;
	r.flags = q->flags;
	r.caller = q->caller;
	r.looked = q->looked;
	rc = read_end(v, &r.from, need);
	if (rc == 0)
		rc = read_end(v, &r.to, need);
	if (rc < 0)
		return rc;
	*look = r.to.there ? r.to.a.ino : 0;
	rc = check(v, &r, need);
	if (rc != 0)
		return rc;
	/* If both are names of one file, POSIX requires that nothing happens. */
	if (r.to.there && r.from.a.ino == r.to.a.ino)
		return 0;
	if (change_reserve(v, 8, 2 * sizeof(r.from.bucket.value)) < 0 || orphan_reserve(v) < 0)
		return -ENOMEM;
	r.now = change_time(v, &q->now);
	return r.flags & RENAME_EXCHANGE ? exchange(v, &r) : move(v, &r);
}

int volume_rename(struct volume *v, const struct caller *c, inode_no parent, const char *name,
		  inode_no new_parent, const char *new_name, unsigned flags)
{
	struct request q = {.parent = parent,
			    .new_parent = new_parent,
			    .name = name,
			    .new_name = new_name,
			    .flags = flags,
			    .caller = c};
	int rc;

	if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) != 0 ||
	    ((flags & RENAME_EXCHANGE) && (flags & ~(unsigned)RENAME_EXCHANGE) != 0))
		return -EINVAL;
	if (strlen(name) > NAME_LEN_MAX || strlen(new_name) > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	rc = change_begin(v);
	if (rc < 0)
		return rc;
	q.now = change_stamp(v);
	return change_run_looking(v, c, rename_locked, &q, &q.looked);
}
