/*
 * Callers that hold what they do not use: calls without a message, watches, messages that are too
 * long.  The server runs in this process, so that it can be given less patience.
 */

#include "client.h"
#include "embassy.pb-c.h"
#include "file.h"
#include "rpc.h"
#include "storage_folder.h"
#include "vault.h"

#include <criterion/criterion.h>

#include <grpc/grpc.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static char dir[200];
static struct vault *vault;
static struct rpc *rpc;
static struct client client;

static void start(unsigned first_message_ms, unsigned taken_ms)
{
	struct rpc_config cfg = {.listen = "127.0.0.1:0",
				 .first_message_ms = first_message_ms,
				 .taken_ms = taken_ms};
	struct storage_pool *pool;
	char address[40];

	wire_setup();
	grpc_init();
	cr_assert_eq(storage_folder_open(dir, &pool), 0);
	cr_assert_eq(vault_open(pool, &vault), 0);
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

TestSuite(rpc_hold, .init = set_up, .fini = tear_down, .timeout = 100);

static const char *const methods[] = {
	WIRE_SERVICE "Append",		WIRE_SERVICE "Read",
	WIRE_SERVICE "Heads",		WIRE_SERVICE "GetVolume",
	WIRE_SERVICE "PutVolume",	WIRE_SERVICE "Mend",
	WIRE_SERVICE "Segments",
	"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
};
#define N_METHODS (sizeof(methods) / sizeof(methods[0]))

Test(rpc_hold, a_call_without_a_message_ends)
{
	struct client_call call[N_METHODS];

	start(50, 0);
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
	start(0, 0);
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

	start(0, 0);
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

/* ---- HTTP/2 by hand: a client that takes nothing ---- */

enum { H2_DATA = 0, H2_HEADERS = 1, H2_RESET = 3, H2_SETTINGS = 4, H2_PING = 6 };
#define H2_ACK 1
#define H2_END_STREAM 1
#define H2_END_HEADERS 4

static size_t put_frame(uint8_t *p, uint8_t type, uint8_t flags, uint8_t stream, const void *bytes,
			size_t len)
{
	const uint8_t head[9] = {0,	(uint8_t)(len >> 8), (uint8_t)len, type, flags, 0, 0, 0,
				 stream};

	memcpy(p, head, sizeof(head));
	memcpy(p + sizeof(head), bytes, len);
	return sizeof(head) + len;
}

/* A literal that is not indexed. */
static size_t put_header(uint8_t *p, const char *name, const char *value)
{
	size_t name_len = strlen(name), len = strlen(value);

	p[0] = 0;
	p[1] = (uint8_t)name_len;
	memcpy(p + 2, name, name_len);
	p[2 + name_len] = (uint8_t)len;
	memcpy(p + 3 + name_len, value, len);
	return 3 + name_len + len;
}

/* A call of ${method} with an empty message. */
static size_t put_call(uint8_t *p, const char *method, uint8_t stream)
{
	uint8_t headers[500];
	size_t n = 0, len;

	n += put_header(headers + n, ":method", "POST");
	n += put_header(headers + n, ":scheme", "http");
	n += put_header(headers + n, ":path", method);
	n += put_header(headers + n, ":authority", "test");
	n += put_header(headers + n, "te", "trailers");
	n += put_header(headers + n, "content-type", "application/grpc");
	len = put_frame(p, H2_HEADERS, H2_END_HEADERS, stream, headers, n);
	return len + put_frame(p + len, H2_DATA, H2_END_STREAM, stream, "\0\0\0\0", 5);
}

/* A connection on which the server may send no byte of an answer. */
static int connect_without_window(void)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	static const uint8_t no_window[6] = {0, 4, 0, 0, 0, 0};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)rpc_port(rpc))};
	const struct timeval patience = {.tv_sec = CLIENT_WAIT_S};
	uint8_t bytes[100];
	size_t n = sizeof(preface) - 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(bytes, preface, n);
	n += put_frame(bytes + n, H2_SETTINGS, 0, 0, no_window, sizeof(no_window));
	cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	cr_assert_eq(send(fd, bytes, n, 0), (ssize_t)n);
	return fd;
}

/* The stream that the server ends next, its pings answered; 0: it has closed the connection. */
static unsigned next_end(int fd)
{
	uint8_t head[9], body[16384], pong[17];

	while (recv(fd, head, sizeof(head), MSG_WAITALL) == (ssize_t)sizeof(head)) {
		size_t len = (size_t)head[1] << 8 | head[2];

		cr_assert_leq(len, sizeof(body));
		if (len > 0 && recv(fd, body, len, MSG_WAITALL) != (ssize_t)len)
			break;
		cr_expect(head[3] != H2_DATA || len == 0);
		if (head[3] == H2_PING && !(head[4] & H2_ACK))
			cr_expect_gt(
				send(fd, pong, put_frame(pong, H2_PING, H2_ACK, 0, body, 8), 0), 0);
		if (head[3] == H2_RESET || (head[3] == H2_HEADERS && head[4] & H2_END_STREAM))
			return head[8];
	}
	return 0;
}

/* Answers that nobody takes hold memory, and the caller's places. */
Test(rpc_hold, an_answer_that_is_not_taken_is_given_up)
{
	static const char *const asked[] = {WIRE_SERVICE "ListVolumes",
					    "/grpc.health.v1.Health/Check",
					    "/grpc.health.v1.Health/Watch"};
	bool ended[8] = {false};
	uint8_t bytes[2000];
	unsigned stream;
	size_t n = 0;
	int fd;

	start(0, 50);
	fd = connect_without_window();
	for (size_t i = 0; i < 3; i++)
		n += put_call(bytes + n, asked[i], (uint8_t)(2 * i + 1));
	cr_assert_eq(send(fd, bytes, n, 0), (ssize_t)n);
	while (!ended[1] || !ended[3] || !ended[5]) {
		stream = next_end(fd);
		cr_assert(stream > 0 && stream < 8, "no end of 1 (%d), 3 (%d) or 5 (%d)", ended[1],
			  ended[3], ended[5]);
		ended[stream] = true;
	}
	close(fd);
}
