/* See taken_over.h. */

#include "taken_over.h"

#include "err.h"
#include "head.h"
#include "huge.h"
#include "model.h"
#include "view.h"
#include "volume.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPS_OF_A_LIFE 24u
#define FAIL_NTH_MAX 300u

/* What all processes know. */
struct state {
	unsigned done;	/* operations that have returned */
	bool under_way; /* the next one had begun, and may be there too */
};

struct life {
	const struct taken_over *t;
	struct state *state;
	struct volume_shm shm;
	uint64_t dice;
};

static void *share(size_t len)
{
	uint8_t *p = mmap(NULL, len + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);

	if (p == MAP_FAILED)
		ground_die("no memory");
	return (void *)huge_up((uintptr_t)p);
}

/* A process without a volume: to the state that there must be, and back to where the operations are. */
static void recall(const struct life *l, struct model *m, uint64_t *random)
{
	*random = l->t->seed;
	model_init(m);
	for (unsigned i = 0; i < l->state->done; i++) {
		struct op op = op_random(random);

		(void)model_apply(m, NULL, &op);
	}
}

/* Nothing that any operation did is lost by a kill; of one that was under way all is there, or nothing. */
static void require_all(const struct life *l, struct volume *v, struct model *m, uint64_t *random)
{
	struct op op;

	if (model_equal(volume_view(v), m, NULL)) {
		l->state->under_way = false;
		return;
	}
	op = op_random(random);
	(void)model_apply(m, NULL, &op);
	if (!l->state->under_way || !model_equal(volume_view(v), m, NULL)) {
		fprintf(stderr, "taken over: not the state after operation %u\n", l->state->done);
		_exit(1);
	}
	l->state->under_way = false;
	l->t->rec->mark(l->t->mark_done, ++l->state->done);
}

static int after_op(const struct life *l, struct volume *v, const struct op *op)
{
	struct head head;
	int rc;

	if (op->fill % 8 == 0)
		rc = volume_sync(v);
	else if (op->fill % 16 == 1)
		rc = volume_add_head(v, &head);
	else if (op->fill % 32 == 2)
		rc = volume_checkpoint(v);
	else
		return 0;
	if (rc == 0)
		l->t->rec->mark(l->t->mark_synced, l->state->done);
	return rc;
}

static void live(struct life *l)
{
	const struct taken_over *t = l->t;
	struct volume_config cfg = {.dir = t->dir,
				    .params = &t->ground->params,
				    .keys = &t->ground->keys,
				    .shm = &l->shm};
	unsigned ops = (unsigned)(model_random(&l->dice) % OPS_OF_A_LIFE) + 1;
	bool fails = model_random(&l->dice) % 3 == 0;
	struct volume *v;
	struct model m;
	uint64_t random;
	int rc;

	recall(l, &m, &random);
	rc = volume_open(&cfg, &v);
	if (rc < 0) {
		fprintf(stderr, "taken over: does not open: %s\n", err_detail(rc));
		_exit(1);
	}
	require_all(l, v, &m, &random);
	if (fails)
		t->rec->fail(model_random(&l->dice) % FAIL_NTH_MAX + 1, EIO, RECORDER_FAIL_ONCE);
	for (unsigned i = 0; rc == 0 && i < ops && l->state->done < t->ops; i++) {
		struct op op = op_random(&random);

		l->state->under_way = true;
		rc = model_apply(&m, v, &op);
		if (rc != 0)
			break;
		l->state->under_way = false;
		t->rec->mark(t->mark_done, ++l->state->done);
		rc = after_op(l, v, &op);
	}
	if (rc > 0) {
		fprintf(stderr, "taken over: operation %u did what it should not\n",
			l->state->done);
		_exit(1);
	}
	/* The last one must close it; of the others most are killed, all of those that met an error. */
	if (rc < 0 || (l->state->done < t->ops && model_random(&l->dice) % 8 != 0))
		t->rec->kill();
	t->rec->fail(0, 0, RECORDER_FAIL_ONCE);
	if (volume_close(v) < 0)
		t->rec->kill();
	t->rec->mark(t->mark_synced, l->state->done);
	t->rec->flush();
	_exit(0);
}

static void create(const struct life *l)
{
	if (ground_make(l->t->ground, l->t->dir) < 0)
		_exit(1);
	l->t->rec->flush();
	_exit(0);
}

/* A process of its own, forked from one without threads.  Its status. */
static int run(struct life *l, bool making)
{
	int status;
	pid_t pid;

	l->t->rec->flush();
	pid = fork();
	if (pid < 0)
		ground_die("fork: %s", strerror(errno));
	if (pid == 0 && making)
		create(l);
	if (pid == 0)
		live(l);
	if (waitpid(pid, &status, 0) != pid)
		ground_die("wait: %s", strerror(errno));
	return status;
}

int taken_over_work(const struct taken_over *t)
{
	struct life l = {.t = t,
			 .state = share(sizeof(*l.state)),
			 .shm = {.mem = share(volume_shm_bytes()), .lock_fd = -1},
			 .dice = t->seed ^ 0x746b6e6f766572u};
	bool closed = false;
	int status = run(&l, true);

	if (status != 0)
		return 1;
	t->rec->mark(t->mark_made, 1);
	while (l.state->done < t->ops || !closed) {
		(void)model_random(&l.dice);
		status = run(&l, false);
		closed = WIFEXITED(status);
		if (closed && WEXITSTATUS(status) != 0)
			return 1;
		if (!closed && WTERMSIG(status) != SIGKILL)
			return 1;
		l.shm.take_over = !closed;
		if (closed)
			memset(l.shm.mem, 0, volume_shm_bytes());
	}
	return 0;
}
