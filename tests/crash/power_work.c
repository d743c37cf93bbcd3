/* The programs that power records: see power.c. */

#include "power_internal.h"

#include "taken_over.h"

#include "buf.h"
#include "copy.h"
#include "err.h"
#include "file.h"
#include "head.h"
#include "params.h"
#include "vault.h"
#include "view.h"
#include "volume.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define ROLL_LEN 380000u
/* Two pieces of a roll-up, in more deltas than a head lists. */
#define ROLLUP_NAMES 1600u
#define ROLLUP_VALUE 1000u
#define ROLLUP_EACH 20u

struct op power_next_op(const struct run *r, uint64_t *random, unsigned i)
{
	struct op op = op_random(random);

	if (r->what == ROLL && i > 1) {
		op.kind = 2;
		op.a = 0;
		op.len = ROLL_LEN;
		op.off = op.off % (MODEL_SIZE_MAX - ROLL_LEN);
		op.noise = true;
	} else if (r->what == ROLL) {
		op.kind = 0;
		op.a = 0;
	}
	return op;
}

/* Write bytes of each file over themselves: the state stays, its extents are deleted and put. */
static int rewrite_files(struct volume *v)
{
	uint8_t data[4096];
	struct attr a;
	char name[16];
	size_t len;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < MODEL_FILES; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		if (view_lookup(volume_view(v), INO_ROOT, name, &a) < 0)
			continue;
		rc = view_read(volume_view(v), a.ino, 0, sizeof(data), data, &len);
		if (rc == 0 && len > 0)
			rc = volume_write(v, NULL, a.ino, 0, len, data, false);
	}
	return rc;
}

/*
 * A head over a roll-up of several pieces: many deltas, and most of what they change comes before
 * all files in the order of keys, so that the files' changes are in the last piece.
 */
static int roll_up(const struct recorder *rec, struct volume *v, uint64_t *random, unsigned done)
{
	uint8_t value[ROLLUP_VALUE];
	struct head head;
	char name[32];
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < ROLLUP_NAMES; i++) {
		for (size_t k = 0; k < sizeof(value); k++)
			value[k] = (uint8_t)model_random(random);
		snprintf(name, sizeof(name), "user.%u", i);
		rc = volume_setxattr(v, NULL, INO_ROOT, name, value, sizeof(value), 0);
		if (rc == 0 && i % (ROLLUP_NAMES / 4) == 0)
			rc = rewrite_files(v);
		if (rc == 0 && i % ROLLUP_EACH == 0)
			rc = volume_sync(v);
		if (rc == 0 && i == 0)
			rec->mark(MARK_SYNCED, done);
	}
	return rc == 0 ? volume_add_head(v, &head) : rc;
}

/* What else happens after an operation. */
static int after_op(struct run *r, const struct recorder *rec, struct volume **v,
		    const struct op *op, unsigned i)
{
	struct head head;
	int rc = 0;

	if (op->fill % 8 == 0) {
		rc = volume_sync(*v);
		if (rc == 0)
			rec->mark(MARK_SYNCED, i + 1);
	} else if (op->fill % 32 == 1) {
		rc = volume_add_head(*v, &head);
		if (rc == 0)
			rec->mark(MARK_SYNCED, i + 1);
	} else if (op->fill % 32 == 2) {
		rc = volume_checkpoint(*v);
		if (rc == 0)
			rec->mark(MARK_SYNCED, i + 1);
	} else if (op->fill % 64 == 3) {
		rc = volume_close(*v);
		if (rc == 0) {
			rec->mark(MARK_SYNCED, i + 1);
			rc = ground_open(&r->ground, r->home, v);
		}
	} else if (op->fill % 64 == 4 && r->what == HOME) {
		uint64_t random = i;

		rc = roll_up(rec, *v, &random, i + 1);
	}
	return rc;
}

static int work_home(struct run *r, const struct recorder *rec)
{
	uint64_t random = r->seed;
	struct model m;
	struct volume *v;
	int rc;

	model_init(&m);
	if (mkdir(r->home, 0700) < 0)
		return -errno;
	rc = ground_make(&r->ground, r->home);
	/* The folder is the admin's, who made it durable before. */
	if (rc == 0)
		rc = file_sync_dir(AT_FDCWD, r->root);
	if (rc == 0)
		rec->mark(MARK_MADE, 1);
	if (rc == 0)
		rc = ground_open(&r->ground, r->home, &v);
	for (unsigned i = 0; rc == 0 && i < r->ops; i++) {
		struct op op = power_next_op(r, &random, i);

		rc = model_apply(&m, v, &op);
		rec->mark(MARK_DONE, i + 1);
		if (rc == 0)
			rc = after_op(r, rec, &v, &op, i);
	}
	if (rc == 0)
		rc = volume_close(v);
	if (rc == 0)
		rec->mark(MARK_SYNCED, r->ops);
	model_release(&m);
	return rc;
}

