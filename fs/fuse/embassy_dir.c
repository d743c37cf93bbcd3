/*
 * .embassy: a folder that is stored nowhere.
 *
 * The kernel can't be told to bypass its cache for one file (no open is ever sent), and believes
 * its own idea of a file's size.  So a status text is a node of its own, made at lookup with the
 * size that it has, and never changes; the name is looked up again for each use, and gives
 * another node then.
 *
 * What a TIME or a snapshot's name leads to is the root of a view of the past, in a slot of that
 * name's own.
 */

#include "embassy_dir.h"

#include "buf.h"
#include "clock.h"
#include "complain.h"
#include "err.h"
#include "locks.h"
#include "log.h"
#include "replicator.h"
#include "request.h"
#include "slots.h"
#include "status.h"
#include "supervisor.h"
#include "tell.h"
#include "units.h"
#include "walks.h"
#include "when.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define UPGRADE_NAME "upgrade"
#define TEXTS_SHIFT 28	       /* texts that one process makes at most, as a power of two */
#define TAKEOVER_MASK 0x7ffffu /* so that their nodes fit NODE_SHIFT bits */

struct text {
	uint64_t node; /* 0: free */
	uid_t uid;     /* who looked it up */
	struct buf buf;
	struct timespec made;
};

struct embassy_dir {
	struct timespec made; /* times of the folders */
	pthread_mutex_t mu;
	uint64_t next; /* Guarded by mu, like all below. */
	struct text texts[EMBASSY_TEXTS_MAX];
};

/* The names in .embassy, in the order in which they are listed. */
static const struct {
	const char *name;
	uint64_t node;
	bool live_only;
} members[] = {
	{"at", EMBASSY_NODE_AT, true},
	{"ago", EMBASSY_NODE_AGO, true},
	{"snapshots", EMBASSY_NODE_SNAPSHOTS, true},
	{"control", EMBASSY_NODE_CONTROL, false},
	{"status", EMBASSY_NODE_STATUS, false},
};

static struct timespec timespec_now(void)
{
	int64_t ns = clock_wall_ns();

