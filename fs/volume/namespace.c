/*
 * Making and removing names: make, link, unlink, rmdir.
 */

#include "volume_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define LINKS_MAX UINT32_C(0x7fffffff)
#define LOOK_PATIENCE 64u /* tombstones to pass under the exclusive lock */

static int check_name(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EEXIST;
	return len > NAME_LEN_MAX ? -ENAMETOOLONG : 0;
}

int named_inode_locked(struct volume *v, const struct entry *e, struct need *need, struct attr *out)
{
	int rc = e->ino == INO_ROOT ? -ENOENT : view_inode_locked(&v->view, e->ino, need, out);

	if (rc == -ENOENT)
		return err_say(-ERR_DAMAGED, "'%.*s' names inode %llu, which %s", (int)e->name_len,
			       e->name, (unsigned long long)e->ino,
			       e->ino == INO_ROOT ? "is the root" : "is not there");
	return rc;
}

int folder_empty_locked(struct volume *v, const struct attr *dir, uint64_t looked,
			struct need *need)
{
	struct map_cursor mc;
	struct item_key key;
	bool empty, unsure;
	int rc;

	if (dir->size != 0)
		return -ENOTEMPTY;
	if (dir->ino == looked)
		return 0;
	item_key(&key, dir->ino, ITEM_ENTRY);
	map_cursor_init(&mc, &v->view.map, need);
	mc.patience = LOOK_PATIENCE;
	rc = map_seek(&mc, key.b, key.len);
	empty = mc.top < 0 || mc.key_len < key.len || memcmp(mc.key, key.b, key.len) != 0;
	unsure = mc.paused;
	map_cursor_release(&mc);
	if (rc == 0 && unsure)
		return LOOK_FIRST;
	if (rc == 0 && !empty)
		return err_say(-ERR_DAMAGED,
			       "folder %llu states no entries and has some; see 'embassy check'",
			       (unsigned long long)dir->ino);
	return rc;
}

int change_run_looking(struct volume *v, const struct caller *c, change_attempt *attempt,
		       const void *in, uint64_t *looked)
{
	uint64_t look;
	bool late = false;
	int rc;

	while ((rc = change_run_late(v, c, attempt, in, &look, sizeof(look), late)) == LOOK_FIRST) {
		rc = view_folder_empty(&v->view, look);
		if (rc < 0)
			break;
		*looked = look;
		late = true;
	}
	return rc;
}

/* Read a folder, which must still have a name, and the bucket of ${name} in it. */
static int open_place(struct volume *v, inode_no parent, const char *name, struct need *need,
		      struct attr *dir, struct bucket *b)
{
	int rc = view_folder_locked(&v->view, parent, need, dir);

	if (rc == 0 && dir->nlink == 0)
		return -ENOENT;
	return rc < 0 ? rc : view_bucket_locked(&v->view, parent, name, need, b);
}

/* The same, but -EEXIST if the folder has ${name} already. */
static int open_free_place(struct volume *v, inode_no parent, const char *name, struct need *need,
			   struct attr *dir, struct bucket *b)
{
	struct entry e;
	int rc = open_place(v, parent, name, need, dir, b);

	if (rc == 0) {
		rc = bucket_find(b, name, &e);
		rc = rc == 0 ? -EEXIST : rc == -ENOENT ? 0 : rc;
	}
	return rc;
}

struct making {
	inode_no parent;
	const char *name; /* NULL: without one */
	uint32_t mode;
	uint64_t rdev;
	const char *target;
	const struct caller *caller;
	struct change_stamp now;
};

static void fill_attr(struct volume *v, const struct making *m, const struct attr *dir,
		      struct attr *a)
{
	*a = (struct attr){
		.ino = v->view.counts.next_ino,
		.mode = m->mode,
		.nlink = !m->name	    ? 0
			 : S_ISDIR(m->mode) ? 2
					    : 1,
		.uid = m->caller->uid,
		.gid = m->caller->gid,
		.rdev = m->rdev,
		.size = S_ISLNK(m->mode) ? strlen(m->target) : 0,
		.parent = S_ISDIR(m->mode) ? m->parent : 0,
	};
	a->atime = a->mtime = a->ctime = a->btime = change_time(v, &m->now);
	if (dir->mode & S_ISGID) {
		a->gid = dir->gid;
		if (S_ISDIR(m->mode))
			a->mode |= S_ISGID;
	}
}

