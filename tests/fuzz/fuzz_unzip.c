/* Compressed plaintext under a seal. */

#include "compress.h"
#include "format.h"
#include "fuzz.h"

void fuzz_one(const uint8_t *bytes, size_t len)
{
	static uint8_t out[BLOCK_PLAIN_MAX];
	uint32_t plain_len;

	if (compress_plain_len(bytes, len, &plain_len) != 0)
		return;
	MUST_HOLD(plain_len <= BLOCK_PLAIN_MAX);
	(void)!decompress_block(bytes, len, out, plain_len);
}