	return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

int embassy_dir_new(uint32_t takeover, struct embassy_dir **out)
{
	struct embassy_dir *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	pthread_mutex_init(&d->mu, NULL);
	d->made = timespec_now();
	d->next = EMBASSY_NODE_STATUS + ((uint64_t)(takeover & TAKEOVER_MASK) << TEXTS_SHIFT);
	*out = d;
	return 0;
}

void embassy_dir_free(struct embassy_dir *d)
{
	if (!d)
		return;
	for (size_t i = 0; i < EMBASSY_TEXTS_MAX; i++)
		buf_release(&d->texts[i].buf);
	pthread_mutex_destroy(&d->mu);
	free(d);
}

bool embassy_is_name(uint64_t parent, const char *name)
{
	return parent == INO_ROOT && strcmp(name, EMBASSY_NAME) == 0;
}

static uint64_t node_of(uint64_t id)
{
	return id & (INO_MAX - 1);
}

static bool may_change(fuse_req_t req, const struct mount *m)
{
	uid_t uid = fuse_req_ctx(req)->uid;

	return uid == 0 || uid == m->owner;
}

/* Attributes of a folder, or, with its text's size and time, of a status file. */
static void fill_stat(const struct mount *m, uint64_t node, const struct text *text,
		      struct stat *out)
{
	*out = (struct stat){
		.st_ino = embassy_id(text ? EMBASSY_NODE_STATUS : node),
		.st_mode = text						   ? S_IFREG | 0444
			   : node == EMBASSY_NODE_SNAPSHOTS		   ? S_IFDIR | 0755
			   : node == EMBASSY_NODE_TOP && !m->history_users ? S_IFDIR | 0500
									   : S_IFDIR | 0555,
		.st_nlink = text ? 1 : 2,
		.st_uid = m->owner,
		.st_size = text ? (off_t)text->buf.len : 0,
		.st_blksize = 4096,
		.st_mtim = text ? text->made : m->embassy->made,
	};
	out->st_atim = out->st_ctim = out->st_mtim;
}

static void reply_node(fuse_req_t req, struct mount *m, uint64_t node)
{
	struct fuse_entry_param e = {.ino = embassy_id(node),
				     .generation = 1,
				     .attr_timeout = TIMEOUT_LONG_S,
				     .entry_timeout = TIMEOUT_LONG_S};

	fill_stat(m, node, NULL, &e.attr);
	fuse_reply_entry(req, &e);
}

static int write_status(struct mount *m, struct buf *out)
{
	struct volume_status live;
	struct replicator_status *r = NULL;
	struct status_input in = {.volume = m->volume_id, .n_embassies = m->n_replicators};
	const struct estate *e = m->heir->map.estate;
	int rc;

	if (e) {
		in.supervised = atomic_load(&m->heir->supervised);
		in.takeovers = e->takeovers;
		in.takeover_ns = e->takeover_ns;
		in.upgrades = e->upgrades;
		in.failure = e->failure;
	}

	if (m->volume) {
		volume_get_status(m->volume, &live);
		in.live = &live;
	} else {
		in.head = view_head(m->view);
	}
	if (m->n_replicators) {
		r = calloc(m->n_replicators, sizeof(*r));
		if (!r)
			return -ENOMEM;
		for (size_t i = 0; i < m->n_replicators; i++)
			replicator_get_status(m->replicators[i], &r[i]);
		in.embassies = r;
	}
	rc = status_text(&in, out);
	free(r);
	return rc;
}

static void lookup_status(fuse_req_t req, struct mount *m)
{
	struct embassy_dir *d = m->embassy;
	struct fuse_entry_param e = {.generation = 1, .attr_timeout = TIMEOUT_LONG_S};
	struct text t = {.made = timespec_now(), .uid = fuse_req_ctx(req)->uid};
	size_t i, of_user = 0;
	int rc = write_status(m, &t.buf);

	if (rc < 0)
		goto fail;
	pthread_mutex_lock(&d->mu);
	for (i = 0; i < EMBASSY_TEXTS_MAX; i++)
		of_user += d->texts[i].node != 0 && d->texts[i].uid == t.uid;
	for (i = 0; i < EMBASSY_TEXTS_MAX && d->texts[i].node != 0; i++)
		;
	/* One user must not take them all from the others, and nobody from root. */
	if (t.uid != 0 && of_user >= EMBASSY_TEXTS_OF_USER_MAX)
		i = EMBASSY_TEXTS_MAX;
	if (i < EMBASSY_TEXTS_MAX) {
		t.node = d->next++;
		fill_stat(m, t.node, &t, &e.attr);
		d->texts[i] = t;
	}
	pthread_mutex_unlock(&d->mu);
	rc = -ENFILE;
	if (i == EMBASSY_TEXTS_MAX)
		goto fail;

	e.ino = embassy_id(t.node);
	if (fuse_reply_entry(req, &e) != 0)
		embassy_forget(m, e.ino);
	return;

fail:
	buf_release(&t.buf);
	reply_rc(req, INO_ROOT, rc);
}

void embassy_forget(struct mount *m, uint64_t id)
{
	struct embassy_dir *d = m->embassy;
	uint64_t node = node_of(id);

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

static uint64_t tag_of(uint64_t parent, const char *name)
{
	uint64_t tag = complain_subject(node_of(parent), name) >> 1;

	return tag ? tag : 1;
}

/* Answer with the root of the view at head number ${head}. */
static void reply_past(fuse_req_t req, struct mount *m, uint64_t parent, const char *name,
		       uint64_t head, double timeout_s)
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
	/* The slot's reference becomes the kernel's unless it does not get the answer. */
	if (rc < 0 || fuse_reply_entry(req, &e) != 0)
		slots_drop(m->slots, slot, 1);
}

/* A name in at/ or ago/ as a time; ${*out_fixed}: it means the same head at any later time. */
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
	/* A time that does not move with the clock, and that a head lies after already. */
	if (out->kind == WHEN_TIME && when_parse(name, now + 90000 * NS_PER_S, &later) == 0 &&
	    later.time_ns == out->time_ns) {
		log_newest_head(volume_log(m->volume), &newest);
		*out_fixed = newest.time_ns > out->time_ns &&
			     newest.time_ns - out->time_ns > NS_PER_S;
	}
	return 0;
}

