/*
 * The replicator's step machine against a simulated embassy and network: thousands of random
 * histories, each replayable from its seed (REPLICA_SEED in the environment runs that one alone).
 */

#include "replicator_step.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)
#define N_HISTORIES 4000
#define N_HEADS_MAX 4000

static uint64_t rnd_state;

static uint64_t rnd(uint64_t n)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 7;
	rnd_state ^= rnd_state << 17;
	return rnd_state % n;
}

/* The world around the machine: home's heads, the embassy, and what is in flight. */
struct world {
	struct step s;
	uint64_t seed;
	uint64_t now;
	struct step_head heads[N_HEADS_MAX]; /* heads[i] is number i; [0] is none */
	unsigned n_heads;
	/* Embassy. */
	bool has_volume;
	unsigned embassy_head; /* durable there */
	uint64_t sent;	       /* given to this stream */
	uint64_t taken;	       /* of that, what has arrived */
	/* Stream. */
	bool open, over, send_under_way;
	uint64_t last_failure, last_delay;
	bool waiting;
	unsigned n_sends, n_asks, n_puts;
	bool net_up, faulty;
};

static void world_add_head(struct world *w)
{
	struct step_head *last = &w->heads[w->n_heads];
	struct step_head h = {.number = w->n_heads + 1,
			      .end = last->end + 1 + rnd(5000000),
			      .time_ns = (int64_t)w->now + 1};

	if (w->n_heads + 2 >= N_HEADS_MAX)
		return;
	w->heads[++w->n_heads] = h;
	step_newest(&w->s, w->now, &h);
}

static unsigned head_below(const struct world *w, uint64_t end)
{
	unsigned i = 0;

	while (i < w->n_heads && w->heads[i + 1].end <= end)
		i++;
	return i;
}

static void fail(struct world *w, enum step_failure why)
{
	w->open = w->over = w->send_under_way = false;
	w->last_failure = w->now;
	step_failed(&w->s, w->now, why);
	w->waiting = true;
}

static void do_ask(struct world *w)
{
	/* Back-off: never sooner than half the smallest delay, never later than the largest. */
	if (w->waiting) {
		uint64_t waited = w->now - w->last_failure;

		cr_assert(waited >= STEP_BACKOFF_MIN_NS / 2, "seed %llu",
			  (unsigned long long)w->seed);
		w->waiting = false;
	}
	w->n_asks++;
	if (!w->net_up || (w->faulty && rnd(4) == 0)) {
		fail(w, STEP_AWAY);
	} else if (w->faulty && rnd(50) == 0) {
		fail(w, STEP_REFUSED);
		cr_assert_eq(w->s.wait_until_ns, w->now + STEP_BACKOFF_MAX_NS);
	} else if (!w->has_volume) {
		step_lacking(&w->s);
	} else {
		step_agreed(&w->s, w->now, &w->heads[w->embassy_head]);
	}
}

static void do_send(struct world *w, const struct step_action *a)
{
	uint64_t len = 1 + rnd(1 << 20), pos = a->position;

	cr_assert(w->open && !w->send_under_way, "seed %llu", (unsigned long long)w->seed);
	cr_assert(a->position == w->sent, "seed %llu: a gap or a repeat",
		  (unsigned long long)w->seed);
	cr_assert(a->limit <= w->heads[w->n_heads].end, "seed %llu: beyond the newest head",
		  (unsigned long long)w->seed);
	cr_assert(a->position < a->limit);
	if (len > a->limit - pos)
		len = a->limit - pos;
	step_sending(&w->s, w->now, pos, len);
	w->send_under_way = true;
	w->n_sends++;
	w->sent = pos + len;
}

static void act(struct world *w, const struct step_action *a)
{
	switch (a->kind) {
	case STEP_DO_ASK:
		do_ask(w);
		break;
	case STEP_DO_PUT:
		w->n_puts++;
		if (!w->net_up) {
			fail(w, STEP_AWAY);
			break;
		}
		w->has_volume = true;
		step_agreed(&w->s, w->now, &w->heads[w->embassy_head]);
		break;
	case STEP_DO_OPEN:
		cr_assert(!(w->open));
		cr_assert_eq(a->position, w->heads[w->embassy_head].end);
		cr_assert_eq(a->head, w->embassy_head);
		w->open = w->send_under_way = true;
		w->sent = w->taken = a->position;
		break;
	case STEP_DO_SEND:
		do_send(w, a);
		break;
	case STEP_DO_CLOSE:
		w->over = true;
		break;
	case STEP_DO_WAIT:
		break;
	}
}

/* One thing that the network or the embassy does. */
static void happen(struct world *w)
{
	if (!w->open)
		return;
	if (w->over || !w->net_up || (w->faulty && rnd(60) == 0)) {
		fail(w, w->faulty && rnd(20) == 0 ? STEP_REFUSED : STEP_AWAY);
		return;
	}
	if (w->send_under_way && rnd(2)) {
		w->send_under_way = false;
		w->taken = w->sent;
		step_sent(&w->s, w->now);
		return;
	}
	/* What has arrived and makes a whole head becomes durable, and may be acknowledged. */
	if (rnd(2)) {
		unsigned i = head_below(w, w->taken);

		if (i > w->embassy_head)
			w->embassy_head = i;
		if (!w->faulty || rnd(5))
			cr_assert(step_acknowledged(&w->s, w->now, &w->heads[w->embassy_head]),
				  "seed %llu", (unsigned long long)w->seed);
	}
}

