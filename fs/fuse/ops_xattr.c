/*
 * Requests about extended attributes.
 *
 * The kernel has already checked who may read and change each name.  Left to do here: keep
 * system.posix_acl_* in step with the mode, and refuse other names in the system namespace.
 */

#include "kinds.h"

#include "acl.h"
#include "attributes.h"
#include "privs.h"
#include "reply.h"
#include "request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CAPABILITY_XATTR "security.capability"

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int check_name(const char *name)
{
	static const char *const spaces[] = {"user.", "trusted.", "security."};

	if (strlen(name) > NAME_LEN_MAX)
		return -ERANGE;
	for (size_t i = 0; i < sizeof(spaces) / sizeof(*spaces); i++)
		if (starts(name, spaces[i]))
			return name[strlen(spaces[i])] ? 0 : -EINVAL;
	if (strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0)
		return 0;
	return -EOPNOTSUPP;
}

/*
 * Before an application's write, the kernel asks for security.capability, to see whether the write
 * must take privileges away.  It asks once each time after it was told the attributes.  This
 * question is the only sign of a write into the kernel's cache.  The kernel asks only for the
 * length, and writes only once the privileges are gone.
 */
static void asked_before_writing(struct mount *m, inode_no ino)
{
	struct attr a;

	if (view_getattr(m->view, ino, &a) == 0 && S_ISREG(a.mode) && a.size == 0)
		kernel_writes(m, ino);
}

/*
 * For a file that can't be changed, this question is answered with "there is a capability to
 * remove", and then the removal is refused: the write fails before it begins.  A caller that asks
 * for the value, as getxattr() always does, is told the truth.
 */
bool past_stops_write(const char *name, size_t size)
{
	return size == 0 && strcmp(name, CAPABILITY_XATTR) == 0;
}

/*
 * In views under .embassy a file's capabilities are not shown.  Nor is an access list, if other
 * users may enter views: then the kernel decides by the mode, which past.h has made strict enough,
 * and where the list would count, by this refusal.
 */
static int get_past_value(struct mount *m, const struct place *n, const char *name, void *out,
			  size_t size, size_t *out_len)
{
	int rc;

	if (n->slot >= 0 && strcmp(name, CAPABILITY_XATTR) == 0)
		return -ENODATA;
	rc = view_getxattr(n->view, n->ino, name, out, size, out_len);
	if (rc != -ENODATA && n->slot >= 0 && m->history_users && strcmp(name, ACL_ACCESS) == 0)
		return -EACCES;
	return rc;
}

/* If ${size} is 0, the kernel asks only for the length. */
static void reply_value(fuse_req_t req, uint64_t id, int rc, const void *p, size_t size, size_t len)
{
	if (rc == 0 && size == 0)
		fuse_reply_xattr(req, len);
	else
		reply_bytes(req, id, rc, p, len);
}

void live_getxattr(fuse_req_t req, struct mount *m, uint64_t id, const char *name, size_t size)
{
	void *p = size ? thread_buffer(size) : NULL;
	int rc = check_name(name);
	size_t len = 0;

	if (rc == 0 && size && !p)
		rc = -ENOMEM;
	if (rc == 0) {
		rc = view_getxattr(m->view, id, name, p, size, &len);
		if (size == 0 && strcmp(name, CAPABILITY_XATTR) == 0)
			asked_before_writing(m, id);
	}
	reply_value(req, id, rc, p, size, len);
}

void past_getxattr(fuse_req_t req, struct mount *m, uint64_t id, const char *name, size_t size)
{
	void *p = size ? thread_buffer(size) : NULL;
	int rc = check_name(name);
	struct place n;
	size_t len = 0;

	if (rc == 0)
		rc = size && !p ? -ENOMEM : place_get(m, id, &n);
	if (rc == 0) {
		rc = get_past_value(m, &n, name, p, size, &len);
		place_put(m, &n);
	}
	if (rc == -ENODATA && past_stops_write(name, size)) {
		len = PAST_CAPABILITY_LEN;
		rc = 0;
	}
	reply_value(req, id, rc, p, size, len);
}

/* Remove the names that begin with ${prefix}. */
static size_t hide_names(char *names, size_t len, const char *prefix)
{
	size_t kept = 0;

	for (size_t i = 0, n; i < len; i += n) {
		n = strnlen(names + i, len - i - 1) + 1;
		if (starts(names + i, prefix))
			continue;
		memmove(names + kept, names + i, n);
		kept += n;
	}
	return kept;
}

