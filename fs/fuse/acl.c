/*
 * POSIX access control lists, handled as the bytes of their extended attributes.
 *
 * Three entries correspond to the three groups of permission bits in a mode: the owner's entry, the
 * others' entry, and, for the middle bits, the mask entry or, in a list without a mask, the owning
 * group's entry.  Everything here follows from that.
 */

#include "acl.h"

#include "bytes.h"

#include <errno.h>
#include <sys/stat.h>

#define ACL_VERSION 2u

enum {
	TAG_USER_OBJ = 0x01,
	TAG_USER = 0x02,
	TAG_GROUP_OBJ = 0x04,
	TAG_GROUP = 0x08,
	TAG_MASK = 0x10,
	TAG_OTHER = 0x20,
};

static unsigned tag_of(const uint8_t *e)
{
	return get_le16(e);
}

static unsigned perm_of(const uint8_t *e)
{
	return get_le16(e + 2);
}

static void set_perm(uint8_t *e, unsigned perm)
{
	put_le16(e + 2, (uint16_t)perm);
}

static size_t entries(size_t len)
{
	return (len - ACL_HEADER_LEN) / ACL_ENTRY_LEN;
}

static size_t offset_of(const uint8_t *acl, size_t len, unsigned tag)
{
	for (size_t i = 0; i < entries(len); i++)
		if (tag_of(acl + ACL_HEADER_LEN + i * ACL_ENTRY_LEN) == tag)
			return ACL_HEADER_LEN + i * ACL_ENTRY_LEN;
	return 0;
}

/* Find the entry that corresponds to the middle bits of the mode. */
static size_t middle_offset(const uint8_t *acl, size_t len)
{
	size_t off = offset_of(acl, len, TAG_MASK);

	return off ? off : offset_of(acl, len, TAG_GROUP_OBJ);
}

/* The set of tags that may follow ${tag}; 0 means the start of the list. */
static unsigned tags_after(unsigned tag)
{
	switch (tag) {
	case 0:
		return TAG_USER_OBJ;
	case TAG_USER_OBJ:
	case TAG_USER:
		return TAG_USER | TAG_GROUP_OBJ;
	case TAG_GROUP_OBJ:
	case TAG_GROUP:
		return TAG_GROUP | TAG_MASK | TAG_OTHER;
	case TAG_MASK:
		return TAG_OTHER;
	default:
		return 0;
	}
}

int acl_check(const uint8_t *acl, size_t len)
{
	unsigned tag = 0, seen = 0;

	if (len < ACL_HEADER_LEN || (len - ACL_HEADER_LEN) % ACL_ENTRY_LEN)
		return -EINVAL;
	if (get_le32(acl) != ACL_VERSION)
		return -EOPNOTSUPP;
	if (len > ACL_LEN_MAX)
		return -ENOSPC;

	for (size_t i = 0; i < entries(len); i++) {
		const uint8_t *e = acl + ACL_HEADER_LEN + i * ACL_ENTRY_LEN;
		unsigned allowed = tags_after(tag);

		tag = tag_of(e);
		/* exactly one bit, and one of the allowed ones */
		if (!(tag & allowed) || (tag & (tag - 1)) || perm_of(e) > 7)
			return -EINVAL;
		seen |= tag;
	}
	if (tag != TAG_OTHER)
		return -EINVAL;
	if ((seen & (TAG_USER | TAG_GROUP)) && !(seen & TAG_MASK))
		return -EINVAL;
	return 0;
}

uint32_t acl_permissions(const uint8_t *acl, size_t len)
{
	return perm_of(acl + offset_of(acl, len, TAG_USER_OBJ)) << 6 |
	       perm_of(acl + middle_offset(acl, len)) << 3 |
	       perm_of(acl + offset_of(acl, len, TAG_OTHER));
}

bool acl_is_minimal(const uint8_t *acl, size_t len)
{
	(void)acl;
	return entries(len) == 3;
}

uint32_t acl_inherit(uint8_t *acl, size_t len, uint32_t mode)
{
	uint8_t *user = acl + offset_of(acl, len, TAG_USER_OBJ);
	uint8_t *middle = acl + middle_offset(acl, len);
	uint8_t *other = acl + offset_of(acl, len, TAG_OTHER);

	set_perm(user, perm_of(user) & (mode >> 6 & 7));
	set_perm(middle, perm_of(middle) & (mode >> 3 & 7));
	set_perm(other, perm_of(other) & (mode & 7));
	return (mode & ~(uint32_t)0777) | acl_permissions(acl, len);
}

void acl_chmod(uint8_t *acl, size_t len, uint32_t mode)
{
	set_perm(acl + offset_of(acl, len, TAG_USER_OBJ), mode >> 6 & 7);
	set_perm(acl + middle_offset(acl, len), mode >> 3 & 7);
	set_perm(acl + offset_of(acl, len, TAG_OTHER), mode & 7);
}