void folder_gains(struct attr *dir, bool folder)
{
	dir->size += dir->size < FILE_SIZE_MAX;
	dir->nlink += folder;
}

void folder_loses(struct attr *dir, bool folder)
{
	dir->size -= dir->size > 0;
	dir->nlink -= folder && dir->nlink > 2;
}

static void put_orphan(struct volume *v, inode_no ino)
{
	struct item_key key;

	item_key_num(&key, 0, ITEM_ORPHAN, ino);
	overlay_put(v->view.map.live, key.b, key.len, "", 0);
	orphan_add(v, ino);
}

static void del_orphan(struct volume *v, inode_no ino)
{
	struct item_key key;

	item_key_num(&key, 0, ITEM_ORPHAN, ino);
	overlay_del(v->view.map.live, key.b, key.len);
	orphan_remove(v, ino);
}

static int make_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct making *m = in;
	struct attr *a = out;
	struct item_key key;
	struct bucket b;
	struct attr dir;
	int rc;

	if (m->name)
		rc = open_free_place(v, m->parent, m->name, need, &dir, &b);
	else
		rc = view_folder_locked(&v->view, m->parent, need, &dir);
	if (rc < 0)
		return rc;
	if (v->view.counts.next_ino >= INO_MAX)
		return -ENOSPC;
	if (m->name && S_ISDIR(m->mode) && dir.nlink >= LINKS_MAX)
		return -EMLINK;
	fill_attr(v, m, &dir, a);
	if (m->name) {
		rc = bucket_insert(&b, m->name, a->ino, a->mode & S_IFMT);
		if (rc < 0)
			return rc;
	}
	if (change_reserve(v, 4, sizeof(b.value) + a->size) < 0 || orphan_reserve(v) < 0)
		return -ENOMEM;

	v->view.counts.next_ino++;
	v->view.counts.inodes++;
	change_inode(v, a);
	if (S_ISLNK(m->mode)) {
		item_key(&key, a->ino, ITEM_SYMLINK);
		overlay_put(v->view.map.live, key.b, key.len, m->target, a->size);
	}
	if (!m->name) {
		put_orphan(v, a->ino);
		return 0;
	}
	change_bucket(v, &b);
	folder_gains(&dir, S_ISDIR(m->mode));
	touch(&dir, &a->ctime);
	change_inode(v, &dir);
	return 0;
}

static int make(struct volume *v, struct making *m, struct attr *out)
{
	int rc = change_begin(v);

	if (rc < 0)
		return rc;
	m->now = change_stamp(v);
	return change_run(v, m->caller, make_locked, m, out, sizeof(*out));
}

int volume_make_node(struct volume *v, const struct caller *c, inode_no parent, const char *name,
		     uint32_t mode, uint64_t rdev, const char *target, struct attr *out)
{
	struct making m = {.parent = parent,
			   .name = name,
			   .mode = mode,
			   .rdev = rdev,
			   .target = target,
			   .caller = c};
	int rc = check_name(name);

	if (rc < 0)
		return rc;
	if (S_ISLNK(mode) && strlen(target) > SYMLINK_LEN_MAX)
		return -ENAMETOOLONG;
	return make(v, &m, out);
}

int volume_make_unnamed(struct volume *v, const struct caller *c, inode_no parent, uint32_t mode,
			struct attr *out)
{
	struct making m = {.parent = parent, .mode = mode, .caller = c};

	return make(v, &m, out);
}

struct linking {
	inode_no ino, parent;
	const char *name;
	struct change_stamp now;
};

