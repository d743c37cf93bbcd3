/*
 * A server's copy over storage_memory.h: crashes and errors, one at a time, at each call that the copy
 * makes of its storage, as power.c and errors.c make them of files.
 *
 *   crash   at the nth call the server dies, or its power fails
 *   eio, enospc, late   the nth call fails with that, and no other; late: and may land all the same
 *   full    from the nth call on, each that needs room fails, until the end
 *
 * What must hold: what was acknowledged is there; what the copy holds is a prefix of the home's log; an
 * error has a cause; and when the cause is gone, the rest is taken, by itself.
 *
 * --spoil takes each commit for durable that is not: must fail.
 */

#include "ground.h"
#include "model.h"
#include "shipped.h"

#include "buf.h"
#include "err.h"
#include "storage_memory.h"
#include "vault.h"
#include "volume.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HOME_OPS 120u
#define SENDS_MAX 40u

enum how { HOW_CRASH, HOW_EIO, HOW_ENOSPC, HOW_LATE, HOW_FULL, HOW_END };
static const char *const how_names[HOW_END] = {"crash", "eio", "enospc", "late", "full"};

struct run {
	uint64_t seed, stride, only;
	bool spoil;
	char base[GROUND_PATH], home[GROUND_PATH];
	struct ground ground;
	struct shipped shipped;

	/* A trial. */
	struct memory *memory;
	enum how how;
	uint64_t nth, calls;
	bool hit, dead;
	uint64_t acked;
};

#define REQUIRE(cond, ...)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, __VA_ARGS__);                                              \
			fputc('\n', stderr);                                                       \
			return false;                                                              \
		}                                                                                  \
	} while (0)

static bool needs_room(const char *op)
{
	static const char *const ops[] = {"write",    "commit",	  "create",
					  "put_conf", "kv_write", "create_volume"};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (strcmp(op, ops[i]) == 0)
			return true;
	return false;
}

static int on_call(void *ctx, const char *op)
{
	struct run *r = ctx;
	bool write = strcmp(op, "write") == 0 || strcmp(op, "commit") == 0;

	if (strcmp(op, "kv_stays") == 0)
		return (int)(r->calls & 1);
	if (r->dead)
		return -EIO;
	if (++r->calls < r->nth || (r->calls > r->nth && r->how != HOW_FULL))
		return 0;
	if (r->how == HOW_FULL && !needs_room(op))
		return 0;
	r->hit = true;
	switch (r->how) {
	case HOW_CRASH:
		r->dead = true;
		memory_crash(r->memory, (enum memory_crash)(r->nth % 3));
		return -EIO;
	case HOW_LATE:
		return write ? MEMORY_LATE | EIO : -EIO;
	default:
		return r->how == HOW_EIO ? -EIO : -ENOSPC;
	}
}

static int open_vault(struct run *r, struct vault **v, struct copy **c)
{
	struct storage_pool *pool;
	struct buf text = {0};
	int rc = storage_memory_open(r->memory, "memory", &pool);

	if (rc == 0)
		rc = vault_open(pool, v);
	if (rc < 0)
		return rc;
	rc = params_encode(&r->ground.params, &text);
	if (rc == 0)
		rc = vault_put(*v, text.p, text.len, GROUND_OWNER, c);
	buf_release(&text);
	if (rc < 0) {
		vault_close(*v);
		*v = NULL;
	}
	return rc;
}

static void note_acked(void *ctx, uint64_t head)
{
	((struct run *)ctx)->acked = head;
}

/* The server starts again, after a crash or by order. */
static int restart(struct run *r, struct vault **v, struct copy **c)
{
	if (*v)
		vault_close(*v);
	*v = NULL;
	r->dead = false;
	return open_vault(r, v, c);
}

