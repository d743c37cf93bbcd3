#ifndef HOME_H_
#define HOME_H_

/*
 * The home: a log that is written, signed and shipped to each embassy, as a mount does it:
 * recovery, writers, heads, a replicator for each embassy; either by the log alone, or by a live
 * volume with applications on it.  All on MACHINE_HOME.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct home_knobs {
	unsigned n_embassies;
	uint64_t pace_ns;	 /* between two operations of one writer, at most about */
	uint32_t block_max;	 /* bytes of a block */
	bool quiet;		 /* nothing new is written */
	bool supervised;	 /* a kill leaves the ring to the next process (log_shm.h) */
	bool volume;		 /* a live volume writes the log; else it is written bare */
	uint32_t cells;		 /* of one write to a file of it, at most */
	size_t memory_bytes;	 /* that it may use */
	uint64_t serial, epochs; /* of the newest volume.conf that its administrator has */
};

extern struct home_knobs home_knobs;

/* home_make(): the volume, before anything else; from a fiber of MACHINE_WORLD. */
void home_make(void);

/* home_start(): the machine comes up.  home_stop(): as an unmount; returns when it is done. */
void home_start(void);
void home_stop(void);

/* home_crash(power): its process is killed, or the power fails. */
void home_crash(bool power);

/* home_is_up(): whether the volume is open. */
bool home_is_up(void);

/* home_refused(e): whether the newest attempt to ship to the embassy ended in a refusal. */
bool home_refused(unsigned embassy);

/* home_epoch(): of the volume.conf that it last ran with. */
uint64_t home_epoch(void);

#endif /* !HOME_H_ */
