/*
 * This home's volume.conf.
 *
 * Key idea: the file is always replaced as a whole.  So to follow changes it is enough to read it
 * again and to compare serials, and nobody has to notify the mount.
 */

#include "own_conf.h"

#include "err.h"
#include "params.h"
#include "serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct own_conf {
	char *dir;
	const struct params *now; /* the mount's, or newer */
	struct params newer;	  /* owned, if now points here */
};

int own_conf_new(const char *volume_dir, const struct params *params, struct own_conf **out)
{
	struct own_conf *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->now = params;
	if (volume_dir) {
		c->dir = strdup(volume_dir);
		if (!c->dir) {
			free(c);
			return -ENOMEM;
		}
	}
	*out = c;
	return 0;
}

void own_conf_free(struct own_conf *c)
{
	if (!c)
		return;
	if (c->now == &c->newer)
		params_release(&c->newer);
	free(c->dir);
	free(c);
}

const struct params *own_conf_params(const struct own_conf *c)
{
	return c->now;
}

int own_conf_look(struct own_conf *c)
{
	struct params p;
	int rc;

	if (!c->dir)
		return 0;
	rc = params_load(c->dir, &p);
	if (rc < 0)
		return rc;
	if (memcmp(p.id, c->now->id, VOLUME_ID_LEN) != 0 || p.serial <= c->now->serial) {
		params_release(&p);
		return 0;
	}
	if (c->now == &c->newer)
		params_release(&c->newer);
	c->newer = p;
	c->now = &c->newer;
	return 1;
}

int own_conf_note(const struct own_conf *c, uint64_t serial)
{
	return c->dir ? serial_note(c->dir, serial) : 0;
}
