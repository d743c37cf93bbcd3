/*
 * The methods of one request and one reply: heads, segment headers, volumes, volume.conf.  Each is
 * worked out on a pool thread.
 *
 * Invariant: a reply stays below WIRE_MESSAGE_MAX, since heads and notes, volumes and volume.conf
 * are all bounded, and a proof has at most 63 hashes for each of its leaves: 2 MiB.
 */

#include "rpc_internal.h"

#include "anchor.h"
#include "buf.h"
#include "copy.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "params.h"
#include "proof.h"
#include "vault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Given back with copy_unref(). */
static int find_copy(struct call *call, const ProtobufCBinaryData *id, struct copy **out)
{
	if (id->len != VOLUME_ID_LEN)
		return err_say(-ERR_FORMAT, "a volume id has %u bytes, not %zu", VOLUME_ID_LEN,
			       id->len);
	return vault_find(call_vault(call), id->data, out);
}

/* Heads gathered for a reply: the notes lie one after the other in one buffer. */
struct gathered {
	struct buf notes;
	struct buf proof;
	size_t limit, n;
	struct {
		log_pos pos;
		uint32_t stored_len;
		size_t off, len;
		leaf_no n_blocks; /* below it */
	} heads[WIRE_HEADS_MAX];
};

static int gather(void *ctx, const struct copy_head *h)
{
	struct gathered *g = ctx;
	int rc;

	if (g->n == g->limit || h->note_len > WIRE_NOTES_MAX - g->notes.len)
		return 1;
	g->heads[g->n].pos = h->pos;
	g->heads[g->n].stored_len = h->stored_len;
	g->heads[g->n].off = g->notes.len;
	g->heads[g->n].len = h->note_len;
	g->heads[g->n].n_blocks = h->n_blocks;
	rc = buf_add(&g->notes, h->note, h->note_len);
	if (rc < 0)
		return rc;
	g->n++;
	return g->n == g->limit ? 1 : 0;
}

static void fill_head(const struct gathered *g, size_t i, Embassyfs__V1__Head *out)
{
	embassyfs__v1__head__init(out);
	out->position = g->heads[i].pos;
	out->stored_len = g->heads[i].stored_len;
	out->note.data = g->notes.p + g->heads[i].off;
	out->note.len = g->heads[i].len;
}

static void fill_proof(const struct buf *b, Embassyfs__V1__Proof *out)
{
	embassyfs__v1__proof__init(out);
	out->hashes.data = b->p;
	out->hashes.len = b->len;
}

static int pack_heads(const struct gathered *g, bool proven, grpc_byte_buffer **out)
{
	Embassyfs__V1__HeadsReply reply = EMBASSYFS__V1__HEADS_REPLY__INIT;
	Embassyfs__V1__Proof proof;
	Embassyfs__V1__Head *heads = malloc((g->n + 1) * sizeof(*heads));
	Embassyfs__V1__Head **list = malloc((g->n + 1) * sizeof(*list));
	int rc = -ENOMEM;

	if (heads && list) {
		for (size_t i = 0; i < g->n; i++) {
			fill_head(g, i, &heads[i]);
			list[i] = &heads[i];
		}
		reply.n_heads = g->n;
		reply.heads = list;
		if (proven && g->n > 0) {
			fill_proof(&g->proof, &proof);
			reply.proof = &proof;
		}
		rc = wire_pack(&reply.base, out);
	}
	free(heads);
	free(list);
	return rc;
}

/*
 * Prove that the heads which were gathered, and the one that the client knows, are of one history.
 */
static int prove(struct copy *copy, leaf_no known, struct gathered *g)
{
	leaf_no n_blocks[WIRE_HEADS_MAX], index[WIRE_HEADS_MAX + 1], n;
	size_t k;

	_Static_assert(WIRE_SEGMENTS_MAX == COPY_SEGMENTS_MAX, "as many as the protocol allows");
	_Static_assert(WIRE_HEADS_MAX + 1 <= PROOF_LEAVES_MAX, "one proof is enough");
	if (g->n == 0)
		return 0;
	for (size_t i = 0; i < g->n; i++)
		n_blocks[i] = g->heads[i].n_blocks;
	n = anchor_leaves(known, n_blocks, g->n, index, &k);
	return k > 0 ? copy_prove(copy, n, index, k, &g->proof) : 0;
}

