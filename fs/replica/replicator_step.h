#ifndef REPLICATOR_STEP_H_
#define REPLICATOR_STEP_H_

/*
 * What a replicator does next: a pure step machine.  It does no I/O and has no clock.  Events come
 * in with the time at which they happened, and step_next() tells the driver one thing to do.  The
 * same seed and the same events give the same actions.
 */

#include "compiler.h"
#include "numbers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STEP_BACKOFF_MIN_NS (UINT64_C(100) * 1000 * 1000)
#define STEP_BACKOFF_MAX_NS (UINT64_C(30) * 1000 * 1000 * 1000)
#define STEP_SILENCE_MIN_NS (UINT64_C(30) * 1000 * 1000 * 1000)
#define STEP_SILENCE_MAX_NS (UINT64_C(960) * 1000 * 1000 * 1000)
#define STEP_NEVER UINT64_MAX

enum step_phase {
	STEP_WAITING,	/* nothing is under way until wait_until_ns */
	STEP_ASKING,	/* the driver asks where the embassy stands, or puts volume.conf there */
	STEP_STREAMING, /* a stream is open from where the embassy stood */
	STEP_CLOSING,	/* the stream was told to end; its end has not been seen */
};

enum step_action_kind {
	STEP_DO_WAIT, /* nothing, until an event or until_ns */
	/* connect anew and ask for the volume; then step_agreed, step_lacking or step_failed */
	STEP_DO_ASK,
	STEP_DO_PUT, /* send volume.conf; then one of the same three */
	/*
	 * open a stream at position, which is the end of head (0 and 0: the empty log); later
	 * step_sent()
	 */
	STEP_DO_OPEN,
	/* send what follows position, at most up to limit: step_sending(), later step_sent() */
	STEP_DO_SEND,
	STEP_DO_CLOSE, /* cancel the stream; answer: step_failed */
};

struct step_action {
	enum step_action_kind kind;
	log_pos position;
	head_no head;
	log_pos limit;
	uint64_t until_ns; /* STEP_DO_WAIT: when to come back at the latest; STEP_NEVER */
};

/* A head as far as shipping it needs. */
struct step_head {
	head_no number; /* 0: none */
	log_pos end;	/* position after its block */
	int64_t time_ns;
};

/* Why an attempt or a stream ended. */
enum step_failure {
	STEP_AWAY, /* not reached, broken off, or busy: try again after back-off */
	/* a deliberate refusal, or the two logs differ: try again only after STEP_BACKOFF_MAX_NS */
	STEP_REFUSED,
};

struct step {
	enum step_phase phase;
	bool opened;	       /* STREAMING: the driver was told to open the stream */
	bool lacking;	       /* ASKING: volume.conf must be put */
	bool told;	       /* ASKING, CLOSING: the driver was told already */
	bool sending;	       /* a send is under way */
	bool refused;	       /* the newest attempt was refused, and none agreed since */
	enum step_failure why; /* CLOSING: how the end will be counted */
	uint64_t wait_until_ns;
	uint64_t backoff_ns;	 /* next delay before jitter */
	uint64_t silence_ns;	 /* how long a stream that owes something may be silent */
	uint64_t random;	 /* state of the jitter's random numbers */
	log_pos sent;		 /* everything below was sent on this stream, or was there before */
	struct step_head acked;	 /* the head that the embassy last said it holds */
	struct step_head newest; /* the newest durable head at home */
	uint64_t progress_ns;	 /* when the embassy last did anything */
};

/* step_init(s, seed, now_ns): nothing is known yet; the first action is STEP_DO_ASK. */
void step_init(struct step *s, uint64_t seed, uint64_t now_ns);

/*
 * step_next(s, now_ns, out): the next thing to do.  Call it until it says STEP_DO_WAIT, and again
 * after each event.
 */
void step_next(struct step *s, uint64_t now_ns, struct step_action *out);

/* step_newest(s, h): there is a newer durable head.  An older one is ignored. */
void step_newest(struct step *s, uint64_t now_ns, const struct step_head *h);

/*
 * step_agreed(s, h): the embassy holds our log up to ${h}, which was compared with ours.  Number
 * and end are 0 for the empty log.
 */
void step_agreed(struct step *s, uint64_t now_ns, const struct step_head *h);

/* step_lacking(s): the embassy has no such volume, or an older volume.conf. */
void step_lacking(struct step *s);

/*
 * step_failed(s, why): the question failed or its answer was no good, or the stream has ended, for
 * whatever reason.
 */
void step_failed(struct step *s, uint64_t now_ns, enum step_failure why);

/*
 * step_sending(s, pos, len): the driver has begun to send the bytes of STEP_DO_SEND.  They begin at
 * ${pos} (the action's position, or the start of a later segment) and end at its limit at most.
 * step_sent(): the transport has taken that send.
 */
void step_sending(struct step *s, uint64_t now_ns, log_pos pos, size_t len);
void step_sent(struct step *s, uint64_t now_ns);

/*
 * step_acknowledged(s, h): the embassy holds everything up to ${h}.
 * Returns false if that cannot be, because it goes back or beyond what was sent.  The stream is
 * then closed as STEP_REFUSED.
 */
MUST_CHECK bool step_acknowledged(struct step *s, uint64_t now_ns, const struct step_head *h);

/*
 * step_close(s, why): the driver cannot go on with this stream (local read error, a bad message).
 */
void step_close(struct step *s, enum step_failure why);

/*
 * step_renew(s, now_ns): what this home tells an embassy has changed, so ask anew: at once if
 * waiting, or after the end of the stream that is open.
 */
void step_renew(struct step *s, uint64_t now_ns);

/* step_silent(s, now_ns): is the stream being closed because nothing came for silence_ns? */
bool step_silent(const struct step *s, uint64_t now_ns);

/* step_check(s): abort unless the invariants in replicator_step.c hold. */
void step_check(const struct step *s);

#endif /* !REPLICATOR_STEP_H_ */
