/*
 * The standard health service, grpc.health.v1.Health, for load balancers and monitors.
 *
 * Key idea: the server serves from its first moment to its last, so the answer only depends on the
 * name asked for.
 */

#include "rpc_internal.h"

#include "err.h"
#include "health.pb-c.h"
#include "wire.h"

#include <grpc/byte_buffer.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEALTH_SERVICE "/grpc.health.v1.Health/"
#define SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define SERVICE_UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

static bool known(const char *name)
{
	return name[0] == '\0' || strcmp(name, "embassyfs.v1.BlockServer") == 0;
}

/* An absent name means the server as a whole.  ${*out} is owned. */
static int unpack(const grpc_byte_buffer *bb, Grpc__Health__V1__HealthCheckRequest **out)
{
	return wire_unpack(&grpc__health__v1__health_check_request__descriptor, bb,
			   (ProtobufCMessage **)out);
}

static int pack(Grpc__Health__V1__HealthCheckResponse__ServingStatus status, grpc_byte_buffer **out)
{
	Grpc__Health__V1__HealthCheckResponse m = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

	m.status = status;
	return wire_pack(&m.base, out);
}

static int answer_check(struct call *call, const grpc_byte_buffer *request, grpc_byte_buffer **out)
{
	Grpc__Health__V1__HealthCheckRequest *m;
	int rc = unpack(request, &m);

	(void)call;
	if (rc < 0)
		return rc;
	/* -ERR_NO_VOLUME becomes the status NOT_FOUND, as the health protocol demands. */
	rc = known(m->service)
		     ? pack(SERVING, out)
		     : err_say(-ERR_NO_VOLUME, "%.128s: no such service here", m->service);
	grpc__health__v1__health_check_request__free_unpacked(m, NULL);
	return rc;
}

/*
 * Watch: the state once, and then a call that stays until either side ends it.  The call is
 * finished when both its one message was sent and its close was seen, whichever comes last.  The
 * close may be seen before watch_start().
 */

static void watch_start(struct call *call)
{
	int rc = call_take(call, QUOTA_WATCHES);

	if (rc < 0) {
		call_finish(call, rc);
		return;
	}
	call->state = call; /* marks the call as counted */
	call_receive(call);
}

static void watch_received(struct call *call, grpc_byte_buffer *bb)
{
	Grpc__Health__V1__HealthCheckRequest *m;
	grpc_byte_buffer *answer;
	int rc;

	if (!bb) {
		call_finish_with(call, GRPC_STATUS_INVALID_ARGUMENT,
				 "no request came with this call");
		return;
	}
	rc = unpack(bb, &m);
	grpc_byte_buffer_destroy(bb);
	if (rc == 0) {
		rc = pack(known(m->service) ? SERVING : SERVICE_UNKNOWN, &answer);
		grpc__health__v1__health_check_request__free_unpacked(m, NULL);
	}
	if (rc < 0)
		call_finish(call, rc);
	else
		call_send(call, answer);
}

static void one_over(struct call *call)
{
	if (atomic_fetch_add(&call->n_over, 1) == 1)
		call_finish_with(call, GRPC_STATUS_CANCELLED, "");
}

static void watch_sent(struct call *call, bool ok)
{
	(void)ok;
	one_over(call);
}

static void watch_release(struct call *call)
{
	if (call->state)
		call_give(call, QUOTA_WATCHES);
}

const struct method health_check_method = {
	.name = HEALTH_SERVICE "Check", .request_max = WIRE_REQUEST_MAX, .answer = answer_check};
const struct method health_watch_method = {
	.name = HEALTH_SERVICE "Watch",
	.request_max = WIRE_REQUEST_MAX,
	.start = watch_start,
	.received = watch_received,
	.sent = watch_sent,
	.closed = one_over,
	.release = watch_release,
};
