/*
 * The replicator's decisions.
 *
 * Key idea: the embassy alone says where it stands.  Each attempt asks anew, opens one stream at
 * that position, and sends upwards from there; nothing about a former stream is believed.  Bytes
 * that were sent but not acknowledged need no memory, since they are read from the log again.
 *
 *   phase      event                          next       made by
 *   ---------  -----------------------------  ---------  -----------------
 *   WAITING    wait_until_ns is past          ASKING     step_next
 *   ASKING     step_lacking                   ASKING     (volume.conf is put, once)
 *   ASKING     step_agreed                    STREAMING  step_agreed
 *   ASKING     step_failed                    WAITING    step_failed
 *   STREAMING  step_failed (the stream ended) WAITING    step_failed
 *   STREAMING  impossible acknowledgement     CLOSING    step_acknowledged
 *   STREAMING  step_close, step_renew         CLOSING    step_close
 *   STREAMING  step_renew (not opened yet)    WAITING    step_renew
 *   STREAMING  silence for too long           CLOSING    step_next
 *   CLOSING    step_failed (the stream ended) WAITING    step_failed
 *
 * Invariants (step_check):
 *  1. acked.end <= sent <= newest.end while STREAMING, so nothing is sent twice on one stream, out
 *     of order, or beyond what is durable at home.
 *  2. At most one send is under way, and only on an open stream.
 *  3. STEP_BACKOFF_MIN_NS <= backoff_ns <= STEP_BACKOFF_MAX_NS; it shrinks only when an
 *     acknowledgement brings news, so an embassy that takes connections and drops them is not asked
 *     in a busy loop.
 *  4. STEP_SILENCE_MIN_NS <= silence_ns <= STEP_SILENCE_MAX_NS; it doubles when a stream stood
 *     still for that long, and is back at the minimum when something is acknowledged.  Over a line
 *     so thin that what is buffered on the way takes longer than the minimum, a fixed limit would
 *     begin again and again and never arrive.
 */

#include "replicator_step.h"

#include <assert.h>
#include <string.h>

void step_check(const struct step *s)
{
	assert(s->backoff_ns >= STEP_BACKOFF_MIN_NS && s->backoff_ns <= STEP_BACKOFF_MAX_NS);
	assert(s->silence_ns >= STEP_SILENCE_MIN_NS && s->silence_ns <= STEP_SILENCE_MAX_NS);
	if (s->phase == STEP_STREAMING) {
		assert(s->acked.end <= s->sent);
		assert(s->sent <= s->newest.end);
		assert(s->opened || !s->sending);
	} else {
		assert(s->phase == STEP_CLOSING || !s->sending);
	}
}

void step_init(struct step *s, uint64_t seed, uint64_t now_ns)
{
	memset(s, 0, sizeof(*s));
	s->phase = STEP_WAITING;
	s->wait_until_ns = now_ns;
	s->backoff_ns = STEP_BACKOFF_MIN_NS;
	s->silence_ns = STEP_SILENCE_MIN_NS;
	s->random = seed ^ UINT64_C(0x9e3779b97f4a7c15);
	step_check(s);
}

