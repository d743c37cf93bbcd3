/* volume.conf; what verifies is read by the keys' side, too. */

#include "buf.h"
#include "fuzz.h"
#include "keys.h"
#include "params.h"
#include "secret.h"

#include <string.h>

void fuzz_one(const uint8_t *bytes, size_t len)
{
	struct buf text = {0}, slots = {0};
	struct params p;

	MUST_HOLD(secret_init() == 0);
	if (params_decode(bytes, len, &p) != 0)
		return;
	MUST_HOLD(params_encode(&p, &text) == 0);
	MUST_HOLD(text.len == len && memcmp(text.p, bytes, len) == 0);
	MUST_HOLD(keys_list_slots(&p, &slots) == 0);
	buf_release(&slots);
	buf_release(&text);
	params_release(&p);
}
