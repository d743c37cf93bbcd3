/* One key slot of volume.conf.  Argon2id isn't run: it would take a second for each input. */

#include "buf.h"
#include "credential.h"
#include "fuzz.h"
#include "secret.h"
#include "slot.h"

#include <string.h>

void fuzz_one(const uint8_t *bytes, size_t len)
{
	struct buf text = {0};
	char *slot = malloc(len + 1);

	MUST_HOLD(slot && secret_init() == 0);
	memcpy(slot, bytes, len);
	slot[len] = '\0';
	MUST_HOLD(slot_describe(slot, &text) == 0);
	(void)slot_kind(slot);
	(void)slot_label(slot);
	buf_release(&text);
	free(slot);
}
