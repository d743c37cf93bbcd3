#ifndef FIXTURE_H_
#define FIXTURE_H_

/* A volume in a temporary folder, with keys made for the test. */

#include "figures.h"
#include "keys.h"
#include "params.h"
#include "volume.h"

struct fixture {
	char dir[64];
	struct params params;
	struct volume_keys keys;
};

/* Make an empty volume; aborts the test if it can't. */
void fixture_make(struct fixture *f);
/* Open it; aborts the test if it can't. */
struct volume *fixture_open(struct fixture *f);
/* 'embassy check --read-data' of the closed volume: as volume_check(). */
int fixture_check(struct fixture *f);
/* The leaf, in the newest checkpoint of the closed volume, that an inode's items are in or begin in. */
struct block_ptr fixture_leaf(struct fixture *f, uint64_t ino);
/* Change the byte at ${pos} of the closed volume's log. */
void fixture_damage(struct fixture *f, uint64_t pos);
/* The figures of an open volume; good until the next look. */
const struct figure_row *fixture_look(struct volume *v);
/* Delete the folder. */
void fixture_remove(struct fixture *f);

#endif /* !FIXTURE_H_ */
