/* See rpc_fixture.h. */

#include "rpc_fixture.h"

#include "file.h"

#include <criterion/criterion.h>

#include <grpc/grpc.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char dir[200], store[256];
struct synth log_;
struct child server;
struct client client;

void fix_set_up(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/embassyd-rpc-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(dir));
	snprintf(store, sizeof(store), "%s/store", dir);
	synth_init(&log_, 11);
	wire_setup();
	cr_assert(child_start(&server, store, "127.0.0.1:0", NULL));
	grpc_init();
	client_init(&client, server.address, NULL, NULL);
}

void fix_tear_down(void)
{
	client_release(&client);
	grpc_shutdown_blocking();
	if (server.pid)
		cr_expect_eq(child_end(&server, SIGTERM), 0);
	synth_release(&log_);
	cr_expect_eq(file_remove_tree(AT_FDCWD, dir), 0);
}

void fix_restart(int signal, int expect)
{
	client_release(&client);
	cr_assert_eq(child_end(&server, signal), expect);
	cr_assert(child_start(&server, store, "127.0.0.1:0", NULL));
	client_init(&client, server.address, NULL, NULL);
}

const char *fix_path(const char *name)
{
	static char path[4][512];
	static unsigned next;

	next = (next + 1) % 4;
	snprintf(path[next], sizeof(path[0]), "%s/%s", dir, name);
	return path[next];
}

/* PutVolume; the status, and its text in ${call}. */
grpc_status_code fix_put(struct client *c, uint64_t serial, unsigned n_epochs,
			 struct client_call *call)
{
	Embassyfs__V1__PutVolumeRequest m = EMBASSYFS__V1__PUT_VOLUME_REQUEST__INIT;
	struct buf conf = {0};
	grpc_byte_buffer *bb;
	grpc_status_code status;

	synth_conf(&log_, serial, n_epochs, &conf);
	m.params.data = conf.p;
	m.params.len = conf.len;
	status = client_unary(c, WIRE_SERVICE "PutVolume", &m.base, call, &bb);
	if (bb)
		grpc_byte_buffer_destroy(bb);
	buf_release(&conf);
	return status;
}

grpc_status_code fix_get(struct client *c, Embassyfs__V1__Volume **out, struct client_call *call)
{
	Embassyfs__V1__GetVolumeRequest m = EMBASSYFS__V1__GET_VOLUME_REQUEST__INIT;
	ProtobufCMessage *reply = NULL;
	grpc_byte_buffer *bb;
	grpc_status_code status;

	m.volume.data = log_.id;
	m.volume.len = VOLUME_ID_LEN;
	status = client_unary(c, WIRE_SERVICE "GetVolume", &m.base, call, &bb);
	if (bb) {
		cr_assert_eq(wire_unpack(&embassyfs__v1__volume__descriptor, bb, &reply), 0);
		grpc_byte_buffer_destroy(bb);
	}
	*out = (Embassyfs__V1__Volume *)reply;
	return status;
}

uint64_t fix_get_end(struct client *c)
{
	Embassyfs__V1__Volume *v;
	struct client_call call;
	uint64_t end;

	cr_assert_eq(fix_get(c, &v, &call), GRPC_STATUS_OK, "%s", call.text);
	end = v->end;
	embassyfs__v1__volume__free_unpacked(v, NULL);
	return end;
}

void fix_send_opening(struct client_call *call, uint64_t epoch, uint64_t position, uint64_t head)
{
	Embassyfs__V1__AppendRequest m = EMBASSYFS__V1__APPEND_REQUEST__INIT;
	Embassyfs__V1__AppendOpen open = EMBASSYFS__V1__APPEND_OPEN__INIT;
	grpc_byte_buffer *bb;

	open.volume.data = log_.id;
	open.volume.len = VOLUME_ID_LEN;
	open.epoch = epoch;
	open.position = position;
	open.head = head;
	m.open = &open;
	cr_assert_eq(wire_pack(&m.base, &bb), 0);
	client_send(call, bb);
}

void fix_begin(struct client *c, struct client_call *call, uint64_t position, uint64_t head)
{
	client_open(c, WIRE_SERVICE "Append", call);
	fix_send_opening(call, log_.epoch, position, head);
}

static void keep(void *arg)
{
	(void)arg;
}

bool fix_send_bytes(struct client_call *call, uint64_t pos, const void *bytes, size_t len)
{
	return client_send(call, wire_append_data(pos, bytes, len, keep, NULL));
}

