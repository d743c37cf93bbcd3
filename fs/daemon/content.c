/*
 * What is mounted.
 *
 * A live mount is opened in this order: volume.conf, credential, keys, volume, replicators.  A
 * view: volume.conf, credential, keys, source, blocks, nodes, view.  Closing goes backwards:
 * replicators end before the log that they read.
 *
 * The volume reports heads from a thread of its own, also before its replicators exist and while
 * they end, so the list of replicators has a lock.
 */

#include "content.h"

#include "address.h"
#include "backlog.h"
#include "blocks.h"
#include "cache.h"
#include "clock.h"
#include "credential.h"
#include "err.h"
#include "keys.h"
#include "log.h"
#include "msg.h"
#include "options.h"
#include "params.h"
#include "remote.h"
#include "replicator.h"
#include "secret.h"
#include "source.h"
#include "source_folder.h"
#include "store.h"
#include "supervisor.h"
#include "volume.h"
#include "when.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct content {
	struct volume_keys keys;
	struct successor *successor;
	bool remote;

	/* A live mount. */
	struct params params;
	struct volume *volume;
	struct store *store;			/* for the replicators */
	int dir_fd;				/* the volume's folder, wherever it is moved */
	char *dir;				/* a path that leads to it by that; owned */
	char *embassies[OPTIONS_EMBASSIES_MAX]; /* addresses whose replicators were started */
	size_t n_embassies;
	pthread_mutex_t mu;
	struct replicator *replicators[OPTIONS_EMBASSIES_MAX]; /* Guarded by mu. */
	size_t n_replicators;				       /* Guarded by mu. */

	/* A view. */
	struct source *source;
	struct blocks *blocks;
	struct node_cache *cache;
	struct view_config view_cfg;
	struct view *view;
};

size_t content_memory(const struct options *o)
{
	return o->memory_bytes ? (size_t)o->memory_bytes : CONTENT_MEMORY_DEFAULT;
}

static void *secret_copy(const void *from, size_t len)
{
	void *p = secret_alloc(len);

	if (p)
		memcpy(p, from, len);
	return p;
}

/* Take the keys that an earlier process unlocked. */
static int take_keys(struct content *c, const struct shared_keys *k)
{
	struct volume_keys *to = &c->keys;

	to->log_key = secret_copy(k->log_key, sizeof(k->log_key));
	to->name_key = secret_copy(k->name_key, sizeof(k->name_key));
	if (k->has_writer)
		to->writer_secret = secret_copy(k->writer_secret, sizeof(k->writer_secret));
	return to->log_key && to->name_key && (to->writer_secret || !k->has_writer) ? 0 : -ENOMEM;
}

static int ask_and_unlock(struct content *c, const struct options *o, const struct params *params)
{
	struct credential cred = {0};
	char prompt[256];
	int rc;

	snprintf(prompt, sizeof(prompt), "Passphrase for %.200s: ", o->target);
	rc = credential_find(o->passphrase_file, o->key_file, prompt, false, &cred);
	if (rc == 0)
		rc = keys_unlock(params, &cred, &c->keys);
	credential_release(&cred);
	return rc;
}

static int unlock(struct content *c, const struct options *o, const struct params *params)
{
	struct shared_keys *kept = c->successor->map.keys;
	int rc;

	if (kept && kept->filled)
		return take_keys(c, kept);
	rc = ask_and_unlock(c, o, params);
	if (rc == 0 && kept)
		shared_leave_keys(kept, &c->keys);
	return rc;
}

static void on_head(void *ctx, const struct head *h)
{
	struct content *c = ctx;

	(void)h;
	pthread_mutex_lock(&c->mu);
	for (size_t i = 0; i < c->n_replicators; i++)
		replicator_wake(c->replicators[i]);
	pthread_mutex_unlock(&c->mu);
}

static void newest_head(void *ctx, struct head *out)
{
	struct content *c = ctx;

	log_newest_head(volume_log(c->volume), out);
}

