/*
 * A source over a block server.
 *
 * Key idea: bytes go through the page cache and are believed here, since seals judge them above;
 * heads are believed when their writer signed them.  Every question is asked again, with back-off,
 * until its time is over, so a mount lives through a server's restart.
 *
 * A server that is asked for a time could answer with an older head, each byte of which is signed.
 * So the head after it is asked for too, and must be later; and heads that the server showed once
 * cannot be denied.
 *
 * Invariants:
 *  1. The log's end at opening bounds nothing: a page or head that was not there may be there now.
 *  2. Memory: HEADS_KEPT heads, the page cache's index, one reply at a time per thread.
 *
 * Lock order: mu is a leaf.
 */

#include "remote.h"

#include "client.h"
#include "clock.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "page_cache.h"
#include "params.h"
#include "remote_head.h"
#include "source.h"
#include "units.h"
#include "wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CACHE_BYTES (UINT64_C(1) << 30)
#define TIMEOUT_MS 10000
#define HEADS_KEPT 256u
#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 1000

struct remote {
	struct source source;
	struct params params;
	struct client *client;
	struct page_cache *cache;
	int timeout_ms;
	pthread_mutex_t mu;
	/* Guarded by mu. */
	uint64_t newest;      /* number of the newest head that the server has shown; 0: none */
	struct params *newer; /* a later volume.conf, once a head's epoch asked for it; or NULL */
	/* number 0: none; the head's place is its number modulo the size */
	struct head heads[HEADS_KEPT];
};

static struct remote *remote_of(struct source *s)
{
	return (struct remote *)s; /* its first member */
}

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

/* ---- bytes ---- */

static int fetch(void *ctx, uint64_t pos, size_t len, bool patient, void *out, size_t *out_len)
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

static int remote_read(struct source *s, uint64_t pos, size_t len, void *out)
{
	return page_cache_read(remote_of(s)->cache, pos, len, out);
}

static void remote_hint(struct source *s, uint64_t pos, size_t len)
{
	page_cache_hint(remote_of(s)->cache, pos, len);
}

/* ---- heads ---- */

static void keep_head(struct remote *r, const struct head *h)
{
	pthread_mutex_lock(&r->mu);
	r->heads[h->number % HEADS_KEPT] = *h;
	if (h->number > r->newest)
		r->newest = h->number;
	pthread_mutex_unlock(&r->mu);
}

/*
 * The newest head that the server has shown: an answer to a question that is asked from now on cannot
 * deny it.
 */
static uint64_t shown(struct remote *r)
{
	uint64_t number;

	pthread_mutex_lock(&r->mu);
	number = r->newest;
	pthread_mutex_unlock(&r->mu);
	return number;
}

static bool kept_head(struct remote *r, uint64_t number, struct head *out)
{
	bool found;

	pthread_mutex_lock(&r->mu);
	found = number > 0 && r->heads[number % HEADS_KEPT].number == number;
	if (found)
		*out = r->heads[number % HEADS_KEPT];
	pthread_mutex_unlock(&r->mu);
	return found;
}

/* The home may have got a new epoch since this source was opened: look for its grant. */
static int fetch_newer_params(struct remote *r)
{
	struct params *p = malloc(sizeof(*p));
	Embassyfs__V1__Volume *v;
	int rc;

	if (!p)
		return -ENOMEM;
	rc = remote_get_volume(r->client, r->params.id, r->timeout_ms, p, &v);
	if (rc < 0) {
		free(p);
		return rc;
	}
	protobuf_c_message_free_unpacked(&v->base, NULL);
	pthread_mutex_lock(&r->mu);
	if (p->serial > r->params.serial && (!r->newer || p->serial > r->newer->serial)) {
		struct params *old = r->newer;

		r->newer = p;
		p = old;
	}
	pthread_mutex_unlock(&r->mu);
	if (p)
		params_release(p);
	free(p);
	return 0;
}

