/*
 * The scheduler of a live volume: two threads.
 *
 * The clock makes a head shortly before the end of each second in which something changed, or
 * sooner when much has been written.  So "as it was at 10:00:05" includes nearly all of that second
 * and nothing after it.  The checkpointer merges the overlay into a new tree when a minute has
 * passed, when the overlay has grown, or when there are too many heads since.  Meanwhile operations
 * go on in a fresh overlay.
 */

#include "volume_internal.h"

#include "clock.h"
#include "log.h"
#include "msg.h"
#include "params.h"
#include "units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TICK_MS 100u	   /* interval of the log's housekeeping */
#define HEAD_PHASE_MS 950u /* heads are made this far into a second */
#define CHECKPOINT_S_DEFAULT 60u
#define RETRY_S 1u
#define RETRY_S_MAX                                                                                \
	32u /* a failed checkpoint may leave nodes in the log, so retry less and less often */

static const struct {
	const char *id, *fails, *works;
} words[FAILING_KINDS] = {
	[FAILING_SPACE] = {"disk-full",
			   "the disk is full and writes are refused until it has room, of 68 MiB at most",
			   "there is space again"},
	[FAILING_HEAD] = {"head-failed", "no head can be made", "heads are made again"},
	[FAILING_CHECKPOINT] = {"checkpoint-failed", "no checkpoint can be taken",
				"checkpoints are taken again"},
	[FAILING_MERGE] = {"checkpoint-incomplete",
			   "the newest checkpoint leaves changes out, which deltas keep",
			   "checkpoints leave nothing out again"},
};

static void note(struct volume *v, enum failing what, int rc) REQUIRES(v->clock_mu);
static void wait_ms(struct volume *v, pthread_cond_t *cond, uint64_t ms) REQUIRES(v->clock_mu);
static bool checkpoint_pauses(const struct volume *v) REQUIRES(v->clock_mu);
static uint64_t head_due(const struct volume *v, uint64_t due) REQUIRES(v->clock_mu);
static uint64_t checkpoint_due(const struct volume *v, uint64_t due) REQUIRES(v->clock_mu);

/* Record the result of the newest try of one kind. */
static void note(struct volume *v, enum failing what, int rc)
{
	char *reason = v->reason[what], text[sizeof(v->reason[what])] = "";

	if (rc < 0)
		snprintf(text, sizeof(text), "%s: %s", words[what].fails, err_detail(rc));
	if (strcmp(text, reason) == 0)
		return;
	memcpy(reason, text, sizeof(text));
	if (rc < 0)
		msg_event(MSG_ERROR, words[what].id,
			  "%s: %s; nothing that was made durable is lost, trying again", v->cfg.dir,
			  text);
	else
		msg_event(MSG_NOTICE, words[what].id, "%s: %s", v->cfg.dir, words[what].works);
}

bool scheduler_reason(struct volume *v, char *out, size_t cap)
{
	bool stops = false;
	size_t len = 0;

	out[0] = '\0';
	pthread_mutex_lock(&v->clock_mu);
	for (unsigned i = 0; i < FAILING_KINDS && len < cap; i++) {
		if (!v->reason[i][0])
			continue;
		len += (size_t)snprintf(out + len, cap - len, "%s%s", len > 0 ? "; " : "",
					v->reason[i]);
		/* Damage in one place does not keep anybody from writing elsewhere. */
		stops = stops || i != FAILING_MERGE;
	}
	pthread_mutex_unlock(&v->clock_mu);
	return stops;
}

void scheduler_space_tried(struct volume *v, int rc)
{
	bool full = rc == -ENOSPC;

	if ((rc < 0 && !full) || full == atomic_load_explicit(&v->full, memory_order_relaxed))
		return;
	pthread_mutex_lock(&v->clock_mu);
	atomic_store(&v->full, full);
	note(v, FAILING_SPACE, rc);
	pthread_mutex_unlock(&v->clock_mu);
}

/* There may be space again, though no write has found that out yet. */
static void look_at_space(struct volume *v)
{
	uint64_t bytes;

	if (atomic_load(&v->full) && volume_disk_free(v, &bytes) == 0 && bytes >= SEGMENT_SIZE)
		scheduler_space_tried(v, 0);
}

