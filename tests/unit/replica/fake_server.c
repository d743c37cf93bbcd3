/*
 * A block server for tests.  Key idea: a thread and a completion queue per call, so that each is
 * served by plain code that waits.
 */

#include "fake_server.h"

#include "anchor.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "format.h"
#include "frame.h"
#include "wire.h"

#include "buf.h"

#include <grpc/grpc_security.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct served {
	struct fake_server *f;
	grpc_call *call;
	grpc_completion_queue *cq;
	grpc_call_details details;
	grpc_metadata_array metadata;
};

/* Run one batch to its end. */
static bool run(struct served *s, const grpc_op *ops, size_t n)
{
	grpc_event ev;

	if (grpc_call_start_batch(s->call, ops, n, s, NULL) != GRPC_CALL_OK)
		return false;
	ev = grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	return ev.type == GRPC_OP_COMPLETE && ev.success;
}

static grpc_byte_buffer *receive(struct served *s)
{
	grpc_byte_buffer *bb = NULL;
	grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

	op.data.recv_message.recv_message = &bb;
	return run(s, &op, 1) ? bb : NULL;
}

static bool reply_buffer(struct served *s, grpc_byte_buffer *bb)
{
	grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
	bool ok;

	op.data.send_message.send_message = bb;
	ok = run(s, &op, 1);
	grpc_byte_buffer_destroy(bb);
	return ok;
}

static bool reply(struct served *s, const ProtobufCMessage *m)
{
	grpc_byte_buffer *bb;
	bool ok;

	do {
		if (wire_pack(m, &bb) < 0)
			abort();
		ok = reply_buffer(s, bb);
	} while (ok && s->f->lie == FAKE_ENDLESS);
	return ok;
}

static void finish(struct served *s, grpc_status_code status)
{
	grpc_slice words = grpc_slice_from_static_string("the fake's words");
	grpc_op op = {.op = GRPC_OP_SEND_STATUS_FROM_SERVER};

	op.data.send_status_from_server.status = status;
	op.data.send_status_from_server.status_details = &words;
	(void)run(s, &op, 1);
}

/* ---- heads ---- */

struct fake_head {
	Embassyfs__V1__Head m;
	uint8_t block[FRAME_LEN + HEAD_NOTE_MAX];
};

static struct fake_head *load_head(struct fake_server *f, uint64_t number)
{
	struct fake_head *h = calloc(1, sizeof(*h));
	struct head_ref ref;
	int rc;

	pthread_mutex_lock(&f->mu);
	rc = catalog_head(f->log->catalog, number, &ref);
	if (rc == 0)
		rc = store_read(f->log->store, ref.pos, ref.stored_len, h->block);
	pthread_mutex_unlock(&f->mu);
	if (rc < 0) {
		free(h);
		return NULL;
	}
	embassyfs__v1__head__init(&h->m);
	h->m.position = ref.pos;
	h->m.stored_len = ref.stored_len;
	h->m.note = (ProtobufCBinaryData){.data = h->block + FRAME_LEN,
					  .len = ref.stored_len - FRAME_LEN};
	/* Another base64 digit in the signature: well formed, and wrong. */
	if (f->lie == FAKE_BAD_SIGNATURE)
		h->block[ref.stored_len - 10] = h->block[ref.stored_len - 10] == 'A' ? 'B' : 'A';
	return h;
}

/* What a server proves of its log, or whatever the lie is. */
static void prove(struct fake_server *f, uint64_t n, const uint64_t *index, size_t k,
		  struct buf *hashes, Embassyfs__V1__Proof *out)
{
	embassyfs__v1__proof__init(out);
	pthread_mutex_lock(&f->mu);
	if (k > 0)
		(void)!catalog_prove(f->log->catalog, n, index, k, hashes);
	pthread_mutex_unlock(&f->mu);
	if (f->lie == FAKE_WRONG_PROOF && hashes->len > 0)
		hashes->p[hashes->len / 2] ^= 1;
	if (f->lie == FAKE_LONG_PROOF && buf_reserve(hashes, 1 << 20) == 0) {
		memset(hashes->p + hashes->len, 0, 1 << 20);
		hashes->len += 1 << 20;
	}
	if (f->lie == FAKE_SHORT_PROOF && hashes->len > 0)
		hashes->len--;
	out->hashes = (ProtobufCBinaryData){.data = hashes->p, .len = hashes->len};
}

static void prove_heads(struct fake_server *f, uint64_t known, struct fake_head **heads, size_t n,
			struct buf *hashes, Embassyfs__V1__Proof *out)
{
	uint64_t n_blocks[64], index[65], n_leaves;
	struct head h;
	size_t k;

