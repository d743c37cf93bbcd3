#ifndef SOURCE_REMOTE_INTERNAL_H_
#define SOURCE_REMOTE_INTERNAL_H_

/*
 * What source_remote.c (questions, bytes, life) and source_remote_heads.c share.
 *
 * Lock order: mu is a leaf.
 */

#include "compiler.h"
#include "head.h"
#include "params.h"
#include "source.h"

#include <protobuf-c/protobuf-c.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#define HEADS_KEPT 256u

struct client;
struct page_cache;
struct proven;

struct remote {
	struct source source;
	struct params params;
	struct client *client;
	struct page_cache *cache;
	struct proven *proven;
	int timeout_ms;
	pthread_mutex_t mu;
	/* Guarded by mu. */
	head_no newest;	      /* number of the newest head that the server has shown; 0: none */
	struct params *newer; /* a later volume.conf, once a head's epoch asked for it; or NULL */
	/* number 0: none; the head's place is its number modulo the size */
	struct head heads[HEADS_KEPT];
};

static inline struct remote *remote_of(struct source *s)
{
	return (struct remote *)s; /* its first member */
}

/*
 * remote_ask(r, method, request, type, patient, out): a question, asked until it is answered or its
 * time is over; once, unless ${patient}.  Any thread.  Returns as client_call(); -ERR_UNREACHABLE,
 * with a detail, if the server was busy all the time.
 */
MUST_CHECK int remote_ask(void *r, const char *method, const ProtobufCMessage *request,
			  const ProtobufCMessageDescriptor *type, bool patient,
			  ProtobufCMessage **out);

/* The source's heads and head_at; see source.h. */
MUST_CHECK int remote_heads(struct source *s, head_no first, size_t n, struct head *out,
			    size_t *out_n);
MUST_CHECK int remote_head_at(struct source *s, int64_t time_ns, struct head *out);

#endif /* !SOURCE_REMOTE_INTERNAL_H_ */
