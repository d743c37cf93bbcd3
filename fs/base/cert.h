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
 * cert_fits(cert, cert_len, key, key_len): whether the PEM private key ${key} belongs to the first
 * certificate of ${cert}.  Any thread.
 * Returns 0; -EINVAL if it does not; -ERR_FORMAT if one of them is none, or the key is encrypted;
 * -ENOMEM.
 */
MUST_CHECK int cert_fits(const char *cert, size_t cert_len, const char *key, size_t key_len);

/*
 * cert_list(pem, len): whether ${pem} is a list of one certificate or more, each of them whole.  What is
 * between them does not count.  Any thread.
 * Returns 0; -ERR_FORMAT; -ENOMEM.
 */
MUST_CHECK int cert_list(const char *pem, size_t len);

/*
 * cert_serves(pem, len): whether the first certificate of ${pem} may be a TLS server's: it says nothing
 * of its uses, or names that one.
 * Returns 0; -EINVAL if it is for other uses only; -ERR_FORMAT; -ENOMEM.
 */
MUST_CHECK int cert_serves(const char *pem, size_t len);

#endif /* !CERT_H_ */