void scheduler_head_tried(struct volume *v, int rc)
{
	pthread_mutex_lock(&v->clock_mu);
	note(v, FAILING_HEAD, rc);
	v->head_rc = rc < 0 ? rc : 0;
	v->head_retry_ns = clock_mono_ns() + RETRY_S * NS_PER_S;
	pthread_mutex_unlock(&v->clock_mu);
}

int scheduler_head_failing(struct volume *v)
{
	int rc;

	pthread_mutex_lock(&v->clock_mu);
	rc = clock_mono_ns() < v->head_retry_ns ? v->head_rc : 0;
	pthread_mutex_unlock(&v->clock_mu);
	return rc;
}

/* Wait on ${cond} for at most ${ms}. */
static void wait_ms(struct volume *v, pthread_cond_t *cond, uint64_t ms)
{
	(void)!clock_wait(cond, &v->clock_mu, clock_mono_ns() + ms * NS_PER_MS);
}

void scheduler_head_made(struct volume *v, int64_t time_ns)
{
	pthread_mutex_lock(&v->clock_mu);
	v->head_ns = time_ns;
	v->head_mono_ns = clock_mono_ns();
	pthread_mutex_unlock(&v->clock_mu);
}

int64_t volume_now_ns(struct volume *v)
{
	int64_t now_ns;

	pthread_mutex_lock(&v->clock_mu);
	now_ns = clock_onward_ns(v->head_ns, v->head_mono_ns, clock_wall_ns(), clock_mono_ns());
	pthread_mutex_unlock(&v->clock_mu);
	return now_ns;
}

void scheduler_want_head(struct volume *v)
{
	pthread_mutex_lock(&v->clock_mu);
	if (!v->want_head) {
		v->want_head = true;
		pthread_cond_broadcast(&v->clock_wake);
	}
	pthread_mutex_unlock(&v->clock_mu);
}

void scheduler_want_checkpoint(struct volume *v)
{
	pthread_mutex_lock(&v->clock_mu);
	if (!v->want_checkpoint && !v->stopping) {
		v->want_checkpoint = true;
		pthread_cond_broadcast(&v->clock_wake);
	}
	pthread_mutex_unlock(&v->clock_mu);
}

/* Did the newest checkpoint fail, and is it too early for another try? */
static bool checkpoint_pauses(const struct volume *v)
{
	return v->checkpoint_rc < 0 && !v->checkpoint_now &&
	       clock_mono_ns() < v->checkpoint_retry_ns;
}

int scheduler_admit(struct volume *v)
{
	size_t live, frozen;
	uint64_t seen;
	bool stops;
	int rc;

	for (;;) {
		pthread_mutex_lock(&v->clock_mu);
		seen = v->checkpoints;
		pthread_mutex_unlock(&v->clock_mu);

		view_rdlock(&v->view);
		live = overlay_bytes(v->view.map.live);
		frozen = v->view.map.frozen ? overlay_bytes(v->view.map.frozen) : 0;
		view_unlock(&v->view);
		if (live > v->overlay_max / 2 && frozen == 0)
			scheduler_want_checkpoint(v);
		if (live < v->overlay_max)
			return 0;
		scheduler_want_checkpoint(v);

		/*
		 * The overlay is full: wait until the checkpoint that is under way, or was asked
		 * for, makes room.
		 */
		pthread_mutex_lock(&v->clock_mu);
		while (v->checkpoints == seen && !v->stopping && !checkpoint_pauses(v))
			pthread_cond_wait(&v->checkpoint_done, &v->clock_mu);
		/*
		 * When the volume closes, no checkpoint comes; the few operations still under way
		 * are let through.
		 */
		stops = v->stopping;
		rc = stops ? 0 : v->checkpoint_rc;
		pthread_mutex_unlock(&v->clock_mu);
		if (rc < 0 || stops)
			return rc;
	}
}

/* Milliseconds until the next head is due, at a fixed point in each second. */
static uint64_t ms_to_head(void)
{
	uint64_t ms = (uint64_t)clock_wall_ns() / NS_PER_MS % 1000;

	return ms < HEAD_PHASE_MS ? HEAD_PHASE_MS - ms : HEAD_PHASE_MS + 1000 - ms;
}

