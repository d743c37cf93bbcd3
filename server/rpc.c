/*
 * The server on gRPC's C core: its start, its threads and its end.
 *
 * Key idea: one completion queue, which a few threads poll; each tag is an op with a function.
 *
 * Invariant: n_calls counts calls, including those that wait to be matched, until they are freed;
 * it is 0 before the server, the queue and the pool are freed.
 */

#include "rpc_internal.h"

#include "err.h"
#include "listen.h"
#include "vault.h"

#include <grpc/grpc_security.h>

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define REQUESTS 4u /* calls that wait to be matched */
#define DISK_THREADS 4u

_Static_assert(VAULT_OPENING_MAX < DISK_THREADS, "openings leave a thread to the questions");

/*
 * The thread that ends a step must see what the thread that started it wrote before.  Taking a lock
 * of ours guarantees that, so that it does not depend on how gRPC's own queue orders memory.
 */
static void see_starter(struct rpc *r, const struct op *op)
{
	struct call *call;

	pthread_mutex_lock(&r->mu);
	call = op->call;
	pthread_mutex_unlock(&r->mu);
	if (call) {
		pthread_mutex_lock(&call->mu);
		pthread_mutex_unlock(&call->mu);
	}
}

/* Take one event off the queue; false once it is shut down and empty. */
static bool turn_once(struct rpc *r)
{
	grpc_event ev = grpc_completion_queue_next(r->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
	struct op *op = ev.tag;

	if (ev.type == GRPC_OP_COMPLETE) {
		see_starter(r, op);
		op->done(op, ev.success);
	}
	return ev.type != GRPC_QUEUE_SHUTDOWN;
}

static void *turn_queue(void *arg)
{
	while (turn_once(arg))
		;
	return NULL;
}

static void shut_down(struct op *op, bool ok)
{
	struct rpc *r = (struct rpc *)((char *)op - offsetof(struct rpc, on_shutdown));

	(void)ok;
	pthread_mutex_lock(&r->mu);
	r->stopped = true;
	pthread_cond_broadcast(&r->fewer);
	pthread_mutex_unlock(&r->mu);
}

static int listen_on(struct rpc *r, const struct rpc_config *cfg)
{
	grpc_server_credentials *creds;
	int rc = listen_check_free(cfg->listen);

	if (rc == 0 && cfg->tls_dir)
		rc = wire_tls_source_new(cfg->tls_dir, &r->tls_source);
	if (rc == 0 && cfg->tls_dir)
		rc = wire_server_tls(r->tls_source, &creds);
	else if (rc == 0)
		creds = grpc_insecure_server_credentials_create();
	if (rc < 0)
		return rc;
	r->port = grpc_server_add_http2_port(r->server, cfg->listen, creds);
	grpc_server_credentials_release(creds);
	if (r->port > 0)
		return 0;
	return listen_explain(cfg->listen);
}

static int start_threads(struct rpc *r)
{
	int rc = pool_new(DISK_THREADS, &r->pool);

	if (rc == 0)
		rc = rpc_timer_start(r);
	for (; rc == 0 && r->n_threads < NETWORK_THREADS; r->n_threads++) {
		rc = -pthread_create(&r->threads[r->n_threads], NULL, turn_queue, r);
		if (rc < 0)
			break;
	}
	return rc;
}

/* Free a server that may not have been started, and has no calls. */
static void tear_down(struct rpc *r)
{
	grpc_server_destroy(r->server);
	grpc_completion_queue_shutdown(r->cq);
	turn_queue(r);
	for (unsigned i = 0; i < r->n_threads; i++)
		pthread_join(r->threads[i], NULL);
	grpc_completion_queue_destroy(r->cq);
	pool_free(r->pool);
	quota_free(r->quota);
	wire_tls_source_free(r->tls_source);
	rpc_wait_release(r);
	pthread_cond_destroy(&r->fewer);
	pthread_mutex_destroy(&r->mu);
	free(r);
}

/*
 * Wait until gRPC has released every call, and so have we.  Without threads, this one polls the
 * queue.
 */
static void wait_until_idle(struct rpc *r)
{
	pthread_mutex_lock(&r->mu);
	while (!r->stopped || r->n_calls > 0) {
		if (r->n_threads > 0) {
			pthread_cond_wait(&r->fewer, &r->mu);
			continue;
		}
		pthread_mutex_unlock(&r->mu);
		turn_once(r);
		pthread_mutex_lock(&r->mu);
	}
	pthread_mutex_unlock(&r->mu);
}

int rpc_start(const struct rpc_config *cfg, struct rpc **out)
{
	struct rpc *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	rc = quota_new(&r->quota);
	if (rc < 0) {
		free(r);
		return rc;
	}
	r->vault = cfg->vault;
	r->tls = cfg->tls_dir != NULL;
	r->on_shutdown.done = shut_down;
	pthread_mutex_init(&r->mu, NULL);
	pthread_cond_init(&r->fewer, NULL);
	rpc_wait_init(r, cfg);
	r->cq = grpc_completion_queue_create_for_next(NULL);
	r->server = grpc_server_create(wire_server_args(), NULL);
	grpc_server_register_completion_queue(r->server, r->cq, NULL);
	rc = listen_on(r, cfg);
	if (rc < 0) {
		rpc_stop(r);
		return rc;
	}
	grpc_server_start(r->server);
	for (unsigned i = 0; i < REQUESTS && rc == 0; i++)
		rc = rpc_request_call(r);
	if (rc == 0)
		rc = start_threads(r);
	if (rc < 0) {
		rpc_stop(r);
		return rc;
	}
	*out = r;
	return 0;
}

int rpc_port(const struct rpc *r)
{
	return r->port;
}

void rpc_stop(struct rpc *r)
{
	if (!r)
		return;
	grpc_server_shutdown_and_notify(r->server, r->cq, &r->on_shutdown);
	grpc_server_cancel_all_calls(r->server);
	wait_until_idle(r);
	rpc_timer_stop(r);
	tear_down(r);
}
