#ifndef REPLICATOR_INTERNAL_H_
#define REPLICATOR_INTERNAL_H_

/*
 * Shared by
 *	replicator.c		start, stop, status, the inbox
 *	replicator_drive.c	the thread
 *	replicator_ask.c	its questions
 *	replicator_stream.c	its stream
 *	replicator_probe.c	whether an idle embassy answers
 *	replicator_loss.c	what an embassy lost
 */

#include "replicator.h"

#include "client.h"
#include "lag.h"
#include "locks.h"
#include "own_conf.h"
#include "piece.h"
#include "rate.h"
#include "record.h"
#include "replicator_step.h"

#include <pthread.h>

/* What the network reported since the thread last looked. */
struct inbox {
	bool stop;
	bool woken;
	bool probe; /* somebody wants to know whether it answers */
	bool sent;
	bool has_ack;
	bool malformed; /* a reply could not be understood */
	bool ended;
	struct step_head ack;
	int end_rc;
	char end_detail[512];
};

struct replicator {
	struct replicator_config cfg;
	char *address, *tls_dir;
	struct client *client;
	struct piece_pool *pool;
	pthread_t thread;
	/* The thread's own. */
	struct own_conf *conf;
	uint64_t conf_due_ns; /* when to look for a newer one */
	uint64_t tls_due_ns;  /* when to look at our certificate's expiry */
	uint64_t other_conf;  /* the last result of agree_other_conf() */
	uint64_t probe_ns;    /* when an answer was asked for; 0: never */
	struct step step;
	struct client_stream *stream;
	struct piece_list ahead; /* read, not sent */
	unsigned n_ahead;
	log_pos read_pos; /* the position to read next */
	size_t sending_len;
	uint64_t cursor_ns; /* when it was last saved */
	bool cursor_due;
	/* the problem that was last logged; empty since something was acknowledged */
	char said[512];
	bool was_refused; /* the last stream was, and nothing was acknowledged since */
	pthread_mutex_t mu;
	pthread_cond_t news;
	/* Guarded by mu. */
	bool done;  /* the thread uses only its stream from now on */
	bool ended; /* not even that: it can be joined */
	struct inbox inbox;
	struct rate rate;
	struct figure_counter sent, connections;
	struct step_head acked; /* a copy for the status */
	struct lag lag;
	uint64_t heard_ns; /* when it last answered; 0: not in this mount */
	enum replicator_state state;
	char reason[512];
	struct loss loss;
	/* Warnings for a person: the embassy has another volume.conf; our certificate expires. */
	char conf_warning[512], tls_warning[512];
};

/*
 * Set why it does not stream.  Logged only when it changes, so that an embassy that comes and goes
 * does not fill the log.  Only the thread calls it.
 */
void replicator_set_reason(struct replicator *r, const char *reason) EXCLUDES(r->mu);

/*
 * replicator_class_of(): which kind of failure the error ${rc} is.  replicator_fail(): end an
 * attempt with that error; its detail is the reason.  Only the thread calls them.
 */
enum step_failure replicator_class_of(int rc);
void replicator_fail(struct replicator *r, int rc);

/* Tell the step machine of the newest durable head.  Only the thread calls it. */
void replicator_look_at_newest(struct replicator *r);

/*
 * STEP_DO_ASK and STEP_DO_PUT.  Each causes one event of the step machine.  Only the thread calls
 * them.
 */
void replicator_ask_volume(struct replicator *r);
void replicator_put_volume(struct replicator *r);

/*
 * STEP_DO_OPEN and STEP_DO_SEND; the latter returns false if it has to wait for a buffer.
 * replicator_read_ahead(r): read one more piece.  Returns 1; 0 if there is nothing to read or no
 * room; or as piece_read().
 * replicator_drop_ahead(r): give back the pieces that were read.
 * Only the thread calls them.
 */
void replicator_open_stream(struct replicator *r, const struct step_action *a);
bool replicator_send_piece(struct replicator *r);
int replicator_read_ahead(struct replicator *r);
void replicator_drop_ahead(struct replicator *r);

/*
 * replicator_take_events(r, in): turn the reports in ${in} into events of the step machine.  Only
 * the thread calls it.
 */
void replicator_take_events(struct replicator *r, const struct inbox *in);

/* The embassy has just confirmed that it holds r->step.acked.  Only the thread calls it. */
void replicator_heard(struct replicator *r) EXCLUDES(r->mu);

/*
 * replicator_probe_due(r): when to ask the embassy whether it still holds what it acknowledged;
 * UINT64_MAX: not now.
 * replicator_probe_now(r): ask.  If it does not, the step machine closes the stream.
 * Only the thread calls them; the latter waits for some seconds at most.
 */
uint64_t replicator_probe_due(const struct replicator *r);
void replicator_probe_now(struct replicator *r) EXCLUDES(r->mu);

/* Callbacks that put a stream's reports into the inbox. */
extern const struct client_stream_ops replicator_stream_ops;

/*
 * Check whether our certificate is about to expire, and warn when that changes: expiry stops
 * replication on a day that nobody chose.  Called by the thread, and once before it runs.
 */
void replicator_look_at_certificate(struct replicator *r, uint64_t now_ns) EXCLUDES(r->mu);

/* The main function of the thread; its argument is the replicator. */
void *replicator_thread(void *arg);

/*
 * The embassy holds heads only up to ${held}, less than r->acked: record the loss and report it.
 * Only the thread calls it.
 */
void replicator_note_loss(struct replicator *r, head_no held) EXCLUDES(r->mu);

/* The embassy holds everything up to ${acked}: update the status. */
void replicator_set_acked(struct replicator *r, const struct step_head *acked) EXCLUDES(r->mu);

#endif /* !REPLICATOR_INTERNAL_H_ */
