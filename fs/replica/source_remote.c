/*
 * A source over a block server.
 *
 * Key idea: bytes go through the page cache and are believed here, since seals judge them above;
 * heads are believed when they are verified (source_remote_heads.c), and so are the segment headers
 * that keys are made from (proven.c).  Every question is asked again, with back-off, until its time
 * is over, so a mount lives through a server's restart.
 *
 * Invariants:
 *  1. The log's end at opening bounds nothing: a page or head that was not there may be there now.
 *  2. Memory: HEADS_KEPT heads, the page cache's index, one reply at a time per thread.
 */

#include "source_remote_internal.h"

#include "anchor.h"
#include "client.h"
#include "clock.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "page_cache.h"
#include "proven.h"
#include "remote.h"
#include "remote_head.h"
#include "units.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define CACHE_BYTES (UINT64_C(1) << 30)
#define TIMEOUT_MS 10000
#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 1000

/* ---- trying again ---- */

struct attempt {
	uint64_t end_ns;
	int delay_ms;
};

static struct attempt attempt_begin(const struct remote *r)
{
	return (struct attempt){
		.end_ns = clock_mono_ns() + (uint64_t)r->timeout_ms * NS_PER_MS,
		.delay_ms = RETRY_MIN_MS,
	};
}

/* What is left of the time, at least 1 ms. */
static int attempt_left_ms(const struct attempt *a)
{
	uint64_t now_ns = clock_mono_ns();

	return now_ns + NS_PER_MS < a->end_ns ? (int)((a->end_ns - now_ns) / NS_PER_MS) : 1;
}

/* The server has no room for this question now (or is full, which is no matter to a reader). */
static bool is_busy(int rc)
{
	return rc == -EAGAIN || rc == -ENOSPC;
}

/* What a reader is told of it once its time is over. */
static int say_busy(const struct remote *r, int rc)
{
	if (rc == -ENOSPC)
		return err_say(-ERR_UNREACHABLE, "%s", err_detail(rc));
	return err_say(-ERR_UNREACHABLE, "%s: busy", client_address(r->client));
}

/*
 * Whether to try again after ${rc}, having waited; if the server is away, with TLS files that were
 * renewed meanwhile.
 */
static bool attempt_again(const struct remote *r, struct attempt *a, int rc)
{
	struct timespec ts;

	if (rc != -ERR_UNREACHABLE && !is_busy(rc))
		return false;
	if (rc == -ERR_UNREACHABLE)
		(void)client_renew(r->client);
	if (clock_mono_ns() + (uint64_t)a->delay_ms * NS_PER_MS >= a->end_ns)
		return false;
	ts = (struct timespec){.tv_sec = a->delay_ms / 1000,
			       .tv_nsec = (long)(a->delay_ms % 1000) * NS_PER_MS};
	nanosleep(&ts, NULL);
	a->delay_ms = a->delay_ms * 2 < RETRY_MAX_MS ? a->delay_ms * 2 : RETRY_MAX_MS;
	return true;
}

int remote_ask(void *ctx, const char *method, const ProtobufCMessage *request,
	       const ProtobufCMessageDescriptor *type, bool patient, ProtobufCMessage **out)
{
	struct remote *r = ctx;
	struct attempt a = attempt_begin(r);
	int rc;

	do {
		rc = client_call(r->client, method, request, type, attempt_left_ms(&a), out);
	} while (patient && attempt_again(r, &a, rc));
	return is_busy(rc) ? say_busy(r, rc) : rc;
}

/* ---- bytes ---- */

static int fetch(void *ctx, log_pos pos, size_t len, bool patient, void *out, size_t *out_len)
{
	struct remote *r = ctx;
	struct attempt a = attempt_begin(r);
	int rc;

	do {
		rc = client_read(r->client, r->params.id, pos, len, attempt_left_ms(&a), out,
				 out_len);
	} while (patient && attempt_again(r, &a, rc));
	return is_busy(rc) ? say_busy(r, rc) : rc;
}

