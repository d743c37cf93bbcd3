#ifndef PROVEN_H_
#define PROVEN_H_

/*
 * What a server shows of a volume, proven to belong to one history: heads, and the segment headers
 * that keys are made from.  proto/PROTOCOL.md, "Proofs".
 */

#include "anchor.h"
#include "compiler.h"
#include "frame.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

struct proven;
struct Embassyfs__V1__Proof;

struct proven_config {
	const char *address;   /* of the server, for messages; borrowed */
	const uint8_t *volume; /* VOLUME_ID_LEN bytes, borrowed */
	/*
	 * ask(ctx, method, request, type, patient, out): as client_call(); if ${patient}, retries
	 * for as long as the source does.  Any thread.
	 */
	int (*ask)(void *ctx, const char *method, const ProtobufCMessage *request,
		   const ProtobufCMessageDescriptor *type, bool patient, ProtobufCMessage **out);
	void *ctx;
};

/*
 * proven_new(cfg, newest, out): ${newest} is the first anchor, verified; zeroed if there is none
 * yet.  Starts a thread.  Returns 0, -ENOMEM or -EAGAIN (no thread).
 * proven_free(p): no caller may be inside; calls that ask() has under way must end soon
 * (client_abort()).  NULL is a no-op.
 */
MUST_CHECK int proven_new(const struct proven_config *cfg, const struct anchor *newest,
			  struct proven **out);
void proven_free(struct proven *p);

/* proven_known(p, out): the present anchor, which a question for heads names as known. */
void proven_known(struct proven *p, struct anchor *out);

/*
 * proven_admit(p, known, heads, n, proof): judge ${n} verified heads that came with ${proof} (NULL:
 * none came) in answer to a question that named ${known}.  The newest of all becomes the anchor.
 * Returns 0; -ERR_TAMPERED or -ERR_VERSION (the server cannot prove), with a detail; -ESTALE: the
 * anchor is newer by now, ask again; -ENOMEM.  Any thread.
 */
MUST_CHECK int proven_admit(struct proven *p, const struct anchor *known,
			    const struct anchor *heads, size_t n,
			    const struct Embassyfs__V1__Proof *proof);

/*
 * proven_header(p, number, out): the header block of segment ${number}, requested unless it is
 * kept.  Any thread; if several want one header, it is requested once.
 * Returns 0; -ERR_TAMPERED, -ERR_VERSION, with a detail; -ENOMEM; as ask().
 * proven_hint(p, number): the header will be wanted; request it in the background.
 */
MUST_CHECK int proven_header(struct proven *p, segment_no number, uint8_t out[SEGMENT_BLOCK_LEN]);
void proven_hint(struct proven *p, segment_no number);

#endif /* !PROVEN_H_ */
