#ifndef AGREE_H_
#define AGREE_H_

/*
 * Is an embassy's copy a prefix of this home's log?  This is checked before anything is sent: the
 * embassy's newest head must be one of ours, byte for byte.  That one comparison suffices, since a
 * head states the Merkle root of everything below it.
 */

#include "compiler.h"
#include "replicator_step.h"

struct params;
struct store;
struct catalog;
struct Embassyfs__V1__Volume;

#define AGREE_LACKING 1

/*
 * agree_check(p, st, c, v, out): judge the embassy's answer about itself.  Borrows everything.
 * Returns 0 and sets ${*out} to its newest head (zeros: none); AGREE_LACKING: its volume.conf is
 * older than ${p}; -ERR_ROLLED_BACK: it holds a head that this log does not (yet) have;
 * -ERR_FORKED: it holds another head of that number; -ERR_TAMPERED: its volume.conf, end and head
 * do not fit together; each with a detail; or a local -ERR_DAMAGED, -ERR_ABSENT, -errno.
 */
MUST_CHECK int agree_check(const struct params *p, struct store *st, struct catalog *c,
			   const struct Embassyfs__V1__Volume *v, struct step_head *out);

/*
 * agree_other_conf(p, v): the serial of the embassy's volume.conf, if that differs from ${p} and is
 * not older; else 0, also if it is not valid.  The volume's authority signed such a file: either it
 * was made from another copy of the volume, or ${p} was restored from a backup.  Key changes in
 * ${p} do not reach that embassy.
 */
uint64_t agree_other_conf(const struct params *p, const struct Embassyfs__V1__Volume *v);

#endif /* !AGREE_H_ */
