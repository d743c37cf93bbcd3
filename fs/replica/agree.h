#ifndef AGREE_H_
#define AGREE_H_

/*
 * Whether an embassy's copy is a prefix of this home's log, before anything is sent: its newest
 * head must be one of ours, byte for byte.  That one comparison suffices, since a head states the
 * Merkle root of all below it.
 */

#include "compiler.h"
#include "replicator_step.h"

struct params;
struct store;
struct catalog;
struct Embassyfs__V1__Volume;

#define AGREE_LACKING 1

/*
 * agree_check(p, st, c, v, out): judge what the embassy said of itself.  Borrows everything.
 * Returns 0 and sets ${*out} to its newest head (zeros: none); AGREE_LACKING: its volume.conf is
 * older than ${p}; -ERR_ROLLED_BACK: it holds a head that this log does not (yet) have;
 * -ERR_FORKED: it holds another head of that number; -ERR_TAMPERED: its volume.conf, end and head
 * do not fit together; each with a detail; or a local -ERR_DAMAGED, -ERR_ABSENT, -errno.
 */
MUST_CHECK int agree_check(const struct params *p, struct store *st, struct catalog *c,
			   const struct Embassyfs__V1__Volume *v, struct step_head *out);

/*
 * agree_other_conf(p, v): the serial of the embassy's volume.conf if that is another than ${p} and
 * not older; 0 if it is not, or is none.  Such a one was signed by the volume's authority: it was
 * made from another copy of the volume, or ${p} was brought back from a backup.  No key change that
 * is in ${p} reaches that embassy.
 */
uint64_t agree_other_conf(const struct params *p, const struct Embassyfs__V1__Volume *v);

#endif /* !AGREE_H_ */
