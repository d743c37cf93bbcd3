/*
 * The standard health service, grpc.health.v1.Health, for load balancers and monitors.
 *
 * Key idea: the server serves from its first moment to its last, so the answer only depends on the
 * name asked for.  Both messages have one field, so they are read and written here by hand.
 */

#include "rpc_internal.h"

#include "bytes.h"
#include "err.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HEALTH_SERVICE "/grpc.health.v1.Health/"
#define NAME_MAX_LEN 128u /* of a service that is asked for */
#define FIELD_SERVICE (1u << 3 | 2u)
#define FIELD_STATUS (1u << 3)

enum health { HEALTH_SERVING = 1, HEALTH_SERVICE_UNKNOWN = 3 };

/* The request's only field, a string; absent: the server as a whole. */
static int read_name(const grpc_byte_buffer *bb, char out[NAME_MAX_LEN + 1])
{
	grpc_byte_buffer_reader reader;
	grpc_slice all;
	struct reader r;
	int rc = 0;

	out[0] = '\0';
	if (grpc_byte_buffer_length((grpc_byte_buffer *)bb) > NAME_MAX_LEN ||
	    !grpc_byte_buffer_reader_init(&reader, (grpc_byte_buffer *)bb))
		return err_say(-ERR_FORMAT, "a health request: too long");
	all = grpc_byte_buffer_reader_readall(&reader);
	grpc_byte_buffer_reader_destroy(&reader);
	r = reader_of(GRPC_SLICE_START_PTR(all), GRPC_SLICE_LENGTH(all));
	if (r.left > 0) {
		uint8_t tag = reader_u8(&r), len = reader_u8(&r);
		const uint8_t *name = reader_take(&r, len);

		if (tag != FIELD_SERVICE || !name || r.left > 0 || memchr(name, 0, len))
			rc = err_say(-ERR_FORMAT, "a health request: malformed");
		else
			memcpy(out, name, len);
		if (rc == 0)
			out[len] = '\0';
	}
	grpc_slice_unref(all);
	return rc;
}

static bool known(const char *name)
{
	return name[0] == '\0' || strcmp(name, "embassyfs.v1.BlockServer") == 0;
}

static grpc_byte_buffer *status_message(enum health status)
{
	char bytes[2] = {FIELD_STATUS, (char)status};
	grpc_slice slice = grpc_slice_from_copied_buffer(bytes, sizeof(bytes));
	grpc_byte_buffer *bb = grpc_raw_byte_buffer_create(&slice, 1);

	grpc_slice_unref(slice);
	return bb;
}

static int answer_check(struct call *call, const grpc_byte_buffer *request, grpc_byte_buffer **out)
{
	char name[NAME_MAX_LEN + 1];
	int rc;

	(void)call;
	rc = read_name(request, name);
	if (rc < 0)
		return rc;
	/* The code whose status is NOT_FOUND, as the health protocol demands. */
	if (!known(name))
		return err_say(-ERR_NO_VOLUME, "%s: no such service here", name);
	*out = status_message(HEALTH_SERVING);
	return 0;
}

/*
 * Watch: the state once, and then a call that stays until either side ends it.  The call is
 * finished when both its one message was sent and its close was seen, whichever comes last.
 */
struct watch {
	atomic_uint n_over;
};

static void watch_start(struct call *call)
{
	int rc = call_take(call, QUOTA_WATCHES);

	if (rc < 0) {
		call_finish(call, rc);
		return;
	}
	call->state = calloc(1, sizeof(struct watch));
	if (call->state) {
		call_receive(call);
		return;
	}
	call_give(call, QUOTA_WATCHES);
	call_finish(call, -ENOMEM);
}

static void watch_received(struct call *call, grpc_byte_buffer *bb)
{
	char name[NAME_MAX_LEN + 1];
	int rc;

	if (!bb) {
		call_finish_with(call, GRPC_STATUS_INVALID_ARGUMENT,
				 "no request came with this call");
		return;
	}
	rc = read_name(bb, name);
	grpc_byte_buffer_destroy(bb);
	if (rc < 0)
		call_finish(call, rc);
	else
		call_send(call,
			  status_message(known(name) ? HEALTH_SERVING : HEALTH_SERVICE_UNKNOWN));
}

static void one_over(struct call *call)
{
	struct watch *w = call->state;

	if (w && atomic_fetch_add(&w->n_over, 1) == 1)
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
	free(call->state);
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
