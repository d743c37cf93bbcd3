/*
 * Is an embassy's copy a prefix of this home's log?
 *
 * Key idea: equal head notes at equal positions mean equal logs below, because the note is signed
 * and contains the Merkle root.  The note is compared with the bytes in our log, not with what the
 * catalog says of them.
 *
 * Invariant: a claim of the embassy is held against this home, or told to a person as a fact, only
 * after its signature was verified.  A lie is reported as the embassy's fault.
 */

#include "agree.h"

#include "buf.h"
#include "catalog.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "frame.h"
#include "head.h"
#include "params.h"
#include "remote_head.h"
#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Decode the embassy's volume.conf, and check that this volume's authority signed it.  On success
 * the caller releases ${out}.
 */
static int read_params(const struct params *p, const Embassyfs__V1__Volume *v, struct params *out)
{
	int rc;

	if (v->params.len > PARAMS_FILE_MAX)
		return err_say(-ERR_TAMPERED, "the embassy's volume.conf is too long");
	rc = params_decode(v->params.data, v->params.len, out);
	if (rc == -ENOMEM || rc == -ERR_VERSION)
		return rc;
	if (rc < 0)
		return err_say(-ERR_TAMPERED, "the embassy's volume.conf is not valid");
	if (memcmp(out->id, p->id, VOLUME_ID_LEN) == 0)
		return 0;
	params_release(out);
	return err_say(-ERR_TAMPERED, "the embassy's volume.conf is another volume's");
}

/*
 * Verify the newest head that the embassy shows.  If another writer has gone on, the head's writer
 * may be granted only by the embassy's volume.conf, not by ours.
 */
static int read_newest(const struct params *p, const struct params *theirs,
		       const Embassyfs__V1__Volume *v, struct head *out)
{
	struct head_known k = {.params = p};
	int rc;

	if (v->newest->position > UINT64_MAX - v->newest->stored_len ||
	    v->end != v->newest->position + v->newest->stored_len)
		return err_say(-ERR_TAMPERED, "the embassy's end and newest head do not fit");
	rc = remote_head_check(&k, v->newest, out);
	k.params = theirs;
	if (rc == -ERR_STALE)
		rc = remote_head_check(&k, v->newest, out);
	if (rc == -ERR_STALE || rc == -ERR_TAMPERED)
		return err_say(-ERR_TAMPERED,
			       "the newest head that the embassy shows was not signed by a writer "
			       "of this volume: the embassy's copy is damaged, or it lies; nothing "
			       "was sent");
	return rc;
}

/*
 * Does our log contain the head ${theirs}, with the same bytes ${note} at the same position, as the
 * embassy shows it?  Returns 1, 0 or an error.
 */
static int holds_head(const struct params *p, struct store *st, const struct head *theirs,
		      const ProtobufCBinaryData *note)
{
	const struct head_ref ref = {theirs->number, theirs->pos, theirs->stored_len,
				     theirs->time_ns};
	const struct head_known k = {.params = p, .ref = &ref, .same = theirs};
	uint8_t block[HEAD_BLOCK_MAX];
	struct head mine;
	int rc = head_read(&k, head_from_storage, store_storage(st), block, &mine);

	if (rc == -ERR_ABSENT || rc == -ERR_DAMAGED || rc == -ERR_TAMPERED)
		return 0;
	if (rc < 0)
		return rc;
	return memcmp(block + FRAME_LEN, note->data, note->len) == 0;
}

/*
 * The log's bytes decide.  The catalog only tells which of two kinds a difference is: it may just
 * be being made anew, and then lacks heads that the log contains.
 */
static int check_newest(const struct params *p, struct store *st, struct catalog *c,
			const Embassyfs__V1__Volume *v, const struct head *head,
			struct step_head *out)
{
	unsigned long long number = head->number;
	struct head_ref ref;
	int rc = holds_head(p, st, head, &v->newest->note);

	if (rc < 0)
		return rc;
	if (rc == 1) {
		*out = (struct step_head){
			.number = head->number, .end = head_end(head), .time_ns = head->time_ns};
		return 0;
	}
	rc = catalog_head(c, head->number, &ref);
	if (rc == 0)
		return err_say(
			-ERR_FORKED,
			"the embassy's head %llu is not this log's head %llu: another "
			"writer went on from an earlier state; nothing was sent. Compare both "
			"with 'embassy heads' before you choose which to keep",
			number, number);
	if (rc == -ERR_ABSENT)
		return err_say(
			-ERR_ROLLED_BACK,
			"the embassy holds head %llu, which this log does not: this home was "
			"rolled back or another writer went on; nothing was sent. Restore this "
			"home from the embassy, or keep it apart",
			number);
	return rc;
}

static int check_all(const struct params *p, const struct params *theirs, struct store *st,
		     struct catalog *c, const Embassyfs__V1__Volume *v, struct step_head *out)
{
	struct head *head;
	int rc;

	if (theirs->serial < p->serial)
		return AGREE_LACKING;
	if (!v->newest)
		return v->end == 0 ? 0
				   : err_say(-ERR_TAMPERED, "the embassy holds bytes but no head");
	head = malloc(sizeof(*head));
	if (!head)
		return -ENOMEM;
	rc = read_newest(p, theirs, v, head);
	if (rc == 0)
		rc = check_newest(p, st, c, v, head, out);
	free(head);
	return rc;
}

uint64_t agree_other_conf(const struct params *p, const Embassyfs__V1__Volume *v)
{
	struct params *theirs = malloc(sizeof(*theirs));
	struct buf ours = {0};
	uint64_t serial = 0;

	if (theirs && read_params(p, v, theirs) == 0) {
		if (theirs->serial > p->serial)
			serial = theirs->serial;
		else if (theirs->serial == p->serial && params_encode(p, &ours) == 0 &&
			 (ours.len != v->params.len ||
			  memcmp(ours.p, v->params.data, ours.len) != 0))
			serial = theirs->serial;
		params_release(theirs);
	}
	buf_release(&ours);
	free(theirs);
	return serial;
}

int agree_check(const struct params *p, struct store *st, struct catalog *c,
		const Embassyfs__V1__Volume *v, struct step_head *out)
{
	struct params *theirs;
	int rc;

	*out = (struct step_head){0};
	if (v->volume.len != VOLUME_ID_LEN || memcmp(v->volume.data, p->id, VOLUME_ID_LEN) != 0)
		return err_say(-ERR_TAMPERED, "the embassy answered for another volume");
	theirs = malloc(sizeof(*theirs));
	if (!theirs)
		return -ENOMEM;
	rc = read_params(p, v, theirs);
	if (rc == 0) {
		rc = check_all(p, theirs, st, c, v, out);
		params_release(theirs);
	}
	free(theirs);
	return rc;
}