/* When to try a head next; ${due} if nobody asks for one sooner. */
static uint64_t head_due(const struct volume *v, uint64_t due)
{
	uint64_t at = v->want_head ? 0 : due;

	return v->head_rc < 0 && at < v->head_retry_ns ? v->head_retry_ns : at;
}

static void *clock_main(void *arg)
{
	struct volume *v = arg;
	uint64_t due = clock_mono_ns() + ms_to_head() * NS_PER_MS;
	struct head head;

	pthread_mutex_lock(&v->clock_mu);
	while (!v->stopping) {
		uint64_t mono_ns = clock_mono_ns(), at = head_due(v, due);
		bool now;

		if (mono_ns < at) {
			uint64_t left = (at - mono_ns) / NS_PER_MS + 1;

			wait_ms(v, &v->clock_wake, left < TICK_MS ? left : TICK_MS);
		}
		now = clock_mono_ns() >= head_due(v, due);
		if (now)
			v->want_head = false;
		pthread_mutex_unlock(&v->clock_mu);
		log_prepare(v->log);
		look_at_space(v);
		if (now) {
			/* A failure is recorded in there, and tried again later. */
			(void)!volume_add_head(v, &head);
			due = clock_mono_ns() + ms_to_head() * NS_PER_MS;
		}
		pthread_mutex_lock(&v->clock_mu);
	}
	pthread_mutex_unlock(&v->clock_mu);
	return NULL;
}

/* Freeze the live overlay, unless one is still frozen because a checkpoint failed. */
static int freeze(struct volume *v, struct checkpoint *out)
{
	int rc;

	pthread_mutex_lock(&v->flush_mu);
	rc = commit_flush_locked(v, v->view.map.frozen == NULL);
	*out = v->freezing;
	pthread_mutex_unlock(&v->flush_mu);
	return rc;
}

static bool anything_new(struct volume *v)
{
	const struct overlay *live;
	bool news;

	view_rdlock(&v->view);
	live = v->view.map.live;
	/*
	 * Changes that only repeat what the last checkpoint left out are no news: it would leave
	 * them out again.
	 */
	news = v->view.map.frozen != NULL ||
	       (overlay_bytes(live) > v->overlay_empty &&
		(v->gaps.renewed == 0 || overlay_changes(live) != v->gaps.renewed));
	view_unlock(&v->view);
	return news;
}

static int append_block(void *ctx, enum block_kind kind, const void *plain, size_t len,
			struct block_ptr *out)
{
	struct volume *v = ctx;
	int rc = commit_heads_keep_up(v);

	return rc < 0 ? rc : log_append(v->log, kind, plain, len, v->cfg.params->compress, out);
}

int checkpoint_take(struct volume *v)
{
	struct block_io io = {.append = append_block, .ctx = v};
	uint8_t plain[CHECKPOINT_LEN];
	struct overlay *merged;
	struct checkpoint c;
	struct block_ptr ptr;
	int rc;

	if (!anything_new(v))
		return 0;
	rc = freeze(v, &c);
	if (rc < 0)
		return rc;

	/*
	 * Only this function changes the base and drops the frozen overlay, and only one call runs
	 * at a time: so both can be read without a lock here.  If a tree was merged but its
	 * checkpoint failed, use that tree again.
	 */
	if (!v->merged) {
		rc = gaps_merge(v, &io);
		if (rc < 0)
			return rc;
		v->merged = true;
	}
	/*
	 * Recovery starts from the newest checkpoint, so the deltas with what it lacks must lie
	 * before it.
	 */
	rc = gaps_renew(v);
	if (rc < 0)
		return rc;
	c.root = v->merged_root;
	checkpoint_encode(&c, plain);
	rc = append_block(v, BLOCK_CHECKPOINT, plain, sizeof(plain), &ptr);
	if (rc < 0)
		return rc;

	pthread_mutex_lock(&v->flush_mu);
	view_wrlock(&v->view);
	merged = v->view.map.frozen;
	v->view.map.base = c.root;
	v->view.map.frozen = NULL;
	v->view.base_end = c.counts.next_ino;
	if (v->view.map.end_len > 0)
		view_base_ends(&v->view);
	v->merged = false;
	view_unlock(&v->view);
	v->checkpoint = ptr;
	v->checkpoint_head = c.from_head;
	v->checkpoint_news = true;
	pthread_mutex_unlock(&v->flush_mu);
	overlay_free(merged);
	return 0;
}

