/*
 * The clockwork of a live volume: two threads.
 *
 * The clock makes a head shortly before the end of each second in which there is news, or sooner
 * when much has been written, so that "as it was at 10:00:05" includes nearly all of that second
 * and nothing after it.  The checkpointer merges the overlay into a new tree when a minute has
 * passed, the overlay has grown or heads have come to many, while operations go on in a fresh
 * overlay.
 */

#include "volume_internal.h"

#include "clock.h"
#include "log.h"
#include "msg.h"
#include "params.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define TICK_MS 100u		/* how often the log's housekeeping runs */
#define HEAD_PHASE_MS 950u	/* heads are made this far into a second */
#define CHECKPOINT_S_DEFAULT 60u
#define RETRY_S 1u

static void note_failure(struct volume *v, const char *what, int rc)
{
	char text[sizeof(v->reason)];
	bool news;

	snprintf(text, sizeof(text), "%s: %s", what, err_detail(rc));
	pthread_mutex_lock(&v->clock_mu);
	news = strcmp(text, v->reason) != 0;
	memcpy(v->reason, text, sizeof(text));
	pthread_mutex_unlock(&v->clock_mu);
	if (news)
		msg_error("%s: %s; nothing that was made durable is lost, trying again", v->cfg.dir,
			  text);
}

static void note_success(struct volume *v)
{
	pthread_mutex_lock(&v->clock_mu);
	if (v->reason[0] != '\0')
		msg_info("%s: writing goes on", v->cfg.dir);
	v->reason[0] = '\0';
	pthread_mutex_unlock(&v->clock_mu);
}

/* Wait on ${cond} for at most ${ms}.  REQUIRES(clock_mu) */
static void wait_ms(struct volume *v, pthread_cond_t *cond, uint64_t ms)
{
	(void)!clock_wait(cond, &v->clock_mu, clock_mono_ns() + ms * NS_PER_MS);
}

void clockwork_head_made(struct volume *v, int64_t time_ns)
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

void clockwork_want_head(struct volume *v)
{
	pthread_mutex_lock(&v->clock_mu);
	if (!v->want_head) {
		v->want_head = true;
		pthread_cond_broadcast(&v->clock_wake);
	}
	pthread_mutex_unlock(&v->clock_mu);
}

void clockwork_want_checkpoint(struct volume *v)
{
	pthread_mutex_lock(&v->clock_mu);
	if (!v->want_checkpoint && !v->stopping) {
		v->want_checkpoint = true;
		pthread_cond_broadcast(&v->clock_wake);
	}
	pthread_mutex_unlock(&v->clock_mu);
}

int clockwork_admit(struct volume *v)
{
	size_t live, frozen;
	uint64_t seen;
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
			clockwork_want_checkpoint(v);
		if (live < v->overlay_max)
			return 0;
		clockwork_want_checkpoint(v);

		/*
		 * Full: wait for the checkpoint under way, or for the one asked for, to make room.
		 */
		pthread_mutex_lock(&v->clock_mu);
		while (v->checkpoints == seen && !v->stopping)
			pthread_cond_wait(&v->checkpoint_done, &v->clock_mu);
		rc = v->checkpoints == seen ? 0 : v->checkpoint_rc;
		pthread_mutex_unlock(&v->clock_mu);
		if (rc < 0)
			return rc;
	}
}

/* The time in this second at which the next head is due, as ms from now. */
static uint64_t ms_to_head(void)
{
	uint64_t ms = (uint64_t)clock_wall_ns() / NS_PER_MS % 1000;

	return ms < HEAD_PHASE_MS ? HEAD_PHASE_MS - ms : HEAD_PHASE_MS + 1000 - ms;
}

static void *clock_main(void *arg)
{
	struct volume *v = arg;
	uint64_t due = clock_mono_ns() + ms_to_head() * NS_PER_MS;
	struct head head;

	pthread_mutex_lock(&v->clock_mu);
	while (!v->stopping) {
		uint64_t mono_ns = clock_mono_ns();
		bool now;
		int rc;

		if (!v->want_head && mono_ns < due) {
			uint64_t left = (due - mono_ns) / NS_PER_MS + 1;

			wait_ms(v, &v->clock_wake, left < TICK_MS ? left : TICK_MS);
		}
		now = v->want_head || clock_mono_ns() >= due;
		v->want_head = false;
		pthread_mutex_unlock(&v->clock_mu);
		log_prepare(v->log);
		if (now) {
			rc = volume_add_head(v, &head);
			if (rc < 0)
				note_failure(v, "no head can be made", rc);
			else
				note_success(v);
			due = clock_mono_ns() + ms_to_head() * NS_PER_MS;
		}
		pthread_mutex_lock(&v->clock_mu);
	}
	pthread_mutex_unlock(&v->clock_mu);
	return NULL;
}

/* Freeze the live overlay, unless one is frozen still from a try that failed. */
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
	bool news;

	view_rdlock(&v->view);
	news = v->view.map.frozen != NULL || overlay_bytes(v->view.map.live) > v->overlay_empty;
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
	 * Only this function changes the base and drops the frozen overlay, and one at a time: both
	 * can be read unlocked.
	 */
	rc = tree_merge(v->cache, &io, &v->view.map.base, v->view.map.frozen, &c.root);
	if (rc < 0)
		return rc;
	checkpoint_encode(&c, plain);
	rc = append_block(v, BLOCK_CHECKPOINT, plain, sizeof(plain), &ptr);
	if (rc < 0)
		return rc;

	pthread_mutex_lock(&v->flush_mu);
	view_wrlock(&v->view);
	merged = v->view.map.frozen;
	v->view.map.base = c.root;
	v->view.map.frozen = NULL;
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

static void *checkpointer_main(void *arg)
{
	struct volume *v = arg;
	uint64_t due = clock_mono_ns() + checkpoint_interval_ns(v);

	pthread_mutex_lock(&v->clock_mu);
	while (!v->stopping) {
		int rc;

		if (!v->want_checkpoint && clock_mono_ns() < due) {
			wait_ms(v, &v->clock_wake, (due - clock_mono_ns()) / NS_PER_MS + 1);
			continue;
		}
		v->want_checkpoint = false;
		pthread_mutex_unlock(&v->clock_mu);
		rc = checkpoint_take(v);
		if (rc < 0)
			note_failure(v, "no checkpoint can be taken", rc);
		due = clock_mono_ns() + (rc < 0 ? RETRY_S * NS_PER_S : checkpoint_interval_ns(v));
		pthread_mutex_lock(&v->clock_mu);
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
	/* One under way may have frozen before this call: only the one after it counts. */
	for (int i = 0; i < 2; i++) {
		seen = v->checkpoints;
		v->want_checkpoint = true;
		pthread_cond_broadcast(&v->clock_wake);
		while (v->checkpoints == seen && !v->stopping)
			pthread_cond_wait(&v->checkpoint_done, &v->clock_mu);
	}
	rc = v->checkpoint_rc;
	pthread_mutex_unlock(&v->clock_mu);
	return rc < 0 ? rc : volume_add_head(v, &head);
}

int clockwork_start(struct volume *v)
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

void clockwork_stop(struct volume *v)
{
	pthread_mutex_lock(&v->clock_mu);
	v->stopping = true;
	pthread_cond_broadcast(&v->clock_wake);
	pthread_cond_broadcast(&v->checkpoint_done);
	pthread_mutex_unlock(&v->clock_mu);
	pthread_join(v->clock, NULL);
	pthread_join(v->checkpointer, NULL);
}
