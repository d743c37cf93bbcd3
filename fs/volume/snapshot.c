/*
 * Snapshots: names for heads.  A name is an ordinary item, so snapshots are replicated, versioned
 * and durable like files.
 */

#include "volume_internal.h"

#include "msg.h"
#include "utf8.h"

#include <errno.h>
#include <string.h>

/*
 * Require valid UTF-8 without control characters, so that a name is one word in a table and in
 * JSON.
 */
static bool is_text(const char *s)
{
	while (*s) {
		uint32_t c = 0;
		size_t len = utf8_char(s, &c);

		if (len == 0 || utf8_is_control(c))
			return false;
		s += len;
	}
	return true;
}

static int check_name(const char *name)
{
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
	    strchr(name, '/') != NULL || strlen(name) > NAME_LEN_MAX)
		return err_say(-EINVAL,
			       "'%.255s': not a name for a snapshot; use 1 to 255 bytes "
			       "without '/'",
			       name);
	if (!is_text(name))
		return err_say(-EINVAL, "a snapshot's name is UTF-8 without control characters; "
					"choose another");
	return 0;
}

/* Find the key of ${name} and the snapshot with that name. */
static int snapshot_locked(struct volume *v, struct need *need, const char *name,
			   struct item_key *out_key, struct snapshot *out)
{
	uint8_t value[ITEM_SNAPSHOT_LEN];
	size_t len;
	int rc;

	item_key_name(out_key, 0, ITEM_SNAPSHOT, name, strlen(name));
	rc = map_get(&v->view.map, out_key->b, out_key->len, need, value, sizeof(value), &len);
	return rc < 0 ? rc : item_snapshot_decode(value, len, out);
}

static void put_snapshot(struct volume *v, const struct item_key *key, const struct snapshot *s)
{
	uint8_t value[ITEM_SNAPSHOT_LEN];

	item_snapshot_encode(s, value);
	overlay_put(v->view.map.live, key->b, key->len, value, sizeof(value));
}

/* Attempts.  ${in} is a snapshot; each says which of its fields it uses. */

/* Put the snapshot, if no other has its name. */
static int add_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct snapshot *s = in;
	struct snapshot was;
	struct item_key key;
	int rc = snapshot_locked(v, need, s->name, &key, &was);

	(void)out;
	if (rc != -ENOENT)
		return rc < 0 ? rc : -EEXIST;
	if (change_reserve(v, 1, 0) < 0)
		return -ENOMEM;
	put_snapshot(v, &key, s);
	return 0;
}

/* Delete the snapshot of that name, unless it is held. */
static int remove_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct snapshot *s = in;
	struct snapshot was;
	struct item_key key;
	int rc = snapshot_locked(v, need, s->name, &key, &was);

	(void)out;
	if (rc < 0)
		return rc;
	if (was.hold)
		return err_say(-EPERM, "snapshot '%s' is held", s->name);
	if (change_reserve(v, 1, 0) < 0)
		return -ENOMEM;
	overlay_del(v->view.map.live, key.b, key.len);
	return 0;
}

/* Delete the snapshot, held or not, unless another one has taken its name. */
static int undo_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct snapshot *s = in;
	struct snapshot was;
	struct item_key key;
	int rc = snapshot_locked(v, need, s->name, &key, &was);

	(void)out;
	if (rc < 0 || was.head != s->head || was.time_ns != s->time_ns)
		return rc == -ENOENT ? 0 : rc;
	if (change_reserve(v, 1, 0) < 0)
		return -ENOMEM;
	overlay_del(v->view.map.live, key.b, key.len);
	return 0;
}

/* Set or clear the hold on the snapshot of that name. */
static int hold_locked(struct volume *v, struct need *need, const void *in, void *out)
{
	const struct snapshot *s = in;
	struct snapshot was;
	struct item_key key;
	int rc = snapshot_locked(v, need, s->name, &key, &was);

	(void)out;
	if (rc < 0 || was.hold == s->hold)
		return rc;
	if (change_reserve(v, 1, 0) < 0)
		return -ENOMEM;
	was.hold = s->hold;
	put_snapshot(v, &key, &was);
	return 0;
}

static int change(struct volume *v, const struct caller *c, change_attempt *attempt,
		  const struct snapshot *s)
{
	int rc = change_begin(v);

	return rc < 0 ? rc : change_run(v, c, attempt, s, NULL, 0);
}

int volume_snapshot(struct volume *v, const struct caller *c, const char *name, bool hold,
		    struct snapshot *out)
{
	struct head head, naming;
	int rc = check_name(name);

	if (rc < 0)
		return rc;
	/*
	 * Refuse a used name before a head is made.  add_locked() checks again under the lock, and
	 * that counts.
	 */
	rc = view_snapshot(&v->view, name, out);
	if (rc != -ENOENT)
		return rc < 0 ? rc : -EEXIST;
	rc = volume_add_head(v, &head);
	if (rc < 0)
		return rc;
	*out = (struct snapshot){.head = head.number, .time_ns = head.time_ns, .hold = hold};
	memcpy(out->name, name, strlen(name) + 1);
	rc = change(v, c, add_locked, out);
	if (rc < 0)
		return rc;
	/*
	 * Make a second head that contains the name, so that the name reaches the embassies at
	 * once.
	 */
	rc = volume_add_head(v, &naming);
	/* The caller is told of a failure, so a second try must not find the name there. */
	if (rc < 0 && change(v, c, undo_locked, out) < 0)
		msg_warn("%s: snapshot '%s' is there, though it was refused", v->cfg.dir, name);
	return rc;
}

/* Fill in the name, the only field by which attempts find a snapshot. */
static int named(const char *name, struct snapshot *out)
{
	size_t len = strlen(name);

	if (len > NAME_LEN_MAX)
		return -ENOENT;
	*out = (struct snapshot){.head = 0};
	memcpy(out->name, name, len + 1);
	return 0;
}

int volume_snapshot_remove(struct volume *v, const struct caller *c, const char *name)
{
	struct snapshot s;
	int rc = named(name, &s);

	return rc < 0 ? rc : change(v, c, remove_locked, &s);
}

int volume_snapshot_release(struct volume *v, const struct caller *c, const char *name)
{
	struct snapshot s;
	int rc = named(name, &s);

	return rc < 0 ? rc : change(v, c, hold_locked, &s);
}

int volume_snapshot_hold(struct volume *v, const struct caller *c, const char *name)
{
	struct snapshot s;
	struct head head;
	int rc = named(name, &s);

	s.hold = true;
	if (rc == 0)
		rc = change(v, c, hold_locked, &s);
	/* Make a head, so that the hold reaches the embassies at once, as a name does. */
	return rc < 0 ? rc : volume_add_head(v, &head);
}