/* ${number}: which head was asked for; ${parent}: the one before it; 0, NULL: not known. */
static int check_head(struct remote *r, const Embassyfs__V1__Head *h, uint64_t number,
		      const struct head *parent, struct head *out)
{
	struct head_known k = {.params = &r->params, .number = number, .parent = parent};
	int rc = remote_head_check(&k, h, out);

	for (int i = 0; rc == -ERR_STALE && i < 2; i++) {
		int got = i == 0 ? 0 : fetch_newer_params(r);

		if (got < 0)
			return got;
		pthread_mutex_lock(&r->mu);
		k.params = r->newer;
		if (r->newer)
			rc = remote_head_check(&k, h, out);
		pthread_mutex_unlock(&r->mu);
	}
	if (rc == -ERR_STALE)
		rc = err_say(-ERR_TAMPERED,
			     "%s: head %llu is by a writer that volume.conf does not "
			     "grant",
			     client_address(r->client), (unsigned long long)out->number);
	return rc;
}

/*
 * Ask for heads.  An answer of none is -ERR_ABSENT; one of more than were asked for is
 * -ERR_TAMPERED.
 */
static int ask_heads(struct remote *r, Embassyfs__V1__HeadsRequest *request,
		     Embassyfs__V1__HeadsReply **out)
{
	struct attempt a = attempt_begin(r);
	ProtobufCMessage *m;
	int rc;

	request->volume = (ProtobufCBinaryData){.len = VOLUME_ID_LEN, .data = r->params.id};
	do {
		rc = client_call(r->client, WIRE_SERVICE "Heads", &request->base,
				 &embassyfs__v1__heads_reply__descriptor, attempt_left_ms(&a), &m);
	} while (attempt_again(r, &a, rc));
	if (is_busy(rc))
		return say_busy(r, rc);
	if (rc < 0)
		return rc;
	*out = (Embassyfs__V1__HeadsReply *)m;
	if ((*out)->n_heads > 0 && (*out)->n_heads <= request->limit)
		return 0;
	rc = (*out)->n_heads == 0 ? -ERR_ABSENT
				  : err_say(-ERR_TAMPERED, "%s: more heads than were asked for",
					    client_address(r->client));
	protobuf_c_message_free_unpacked(m, NULL);
	return rc;
}

/* Heads from ${first} on, as one reply holds them; each must follow the one before. */
static int fetch_heads(struct remote *r, uint64_t first, size_t n, struct head *out, size_t *out_n)
{
	Embassyfs__V1__HeadsRequest request = EMBASSYFS__V1__HEADS_REQUEST__INIT;
	Embassyfs__V1__HeadsReply *reply;
	int rc;

	request.first = first;
	request.limit = n < WIRE_HEADS_MAX ? (uint32_t)n : WIRE_HEADS_MAX;
	rc = ask_heads(r, &request, &reply);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < reply->n_heads; i++) {
		const struct head *before = i > 0 ? &out[i - 1] : NULL;

		rc = check_head(r, reply->heads[i], first + i, before, &out[i]);
		if (rc < 0)
			break;
		keep_head(r, &out[i]);
	}
	*out_n = reply->n_heads;
	protobuf_c_message_free_unpacked(&reply->base, NULL);
	return rc;
}

static int remote_heads(struct source *s, uint64_t first, size_t n, struct head *out, size_t *out_n)
{
	struct remote *r = remote_of(s);
	uint64_t known = shown(r);
	size_t got = 0;
	int rc = 0;

	if (first == 0 || n == 0)
		return -EINVAL;
	while (got < n && rc == 0) {
		size_t more = 1;

		if (!kept_head(r, first + got, &out[got]))
			rc = fetch_heads(r, first + got, n - got, &out[got], &more);
		if (rc == 0)
			got += more;
	}
	if (rc == -ERR_ABSENT && first + got <= known)
		return err_say(-ERR_TAMPERED, "%s: it denies head %llu, which it has shown",
			       client_address(r->client), (unsigned long long)(first + got));
	if (rc < 0 && !(rc == -ERR_ABSENT && got > 0))
		return rc;
	*out_n = got;
	return 0;
}

