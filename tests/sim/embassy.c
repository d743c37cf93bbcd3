/* See embassy.h. */

#include "embassy.h"

#include "buf.h"
#include "conf.h"
#include "copy.h"
#include "disk.h"
#include "err.h"
#include "home.h"
#include "kept.h"
#include "look.h"
#include "model.h"
#include "net.h"
#include "oracle.h"
#include "params.h"
#include "rpc.h"
#include "vault.h"
#include "world.h"

#include <grpc/grpc.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct embassy {
	unsigned number;
	struct vault *vault;
	bool stopping;
	bool seen; /* the copy, since the start */
};

static struct embassy *embassies[EMBASSIES_MAX];
static struct fiber *main_fibers[EMBASSIES_MAX];
static bool wanted[EMBASSIES_MAX], damaged[EMBASSIES_MAX];
static uint64_t epochs[EMBASSIES_MAX];

bool embassy_is_damaged(unsigned embassy)
{
	return damaged[embassy];
}

uint64_t embassy_epoch(unsigned embassy)
{
	return epochs[embassy];
}

static void look_at_conf(struct embassy *m, struct copy *copy)
{
	static struct params p;
	struct buf text = {0};

	if (copy_get_params(copy, &text) == 0 && params_decode(text.p, text.len, &p) == 0) {
		epochs[m->number] = params_epoch(&p);
		params_release(&p);
	}
	buf_release(&text);
}

/* Whoever mounts the copy sees the namespace as it was at its newest head. */
static void look_at_names(struct embassy *m)
{
	uint64_t head, digest, n;
	char dir[64], who[32];
	int rc;

	snprintf(dir, sizeof(dir), "/%u/s/%s", MACHINE_EMBASSY + m->number, conf_id());
	snprintf(who, sizeof(who), "embassy %u", m->number);
	disk_spare(true);
	rc = look_folder(dir, who, &head, &digest);
	disk_spare(false);
	if (rc < 0)
		fail("%s: its copy cannot be seen: %s", who, err_detail(rc));
	n = model_head_n(head);
	if (n != MODEL_UNKNOWN && digest != model_digest(n))
		fail("%s: head %llu is not what was seen at home after %llu changes", who,
		     (unsigned long long)head, (unsigned long long)n);
}

static void look(struct embassy *m, bool whole)
{
	uint8_t id[VOLUME_ID_LEN];
	struct copy_committed s;
	struct copy *copy;
	int rc;

	rc = volume_id_parse(conf_id(), id);
	assert(rc == 0);
	rc = vault_find(m->vault, id, &copy);
	if (rc == -ERR_NO_VOLUME) {
		oracle_copy(m->number, 0, 0, false);
		return;
	}
	if (rc == -ERR_DAMAGED || rc == -ERR_TAMPERED) {
		if (!damaged[m->number])
			trace("embassy %u: %s", m->number, err_detail(rc));
		damaged[m->number] = true;
	}
	if (rc < 0)
		return;
	copy_get_committed(copy, &s);
	oracle_copy(m->number, s.head, s.end, whole || !m->seen);
	/* A copy in a folder can be mounted. */
	if (whole && !kept_in_memory() && home_knobs.volume && s.head > 0 && oracle_copy_fits(m->number))
		look_at_names(m);
	m->seen = true;
	look_at_conf(m, copy);
	copy_unref(copy);
}

static void *look_new(void *arg)
{
	look(arg, false);
	return NULL;
}

static void *look_whole(void *arg)
{
	look(arg, true);
	return NULL;
}

void embassy_look(unsigned embassy, bool whole)
{
	struct embassy *m = embassies[embassy];

	/* As one of the machine's own threads. */
	if (m && m->vault)
		fiber_join(
			fiber_start(MACHINE_EMBASSY + embassy, whole ? look_whole : look_new, m));
}

static void serve(struct embassy *m)
{
	char address[32];
	struct rpc_config cfg = {.vault = m->vault, .listen = address};
	struct rpc *rpc;
	int rc;

	snprintf(address, sizeof(address), "127.0.0.1:%u", NET_PORT + m->number);
	grpc_init();
	rc = rpc_start(&cfg, &rpc);
	assert(rc == 0);
	while (!m->stopping) {
		fiber_sleep(prng_between(&world_random, 100 * MS, 3 * SECOND));
		look(m, false);
	}
	rpc_stop(rpc);
	look(m, false);
}

static int open_vault(struct embassy *m, const char *dir)
{
	struct storage_pool *pool;
	int rc = kept_open(m->number, dir, &pool);

	return rc < 0 ? rc : vault_open(pool, &m->vault);
}

static void *embassy_main(void *arg)
{
	unsigned e = *(unsigned *)arg;
	char dir[16];
	int rc;

	snprintf(dir, sizeof(dir), "/%u/s", MACHINE_EMBASSY + e);
	free(arg);
	while (wanted[e]) {
		struct embassy *m = calloc(1, sizeof(*m));

		assert(m);
		m->number = e;
		embassies[e] = m;
		rc = open_vault(m, dir);
		if (rc < 0) {
			trace("embassy %u: %s", e, err_detail(rc));
			m->vault = NULL;
			fiber_sleep(SECOND);
			continue;
		}
		trace("embassy %u: serves", e);
		serve(m);
		vault_close(m->vault);
		m->vault = NULL;
		trace("embassy %u: ended", e);
	}
	return NULL;
}

void embassy_start(unsigned embassy)
{
	unsigned *e = malloc(sizeof(*e));

	assert(e);
	*e = embassy;
	wanted[embassy] = true;
	damaged[embassy] = false;
	embassies[embassy] = NULL;
	main_fibers[embassy] = fiber_start(MACHINE_EMBASSY + embassy, embassy_main, e);
}

void embassy_crash(unsigned embassy, bool power)
{
	unsigned machine = MACHINE_EMBASSY + embassy;

	world_crash(machine);
	kept_crash(embassy, power);
	net_crashed(machine);
	embassies[embassy] = NULL;
	oracle_crashed(embassy);
}

void embassy_stop(unsigned embassy)
{
	wanted[embassy] = false;
	if (embassies[embassy])
		embassies[embassy]->stopping = true;
	fiber_join(main_fibers[embassy]);
}
