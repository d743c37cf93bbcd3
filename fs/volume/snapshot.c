/*
 * Snapshots: names for heads.  A name is an item like any other, so snapshots are replicated,
 * versioned and durable as files are.
 */

#include "volume_internal.h"

#include "msg.h"

#include <errno.h>
#include <string.h>

static int check_name(const char *name)
{
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    strchr(name, '/') != NULL || strlen(name) > NAME_LEN_MAX)
		return err_say(-EINVAL, "'%.255s': not a name for a snapshot; use 1 to 255 bytes "
			       "without '/'", name);
	return 0;
}

/* Put, or if ${s} is NULL delete, the item. */
static int put_snapshot(struct volume *v, const char *name, const struct snapshot *s)
{
	uint8_t value[ITEM_SNAPSHOT_LEN];
	struct item_key key;
	int rc;

	rc = change_begin(v);
	if (rc < 0)
		return rc;
	item_key_name(&key, 0, ITEM_SNAPSHOT, name, strlen(name));
	change_lock(v);
	rc = change_reserve(v, 1, 0);
	if (rc == 0 && s != NULL) {
		item_snapshot_encode(s, value);
		overlay_put(v->view.map.live, key.b, key.len, value, sizeof(value));
	} else if (rc == 0) {
		overlay_del(v->view.map.live, key.b, key.len);
	}
	change_unlock(v);
	return change_end(v, rc);
}

int volume_snapshot(struct volume *v, const char *name, bool hold, struct snapshot *out)
{
	struct head head, naming;
	int rc = check_name(name);

	if (rc < 0)
		return rc;
	rc = view_snapshot(&v->view, name, out);
	if (rc != -ENOENT)
		return rc < 0 ? rc : -EEXIST;
	rc = volume_add_head(v, &head);
	if (rc < 0)
		return rc;
	*out = (struct snapshot){.head = head.number, .time_ns = head.time_ns, .hold = hold};
	memcpy(out->name, name, strlen(name) + 1);
	rc = put_snapshot(v, name, out);
	if (rc < 0)
		return rc;
	/* A second head carries the name, so that it reaches the embassies at once. */
	rc = volume_add_head(v, &naming);
	/* Nobody was told of it: who tries again must not find it there. */
	if (rc < 0 && put_snapshot(v, name, NULL) < 0)
		msg_warn("%s: snapshot '%s' is there, though it was refused", v->cfg.dir, name);
	return rc;
}

int volume_snapshot_remove(struct volume *v, const char *name)
{
	struct snapshot s;
	int rc = view_snapshot(&v->view, name, &s);

	if (rc < 0)
		return rc;
	if (s.hold)
		return err_say(-EPERM, "snapshot '%s' is held", name);
	return put_snapshot(v, name, NULL);
}

int volume_snapshot_release(struct volume *v, const char *name)
{
	struct snapshot s;
	int rc = view_snapshot(&v->view, name, &s);

	if (rc < 0 || !s.hold)
		return rc;
	s.hold = false;
	return put_snapshot(v, name, &s);
}
