/*
 * Does an embassy that owes no acknowledgement still answer, and still hold what it acknowledged?
 *
 * A stream with nothing to send looks the same whether the embassy is well, frozen, or was put back
 * to an older copy.  So the replicator asks it now and then, and when somebody wants to know at
 * once.  If the answer is not as expected, the stream is closed, and the next connection finds out
 * why.
 */

#include "replicator_internal.h"

#include "agree.h"
#include "clock.h"
#include "embassy.pb-c.h"
#include "err.h"
#include "params.h"
#include "wire.h"

#include <errno.h>
#include <stdio.h>

#define PROBE_NS (UINT64_C(10) * 1000 * 1000 * 1000)
#define PROBE_TIMEOUT_MS 5000

void replicator_heard(struct replicator *r)
{
	pthread_mutex_lock(&r->mu);
	r->heard_ns = clock_mono_ns();
	pthread_mutex_unlock(&r->mu);
}

uint64_t replicator_probe_due(const struct replicator *r)
{
	const struct step *s = &r->step;

	/* If an acknowledgement is owed, it will tell. */
	if (s->phase != STEP_STREAMING || !s->opened || s->sending || s->sent > s->acked.end ||
	    s->newest.end > s->sent)
		return UINT64_MAX;
	return r->probe_ns > r->heard_ns ? r->probe_ns : r->heard_ns + PROBE_NS;
}

static int ask(struct replicator *r)
{
	Embassyfs__V1__GetVolumeRequest request = EMBASSYFS__V1__GET_VOLUME_REQUEST__INIT;
	const struct params *ours = own_conf_params(r->conf);
	struct step_head h;
	ProtobufCMessage *m;
	int rc;

	request.volume = (ProtobufCBinaryData){.len = VOLUME_ID_LEN, .data = (uint8_t *)ours->id};
	rc = client_call(r->client, WIRE_SERVICE "GetVolume", &request.base,
			 &embassyfs__v1__volume__descriptor, PROBE_TIMEOUT_MS, &m);
	if (rc < 0)
		return rc;
	rc = agree_check(ours, r->cfg.store, r->cfg.catalog, (const Embassyfs__V1__Volume *)m, &h);
	protobuf_c_message_free_unpacked(m, NULL);
	if (rc < 0)
		return rc;
	if (rc == AGREE_LACKING || h.number != r->step.acked.number)
		return err_say(-EAGAIN, "it holds another state than it acknowledged");
	return 0;
}

void replicator_probe_now(struct replicator *r)
{
	char text[sizeof(r->reason)];
	int rc = ask(r);

	if (rc == 0) {
		replicator_heard(r);
		return;
	}
	if (rc == -ECANCELED)
		return;
	snprintf(text, sizeof(text), "%s%s", rc == -ERR_UNREACHABLE ? "it does not answer: " : "",
		 err_detail(rc));
	replicator_set_reason(r, text);
	step_close(&r->step, STEP_AWAY);
}