static int gather_heads(struct call *call, const Embassyfs__V1__HeadsRequest *m, struct gathered *g)
{
	struct copy *copy;
	int rc;

	if (m->limit < 1 || m->limit > WIRE_HEADS_MAX)
		return err_say(-EINVAL, "a limit of %u heads: it must be 1 to %u", m->limit,
			       WIRE_HEADS_MAX);
	rc = find_copy(call, &m->volume, &copy);
	if (rc < 0)
		return rc;
	g->limit = m->by_time ? 1 : m->limit;
	rc = m->by_time ? copy_head_at(copy, m->at_time_ns, gather, g)
			: copy_heads(copy, m->first, gather, g);
	if (rc == 0 && m->prove)
		rc = prove(copy, m->known, g);
	copy_unref(copy);
	return rc;
}

static int answer_heads(struct call *call, const grpc_byte_buffer *request, grpc_byte_buffer **out)
{
	Embassyfs__V1__HeadsRequest *m;
	ProtobufCMessage *base;
	struct gathered *g;
	int rc;

	rc = wire_unpack(&embassyfs__v1__heads_request__descriptor, request, &base);
	if (rc < 0)
		return rc;
	m = (Embassyfs__V1__HeadsRequest *)base;
	g = calloc(1, sizeof(*g));
	rc = g ? gather_heads(call, m, g) : -ENOMEM;
	if (rc == 0)
		rc = pack_heads(g, m->prove, out);
	if (g) {
		buf_release(&g->notes);
		buf_release(&g->proof);
	}
	free(g);
	protobuf_c_message_free_unpacked(base, NULL);
	return rc;
}

static int answer_segments(struct call *call, const grpc_byte_buffer *request,
			   grpc_byte_buffer **out)
{
	Embassyfs__V1__SegmentsReply reply = EMBASSYFS__V1__SEGMENTS_REPLY__INIT;
	Embassyfs__V1__SegmentsRequest *m;
	struct buf headers = {0}, hashes = {0};
	Embassyfs__V1__Proof proof;
	ProtobufCMessage *base;
	struct copy *copy;
	int rc;

	rc = wire_unpack(&embassyfs__v1__segments_request__descriptor, request, &base);
	if (rc < 0)
		return rc;
	m = (Embassyfs__V1__SegmentsRequest *)base;
	rc = find_copy(call, &m->volume, &copy);
	if (rc == 0) {
		rc = copy_segments(copy, m->known, m->numbers, m->n_numbers, &headers, &hashes);
		copy_unref(copy);
	}
	if (rc == 0) {
		reply.headers.data = headers.p;
		reply.headers.len = headers.len;
		fill_proof(&hashes, &proof);
		reply.proof = &proof;
		rc = wire_pack(&reply.base, out);
	}
	buf_release(&headers);
	buf_release(&hashes);
	protobuf_c_message_free_unpacked(base, NULL);
	return rc;
}

/* One head is read by its time: the newest of all. */
static int pack_volume(struct copy *copy, const uint8_t id[VOLUME_ID_LEN], struct gathered *g,
		       grpc_byte_buffer **out)
{
	Embassyfs__V1__Volume reply = EMBASSYFS__V1__VOLUME__INIT;
	Embassyfs__V1__Head head;
	struct buf params = {0};
	int rc;

	g->limit = 1;
	rc = copy_head_at(copy, INT64_MAX, gather, g);
	if (rc == 0)
		rc = copy_get_params(copy, &params);
	if (rc == 0) {
		reply.volume.data = (uint8_t *)id;
		reply.volume.len = VOLUME_ID_LEN;
		reply.params.data = params.p;
		reply.params.len = params.len;
		if (g->n > 0) {
			fill_head(g, 0, &head);
			reply.newest = &head;
			/* Taken from the head itself, so that both fields describe one moment. */
			reply.end = head.position + head.stored_len;
		}
		rc = wire_pack(&reply.base, out);
	}
	buf_release(&params);
	return rc;
}

static int answer_volume(struct copy *copy, const uint8_t id[VOLUME_ID_LEN], grpc_byte_buffer **out)
{
	struct gathered *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return -ENOMEM;
	rc = pack_volume(copy, id, g, out);
	buf_release(&g->notes);
	free(g);
	return rc;
}

