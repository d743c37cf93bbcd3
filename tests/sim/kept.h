#ifndef SIM_KEPT_H_
#define SIM_KEPT_H_

/*
 * What the embassies' volumes are kept in: folders on their machines' disks (disk.h), or, for a whole
 * run, memory that keeps commits apart (storage_memory.h), with the same faults, crashes and losses.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct storage_pool;

/* kept_use_memory(): from now on; before any history.  kept_in_memory(): whether so. */
void kept_use_memory(void);
bool kept_in_memory(void);

/* kept_open(e, dir, out): embassy ${e}'s pool; ${dir} names it.  Returns as storage_folder_open(). */
MUST_CHECK int kept_open(unsigned embassy, const char *dir, struct storage_pool **out);

/*
 * kept_crash(e, power): the machine's processes are gone; ${power}: and what was not durable.
 * kept_lose_catalogs(e): after a crash: the indexes are gone.
 */
void kept_crash(unsigned embassy, bool power);
void kept_lose_catalogs(unsigned embassy);

/* kept_read(e, pos, out, len): what a reader of our volume sees; false if there is less. */
bool kept_read(unsigned embassy, uint64_t pos, void *out, size_t len);

#endif /* !SIM_KEPT_H_ */
