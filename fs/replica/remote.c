/*
 * What a server says of a volume, verified.
 *
 * Key idea: a volume's id is a hash of its authority's key.  So a client that knows the id can
 * check volume.conf; with volume.conf, the writers' keys; and with these, the heads.
 */

#include "remote.h"

#include "client.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "format.h"
#include "frame.h"
#include "judge.h"
#include "remote_head.h"
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 10000
#define VOLUMES_MAX 1024u /* of a server, proto/PROTOCOL.md */

int remote_get_volume(struct client *c, const uint8_t *volume, int timeout_ms,
		      struct params *params, Embassyfs__V1__Volume **out)
{
	Embassyfs__V1__GetVolumeRequest request = EMBASSYFS__V1__GET_VOLUME_REQUEST__INIT;
	Embassyfs__V1__Volume *v;
	ProtobufCMessage *m;
	int rc;

	request.volume = (ProtobufCBinaryData){.len = VOLUME_ID_LEN, .data = (uint8_t *)volume};
	rc = client_call(c, WIRE_SERVICE "GetVolume", &request.base,
			 &embassyfs__v1__volume__descriptor, timeout_ms, &m);
	if (rc < 0)
		return rc;
	v = (Embassyfs__V1__Volume *)m;
	rc = v->params.len > PARAMS_FILE_MAX ? -ERR_FORMAT
					     : params_decode(v->params.data, v->params.len, params);
	if (rc == -ERR_FORMAT || rc == -ERR_TAMPERED)
		rc = err_say(-ERR_TAMPERED, "%s: its volume.conf is not valid; try another embassy",
			     client_address(c));
	if (rc < 0)
		goto free_volume;
	if (memcmp(params->id, volume, VOLUME_ID_LEN) != 0) {
		rc = err_say(-ERR_TAMPERED,
			     "%s: its volume.conf is another volume's; try another "
			     "embassy",
			     client_address(c));
		params_release(params);
		goto free_volume;
	}
	*out = v;
	return 0;

free_volume:
	protobuf_c_message_free_unpacked(m, NULL);
	return rc;
}

int remote_head_check(const struct head_known *known, const Embassyfs__V1__Head *h,
		      struct head *out)
{
	struct head_known k = *known;
	int rc;

	if (h->note.len > HEAD_NOTE_MAX || h->stored_len != FRAME_LEN + h->note.len)
		return err_say(-ERR_TAMPERED, "a head's lengths do not fit");
	/*
	 * No head can have that position, and head_judge() would take it for "wherever the note
	 * says".
	 */
	if (h->position == HEAD_ANYWHERE)
		return err_say(-ERR_TAMPERED, "a head's position is none");
	k.params_may_be_old = true;
	k.is_note = true;
	k.pos = h->position;
	rc = head_judge(&k, h->note.data, h->note.len, out);
	/*
	 * A transfer over the network does not damage bytes: a server that answers with another
	 * head than was asked for is lying.
	 */
	return rc == -ERR_DAMAGED ? err_say(-ERR_TAMPERED, "%s", err_detail(rc)) : rc;
}

void remote_head_leaf(const Embassyfs__V1__Head *h, uint8_t out[HASH_LEN])
{
	const struct frame f = {.body_len = (uint32_t)h->note.len, .kind = BLOCK_HEAD};
	uint8_t block[HEAD_BLOCK_MAX];

	assert(h->note.len <= HEAD_NOTE_MAX);
	frame_encode(&f, h->position, block);
	memcpy(block + FRAME_LEN, h->note.data, h->note.len);
	leaf_hash(h->position, block, FRAME_LEN + h->note.len, out);
}

static int read_status(const struct params *p, const Embassyfs__V1__Volume *v,
		       struct remote_status *out)
{
	const struct head_known k = {.params = p};
	int rc;

	*out = (struct remote_status){.end = v->end};
	if (!v->newest)
		return v->end == 0 ? 0 : err_say(-ERR_TAMPERED, "the server has bytes but no head");
	rc = remote_head_check(&k, v->newest, &out->head);
	if (rc == -ERR_STALE)
		rc = err_say(-ERR_TAMPERED, "the newest head's writer is not in volume.conf");
	if (rc == 0 && head_end(&out->head) != v->end)
		rc = err_say(-ERR_TAMPERED, "the server's end is not its newest head's");
	return rc;
}

