/*
 * Taking over from a process that was killed: recover the changes that it had only in memory, from
 * the memory that it shared.
 *
 * The log has been rescued and recovered, and the view contains every delta in it.  Left to apply
 * are the journal's entries that no delta covers.  They become pending changes, and the journal
 * continues as it is.  After that this process is in the state in which the dead one was, so being
 * killed here, or a moment later, makes no difference.
 *
 *	view.seq	on its way	filling		then
 *	n - 1		n		n + 1		the delta is made anew, and waits in unsent
 *	n		n (in the log)	n + 1		the generation on its way is discarded
 *	n		empty		n + 1		nothing
 */

#include "volume_internal.h"

#include "log.h"
#include "log_shm.h"
#include "msg.h"

#include <errno.h>
#include <inttypes.h>

/* The log's part of the shared memory comes first, then the journal. */
size_t volume_shm_bytes(void)
{
	return log_shm_bytes(LOG_RING_DEFAULT) + journal_bytes();
}

void *volume_journal_mem(const struct volume *v)
{
	return (uint8_t *)v->shm.mem + log_shm_bytes(LOG_RING_DEFAULT);
}

struct replay {
	struct volume *v;
	uint64_t n;
};

static int replay_entry(void *ctx, const struct journal_entry *e)
{
	struct replay *r = ctx;
	struct volume *v = r->v;
	struct change_note *note;
	inode_no made = e->counts.next_ino > v->view.counts.next_ino ? e->counts.next_ino - 1 : 0;
	int rc = overlay_replay(v->view.map.live, e->records, e->records_len);

	if (rc < 0)
		return rc == -ERR_FORMAT ? -ERR_DAMAGED : rc;
	v->view.counts = e->counts;
	r->n++;
	note = e->tag != 0 && v->shm.note_of ? v->shm.note_of(v->shm.ctx, e->tag) : NULL;
	if (note)
		note_change(note, e->tag, e->number, made);
	return 0;
}

static int gap(const struct volume *v, uint64_t seq)
{
	return err_say(-ERR_DAMAGED,
		       "%s: the last daemon was at delta %" PRIu64 ", the log ends at %" PRIu64
		       "; what was not yet durable is lost: unmount and mount again",
		       v->cfg.dir, seq, v->view.seq);
}

int takeover_replay(struct volume *v)
{
	struct journal *j = &v->journal;
	struct replay r = {.v = v};
	unsigned filling, other;
	int rc;

	rc = journal_attach(j, volume_journal_mem(v));
	if (rc < 0)
		return rc;
	filling = journal_filling(j);
	other = 1 - filling;
	if (j->area->gen[other].len != 0 && journal_seq(j, other) > v->view.seq) {
		if (journal_seq(j, other) != v->view.seq + 1)
			return gap(v, journal_seq(j, other));
		rc = journal_walk(j, other, replay_entry, &r);
		if (rc == 0)
			rc = commit_take_again(v);
		if (rc < 0)
			return rc;
	} else {
		journal_sent(j);
	}
	if (journal_seq(j, filling) != v->view.seq + 1)
		return gap(v, journal_seq(j, filling));
	rc = journal_walk(j, filling, replay_entry, &r);
	if (rc < 0)
		return rc;
	journal_resume(j);
	msg_event(MSG_NOTICE, "volume-taken-over",
		  "%s: taken over with %" PRIu64 " changes in memory", v->cfg.dir, r.n);
	return 0;
}