static int answer_get_volume(struct call *call, const grpc_byte_buffer *request,
			     grpc_byte_buffer **out)
{
	Embassyfs__V1__GetVolumeRequest *m;
	ProtobufCMessage *base;
	struct copy *copy;
	int rc;

	rc = wire_unpack(&embassyfs__v1__get_volume_request__descriptor, request, &base);
	if (rc < 0)
		return rc;
	m = (Embassyfs__V1__GetVolumeRequest *)base;
	rc = find_copy(call, &m->volume, &copy);
	if (rc == 0) {
		rc = answer_volume(copy, m->volume.data, out);
		copy_unref(copy);
	}
	protobuf_c_message_free_unpacked(base, NULL);
	return rc;
}

static int answer_put_volume(struct call *call, const grpc_byte_buffer *request,
			     grpc_byte_buffer **out)
{
	Embassyfs__V1__PutVolumeRequest *m;
	ProtobufCMessage *base;
	struct copy *copy;
	int rc;

	rc = wire_unpack(&embassyfs__v1__put_volume_request__descriptor, request, &base);
	if (rc < 0)
		return rc;
	m = (Embassyfs__V1__PutVolumeRequest *)base;
	rc = vault_put(call_vault(call), m->params.data, m->params.len, call->who, &copy);
	if (rc == 0) {
		rc = answer_volume(copy, copy_id(copy), out);
		copy_unref(copy);
	}
	protobuf_c_message_free_unpacked(base, NULL);
	return rc;
}

static int answer_repair(struct call *call, const grpc_byte_buffer *request, grpc_byte_buffer **out)
{
	Embassyfs__V1__MendReply reply = EMBASSYFS__V1__MEND_REPLY__INIT;
	Embassyfs__V1__MendRequest *m;
	ProtobufCMessage *base;
	struct copy *copy;
	int rc;

	rc = wire_unpack(&embassyfs__v1__mend_request__descriptor, request, &base);
	if (rc < 0)
		return rc;
	m = (Embassyfs__V1__MendRequest *)base;
	rc = find_copy(call, &m->volume, &copy);
	if (rc == 0) {
		rc = copy_repair(copy, call->who, m->position, m->leaf, m->data.data, m->data.len,
				 &reply.blocks);
		copy_unref(copy);
	}
	if (rc == 0)
		rc = wire_pack(&reply.base, out);
	protobuf_c_message_free_unpacked(base, NULL);
	return rc;
}

struct ids {
	uint8_t ids[VAULT_VOLUMES_MAX][VOLUME_ID_LEN];
	ProtobufCBinaryData list[VAULT_VOLUMES_MAX];
	size_t n;
};

static int add_id(void *ctx, const uint8_t id[VOLUME_ID_LEN])
{
	struct ids *s = ctx;

	if (s->n < VAULT_VOLUMES_MAX) {
		memcpy(s->ids[s->n], id, VOLUME_ID_LEN);
		s->list[s->n] = (ProtobufCBinaryData){VOLUME_ID_LEN, s->ids[s->n]};
		s->n++;
	}
	return 0;
}

static int answer_list_volumes(struct call *call, const grpc_byte_buffer *request,
			       grpc_byte_buffer **out)
{
	Embassyfs__V1__ListVolumesReply reply = EMBASSYFS__V1__LIST_VOLUMES_REPLY__INIT;
	struct ids *s = calloc(1, sizeof(*s));
	int rc = -ENOMEM;

	(void)request; /* has no fields */
	if (s)
		rc = vault_list(call_vault(call), add_id, s);
	if (rc == 0) {
		reply.n_volumes = s->n;
		reply.volumes = s->list;
		rc = wire_pack(&reply.base, out);
	}
	free(s);
	return rc;
}

const struct method heads_method = {
	.name = WIRE_SERVICE "Heads", .request_max = WIRE_REQUEST_MAX, .answer = answer_heads};
const struct method segments_method = {.name = WIRE_SERVICE "Segments",
				       .request_max = WIRE_REQUEST_MAX,
				       .answer = answer_segments};
const struct method get_volume_method = {.name = WIRE_SERVICE "GetVolume",
					 .request_max = WIRE_REQUEST_MAX,
					 .answer = answer_get_volume};
const struct method put_volume_method = {.name = WIRE_SERVICE "PutVolume",
					 .request_max = WIRE_REQUEST_MAX + PARAMS_FILE_MAX,
					 .answer = answer_put_volume};
const struct method mend_method = {.name = WIRE_SERVICE "Mend",
				   .request_max = WIRE_REQUEST_MAX + WIRE_DATA_MAX,
				   .answer = answer_repair};
const struct method list_volumes_method = {.name = WIRE_SERVICE "ListVolumes",
					   .request_max = WIRE_REQUEST_MAX,
					   .answer = answer_list_volumes};
