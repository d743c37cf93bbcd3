#ifndef KEY_H_
#define KEY_H_

/* Keys are ordered as byte strings; a prefix sorts before the keys that begin with it. */

#include <stddef.h>
#include <string.h>

static inline int key_cmp(const void *a, size_t a_len, const void *b, size_t b_len)
{
	int d = memcmp(a, b, a_len < b_len ? a_len : b_len);

	if (d != 0)
		return d;
	return a_len < b_len ? -1 : a_len > b_len;
}

#endif /* !KEY_H_ */
