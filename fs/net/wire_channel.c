/*
 * Settings of gRPC, and statuses.
 *
 * Key idea: both ends are ours, so both use the same measured settings: no copies through newly
 * mapped memory; flow control for the product of bandwidth and delay; keepalive in both directions,
 * which detects a dead peer within half a minute; no compression (all bulk data is sealed); no
 * proxy from the environment.
 *
 * Invariant: a server's and a client's largest message agree.
 */

#include "wire.h"

#include "err.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#define KEEPALIVE_TIME_MS 20000
#define KEEPALIVE_TIMEOUT_MS 10000
#define PING_INTERVAL_MIN_MS 5000 /* a peer that pings more often is disconnected */
#define HANDSHAKE_MS 15000	  /* from the connection's start to HTTP/2's settings */
#define STREAMS_MAX 128		  /* concurrent calls on one connection */
#define METADATA_MAX (16 << 10)

#define EXPERIMENTS                                                                                \
	"flow_control_fixes,memory_pressure_controller,tcp_read_chunks,tcp_frame_size_tuning,"     \
	"peer_state_based_framing"

#define INTEGER(name, number)                                                                      \
	{                                                                                          \
		.type = GRPC_ARG_INTEGER, .key = (char *)(name), .value.integer = (number)         \
	}

void wire_setup(void)
{
	/*
	 * Message-sized buffers come from the heap and stay there: mapping new pages for each would
	 * cost more than the copy.
	 */
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	mallopt(M_TOP_PAD, 4 << 20);
	setenv("GRPC_EXPERIMENTS", EXPERIMENTS, 0);
	setenv("GRPC_VERBOSITY", "NONE", 0);
}

const grpc_channel_args *wire_client_args(void)
{
	static grpc_arg list[] = {
		INTEGER(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)WIRE_MESSAGE_MAX),
		INTEGER(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, (int)WIRE_MESSAGE_MAX),
		INTEGER(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_TIME_MS),
		INTEGER(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS),
		INTEGER(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
		INTEGER(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
		INTEGER(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
		INTEGER(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
		INTEGER(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1),
		INTEGER(GRPC_ARG_ENABLE_RETRIES, 0),
		INTEGER(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
			1 << GRPC_COMPRESS_NONE),
		INTEGER(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 500),
		INTEGER(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000),
		INTEGER(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 10000),
		INTEGER(GRPC_ARG_MAX_METADATA_SIZE, METADATA_MAX),
	};
	static const grpc_channel_args args = {sizeof(list) / sizeof(list[0]), list};

	return &args;
}

const grpc_channel_args *wire_server_args(void)
{
	static grpc_arg list[] = {
		INTEGER(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)WIRE_MESSAGE_MAX),
		INTEGER(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, (int)WIRE_MESSAGE_MAX),
		INTEGER(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_TIME_MS),
		INTEGER(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS),
		INTEGER(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
		INTEGER(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
		INTEGER(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
			PING_INTERVAL_MIN_MS),
		INTEGER(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, HANDSHAKE_MS),
		INTEGER(GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_MAX),
		INTEGER(GRPC_ARG_ALLOW_REUSEPORT, 0),
		INTEGER(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET,
			1 << GRPC_COMPRESS_NONE),
		INTEGER(GRPC_ARG_MAX_METADATA_SIZE, METADATA_MAX),
	};
	static const grpc_channel_args args = {sizeof(list) / sizeof(list[0]), list};

	return &args;
}

grpc_status_code wire_status(int rc)
{
	switch (-rc) {
	case 0:
		return GRPC_STATUS_OK;
	case ERR_NO_VOLUME:
		return GRPC_STATUS_NOT_FOUND;
	case ERR_FORBIDDEN:
		return GRPC_STATUS_PERMISSION_DENIED;
	case ERR_FORMAT:
	case EINVAL:
		return GRPC_STATUS_INVALID_ARGUMENT;
	case ERR_DAMAGED:
	case ERR_TAMPERED:
		return GRPC_STATUS_DATA_LOSS;
	case ERR_STALE:
	case ERR_FORKED:
	case ERR_ROLLED_BACK:
	case ERR_VERSION:
		return GRPC_STATUS_FAILED_PRECONDITION;
	case ERR_ABSENT:
		return GRPC_STATUS_OUT_OF_RANGE;
	case ERR_LOCKED:
		return GRPC_STATUS_ABORTED;
	case ERR_UNREACHABLE:
		return GRPC_STATUS_UNAVAILABLE;
	case ENOSPC:
	case EDQUOT:
	case ENOMEM:
	case EMFILE:
		return GRPC_STATUS_RESOURCE_EXHAUSTED;
	default:
		return GRPC_STATUS_INTERNAL;
	}
}

int wire_error(grpc_status_code status)
{
	switch (status) {
	case GRPC_STATUS_OK:
		return 0;
	case GRPC_STATUS_NOT_FOUND:
		return -ERR_NO_VOLUME;
	case GRPC_STATUS_PERMISSION_DENIED:
	case GRPC_STATUS_UNAUTHENTICATED:
	case GRPC_STATUS_INVALID_ARGUMENT:
	case GRPC_STATUS_FAILED_PRECONDITION:
	case GRPC_STATUS_UNIMPLEMENTED:
		return -ERR_REFUSED;
	case GRPC_STATUS_OUT_OF_RANGE:
		return -ERR_ABSENT;
	case GRPC_STATUS_DATA_LOSS:
		return -ERR_DAMAGED;
	case GRPC_STATUS_RESOURCE_EXHAUSTED:
		return -ENOSPC;
	case GRPC_STATUS_INTERNAL:
		return -EIO;
	default:
		return -ERR_UNREACHABLE;
	}
}
