/*
 * Reading folders.
 *
 * The entries of a folder are ordered by their names' hashes, and a cookie is the hash of the last
 * entry returned.  So a listing continues at the right place whatever was created or removed
 * meanwhile.  Two names of one hash occur once in a folder of a thousand million; the cookie after
 * the first of them has COOKIE_FIRST set.  More than two can only be damage or malice: they are
 * listed, but a listing that is interrupted between the second and the last ends with an error.
 *
 * Entries are collected in batches, each in an attempt of its own, and returned without the lock.
 * Where many entries were removed since the checkpoint, a batch ends after PATIENCE of them, found
 * or not.
 */

#include "view_state.h"

#include "key.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BATCH_ENTRIES 128u
#define PATIENCE 4096u /* removed entries passed in one attempt */
#define COOKIE_DOT 1u
#define COOKIE_DOTDOT 2u
#define COOKIE_FIRST (UINT64_C(1) << 62) /* after the first of several names of one hash */
#define COOKIE_TORN (COOKIE_FIRST | 1)	 /* no listing can continue here; 1 is not a hash */
#define COOKIE_END (UINT64_C(1) << 63)	 /* above all cookies */

/* Where a batch begins. */
struct listing {
	inode_no ino;
	uint64_t cookie;
	bool attrs;
	size_t cap; /* entries that fit in a batch */
};

struct batch {
	size_t n;
	bool end;      /* they are the folder's last */
	bool full;     /* the first hash has more entries than fit in a batch */
	uint64_t next; /* the cookie after the last */
	struct {
		inode_no ino;
		uint64_t cookie;
		uint32_t type;
		struct attr attr;
		char name[NAME_LEN_MAX + 1];
	} at[];
};

static size_t batch_bytes(size_t cap)
{
	return sizeof(struct batch) + cap * sizeof(((struct batch *)NULL)->at[0]);
}

static int batch_add(struct view *v, struct need *need, const struct listing *l, struct batch *b,
		     const struct entry *e)
{
	int rc = 0;

	assert(b->n < l->cap && e->name_len <= NAME_LEN_MAX);
	b->at[b->n].ino = e->ino;
	b->at[b->n].type = e->type;
	memcpy(b->at[b->n].name, e->name, e->name_len);
	b->at[b->n].name[e->name_len] = '\0';
	if (l->attrs)
		rc = view_inode_locked(v, e->ino, need, &b->at[b->n].attr);
	if (rc == -ENOENT)
		rc = err_say(-ERR_DAMAGED, "'%s' names inode %llu, which is not there",
			     b->at[b->n].name, (unsigned long long)e->ino);
	if (rc == 0)
		b->n++;
	return rc;
}

/*
 * Set the cookies of a hash's entries, the batch's last ones; ${skipped} of its entries came
 * before.
 */
static void set_cookies(struct batch *b, size_t first, size_t skipped, uint64_t hash)
{
	for (size_t i = first; i < b->n; i++) {
		if (i + 1 == b->n)
			b->at[i].cookie = hash;
		else
			b->at[i].cookie = i + skipped > first ? COOKIE_TORN : hash | COOKIE_FIRST;
	}
}

/*
 * Add the entries of one hash: all of them, or none and return 1 if they don't fit.  ${skip}:
 * without the first, which was returned before.
 */
static int batch_add_bucket(struct view *v, struct need *need, const struct listing *l,
			    struct batch *b, const struct map_cursor *mc)
{
	uint64_t hash, resumed = l->cookie & COOKIE_FIRST ? l->cookie & ~COOKIE_FIRST : 0;
	size_t before = b->n, skipped = 0, at = 0;
	struct entry e;
	int rc;

	if (mc->key_len != ITEM_KEY_NUM_LEN)
		return err_say(-ERR_DAMAGED, "a folder's entry has a malformed key");
	hash = item_key_number(mc->key);
	if (hash >= COOKIE_FIRST)
		return err_say(-ERR_DAMAGED, "a folder's entry has a hash that cannot be");
	while ((rc = item_entry_next(mc->value, mc->value_len, &at, &e)) == 0) {
		if (hash == resumed && skipped == 0) {
			skipped = 1;
			continue;
		}
		rc = b->n == l->cap ? 1 : batch_add(v, need, l, b, &e);
		if (rc != 0) {
			b->n = before;
			return rc;
		}
	}
	if (rc != -ENOENT) {
		b->n = before;
		return rc;
	}
	set_cookies(b, before, skipped, hash);
	b->next = hash;
	return 0;
}

