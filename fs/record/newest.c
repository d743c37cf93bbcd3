/*
 * VOLUME/newest-head.
 *
 * Key idea: the file holds a signed note, so that a flipped bit makes it worthless, and not a
 * reason to refuse a volume that is whole.
 *
 * Invariant: the head was durable in the log before the file says so.
 */

#include "newest.h"

#include "catalog.h"
#include "clock.h"
#include "frame.h"
#include "head.h"
#include "judge.h"
#include "params.h"
#include "storage.h"

#include "err.h"
#include "file.h"
#include "msg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEWEST_FILE STORAGE_NOTE

static char *path_of(const char *volume_dir)
{
	char *path;

	return asprintf(&path, "%s/" NEWEST_FILE, volume_dir) < 0 ? NULL : path;
}

struct newest newest_found(const struct head *known)
{
	return (struct newest){
		.number = known->number, .pos = known->pos, .held = known->number};
}

bool newest_is_due(const struct newest *n, const struct head_ref *ref, bool at_end)
{
	bool rolled = segment_of(ref->pos) != segment_of(n->pos);
	uint64_t every_ns = rolled ? NEWEST_ROLL_NS : NEWEST_EVERY_NS;

	if (at_end)
		return ref->number > n->held;
	if (ref->number <= n->number)
		return false;
	return n->at_ns == 0 || clock_mono_ns() - n->at_ns >= every_ns;
}

/* Read and judge the head's block; only its note is written. */
static int write_note(const struct params *params, struct storage *st, const struct head_ref *ref)
{
	const struct head_known k = {.params = params, .ref = ref};
	uint8_t *block = malloc(HEAD_BLOCK_MAX);
	struct head h;
	int rc = block ? head_read(&k, head_from_storage, st, block, &h) : -ENOMEM;

	if (rc == 0)
		rc = storage_put_note(st, block + FRAME_LEN, h.stored_len - FRAME_LEN);
	free(block);
	return rc;
}

void newest_note(struct newest *n, const struct params *params, struct storage *st,
		 const struct head_ref *ref)
{
	int rc = write_note(params, st, ref);

	/* A full disk is not reported here, but where it matters. */
	if (rc < 0 && rc != -ENOSPC && rc != -EDQUOT)
		msg_event(MSG_WARN, "newest-head-unwritten",
			  "%s/" NEWEST_FILE ": head %llu can't be written down: %s", st->name,
			  (unsigned long long)ref->number, err_detail(rc));
	if (rc < 0)
		err_forget(rc);
	else
		n->held = ref->number;
	n->number = ref->number;
	n->pos = ref->pos;
	n->at_ns = clock_mono_ns();
}

int newest_forget(const char *volume_dir)
{
	char *path = path_of(volume_dir);
	int rc = path ? file_unlink(AT_FDCWD, path) : -ENOMEM;

	if (rc == 0)
		rc = file_sync_dir(AT_FDCWD, volume_dir);
	free(path);
	return rc == -ENOENT ? 0 : rc;
}

void newest_known(const struct params *params, struct storage *st, struct head *out)
{
	const struct head_known k = {.params = params, .pos = HEAD_ANYWHERE, .is_note = true};
	void *note = NULL;
	size_t len = 0;
	int rc = storage_get_note(st, HEAD_NOTE_MAX, &note, &len);

	if (rc == 0)
		rc = head_judge(&k, note, len, out);
	if (rc < 0)
		memset(out, 0, sizeof(*out));
	/* A reader may lack the permission to look; that is no fault. */
	if (rc < 0 && rc != -ERR_ABSENT && rc != -EACCES)
		msg_event(MSG_WARN, "newest-head-unreadable",
			  "%s/" NEWEST_FILE ": it tells nothing: %s; it is written anew in time",
			  st->name, err_detail(rc));
	if (rc < 0)
		err_forget(rc);
	free(note);
}
