#include "sign.h"

#include "buf.h"
#include "head.h"
#include "head_line.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

int head_sign(const struct head *h, const uint8_t secret[64], struct buf *out)
{
	uint8_t signature[HEAD_KEY_ID_LEN + SIGN_LEN];
	struct buf body = {0};
	struct text rest, origin;
	bool has_origin;
	int rc;

	rc = head_encode_text(h, &body);
	if (rc < 0)
		goto release;
	rest = text_of(body.p, body.len);
	has_origin = text_line(&rest, &origin);
	assert(has_origin);

	/* A libsodium secret key ends with the public key. */
	head_key_id(origin, secret + 32, signature);
	crypto_sign_detached(signature + HEAD_KEY_ID_LEN, NULL, body.p, body.len, secret);

	rc = buf_add(out, body.p, body.len);
	if (rc == 0)
		rc = buf_printf(out, "\n" HEAD_SIGNATURE_START "%.*s ", (int)origin.len, origin.p);
	if (rc == 0)
		rc = buf_add_base64(out, signature, sizeof(signature));
	if (rc == 0)
		rc = buf_add_u8(out, '\n');

release:
	buf_release(&body);
	return rc;
}
