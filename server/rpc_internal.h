#ifndef RPC_INTERNAL_H_
#define RPC_INTERNAL_H_

/*
 * What the files of the network side share: the server (rpc.c), the life of one call (rpc_call.c),
 * how long it may keep us waiting (rpc_wait.c), and the table of methods.
 *
 * Lock order: call.mu; rpc.mu; the quota's lock.  No call into gRPC is made under rpc.mu.
 */

#include "auth.h"
#include "pool.h"
#include "rpc.h"
#include "wire.h"

#include "quota.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

struct call;

#define NETWORK_THREADS 2u

/* What a call waits for. */
enum wait_kind {
	WAIT_FIRST, /* that its first message comes */
	WAIT_TAKEN, /* that the client takes a message of ours */
	WAIT_KINDS,
};

/* What a completion queue's tag points to. */
struct op {
	void (*done)(struct op *op, bool ok);
	struct call *call; /* NULL: not of a call */
};

/**
 * A method.  Either it has only answer: one request, one reply, worked out on a pool thread.  Or it
 * has the others, each called once the step that is named here is over:
 *
 *   start     the call has come; must begin something that leads to call_finish()
 *   received  call_receive(): bb is owned by the callee; NULL: the client has no more, or the call
 *             is broken
 *   run       call_work(), on a pool thread
 *   sent      call_send()
 *   closed    the client cancelled or is gone, or has our status; may come at any time after start
 *             (optional)
 *   release   the call is over; free call->state
 *
 * All but run are called on network threads and must not block.  Exactly one call_finish() must be
 * made in a call's life, even if it was cancelled.
 */
struct method {
	const char *name;
	size_t request_max; /* bytes of the first message; a longer one is refused unread */
	size_t message_max; /* the same of each later one; 0: there is none */
	int (*answer)(struct call *call, const grpc_byte_buffer *request, grpc_byte_buffer **out);

	void (*start)(struct call *call);
	void (*received)(struct call *call, grpc_byte_buffer *bb);
	void (*run)(struct call *call);
	void (*sent)(struct call *call, bool ok);
	void (*closed)(struct call *call);
	void (*release)(struct call *call);
};

struct rpc {
	struct vault *vault;
	bool tls;
	int port;
	grpc_server *server;
	grpc_completion_queue *cq;
	struct pool *pool;
	unsigned n_threads;
	pthread_t threads[NETWORK_THREADS];
	struct op on_shutdown;
	struct wire_tls_source *tls_source; /* NULL: plain */
	struct quota *quota;
	uint64_t limit_ns[WAIT_KINDS]; /* how long a call may wait */
	pthread_t timer;
	bool has_timer;

	pthread_mutex_t mu;
	pthread_cond_t fewer;	 /* n_calls fell: for the thread that stops the server */
	pthread_cond_t to_timer; /* a list is no longer empty, or the server stops */
	/* Guarded by mu. */
	unsigned n_calls;
	bool stopped;				/* gRPC has no connection left */
	bool stopping;				/* the timer is to end */
	TAILQ_HEAD(, call) waiting[WAIT_KINDS]; /* the oldest first */
};

struct call {
	struct rpc *rpc;
	const struct method *method;
	void *state; /* the method's own */
	char who[WHO_MAX];

	grpc_call *core;
	grpc_call_details details;
	grpc_metadata_array metadata;
	atomic_uint refs; /* one until call_finish() is through, and one for each step under way */
	pthread_mutex_t mu; /* gRPC wants one thread at a time to start a step of a call */
	struct op on_new, on_close, on_open, on_receive, on_send, on_finish;
	int cancelled;
	grpc_byte_buffer *incoming; /* where gRPC puts a message */
	grpc_byte_buffer *request;  /* of an answer method */
	grpc_slice status_text;
	struct job job;
	bool counted; /* by the quota; set before any step */
	bool told;    /* the method itself writes into the log how the call ends */
	atomic_uint n_over; /* health.c's own; here, since a call can be closed before its start() */

	/* When it stops waiting: the deadline of ${waits_for}.  Guarded by rpc.mu. */
	TAILQ_ENTRY(call) link;
	uint64_t until_ns;
	enum wait_kind waits_for;
	bool waits;
};

/* rpc_request_call(r): ask gRPC for one more call.  Returns 0 or -ENOMEM. */
MUST_CHECK int rpc_request_call(struct rpc *r);

/*
 * call_wait(call, kind): from now on the client has the time limit of ${kind}; when that is over,
 * the call is ended.  A call waits for one thing at a time.
 * call_waits_no_more(): stop that; true if the call was still waiting for ${kind}.
 */
void call_wait(struct call *call, enum wait_kind kind);
bool call_waits_no_more(struct call *call, enum wait_kind kind);

/*
 * The lists of calls that wait, and the thread that ends late ones.  rpc_timer_start(): 0 or
 * -errno.
 */
void rpc_wait_init(struct rpc *r, const struct rpc_config *cfg);
void rpc_wait_release(struct rpc *r);
MUST_CHECK int rpc_timer_start(struct rpc *r);
void rpc_timer_stop(struct rpc *r);

/* The last part of the method's name, for the log. */
const char *call_method_name(const struct call *call);

/* Start a step of ${call}; see struct method.  Any thread. */
void call_receive(struct call *call);
void call_work(struct call *call);
void call_send(struct call *call, grpc_byte_buffer *bb); /* takes ${bb}; one at a time */

/*
 * call_finish(call, rc): end the call with the status and text that stand for ${rc}, by this
 * thread's err_detail().
 */
void call_finish(struct call *call, int rc);

/* call_finish_with(call, status, text): the same with a status of the caller's choice. */
void call_finish_with(struct call *call, grpc_status_code status, const char *text);

/* call_cancel(call): end it from this side.  Any thread, any number of times. */
void call_cancel(struct call *call);

void call_ref(struct call *call);
void call_unref(struct call *call);

/* The server's parts that methods use. */
struct vault *call_vault(const struct call *call);

/*
 * call_take(call, kind): count one more of ${kind} for the call's identity; call_give() undoes it.
 * As quota_take().
 */
MUST_CHECK int call_take(struct call *call, enum quota_kind kind);
void call_give(struct call *call, enum quota_kind kind);

extern const struct method append_method, read_method, heads_method, get_volume_method,
	put_volume_method, mend_method, list_volumes_method, segments_method,
	health_check_method, health_watch_method;

#endif /* !RPC_INTERNAL_H_ */
