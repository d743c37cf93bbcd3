/*
 * Orphans: inodes without a name that the kernel may still refer to (an open file, a working
 * folder).  They live until the kernel forgets them.
 *
 * The tree has an item for each orphan, so that the next mount can drop orphans that an unclean
 * stop left.  The set in memory makes it cheap to forget an inode that is no orphan, as nearly all
 * are.  The number of inodes that the kernel keeps open bounds its size.
 *
 * Orphans of an unclean stop are dropped in the order of inode numbers.  Each search starts after
 * the one dropped before, so that it never passes the tombstones of those that went.  A mount waits
 * for the first few thousand; a thread drops the rest.
 */

#include "volume_internal.h"

#include "msg.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 64u
#define DROPPED_AT_ONCE 4096u /* orphans that a mount waits for */
#define GONE UINT64_MAX	      /* a slot whose inode was removed */

/* Open addressing; 0: a free slot. */
struct orphans {
	inode_no *slot;
	size_t n, used, cap; /* used: includes removed ones; cap: a power of two */
};

static size_t slot_of(const struct orphans *o, inode_no ino)
{
	return (size_t)(ino * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (o->cap - 1);
}

int orphans_new(struct orphans **out)
{
	struct orphans *o = calloc(1, sizeof(*o));

	if (!o)
		return -ENOMEM;
	o->cap = SLOTS_MIN;
	o->slot = calloc(o->cap, sizeof(*o->slot));
	if (!o->slot) {
		free(o);
		return -ENOMEM;
	}
	*out = o;
	return 0;
}

void orphans_free(struct orphans *o)
{
	if (!o)
		return;
	free(o->slot);
	free(o);
}

static void set_add(struct orphans *o, inode_no ino)
{
	size_t i = slot_of(o, ino);

	while (o->slot[i] != 0) {
		if (o->slot[i] == ino)
			return;
		i = (i + 1) & (o->cap - 1);
	}
	o->slot[i] = ino;
	o->n++;
	o->used++;
}

static inode_no *set_find(const struct orphans *o, inode_no ino)
{
	size_t i = slot_of(o, ino);

	while (o->slot[i] != 0) {
		if (o->slot[i] == ino)
			return &o->slot[i];
		i = (i + 1) & (o->cap - 1);
	}
	return NULL;
}

int orphan_reserve(struct volume *v)
{
	struct orphans *o = v->orphans, next;
	int rc = 0;

	pthread_mutex_lock(&v->orphan_mu);
	if (2 * (o->used + 1) > o->cap) {
		next = (struct orphans){.cap = SLOTS_MIN};
		while (next.cap < 4 * (o->n + 1))
			next.cap *= 2;
		next.slot = calloc(next.cap, sizeof(*next.slot));
		if (!next.slot) {
			rc = -ENOMEM;
		} else {
			for (size_t i = 0; i < o->cap; i++) {
				if (o->slot[i] != 0 && o->slot[i] != GONE)
					set_add(&next, o->slot[i]);
			}
			free(o->slot);
			*o = next;
		}
	}
	pthread_mutex_unlock(&v->orphan_mu);
	return rc;
}

void orphan_add(struct volume *v, inode_no ino)
{
	pthread_mutex_lock(&v->orphan_mu);
	assert(v->orphans->used < v->orphans->cap - 1);
	set_add(v->orphans, ino);
	pthread_mutex_unlock(&v->orphan_mu);
}

void orphan_remove(struct volume *v, inode_no ino)
{
	inode_no *slot;

	pthread_mutex_lock(&v->orphan_mu);
	slot = set_find(v->orphans, ino);
	if (slot) {
		*slot = GONE;
		v->orphans->n--;
	}
	pthread_mutex_unlock(&v->orphan_mu);
}

bool orphan_is(struct volume *v, inode_no ino)
{
	bool is;

	pthread_mutex_lock(&v->orphan_mu);
	is = v->orphans->n != 0 && set_find(v->orphans, ino) != NULL;
	pthread_mutex_unlock(&v->orphan_mu);
	return is;
}

struct to_drop {
	inode_no ino;
	bool left; /* left by an earlier mount: skip it if it is an orphan of this one */
};

/*
 * Delete all items of an inode, and its orphan item.  One range covers them, whatever the file's
 * size.
 */
static int drop_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct to_drop *what = in;
	struct item_key from, to, orphan;
	inode_no ino = what->ino;
	struct attr a;
	int rc;

	(void)out;
	if (what->left && orphan_is(v, ino))
		return 0;
	rc = view_inode_locked(&v->view, ino, need, &a);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (change_reserve(v, 3, 0) < 0)
		return -ENOMEM;
	item_key(&from, ino, ITEM_INODE);
	item_key(&to, ino + 1, ITEM_INODE);
	item_key_num(&orphan, 0, ITEM_ORPHAN, ino);
	overlay_del(v->view.map.live, orphan.b, orphan.len);
	orphan_remove(v, ino);
	/*
	 * It has names: it was linked again meanwhile, or its orphan item was wrong.  Keep its
	 * contents.
	 */
	if (rc == 0 && a.nlink != 0)
		return 0;
	overlay_del_range(v->view.map.live, from.b, from.len, to.b, to.len);
	if (rc == 0) {
		v->view.counts.inodes--;
		v->view.counts.bytes -= a.bytes;
	}
	return 0;
}