/*
 * Whether ${h} is the newest head not after ${time_ns}, and not merely one of those: the one after
 * it is later, or is not there and was not there before.  ${known}: shown() before it was asked for.
 */
static int check_is_newest(struct remote *r, const struct head *h, int64_t time_ns, uint64_t known)
{
	struct head next;
	size_t n;
	int rc = -ERR_ABSENT;

	if (h->time_ns > time_ns)
		return err_say(-ERR_TAMPERED, "%s: its head %llu is later than was asked for",
			       client_address(r->client), (unsigned long long)h->number);
	/* The newest of all needs no look at the next: it may come at any moment. */
	if (time_ns != INT64_MAX)
		rc = remote_heads(&r->source, h->number + 1, 1, &next, &n);
	if (rc == -ERR_ABSENT && h->number >= known)
		return 0;
	if (rc == -ERR_ABSENT || (rc == 0 && next.time_ns <= time_ns))
		return err_say(-ERR_TAMPERED,
			       "%s: it answers with head %llu, and has a later one that is not "
			       "after the time asked for; try another embassy",
			       client_address(r->client), (unsigned long long)h->number);
	return rc;
}

static int remote_head_at(struct source *s, int64_t time_ns, struct head *out)
{
	struct remote *r = remote_of(s);
	Embassyfs__V1__HeadsRequest request = EMBASSYFS__V1__HEADS_REQUEST__INIT;
	Embassyfs__V1__HeadsReply *reply;
	uint64_t known = shown(r);
	struct head first;
	size_t n;
	int rc;

	request.by_time = true;
	request.at_time_ns = time_ns;
	request.limit = 1;
	rc = ask_heads(r, &request, &reply);
	if (rc == 0) {
		rc = check_head(r, reply->heads[0], 0, NULL, out);
		protobuf_c_message_free_unpacked(&reply->base, NULL);
		if (rc == 0)
			keep_head(r, out);
		return rc == 0 ? check_is_newest(r, out, time_ns, known) : rc;
	}
	if (rc != -ERR_ABSENT)
		return rc;
	/* None so early, or none at all? */
	rc = remote_heads(s, 1, 1, &first, &n);
	if (rc < 0)
		return rc;
	if (first.time_ns <= time_ns)
		return err_say(-ERR_TAMPERED, "%s: it denies a head that it has",
			       client_address(r->client));
	return -ERR_TOO_EARLY;
}

/* ---- life ---- */

static void remote_free(struct source *s)
{
	struct remote *r = remote_of(s);

	if (r->cache)
		page_cache_stop(r->cache);
	client_abort(r->client);
	page_cache_free(r->cache);
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
	.head_at = remote_head_at,
	.heads = remote_heads,
	.free = remote_free,
};

static int note_newest(struct remote *r, const Embassyfs__V1__Volume *v)
{
	const struct head_known k = {.params = &r->params};
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
	if (rc == 0)
		r->newest = h->number;
	free(h);
	return rc;
}

int source_open_remote(const struct remote_config *cfg, struct source **out)
{
	struct client_config ccfg = {.address = cfg->address, .tls_dir = cfg->tls_dir};
	struct page_cache_config pcfg = {.bytes = cfg->cache_bytes ? cfg->cache_bytes : CACHE_BYTES,
					 .fetch = fetch};
	struct remote *r = calloc(1, sizeof(*r));
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
	rc = note_newest(r, v);
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
	rc = page_cache_new(&pcfg, &r->cache);
	if (rc < 0) {
		remote_free(&r->source);
		return rc;
	}
	*out = &r->source;
	return 0;
}
