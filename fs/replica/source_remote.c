/*
 * A source over a block server.
 *
 * Key idea: bytes go through the page cache and are believed here, since seals judge them above;
 * heads are believed when their writer signed them and they are proven to be of the history that was
 * shown first, and so are the segment headers that keys are made from (proven.c).  Every question is asked again, with back-off,
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

#include "anchor.h"
#include "client.h"
#include "clock.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "page_cache.h"
#include "params.h"
#include "proven.h"
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
	struct proven *proven;
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

/* A question, asked until it is answered or its time is over; once, unless ${patient}. */
static int ask(void *ctx, const char *method, const ProtobufCMessage *request,
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

static int remote_header(struct source *s, uint64_t number, uint8_t out[SEGMENT_BLOCK_LEN])
{
	return proven_header(remote_of(s)->proven, number, out);
}

static void remote_hint_header(struct source *s, uint64_t number)
{
	proven_hint(remote_of(s)->proven, number);
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
 * Ask for heads, and for the proof that they and ${known} are of one history.  An answer of none is
 * -ERR_ABSENT; one of more than were asked for is -ERR_TAMPERED.
 */
static int ask_heads(struct remote *r, Embassyfs__V1__HeadsRequest *request,
		     const struct anchor *known, Embassyfs__V1__HeadsReply **out)
{
	ProtobufCMessage *m;
	int rc;

	*out = NULL;
	request->volume = (ProtobufCBinaryData){.len = VOLUME_ID_LEN, .data = r->params.id};
	request->prove = true;
	request->known = known->n_blocks;
	rc = ask(r, WIRE_SERVICE "Heads", &request->base, &embassyfs__v1__heads_reply__descriptor,
		 true, &m);
	if (rc == -ERR_ABSENT)
		return err_say(-ERR_ROLLED_BACK,
			       "%s: it no longer holds head %llu, which it has shown: its copy was "
			       "rolled back; read from another copy, or mount it again to see what "
			       "it has now",
			       client_address(r->client), (unsigned long long)known->number);
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

/*
 * The heads of a reply, from number ${first} on (0: any one), verified, and proven to be of one history
 * with ${known}.  None is kept before all of that.
 */
static int take_heads(struct remote *r, const Embassyfs__V1__HeadsReply *reply, uint64_t first,
		      const struct anchor *known, struct head *out)
{
	struct anchor *a = malloc(reply->n_heads * sizeof(*a));
	uint8_t leaf[HASH_LEN];
	int rc = a ? 0 : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < reply->n_heads; i++) {
		const struct head *before = i > 0 ? &out[i - 1] : NULL;

		rc = check_head(r, reply->heads[i], first ? first + i : 0, before, &out[i]);
		if (rc == 0) {
			remote_head_leaf(reply->heads[i], leaf);
			anchor_of(&out[i], leaf, &a[i]);
		}
	}
	if (rc == 0)
		rc = proven_admit(r->proven, known, a, reply->n_heads, reply->proof);
	for (size_t i = 0; rc == 0 && i < reply->n_heads; i++)
		keep_head(r, &out[i]);
	free(a);
	return rc;
}

/*
 * Ask for heads and take them, again if another thread's answer has brought a newer head meanwhile.
 * ${out} has room for as many as are asked for.
 */
static int get_heads(struct remote *r, Embassyfs__V1__HeadsRequest *request, uint64_t first,
		     struct head *out, size_t *out_n)
{
	Embassyfs__V1__HeadsReply *reply;
	struct anchor known;
	int rc;

	do {
		proven_known(r->proven, &known);
		rc = ask_heads(r, request, &known, &reply);
		if (rc < 0)
			return rc;
		rc = take_heads(r, reply, first, &known, out);
		*out_n = reply->n_heads;
		protobuf_c_message_free_unpacked(&reply->base, NULL);
	} while (rc == -ESTALE);
	return rc;
}

/* Heads from ${first} on, as one reply holds them; each must follow the one before. */
static int fetch_heads(struct remote *r, uint64_t first, size_t n, struct head *out, size_t *out_n)
{
	Embassyfs__V1__HeadsRequest request = EMBASSYFS__V1__HEADS_REQUEST__INIT;

	request.first = first;
	request.limit = n < WIRE_HEADS_MAX ? (uint32_t)n : WIRE_HEADS_MAX;
	return get_heads(r, &request, first, out, out_n);
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
	uint64_t known = shown(r);
	struct head first;
	size_t n;
	int rc;

	request.by_time = true;
	request.at_time_ns = time_ns;
	request.limit = 1;
	rc = get_heads(r, &request, 0, out, &n);
	if (rc == 0)
		return check_is_newest(r, out, time_ns, known);
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
	struct proven_config vcfg = {.ask = ask, .ctx = r};
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
