/*
 * Names in .embassy that lead to the past: times, ages, snapshots.
 *
 * Each such name leads to the root of a view of the past.  Each name has a slot of its own.
 */

#include "embassy_internal.h"

#include "attributes.h"
#include "clock.h"
#include "complain.h"
#include "err.h"
#include "log.h"
#include "order.h"
#include "reply.h"
#include "request.h"
#include "slots.h"
#include "tell.h"
#include "units.h"
#include "walks.h"
#include "when.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static uint64_t tag_of(uint64_t parent, const char *name)
{
	uint64_t tag = complain_subject(embassy_node(parent), name) >> 1;

	return tag ? tag : 1;
}

/* Answer with the root of the view at head number ${head}. */
static void reply_past(fuse_req_t req, struct mount *m, uint64_t parent, const char *name,
		       head_no head, double timeout_s)
{
	struct fuse_entry_param e;
	struct place n;
	struct attr a;
	uint32_t slot;
	int rc = slots_take(m->slots, head, tag_of(parent, name), &slot);

	if (rc < 0) {
		reply_rc(req, INO_ROOT, rc);
		return;
	}
	if (slots_too_many(m->slots))
		tell_views(m->tell);
	rc = place_get(m, node_id((int)slot, INO_ROOT), &n);
	if (rc == 0) {
		rc = view_getattr(n.view, INO_ROOT, &a);
		if (rc == 0)
			entry_of(m, &n, &a, &e);
		place_put(m, &n);
	}
	if (rc == 0)
		e.entry_timeout = timeout_s;
	if (rc < 0)
		reply_rc(req, INO_ROOT, rc);
	/*
	 * The slot's reference passes to the kernel; take it back if the kernel does not get the
	 * answer.
	 */
	if (rc < 0 || fuse_reply_entry(req, &e) != 0)
		slots_drop(m->slots, slot, 1);
}

/*
 * Parse a name in at/ or ago/ as a time.  ${*out_fixed}: it will mean the same head at any later
 * time.
 */
static int parse_time(struct mount *m, uint64_t node, const char *name, struct when *out,
		      bool *out_fixed)
{
	int64_t now = volume_now_ns(m->volume), ago;
	struct when later;
	struct head newest;
	int rc;

	*out_fixed = false;
	if (node == EMBASSY_NODE_AGO) {
		rc = when_parse_duration(name, &ago);
		if (rc == 0)
			*out = (struct when){.kind = WHEN_TIME, .time_ns = now - ago};
		return rc;
	}
	rc = when_parse(name, now, out);
	if (rc < 0)
		return rc;
	if (out->kind == WHEN_HEAD)
		*out_fixed = true;
	/*
	 * Fixed is a time that does not move with the clock, and that a newer head has already
	 * passed.
	 */
	if (out->kind == WHEN_TIME && when_parse(name, now + 90000 * NS_PER_S, &later) == 0 &&
	    later.time_ns == out->time_ns) {
		log_newest_head(volume_log(m->volume), &newest);
		*out_fixed = newest.time_ns > out->time_ns &&
			     newest.time_ns - out->time_ns > NS_PER_S;
	}
	return 0;
}

/*
 * A name that moves with the clock leads a process to one head as long as it goes on using the
 * name.
 */
static int resolve_for(fuse_req_t req, struct mount *m, uint64_t tag, const struct when *when,
		       bool fixed, head_no *out_head)
{
	const struct fuse_ctx *by = fuse_req_ctx(req);
	struct walks_process p;
	struct head h;
	head_no head;
	int rc;

	/* Those of one user that this daemon can't see, in another PID namespace, count as one. */
	if (!fixed && walks_process((uint64_t)by->pid, &p) < 0)
		p = (struct walks_process){.started = by->uid};
	head = fixed ? 0 : walks_head(m->walks, &p, tag, clock_mono_ns());
	if (head == 0) {
		rc = view_resolve(m->view_cfg, when, &h);
		if (rc < 0)
			return rc;
		head = h.number;
		if (!fixed)
			walks_begin(m->walks, &p, tag, head, clock_mono_ns());
	}
	*out_head = head;
	return 0;
}

void embassy_lookup_time(fuse_req_t req, struct mount *m, uint64_t parent, const char *name)
{
	struct when when;
	head_no head = 0;
	bool fixed;
	int rc = parse_time(m, embassy_node(parent), name, &when, &fixed);

	if (rc == 0)
		rc = resolve_for(req, m, tag_of(parent, name), &when, fixed, &head);
	if (rc == -ERR_BAD_TIME || rc == -ERR_TOO_EARLY || rc == -ERR_NO_STATE) {
		complain(complain_subject(embassy_node(parent), name), EMBASSY_NAME "/%s/%s: %s",
			 embassy_node(parent) == EMBASSY_NODE_AT ? "at" : "ago", name,
			 err_detail(rc));
		rc = -ENOENT;
	}
	if (rc < 0)
		reply_rc(req, INO_ROOT, rc);
	else
		reply_past(req, m, parent, name, head, fixed ? TIMEOUT_LONG_S : 0);
}

void embassy_lookup_snapshot(fuse_req_t req, struct mount *m, uint64_t parent, const char *name)
{
	struct snapshot s;
	int rc = view_snapshot(m->view, name, &s);

	if (rc < 0)
		reply_rc(req, INO_ROOT, rc);
	else
		reply_past(req, m, parent, name, s.head, TIMEOUT_LONG_S);
}

static int finish_snapshot(struct mount *m, const char *name, struct snapshot *out)
{
	struct head h;
	int rc = volume_add_head(m->volume, &h);

	return rc < 0 ? rc : view_snapshot(m->view, name, out);
}

void embassy_mkdir(fuse_req_t req, struct mount *m, uint64_t parent, const char *name, mode_t mode)
{
	const struct request *r = request_of(req);
	struct snapshot s;
	int rc;

	if (!m->volume || embassy_node(parent) != EMBASSY_NODE_SNAPSHOTS) {
		reply_unchangeable(req);
		return;
	}
	if (!order_allowed(req, m))
		rc = -EPERM;
	else if (r->steps > 0) /* a process that was killed made it */
		rc = finish_snapshot(m, name, &s);
	else
		rc = volume_snapshot(m->volume, &r->caller, name, mode & S_ISVTX, &s);
	if (rc < 0)
		reply_rc(req, INO_ROOT, rc);
	else
		reply_past(req, m, parent, name, s.head, TIMEOUT_LONG_S);
}

void embassy_rmdir(fuse_req_t req, struct mount *m, uint64_t parent, const char *name)
{
	const struct request *r = request_of(req);
	int rc;

	if (!m->volume || embassy_node(parent) != EMBASSY_NODE_SNAPSHOTS) {
		reply_unchangeable(req);
		return;
	}
	rc = order_allowed(req, m) ? 0 : -EPERM;
	if (rc == 0 && r->steps == 0)
		rc = volume_snapshot_remove(m->volume, &r->caller, name);
	if (rc == 0)
		slots_retire(m->slots, tag_of(parent, name));
	reply_rc(req, INO_ROOT, rc);
}
