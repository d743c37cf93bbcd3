/*
 * Whether an embassy's copy is a prefix of this home's log.
 *
 * Key idea: equal notes at equal positions mean equal logs below, because the note is signed and
 * holds the Merkle root. The comparison is with the bytes in our log, not with what the catalog
 * says of them.
 */

#include "agree.h"

#include "catalog.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "frame.h"
#include "head.h"
#include "params.h"
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The embassy's volume.conf: of this volume, and not older than ours. */
static int check_params(const struct params *p, const Embassyfs__V1__Volume *v)
{
	struct params *theirs;
	int rc;

	if (v->params.len > PARAMS_FILE_MAX)
		return err_say(-ERR_TAMPERED, "the embassy's volume.conf is too long");
	theirs = malloc(sizeof(*theirs));
	if (!theirs)
		return -ENOMEM;
	rc = params_decode(v->params.data, v->params.len, theirs);
	if (rc == -ENOMEM || rc == -ERR_VERSION)
		goto free_theirs;
	if (rc < 0) {
		rc = err_say(-ERR_TAMPERED, "the embassy's volume.conf is not valid");
		goto free_theirs;
	}
	if (memcmp(theirs->id, p->id, VOLUME_ID_LEN) != 0)
		rc = err_say(-ERR_TAMPERED, "the embassy's volume.conf is another volume's");
	else if (theirs->serial < p->serial)
		rc = AGREE_LACKING;
	params_release(theirs);

free_theirs:
	free(theirs);
	return rc;
}

/* Whether the bytes of our head at ${ref} are the note that the embassy holds. */
static int compare_note(struct store *st, const struct head_ref *ref, const Embassyfs__V1__Head *h)
{
	uint8_t *block;
	int rc;

	if (ref->pos != h->position || ref->stored_len != h->stored_len)
		goto differs;
	block = malloc(ref->stored_len);
	if (!block)
		return -ENOMEM;
	rc = store_read(st, ref->pos, ref->stored_len, block);
	if (rc == 0 && memcmp(block + FRAME_LEN, h->note.data, h->note.len) != 0)
		rc = 1;
	free(block);
	if (rc <= 0)
		return rc;
differs:
	return err_say(-ERR_FORKED,
		       "the embassy's head %llu is not this log's head %llu: another "
		       "writer went on from an earlier state; nothing was sent. Compare both with "
		       "'embassy heads' before you choose which to keep",
		       (unsigned long long)ref->number, (unsigned long long)ref->number);
}

static int check_newest(struct store *st, struct catalog *c, const Embassyfs__V1__Volume *v,
			const struct params *p, struct step_head *out)
{
	const Embassyfs__V1__Head *h = v->newest;
	struct head_ref ref;
	struct head *head;
	int rc;

	if (h->note.len > HEAD_NOTE_MAX || h->stored_len != FRAME_LEN + h->note.len ||
	    h->position > UINT64_MAX - h->stored_len || v->end != h->position + h->stored_len)
		return err_say(-ERR_TAMPERED, "the embassy's end and newest head do not fit");
	head = malloc(sizeof(*head));
	if (!head)
		return -ENOMEM;
	rc = head_decode(h->note.data, h->note.len, head);
	if (rc == -ERR_FORMAT || (rc == 0 && memcmp(head->volume, p->id, VOLUME_ID_LEN) != 0))
		rc = err_say(-ERR_TAMPERED, "the embassy's newest head is not one of this volume");
	if (rc < 0)
		goto free_head;
	rc = catalog_head(c, head->number, &ref);
	if (rc == -ERR_ABSENT) {
		rc = err_say(
			-ERR_ROLLED_BACK,
			"the embassy holds head %llu, which this log does not: "
			"this home was rolled back or another writer went on; nothing was sent. "
			"Restore this home from the embassy, or keep it apart",
			(unsigned long long)head->number);
		goto free_head;
	}
	if (rc == 0)
		rc = compare_note(st, &ref, h);
	if (rc == 0)
		*out = (struct step_head){.number = ref.number,
					  .end = ref.pos + ref.stored_len,
					  .time_ns = ref.time_ns};
free_head:
	free(head);
	return rc;
}

int agree_check(const struct params *p, struct store *st, struct catalog *c,
		const Embassyfs__V1__Volume *v, struct step_head *out)
{
	int rc;

	*out = (struct step_head){0};
	if (v->volume.len != VOLUME_ID_LEN || memcmp(v->volume.data, p->id, VOLUME_ID_LEN) != 0)
		return err_say(-ERR_TAMPERED, "the embassy answered for another volume");
	rc = check_params(p, v);
	if (rc != 0)
		return rc;
	if (v->newest)
		return check_newest(st, c, v, p, out);
	if (v->end != 0)
		return err_say(-ERR_TAMPERED, "the embassy holds bytes but no head");
	return 0;
}