static int remote_read(struct source *s, log_pos pos, size_t len, void *out)
{
	return page_cache_read(remote_of(s)->cache, pos, len, out);
}

static void remote_hint(struct source *s, log_pos pos, size_t len)
{
	page_cache_hint(remote_of(s)->cache, pos, len);
}

static int remote_header(struct source *s, segment_no number, uint8_t out[SEGMENT_BLOCK_LEN])
{
	return proven_header(remote_of(s)->proven, number, out);
}

static void remote_hint_header(struct source *s, segment_no number)
{
	proven_hint(remote_of(s)->proven, number);
}

/* ---- life ---- */

static void remote_free(struct source *s)
{
	struct remote *r = remote_of(s);

	if (r->cache)
		page_cache_stop(r->cache);
	client_abort(r->client);
	page_cache_free(r->cache);
	proven_free(r->proven);
	client_free(r->client);
	if (r->newer)
		params_release(r->newer);
	free(r->newer);
	params_release(&r->params);
	pthread_mutex_destroy(&r->mu);
	free(r);
}

static const struct source_ops remote_ops = {
	.read = remote_read,
	.hint = remote_hint,
	.header = remote_header,
	.hint_header = remote_hint_header,
	.head_at = remote_head_at,
	.heads = remote_heads,
	.free = remote_free,
};

static int note_newest(struct remote *r, const Embassyfs__V1__Volume *v, struct anchor *out)
{
	const struct head_known k = {.params = &r->params};
	uint8_t leaf[HASH_LEN];
	struct head *h;
	int rc;

	if (!v->newest)
		return 0;
	h = malloc(sizeof(*h));
	if (!h)
		return -ENOMEM;
	rc = remote_head_check(&k, v->newest, h);
	if (rc == -ERR_STALE)
		rc = err_say(-ERR_TAMPERED,
			     "%s: its newest head is by a writer that volume.conf does not grant; "
			     "try another embassy",
			     client_address(r->client));
	if (rc == 0) {
		r->newest = h->number;
		remote_head_leaf(v->newest, leaf);
		anchor_of(h, leaf, out);
	}
	free(h);
	return rc;
}

int source_open_remote(const struct remote_config *cfg, struct source **out)
{
	struct client_config ccfg = {.address = cfg->address, .tls_dir = cfg->tls_dir};
	struct page_cache_config pcfg = {.bytes = cfg->cache_bytes ? cfg->cache_bytes : CACHE_BYTES,
					 .fetch = fetch};
	struct remote *r = calloc(1, sizeof(*r));
	struct proven_config vcfg = {.ask = remote_ask, .ctx = r};
	struct anchor newest = {0};
	Embassyfs__V1__Volume *v;
	struct attempt a;
	int rc;

	if (!r)
		return -ENOMEM;
	rc = client_new(&ccfg, &r->client);
	if (rc < 0) {
		free(r);
		return rc;
	}
	client_connect(r->client);
	r->timeout_ms = cfg->timeout_ms ? cfg->timeout_ms : TIMEOUT_MS;
	a = attempt_begin(r);
	do {
		rc = remote_get_volume(r->client, cfg->volume, attempt_left_ms(&a), &r->params, &v);
	} while (attempt_again(r, &a, rc));
	if (rc < 0) {
		rc = client_explain(r->client, rc);
		client_free(r->client);
		free(r);
		return rc;
	}
	rc = note_newest(r, v, &newest);
	protobuf_c_message_free_unpacked(&v->base, NULL);
	if (rc < 0) {
		params_release(&r->params);
		client_free(r->client);
		free(r);
		return rc;
	}
	pthread_mutex_init(&r->mu, NULL);
	r->source = (struct source){.ops = &remote_ops, .params = &r->params};
	pcfg.ctx = r;
	vcfg.address = client_address(r->client);
	vcfg.volume = r->params.id;
	rc = page_cache_new(&pcfg, &r->cache);
	if (rc == 0)
		rc = proven_new(&vcfg, &newest, &r->proven);
	if (rc < 0) {
		remote_free(&r->source);
		return rc;
	}
	*out = &r->source;
	return 0;
}
