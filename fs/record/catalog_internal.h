#ifndef CATALOG_INTERNAL_H_
#define CATALOG_INTERNAL_H_

/* What catalog.c and catalog_cursors.c share. */

#include "catalog.h"

#include "tile.h"

struct catalog {
	struct kv *kv;
	enum catalog_mode mode;
	uint8_t id[VOLUME_ID_LEN];
	/* catalog_add_head()'s. */
	bool edge_known;
	struct head_ref newest; /* number 0: none */
	struct tile_edge edge;
};

#endif /* !CATALOG_INTERNAL_H_ */
