/*
 * A replicator's questions before a stream: where the embassy stands, and to take volume.conf.
 *
 * Key idea: agree.h judges the answer.  Here the verdict becomes an event of the step machine, and
 * a warning where a person should look.
 */

#include "replicator_internal.h"

#include "agree.h"
#include "buf.h"
#include "clock.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "msg.h"
#include "params.h"
#include "wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ASK_TIMEOUT_MS 10000

static ProtobufCBinaryData volume_of(const struct replicator *r)
{
	return (ProtobufCBinaryData){.len = VOLUME_ID_LEN, .data = (uint8_t *)r->cfg.params->id};
}

/*
 * Warn once if the embassy holds key slots that are not ours.  Bytes are sent all the same, since
 * to lose them would be worse.
 */
static void look_at_other_conf(struct replicator *r, const Embassyfs__V1__Volume *v)
{
	uint64_t ours = own_conf_params(r->conf)->serial;
	uint64_t theirs = agree_other_conf(own_conf_params(r->conf), v);
	char text[sizeof(r->conf_warning)] = "";
	int rc;

	if (theirs != 0)
		snprintf(text, sizeof(text),
			 "it holds another volume.conf (serial %" PRIu64 ", here %" PRIu64
			 "), and opens with what that one lists: key changes made here have not "
			 "reached it. Look at 'embassy keys VOLUME list', and make the newest "
			 "change once more: it then takes the place of what is there",
			 theirs, ours);
	pthread_mutex_lock(&r->mu);
	memcpy(r->conf_warning, text, sizeof(r->conf_warning));
	pthread_mutex_unlock(&r->mu);
	if (theirs == r->other_conf)
		return;
	r->other_conf = theirs;
	if (theirs == 0)
		return;
	msg_event(MSG_WARN, "embassy-conf", "embassy %s: %s", r->address, text);
	rc = own_conf_note(r->conf, theirs);
	if (rc < 0)
		msg_event(MSG_WARN, "embassy-conf", "embassy %s: %s", r->address, err_detail(rc));
}

static void judge(struct replicator *r, const Embassyfs__V1__Volume *v, bool was_put)
{
	struct step_head h;
	int rc;

	rc = agree_check(own_conf_params(r->conf), r->cfg.store, r->cfg.catalog, v, &h);
	if (rc == AGREE_LACKING && !was_put) {
		step_lacking(&r->step);
		return;
	}
	if (rc == AGREE_LACKING)
		rc = err_say(-ERR_REFUSED, "the embassy keeps an older volume.conf");
	/*
	 * The catalog may know a head a moment before it is the newest durable one.  That is not a
	 * failure.
	 */
	replicator_look_at_newest(r);
	if (rc == 0 && h.number > r->step.newest.number)
		rc = err_say(-EAGAIN, "a head is being made durable");
	if (rc < 0) {
		replicator_fail(r, rc);
		return;
	}
	look_at_other_conf(r, v);
	if (h.number < r->acked.number) /* unlocked: only this thread changes it */
		replicator_note_loss(r, h.number);
	step_agreed(&r->step, clock_mono_ns(), &h);
	replicator_heard(r);
	r->cursor_due = true;
}

void replicator_ask_volume(struct replicator *r)
{
	Embassyfs__V1__GetVolumeRequest request = EMBASSYFS__V1__GET_VOLUME_REQUEST__INIT;
	ProtobufCMessage *m;
	int rc;

	request.volume = volume_of(r);
	rc = client_reconnect(r->client);
	r->tls_due_ns = 0; /* it may have read another certificate */
	if (rc == 0)
		rc = client_call(r->client, WIRE_SERVICE "GetVolume", &request.base,
				 &embassyfs__v1__volume__descriptor, ASK_TIMEOUT_MS, &m);
	if (rc == -ERR_NO_VOLUME) {
		step_lacking(&r->step);
		return;
	}
	if (rc < 0) {
		replicator_fail(r, client_explain(r->client, rc));
		return;
	}
	judge(r, (const Embassyfs__V1__Volume *)m, false);
	protobuf_c_message_free_unpacked(m, NULL);
}

void replicator_put_volume(struct replicator *r)
{
	Embassyfs__V1__PutVolumeRequest request = EMBASSYFS__V1__PUT_VOLUME_REQUEST__INIT;
	struct buf text = {0};
	ProtobufCMessage *m;
	int rc;

	rc = params_encode(own_conf_params(r->conf), &text);
	if (rc == 0) {
		request.params = (ProtobufCBinaryData){.len = text.len, .data = text.p};
		rc = client_call(r->client, WIRE_SERVICE "PutVolume", &request.base,
				 &embassyfs__v1__volume__descriptor, ASK_TIMEOUT_MS, &m);
	}
	buf_release(&text);
	if (rc < 0) {
		replicator_fail(r, rc);
		return;
	}
	judge(r, (const Embassyfs__V1__Volume *)m, true);
	protobuf_c_message_free_unpacked(m, NULL);
}
