/*
 * The driver of replicator_step.h: one thread that asks, reads the log, and sends.
 *
 * Key idea: the thread owns the step machine and the pieces.  What the network reports
 * (acknowledgement, send taken, end) goes into an inbox, which the thread empties before each step.
 * While a send is under way it reads the next pieces.
 *
 * Invariants:
 * 1. The inbox holds the newest acknowledgement only.
 * 2. Writers wait for nothing here: replicator_wake() sets a flag.
 *
 * Lock order: the pool's mutex before r->mu, which is a leaf.
 */

#include "replicator_internal.h"

#include "clock.h"
#include "err.h"
#include "msg.h"
#include "params.h"
#include "units.h"
#include "wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TLS_LOOK_NS (60 * NS_PER_S)
#define CONF_LOOK_NS (2 * NS_PER_S) /* how often to look for key changes */
#define NICE 5			    /* a third of an application thread's share of a busy core */

static void publish(struct replicator *r)
{
	const struct step *s = &r->step;

	/* Read without the lock: only this thread changes r->acked. */
	if (s->phase == STEP_STREAMING &&
	    (s->acked.number != r->acked.number || s->acked.end != r->acked.end))
		replicator_set_acked(r, &s->acked);
	pthread_mutex_lock(&r->mu);
	if (s->phase == STEP_STREAMING) {
		if (r->state != REPLICATOR_STREAMING && r->state != REPLICATOR_IDLE)
			figure_count(&r->connections, 1);
		r->state = s->acked.end == s->newest.end ? REPLICATOR_IDLE : REPLICATOR_STREAMING;
		r->reason[0] = '\0';
	} else if (s->refused || (s->phase == STEP_CLOSING && s->why == STEP_REFUSED)) {
		r->state = REPLICATOR_REFUSED;
	} else {
		r->state = REPLICATOR_CONNECTING;
	}
	pthread_mutex_unlock(&r->mu);
}

void replicator_set_reason(struct replicator *r, const char *reason)
{
	size_t len = strlen(r->address);
	bool news;

	pthread_mutex_lock(&r->mu);
	snprintf(r->reason, sizeof(r->reason), "%s", reason);
	news = strcmp(r->said, r->reason) != 0;
	memcpy(r->said, r->reason, sizeof(r->said));
	pthread_mutex_unlock(&r->mu);
	if (!news)
		return;
	if (strncmp(reason, r->address, len) == 0 && strncmp(reason + len, ": ", 2) == 0)
		reason += len + 2;
	msg_event(MSG_WARN, "embassy-trouble", "embassy %s: %s", r->address, reason);
}

enum step_failure replicator_class_of(int rc)
{
	switch (-rc) {
	case ERR_REFUSED:
	case ERR_FORBIDDEN:
	case ERR_DAMAGED:
	case ERR_ABSENT:
	case ERR_VERSION:
	case ERR_TAMPERED:
	case ERR_FORKED:
	case ERR_ROLLED_BACK:
		return STEP_REFUSED;
	default:
		return STEP_AWAY;
	}
}

void replicator_fail(struct replicator *r, int rc)
{
	if (rc != -ECANCELED)
		replicator_set_reason(r, err_detail(rc));
	step_failed(&r->step, clock_mono_ns(), replicator_class_of(rc));
}

/*
 * Save what the embassy last acknowledged, for the next mount.  At most once a second; never relied
 * on.
 */
static void put_cursor(struct replicator *r, uint64_t now_ns, bool last)
{
	int rc;

	if (!r->cursor_due || (!last && now_ns < r->cursor_ns + NS_PER_S))
		return;
	rc = record_put_acked(r->cfg.catalog, r->address, &r->step.acked);
	if (rc < 0)
		msg_event(MSG_WARN, "embassy-cursor", "embassy %s: the cursor: %s", r->address,
			  err_detail(rc));
	r->cursor_ns = now_ns;
	r->cursor_due = false;
}

void replicator_look_at_newest(struct replicator *r)
{
	struct head h;
	struct step_head sh;

	r->cfg.newest(r->cfg.ctx, &h);
	sh = (struct step_head){.number = h.number, .end = head_end(&h), .time_ns = h.time_ns};
	if (h.number > 0)
		step_newest(&r->step, clock_mono_ns(), &sh);
}

/* Wait for news until ${until_ns}, then empty the inbox into ${out}.  Returns false to stop. */
static bool wait_for_news(struct replicator *r, uint64_t until_ns, struct inbox *out)
{
	const struct inbox *in = &r->inbox;
	int rc = 0;

	pthread_mutex_lock(&r->mu);
	while (rc == 0 && !in->stop && !in->woken && !in->probe && !in->sent && !in->has_ack &&
	       !in->malformed && !in->ended)
		rc = clock_wait(&r->news, &r->mu, until_ns);
	*out = r->inbox;
	r->inbox = (struct inbox){.stop = in->stop};
	pthread_mutex_unlock(&r->mu);
	return !out->stop;
}

