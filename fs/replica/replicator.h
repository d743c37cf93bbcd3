#ifndef REPLICATOR_H_
#define REPLICATOR_H_

/*
 * Ships a live volume's log to one embassy: in order, from where the embassy stands, up to the
 * newest durable head.  After any break it resumes, with back-off and jitter.  It never slows down
 * local writes: it reads the segment files, holds a bounded number of messages, and has its own
 * thread.  A pure step machine makes the decisions (replicator_step.h); this is its driver.
 */

#include "compiler.h"
#include "figures.h"
#include "head.h"

struct params;
struct store;
struct catalog;
struct replicator;

struct replicator_config {
	const char *address;
	const char *tls_dir;
	/* borrowed; the caller may replace its contents only while stopped */
	const struct params *params;
	/* where key changes are found while it runs; copied; NULL: none are looked for */
	const char *volume_dir;
	struct store *store;	 /* borrowed: the segment files */
	struct catalog *catalog; /* borrowed: finds heads by number; keeps the cursor */
	void (*newest)(void *ctx, struct head *out); /* the newest durable head; number 0: none */
	void *ctx;
};

enum replicator_state {
	REPLICATOR_CONNECTING = FIGURE_STATE_CONNECTING,
	REPLICATOR_STREAMING = FIGURE_STATE_STREAMING,
	REPLICATOR_IDLE = FIGURE_STATE_IDLE,
	REPLICATOR_REFUSED = FIGURE_STATE_REFUSED,
};

/*
 * replicator_start(cfg, out): start it.  Connection problems are states, not errors.  Returns 0,
 * -ENOMEM, -ERR_FORBIDDEN (plain to a host that is not loopback), -errno (TLS files).
 */
MUST_CHECK int replicator_start(const struct replicator_config *cfg, struct replicator **out);

/* replicator_wake(r): there is a newer durable head.  Any thread, cheap, never blocks. */
void replicator_wake(struct replicator *r);

/* replicator_address(r): as configured; borrowed. */
const char *replicator_address(const struct replicator *r);

/*
 * replicator_accept_loss(r): a person has looked into why the embassy held less than it had
 * acknowledged, so the status stops warning of it.  Any thread.
 * Returns 0, also if there was no loss, or as catalog_put_cursor().
 */
MUST_CHECK int replicator_accept_loss(struct replicator *r);

/*
 * replicator_probe(r): ask the embassy soon whether it still holds what it acknowledged;
 * heard_seconds tells when it last answered.  Any thread, never blocks.
 */
void replicator_probe(struct replicator *r);

/* replicator_figures(r, f): add an embassy to ${f}, with all its figures.  Any thread. */
void replicator_figures(struct replicator *r, struct figures *f);

/*
 * replicator_stop(r): cancel what is under way, end the thread, free.  NULL is a no-op.  If data is
 * under way and the embassy takes nothing, this lasts until the connection is given up, which takes
 * minutes.
 * replicator_stop_all(list, n, ms): the same for ${n} of them, but waits at most ${ms} for
 * embassies.  Replicators that have not ended by then are left as they are, for a process that is
 * about to end; they no longer use what their config names.  Returns how many were left.
 */
void replicator_stop(struct replicator *r);
size_t replicator_stop_all(struct replicator **list, size_t n, unsigned ms);

#endif /* !REPLICATOR_H_ */
