/* See breaks.h.  The functions are put in by --wrap. */

#include "breaks.h"

#include "agree.h"
#include "catalog.h"
#include "copy_internal.h"
#include "disk.h"
#include "keep.h"
#include "oracle.h"
#include "params.h"
#include "replicator_step.h"
#include "secret.h"
#include "store.h"
#include "vault.h"
#include "world.h"

#include <stdio.h>
#include <string.h>

enum mistake {
	NOTHING,
	SERVER_SYNC,
	HOME_SYNC,
	FOLDER_SYNC,
	SERVER_BYTES,
	SERVER_CUT,
	HOME_CUT,
	HEAD_BACK,
	RESUME_WRONG,
	SAME_SALT,
	NO_RESCUE,
	NO_SETTLE,
	STORE_NAME,
	MISTAKES,
};

static const char *const names[] = {
	[NOTHING] = "nothing",
	[SERVER_SYNC] = "server-sync",	 /* acknowledges before the bytes are durable */
	[HOME_SYNC] = "home-sync",	 /* says "synced" before they are */
	[FOLDER_SYNC] = "folder-sync",	 /* names are never made durable */
	[SERVER_BYTES] = "server-bytes", /* now and then a bit is not written as it was verified */
	[SERVER_CUT] = "server-cut",	 /* what was not acknowledged is left behind */
	[HOME_CUT] = "home-cut",	 /* a torn tail is left in the log */
	[HEAD_BACK] = "head-back",	 /* any acknowledgement is believed */
	[RESUME_WRONG] = "resume-wrong", /* a stream begins a head too low */
	[SAME_SALT] = "same-salt",	 /* each segment has the same */
	[NO_RESCUE] = "no-rescue",	 /* what a killed daemon had in memory is forgotten */
	[NO_SETTLE] = "no-settle",	 /* what a failed sync left in the page cache is believed */
	[STORE_NAME] = "store-name",	 /* a server takes its store's name for durable */
};

static enum mistake mistake;
static struct prng numbers; /* random_bytes() */

int __real_store_sync(struct store *st, uint64_t number);
int __real_store_truncate(struct store *st, uint64_t number, uint64_t len);
int __real_store_write(struct store *st, uint64_t pos, const void *buf, size_t len, bool direct);
int __real_store_settle(struct store *st, uint64_t from);
int __wrap_store_settle(struct store *st, uint64_t from);
int __real_vault_open(const char *dir, struct vault **out);
int __wrap_vault_open(const char *dir, struct vault **out);
int __real_log_rescue(const struct log_config *cfg, struct store *st);
int __wrap_log_rescue(const struct log_config *cfg, struct store *st);
int __real_copy_cut(struct copy *c, uint64_t end);
bool __real_step_acknowledged(struct step *s, uint64_t now_ns, const struct step_head *h);
int __real_agree_check(const struct params *p, struct store *st, struct catalog *c,
		       const struct Embassyfs__V1__Volume *v, struct step_head *out);
int __wrap_store_sync(struct store *st, uint64_t number);
void __real_copy_publish(struct copy *c, const struct copy_stand *s);
void __wrap_copy_publish(struct copy *c, const struct copy_stand *s);
int __wrap_store_truncate(struct store *st, uint64_t number, uint64_t len);
int __wrap_store_write(struct store *st, uint64_t pos, const void *buf, size_t len, bool direct);
int __wrap_copy_cut(struct copy *c, uint64_t end);
bool __wrap_step_acknowledged(struct step *s, uint64_t now_ns, const struct step_head *h);
int __wrap_agree_check(const struct params *p, struct store *st, struct catalog *c,
		       const struct Embassyfs__V1__Volume *v, struct step_head *out);
void __wrap_random_bytes(void *out, size_t len);

bool breaks_set(const char *name)
{
	for (unsigned i = 1; i < MISTAKES; i++)
		if (strcmp(names[i], name) == 0) {
			mistake = (enum mistake)i;
			return true;
		}
	return false;
}

const char *breaks_name(size_t i)
{
	return i + 1 < MISTAKES ? names[i + 1] : NULL;
}

bool breaks_any(void)
{
	return mistake != NOTHING;
}

void breaks_begin(void)
{
	if (mistake == FOLDER_SYNC)
		for (unsigned m = 0; m < MACHINES_MAX; m++)
			disk_faults(m)->deaf_folders = true;
}

static bool at_home(void)
{
	return fiber_machine() == MACHINE_HOME;
}

int __wrap_store_sync(struct store *st, uint64_t number)
{
	if (mistake == SERVER_SYNC && !at_home())
		return 0;
	if (mistake == HOME_SYNC && at_home())
		return 0;
	return __real_store_sync(st, number);
}

int __wrap_store_truncate(struct store *st, uint64_t number, uint64_t len)
{
	if (mistake == HOME_CUT && at_home())
		return 0;
	return __real_store_truncate(st, number, len);
}

int __wrap_store_write(struct store *st, uint64_t pos, const void *buf, size_t len, bool direct)
{
	static uint8_t copy[8 << 20] __attribute__((aligned(4096)));

	if (mistake != SERVER_BYTES || at_home() || len > sizeof(copy) ||
	    !prng_one_in(&world_random, 10))
		return __real_store_write(st, pos, buf, len, direct);
	memcpy(copy, buf, len);
	copy[prng_below(&world_random, len)] ^= 1;
	return __real_store_write(st, pos, copy, len, direct);
}

int __wrap_store_settle(struct store *st, uint64_t from)
{
	return mistake == NO_SETTLE ? 0 : __real_store_settle(st, from);
}

int __wrap_log_rescue(const struct log_config *cfg, struct store *st)
{
	return mistake == NO_RESCUE ? 0 : __real_log_rescue(cfg, st);
}

int __wrap_vault_open(const char *dir, struct vault **out)
{
	char folder[128];
	int rc;

	snprintf(folder, sizeof(folder), "/%u", fiber_machine());
	disk_forget_names(mistake == STORE_NAME ? folder : NULL);
	rc = __real_vault_open(dir, out);
	disk_forget_names(NULL);
	return rc;
}

int __wrap_copy_cut(struct copy *c, uint64_t end)
{
	return mistake == SERVER_CUT ? 0 : __real_copy_cut(c, end);
}

bool __wrap_step_acknowledged(struct step *s, uint64_t now_ns, const struct step_head *h)
{
	if (mistake != HEAD_BACK || s->phase != STEP_STREAMING || h->end > s->sent)
		return __real_step_acknowledged(s, now_ns, h);
	s->acked = *h;
	return true;
}

int __wrap_agree_check(const struct params *p, struct store *st, struct catalog *c,
		       const struct Embassyfs__V1__Volume *v, struct step_head *out)
{
	int rc = __real_agree_check(p, st, c, v, out);
	struct head_ref ref;

	if (mistake == RESUME_WRONG && rc == 0 && out->number > 1 &&
	    catalog_head(c, out->number - 1, &ref) == 0)
		*out = (struct step_head){ref.number, ref.pos + ref.stored_len, ref.time_ns};
	return rc;
}

void __wrap_random_bytes(void *out, size_t len)
{
	uint8_t *p = out;

	for (size_t i = 0; i < len; i++)
		p[i] = mistake == SAME_SALT && len == SALT_LEN ? 1 : (uint8_t)prng_next(&numbers);
}

/* No mistake: what an embassy serves is told to the oracle. */
void __wrap_copy_publish(struct copy *c, const struct copy_stand *s)
{
	oracle_published(fiber_machine() - MACHINE_EMBASSY, s->head, s->end);
	__real_copy_publish(c, s);
}