/*
 * The hash up to which nothing of the folder with the key ${from} is visible, where the cursor gave
 * up. 0: unknown; COOKIE_END: nor is anything above it.
 */
static uint64_t passed_to(const struct map_cursor *mc, const struct item_key *from)
{
	uint64_t hash;

	if (mc->passed_len == 0)
		return 0;
	if (key_cmp(mc->passed, mc->passed_len, from->b, from->len) > 0 &&
	    memcmp(mc->passed, from->b, ITEM_PREFIX_LEN) != 0)
		return COOKIE_END;
	if (mc->passed_len < ITEM_KEY_NUM_LEN)
		return 0;
	hash = item_key_number(mc->passed);
	/* All entries' hashes are below COOKIE_FIRST. */
	return hash < COOKIE_FIRST ? hash : COOKIE_END;
}

/* End the batch where the cursor gave up.  Returns whether that is further than ${l} was. */
static bool batch_end_at(struct batch *b, const struct listing *l, uint64_t hash)
{
	if (hash == 0)
		return b->n > 0;
	b->end = hash == COOKIE_END;
	if (!b->end && hash - 1 > (b->next & ~COOKIE_FIRST))
		b->next = hash - 1;
	return b->end || b->n > 0 || b->next != l->cookie;
}

/*
 * Entries found before a missing node are a batch of their own; the next batch begins at that node.
 * So each missing node costs one attempt that found nothing, however many there are.
 */
static int fill_batch_locked(struct view *v, struct need *need, const void *in, void *out)
{
	const struct listing *l = in;
	struct batch *b = out;
	struct map_cursor mc;
	struct item_key key;
	int rc;

	b->n = 0;
	b->end = false;
	b->next = l->cookie;
	item_key_num(&key, l->ino, ITEM_ENTRY,
		     l->cookie & COOKIE_FIRST ? l->cookie & ~COOKIE_FIRST : l->cookie + 1);
	map_cursor_init(&mc, &v->map, need);
	mc.patience = PATIENCE;
	for (rc = map_seek(&mc, key.b, key.len); rc == 0 && !mc.paused; rc = map_next(&mc)) {
		if (mc.top < 0 || !item_key_is_of(&key, mc.key, mc.key_len)) {
			b->end = true;
			break;
		}
		rc = batch_add_bucket(v, need, l, b, &mc);
		if (rc != 0)
			break;
	}
	b->full = rc == 1 && b->n == 0;
	if (rc == -ERR_NEED_NODE && batch_end_at(b, l, passed_to(&mc, &key)))
		rc = 0;
	else if (mc.paused && !batch_end_at(b, l, passed_to(&mc, &key)))
		rc = err_say(-ERR_DAMAGED, "a folder's entry has a malformed key");
	map_cursor_release(&mc);
	return rc > 0 ? 0 : rc;
}

/* A search of a folder, from a hash on, for any entry, in one attempt. */
struct looking {
	inode_no ino;
	uint64_t from;
};

static int look_locked(struct view *v, struct need *need, const void *in, void *out)
{
	const struct looking *l = in;
	uint64_t *next = out;
	struct map_cursor mc;
	struct item_key key;
	struct attr dir;
	bool shows;
	int rc = view_folder_locked(v, l->ino, need, &dir);

	if (rc < 0)
		return rc;
	if (dir.size != 0)
		return -ENOTEMPTY;
	item_key_num(&key, l->ino, ITEM_ENTRY, l->from);
	map_cursor_init(&mc, &v->map, need);
	mc.patience = PATIENCE;
	rc = map_seek(&mc, key.b, key.len);
	shows = mc.top >= 0 && item_key_is_of(&key, mc.key, mc.key_len);
	*next = passed_to(&mc, &key);
	if (rc == 0 && !mc.paused)
		*next = COOKIE_END;
	else if (*next > l->from)
		rc = 0;
	else if (rc == 0)
		shows = true;
	map_cursor_release(&mc);
	if (rc == 0 && shows)
		return err_say(-ERR_DAMAGED,
			       "folder %llu states no entries and has some; see 'embassy check'",
			       (unsigned long long)l->ino);
	return rc;
}

