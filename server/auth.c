/*
 * Identities.
 *
 * Key idea: TLS has verified the certificate against ca.pem before any call arrives; here it only
 * gets a name.
 *
 * Invariant: names of different kinds differ in their prefix, so no common name can pass for
 * another kind.
 */

#include "auth.h"

#include "err.h"
#include "hash.h"

#include <grpc/grpc_security.h>
#include <grpc/grpc_security_constants.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool usable(const char *name, size_t len)
{
	if (!name || len == 0 || len > AUTH_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (name[i] < 0x20 || name[i] > 0x7e)
			return false;
	}
	return true;
}

void auth_name(const char *cn, size_t cn_len, const char *pem, size_t pem_len,
	       char out[WHO_MAX])
{
	uint8_t hash[32];
	size_t at;

	if (usable(cn, cn_len)) {
		snprintf(out, WHO_MAX, "cn:%.*s", (int)cn_len, cn);
		return;
	}
	sha256_parts(pem, pem_len, NULL, 0, NULL, 0, hash);
	at = (size_t)snprintf(out, WHO_MAX, "cert:");
	for (size_t i = 0; i < sizeof(hash); i++)
		at += (size_t)snprintf(out + at, WHO_MAX - at, "%02x", hash[i]);
}

/* The first property ${name} of the connection, or NULL. */
static const grpc_auth_property *find(const grpc_auth_context *ctx, const char *name)
{
	grpc_auth_property_iterator it = grpc_auth_context_find_properties_by_name(ctx, name);

	return grpc_auth_property_iterator_next(&it);
}

int auth_call(struct grpc_call *call, bool tls, char out[WHO_MAX])
{
	const grpc_auth_property *cn, *pem;
	grpc_auth_context *ctx;
	int rc = 0;

	if (!tls) {
		snprintf(out, WHO_MAX, WHO_LOCAL);
		return 0;
	}
	ctx = grpc_call_auth_context(call);
	cn = ctx ? find(ctx, GRPC_X509_CN_PROPERTY_NAME) : NULL;
	pem = ctx ? find(ctx, GRPC_X509_PEM_CERT_PROPERTY_NAME) : NULL;
	if (pem && grpc_auth_context_peer_is_authenticated(ctx))
		auth_name(cn ? cn->value : NULL, cn ? cn->value_length : 0, pem->value,
			  pem->value_length, out);
	else
		rc = err_say(-ERR_FORBIDDEN,
			     "no certificate came with this connection; connect with one");
	grpc_auth_context_release(ctx);
	return rc;
}
