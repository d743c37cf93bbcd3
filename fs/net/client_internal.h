#ifndef CLIENT_INTERNAL_H_
#define CLIENT_INTERNAL_H_

/* Shared by client.c (channels, the queue's thread) and call.c (calls, streams). */

#include "client.h"
#include "wire.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

enum { CHANNEL_QUESTIONS, CHANNEL_BULK, N_CHANNELS };

struct client {
	char *address, *tls_dir;
	grpc_channel_credentials *creds; /* Guarded by mu. */
	struct wire_tls_seen tls_seen;	 /* Guarded by mu. */
	atomic_bool stop;		 /* client_abort() was called; also ends diagnose() */
	grpc_completion_queue *cq;
	pthread_t thread;
	bool has_thread;
	/*
	 * Incremented before a tag is given to gRPC and read after one comes back.  The queue
	 * orders the two already, but race detectors cannot see into gRPC.
	 */
	atomic_uint n_handed;
	pthread_mutex_t mu;
	/* Guarded by mu. */
	grpc_channel *channels[N_CHANNELS];
	LIST_HEAD(, call) calls; /* linked by call.c */
	bool aborted;
};

/* An operation under way; it is the tag of its batch. */
struct op {
	void (*done)(struct op *op, bool ok);
	struct call *call;
};

#endif /* !CLIENT_INTERNAL_H_ */
