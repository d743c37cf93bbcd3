/*
 * Walks through the past.
 *
 * A table of sets with a few places each.  A new walk takes the place of the walk in its set that
 * was continued longest ago.  The time at which a head was last read is kept by a hash of its
 * number.  If two heads share a place there, a walk may only pause for longer than it should.
 */

#include "walks.h"

#include "locks.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 4u
#define SETS (WALKS_MAX / WAYS)
#define HEADS 256u

struct walk {
	struct walks_process process;
	uint64_t tag;
	head_no head;
	uint64_t began_ns, last_ns;
};

struct walks {
	pthread_mutex_t mu;
	struct walk table[SETS][WAYS]; /* Guarded by mu.  Head 0: free. */
	atomic_uint_fast64_t used_ns[HEADS];
};

static struct walk *find_locked(struct walks *w, const struct walks_process *p, uint64_t tag)
	REQUIRES(w->mu);
static bool goes_on(struct walks *w, struct walk *walk, uint64_t now_ns) REQUIRES(w->mu);

int walks_new(struct walks **out)
{
	struct walks *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->mu, NULL);
	*out = w;
	return 0;
}

void walks_free(struct walks *w)
{
	if (!w)
		return;
	pthread_mutex_destroy(&w->mu);
	free(w);
}

static int read_proc(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return -ESRCH;
	n = fread(buf, 1, size - 1, f);
	buf[n] = '\0';
	fclose(f);
	return n > 0 ? 0 : -ESRCH;
}

/*
 * The 22nd field of proc_pid_stat(5).  The second field, a name, may contain blanks and
 * parentheses.
 */
static int parse_started(const char *stat, uint64_t *out)
{
	const char *p = strrchr(stat, ')');

	for (unsigned field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	return p && sscanf(p, " %" SCNu64, out) == 1 ? 0 : -ESRCH;
}

int walks_process(uint64_t tid, struct walks_process *out)
{
	char path[64], buf[1024];
	const char *line;
	int rc;

	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/status", tid);
	rc = read_proc(path, buf, sizeof(buf));
	line = rc == 0 ? strstr(buf, "\nTgid:") : NULL;
	if (!line || sscanf(line, "\nTgid: %" SCNu64, &out->pid) != 1)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", out->pid);
	rc = read_proc(path, buf, sizeof(buf));
	return rc ? rc : parse_started(buf, &out->started);
}

static struct walk *set_of(struct walks *w, const struct walks_process *p, uint64_t tag)
{
	uint64_t process = (p->pid ^ p->started << 32) * UINT64_C(0x9e3779b97f4a7c15);
	uint64_t h = (process ^ tag) * UINT64_C(0xbf58476d1ce4e5b9);

	return w->table[(h >> 32) % SETS];
}

static struct walk *find_locked(struct walks *w, const struct walks_process *p, uint64_t tag)
{
	struct walk *set = set_of(w, p, tag);

	for (unsigned i = 0; i < WAYS; i++)
		if (set[i].head != 0 && set[i].tag == tag && set[i].process.pid == p->pid &&
		    set[i].process.started == p->started)
			return &set[i];
	return NULL;
}

static bool goes_on(struct walks *w, struct walk *walk, uint64_t now_ns)
{
	uint64_t used_ns = atomic_load(&w->used_ns[walk->head % HEADS]), pause_ns;

	if (used_ns > walk->last_ns)
		walk->last_ns = used_ns;
	pause_ns = walk->last_ns - walk->began_ns;
	/* One process may use it for long; of the others it is not known where one's use ends. */
	if (pause_ns < WALKS_PAUSE_MIN_NS || walk->process.pid == 0)
		pause_ns = WALKS_PAUSE_MIN_NS;
	if (pause_ns > WALKS_PAUSE_MAX_NS)
		pause_ns = WALKS_PAUSE_MAX_NS;
	return now_ns <= walk->last_ns + pause_ns;
}

head_no walks_head(struct walks *w, const struct walks_process *p, uint64_t tag, uint64_t now_ns)
{
	struct walk *walk;
	head_no head = 0;

	pthread_mutex_lock(&w->mu);
	walk = find_locked(w, p, tag);
	if (walk && goes_on(w, walk, now_ns)) {
		walk->last_ns = now_ns;
		head = walk->head;
	}
	pthread_mutex_unlock(&w->mu);
	return head;
}

void walks_begin(struct walks *w, const struct walks_process *p, uint64_t tag, head_no head,
		 uint64_t now_ns)
{
	struct walk *set = set_of(w, p, tag), *walk;

	pthread_mutex_lock(&w->mu);
	walk = find_locked(w, p, tag);
	if (!walk) {
		walk = set;
		for (unsigned i = 1; i < WAYS; i++)
			if (set[i].last_ns < walk->last_ns)
				walk = &set[i];
	}
	*walk = (struct walk){
		.process = *p, .tag = tag, .head = head, .began_ns = now_ns, .last_ns = now_ns};
	pthread_mutex_unlock(&w->mu);
}

void walks_used(struct walks *w, head_no head, uint64_t now_ns)
{
	atomic_store(&w->used_ns[head % HEADS], now_ns);
}