static int work_takeover(struct run *r, const struct recorder *rec)
{
	const struct taken_over t = {.ground = &r->ground,
				     .rec = rec,
				     .dir = r->home,
				     .ops = r->ops,
				     .seed = r->seed,
				     .mark_made = MARK_MADE,
				     .mark_done = MARK_DONE,
				     .mark_synced = MARK_SYNCED};

	if (mkdir(r->home, 0700) < 0 || file_sync_dir(AT_FDCWD, r->root) < 0)
		return -errno;
	return taken_over_work(&t);
}

int power_put_conf(const struct run *r, struct vault *v, uint64_t serial, struct copy **out)
{
	struct params p = r->ground.params;
	struct buf text = {0};
	int rc;

	p.serial = serial;
	rc = params_encode_unsigned(&p, &text);
	if (rc == 0)
		crypto_sign_detached(p.signature, NULL, text.p, text.len,
				     r->ground.keys.authority_secret);
	buf_reset(&text);
	if (rc == 0)
		rc = params_encode(&p, &text);
	if (rc == 0)
		rc = vault_put(v, text.p, text.len, GROUND_OWNER, out);
	buf_release(&text);
	return rc;
}

static void mark_acked(void *ctx, uint64_t head)
{
	((const struct recorder *)ctx)->mark(MARK_ACKED, head);
}

static int work_server(struct run *r, const struct recorder *rec)
{
	uint64_t random = r->seed, upto = 0, serial = 1;
	struct vault *v;
	struct copy *c;
	int rc;

	rc = shipped_open_vault(r->store, &v);
	if (rc == 0)
		rc = power_put_conf(r, v, serial, &c);
	if (rc == 0)
		rec->mark(MARK_MADE, 1);
	while (rc == 0 && upto < r->shipped.heads) {
		upto += model_random(&random) % 6 + 1;
		if (upto > r->shipped.heads)
			upto = r->shipped.heads;
		rc = shipped_send(&r->shipped, c, upto, (unsigned)model_random(&random) % 3 + 1,
				  mark_acked, (void *)rec);
		if (rc == 0 && model_random(&random) % 4 == 0) {
			rc = power_put_conf(r, v, ++serial, &c);
			if (rc == 0)
				rec->mark(MARK_SERIAL, serial);
		}
		if (rc == 0 && model_random(&random) % 4 == 0) {
			vault_close(v);
			rc = shipped_open_vault(r->store, &v);
			if (rc == 0)
				rc = vault_find(v, r->ground.params.id, &c);
		}
	}
	if (rc == 0)
		vault_close(v);
	return rc;
}

/* The home that a server's workload ships. */
int power_make_home(struct run *r)
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
	for (unsigned i = 0; rc == 0 && i < r->ops; i++) {
		struct op op = op_random(&random);

		rc = model_apply(&m, v, &op);
		if (rc == 0 && i % 5 == 4)
			rc = volume_add_head(v, &head);
		if (rc == 0 && i % 60 == 59)
			rc = volume_close(v);
		if (rc == 0 && i % 60 == 59)
			rc = ground_open(&r->ground, r->home, &v);
	}
	if (rc == 0)
		rc = volume_close(v);
	model_release(&m);
	return rc;
}

int power_work(struct run *r)
{
	char recording[GROUND_PATH];
	struct recorder rec;
	int rc;

	ground_recorder(&rec);
	if (!rec.start)
		ground_die("the recorder is not loaded");
	if (r->what == SERVER)
		shipped_load(&r->shipped, r->home);
	ground_path(recording, r->base, "recording");
	rec.start(r->root, recording);
	if (r->what == SERVER)
		rc = work_server(r, &rec);
	else
		rc = r->what == TAKEOVER ? work_takeover(r, &rec) : work_home(r, &rec);
	rec.stop();
	if (rc != 0)
		ground_die("the workload failed: %s", rc < 0 ? err_detail(rc) : "wrong result");
	return 0;
}
