#ifndef WIRE_H_
#define WIRE_H_

/*
 * What both sides of the protocol share on gRPC's C core: settings of the library and its channels,
 * TLS files, messages to and from byte buffers, and bulk bytes without a copy.  proto/PROTOCOL.md
 * describes the exchanges.
 */

#include "compiler.h"
#include "format.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include <protobuf-c/protobuf-c.h>

#include <stdbool.h>
#include <stddef.h>

#define WIRE_MESSAGE_MAX (UINT32_C(8) << 20)	/* bytes of any message */
#define WIRE_DATA_MAX (UINT32_C(4) << 20)	/* data of one AppendRequest */
#define WIRE_REQUEST_MAX ((size_t)4 << 10)	/* a request without its data or volume.conf */
#define WIRE_PIECE_MAX (UINT32_C(1) << 20)	/* data of one ReadReply */
#define WIRE_READ_MAX (UINT64_C(64) << 20)	/* length of one ReadRequest */
#define WIRE_HEADS_MAX 1024u			/* heads of one HeadsReply */
#define WIRE_NOTES_MAX (UINT32_C(2) << 20)	/* total bytes of the notes of one HeadsReply */
#define WIRE_SEGMENTS_MAX 64u			/* headers of one SegmentsReply */
#define WIRE_TLS_FILE_MAX (UINT32_C(256) << 10) /* bytes of a certificate or key file */

#define WIRE_SERVICE "/embassyfs.v1.BlockServer/"

/*
 * wire_setup(): make the settings of gRPC and malloc that are possible only before grpc_init() and
 * before there are threads.  Settings made by the environment are kept.
 */
void wire_setup(void);

/* Channel arguments for each side; static, never freed. */
const grpc_channel_args *wire_client_args(void);
const grpc_channel_args *wire_server_args(void);

/* Mutual TLS from a folder with ca.pem (whom to trust), cert.pem (our chain) and key.pem. */

/* The files that a client has loaded; zeroed: none yet. */
struct wire_tls_seen {
	bool any;
	uint8_t hash[32];
};

/*
 * wire_client_tls(tls_dir, seen, out): credentials from the files, which the caller releases; NULL
 * if ${seen} says that the same files were loaded before.  Updates ${seen}.
 * Returns 0; -errno or -EINVAL, with a detail naming the file.
 */
MUST_CHECK int wire_client_tls(const char *tls_dir, struct wire_tls_seen *seen,
			       grpc_channel_credentials **out);

/*
 * A server's files.  They are read again at each handshake, so a renewed certificate is used from
 * the next connection on.  Files that cannot be used are logged, and those before stay in use.
 * wire_tls_source_free(): only after the server was destroyed; NULL is a no-op.
 */
struct wire_tls_source;
MUST_CHECK int wire_tls_source_new(const char *tls_dir, struct wire_tls_source **out);
void wire_tls_source_free(struct wire_tls_source *s);

/*
 * wire_server_tls(s, out): credentials that read from ${s}, which must outlive the server; the
 * caller releases them.  wire_tls_check(tls_dir): can the files be used?
 * Return 0; -errno or -EINVAL, with a detail naming the file.
 */
MUST_CHECK int wire_server_tls(struct wire_tls_source *s, grpc_server_credentials **out);
MUST_CHECK int wire_tls_check(const char *tls_dir);

/*
 * wire_tls_expiry(tls_dir, out_s): when cert.pem expires, in seconds since 1970-01-01 UTC.
 * wire_tls_ca_expiry(tls_dir, out_s): when the last authority of ca.pem does: after that no peer's
 * certificate is accepted, whenever it was made.
 * Return 0; -errno or -EINVAL with a detail.
 * wire_tls_warning(tls_dir, now_s, out, size): true, and a text for people, if either has expired
 * or will within WIRE_TLS_WARN_DAYS; ${tls_dir} may be NULL.
 */
#define WIRE_TLS_WARN_DAYS 14
MUST_CHECK int wire_tls_expiry(const char *tls_dir, int64_t *out_s);
MUST_CHECK int wire_tls_ca_expiry(const char *tls_dir, int64_t *out_s);
bool wire_tls_warning(const char *tls_dir, int64_t now_s, char *out, size_t size);

/*
 * wire_status(rc): the gRPC status with which a server answers 0, -errno or -ERR_X.
 * wire_error(status): the client's error for a status: 0, -ERR_X or -errno.  Not the inverse: a
 * client only needs to know whether a server refuses, lacks, is damaged, is full or is away.
 */
grpc_status_code wire_status(int rc);
int wire_error(grpc_status_code status);

/* wire_pack(m, out): encode ${m}; the caller destroys ${*out}.  Returns 0 or -ENOMEM. */
MUST_CHECK int wire_pack(const ProtobufCMessage *m, grpc_byte_buffer **out);

/*
 * wire_unpack(type, bb, out): decode a control message.  Borrows ${bb}, which may be NULL
 * (-ERR_FORMAT).  The caller frees ${*out} with protobuf_c_message_free_unpacked(*out, NULL).
 * Uses at most twice the message's length plus 256 KiB of memory.  Returns 0; -ERR_FORMAT with a
 * detail, also for a message that would unpack to more; -ENOMEM.
 */
MUST_CHECK int wire_unpack(const ProtobufCMessageDescriptor *type, const grpc_byte_buffer *bb,
			   ProtobufCMessage **out);

/*
 * An AppendRequest with data, and a ReadReply, whose payload is ${data} itself, not a copy.  When
 * gRPC needs it no more, perhaps after the call has ended, it calls release(arg) from any thread.
 * The caller destroys the result, which is never NULL.
 */
grpc_byte_buffer *wire_append_data(log_pos position, const void *data, size_t len,
				   void (*release)(void *arg), void *arg);
grpc_byte_buffer *wire_read_data(const void *data, size_t len, void (*release)(void *arg),
				 void *arg);

/* Bytes in a received byte buffer, perhaps over several slices; valid while that buffer lives. */
struct wire_bytes {
	const grpc_slice *slices;
	size_t n_slices;
	size_t skip; /* bytes of slices[0] before the first byte */
	size_t len;
};

/* wire_bytes_copy(b, off, len, out): copy a part, which must lie inside. */
void wire_bytes_copy(const struct wire_bytes *b, size_t off, size_t len, void *out);

struct wire_append {
	bool has_open;
	struct {
		uint8_t volume[VOLUME_ID_LEN];
		epoch_no epoch;
		log_pos position;
		head_no head;
	} open;
	bool has_data;
	log_pos position;
	struct wire_bytes data;
};

/*
 * wire_append_decode(bb, out): read an AppendRequest; ${out->data} is a view of ${bb}.
 * Returns 0; -ERR_FORMAT with a detail; -ENOMEM.
 */
MUST_CHECK int wire_append_decode(const grpc_byte_buffer *bb, struct wire_append *out);

/*
 * wire_read_decode(bb, out): the payload of a ReadReply, as a view of ${bb}.  Returns 0 or
 * -ERR_FORMAT with a detail.
 */
MUST_CHECK int wire_read_decode(const grpc_byte_buffer *bb, struct wire_bytes *out);

#endif /* !WIRE_H_ */