static int link_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct linking *l = in;
	struct attr dir, *a = out;
	struct timespec now;
	struct bucket b;
	int rc;

	rc = view_inode_locked(&v->view, l->ino, need, a);
	if (rc < 0)
		return rc;
	if (S_ISDIR(a->mode))
		return -EPERM;
	if (a->nlink >= LINKS_MAX)
		return -EMLINK;
	rc = open_free_place(v, l->parent, l->name, need, &dir, &b);
	if (rc == 0)
		rc = bucket_insert(&b, l->name, l->ino, a->mode & S_IFMT);
	if (rc < 0)
		return rc;
	if (change_reserve(v, 4, sizeof(b.value)) < 0)
		return -ENOMEM;

	now = change_time(v, &l->now);
	if (a->nlink == 0)
		del_orphan(v, l->ino);
	a->nlink++;
	a->ctime = now;
	change_inode(v, a);
	change_bucket(v, &b);
	folder_gains(&dir, false);
	touch(&dir, &now);
	change_inode(v, &dir);
	return 0;
}

int volume_link(struct volume *v, const struct caller *c, inode_no ino, inode_no parent,
		const char *name, struct attr *out)
{
	struct linking l = {.ino = ino, .parent = parent, .name = name};
	int rc = check_name(name);

	if (rc == 0)
		rc = change_begin(v);
	if (rc < 0)
		return rc;
	l.now = change_stamp(v);
	return change_run(v, c, link_locked, &l, out, sizeof(*out));
}

void name_dropped(struct volume *v, struct attr *a, const struct timespec *now)
{
	a->ctime = *now;
	a->nlink = S_ISDIR(a->mode) || a->nlink == 0 ? 0 : a->nlink - 1;
	if (a->nlink == 0)
		put_orphan(v, a->ino);
	change_inode(v, a);
}

struct unlinking {
	inode_no parent;
	const char *name;
	bool folder;
	struct change_stamp now;
	uint64_t looked; /* a folder as in folder_empty_locked() */
};

/* ${out}: the folder, if this returns LOOK_FIRST. */
static int unlink_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct unlinking *u = in;
	uint64_t *look = out;
	struct timespec now;
	struct attr dir, a;
	struct bucket b;
	struct entry e;
	int rc;

	rc = open_place(v, u->parent, u->name, need, &dir, &b);
	if (rc == 0)
		rc = bucket_find(&b, u->name, &e);
	if (rc == 0)
		rc = named_inode_locked(v, &e, need, &a);
	if (rc < 0)
		return rc;
	if (u->folder && !S_ISDIR(a.mode))
		return -ENOTDIR;
	if (!u->folder && S_ISDIR(a.mode))
		return -EISDIR;
	*look = a.ino;
	rc = u->folder ? folder_empty_locked(v, &a, u->looked, need) : 0;
	if (rc != 0)
		return rc;
	if (change_reserve(v, 4, sizeof(b.value)) < 0 || orphan_reserve(v) < 0)
		return -ENOMEM;

	now = change_time(v, &u->now);
	bucket_erase(&b, u->name);
	change_bucket(v, &b);
	folder_loses(&dir, u->folder);
	touch(&dir, &now);
	change_inode(v, &dir);
	name_dropped(v, &a, &now);
	return 0;
}

static int remove_name(struct volume *v, const struct caller *c, inode_no parent, const char *name,
		       bool folder)
{
	struct unlinking u = {.parent = parent, .name = name, .folder = folder};
	int rc = change_begin(v);

	if (rc < 0)
		return rc;
	u.now = change_stamp(v);
	return change_run_looking(v, c, unlink_locked, &u, &u.looked);
}

int volume_unlink(struct volume *v, const struct caller *c, inode_no parent, const char *name)
{
	return remove_name(v, c, parent, name, false);
}

int volume_rmdir(struct volume *v, const struct caller *c, inode_no parent, const char *name)
{
	if (strcmp(name, ".") == 0)
		return -EINVAL;
	return strcmp(name, "..") == 0 ? -ENOTEMPTY : remove_name(v, c, parent, name, true);
}
