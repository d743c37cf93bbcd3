/*
 * What gRPC does with certificates: the connections here are plain, so none of it is ever
 * called.
 */

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

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

grpc_channel_credentials *grpc_ssl_credentials_create_ex(
	const char *pem_root_certs, grpc_ssl_pem_key_cert_pair *pair,
	const grpc_ssl_verify_peer_options *options, void *reserved)
{
	(void)pem_root_certs;
	(void)pair;
	(void)options;
	(void)reserved;
	abort();
}

grpc_server_credentials *grpc_ssl_server_credentials_create_ex(
	const char *pem_root_certs, grpc_ssl_pem_key_cert_pair *pairs, size_t n_pairs,
	grpc_ssl_client_certificate_request_type request, void *reserved)
{
	(void)pem_root_certs;
	(void)pairs;
	(void)n_pairs;
	(void)request;
	(void)reserved;
	abort();
}