static uint64_t checkpoint_interval_ns(const struct volume *v)
{
	return (v->cfg.checkpoint_s ? v->cfg.checkpoint_s : CHECKPOINT_S_DEFAULT) * NS_PER_S;
}

/* When to take a checkpoint next; ${due} if nobody asks for one sooner. */
static uint64_t checkpoint_due(const struct volume *v, uint64_t due)
{
	uint64_t at = v->want_checkpoint ? 0 : due;

	if (v->checkpoint_now)
		return 0;
	return v->checkpoint_rc < 0 ? v->checkpoint_retry_ns : at;
}

static void *checkpointer_main(void *arg)
{
	struct volume *v = arg;
	uint64_t due = clock_mono_ns() + checkpoint_interval_ns(v), pause_s = RETRY_S;

	pthread_mutex_lock(&v->clock_mu);
	while (!v->stopping) {
		uint64_t mono_ns = clock_mono_ns(), at = checkpoint_due(v, due);
		int rc, left_out;

		if (mono_ns < at) {
			wait_ms(v, &v->clock_wake, (at - mono_ns) / NS_PER_MS + 1);
			continue;
		}
		v->want_checkpoint = v->checkpoint_now = false;
		pthread_mutex_unlock(&v->clock_mu);
		rc = checkpoint_take(v);
		left_out = rc == 0 ? gaps_say(v) : 0;
		due = clock_mono_ns() + checkpoint_interval_ns(v);
		pthread_mutex_lock(&v->clock_mu);
		note(v, FAILING_CHECKPOINT, rc);
		if (rc == 0)
			note(v, FAILING_MERGE, left_out);
		v->checkpoint_retry_ns = clock_mono_ns() + pause_s * NS_PER_S;
		pause_s = rc == 0 ? RETRY_S : pause_s < RETRY_S_MAX ? 2 * pause_s : RETRY_S_MAX;
		v->checkpoint_rc = rc;
		v->checkpoints++;
		pthread_cond_broadcast(&v->checkpoint_done);
	}
	pthread_cond_broadcast(&v->checkpoint_done);
	pthread_mutex_unlock(&v->clock_mu);
	return NULL;
}

int volume_checkpoint(struct volume *v)
{
	struct head head;
	uint64_t seen;
	int rc;

	pthread_mutex_lock(&v->clock_mu);
	/* A checkpoint under way may have frozen before this call, so only the next one counts. */
	for (int i = 0; i < 2; i++) {
		seen = v->checkpoints;
		v->checkpoint_now = true;
		pthread_cond_broadcast(&v->clock_wake);
		while (v->checkpoints == seen && !v->stopping)
			pthread_cond_wait(&v->checkpoint_done, &v->clock_mu);
	}
	rc = v->checkpoint_rc;
	pthread_mutex_unlock(&v->clock_mu);
	return rc < 0 ? rc : volume_add_head(v, &head);
}

int scheduler_start(struct volume *v)
{
	int rc;

	rc = pthread_create(&v->clock, NULL, clock_main, v);
	if (rc != 0)
		return -rc;
	rc = pthread_create(&v->checkpointer, NULL, checkpointer_main, v);
	if (rc == 0)
		return 0;
	pthread_mutex_lock(&v->clock_mu);
	v->stopping = true;
	pthread_cond_broadcast(&v->clock_wake);
	pthread_mutex_unlock(&v->clock_mu);
	pthread_join(v->clock, NULL);
	return -rc;
}

void scheduler_stop(struct volume *v)
{
	pthread_mutex_lock(&v->clock_mu);
	v->stopping = true;
	pthread_cond_broadcast(&v->clock_wake);
	pthread_cond_broadcast(&v->checkpoint_done);
	pthread_mutex_unlock(&v->clock_mu);
	pthread_join(v->clock, NULL);
	pthread_join(v->checkpointer, NULL);
}
