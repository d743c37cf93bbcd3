/*
 * Changes to a volume.conf: to its slots and to its writer.
 *
 * Each change is made on a copy that shares the old one's texts.  The copy is signed and only then
 * replaces the old one, so a failure leaves the old one as it was.
 */

#include "keys_internal.h"

#include "buf.h"
#include "err.h"
#include "params.h"
#include "secret.h"
#include "slot.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int need_authority(const struct volume_keys *k)
{
	if (k->authority_secret)
		return 0;
	return err_say(-ERR_FORBIDDEN,
		       "this volume.conf does not carry the authority's key; change one that does");
}

static int need_slot(const struct params *p, unsigned number)
{
	if (number >= 1 && number <= p->n_slots)
		return 0;
	return err_say(-ENOENT, "there is no key slot %u; there are 1 to %u", number, p->n_slots);
}

/* Sign ${next} as the successor of ${p}, and replace ${p} with it. */
static int commit(struct params *p, struct params *next, const struct volume_keys *k)
{
	int rc;

	next->serial = p->serial + 1;
	rc = keys_sign(next, k->authority_secret);
	if (rc == 0)
		*p = *next;
	return rc;
}

int keys_add_slot(struct params *p, const struct volume_keys *k, const struct credential *c,
		  const struct slot_options *options)
{
	struct params next = *p;
	struct buf slot = {0};
	int rc;

	rc = need_authority(k);
	if (rc < 0)
		return rc;
	if (p->n_slots == PARAMS_SLOTS_MAX)
		return err_say(-ENOSPC, "all %u key slots are taken; remove one first",
			       PARAMS_SLOTS_MAX);
	rc = slot_make(p->id, k->volume_key, c, options, &slot);
	if (rc < 0)
		goto release;
	next.slots[next.n_slots++] = (char *)slot.p;
	rc = commit(p, &next, k);
	if (rc < 0)
		goto release;
	return 0;

release:
	buf_release(&slot);
	return rc;
}

int keys_remove_slot(struct params *p, const struct volume_keys *k, unsigned number)
{
	struct params next = *p;
	char *removed;
	int rc;

	rc = need_authority(k);
	if (rc == 0)
		rc = need_slot(p, number);
	if (rc < 0)
		return rc;
	if (p->n_slots == 1)
		return err_say(-EPERM, "key slot 1 is the last: without it nobody could open the "
				       "volume; add another first");
	removed = p->slots[number - 1];
	next.n_slots--;
	for (unsigned i = number - 1; i < next.n_slots; i++)
		next.slots[i] = p->slots[i + 1];
	next.slots[next.n_slots] = NULL;
	rc = commit(p, &next, k);
	if (rc == 0)
		free(removed);
	return rc;
}

int keys_rotate_slot(struct params *p, const struct volume_keys *k, unsigned number,
		     const struct credential *c, const struct slot_options *options)
{
	struct slot_options keep = *options;
	struct params next = *p;
	struct buf slot = {0};
	char *old;
	int rc;

	rc = need_authority(k);
	if (rc == 0)
		rc = need_slot(p, number);
	if (rc < 0)
		return rc;
	old = p->slots[number - 1];
	if (!keep.label)
		keep.label = slot_label(old);
	rc = slot_make(p->id, k->volume_key, c, &keep, &slot);
	if (rc < 0)
		goto release;
	next.slots[number - 1] = (char *)slot.p;
	rc = commit(p, &next, k);
	if (rc < 0)
		goto release;
	free(old);
	return 0;

release:
	buf_release(&slot);
	return rc;
}

int keys_list_slots(const struct params *p, struct buf *out)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < p->n_slots; i++) {
		rc = buf_printf(out, "%u ", i + 1);
		if (rc == 0)
			rc = slot_describe(p->slots[i], out);
		if (rc == 0)
			rc = buf_printf(out, "\n");
	}
	return rc;
}

static bool is_writer(const char *secret)
{
	return strncmp(secret, "writer ", 7) == 0;
}

/* Replace all writers' secrets with ${writer}; there is room. */
static void replace_writers(struct params *next, char *writer)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < next->n_secrets; i++)
		if (!is_writer(next->secrets[i]))
			next->secrets[n++] = next->secrets[i];
	assert(n < PARAMS_SECRETS_MAX);
	memmove(&next->secrets[1], &next->secrets[0], n * sizeof(next->secrets[0]));
	next->secrets[0] = writer;
	next->n_secrets = n + 1;
}

static uint32_t count_others(const struct params *p)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->n_secrets; i++)
		n += !is_writer(p->secrets[i]);
	return n;
}

static void free_writers(char *const *secrets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (is_writer(secrets[i]))
			free(secrets[i]);
}

int keys_grant_writer(struct params *p, struct volume_keys *k)
{
	epoch_no epoch = params_epoch(p) + 1;
	uint8_t public[SIGN_PUBLIC_LEN];
	char name[WRITER_NAME_LEN], *writer = NULL;
	struct params next = *p, old = *p;
	uint8_t *secret;
	int rc;

	rc = need_authority(k);
	if (rc < 0)
		return rc;
	if (p->n_grants == PARAMS_GRANTS_MAX || epoch == 0)
		return err_say(-ENOSPC, "this volume has had %u writers, the most that it can",
			       p->n_grants);
	if (count_others(p) == PARAMS_SECRETS_MAX)
		return err_say(-ENOSPC, "volume.conf has %u other secrets, the most that it can",
			       PARAMS_SECRETS_MAX);
	secret = secret_alloc(SIGN_SECRET_LEN);
	if (!secret)
		return -ENOMEM;
	crypto_sign_keypair(public, secret);
	keys_writer_name(epoch, name);
	rc = keys_wrap_secret(k->wrap_key, name, secret, &writer);
	if (rc < 0)
		goto free_secret;
	keys_grant(&next, epoch, public, k->authority_secret);
	replace_writers(&next, writer);
	rc = commit(p, &next, k);
	if (rc < 0)
		goto free_writer;

	free_writers(old.secrets, old.n_secrets);
	secret_free(k->writer_secret);
	k->writer_secret = secret;
	return 0;

free_writer:
	free(writer);
free_secret:
	secret_free(secret);
	return rc;
}
