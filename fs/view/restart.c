/*
 * The restart loop of operations.
 *
 * An operation reads the map under the view's lock and does no I/O there.  If a node of the tree is
 * not in memory, the attempt ends with ERR_NEED_NODE.  The lock is released, the node is loaded,
 * and the next attempt starts from nothing, because everything may have changed meanwhile.  This
 * file owns that loop:
 *
 *  1. What an attempt found does not survive it: its input is const, and its output is overwritten
 *     before the next attempt.  The one exception, struct cut, detects by itself when its contents
 *     have become invalid.
 *  2. Loaded nodes are held until the operation ends.  So no attempt misses a node that an earlier
 *     one loaded, and an operation that reads a bounded number of nodes ends, however small the
 *     cache and however many threads share it.  (A checkpoint replaces old nodes by new ones; there
 *     is one in many seconds.)
 *  3. An attempt that returns an error has changed nothing.
 *
 * Built with -DEMBASSYFS_RESTART=N, for tests, one attempt in N gives up at a random look-up
 * although no node is missing.  So every suite passes through states that otherwise need a cold
 * cache and a second thread.
 */

#include "restart.h"

#include <assert.h>
#include <string.h>

#ifdef EMBASSYFS_RESTART
#include "secret.h"

#include <sched.h>
#endif

#define FORGOTTEN 0xa5 /* overwrites what an attempt found */
#define PLAYED_MAX 8u  /* forced restarts per operation, at most */
#define PLAY_BITS_MAX 11u

#ifdef EMBASSYFS_RESTART
/* Choose the look-up that gives up, if any; most operations have few look-ups, some thousands. */
static void choose_play(struct restarts *r)
{
	uint16_t random[3];

	r->need.play = 0;
	if (r->played == PLAYED_MAX)
		return;
	random_bytes(random, sizeof(random));
	if (random[0] % EMBASSYFS_RESTART == 0)
		r->need.play = 1 + random[1] % (1u << random[2] % (PLAY_BITS_MAX + 1));
}

void restarts_begin(struct restarts *r)
{
	r->n = r->played = 0;
	choose_play(r);
}

/* Was the restart forced?  Then let other threads run before the next attempt. */
static bool was_played(struct restarts *r)
{
	bool played = r->need.ptr.pos == 0;

	r->played += played;
	choose_play(r);
	if (played)
		sched_yield();
	return played;
}
#else
void restarts_begin(struct restarts *r)
{
	r->n = r->played = 0;
}

static inline bool was_played(struct restarts *r)
{
	(void)r;
	return false;
}
#endif

/*
 * A node can't be read.  If the inode looked for is newer than the whole tree, the look-up failed
 * only because it ended in the tree's damaged last leaf: then another attempt can avoid the tree.
 */
static bool try_past_damage(struct view *v)
{
	bool news;

	view_wrlock(v);
	news = v->map.end_len == 0;
	if (news)
		view_base_ends(v);
	view_unlock(v);
	return news;
}

bool restarts_again(struct view *v, struct restarts *r, void *out, size_t out_len, int *rc)
{
	unsigned place = r->n % RESTARTS_HELD_MAX;
	struct node *node;

	if (*rc != -ERR_NEED_NODE)
		return false;
	if (out_len > 0)
		memset(out, FORGOTTEN, out_len);
	if (was_played(r))
		return true;
	for (unsigned i = 0; i < r->n && i < RESTARTS_HELD_MAX; i++)
		assert(r->held[i].pos != r->need.ptr.pos);
	*rc = node_cache_load(v->cfg.cache, &r->need, &node);
	if (*rc < 0)
		return tree_unreadable(*rc) && try_past_damage(v);
	if (r->n >= RESTARTS_HELD_MAX)
		node_put(v->cfg.cache, r->held[place].node);
	r->held[place].pos = r->need.ptr.pos;
	r->held[place].node = node;
	r->n++;
	return true;
}

void restarts_end(struct view *v, struct restarts *r)
{
	for (unsigned i = 0; i < r->n && i < RESTARTS_HELD_MAX; i++)
		node_put(v->cfg.cache, r->held[i].node);
}

int view_run(struct view *v, view_attempt *attempt, const void *in, void *out, size_t out_len)
{
	struct restarts r;
	int rc;

	restarts_begin(&r);
	do {
		view_rdlock(v);
		rc = attempt(v, &r.need, in, out);
		view_unlock(v);
	} while (restarts_again(v, &r, out, out_len, &rc));
	restarts_end(v, &r);
	return rc;
}