static void run_once(struct world *w, bool calm)
{
	struct step_action a;

	step_next(&w->s, w->now, &a);
	act(w, &a);
	if (w->s.phase == STEP_WAITING)
		cr_assert(w->s.wait_until_ns <= w->last_failure + STEP_BACKOFF_MAX_NS);
	if (a.kind != STEP_DO_WAIT)
		return;
	if (w->open)
		happen(w);
	if (a.until_ns != STEP_NEVER && a.until_ns > w->now && (!w->open || rnd(200) == 0))
		w->now = a.until_ns;
	else
		w->now += rnd(20 * MS);
	if (!calm && rnd(4) == 0)
		world_add_head(w);
	if (!calm && rnd(40) == 0)
		w->net_up = !w->net_up;
}

static void history(uint64_t seed)
{
	static struct world w;

	rnd_state = seed | 1;
	w = (struct world){.seed = seed, .now = 1 + rnd(1000 * MS), .net_up = true, .faulty = true};
	step_init(&w.s, seed, w.now);
	for (int i = 0; i < 600; i++)
		run_once(&w, false);
	/* Then the network allows, and it gets to the end. */
	w.net_up = true;
	w.faulty = false;
	for (int i = 0; i < 40000 && w.s.acked.end < w.heads[w.n_heads].end; i++)
		run_once(&w, true);
	cr_assert_eq(w.s.acked.end, w.heads[w.n_heads].end, "seed %llu",
		  (unsigned long long)seed);
	cr_assert_eq(w.embassy_head, w.n_heads);
}

Test(replicator_step, random_histories)
{
	const char *one = getenv("REPLICA_SEED");
	uint64_t seed = one ? strtoull(one, NULL, 0) : UINT64_C(0x5eed);

	fprintf(stderr, "replicator_step: seeds from %llu on\n", (unsigned long long)seed);
	for (int i = 0; i < (one ? 1 : N_HISTORIES); i++)
		history(seed + (uint64_t)i);
}

static void fail_from_ask(struct step *s, uint64_t *now)
{
	struct step_action a;

	step_next(s, *now, &a);
	if (a.kind == STEP_DO_WAIT) {
		*now = a.until_ns;
		step_next(s, *now, &a);
	}
	cr_assert(a.kind == STEP_DO_ASK);
	step_failed(s, *now, STEP_AWAY);
}

Test(replicator_step, backoff_doubles_to_its_bound_and_only_news_resets_it)
{
	struct step_head h = {.number = 1, .end = 1000, .time_ns = 5};
	struct step_action a;
	uint64_t now = 7, want = STEP_BACKOFF_MIN_NS;
	struct step s;

	step_init(&s, 1, now);
	for (int i = 0; i < 20; i++) {
		uint64_t delay;

		fail_from_ask(&s, &now);
		delay = s.wait_until_ns - now;
		cr_assert(delay >= want / 2 && delay <= want, "attempt %d: %llu", i,
			  (unsigned long long)delay);
		want = want * 2 > STEP_BACKOFF_MAX_NS ? STEP_BACKOFF_MAX_NS : want * 2;
	}
	/* Agreement alone does not shorten it: an embassy that agrees and drops is no better. */
	step_newest(&s, now, &h);
	now = s.wait_until_ns;
	step_next(&s, now, &a);
	step_agreed(&s, now, &(struct step_head){0});
	cr_assert_eq(s.backoff_ns, STEP_BACKOFF_MAX_NS);
	step_next(&s, now, &a);
	cr_assert(a.kind == STEP_DO_OPEN);
	step_sent(&s, now);
	step_next(&s, now, &a);
	cr_assert(a.kind == STEP_DO_SEND);
	step_sending(&s, now, 0, 1000);
	step_sent(&s, now);
	cr_assert(step_acknowledged(&s, now, &h));
	cr_assert_eq(s.backoff_ns, STEP_BACKOFF_MIN_NS);
}

static void to_streaming(struct step *s, uint64_t now, const struct step_head *newest, size_t sent)
{
	struct step_action a;

	step_init(s, 2, now);
	step_newest(s, now, newest);
	step_next(s, now, &a);
	step_agreed(s, now, &(struct step_head){0});
	step_next(s, now, &a);
	step_sent(s, now);
	step_next(s, now, &a);
	cr_assert(a.kind == STEP_DO_SEND && a.position == 0 && a.limit == newest->end);
	step_sending(s, now, 0, sent);
	step_sent(s, now);
}

