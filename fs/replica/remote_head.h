#ifndef REMOTE_HEAD_H_
#define REMOTE_HEAD_H_

/* What a server says of a volume, verified: nothing that is signed is taken on its word. */

#include "compiler.h"
#include "head.h"
#include "judge.h"

struct client;
struct params;
struct Embassyfs__V1__Head;
struct Embassyfs__V1__Volume;

/*
 * remote_get_volume(c, volume, timeout_ms, params, out): ask for a volume, and verify its
 * volume.conf into ${params}, which the caller owns on success (params_release()).  The caller
 * frees ${*out} with protobuf_c_message_free_unpacked().
 * Returns 0; -ERR_TAMPERED with a detail (of another volume, or not valid); -ERR_VERSION; or as
 * client_call().
 */
MUST_CHECK int remote_get_volume(struct client *c, const uint8_t *volume, int timeout_ms,
				 struct params *params, struct Embassyfs__V1__Volume **out);

/*
 * remote_head_check(known, h, out): decode a head and verify it with head_judge().  ${known} says
 * whose it must be and, where the caller knows, its number and parent.  The fields of the message
 * itself must match too.
 * Returns 0; -ERR_TAMPERED with a detail; -ERR_STALE if ${known->params} do not know the head's
 * epoch (a newer volume.conf may); -ERR_VERSION.
 */
MUST_CHECK int remote_head_check(const struct head_known *known,
				 const struct Embassyfs__V1__Head *h, struct head *out);

/* remote_head_leaf(h, out): the leaf hash of the block of a verified head. */
void remote_head_leaf(const struct Embassyfs__V1__Head *h, uint8_t out[HASH_LEN]);

#endif /* !REMOTE_HEAD_H_ */