/* Send the embassy a key change that was made meanwhile. */
static void look_at_own_conf(struct replicator *r, uint64_t now_ns)
{
	int rc;

	if (!r->cfg.volume_dir || now_ns < r->conf_due_ns)
		return;
	r->conf_due_ns = now_ns + CONF_LOOK_NS;
	rc = own_conf_look(r->conf);
	/* If volume.conf can't be read here, the embassy keeps the one that it has. */
	if (rc <= 0)
		return;
	msg_event(MSG_NOTICE, "embassy-conf",
		  "embassy %s: volume.conf changed (serial %" PRIu64 "); it is sent there",
		  r->address, own_conf_params(r->conf)->serial);
	step_renew(&r->step, now_ns);
}

void replicator_look_at_certificate(struct replicator *r, uint64_t now_ns)
{
	char text[sizeof(r->tls_warning)];
	bool news;

	if (!r->tls_dir || now_ns < r->tls_due_ns)
		return;
	r->tls_due_ns = now_ns + TLS_LOOK_NS;
	(void)wire_tls_warning(r->tls_dir, clock_wall_ns() / NS_PER_S, text,
			       sizeof(text));
	pthread_mutex_lock(&r->mu);
	news = strcmp(text, r->tls_warning) != 0;
	memcpy(r->tls_warning, text, sizeof(r->tls_warning));
	pthread_mutex_unlock(&r->mu);
	if (news && text[0])
		msg_event(MSG_WARN, "certificate-expires", "embassy %s: %s", r->address, text);
}

/* Take one step.  Returns until when to wait for news; 0: do not wait. */
static uint64_t take_step(struct replicator *r)
{
	uint64_t now_ns = clock_mono_ns(), probe_ns;
	struct step_action a;

	err_forget(0); /* drop the detail of an earlier attempt */
	look_at_own_conf(r, now_ns);
	replicator_look_at_certificate(r, now_ns);
	if (step_silent(&r->step, now_ns))
		replicator_set_reason(r, "it stopped answering while data was under way");
	step_next(&r->step, now_ns, &a);
	switch (a.kind) {
	case STEP_DO_ASK:
		replicator_ask_volume(r);
		return 0;
	case STEP_DO_PUT:
		replicator_put_volume(r);
		return 0;
	case STEP_DO_OPEN:
		replicator_open_stream(r, &a);
		return 0;
	case STEP_DO_CLOSE:
		client_stream_cancel(r->stream);
		return 0;
	case STEP_DO_SEND:
		if (replicator_send_piece(r))
			return 0;
		return now_ns + NS_PER_S; /* a buffer that comes back wakes us */
	case STEP_DO_WAIT:
		break;
	}
	/*
	 * An error here is ignored: the read is repeated, and its error told, when the piece is
	 * due.
	 */
	if (replicator_read_ahead(r) > 0)
		return 0;
	probe_ns = replicator_probe_due(r);
	if (now_ns >= probe_ns) {
		replicator_probe_now(r);
		return 0;
	}
	if (a.until_ns > probe_ns)
		a.until_ns = probe_ns;
	if (a.until_ns == STEP_NEVER || a.until_ns > now_ns + 3600 * NS_PER_S)
		a.until_ns = now_ns + 3600 * NS_PER_S;
	if (r->cfg.volume_dir && a.until_ns > r->conf_due_ns)
		a.until_ns = r->conf_due_ns;
	if (r->tls_dir && a.until_ns > r->tls_due_ns)
		a.until_ns = r->tls_due_ns;
	if (r->cursor_due && a.until_ns > r->cursor_ns + NS_PER_S)
		a.until_ns = r->cursor_ns + NS_PER_S;
	return a.until_ns;
}

static void say_end(struct replicator *r, bool *what)
{
	pthread_mutex_lock(&r->mu);
	*what = true;
	pthread_cond_signal(&r->news);
	pthread_mutex_unlock(&r->mu);
}

void *replicator_thread(void *arg)
{
	struct replicator *r = arg;
	struct inbox in;
	uint64_t until_ns;

	/* If all cores are busy, applications come first. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	replicator_look_at_newest(r);
	do {
		until_ns = take_step(r);
		put_cursor(r, clock_mono_ns(), false);
		publish(r);
		if (!wait_for_news(r, until_ns, &in))
			break;
		replicator_take_events(r, &in);
	} while (true);

	replicator_drop_ahead(r);
	put_cursor(r, clock_mono_ns(), true);
	say_end(r, &r->done);
	/* If the embassy reads nothing, this may take minutes. */
	if (r->stream) {
		client_stream_cancel(r->stream);
		client_stream_free(r->stream);
	}
	say_end(r, &r->ended);
	return NULL;
}
