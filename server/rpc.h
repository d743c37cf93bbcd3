#ifndef RPC_H_
#define RPC_H_

/*
 * The block server's network side: gRPC's C core, its threads, and the methods of the service over
 * a vault.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>

#define RPC_FIRST_MESSAGE_MS 30000u /* how long a call's first message may take to come */
#define RPC_TAKEN_MS 300000u /* how long a client may take for an answer, or a piece of one */

struct rpc;
struct vault;

struct rpc_config {
	struct vault *vault; /* borrowed; must outlive the server */
	const char *listen;  /* ADDRESS:PORT, port 0: any, or unix:PATH */
	const char *tls_dir; /* NULL: plain, which the caller has made sure is allowed */
	unsigned first_message_ms; /* 0: RPC_FIRST_MESSAGE_MS */
	unsigned taken_ms;	   /* 0: RPC_TAKEN_MS */
};

/*
 * rpc_start(cfg, out): listen and serve.  grpc_init() was called.
 * Returns 0; -EADDRINUSE, with a detail, if the address cannot be listened on; as
 * wire_server_tls(); -ENOMEM; -EAGAIN.
 */
MUST_CHECK int rpc_start(const struct rpc_config *cfg, struct rpc **out);

/* rpc_port(r): the port that is listened on; meaningless for a Unix socket. */
int rpc_port(const struct rpc *r);

/*
 * rpc_stop(r): refuse new calls, cancel those under way, wait until the last has let go of the
 * vault; appenders commit what they can first.  Frees ${r}.  NULL is a no-op.
 */
void rpc_stop(struct rpc *r);

#endif /* !RPC_H_ */
