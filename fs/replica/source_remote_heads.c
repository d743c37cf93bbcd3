/*
 * The heads that a block server shows to a source.
 *
 * Key idea: a head is believed when its writer signed it and it is proven to be of the history that
 * was shown first (proven.c).
 *
 * A server that is asked for a time could answer with an older head, each byte of which is signed.
 * So the head after it is asked for too, and must be later; and heads that the server showed once
 * cannot be denied.
 *
 * Invariant: no head of an answer is kept or given out before all of that answer is verified.
 */

#include "source_remote_internal.h"

#include "anchor.h"
#include "client.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "proven.h"
#include "remote_head.h"
#include "wire.h"

#include <errno.h>
#include <stdlib.h>

static void keep_head(struct remote *r, const struct head *h)
{
	pthread_mutex_lock(&r->mu);
	r->heads[h->number % HEADS_KEPT] = *h;
	if (h->number > r->newest)
		r->newest = h->number;
	pthread_mutex_unlock(&r->mu);
}

/*
 * The newest head that the server has shown: an answer to a question that is asked from now on
 * cannot deny it.
 */
static head_no shown(struct remote *r)
{
	head_no number;

	pthread_mutex_lock(&r->mu);
	number = r->newest;
	pthread_mutex_unlock(&r->mu);
	return number;
}

static bool kept_head(struct remote *r, head_no number, struct head *out)
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
static int check_head(struct remote *r, const Embassyfs__V1__Head *h, head_no number,
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
	rc = remote_ask(r, WIRE_SERVICE "Heads", &request->base,
			&embassyfs__v1__heads_reply__descriptor, true, &m);
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
 * The heads of a reply, from number ${first} on (0: any one), verified, and proven to be of one
 * history with ${known}.  None is kept before all of that.
 */
static int take_heads(struct remote *r, const Embassyfs__V1__HeadsReply *reply, head_no first,
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
static int get_heads(struct remote *r, Embassyfs__V1__HeadsRequest *request, head_no first,
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
static int fetch_heads(struct remote *r, head_no first, size_t n, struct head *out, size_t *out_n)
{
	Embassyfs__V1__HeadsRequest request = EMBASSYFS__V1__HEADS_REQUEST__INIT;

	request.first = first;
	request.limit = n < WIRE_HEADS_MAX ? (uint32_t)n : WIRE_HEADS_MAX;
	return get_heads(r, &request, first, out, out_n);
}

int remote_heads(struct source *s, head_no first, size_t n, struct head *out, size_t *out_n)
{
	struct remote *r = remote_of(s);
	head_no known = shown(r);
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
 * it is later, or is not there and was not there before.  ${known}: shown() before it was asked
 * for.
 */
static int check_is_newest(struct remote *r, const struct head *h, int64_t time_ns, head_no known)
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

int remote_head_at(struct source *s, int64_t time_ns, struct head *out)
{
	struct remote *r = remote_of(s);
	Embassyfs__V1__HeadsRequest request = EMBASSYFS__V1__HEADS_REQUEST__INIT;
	head_no known = shown(r);
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