/* All names of a node, in memory that the caller frees. */
static int list_names(struct view *v, inode_no ino, char **out, size_t *out_len)
{
	char *p = NULL, *more;
	size_t cap = 0, len;
	int rc;

	for (;;) {
		rc = view_listxattr(v, ino, p, cap, &len);
		if (rc == 0 && len <= cap)
			break;
		if (rc < 0 && rc != -ERANGE)
			goto fail;
		/* Between the two calls names may be added: try again. */
		cap = rc == 0 ? len : cap * 2 + 1024;
		rc = -ENOMEM;
		more = realloc(p, cap);
		if (!more)
			goto fail;
		p = more;
	}
	*out = p;
	*out_len = len;
	return 0;

fail:
	free(p);
	return rc;
}

/* Answer with the names, and free them. */
static void reply_names(fuse_req_t req, uint64_t id, int rc, char *names, size_t size, size_t len)
{
	if (rc == 0 && names && fuse_req_ctx(req)->uid != 0)
		len = hide_names(names, len, "trusted."); /* only privileged callers see them */
	if (rc == 0 && size && len > size)
		rc = -ERANGE;
	reply_value(req, id, rc, names, size, len);
	free(names);
}

void live_listxattr(fuse_req_t req, struct mount *m, uint64_t id, size_t size)
{
	char *names = NULL;
	size_t len = 0;
	int rc = list_names(m->view, id, &names, &len);

	reply_names(req, id, rc, names, size, len);
}

void past_listxattr(fuse_req_t req, struct mount *m, uint64_t id, size_t size)
{
	char *names = NULL;
	struct place n;
	size_t len = 0;
	int rc = place_get(m, id, &n);

	if (rc == 0) {
		rc = list_names(n.view, n.ino, &names, &len);
		/*
		 * Do not list what get_past_value() denies: a program that copies a file reads
		 * every listed name.
		 */
		if (rc == 0 && n.slot >= 0)
			len = hide_names(names, len, CAPABILITY_XATTR);
		place_put(m, &n);
	}
	reply_names(req, id, rc, names, size, len);
}

/*
 * Setting an access list also sets the permission bits of the mode.  The list is not stored if the
 * mode alone expresses it.  The list says nothing of the bits above the permissions, so these stay
 * as they are at the time of the change.
 */
static int set_access_acl(fuse_req_t req, inode_no ino, const uint8_t *acl, size_t len)
{
	const struct caller *c = &request_of(req)->caller;
	struct mount *m = mount_of(req);
	struct attr a, want = {0};
	unsigned set = SET_PERMISSIONS;
	int rc = acl_check(acl, len);

	if (rc == 0)
		rc = view_getattr(m->view, ino, &a);
	if (rc < 0)
		return rc;
	want.mode = acl_permissions(acl, len);
	if (fuse_req_ctx(req)->uid != 0 && (a.mode & S_ISGID) && !privs_is_member(req, a.gid))
		set |= SET_KILL_SGID;
	if (acl_is_minimal(acl, len)) {
		rc = volume_removexattr(m->volume, c, ino, ACL_ACCESS);
		if (rc == -ENODATA)
			rc = 0;
	} else {
		rc = volume_setxattr(m->volume, c, ino, ACL_ACCESS, acl, len, 0);
	}
	return rc < 0 ? rc : volume_setattr(m->volume, c, ino, set, &want, &a);
}

void live_setxattr(fuse_req_t req, struct mount *m, uint64_t id, const char *name,
		   const char *value, size_t size, int flags)
{
	const struct request *r = request_of(req);
	int rc = check_name(name);

	if (rc == 0 && strcmp(name, ACL_DEFAULT) == 0)
		rc = acl_check((const uint8_t *)value, size);
	if (rc == 0 && strcmp(name, ACL_ACCESS) == 0)
		rc = set_access_acl(req, id, (const uint8_t *)value, size);
	else if (rc == 0 && r->steps == 0) /* else a killed process did it */
		rc = volume_setxattr(m->volume, &r->caller, id, name, value, size, flags);
	reply_rc(req, id, rc);
}

void live_removexattr(fuse_req_t req, struct mount *m, uint64_t id, const char *name)
{
	const struct request *r = request_of(req);
	int rc = check_name(name);

	if (rc == 0 && r->steps == 0)
		rc = volume_removexattr(m->volume, &r->caller, id, name);
	/* The kernel may remove a list that does not exist. */
	if (rc == -ENODATA && starts(name, "system."))
		rc = 0;
	reply_rc(req, id, rc);
}
