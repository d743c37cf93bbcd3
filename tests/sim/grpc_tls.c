/*
 * What gRPC does with certificates: the connections here are plain, so none of it is ever
 * called.
 */

#include "diagnose.h"
#include "listen.h"
#include "wire.h"

#include <stdlib.h>

grpc_auth_context *grpc_call_auth_context(grpc_call *call)
{
	(void)call;
	abort();
}

void grpc_auth_context_release(grpc_auth_context *context)
{
	(void)context;
	abort();
}

int grpc_auth_context_peer_is_authenticated(const grpc_auth_context *ctx)
{
	(void)ctx;
	abort();
}

grpc_auth_property_iterator grpc_auth_context_find_properties_by_name(const grpc_auth_context *ctx,
								      const char *name)
{
	(void)ctx;
	(void)name;
	abort();
}

const grpc_auth_property *grpc_auth_property_iterator_next(grpc_auth_property_iterator *it)
{
	(void)it;
	abort();
}

int wire_client_tls(const char *tls_dir, struct wire_tls_seen *seen, grpc_channel_credentials **out)
{
	(void)tls_dir;
	(void)seen;
	(void)out;
	abort();
}

int wire_tls_source_new(const char *tls_dir, struct wire_tls_source **out)
{
	(void)tls_dir;
	(void)out;
	abort();
}

void wire_tls_source_free(struct wire_tls_source *s)
{
	(void)s;
}

int wire_server_tls(struct wire_tls_source *s, grpc_server_credentials **out)
{
	(void)s;
	(void)out;
	abort();
}

bool wire_tls_warning(const char *tls_dir, int64_t now_s, char *out, size_t size)
{
	(void)tls_dir;
	(void)now_s;
	(void)out;
	(void)size;
	return false;
}

/* Nor is a connection tried by hand, to say why it fails. */
bool diagnose(const char *address, const char *tls_dir, const atomic_bool *stop, char *out,
	      size_t size)
{
	(void)address;
	(void)tls_dir;
	(void)stop;
	(void)out;
	(void)size;
	return false;
}

int listen_check_free(const char *text)
{
	(void)text;
	return 0;
}

int listen_explain(const char *text)
{
	(void)text;
	abort();
}