int view_folder_empty(struct view *v, inode_no ino)
{
	struct looking l = {.ino = ino};
	uint64_t next;
	int rc;

	for (; l.from != COOKIE_END; l.from = next) {
		rc = view_run(v, look_locked, &l, &next, sizeof(next));
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int give_dots(struct view *v, inode_no ino, uint64_t *cookie,
		     int (*fn)(void *ctx, const struct view_entry *e), void *ctx)
{
	struct attr dir;
	int rc;

	rc = view_getattr(v, ino, &dir);
	if (rc < 0)
		return rc;
	if (!S_ISDIR(dir.mode))
		return -ENOTDIR;
	for (; *cookie < COOKIE_DOTDOT; (*cookie)++) {
		bool up = *cookie == COOKIE_DOT;
		struct view_entry e = {
			.name = up ? ".." : ".",
			.ino = up ? dir.parent : ino,
			.type = S_IFDIR,
			.cookie = *cookie + 1,
		};

		if (fn(ctx, &e) != 0)
			return 1;
	}
	return 0;
}

/* Give the entries to fn.  Returns 1 if fn did not take all. */
static int give_batch(const struct batch *b, const struct listing *l,
		      int (*fn)(void *ctx, const struct view_entry *e), void *ctx)
{
	for (size_t i = 0; i < b->n; i++) {
		struct view_entry e = {
			.name = b->at[i].name,
			.ino = b->at[i].ino,
			.type = b->at[i].type,
			.cookie = b->at[i].cookie,
			.attr = l->attrs ? &b->at[i].attr : NULL,
		};

		if (fn(ctx, &e) != 0)
			return 1;
	}
	return 0;
}

/*
 * Fill ${*b}, enlarged if one hash needs it.  If attributes can't be read, the names are returned
 * without them: one damaged inode must not make the folder unreadable.
 */
static int fill_batch(struct view *v, struct listing *l, struct batch **b)
{
	struct batch *larger;
	int rc;

	rc = view_run(v, fill_batch_locked, l, *b, batch_bytes(l->cap));
	if (tree_unreadable(rc) && l->attrs) {
		l->attrs = false;
		rc = view_run(v, fill_batch_locked, l, *b, batch_bytes(l->cap));
	}
	if (rc < 0 || !(*b)->full)
		return rc;
	assert(l->cap < ENTRIES_MAX);
	larger = realloc(*b, batch_bytes(ENTRIES_MAX));
	if (!larger)
		return -ENOMEM;
	*b = larger;
	l->cap = ENTRIES_MAX;
	return fill_batch(v, l, b);
}

int view_readdir(struct view *v, inode_no ino, uint64_t cookie, bool attrs,
		 int (*fn)(void *ctx, const struct view_entry *e), void *ctx)
{
	struct listing l = {.ino = ino, .cap = BATCH_ENTRIES};
	struct batch *b;
	int rc;

	rc = give_dots(v, ino, &cookie, fn, ctx);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	if (cookie >= COOKIE_END)
		return 0;
	if (cookie == COOKIE_TORN)
		return err_say(-ERR_DAMAGED,
			       "folder %llu: more names of one hash than can be listed",
			       (unsigned long long)ino);
	b = malloc(batch_bytes(l.cap));
	if (!b)
		return -ENOMEM;
	l.cookie = cookie;
	do {
		l.attrs = attrs;
		rc = fill_batch(v, &l, &b);
		if (rc == 0)
			rc = give_batch(b, &l, fn, ctx);
		if (rc == 0) {
			assert(b->end || b->next > (l.cookie & ~COOKIE_FIRST) ||
			       (l.cookie & COOKIE_FIRST));
			l.cookie = b->next;
		}
	} while (rc == 0 && !b->end);
	free(b);
	return rc < 0 ? rc : 0;
}