Test(replicator_step, an_impossible_acknowledgement_closes_and_refuses)
{
	struct step_head h = {.number = 2, .end = 1000, .time_ns = 5};
	struct step_action a;
	struct step s;

	/* More than was sent. */
	to_streaming(&s, 1, &h, 600);
	cr_assert(!(step_acknowledged(&s, 2, &h)));
	cr_assert(s.phase == STEP_CLOSING);
	step_next(&s, 3, &a);
	cr_assert(a.kind == STEP_DO_CLOSE);
	step_next(&s, 3, &a);
	cr_assert(a.kind == STEP_DO_WAIT);
	/* It ends as "cancelled", but counts as what it was closed for. */
	step_failed(&s, 4, STEP_AWAY);
	cr_assert(s.refused);
	cr_assert_eq(s.wait_until_ns, 4 + STEP_BACKOFF_MAX_NS);

	/* Backwards. */
	to_streaming(&s, 1, &h, 1000);
	cr_assert(step_acknowledged(&s, 2, &h));
	cr_assert(!(step_acknowledged(&s, 2, &(struct step_head){1, 500, 1})));
	cr_assert(s.phase == STEP_CLOSING);
}

Test(replicator_step, silence_is_noticed_only_when_something_is_owed)
{
	struct step_head h = {.number = 1, .end = 1000, .time_ns = 5};
	struct step_head h2 = {.number = 2, .end = 1500, .time_ns = 9};
	uint64_t late = STEP_SILENCE_MIN_NS;
	struct step_action a;
	struct step s;

	to_streaming(&s, 1, &h, 1000);
	step_next(&s, 2, &a);
	cr_assert(a.kind == STEP_DO_WAIT);
	cr_assert_eq(a.until_ns, 1 + late);
	cr_assert(!(step_silent(&s, late)));
	cr_assert(step_silent(&s, late + 1));
	cr_assert(step_acknowledged(&s, late, &h));
	/* Idle for an hour is no silence, and does not count against what comes after. */
	step_next(&s, 100 * late, &a);
	cr_assert(a.kind == STEP_DO_WAIT && a.until_ns == STEP_NEVER);
	step_newest(&s, 100 * late, &h2);
	step_next(&s, 100 * late, &a);
	cr_assert(a.kind == STEP_DO_SEND && a.position == 1000 && a.limit == 1500);
	step_sending(&s, 100 * late, 1000, 500);
	step_next(&s, 101 * late, &a);
	cr_assert(a.kind == STEP_DO_CLOSE);
	step_failed(&s, 101 * late, STEP_AWAY);
	cr_assert(!(s.refused));
	/* A thin line is given longer the next time, until something is acknowledged. */
	cr_assert_eq(s.silence_ns, 2 * late);
	step_next(&s, 200 * late, &a);
	step_agreed(&s, 200 * late, &h);
	step_next(&s, 200 * late, &a);
	step_sent(&s, 200 * late);
	step_next(&s, 200 * late, &a);
	step_sending(&s, 200 * late, 1000, 500);
	cr_assert(!(step_silent(&s, 202 * late - 1)));
	cr_assert(step_silent(&s, 202 * late));
	step_sent(&s, 201 * late);
	cr_assert(step_acknowledged(&s, 201 * late, &h2));
	cr_assert_eq(s.silence_ns, late);
}

Test(replicator_step, volume_conf_is_put_once_per_attempt)
{
	struct step_action a;
	struct step s;

	step_init(&s, 3, 1);
	step_next(&s, 1, &a);
	cr_assert(a.kind == STEP_DO_ASK);
	step_next(&s, 1, &a);
	cr_assert(a.kind == STEP_DO_WAIT);
	step_lacking(&s);
	step_next(&s, 1, &a);
	cr_assert(a.kind == STEP_DO_PUT);
	step_next(&s, 1, &a);
	cr_assert(a.kind == STEP_DO_WAIT);
	step_failed(&s, 1, STEP_REFUSED);
	cr_assert(s.refused);
	step_next(&s, 1 + STEP_BACKOFF_MAX_NS, &a);
	cr_assert(a.kind == STEP_DO_ASK);
}

/* What changed here is told in every phase: the next question comes at once, or after the stream. */
Test(replicator_step, what_changed_is_told_whenever_it_changes)
{
	struct step_head h = {.number = 1, .end = 1000, .time_ns = 1};
	struct step_head none = {0};
	struct step_action a;
	struct step s;

	step_init(&s, 1, 0);
	step_newest(&s, 0, &h);
	/* Waiting long after a refusal. */
	step_next(&s, 0, &a);
	cr_assert_eq(a.kind, STEP_DO_ASK);
	step_failed(&s, 0, STEP_REFUSED);
	step_renew(&s, 1);
	step_next(&s, 1, &a);
	cr_assert_eq(a.kind, STEP_DO_ASK);
	/* Agreed upon, and the stream not opened yet: there may be no other occasion for long. */
	step_agreed(&s, 2, &none);
	step_renew(&s, 2);
	step_next(&s, 2, &a);
	cr_assert_eq(a.kind, STEP_DO_ASK);
	/* With a stream. */
	step_agreed(&s, 3, &none);
	step_next(&s, 3, &a);
	cr_assert_eq(a.kind, STEP_DO_OPEN);
	step_renew(&s, 4);
	step_next(&s, 4, &a);
	cr_assert_eq(a.kind, STEP_DO_CLOSE);
}
