/*
 * The client's channels and its completion queue.
 *
 * Key idea: one queue and one thread serve every call; an operation's tag knows what to do.
 * Connections are re-made on request, not waited for, so the code that retries also decides when.
 *
 * Invariant: the queue is shut down only after the last call was released, so every tag comes back
 * before the thread ends.
 */

#include "client_internal.h"

#include "address.h"
#include "diagnose.h"
#include "err.h"
#include "locks.h"
#include "thread.h"
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_MAX 32u

static grpc_channel *channel_new(struct client *c, int which) REQUIRES(c->mu);
static bool renew_creds_locked(struct client *c) REQUIRES(c->mu);

static void *queue_thread(void *arg)
{
	struct client *c = arg;

	for (;;) {
		grpc_event ev = grpc_completion_queue_next(
			c->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
		struct op *op = ev.tag;

		(void)atomic_load_explicit(&c->n_handed, memory_order_acquire);
		if (ev.type == GRPC_QUEUE_SHUTDOWN)
			return NULL;
		if (ev.type == GRPC_OP_COMPLETE)
			op->done(op, ev.success != 0);
	}
}

#define INTEGER(name, number)                                                                      \
	{                                                                                          \
		.type = GRPC_ARG_INTEGER, .key = (char *)(name), .value.integer = (number)         \
	}

/*
 * The common settings with shorter times, because a person or a backlog waits here.  On the bulk
 * channel a ping may queue behind megabytes on a slow line, so its time-out is long there.  A stall
 * of a bulk stream is noticed by the stream's owner instead.
 */
static grpc_channel *channel_new(struct client *c, int which)
{
	const grpc_arg ours[] = {
		INTEGER(GRPC_ARG_KEEPALIVE_TIME_MS, 10000),
		INTEGER(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
			which == CHANNEL_BULK ? 120000 : 5000),
		INTEGER(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100),
		INTEGER(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000),
	};
	const size_t n_ours = sizeof(ours) / sizeof(ours[0]);
	const grpc_channel_args *common = wire_client_args();
	grpc_arg list[ARGS_MAX];
	grpc_channel_args args = {.args = list};

	assert(common->num_args + n_ours <= ARGS_MAX);
	for (size_t i = 0; i < common->num_args; i++) {
		bool replaced = false;

		for (size_t j = 0; j < n_ours; j++)
			replaced = replaced || strcmp(common->args[i].key, ours[j].key) == 0;
		if (!replaced)
			list[args.num_args++] = common->args[i];
	}
	for (size_t j = 0; j < n_ours; j++)
		list[args.num_args++] = ours[j];
	return grpc_channel_create(c->address, c->creds, &args);
}

/* Load TLS files that have been renewed; true if there were any. */
static bool renew_creds_locked(struct client *c)
{
	grpc_channel_credentials *creds;

	if (!c->tls_dir)
		return false;
	/* Ignore files that are half written or wrong: those in use may be valid for long. */
	if (wire_client_tls(c->tls_dir, &c->tls_seen, &creds) < 0 || !creds)
		return false;
	grpc_channel_credentials_release(c->creds);
	c->creds = creds;
	return true;
}

bool client_renew(struct client *c)
{
	bool renewed;

	pthread_mutex_lock(&c->mu);
	renewed = renew_creds_locked(c);
	pthread_mutex_unlock(&c->mu);
	return renewed && client_reconnect(c) == 0;
}

int client_explain(struct client *c, int rc)
{
	char text[1024];

	if (rc == -ERR_UNREACHABLE &&
	    diagnose(c->address, c->tls_dir, &c->stop, text, sizeof(text)))
		return err_say(rc, "%s: %s", c->address, text);
	return rc;
}

int client_reconnect(struct client *c)
{
	grpc_channel *old[N_CHANNELS];
	bool ok = true;

	pthread_mutex_lock(&c->mu);
	(void)renew_creds_locked(c);
	for (int i = 0; i < N_CHANNELS; i++) {
		old[i] = c->channels[i];
		c->channels[i] = channel_new(c, i);
		ok = ok && c->channels[i];
	}
	pthread_mutex_unlock(&c->mu);
	for (int i = 0; i < N_CHANNELS; i++)
		if (old[i])
			grpc_channel_destroy(old[i]);
	return ok ? 0 : -ENOMEM;
}

void client_connect(struct client *c)
{
	pthread_mutex_lock(&c->mu);
	for (int i = 0; i < N_CHANNELS; i++)
		(void)grpc_channel_check_connectivity_state(c->channels[i], 1);
	pthread_mutex_unlock(&c->mu);
}

static int creds_new(struct client *c)
{
	if (c->tls_dir)
		return wire_client_tls(c->tls_dir, &c->tls_seen, &c->creds);
	c->creds = grpc_insecure_credentials_create();
	return c->creds ? 0 : -ENOMEM;
}

int client_new(const struct client_config *cfg, struct client **out)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct client *c;
	int rc;

	if (!cfg->tls_dir && !address_is_loopback(cfg->address))
		return err_say(-ERR_FORBIDDEN,
			       "%s: plain text is allowed to this machine only; "
			       "give a folder with ca.pem, cert.pem and key.pem (-o tls=DIR of "
			       "embassyfs, --tls DIR of embassy)",
			       cfg->address);
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->mu, NULL);
	pthread_once(&once, wire_setup);
	grpc_init();
	c->address = strdup(cfg->address);
	c->tls_dir = cfg->tls_dir ? strdup(cfg->tls_dir) : NULL;
	rc = c->address && (c->tls_dir || !cfg->tls_dir) ? creds_new(c) : -ENOMEM;
	if (rc < 0)
		goto fail;
	c->cq = grpc_completion_queue_create_for_next(NULL);
	rc = client_reconnect(c);
	if (rc < 0)
		goto fail;
	rc = thread_start(&c->thread, queue_thread, c);
	if (rc < 0)
		goto fail;
	c->has_thread = true;
	*out = c;
	return 0;

fail:
	client_free(c);
	return rc;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	assert(LIST_EMPTY(&c->calls));
	for (int i = 0; i < N_CHANNELS; i++)
		if (c->channels[i])
			grpc_channel_destroy(c->channels[i]);
	if (c->cq) {
		grpc_completion_queue_shutdown(c->cq);
		if (c->has_thread)
			pthread_join(c->thread, NULL);
		grpc_completion_queue_destroy(c->cq);
	}
	if (c->creds)
		grpc_channel_credentials_release(c->creds);
	grpc_shutdown();
	free(c->address);
	free(c->tls_dir);
	pthread_mutex_destroy(&c->mu);
	free(c);
}

const char *client_address(const struct client *c)
{
	return c->address;
}