bool fix_send_log(struct client_call *call, uint64_t pos, uint64_t limit, size_t piece)
{
	while (pos < limit) {
		size_t len;
		uint64_t at = synth_piece(&log_, pos, piece, &len);

		if (!fix_send_bytes(call, at, synth_bytes(&log_, at), len))
			return false;
		pos = at + len;
	}
	return true;
}

/* The next acknowledgement's end; 0: there is none (any more, or not of a head). */
static bool acknowledged(struct client_call *call, uint64_t *out_end, uint64_t *out_head)
{
	grpc_byte_buffer *bb = client_receive(call);
	ProtobufCMessage *m;

	if (!bb)
		return false;
	cr_assert_eq(wire_unpack(&embassyfs__v1__append_reply__descriptor, bb, &m), 0);
	grpc_byte_buffer_destroy(bb);
	*out_end = ((Embassyfs__V1__AppendReply *)m)->end;
	*out_head = ((Embassyfs__V1__AppendReply *)m)->head;
	protobuf_c_message_free_unpacked(m, NULL);
	return true;
}

/* Read acknowledgements until ${end}. */
void fix_wait_for(struct client_call *call, uint64_t end)
{
	uint64_t got = UINT64_MAX, head, before = 0;

	while (got != end) {
		cr_assert(acknowledged(call, &got, &head), "no acknowledgement of %lu",
			  (unsigned long)end);
		cr_assert_geq(got, before);
		cr_assert_eq(got, synth_head_end(&log_, head));
		before = got;
	}
}

/* Append what the server lacks, from where it says that it stands. */
void fix_append_rest(struct client *c)
{
	struct client_call call;
	uint64_t end = fix_get_end(c), head = 0;

	while (synth_head_end(&log_, head) < end)
		head++;
	fix_begin(c, &call, end, head);
	cr_assert(fix_send_log(&call, end, log_.end, 1 << 20));
	fix_wait_for(&call, log_.end);
	client_send_done(&call);
	cr_assert_eq(client_finish(&call), GRPC_STATUS_OK, "%s", call.text);
}

grpc_status_code fix_read_range(struct client *c, uint64_t pos, uint64_t len, struct buf *out,
				struct client_call *call)
{
	Embassyfs__V1__ReadRequest m = EMBASSYFS__V1__READ_REQUEST__INIT;
	grpc_byte_buffer *bb;

	m.volume.data = log_.id;
	m.volume.len = VOLUME_ID_LEN;
	m.position = pos;
	m.length = len;
	client_open(c, WIRE_SERVICE "Read", call);
	cr_assert_eq(wire_pack(&m.base, &bb), 0);
	client_send(call, bb);
	client_send_done(call);
	while ((bb = client_receive(call))) {
		struct wire_bytes data;

		cr_assert_eq(wire_read_decode(bb, &data), 0);
		cr_assert_leq(data.len, WIRE_PIECE_MAX);
		cr_assert_eq(buf_reserve(out, data.len), 0);
		wire_bytes_copy(&data, 0, data.len, out->p + out->len);
		out->len += data.len;
		grpc_byte_buffer_destroy(bb);
	}
	return client_finish(call);
}

/* Every byte of the log up to ${end} comes back as it was sent. */
void fix_expect_log(struct client *c, uint64_t end)
{
	for (uint64_t n = 0; n <= segment_of(end - 1); n++) {
		struct client_call call;
		struct buf got = {0};
		size_t len = log_.segments[n].len;

		if (len == 0)
			continue;
		if (segment_start(n) + len > end)
			len = (size_t)(end - segment_start(n));
		cr_assert_eq(fix_read_range(c, segment_start(n), SEGMENT_SIZE, &got, &call),
			     GRPC_STATUS_OK, "%s", call.text);
		cr_assert_eq(got.len, len);
		cr_assert_eq(memcmp(got.p, log_.segments[n].p, len), 0);
		buf_release(&got);
	}
}

/*
 * Send ${bytes} as the first message of a method, after which the server must answer with this
 * status.
 */
void fix_expect_refusal(const char *method, const void *bytes, size_t len, grpc_status_code status)
{
	struct client_call call;
	grpc_byte_buffer *bb;

	client_open(&client, method, &call);
	client_send_raw(&call, bytes, len);
	client_send_done(&call);
	while ((bb = client_receive(&call)))
		grpc_byte_buffer_destroy(bb);
	cr_expect_eq(client_finish(&call), status, "%s: %d %s", method, (int)call.status,
		     call.text);
}