void volume_forget(struct volume *v, inode_no ino)
{
	struct to_drop what = {.ino = ino};

	/*
	 * If this fails (say, on a full disk), the orphan item stays, and the next mount drops the
	 * inode.
	 */
	if (orphan_is(v, ino) && change_begin(v) == 0 &&
	    change_run(v, NULL, drop_locked, &what, NULL, 0) < 0)
		return;
}

/* Find the first orphan with an inode number of at least ${in}.  -ENOENT if there is none. */
static int next_orphan_locked(struct view *v, struct need *need, const void *in, void *out)
{
	inode_no *ino = out;
	struct map_cursor mc;
	struct item_key key;
	int rc;

	item_key_num(&key, 0, ITEM_ORPHAN, *(const inode_no *)in);
	map_cursor_init(&mc, &v->map, need);
	rc = map_seek(&mc, key.b, key.len);
	if (rc == 0 && (mc.top < 0 || mc.key_len != ITEM_KEY_NUM_LEN ||
			!item_key_is_of(&key, mc.key, mc.key_len)))
		rc = -ENOENT;
	if (rc == 0)
		*ino = item_key_number(mc.key);
	map_cursor_release(&mc);
	return rc;
}

static int next_orphan(struct volume *v, inode_no from, inode_no *out_ino)
{
	return view_run(&v->view, next_orphan_locked, &from, out_ino, sizeof(*out_ino));
}

static bool is_stopping(struct volume *v)
{
	bool stopping;

	pthread_mutex_lock(&v->clock_mu);
	stopping = v->stopping;
	pthread_mutex_unlock(&v->clock_mu);
	return stopping;
}

/*
 * Drop at most ${max} orphans between v->drop_from, which moves on, and v->drop_end.  An orphan
 * that can't be read stays.  Returns 0 if there may be more, -ENOENT if there are none, or the
 * error that stops the dropping.
 */
static int drop_some(struct volume *v, size_t max)
{
	struct to_drop what = {.left = true};
	int rc;

	for (size_t i = 0; i < max; i++) {
		rc = next_orphan(v, v->drop_from, &what.ino);
		if (rc == 0 && what.ino >= v->drop_end)
			rc = -ENOENT;
		if (rc == 0)
			rc = change_begin(v);
		if (rc < 0)
			return rc;
		v->drop_from = what.ino + 1;
		rc = change_run(v, NULL, drop_locked, &what, NULL, 0);
		if (rc == -ENOMEM)
			return rc;
		if (rc < 0 && v->drop_failed++ == 0)
			msg_warn("%s: inode %" PRIu64 ", which has no name, can't be dropped: %s; "
				 "see 'embassy check'",
				 v->cfg.dir, what.ino, err_detail(rc));
	}
	return 0;
}

/*
 * Orphans that could not be dropped only take space until a later mount drops them.  That is no
 * reason to refuse the mount.
 */
static void drop_ended(struct volume *v, int rc)
{
	if (rc < 0 && rc != -ENOENT)
		msg_warn("%s: inodes without a name that a mount before left stay for now: %s",
			 v->cfg.dir, err_detail(rc));
	if (v->drop_failed > 1)
		msg_warn("%s: %" PRIu64 " inodes without a name can't be dropped", v->cfg.dir,
			 v->drop_failed);
}

static void *dropper_main(void *arg)
{
	struct volume *v = arg;
	int rc = 0;

	while (rc == 0 && !is_stopping(v))
		rc = drop_some(v, 1);
	drop_ended(v, rc);
	return NULL;
}

void orphans_drop(struct volume *v)
{
	int rc;

	v->drop_end = v->view.counts.next_ino;
	rc = drop_some(v, DROPPED_AT_ONCE);
	if (rc == 0) {
		v->dropping = pthread_create(&v->dropper, NULL, dropper_main, v) == 0;
		rc = v->dropping ? 0 : -EAGAIN;
	}
	if (!v->dropping)
		drop_ended(v, rc);
}

void orphans_drop_end(struct volume *v)
{
	if (v->dropping)
		pthread_join(v->dropper, NULL);
	v->dropping = false;
}

int orphans_adopt(struct volume *v)
{
	inode_no ino = 0;
	int rc;

	while ((rc = next_orphan(v, ino + 1, &ino)) == 0) {
		rc = orphan_reserve(v);
		if (rc < 0)
			return rc;
		orphan_add(v, ino);
	}
	/* A later mount drops those that can't be read now. */
	if (rc < 0 && rc != -ENOENT && rc != -ENOMEM)
		drop_ended(v, rc);
	return rc == -ENOMEM ? rc : 0;
}

int volume_orphans(struct volume *v, void (*fn)(void *ctx, inode_no ino), void *ctx)
{
	const struct orphans *o = v->orphans;
	inode_no *list;
	size_t n = 0;

	pthread_mutex_lock(&v->orphan_mu);
	list = malloc((o->n + 1) * sizeof(*list));
	for (size_t i = 0; list && i < o->cap; i++) {
		if (o->slot[i] != 0 && o->slot[i] != GONE)
			list[n++] = o->slot[i];
	}
	assert(!list || n == o->n);
	pthread_mutex_unlock(&v->orphan_mu);
	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		fn(ctx, list[i]);
	free(list);
	return 0;
}
