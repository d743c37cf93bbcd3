/* See kept.h. */

#include "kept.h"

#include "conf.h"
#include "disk.h"
#include "format.h"
#include "params.h"
#include "storage_folder.h"
#include "storage_memory.h"
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool in_memory;
static struct memory *memories[MACHINES_MAX]; /* by machine */

void kept_use_memory(void)
{
	in_memory = true;
}

bool kept_in_memory(void)
{
	return in_memory;
}

static bool needs_room(const char *op)
{
	static const char *const ops[] = {"write",  "commit",	"create",     "put_conf",
					  "repair", "kv_write", "put_leaves", "create_volume"};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (strcmp(op, ops[i]) == 0)
			return true;
	return false;
}

static unsigned machine_of(void *ctx)
{
	return (unsigned)(uintptr_t)ctx;
}

static int on_operation(void *ctx, const char *op)
{
	unsigned machine = machine_of(ctx);
	bool room = needs_room(op);
	int rc;

	if (strcmp(op, "kv_stays") == 0)
		return prng_one_in(&world_random, 2);
	rc = disk_fault(machine);
	if (rc == 0 && room && disk_faults(machine)->full)
		rc = -ENOSPC;
	if (rc == 0 && room)
		disk_stop(machine);
	/* What is called a failure may land all the same. */
	if (rc < 0 && (strcmp(op, "write") == 0 || strcmp(op, "commit") == 0) &&
	    prng_one_in(&world_random, 2))
		return MEMORY_LATE | -rc;
	return rc;
}

static void on_pause(void *ctx)
{
	unsigned machine = machine_of(ctx);

	fiber_sleep(prng_log(&world_random, disk_faults(machine)->slow ? SECOND : 3 * MS));
	disk_stop(machine);
}

static struct memory *memory_of(unsigned embassy)
{
	uintptr_t machine = MACHINE_EMBASSY + embassy;

	if (!memories[machine]) {
		memories[machine] = memory_new(prng_next(&world_random));
		assert(memories[machine]);
		memory_set_fault(memories[machine], on_operation, (void *)machine);
		memory_set_pause(memories[machine], on_pause, (void *)machine);
	}
	return memories[machine];
}

int kept_open(unsigned embassy, const char *dir, struct storage_pool **out)
{
	return in_memory ? storage_memory_open(memory_of(embassy), dir, out)
			 : storage_folder_open(dir, out);
}

void kept_crash(unsigned embassy, bool power)
{
	unsigned machine = MACHINE_EMBASSY + embassy;

	if (in_memory)
		memory_crash(memory_of(embassy), power ? MEMORY_SOME : MEMORY_KILL);
	if (power)
		disk_crash(machine);
	else
		disk_kill(machine);
}

static void our_id(uint8_t id[VOLUME_ID_LEN])
{
	int rc = volume_id_parse(conf_id(), id);

	assert(rc == 0);
}

void kept_lose_catalogs(unsigned embassy)
{
	uint8_t id[VOLUME_ID_LEN];

	our_id(id);
	if (in_memory)
		memory_drop_index(memory_of(embassy), id);
	else
		disk_drop_catalogs(MACHINE_EMBASSY + embassy);
}

bool kept_read(unsigned embassy, uint64_t pos, void *out, size_t len)
{
	uint8_t id[VOLUME_ID_LEN];
	char path[128];

	if (in_memory) {
		our_id(id);
		return memory_get(memory_of(embassy), id, pos, out, len);
	}
	snprintf(path, sizeof(path), "/%u/s/%s/log/%016llx.seg", MACHINE_EMBASSY + embassy,
		 conf_id(), (unsigned long long)segment_of(pos));
	return disk_read(path, pos % SEGMENT_SIZE, out, len);
}
