/*
 * Callers that hold what they do not use: calls without a message, watches, messages that are too
 * long.  The server runs in this process, so that it can be given less patience.
 */

#include "client.h"
#include "embassy.pb-c.h"
#include "file.h"
#include "rpc.h"
#include "vault.h"

#include <criterion/criterion.h>

#include <grpc/grpc.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dir[200];
static struct vault *vault;
static struct rpc *rpc;
static struct client client;

static void start(unsigned first_message_ms)
{
	struct rpc_config cfg = {.listen = "127.0.0.1:0", .first_message_ms = first_message_ms};
	char address[40];

	wire_setup();
	grpc_init();
	cr_assert_eq(vault_open(dir, &vault), 0);
	cfg.vault = vault;
	cr_assert_eq(rpc_start(&cfg, &rpc), 0);
	snprintf(address, sizeof(address), "127.0.0.1:%d", rpc_port(rpc));
	client_init(&client, address, NULL, NULL);
}

static void set_up(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/embassyd-hold-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(dir));
}

static void tear_down(void)
{
	client_release(&client);
	rpc_stop(rpc);
	vault_close(vault);
	grpc_shutdown_blocking();
	cr_expect_eq(file_remove_tree(AT_FDCWD, dir), 0);
}

TestSuite(rpc_hold, .init = set_up, .fini = tear_down, .timeout = 300);

static const char *const methods[] = {
	WIRE_SERVICE "Append",		WIRE_SERVICE "Read",
	WIRE_SERVICE "Heads",		WIRE_SERVICE "GetVolume",
	WIRE_SERVICE "PutVolume",	WIRE_SERVICE "Mend",
	"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
};
#define N_METHODS (sizeof(methods) / sizeof(methods[0]))

Test(rpc_hold, a_call_without_a_message_ends)
{
	struct client_call call[N_METHODS];

	start(50);
	for (size_t i = 0; i < N_METHODS; i++)
		client_open(&client, methods[i], &call[i]);
	for (size_t i = 0; i < N_METHODS; i++)
		cr_expect_eq(client_finish(&call[i]), GRPC_STATUS_DEADLINE_EXCEEDED, "%s: %d %s",
			     methods[i], (int)call[i].status, call[i].text);
}

Test(rpc_hold, too_long_a_request_is_not_kept)
{
	size_t len = 5u << 20;
	uint8_t *bytes = calloc(1, len);
	struct client_call call;

	cr_assert(bytes);
	start(0);
	for (size_t i = 0; i < N_METHODS; i++) {
		client_open(&client, methods[i], &call);
		client_send_raw(&call, bytes, len);
		cr_expect_eq(client_finish(&call), GRPC_STATUS_INVALID_ARGUMENT, "%s: %d %s",
			     methods[i], (int)call.status, call.text);
	}
	free(bytes);
}

/* As many watches as there may be leave room for questions; one more is refused at once. */
Test(rpc_hold, watches_leave_room)
{
	Embassyfs__V1__ListVolumesRequest m = EMBASSYFS__V1__LIST_VOLUMES_REQUEST__INIT;
	static struct client_call watch[64];
	struct client_call call;
	grpc_byte_buffer *bb;

	start(0);
	for (size_t i = 0; i < 64; i++) {
		client_open(&client, "/grpc.health.v1.Health/Watch", &watch[i]);
		client_send_raw(&watch[i], "", 0);
		bb = client_receive(&watch[i]);
		cr_assert(bb);
		grpc_byte_buffer_destroy(bb);
	}
	client_open(&client, "/grpc.health.v1.Health/Watch", &call);
	client_send_raw(&call, "", 0);
	cr_expect_eq(client_finish(&call), GRPC_STATUS_RESOURCE_EXHAUSTED, "%s", call.text);
	cr_expect_eq(client_unary(&client, WIRE_SERVICE "ListVolumes", &m.base, &call, &bb),
		     GRPC_STATUS_OK);
	grpc_byte_buffer_destroy(bb);
	for (size_t i = 0; i < 64; i++)
		client_cancel(&watch[i]);
}
