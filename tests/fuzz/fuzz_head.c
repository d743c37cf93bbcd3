/* A head's signed note. */

#include "buf.h"
#include "fuzz.h"
#include "head.h"

#include <string.h>

void fuzz_one(const uint8_t *bytes, size_t len)
{
	static const uint8_t nobody[SIGN_PUBLIC_LEN];
	struct buf text = {0};
	struct head h;

	if (head_decode(bytes, len, &h) == 0) {
		MUST_HOLD(head_encode_text(&h, &text) == 0);
		MUST_HOLD(text.len <= len && memcmp(text.p, bytes, text.len) == 0);
		buf_release(&text);
	}
	MUST_HOLD(head_verify(bytes, len, nobody) < 0);
}