static void stop_replicators(struct content *c)
{
	struct replicator *list[OPTIONS_EMBASSIES_MAX];
	size_t n;

	pthread_mutex_lock(&c->mu);
	n = c->n_replicators;
	memcpy(list, c->replicators, n * sizeof(*list));
	c->n_replicators = 0;
	pthread_mutex_unlock(&c->mu);
	/* A replicator that still runs uses neither the volume nor the store. */
	if (replicator_stop_all(list, n, CONTENT_CLOSE_MS) > 0)
		msg_warn("closing without waiting for it any longer");
}

static int start_replicators(struct content *c, const struct options *o)
{
	struct replicator_config cfg = {.tls_dir = o->tls_dir,
					.params = &c->params,
					.volume_dir = c->dir,
					.catalog = log_catalog(volume_log(c->volume)),
					.newest = newest_head,
					.ctx = c};
	struct replicator *r;
	int rc;

	if (o->n_embassies == 0)
		return 0;
	rc = store_open(o->target, 0, &c->store);
	if (rc < 0)
		return rc;
	cfg.store = c->store;
	for (size_t i = 0; i < o->n_embassies; i++) {
		cfg.address = o->embassies[i];
		rc = replicator_start(&cfg, &r);
		if (rc < 0)
			return rc;
		pthread_mutex_lock(&c->mu);
		c->replicators[c->n_replicators++] = r;
		pthread_mutex_unlock(&c->mu);
		c->embassies[c->n_embassies] = strdup(o->embassies[i]);
		if (!c->embassies[c->n_embassies])
			return -ENOMEM;
		c->n_embassies++;
	}
	return 0;
}

/*
 * Key changes, and what embassies acknowledged, are looked for in the folder for as long as the
 * volume is mounted.  It may be moved meanwhile.
 */
static int keep_folder(struct content *c, const char *path)
{
	c->dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (c->dir_fd < 0)
		return err_say(-errno, "%s: %s", path, strerror(errno));
	return asprintf(&c->dir, "/proc/self/fd/%d", c->dir_fd) < 0 ? -ENOMEM : 0;
}

static int open_live(struct content *c, const struct options *o)
{
	const struct volume_shm keep = {.mem = c->successor->map.mem,
					.take_over = c->successor->take_over,
					.lock_fd = c->successor->lock_fd,
					.note_of = inflight_note_of};
	struct volume_config cfg = {.dir = o->target,
				    .params = &c->params,
				    .keys = &c->keys,
				    .checkpoint_s = o->checkpoint_s,
				    .memory_bytes = content_memory(o),
				    .on_head = on_head,
				    .ctx = c,
				    .shm = keep.mem ? &keep : NULL};
	int rc;

	rc = params_load(o->target, &c->params);
	if (rc == 0)
		rc = keep_folder(c, o->target);
	if (rc == 0)
		rc = unlock(c, o, &c->params);
	if (rc == 0 && !c->keys.writer_secret)
		rc = err_say(-ERR_FORBIDDEN,
			     "%s: its volume.conf carries no key to write with; "
			     "mount it with -o ro",
			     o->target);
	if (rc == 0)
		rc = volume_open(&cfg, &c->volume);
	return rc ? rc : start_replicators(c, o);
}

/* Refuse an incomplete log, unless the mount's options ask for the part that is whole. */
static int open_folder(const struct options *o, struct source **out)
{
	int rc = source_open_folder(o->target, out);

	if (!o->partial || (rc != -ERR_DAMAGED && rc != -ERR_TAMPERED))
		return rc;
	msg_warn("%s; it is mounted without that", err_detail(rc));
	return source_open_folder_partial(o->target, out);
}

