#ifndef SIGN_H_
#define SIGN_H_

/* Signing of heads: only a writer can do it, a block server cannot. */

#include "compiler.h"

#include <stdint.h>

struct buf;
struct head;

/*
 * head_sign(h, secret, out): append the whole note of ${h} (head.h), signed with the 64-byte
 * libsodium Ed25519 secret key, which is borrowed and not copied.  Any thread.  Returns 0 or
 * -ENOMEM.
 */
MUST_CHECK int head_sign(const struct head *h, const uint8_t secret[64], struct buf *out);

#endif /* !SIGN_H_ */