	for (size_t i = 0; i < n; i++) {
		if (head_decode(heads[i]->m.note.data, heads[i]->m.note.len, &h) < 0)
			abort();
		n_blocks[i] = h.n_blocks;
	}
	n_leaves = anchor_leaves(known, n_blocks, n, index, &k);
	prove(f, n_leaves, index, k, hashes, out);
}

static void serve_segments(struct served *s, grpc_byte_buffer *bb)
{
	struct fake_server *f = s->f;
	Embassyfs__V1__SegmentsReply m = EMBASSYFS__V1__SEGMENTS_REPLY__INIT;
	Embassyfs__V1__SegmentsRequest *q;
	struct buf headers = {0}, hashes = {0};
	Embassyfs__V1__Proof proof;
	uint8_t block[SEGMENT_BLOCK_LEN];
	uint64_t index[64];
	struct synth *log = f->lie == FAKE_OTHER_HEADERS ? f->other : f->log;
	struct segment_header h;

	f->n_segments++;
	if (wire_unpack(&embassyfs__v1__segments_request__descriptor, bb, (ProtobufCMessage **)&q) <
	    0)
		abort();
	for (size_t i = 0; i < q->n_numbers; i++) {
		if (store_read(log->store, segment_start(q->numbers[i]), sizeof(block), block) <
		    0) {
			finish(s, GRPC_STATUS_OUT_OF_RANGE);
			goto done;
		}
		if (segment_header_decode(block, q->numbers[i], &h) < 0 ||
		    buf_add(&headers, block, sizeof(block)) < 0)
			abort();
		index[i] = h.n_blocks_before;
	}
	if (f->lie == FAKE_LONG_HEADERS && buf_add(&headers, block, sizeof(block)) < 0)
		abort();
	prove(f, q->known, index, q->n_numbers, &hashes, &proof);
	m.headers = (ProtobufCBinaryData){.data = headers.p, .len = headers.len};
	m.proof = f->lie == FAKE_NO_PROOF ? NULL : &proof;
	(void)reply(s, &m.base);
	finish(s, GRPC_STATUS_OK);
done:
	buf_release(&headers);
	buf_release(&hashes);
	protobuf_c_message_free_unpacked(&q->base, NULL);
}

static void serve_heads(struct served *s, grpc_byte_buffer *bb)
{
	struct fake_server *f = s->f;
	Embassyfs__V1__HeadsReply m = EMBASSYFS__V1__HEADS_REPLY__INIT;
	Embassyfs__V1__HeadsRequest *q;
	Embassyfs__V1__Head *list[64];
	struct fake_head *heads[64];
	Embassyfs__V1__Proof proof;
	struct buf hashes = {0};
	struct head_ref ref;
	uint64_t first;
	size_t limit;

	f->n_heads++;
	if (wire_unpack(&embassyfs__v1__heads_request__descriptor, bb, (ProtobufCMessage **)&q) < 0)
		abort();
	first = q->first;
	limit = q->limit < 64 ? q->limit : 64;
	if (q->by_time) {
		limit = 1;
		if (f->lie == FAKE_NO_HEADS ||
		    catalog_head_at(f->log->catalog, q->at_time_ns, &ref) < 0)
			limit = 0;
		else
			first = ref.number;
		if (limit && (f->lie == FAKE_OLD_TIME || f->lie == FAKE_OLD_ONLY))
			first = 1;
	}
	if (f->lie == FAKE_OLD_ONLY && first > 1)
		limit = 0;
	if (f->lie == FAKE_WRONG_HEAD && limit)
		first++;
	if (f->lie == FAKE_TOO_MANY && limit)
		limit++;
	m.heads = list;
	while (m.n_heads < limit && first + m.n_heads <= f->committed) {
		heads[m.n_heads] = load_head(f, first + m.n_heads);
		if (!heads[m.n_heads])
			break;
		list[m.n_heads] = &heads[m.n_heads]->m;
		m.n_heads++;
	}
	if (q->prove && m.n_heads > 0 && f->lie != FAKE_NO_PROOF) {
		prove_heads(f, q->known, heads, m.n_heads, &hashes, &proof);
		m.proof = &proof;
	}
	(void)reply(s, &m.base);
	buf_release(&hashes);
	for (size_t i = 0; i < m.n_heads; i++)
		free(heads[i]);
	protobuf_c_message_free_unpacked(&q->base, NULL);
	finish(s, GRPC_STATUS_OK);
}

/* ---- the others ---- */