static int open_source(struct content *c, const struct options *o)
{
	struct remote_config cfg = {.tls_dir = o->tls_dir, .cache_bytes = o->local_bytes};
	uint8_t id[VOLUME_ID_LEN];
	char *address;
	struct stat st;
	int rc;

	/* A folder that exists is a folder, even if its name looks like an address. */
	if (stat(o->target, &st) == 0 || address_parse_target(o->target, &address, id) < 0)
		return open_folder(o, &c->source);
	c->remote = true;
	cfg.address = address;
	cfg.volume = id;
	rc = source_open_remote(&cfg, &c->source);
	free(address);
	return rc;
}

static int resolve(struct content *c, const struct options *o, struct head *out)
{
	char at[WHEN_TEXT_LEN];
	struct when when;
	struct shared_state *e = c->successor->map.state;
	int rc = 0;

	/*
	 * "latest" was resolved when the view was first mounted; a successor shows the same head.
	 */
	if (e && e->view_head)
		when = (struct when){.kind = WHEN_HEAD, .head = e->view_head};
	else
		rc = when_parse(o->at ? o->at : "latest", clock_wall_ns(), &when);

	if (rc == 0)
		rc = view_resolve(&c->view_cfg, &when, out);
	if (rc < 0)
		return rc;
	if (e)
		e->view_head = out->number;
	when_format_seconds(out->time_ns, at);
	msg_info("%s: at head %llu of %s", o->target, (unsigned long long)out->number, at);
	return 0;
}

static int open_past(struct content *c, const struct options *o)
{
	struct block_io io;
	struct head h;
	struct when when;
	int rc;

	/* Find a mistake in the time before asking for the passphrase. */
	rc = o->at ? when_parse(o->at, clock_wall_ns(), &when) : 0;
	if (rc == 0)
		rc = open_source(c, o);
	if (rc == 0)
		rc = unlock(c, o, c->source->params);
	if (rc == 0)
		rc = blocks_new(c->source, c->keys.log_key, &c->blocks);
	if (rc < 0)
		return rc;
	io = blocks_io(c->blocks);
	rc = node_cache_new(content_memory(o) / 2, &io, &c->cache);
	if (rc < 0)
		return rc;
	c->view_cfg = (struct view_config){.source = c->source,
					   .blocks = c->blocks,
					   .cache = c->cache,
					   .name_key = c->keys.name_key};
	rc = resolve(c, o, &h);
	return rc ? rc : view_open(&c->view_cfg, &h, &c->view);
}

int content_choose(struct options *o)
{
	if (o->history_users && !o->allow_other)
		msg_warn("option history=users: lets nobody in without allow_other");
	/* A mount that is upgraded goes on with what an earlier version accepted. */
	if (o->local_bytes && !options_names_server(o) && o->handover_fd < 0)
		return err_say(-EINVAL, "option local: is for a volume held by a block server; "
					"see embassyfs --help");
	if (o->read_only || o->at)
		return 0;
	if ((o->read_write || o->n_embassies) && options_names_server(o))
		return err_say(-ERR_FORBIDDEN,
			       "%s: what a block server holds is never written to by a mount; "
			       "leave out rw and embassy=, or mount the volume at its home",
			       o->target);
	if (store_folder_is_copy(o->target) <= 0)
		return 0;
	if (o->read_write || o->n_embassies)
		return err_say(-ERR_FORBIDDEN,
			       "%s: it is an embassy's copy (it has a file 'owner'), and is never "
			       "written to by a mount; leave out rw and embassy=, or mount the "
			       "volume at its home",
			       o->target);
	msg_warn("%s: it is an embassy's copy (it has a file 'owner'); it is mounted read-only",
		 o->target);
	o->read_only = true;
	return 0;
}

