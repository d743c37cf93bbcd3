#ifndef ACL_H_
#define ACL_H_

/*
 * POSIX access control lists as the kernel spells them in the attributes system.posix_acl_access
 * and system.posix_acl_default: a version, then entries of tag, permission and id, in a fixed
 * order. The kernel decides who may do what; the filesystem must keep mode and list in step,
 * which is all that is done here.  Works on the bytes in place.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

#define ACL_HEADER_LEN 4u
#define ACL_ENTRY_LEN 8u
#define ACL_ENTRIES_MAX 1024u
#define ACL_LEN_MAX (ACL_HEADER_LEN + ACL_ENTRIES_MAX * ACL_ENTRY_LEN)

/*
 * acl_check(acl, len): well formed, its entries complete and in order.  All other functions take
 * only such lists.
 * Returns 0; -EINVAL; -EOPNOTSUPP for another version; -ENOSPC if it has more than
 * ACL_ENTRIES_MAX entries.
 */
MUST_CHECK int acl_check(const uint8_t *acl, size_t len);

/* acl_permissions(acl, len): the nine permission bits of a mode that stands for it. */
uint32_t acl_permissions(const uint8_t *acl, size_t len);

/* acl_is_minimal(acl, len): whether those bits say all that it says. */
bool acl_is_minimal(const uint8_t *acl, size_t len);

/*
 * acl_inherit(acl, len, mode): turn a folder's default list into the access list of what is made
 * in it with ${mode}, which grants no more than that.  Returns the mode to make it with.
 */
uint32_t acl_inherit(uint8_t *acl, size_t len, uint32_t mode);

/* acl_chmod(acl, len, mode): change an access list as chmod(2) to ${mode} does. */
void acl_chmod(uint8_t *acl, size_t len, uint32_t mode);

#endif /* !ACL_H_ */
