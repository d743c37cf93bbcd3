/* TIME as users write it, and an embassy's address. */

#include "fuzz.h"
#include "address.h"
#include "when.h"

#include <string.h>

#define NOW_NS INT64_C(1795521504000000000)

void fuzz_one(const uint8_t *bytes, size_t len)
{
	char *text = malloc(len + 1), back[WHEN_TEXT_LEN], *address;
	uint8_t volume[VOLUME_ID_LEN];
	struct when w, again;
	int64_t ns;

	MUST_HOLD(text);
	memcpy(text, bytes, len);
	text[len] = '\0';
	if (when_parse(text, NOW_NS, &w) == 0 && w.kind == WHEN_TIME) {
		when_format(w.time_ns, back);
		MUST_HOLD(when_parse(back, NOW_NS, &again) == 0);
		MUST_HOLD(again.kind == WHEN_TIME && again.time_ns == w.time_ns);
	}
	(void)!when_parse_duration(text, &ns);
	if (address_parse_target(text, &address, volume) == 0) {
		(void)address_is_loopback(address);
		free(address);
	}
	free(text);
}