int remote_volume_status(const struct remote_config *cfg, struct remote_status *out)
{
	struct client_config ccfg = {.address = cfg->address, .tls_dir = cfg->tls_dir};
	int timeout_ms = cfg->timeout_ms ? cfg->timeout_ms : TIMEOUT_MS;
	Embassyfs__V1__Volume *v;
	struct params *params;
	struct client *client;
	int rc;

	params = malloc(sizeof(*params));
	if (!params)
		return -ENOMEM;
	rc = client_new(&ccfg, &client);
	if (rc < 0)
		goto free_params;
	rc = remote_get_volume(client, cfg->volume, timeout_ms, params, &v);
	if (rc == 0) {
		rc = read_status(params, v, out);
		params_release(params);
		protobuf_c_message_free_unpacked(&v->base, NULL);
	}
	rc = client_explain(client, rc);
	client_free(client);
free_params:
	free(params);
	return rc;
}

/*
 * Ask one question over a connection of its own; if the server can't be reached, say why.  Borrows
 * ${request}.  Returns as client_call() and client_new().
 */
static int ask_once(const struct remote_config *cfg, const char *method,
		    const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
		    ProtobufCMessage **out)
{
	struct client_config ccfg = {.address = cfg->address, .tls_dir = cfg->tls_dir};
	struct client *client;
	int rc;

	rc = client_new(&ccfg, &client);
	if (rc < 0)
		return rc;
	rc = client_call(client, method, request, type,
			 cfg->timeout_ms ? cfg->timeout_ms : TIMEOUT_MS, out);
	rc = client_explain(client, rc);
	client_free(client);
	return rc;
}

static int visit_ids(const Embassyfs__V1__ListVolumesReply *m,
		     int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]), void *ctx)
{
	int rc = 0;

	/* A caller asks one more question for each of them, so their number must be bounded. */
	if (m->n_volumes > VOLUMES_MAX)
		return err_say(-EPROTO, "the server lists %zu volumes, more than one can have",
			       m->n_volumes);
	for (size_t i = 0; rc == 0 && i < m->n_volumes; i++) {
		if (m->volumes[i].len != VOLUME_ID_LEN)
			return err_say(-EPROTO, "the server lists a volume whose id is none");
		rc = fn(ctx, m->volumes[i].data);
	}
	return rc;
}

int remote_list_volumes(const struct remote_config *cfg,
			int (*fn)(void *ctx, const uint8_t id[VOLUME_ID_LEN]), void *ctx)
{
	Embassyfs__V1__ListVolumesRequest request = EMBASSYFS__V1__LIST_VOLUMES_REQUEST__INIT;
	ProtobufCMessage *reply;
	int rc;

	rc = ask_once(cfg, WIRE_SERVICE "ListVolumes", &request.base,
		      &embassyfs__v1__list_volumes_reply__descriptor, &reply);
	if (rc < 0)
		return rc;
	rc = visit_ids((const Embassyfs__V1__ListVolumesReply *)reply, fn, ctx);
	protobuf_c_message_free_unpacked(reply, NULL);
	return rc;
}

int remote_repair(const struct remote_config *cfg, log_pos pos, leaf_no leaf, const void *data,
		  size_t len, uint32_t *out_blocks)
{
	Embassyfs__V1__MendRequest request = EMBASSYFS__V1__MEND_REQUEST__INIT;
	ProtobufCMessage *reply;
	int rc;

	request.volume = (ProtobufCBinaryData){.len = VOLUME_ID_LEN,
					       .data = (uint8_t *)cfg->volume};
	request.position = pos;
	request.leaf = leaf;
	request.data = (ProtobufCBinaryData){.len = len, .data = (uint8_t *)data};
	rc = ask_once(cfg, WIRE_SERVICE "Mend", &request.base,
		      &embassyfs__v1__mend_reply__descriptor, &reply);
	if (rc < 0)
		return rc;
	*out_blocks = ((Embassyfs__V1__MendReply *)reply)->blocks;
	protobuf_c_message_free_unpacked(reply, NULL);
	return 0;
}
