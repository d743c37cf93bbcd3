/*
 * How long a call may keep us waiting.
 *
 * Key idea: a call waits for one thing of the client at a time: its first message, or that it takes
 * an answer.  Each of the two has its own list, in the order of the calls' deadlines, and one timer
 * looks at the first call of each list.
 *
 * Invariant: a call that is in a list holds a count.  While it waits for its first message, that is
 * the count it began with; send_status(), which gives that up, takes the call off the list first.
 * Otherwise it is the count of the step that sends.
 */

#include "rpc_internal.h"

#include "clock.h"
#include "locks.h"
#include "msg.h"
#include "units.h"

#include <assert.h>


static struct call *first_locked(struct rpc *r) REQUIRES(r->mu);

void rpc_wait_init(struct rpc *r, const struct rpc_config *cfg)
{
	r->limit_ns[WAIT_FIRST] = NS_PER_MS * (cfg->first_message_ms ? cfg->first_message_ms
								     : RPC_FIRST_MESSAGE_MS);
	r->limit_ns[WAIT_TAKEN] = NS_PER_MS * (cfg->taken_ms ? cfg->taken_ms : RPC_TAKEN_MS);
	clock_cond_init(&r->to_timer);
	for (unsigned i = 0; i < WAIT_KINDS; i++)
		TAILQ_INIT(&r->waiting[i]);
}

void rpc_wait_release(struct rpc *r)
{
	pthread_cond_destroy(&r->to_timer);
}

void call_wait(struct call *call, enum wait_kind kind)
{
	struct rpc *r = call->rpc;

	pthread_mutex_lock(&r->mu);
	assert(!call->waits);
	call->until_ns = clock_mono_ns() + r->limit_ns[kind];
	call->waits = true;
	call->waits_for = kind;
	if (TAILQ_EMPTY(&r->waiting[kind]))
		pthread_cond_signal(&r->to_timer);
	TAILQ_INSERT_TAIL(&r->waiting[kind], call, link);
	pthread_mutex_unlock(&r->mu);
}

bool call_waits_no_more(struct call *call, enum wait_kind kind)
{
	struct rpc *r = call->rpc;
	bool waited;

	pthread_mutex_lock(&r->mu);
	waited = call->waits && call->waits_for == kind;
	if (waited) {
		TAILQ_REMOVE(&r->waiting[kind], call, link);
		call->waits = false;
	}
	pthread_mutex_unlock(&r->mu);
	return waited;
}

/* The waiting call with the earliest deadline; NULL: none waits. */
static struct call *first_locked(struct rpc *r)
{
	struct call *first = NULL;

	for (unsigned i = 0; i < WAIT_KINDS; i++) {
		struct call *call = TAILQ_FIRST(&r->waiting[i]);

		if (call && (!first || call->until_ns < first->until_ns))
			first = call;
	}
	return first;
}

/* End a late call, which was taken off its list and counted. */
static void end_late(struct call *call)
{
	const char *text = call->waits_for == WAIT_FIRST ? "no message came with this call in time"
							 : "its answer was not taken in time";

	msg_event(MSG_WARN, "call-stalled", "%s: %s: %s", call->who, call_method_name(call), text);
	grpc_call_cancel_with_status(call->core, GRPC_STATUS_DEADLINE_EXCEEDED, text, NULL);
	call_unref(call);
}

/* End calls whose client leaves us waiting: each holds a place that others could use. */
static void *time_calls(void *arg)
{
	struct rpc *r = arg;

	pthread_mutex_lock(&r->mu);
	while (!r->stopping) {
		struct call *call = first_locked(r);

		if (!call) {
			pthread_cond_wait(&r->to_timer, &r->mu);
		} else if (clock_mono_ns() < call->until_ns) {
			(void)!clock_wait(&r->to_timer, &r->mu, call->until_ns);
		} else {
			TAILQ_REMOVE(&r->waiting[call->waits_for], call, link);
			call->waits = false;
			call->told = true;
			call_ref(call);
			pthread_mutex_unlock(&r->mu);
			end_late(call);
			pthread_mutex_lock(&r->mu);
		}
	}
	pthread_mutex_unlock(&r->mu);
	return NULL;
}

int rpc_timer_start(struct rpc *r)
{
	int rc = -pthread_create(&r->timer, NULL, time_calls, r);

	r->has_timer = rc == 0;
	return rc;
}

void rpc_timer_stop(struct rpc *r)
{
	if (!r->has_timer)
		return;
	pthread_mutex_lock(&r->mu);
	r->stopping = true;
	pthread_cond_signal(&r->to_timer);
	pthread_mutex_unlock(&r->mu);
	pthread_join(r->timer, NULL);
}
