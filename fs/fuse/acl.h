#ifndef ACL_H_
#define ACL_H_

/*
 * POSIX access control lists as the kernel stores them in the attributes system.posix_acl_access
 * and system.posix_acl_default: a version, then entries of tag, permission and id, in a fixed
 * order.  The kernel decides who may do what.  The filesystem only has to keep mode and list in
 * step, and that is what this module does.  It works on the bytes in place.
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
 * acl_check(acl, len): check that the list is well formed, and its entries complete and in order.
 * All other functions take only lists that passed.
 * Returns 0; -EINVAL; -EOPNOTSUPP for another version; -ENOSPC for more than ACL_ENTRIES_MAX
 * entries.
 */
MUST_CHECK int acl_check(const uint8_t *acl, size_t len);

/* acl_permissions(acl, len): the nine permission bits of the mode that corresponds to the list. */
uint32_t acl_permissions(const uint8_t *acl, size_t len);

/* acl_is_minimal(acl, len): do those bits express the whole list? */
bool acl_is_minimal(const uint8_t *acl, size_t len);

/*
 * acl_inherit(acl, len, mode): turn a folder's default list into the access list of a node that is
 * made in the folder with ${mode}; the list grants no more than ${mode} does.  Returns the mode to
 * make the node with.
 */
uint32_t acl_inherit(uint8_t *acl, size_t len, uint32_t mode);

/* acl_chmod(acl, len, mode): change an access list as chmod(2) to ${mode} does. */
void acl_chmod(uint8_t *acl, size_t len, uint32_t mode);

#endif /* !ACL_H_ */