/* splitmix64: spreads the attempts of many homes over time; needs no strength. */
static uint64_t next_random(struct step *s)
{
	uint64_t z = s->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* A random delay between half of ${delay_ns} and all of it. */
static uint64_t jittered(struct step *s, uint64_t delay_ns)
{
	return delay_ns / 2 + next_random(s) % (delay_ns / 2 + 1);
}

static void wait_before_next(struct step *s, uint64_t now_ns, enum step_failure why)
{
	s->phase = STEP_WAITING;
	s->opened = s->lacking = s->told = s->sending = false;
	if (why == STEP_REFUSED) {
		s->refused = true;
		s->wait_until_ns = now_ns + STEP_BACKOFF_MAX_NS;
		return;
	}
	s->refused = false;
	s->wait_until_ns = now_ns + jittered(s, s->backoff_ns);
	s->backoff_ns *= 2;
	if (s->backoff_ns > STEP_BACKOFF_MAX_NS)
		s->backoff_ns = STEP_BACKOFF_MAX_NS;
}

/* Does the embassy owe something: to take a send, or to acknowledge a whole head? */
static bool is_owed(const struct step *s)
{
	return s->sending || s->sent > s->acked.end;
}

bool step_silent(const struct step *s, uint64_t now_ns)
{
	return s->phase == STEP_STREAMING && s->opened && is_owed(s) &&
	       now_ns >= s->progress_ns + s->silence_ns;
}

static void next_asking(struct step *s, struct step_action *out)
{
	if (s->told)
		return;
	s->told = true;
	out->kind = s->lacking ? STEP_DO_PUT : STEP_DO_ASK;
}

static void next_streaming(struct step *s, uint64_t now_ns, struct step_action *out)
{
	if (!s->opened) {
		s->opened = s->sending = true; /* its first message opens it */
		s->progress_ns = now_ns;
		out->kind = STEP_DO_OPEN;
		out->position = s->acked.end;
		out->head = s->acked.number;
	} else if (!s->sending && s->sent < s->newest.end) {
		out->kind = STEP_DO_SEND;
		out->position = s->sent;
		out->limit = s->newest.end;
	} else if (is_owed(s)) {
		out->until_ns = s->progress_ns + s->silence_ns;
	}
}

void step_next(struct step *s, uint64_t now_ns, struct step_action *out)
{
	*out = (struct step_action){.kind = STEP_DO_WAIT, .until_ns = STEP_NEVER};

	if (s->phase == STEP_WAITING && now_ns >= s->wait_until_ns) {
		s->phase = STEP_ASKING;
		s->told = s->lacking = false;
	}
	if (step_silent(s, now_ns)) {
		step_close(s, STEP_AWAY);
		s->silence_ns *= 2;
		if (s->silence_ns > STEP_SILENCE_MAX_NS)
			s->silence_ns = STEP_SILENCE_MAX_NS;
	}

	switch (s->phase) {
	case STEP_WAITING:
		out->until_ns = s->wait_until_ns;
		break;
	case STEP_ASKING:
		next_asking(s, out);
		break;
	case STEP_STREAMING:
		next_streaming(s, now_ns, out);
		break;
	case STEP_CLOSING:
		if (!s->told) {
			s->told = true;
			out->kind = STEP_DO_CLOSE;
		}
		break;
	}
	step_check(s);
}

void step_newest(struct step *s, uint64_t now_ns, const struct step_head *h)
{
	if (h->number <= s->newest.number)
		return;
	/* Silence counts from the moment at which there was something to send. */
	if (!is_owed(s))
		s->progress_ns = now_ns;
	s->newest = *h;
	step_check(s);
}

void step_agreed(struct step *s, uint64_t now_ns, const struct step_head *h)
{
	assert(s->phase == STEP_ASKING);
	assert(h->end <= s->newest.end && h->number <= s->newest.number);
	s->phase = STEP_STREAMING;
	s->opened = s->sending = s->told = s->refused = false;
	s->acked = *h;
	s->sent = h->end;
	s->progress_ns = now_ns;
	step_check(s);
}

void step_lacking(struct step *s)
{
	assert(s->phase == STEP_ASKING);
	s->lacking = true;
	s->told = false;
	step_check(s);
}

void step_failed(struct step *s, uint64_t now_ns, enum step_failure why)
{
	assert(s->phase != STEP_WAITING);
	/*
	 * A stream that we close ends with the reason for which we closed it, not with "cancelled".
	 */
	wait_before_next(s, now_ns, s->phase == STEP_CLOSING ? s->why : why);
	step_check(s);
}

void step_sending(struct step *s, uint64_t now_ns, log_pos pos, size_t len)
{
	assert(s->phase == STEP_STREAMING && s->opened && !s->sending);
	assert(len > 0 && pos >= s->sent && pos <= s->newest.end && len <= s->newest.end - pos);
	if (!is_owed(s))
		s->progress_ns = now_ns;
	s->sending = true;
	s->sent = pos + len;
	step_check(s);
}

void step_sent(struct step *s, uint64_t now_ns)
{
	assert(s->sending);
	s->sending = false;
	s->progress_ns = now_ns;
	step_check(s);
}

bool step_acknowledged(struct step *s, uint64_t now_ns, const struct step_head *h)
{
	if (s->phase != STEP_STREAMING)
		return true; /* it crossed our close: the next attempt asks anew */
	if (h->end < s->acked.end || h->number < s->acked.number || h->end > s->sent ||
	    (h->end == s->acked.end) != (h->number == s->acked.number)) {
		step_close(s, STEP_REFUSED);
		return false;
	}
	s->progress_ns = now_ns;
	if (h->end > s->acked.end) {
		s->backoff_ns = STEP_BACKOFF_MIN_NS;
		s->silence_ns = STEP_SILENCE_MIN_NS;
	}
	s->acked = *h;
	step_check(s);
	return true;
}

void step_close(struct step *s, enum step_failure why)
{
	if (s->phase != STEP_STREAMING)
		return;
	assert(s->opened);
	s->phase = STEP_CLOSING;
	s->why = why;
	s->told = false;
	step_check(s);
}

void step_renew(struct step *s, uint64_t now_ns)
{
	if (s->phase == STEP_STREAMING && s->opened)
		step_close(s, STEP_AWAY);
	else if (s->phase == STEP_STREAMING)
		s->phase = STEP_WAITING; /* there is no stream yet */
	if (s->phase == STEP_WAITING)
		s->wait_until_ns = now_ns;
	step_check(s);
}