/* A home that goes on sending whatever happens. */
static bool send_all(struct run *r)
{
	uint64_t heads = r->shipped.heads, random = r->seed + r->nth;
	struct copy_committed committed;
	struct vault *v = NULL;
	struct copy *c;
	unsigned failures = 0;

	for (unsigned i = 0; r->acked < heads; i++) {
		uint64_t upto = r->acked + model_random(&random) % 6 + 1;
		int rc = !v || model_random(&random) % 8 == 0 ? restart(r, &v, &c) : 0;

		if (rc == 0)
			rc = shipped_send(&r->shipped, c, upto < heads ? upto : heads,
					  (unsigned)model_random(&random) % 3 + 1, note_acked, r);
		if (rc == 0)
			continue;
		REQUIRE(r->hit, "failed without a cause: %s", err_detail(rc));
		REQUIRE(++failures < SENDS_MAX, "does not go on: %s", err_detail(rc));
		if (r->how == HOW_FULL && failures > 3)
			memory_set_fault(r->memory, NULL, NULL);
		if (v) {
			copy_get_committed(c, &committed);
			REQUIRE(committed.head >= r->acked, "what was acknowledged is gone");
		}
		if (r->dead || failures > 1) {
			rc = restart(r, &v, &c);
			REQUIRE(rc == 0 || r->how == HOW_FULL, "does not open: %s", err_detail(rc));
		}
	}
	memory_set_fault(r->memory, NULL, NULL);
	memory_crash(r->memory, MEMORY_NONE);
	REQUIRE(restart(r, &v, &c) == 0, "does not open at the end: %s", err_detail(-ERR_DAMAGED));
	copy_get_committed(c, &committed);
	REQUIRE(committed.head == heads, "stands at head %llu of %llu",
		(unsigned long long)committed.head, (unsigned long long)heads);
	REQUIRE(shipped_holds(&r->shipped, c), "is not the home's log");
	vault_close(v);
	return true;
}

static bool trial(struct run *r)
{
	bool good;

	r->calls = r->acked = 0;
	r->hit = r->dead = false;
	r->memory = memory_new(r->seed + r->nth);
	if (!r->memory)
		ground_die("no memory");
	memory_set_fault(r->memory, on_call, r);
	memory_set_deaf(r->memory, r->spoil);
	good = send_all(r);
	if (!good)
		fprintf(stderr, "%s at call %llu, seed %llu\n", how_names[r->how],
			(unsigned long long)r->nth, (unsigned long long)r->seed);
	else
		memory_free(r->memory);
	return good;
}

static int make_home(struct run *r)
{
	uint64_t random = r->seed;
	struct head head;
	struct volume *v;
	struct model m;
	int rc;

	model_init(&m);
	if (mkdir(r->home, 0700) < 0)
		return -errno;
	rc = ground_make(&r->ground, r->home);
	if (rc == 0)
		rc = ground_open(&r->ground, r->home, &v);
	for (unsigned i = 0; rc == 0 && i < HOME_OPS; i++) {
		struct op op = op_random(&random);

		rc = model_apply(&m, v, &op);
		if (rc == 0 && i % 5 == 4)
			rc = volume_add_head(v, &head);
	}
	if (rc == 0)
		rc = volume_close(v);
	model_release(&m);
	return rc;
}

/* The places to fail, one after the other, until a workload ends before. */
static unsigned try_how(struct run *r, enum how how)
{
	unsigned n = 0, bad = 0;

	r->how = how;
	for (r->nth = r->only ? r->only : 1;; r->nth += r->stride) {
		bad += !trial(r);
		n++;
		if (!r->hit || r->only || bad > 3)
			break;
	}
	printf("  %-6s %u places, up to call %llu; %u went wrong\n", how_names[how], n,
	       (unsigned long long)r->nth, bad);
	fflush(stdout);
	return bad;
}

static void read_options(struct run *r, int argc, char **argv)
{
	static const struct option list[] = {
		{"stride", required_argument, NULL, 't'},
		{"seed", required_argument, NULL, 's'},
		{"nth", required_argument, NULL, 'n'},
		{"spoil", no_argument, NULL, 'x'},
		{NULL, 0, NULL, 0},
	};
	int ch;

	while ((ch = getopt_long(argc, argv, "", list, NULL)) != -1) {
		switch (ch) {
		case 't':
			r->stride = strtoull(optarg, NULL, 10);
			break;
		case 's':
			r->seed = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			r->only = strtoull(optarg, NULL, 10);
			break;
		case 'x':
			r->spoil = true;
			break;
		default:
			ground_die("usage: stored [--stride N] [--seed N] [--nth N] [--spoil]");
		}
	}
	if (optind < argc || r->stride == 0)
		ground_die("usage: stored [--stride N] [--seed N] [--nth N] [--spoil]");
}

int main(int argc, char **argv)
{
	static struct run r = {.seed = 1, .stride = 1};
	unsigned bad = 0;
	int rc;

	read_options(&r, argc, argv);
	printf("stored: seed %llu\n", (unsigned long long)r.seed);
	ground_folder(r.base);
	ground_path(r.home, r.base, "home");
	ground_init(&r.ground);
	rc = make_home(&r);
	if (rc < 0)
		ground_die("%s: %s", r.home, err_detail(rc));
	shipped_load(&r.shipped, r.home);
	for (int how = 0; how < HOW_END; how++)
		bad += try_how(&r, (enum how)how);
	shipped_free(&r.shipped);
	ground_release(&r.ground);
	ground_remove(r.base);
	return bad > 0;
}
