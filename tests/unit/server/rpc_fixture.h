#ifndef RPC_FIXTURE_H_
#define RPC_FIXTURE_H_

/* A running embassyd, a client of it, and a synthetic log. */

#include "child.h"
#include "client.h"
#include "embassy.pb-c.h"
#include "synth.h"

extern char dir[200], store[256];
extern struct synth log_;
extern struct child server;
extern struct client client;

/* Before and after each test. */
void fix_set_up(void);
void fix_tear_down(void);

/* End the server by a signal, which must give this exit code, and start it again. */
void fix_restart(int signal, int expect);

/* A path in the test's folder; good until the fourth call after it. */
const char *fix_path(const char *name);

/* PutVolume and GetVolume of the log's volume.  ${*out} is owned, NULL without a reply. */
grpc_status_code fix_put(struct client *c, uint64_t serial, unsigned n_epochs,
			 struct client_call *call);
grpc_status_code fix_get(struct client *c, Embassyfs__V1__Volume **out, struct client_call *call);
uint64_t fix_get_end(struct client *c);

/* Open an append stream; send parts of the log on it; read acknowledgements up to ${end}. */
void fix_begin(struct client *c, struct client_call *call, uint64_t position, uint64_t head);
void fix_send_opening(struct client_call *call, uint64_t epoch, uint64_t position, uint64_t head);
bool fix_send_bytes(struct client_call *call, uint64_t pos, const void *bytes, size_t len);
bool fix_send_log(struct client_call *call, uint64_t pos, uint64_t limit, size_t piece);
void fix_wait_for(struct client_call *call, uint64_t end);

/* Append what the server lacks, from where it says that it stands. */
void fix_append_rest(struct client *c);

/* Read: append what comes to ${out}. */
grpc_status_code fix_read_range(struct client *c, uint64_t pos, uint64_t len, struct buf *out,
				struct client_call *call);

/* Every byte of the log up to ${end} comes back as it was sent. */
void fix_expect_log(struct client *c, uint64_t end);

/* Send ${bytes} as a method's first message, which the server must answer with this status. */
void fix_expect_refusal(const char *method, const void *bytes, size_t len, grpc_status_code status);

#endif /* !RPC_FIXTURE_H_ */