/* A name that moves leads whoever goes on using it to one head. */
static int resolve_for(fuse_req_t req, struct mount *m, uint64_t tag, const struct when *when,
		       bool fixed, uint64_t *out_head)
{
	struct walks_process p;
	bool known = !fixed && walks_process((uint64_t)fuse_req_ctx(req)->pid, &p) == 0;
	uint64_t head = known ? walks_head(m->walks, &p, tag, clock_mono_ns()) : 0;
	struct head h;
	int rc;

	if (head == 0) {
		rc = view_resolve(m->view_cfg, when, &h);
		if (rc < 0)
			return rc;
		head = h.number;
		if (known)
			walks_begin(m->walks, &p, tag, head, clock_mono_ns());
	}
	*out_head = head;
	return 0;
}

static void lookup_time(fuse_req_t req, struct mount *m, uint64_t parent, const char *name)
{
	struct when when;
	uint64_t head = 0;
	bool fixed;
	int rc = parse_time(m, node_of(parent), name, &when, &fixed);

	if (rc == 0)
		rc = resolve_for(req, m, tag_of(parent, name), &when, fixed, &head);
	if (rc == -ERR_BAD_TIME || rc == -ERR_TOO_EARLY || rc == -ERR_NO_STATE) {
		complain(complain_subject(node_of(parent), name), EMBASSY_NAME "/%s/%s: %s",
			 node_of(parent) == EMBASSY_NODE_AT ? "at" : "ago", name, err_detail(rc));
		rc = -ENOENT;
	}
	if (rc < 0)
		reply_rc(req, INO_ROOT, rc);
	else
		reply_past(req, m, parent, name, head, fixed ? TIMEOUT_LONG_S : 0);
}

static void lookup_snapshot(fuse_req_t req, struct mount *m, uint64_t parent, const char *name)
{
	struct snapshot s;
	int rc = view_snapshot(m->view, name, &s);

	if (rc < 0)
		reply_rc(req, INO_ROOT, rc);
	else
		reply_past(req, m, parent, name, s.head, TIMEOUT_LONG_S);
}

static void lookup_member(fuse_req_t req, struct mount *m, const char *name)
{
	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
		if (strcmp(members[i].name, name) != 0 || (members[i].live_only && !m->volume))
			continue;
		if (members[i].node == EMBASSY_NODE_STATUS)
			lookup_status(req, m);
		else
			reply_node(req, m, members[i].node);
		return;
	}
	fuse_reply_err(req, ENOENT);
}

void embassy_lookup(fuse_req_t req, struct mount *m, uint64_t parent, const char *name)
{
	uint64_t node = node_of(parent);

	if (parent == INO_ROOT) {
		reply_node(req, m, EMBASSY_NODE_TOP);
	} else if (strcmp(name, ".") == 0) {
		reply_node(req, m, node);
	} else if (strcmp(name, "..") == 0) {
		if (node == EMBASSY_NODE_TOP)
			op_lookup(req, INO_ROOT, ".");
		else if (node == EMBASSY_NODE_UPGRADE)
			reply_node(req, m, EMBASSY_NODE_CONTROL);
		else
			reply_node(req, m, EMBASSY_NODE_TOP);
	} else if (node == EMBASSY_NODE_TOP) {
		lookup_member(req, m, name);
	} else if (node == EMBASSY_NODE_AT || node == EMBASSY_NODE_AGO) {
		lookup_time(req, m, parent, name);
	} else if (node == EMBASSY_NODE_SNAPSHOTS) {
		lookup_snapshot(req, m, parent, name);
	} else if (node == EMBASSY_NODE_CONTROL && strcmp(name, UPGRADE_NAME) == 0) {
		reply_node(req, m, EMBASSY_NODE_UPGRADE);
	} else if (node == EMBASSY_NODE_CONTROL || node == EMBASSY_NODE_UPGRADE) {
		fuse_reply_err(req, ENOENT);
	} else {
		fuse_reply_err(req, ENOTDIR);
	}
}

static const struct text *text_locked(const struct embassy_dir *d, uint64_t node) REQUIRES(d->mu);

/* The text of a status node. */
static const struct text *text_locked(const struct embassy_dir *d, uint64_t node)
{
	for (size_t i = 0; i < EMBASSY_TEXTS_MAX; i++)
		if (d->texts[i].node == node)
			return &d->texts[i];
	return NULL;
}

