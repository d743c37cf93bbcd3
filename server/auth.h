#ifndef AUTH_H_
#define AUTH_H_

/*
 * Who is at the other end of a call, as one line of text that names an owner:
 *
 *   local            a connection without TLS, which only loopback and Unix sockets may be
 *   cn:NAME          the common name of the certificate, so that a renewed one keeps its volumes
 *   cert:SHA256-HEX  of the certificate's PEM text, where it has no common name of printable ASCII
 *                    of at most AUTH_NAME_MAX bytes
 *
 * What a name means is up to the authority in ca.pem: all to whom it gives the same common name are
 * the same owner.
 */

#include "compiler.h"
#include "who.h"

#include <stdbool.h>
#include <stddef.h>

#define AUTH_NAME_MAX 200u

struct grpc_call;

/*
 * auth_name(cn, cn_len, pem, pem_len, out): the identity of a certificate with this common name
 * (NULL: none) and text.
 */
void auth_name(const char *cn, size_t cn_len, const char *pem, size_t pem_len,
	       char out[WHO_MAX]);

/*
 * auth_call(call, tls, out): the identity of a call's peer; ${tls}: this server takes certificates
 * only.
 * Returns 0, or -ERR_FORBIDDEN, with a detail, if there is no certificate where one must be.
 */
MUST_CHECK int auth_call(struct grpc_call *call, bool tls, char out[WHO_MAX]);

#endif /* !AUTH_H_ */
