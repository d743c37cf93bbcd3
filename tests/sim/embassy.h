#ifndef EMBASSY_H_
#define EMBASSY_H_

/* An embassy: embassyd's store and network side on a machine of its own. */

#include <stdbool.h>
#include <stdint.h>

/* embassy_start(e): the machine comes up.  embassy_stop(e): as SIGTERM; returns when it is done. */
void embassy_start(unsigned embassy);
void embassy_stop(unsigned embassy);

/* embassy_crash(e, power): its process is killed, or the power fails. */
void embassy_crash(unsigned embassy, bool power);

/* embassy_is_damaged(e): its copy was refused as damaged, and needs people. */
bool embassy_is_damaged(unsigned embassy);

/* embassy_epoch(e): the newest epoch that its volume.conf grants, as it was last seen; 0: none. */
uint64_t embassy_epoch(unsigned embassy);

/*
 * embassy_look(e, whole): compare the copy, what is new of it or the whole; from MACHINE_WORLD,
 * while it runs.
 */
void embassy_look(unsigned embassy, bool whole);

#endif /* !EMBASSY_H_ */
