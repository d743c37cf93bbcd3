#ifndef FIXTURE_H_
#define FIXTURE_H_

/* A volume in a temporary folder, with keys made for the test. */

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
/* Delete the folder. */
void fixture_remove(struct fixture *f);

#endif /* !FIXTURE_H_ */
