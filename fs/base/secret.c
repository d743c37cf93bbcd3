/*
 * Random bytes, and memory for secrets.  Memory comes from libsodium's guarded heap: its pages are
 * locked and left out of core dumps, lie between guard pages, and are wiped when freed.
 */

#include "secret.h"

#include <errno.h>
#include <sodium.h>

int secret_init(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

void random_bytes(void *out, size_t len)
{
	randombytes_buf(out, len);
}

void *secret_alloc(size_t len)
{
	return sodium_malloc(len);
}

void secret_free(void *p)
{
	sodium_free(p);
}

void secret_wipe(void *p, size_t len)
{
	sodium_memzero(p, len);
}
