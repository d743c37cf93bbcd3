#ifndef OWN_CONF_H_
#define OWN_CONF_H_

/*
 * This home's volume.conf, as a replicator sends it to an embassy: first the one that the mount
 * began with, then each newer one that 'embassy keys' puts in its place.
 */

#include "compiler.h"

#include <stdint.h>

struct params;
struct own_conf;

/*
 * own_conf_new(volume_dir, params, out): begin with ${params}, borrowed until own_conf_free().
 * ${volume_dir} is copied; if NULL, changes are never looked for.  One thread at a time.
 * Returns 0 or -ENOMEM.  own_conf_free(NULL) is a no-op.
 */
MUST_CHECK int own_conf_new(const char *volume_dir, const struct params *params,
			    struct own_conf **out);
void own_conf_free(struct own_conf *c);

/* The newest volume.conf that was taken; borrowed until the next own_conf_look(). */
const struct params *own_conf_params(const struct own_conf *c);

/*
 * own_conf_look(c): read the file, and take it if it is of this volume and has a higher serial.
 * Returns 1 if it was taken, 0 if there is nothing new; or as params_load(), and the one taken
 * before stays.
 */
MUST_CHECK int own_conf_look(struct own_conf *c);

/*
 * own_conf_note(c, serial): another copy has a volume.conf of this volume with that serial, which
 * is higher than ours.  The next key change made here gets a still higher one (serial_note()).
 * Returns 0 or -errno.
 */
MUST_CHECK int own_conf_note(const struct own_conf *c, uint64_t serial);

#endif /* !OWN_CONF_H_ */
