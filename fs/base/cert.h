#ifndef CERT_H_
#define CERT_H_

/* What a PEM certificate says, for messages to people.  Nothing is verified here. */

#include "compiler.h"

#include <stddef.h>
#include <stdint.h>

/*
 * cert_expiry(pem, len, out_s): when the first certificate of ${pem} expires, in seconds since
 * 1970-01-01 UTC.  Any thread.
 * Returns 0; -ERR_FORMAT if there is no certificate in it; -ENOMEM.
 */
MUST_CHECK int cert_expiry(const char *pem, size_t len, int64_t *out_s);

/*
 * cert_fits(cert, cert_len, key, key_len): does the PEM private key ${key} belong to the first
 * certificate of ${cert}?  Any thread.
 * Returns 0; -EINVAL if it does not; -ERR_FORMAT if ${cert} contains no certificate, or ${key} no
 * key or an encrypted one; -ENOMEM.
 */
MUST_CHECK int cert_fits(const char *cert, size_t cert_len, const char *key, size_t key_len);

/*
 * cert_list(pem, len, out_s): is ${pem} a list of one certificate or more, each of them complete?
 * Text between certificates is ignored.  Sets ${*out_s} to when the last of them to expire does, in
 * seconds since 1970-01-01 UTC.  Any thread.
 * Returns 0; -ERR_FORMAT; -ENOMEM.
 */
MUST_CHECK int cert_list(const char *pem, size_t len, int64_t *out_s);

/*
 * cert_serves(pem, len), cert_asks(pem, len): may a TLS server, or a client, use the first
 * certificate of ${pem}?  It may if the certificate states no uses, or names that one.
 * Returns 0; -EINVAL if it is for other uses only; -ERR_FORMAT; -ENOMEM.
 */
MUST_CHECK int cert_serves(const char *pem, size_t len);
MUST_CHECK int cert_asks(const char *pem, size_t len);

#endif /* !CERT_H_ */
