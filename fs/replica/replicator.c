/*
 * Replicators: start, stop, status, and the inbox through which the network reaches the thread
 * (replicator_drive.c).
 *
 * Key idea: everything that several threads touch is under one mutex, which is held only to copy a
 * few fields.  So neither a writer that wakes us nor the network's thread ever waits for a disk or
 * a call.
 *
 * Lock order: the pool's mutex before r->mu, which is a leaf.
 */

#include "replicator_internal.h"

#include "catalog.h"
#include "clock.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "figures.h"
#include "msg.h"
#include "params.h"
#include "secret.h"
#include "store.h"
#include "thread.h"
#include "units.h"
#include "wire.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the inbox; called by the queue's and the transport's threads ---- */

static void on_message(void *ctx, grpc_byte_buffer *bb)
{
	struct replicator *r = ctx;
	ProtobufCMessage *m = NULL;
	int rc = wire_unpack(&embassyfs__v1__append_reply__descriptor, bb, &m);

	pthread_mutex_lock(&r->mu);
	if (rc < 0) {
		r->inbox.malformed = true;
	} else {
		const Embassyfs__V1__AppendReply *reply = (const Embassyfs__V1__AppendReply *)m;

		r->inbox.has_ack = true;
		r->inbox.ack = (struct step_head){
			.number = reply->head, .end = reply->end, .time_ns = reply->head_time_ns};
	}
	pthread_cond_signal(&r->news);
	pthread_mutex_unlock(&r->mu);
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
}

static void on_sent(void *ctx)
{
	struct replicator *r = ctx;

	pthread_mutex_lock(&r->mu);
	r->inbox.sent = true;
	pthread_cond_signal(&r->news);
	pthread_mutex_unlock(&r->mu);
}

static void on_ended(void *ctx, int rc, const char *detail)
{
	struct replicator *r = ctx;

	pthread_mutex_lock(&r->mu);
	r->inbox.ended = true;
	r->inbox.end_rc = rc;
	snprintf(r->inbox.end_detail, sizeof(r->inbox.end_detail), "%s", detail);
	pthread_cond_signal(&r->news);
	pthread_mutex_unlock(&r->mu);
}

const struct client_stream_ops replicator_stream_ops = {on_message, on_sent, on_ended};

/* A piece was given back, so the next one can be read. */
static void on_freed(void *ctx)
{
	struct replicator *r = ctx;

	pthread_mutex_lock(&r->mu);
	r->inbox.woken = true;
	pthread_cond_signal(&r->news);
	pthread_mutex_unlock(&r->mu);
}

/* ---- life ---- */

static void replicator_free(struct replicator *r)
{
	client_free(r->client);
	own_conf_free(r->conf);
	piece_pool_close(r->pool);
	free(r->address);
	free(r->tls_dir);
	pthread_cond_destroy(&r->news);
	pthread_mutex_destroy(&r->mu);
	free(r);
}

void replicator_probe(struct replicator *r)
{
	pthread_mutex_lock(&r->mu);
	r->inbox.probe = true;
	pthread_cond_signal(&r->news);
	pthread_mutex_unlock(&r->mu);
}

/* Start measuring the age of missing heads. */
static void begin_lag(struct replicator *r)
{
	int64_t wall_ns = clock_wall_ns();
	struct head newest;

	r->cfg.newest(r->cfg.ctx, &newest);
	/* The times of heads never go back, even if the wall clock does. */
	if (wall_ns < newest.time_ns)
		wall_ns = newest.time_ns;
	lag_begin(&r->lag, newest.number, wall_ns, clock_mono_ns());
}

/*
 * Load what earlier mounts recorded of this embassy.  A new embassy is recorded at once, so that it
 * is known to lack everything even if it never answers.
 */
static void recall(struct replicator *r)
{
	struct step_head acked = {0};
	int rc = record_get_acked(r->cfg.catalog, r->address, &acked);

	if (rc == -ERR_ABSENT)
		rc = record_put_acked(r->cfg.catalog, r->address, &acked);
	if (rc < 0)
		msg_event(MSG_WARN, "embassy-cursor", "embassy %s: the cursor: %s", r->address,
			  err_detail(rc));
	if (acked.number != 0)
		replicator_set_acked(r, &acked);
	/* No lock: no other thread has the replicator yet. */
	if (record_get_loss(r->cfg.catalog, r->address, &r->loss) < 0)
		r->loss = (struct loss){0};
}

