#ifndef OWN_CONF_H_
#define OWN_CONF_H_

/*
 * This home's volume.conf, as a replicator tells it to an embassy: what the mount began with, and
 * then what 'embassy keys' has put in its place since.
 */

#include "compiler.h"

#include <stdint.h>

struct params;
struct own_conf;

/*
 * own_conf_new(volume_dir, params, out): begin with ${params}, borrowed until own_conf_free().
 * ${volume_dir}: copied; NULL: nothing else ever comes.  One thread at a time.
 * Returns 0 or -ENOMEM.  own_conf_free(NULL) is a no-op.
 */
MUST_CHECK int own_conf_new(const char *volume_dir, const struct params *params,
			    struct own_conf **out);
void own_conf_free(struct own_conf *c);

/* The newest one taken; borrowed until the next own_conf_look(). */
const struct params *own_conf_params(const struct own_conf *c);

/*
 * own_conf_look(c): take the file if it is of this volume and has a higher serial.
 * Returns 1 if it was taken, 0 if there is nothing new; or as params_load(), and what was taken
 * before stays.
 */
MUST_CHECK int own_conf_look(struct own_conf *c);

/*
 * own_conf_note(c, serial): somewhere there is a volume.conf of this volume with that serial, higher
 * than ours: the next key change made here goes beyond it (serial_note()).
 * Returns 0 or -errno.
 */
MUST_CHECK int own_conf_note(const struct own_conf *c, uint64_t serial);

#endif /* !OWN_CONF_H_ */