int embassy_stat(struct mount *m, uint64_t id, struct stat *out)
{
	struct embassy_dir *d = m->embassy;
	uint64_t node = node_of(id);
	const struct text *t = NULL;
	bool found;

	pthread_mutex_lock(&d->mu);
	if (node >= EMBASSY_NODE_STATUS)
		t = text_locked(d, node);
	found = t || node < EMBASSY_NODE_STATUS;
	if (found)
		fill_stat(m, node, t, out);
	pthread_mutex_unlock(&d->mu);
	return found ? 0 : -ESTALE;
}

void embassy_getattr(fuse_req_t req, struct mount *m, uint64_t id)
{
	struct stat st;
	int rc = embassy_stat(m, id, &st);

	if (rc == 0)
		fuse_reply_attr(req, &st, TIMEOUT_LONG_S);
	else
		fuse_reply_err(req, -rc);
}

void embassy_read(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off)
{
	struct embassy_dir *d = m->embassy;
	char *out = thread_buffer(size);
	const struct text *t;
	size_t n = 0;

	if (!out) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	pthread_mutex_lock(&d->mu);
	t = text_locked(d, node_of(id));
	if (t && off >= 0 && (uint64_t)off < t->buf.len) {
		n = t->buf.len - (size_t)off;
		if (n > size)
			n = size;
		memcpy(out, t->buf.p + off, n);
	}
	pthread_mutex_unlock(&d->mu);
	if (!t) {
		/* Made by a process that is gone; its name leads to a new one. */
		fuse_reply_err(req, ESTALE);
		return;
	}
	fuse_reply_buf(req, out, n);
}

/* One answer to readdir, being filled. */
struct listing {
	fuse_req_t req;
	bool plus;
	char *p;
	size_t size, len;
	off_t from, at; /* entries up to ${from} were given before; ${at}: this one's number */
};

/*
 * Add an entry after which a listing goes on with ${cookie}.  Returns 1 if it does not fit.
 * Nothing is known to the kernel by being listed: it looks up what it wants.
 */
static int list_put(struct listing *l, const char *name, uint64_t id, uint32_t type, off_t cookie)
{
	struct fuse_entry_param e = {.attr = {.st_ino = id, .st_mode = type}};
	size_t n;

	n = l->plus ? fuse_add_direntry_plus(l->req, l->p + l->len, l->size - l->len, name, &e,
					     cookie)
		    : fuse_add_direntry(l->req, l->p + l->len, l->size - l->len, name, &e.attr,
					cookie);
	if (n > l->size - l->len)
		return 1;
	l->len += n;
	return 0;
}

/* The same of what is always there, by its ordinal. */
static int list_add(struct listing *l, const char *name, uint64_t id, uint32_t type)
{
	return l->at++ < l->from ? 0 : list_put(l, name, id, type, l->at);
}

#define COOKIE_NAMES 16 /* names of snapshots from here; below: ordinals */
#define COOKIE_MAX INT64_MAX

/*
 * A snapshot, and where it is in a listing: by a hash of its name, so that it stays there while
 * others come and go.
 */
struct listed {
	off_t cookie;
	uint64_t head;
	char name[NAME_LEN_MAX + 1];
};

struct names {
	struct listed *all;
	size_t n, room;
};