int replicator_start(const struct replicator_config *cfg, struct replicator **out)
{
	struct client_config client = {.address = cfg->address, .tls_dir = cfg->tls_dir};
	struct replicator *r = calloc(1, sizeof(*r));
	uint64_t seed;
	int rc;

	if (!r)
		return -ENOMEM;
	clock_cond_init(&r->news);
	pthread_mutex_init(&r->mu, NULL);
	r->cfg = *cfg; /* volume_dir: from now on only tested for NULL */
	STAILQ_INIT(&r->ahead);
	r->address = strdup(cfg->address);
	r->tls_dir = cfg->tls_dir ? strdup(cfg->tls_dir) : NULL;
	rc = !r->address || (cfg->tls_dir && !r->tls_dir) ? -ENOMEM : 0;
	if (rc == 0)
		rc = own_conf_new(cfg->volume_dir, cfg->params, &r->conf);
	if (rc == 0)
		rc = piece_pool_new(on_freed, r, &r->pool);
	if (rc == 0)
		rc = client_new(&client, &r->client);
	if (rc < 0)
		goto fail;
	random_bytes(&seed, sizeof(seed));
	step_init(&r->step, seed, clock_mono_ns());
	snprintf(r->reason, sizeof(r->reason), "not connected yet");
	begin_lag(r);
	recall(r);
	/* The user who mounts is warned before the daemon leaves the terminal. */
	replicator_look_at_certificate(r, clock_mono_ns());
	rc = thread_start(&r->thread, replicator_thread, r);
	if (rc < 0)
		goto fail;
	*out = r;
	return 0;

fail:
	replicator_free(r);
	return rc;
}

void replicator_wake(struct replicator *r)
{
	struct head newest;

	r->cfg.newest(r->cfg.ctx, &newest);
	pthread_mutex_lock(&r->mu);
	r->inbox.woken = true;
	lag_head(&r->lag, newest.number, clock_mono_ns());
	pthread_cond_signal(&r->news);
	pthread_mutex_unlock(&r->mu);
}

void replicator_set_acked(struct replicator *r, const struct step_head *acked)
{
	struct head_ref next = {.time_ns = acked->number ? acked->time_ns
							 : r->cfg.params->created_ns};
	bool wants_time;

	pthread_mutex_lock(&r->mu);
	wants_time = lag_wants_time(&r->lag, acked->number);
	pthread_mutex_unlock(&r->mu);
	/*
	 * If the catalog does not know the next head, the time of the acknowledged one serves: it
	 * is older.
	 */
	if (wants_time)
		(void)!catalog_head(r->cfg.catalog, acked->number + 1, &next);
	pthread_mutex_lock(&r->mu);
	r->acked = *acked;
	lag_acked(&r->lag, acked->number, next.time_ns);
	pthread_mutex_unlock(&r->mu);
}

const char *replicator_address(const struct replicator *r)
{
	return r->address;
}

#define WARNING_LEN (LOSS_TEXT_LEN + 2 * sizeof(((struct replicator *)0)->tls_warning) + 4)

static void warning_locked(const struct replicator *r, char out[WARNING_LEN]) REQUIRES(r->mu);

static void warning_locked(const struct replicator *r, char out[WARNING_LEN])
{
	char loss[LOSS_TEXT_LEN];
	const char *part[] = {loss, r->conf_warning, r->tls_warning};
	size_t len = 0;

	out[0] = '\0';
	loss_text(&r->loss, loss);
	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++)
		len += (size_t)snprintf(out + len, WARNING_LEN - len, "%s%s",
					len > 0 && part[i][0] ? "; " : "", part[i]);
}

/* Set the figures of what the embassy lacks. */
static void set_lag(const struct replicator *r, const struct head *newest,
		    const struct step_head *acked, double lag, double rate, struct figures *f)
{
	uint64_t bytes = 0, heads = 0;
	bool lacks = newest->number != 0 && head_end(newest) > acked->end;

	if (lacks)
		(void)!store_bytes(r->cfg.store, acked->end, head_end(newest), &bytes);
	if (lacks && newest->number > acked->number)
		heads = newest->number - acked->number;
	figures_set(f, FIGURE_LAG_BYTES, bytes);
	figures_set(f, FIGURE_LAG_HEADS, heads);
	figures_set_seconds(f, FIGURE_LAG_SECONDS, lacks ? lag : 0);
	figures_set_seconds(f, FIGURE_ETA_SECONDS,
			    !lacks	? 0
			    : rate >= 1 ? (double)bytes / rate
					: NAN);
}