static void serve_volume(struct served *s)
{
	struct fake_server *f = s->f;
	Embassyfs__V1__Volume m = EMBASSYFS__V1__VOLUME__INIT;
	struct params *p = &f->log->params;
	struct fake_head *h = NULL;
	struct buf text = {0};

	if (f->lacks_volume) {
		finish(s, GRPC_STATUS_NOT_FOUND);
		return;
	}
	if (f->lie == FAKE_OTHER_VOLUME)
		p = &f->other->params;
	if (params_encode(p, &text) < 0)
		abort();
	if (f->lie == FAKE_BAD_PARAMS)
		text.p[text.len / 2] ^= 1;
	m.volume = (ProtobufCBinaryData){.data = f->log->params.id, .len = VOLUME_ID_LEN};
	m.params = (ProtobufCBinaryData){.data = text.p, .len = text.len};
	if (f->committed > 0) {
		h = load_head(f, f->committed);
		m.newest = &h->m;
		m.end = h->m.position + h->m.stored_len;
	}
	if (f->lie == FAKE_WRONG_END)
		m.end += 7;
	(void)reply(s, &m.base);
	free(h);
	buf_release(&text);
	finish(s, GRPC_STATUS_OK);
}

static void serve_read(struct served *s, grpc_byte_buffer *bb)
{
	struct fake_server *f = s->f;
	Embassyfs__V1__ReadReply m = EMBASSYFS__V1__READ_REPLY__INIT;
	Embassyfs__V1__ReadRequest *q;
	uint64_t size = 0, off, len;
	uint8_t *p;

	f->n_read++;
	if (wire_unpack(&embassyfs__v1__read_request__descriptor, bb, (ProtobufCMessage **)&q) < 0)
		abort();
	off = q->position % SEGMENT_SIZE;
	len = q->length;
	if (store_size(f->log->store, segment_of(q->position), &size) < 0 || off >= size) {
		finish(s, GRPC_STATUS_OUT_OF_RANGE);
		goto done;
	}
	if (len > size - off)
		len = size - off;
	if (f->lie == FAKE_SHORT_READ)
		len /= 2;
	p = malloc(len + 1);
	if (store_read(f->log->store, q->position, len, p) < 0)
		abort();
	if (f->lie == FAKE_LONG_READ)
		len++;
	/* Two pieces, so that the receiver has something to put together. */
	m.data = (ProtobufCBinaryData){.data = p, .len = len / 3};
	(void)reply(s, &m.base);
	m.data = (ProtobufCBinaryData){.data = p + len / 3, .len = len - len / 3};
	(void)reply(s, &m.base);
	free(p);
	finish(s, GRPC_STATUS_OK);
done:
	protobuf_c_message_free_unpacked(&q->base, NULL);
}

static bool acknowledge(struct served *s, uint64_t number)
{
	struct fake_server *f = s->f;
	Embassyfs__V1__AppendReply m = EMBASSYFS__V1__APPEND_REPLY__INIT;
	struct head_ref ref;

	if (f->lie == FAKE_ACK_GARBAGE) {
		grpc_slice junk = grpc_slice_from_static_string("\xff\xff\xff");

		return reply_buffer(s, grpc_raw_byte_buffer_create(&junk, 1));
	}
	if (catalog_head(f->log->catalog, number, &ref) < 0)
		abort();
	m.end = ref.pos + ref.stored_len + (f->lie == FAKE_ACK_NONSENSE);
	m.head = number;
	m.head_time_ns = ref.time_ns;
	return reply(s, &m.base);
}

/* Bytes must follow; each head that is complete is acknowledged. */
static bool take_data(struct served *s, const struct wire_append *a, uint64_t *at)
{
	struct fake_server *f = s->f;
	struct head_ref ref;

	if (a->position != *at && !(a->position % SEGMENT_SIZE == 0 && a->position > *at &&
				    a->position - *at < SEGMENT_SIZE))
		f->bad_data = true;
	*at = a->position + a->data.len;
	if (f->lie == FAKE_MUTE)
		return true;
	if (f->lie == FAKE_ACK_NONSENSE || f->lie == FAKE_ACK_GARBAGE)
		return acknowledge(s, 1);
	while (catalog_head(f->log->catalog, f->committed + 1, &ref) == 0 &&
	       ref.pos + ref.stored_len <= *at) {
		f->committed++;
		if (!acknowledge(s, f->committed))
			return false;
	}
	return true;
}

static void serve_append(struct served *s, grpc_byte_buffer *bb)
{
	struct fake_server *f = s->f;
	struct wire_append a;
	struct head_ref ref = {0};
	uint64_t at;
	bool ok = true;

	f->n_append++;
	if (wire_append_decode(bb, &a) < 0 || !a.has_open || a.open.head != f->committed ||
	    (f->committed > 0 && catalog_head(f->log->catalog, f->committed, &ref) < 0) ||
	    a.open.position != ref.pos + ref.stored_len)
		f->bad_open = true;
	at = a.open.position;
	/* Nothing is taken, since what is sent could then be all there is very soon. */
	if (f->lie == FAKE_ACK_TOO_MUCH)
		ok = acknowledge(s, f->log->newest.number);
	while (ok && f->lie != FAKE_DROP && f->lie != FAKE_ACK_TOO_MUCH) {
		grpc_byte_buffer *more = receive(s);

		if (!more)
			break;
		if (wire_append_decode(more, &a) < 0 || !a.has_data)
			f->bad_data = true;
		else
			ok = take_data(s, &a, &at);
		grpc_byte_buffer_destroy(more);
	}
	finish(s, f->status);
}