static int note_name(void *ctx, const struct snapshot *s)
{
	struct names *names = ctx;
	struct listed *more;
	uint64_t hash = complain_subject(EMBASSY_NODE_SNAPSHOTS, s->name) & COOKIE_MAX;

	if (names->n == names->room) {
		more = realloc(names->all, (2 * names->room + 16) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		names->all = more;
		names->room = 2 * names->room + 16;
	}
	more = &names->all[names->n++];
	more->cookie = (off_t)(hash < COOKIE_NAMES ? hash + COOKIE_NAMES : hash);
	more->head = s->head;
	memcpy(more->name, s->name, sizeof(more->name));
	return 0;
}

static int by_cookie(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	return x->cookie != y->cookie ? (x->cookie < y->cookie ? -1 : 1) : strcmp(x->name, y->name);
}

static int list_snapshots(struct mount *m, struct listing *l)
{
	struct names names = {0};
	int rc = view_snapshots(m->view, note_name, &names);

	if (rc == 0 && names.n > 0)
		qsort(names.all, names.n, sizeof(*names.all), by_cookie);
	for (size_t i = 0; rc == 0 && i < names.n; i++)
		if (names.all[i].cookie > l->from)
			rc = list_put(l, names.all[i].name,
				      number_of(names.all[i].head, INO_ROOT), S_IFDIR,
				      names.all[i].cookie);
	free(names.all);
	return rc;
}

void embassy_readdir(fuse_req_t req, struct mount *m, uint64_t id, size_t size, off_t off,
		     bool plus)
{
	struct listing l = {.req = req, .plus = plus, .size = size, .from = off};
	uint64_t node = node_of(id);
	int rc;

	l.p = thread_buffer(size);
	if (!l.p) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	rc = list_add(&l, ".", id, S_IFDIR);
	if (rc == 0)
		rc = list_add(&l, "..",
			      node == EMBASSY_NODE_TOP	     ? INO_ROOT
			      : node == EMBASSY_NODE_UPGRADE ? embassy_id(EMBASSY_NODE_CONTROL)
							     : embassy_id(EMBASSY_NODE_TOP),
			      S_IFDIR);
	if (node == EMBASSY_NODE_TOP)
		for (size_t i = 0; rc == 0 && i < sizeof(members) / sizeof(*members); i++)
			if (m->volume || !members[i].live_only)
				rc = list_add(&l, members[i].name, embassy_id(members[i].node),
					      members[i].node == EMBASSY_NODE_STATUS ? S_IFREG
										     : S_IFDIR);
	if (node == EMBASSY_NODE_CONTROL && rc == 0)
		rc = list_add(&l, UPGRADE_NAME, embassy_id(EMBASSY_NODE_UPGRADE), S_IFDIR);
	if (node == EMBASSY_NODE_SNAPSHOTS && rc == 0)
		rc = list_snapshots(m, &l);
	if (rc < 0)
		reply_rc(req, INO_ROOT, rc);
	else
		fuse_reply_buf(req, l.p, l.len);
}

/*
 * The process that serves this request ends before it is answered.  Its successor is given the
 * request again, and answers it: so whoever asked waits until the new program serves.
 */
static int upgrade(struct mount *m, const struct request *r)
{
	struct estate *e = m->heir->map.estate;
	struct head h;
	int rc = 0;

	if (r->steps > 0)
		return e->upgrades > e->upgrades_before ? 0 : -ECANCELED;
	if (e)
		e->upgrades_before = e->upgrades;
	/* The less is pending the sooner the successor serves. */
	if (m->volume)
		rc = volume_add_head(m->volume, &h);
	if (r->caller.note)
		note_mark(r->caller.note);
	return rc < 0 ? rc : heir_upgrade(m->heir);
}

/* For 'embassy drain': a head that states all, and asking each embassy where it stands. */
static int drain(struct mount *m)
{
	struct head h;
	int rc = volume_add_head(m->volume, &h);

	for (size_t i = 0; i < m->n_replicators; i++)
		replicator_probe(m->replicators[i]);
	return rc;
}

void embassy_fsync(fuse_req_t req, struct mount *m, uint64_t id)
{
	if (node_of(id) == EMBASSY_NODE_UPGRADE)
		reply_rc(req, INO_ROOT, may_change(req, m) ? upgrade(m, request_of(req)) : -EPERM);
	else if (!m->volume || node_of(id) != EMBASSY_NODE_TOP)
		fuse_reply_err(req, 0);
	else if (!may_change(req, m))
		fuse_reply_err(req, EPERM);
	else
		reply_rc(req, INO_ROOT, drain(m));
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

	if (!m->volume || node_of(parent) != EMBASSY_NODE_SNAPSHOTS) {
		fuse_reply_err(req, EROFS);
		return;
	}
	if (!may_change(req, m))
		rc = -EPERM;
	else if (r->steps > 0) /* made by a process that was killed */
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

	if (!m->volume || node_of(parent) != EMBASSY_NODE_SNAPSHOTS) {
		fuse_reply_err(req, EROFS);
		return;
	}
	rc = may_change(req, m) ? 0 : -EPERM;
	if (rc == 0 && r->steps == 0)
		rc = volume_snapshot_remove(m->volume, &r->caller, name);
	if (rc == 0)
		slots_retire(m->slots, tag_of(parent, name));
	reply_rc(req, INO_ROOT, rc);
}
