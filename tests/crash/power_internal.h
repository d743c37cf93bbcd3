#ifndef POWER_INTERNAL_H_
#define POWER_INTERNAL_H_

/* What power.c (states of a disk), power_work.c (the recorded programs) and power_judge.c share. */

#include "disk.h"
#include "ground.h"
#include "model.h"
#include "shipped.h"

#include <stdbool.h>
#include <stdint.h>

struct copy;
struct vault;

#define SHARED_LEN ((size_t)4096)
#define EXIT_REFUSED 7 /* what a state's process says: rightly not opened */

enum mark {
	MARK_MADE,   /* the volume, or the server's copy, exists */
	MARK_DONE,   /* so many operations have returned */
	MARK_SYNCED, /* all of them are durable */
	MARK_ACKED,  /* this head */
	MARK_SERIAL, /* of the server's volume.conf */
	MARK_END
};

/* How a state is opened. */
enum way {
	WAY_CHECKED, /* after 'check' */
	WAY_NO_CATALOG,
	WAY_BAD_CATALOG,
	WAY_OLDER_CATALOG,
	WAY_READ, /* after a reader */
	WAY_AS_IT_IS,
	WAY_END
};

struct run {
	enum { HOME, ROLL, SERVER, TAKEOVER } what;
	uint64_t seed;
	unsigned ops, states, refused;
	enum forget forget;
	bool keep, every_way;
	char base[GROUND_PATH], root[GROUND_PATH], home[GROUND_PATH], store[GROUND_PATH];
	uint64_t record; /* the newest played */
	uint64_t mark[MARK_END];
	bool marked[MARK_END];
	void *shared; /* what a state's first process found; SHARED_LEN */
	struct ground ground;
	struct shipped shipped;
};

/* power_work(r): the recorded program, from start to end.  Returns 0; dies otherwise. */
int power_work(struct run *r);
/* power_make_home(r): the home that a server's workload ships. */
int power_make_home(struct run *r);
/* power_next_op(r, random, i): operation number ${i} of a home's. */
struct op power_next_op(const struct run *r, uint64_t *random, unsigned i);
/* power_put_conf(r, v, serial, out): as vault_put(), a volume.conf of that serial. */
int power_put_conf(const struct run *r, struct vault *v, uint64_t serial, struct copy **out);

/*
 * power_judge_home(r, dir, way), power_judge_server(r, dir, way): what a volume's, a store's folder must
 * be and hold in the state that r->mark tells.  Each ends the process if it does not.
 */
void power_judge_home(struct run *r, const char *dir, enum way way);
void power_judge_server(struct run *r, const char *dir, enum way way);

#endif /* !POWER_INTERNAL_H_ */