void replicator_figures(struct replicator *r, struct figures *f)
{
	char reason[sizeof(r->reason)], warning[WARNING_LEN];
	enum replicator_state state;
	struct step_head acked;
	double lag, rate, heard;
	struct head newest;
	uint64_t now_ns;

	r->cfg.newest(r->cfg.ctx, &newest);
	/*
	 * Under the lock only copy, and allocate nothing: an allocation may wait until dirty pages
	 * of the mount are written back, and that for this lock.
	 */
	pthread_mutex_lock(&r->mu);
	now_ns = clock_mono_ns();
	acked = r->acked;
	state = r->state;
	memcpy(reason, r->reason, sizeof(reason));
	warning_locked(r, warning);
	lag = lag_seconds(&r->lag, now_ns);
	rate = rate_get(&r->rate, now_ns);
	heard = r->heard_ns ? (double)(now_ns - r->heard_ns) / 1e9 : NAN;
	pthread_mutex_unlock(&r->mu);

	if (state == REPLICATOR_IDLE && newest.number != 0 && head_end(&newest) > acked.end)
		state = REPLICATOR_STREAMING;
	figures_embassy(f, r->address);
	figures_set(f, FIGURE_STATE, state);
	figures_set_text(f, FIGURE_EMBASSY_REASON, reason);
	figures_set(f, FIGURE_ACKNOWLEDGED, acked.end);
	figures_set(f, FIGURE_ACKNOWLEDGED_HEAD, acked.number);
	figures_set_time(f, FIGURE_ACKNOWLEDGED_TIME, acked.time_ns);
	figures_set(f, FIGURE_SENT_RATE, (uint64_t)fmin(round(rate), 1e18));
	figures_set_seconds(f, FIGURE_HEARD_SECONDS, heard);
	figures_set_counter(f, FIGURE_SENT_BYTES, &r->sent);
	figures_set_counter(f, FIGURE_CONNECTIONS, &r->connections);
	figures_set_text(f, FIGURE_WARNING, warning);
	set_lag(r, &newest, &acked, lag, rate, f);
}

static void ask_to_stop(struct replicator *r)
{
	pthread_mutex_lock(&r->mu);
	r->inbox.stop = true;
	pthread_cond_signal(&r->news);
	pthread_mutex_unlock(&r->mu);
	client_abort(r->client);
}

/*
 * Wait for the thread's end until ${until_ns}, and return whether it came.  Wait without a limit
 * until it no longer uses the log: that does not depend on the peer.
 */
static bool wait_for_end(struct replicator *r, uint64_t until_ns)
{
	bool ended;
	int rc = 0;

	pthread_mutex_lock(&r->mu);
	while (!r->done)
		pthread_cond_wait(&r->news, &r->mu);
	while (!r->ended && rc == 0)
		rc = clock_wait(&r->news, &r->mu, until_ns);
	ended = r->ended;
	pthread_mutex_unlock(&r->mu);
	return ended;
}

void replicator_stop(struct replicator *r)
{
	if (!r)
		return;
	ask_to_stop(r);
	pthread_join(r->thread, NULL);
	replicator_free(r);
}

size_t replicator_stop_all(struct replicator **list, size_t n, unsigned ms)
{
	uint64_t until_ns = clock_mono_ns() + ms * NS_PER_MS;
	size_t left = 0;

	for (size_t i = 0; i < n; i++)
		ask_to_stop(list[i]);
	for (size_t i = 0; i < n; i++) {
		if (wait_for_end(list[i], until_ns)) {
			pthread_join(list[i]->thread, NULL);
			replicator_free(list[i]);
			continue;
		}
		msg_event(MSG_WARN, "embassy-left",
			  "embassy %s: it takes nothing and does not close the connection; it gets "
			  "the rest after the next mount",
			  list[i]->address);
		left++;
	}
	return left;
}
