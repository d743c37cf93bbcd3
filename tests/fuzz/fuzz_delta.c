/* A delta's plaintext: its header, then its records laid over an overlay, twice. */

#include "buf.h"
#include "delta.h"
#include "fuzz.h"
#include "overlay.h"

#include <string.h>

static int keep(void *ctx, const void *records, size_t len)
{
	return buf_add(ctx, records, len);
}

void fuzz_one(const uint8_t *bytes, size_t len)
{
	struct buf once = {0}, twice = {0};
	struct overlay *ov;
	struct delta d;

	if (delta_decode(bytes, len, &d) != 0)
		return;
	MUST_HOLD(overlay_new(&ov) == 0);
	if (overlay_apply(ov, d.records, d.records_len) == 0) {
		MUST_HOLD(overlay_pending_bytes(ov) == 0);
		MUST_HOLD(overlay_encode(ov, OVERLAY_PIECE_MIN, keep, &once) == 0);
		/* Replaying is idempotent, and so is what was encoded from it. */
		MUST_HOLD(overlay_apply(ov, d.records, d.records_len) == 0);
		MUST_HOLD(overlay_apply(ov, once.p, once.len) == 0);
		MUST_HOLD(overlay_encode(ov, OVERLAY_PIECE_MIN, keep, &twice) == 0);
		MUST_HOLD(once.len == twice.len);
		MUST_HOLD(once.len == 0 || memcmp(once.p, twice.p, once.len) == 0);
	}
	buf_release(&once);
	buf_release(&twice);
	overlay_free(ov);
}