static void *serve(void *arg)
{
	struct served *s = arg;
	struct fake_server *f = s->f;
	grpc_op op = {.op = GRPC_OP_SEND_INITIAL_METADATA};
	char method[100] = "";
	grpc_byte_buffer *bb;

	memcpy(method, GRPC_SLICE_START_PTR(s->details.method),
	       GRPC_SLICE_LENGTH(s->details.method) < 99 ? GRPC_SLICE_LENGTH(s->details.method)
							 : 99);
	(void)run(s, &op, 1);
	bb = receive(s);
	if (strstr(method, "GetVolume"))
		f->n_get++;
	if (!bb || f->lie == FAKE_STATUS ||
	    (f->lie == FAKE_GET_STATUS && strstr(method, "GetVolume"))) {
		finish(s, f->status);
	} else if (strstr(method, "GetVolume")) {
		serve_volume(s);
	} else if (strstr(method, "PutVolume")) {
		f->n_put++;
		f->lacks_volume = false;
		serve_volume(s);
	} else if (strstr(method, "Segments")) {
		if (f->lie == FAKE_OLD_VERSION)
			finish(s, GRPC_STATUS_UNIMPLEMENTED);
		else
			serve_segments(s, bb);
	} else if (strstr(method, "Heads")) {
		serve_heads(s, bb);
	} else if (strstr(method, "Read")) {
		serve_read(s, bb);
	} else {
		serve_append(s, bb);
	}
	grpc_byte_buffer_destroy(bb);
	grpc_call_unref(s->call);
	grpc_completion_queue_shutdown(s->cq);
	while (grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
	       GRPC_QUEUE_SHUTDOWN)
		;
	grpc_completion_queue_destroy(s->cq);
	grpc_call_details_destroy(&s->details);
	grpc_metadata_array_destroy(&s->metadata);
	free(s);
	f->n_open--;
	return NULL;
}

static void request_one(struct fake_server *f)
{
	struct served *s = calloc(1, sizeof(*s));

	s->f = f;
	s->cq = grpc_completion_queue_create_for_next(NULL);
	grpc_call_details_init(&s->details);
	grpc_metadata_array_init(&s->metadata);
	if (grpc_server_request_call(f->server, &s->call, &s->details, &s->metadata, s->cq, f->cq,
				     s) != GRPC_CALL_OK)
		abort();
}

static void *accept_calls(void *arg)
{
	struct fake_server *f = arg;

	for (;;) {
		grpc_event ev = grpc_completion_queue_next(
			f->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
		struct served *s = ev.tag;
		pthread_t t;

		if (ev.type == GRPC_QUEUE_SHUTDOWN)
			return NULL;
		if (ev.tag == f)
			continue; /* the shutdown's own */
		if (!ev.success) {
			grpc_completion_queue_shutdown(s->cq);
			(void)grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC),
							 NULL);
			grpc_completion_queue_destroy(s->cq);
			grpc_call_details_destroy(&s->details);
			grpc_metadata_array_destroy(&s->metadata);
			free(s);
			continue;
		}
		f->n_open++;
		request_one(f);
		pthread_create(&t, NULL, serve, s);
		pthread_detach(t);
	}
}

void fake_start(struct fake_server *f, struct synth *log, const char *path)
{
	grpc_server_credentials *creds;

	memset(f, 0, sizeof(*f));
	wire_setup();
	grpc_init();
	f->log = log;
	f->committed = log->newest.number;
	pthread_mutex_init(&f->mu, NULL);
	snprintf(f->address, sizeof(f->address), "unix:%s", path);
	f->cq = grpc_completion_queue_create_for_next(NULL);
	f->server = grpc_server_create(wire_server_args(), NULL);
	grpc_server_register_completion_queue(f->server, f->cq, NULL);
	creds = grpc_insecure_server_credentials_create();
	if (!grpc_server_add_http2_port(f->server, f->address, creds))
		abort();
	grpc_server_credentials_release(creds);
	grpc_server_start(f->server);
	request_one(f);
	pthread_create(&f->thread, NULL, accept_calls, f);
}

void fake_stop(struct fake_server *f)
{
	grpc_server_shutdown_and_notify(f->server, f->cq, f);
	grpc_server_cancel_all_calls(f->server);
	while (f->n_open > 0)
		usleep(1000);
	grpc_completion_queue_shutdown(f->cq);
	pthread_join(f->thread, NULL);
	grpc_server_destroy(f->server);
	grpc_completion_queue_destroy(f->cq);
	pthread_mutex_destroy(&f->mu);
	grpc_shutdown();
}
