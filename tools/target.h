#ifndef TARGET_H_
#define TARGET_H_

/*
 * What a command is about: a mount point, a volume's folder, or a volume at a block server; and how
 * to read it.
 */

#include "cmd.h"
#include "compiler.h"
#include "format.h"
#include "jsontext.h"
#include "source_folder.h"
#include "view.h"

struct source;

/*
 * target_order(mount, order, value): have a live mount do something, see fs/fuse/order.h.
 * Returns 0 or -errno as it says, without a detail.
 */
MUST_CHECK int target_order(const char *mount, const char *order, const char *value);

enum target_kind { TARGET_MOUNT, TARGET_FOLDER, TARGET_REMOTE };

/* target_is_server(text): HOST:PORT or unix:PATH of a block server, and no file of that name. */
bool target_is_server(const char *text);

struct target {
	enum target_kind kind;
	char *text;		       /* as given; owned */
	char *address;		       /* TARGET_REMOTE; owned */
	uint8_t volume[VOLUME_ID_LEN]; /* TARGET_REMOTE */
};

/*
 * target_find(text, out): what ${text} names.
 * Returns 0; -ERR_NO_VOLUME if none of the three; -errno; each with a detail.  End with
 * target_release().
 */
MUST_CHECK int target_find(const char *text, struct target *out);
void target_release(struct target *t);

/*
 * target_find_mount(text): is ${text} the mount point of an EmbassyFS?  0, or -ERR_NO_VOLUME or
 * -errno with a detail.
 */
MUST_CHECK int target_find_mount(const char *text);

/*
 * target_check_folder(text, remote_advice): for a command that takes a volume's folder only: is it a
 * mount point, or closed to this user, or on a block server?  Then ${remote_advice} says what to do.
 * 0, also where nothing is there, or -ERR_NO_VOLUME, -ERR_FORBIDDEN or -errno with a detail.
 */
MUST_CHECK int target_check_folder(const char *text, const char *remote_advice);

/*
 * target_not_yours(mount): say who may do to a mount what this user may not.  Returns -ERR_FORBIDDEN.
 */
MUST_CHECK int target_not_yours(const char *mount);

/*
 * target_source(t, tls_dir, out): a source to read the log from.  For a mount: of what is mounted
 * there.
 * Returns 0 or as source_open_folder() and source_open_remote().  Freed by source_free().
 */
MUST_CHECK int target_source(const struct target *t, const char *tls_dir, struct source **out);

/*
 * target_read_status(mount, out): the object that MOUNT/.embassy/status holds; the caller owns it.
 * Returns 0; -ERR_FORMAT if it is not JSON; -EFBIG, -ENOMEM or -errno.
 */
MUST_CHECK int target_read_status(const char *mount, json_t **out);

/* A source with all that a view needs. */
struct session {
	struct view_config config;
	struct volume_keys *keys;
	bool unlocked;
};

/*
 * session_open(s, src, credential): unlock ${src}'s volume.  ${src} is borrowed.  End with
 * session_close(), whatever it returns.
 */
MUST_CHECK int session_open(struct session *s, struct source *src, const struct cmd_credential *c);
void session_close(struct session *s);

#endif /* !TARGET_H_ */