int content_open(const struct options *o, struct successor *successor, struct content **out)
{
	struct content *c = calloc(1, sizeof(*c));
	struct stat st;
	bool past = o->read_only || o->at || options_names_server(o);
	int rc, closed;

	if (!c)
		return -ENOMEM;
	c->successor = successor;
	c->dir_fd = -1;
	pthread_mutex_init(&c->mu, NULL);
	if (o->target[0] != '/' && stat(o->target, &st) < 0 && address_check(o->target) == 0)
		rc = err_say(-ERR_NO_VOLUME,
			     "%s: it is a server, and names no volume; give %s/VOLUME-ID, which "
			     "'embassy status %s' lists",
			     o->target, o->target, o->target);
	else if (past && o->n_embassies)
		rc = err_say(-EINVAL, "option embassy: has no meaning in a read-only mount; "
				      "see embassyfs --help");
	else
		rc = past ? open_past(c, o) : open_live(c, o);
	if (rc == 0) {
		*out = c;
		return 0;
	}
	closed = content_close(c);
	if (closed < 0)
		msg_error("%s: %s", o->target, err_detail(closed));
	return rc;
}

static bool was_sent_to(const struct content *c, const char *address)
{
	for (size_t i = 0; i < c->n_embassies; i++)
		if (strcmp(c->embassies[i], address) == 0)
			return true;
	return false;
}

static void tell_backlog_of(const struct backlog_embassy *e)
{
	char bytes[WORDS_LEN];

	msg_event(
		MSG_NOTICE, "embassy-behind",
		"unmounted with %s (%llu head%s) not yet acknowledged by embassy %s; it gets that "
		"after the next mount",
		words_bytes((double)e->bytes, bytes), (unsigned long long)e->heads, e->heads == 1 ? "" : "s",
		e->address);
}

/*
 * Say which bytes are now on this host alone.  Called after the volume was closed, because closing
 * makes a head that no embassy can have.
 */
static void tell_backlog(const struct content *c)
{
	struct backlog b = {0};
	struct source *src;
	int rc;

	if (c->n_embassies == 0)
		return;
	rc = source_open_folder(c->dir, &src);
	if (rc == 0) {
		rc = backlog_read(c->dir, src, &b);
		source_free(src);
	}
	for (size_t i = b.n; rc == 0 && i > 0; i--)
		if (b.list[i - 1].bytes > 0 && was_sent_to(c, b.list[i - 1].address))
			tell_backlog_of(&b.list[i - 1]);
	if (rc == 0 && !b.known)
		rc = err_say(-ERR_DAMAGED, "the catalog can't be read");
	if (rc < 0)
		msg_event(MSG_WARN, "embassy-behind",
			  "unmounted, and what embassies have not acknowledged is not known: %s",
			  err_detail(rc));
	backlog_release(&b);
}

int content_close(struct content *c)
{
	int rc = 0;

	if (!c)
		return 0;
	/* From now on another process that mounts the volume waits for this one to end. */
	if (c->volume)
		volume_closing(c->volume);
	stop_replicators(c);
	store_close(c->store);
	if (c->volume)
		rc = volume_close(c->volume);
	if (c->volume)
		tell_backlog(c);
	view_close(c->view);
	if (c->cache)
		node_cache_free(c->cache);
	blocks_free(c->blocks);
	source_free(c->source);
	keys_release(&c->keys);
	params_release(&c->params);
	pthread_mutex_destroy(&c->mu);
	for (size_t i = 0; i < c->n_embassies; i++)
		free(c->embassies[i]);
	free(c->dir);
	if (c->dir_fd >= 0)
		close(c->dir_fd);
	free(c);
	return rc;
}

struct volume *content_volume(struct content *c)
{
	return c->volume;
}

struct view *content_view(struct content *c)
{
	return c->volume ? volume_view(c->volume) : c->view;
}

const struct view_config *content_view_config(struct content *c)
{
	return c->volume ? volume_view_config(c->volume) : &c->view_cfg;
}

const uint8_t *content_volume_id(const struct content *c)
{
	return c->volume ? c->params.id : c->source->params->id;
}

struct replicator **content_replicators(struct content *c, size_t *out_n)
{
	*out_n = c->n_replicators;
	return c->replicators;
}

int content_is_remote(const struct content *c)
{
	return c->remote;
}
