#ifndef SERIAL_H_
#define SERIAL_H_

/*
 * The highest serial that any volume.conf of a volume is known to have had, in
 * VOLUME/newest-serial.  A volume.conf that was brought back from a backup has a lower one, and a
 * change that is made on it must go beyond all others, or no embassy takes it.
 */

#include "compiler.h"

#include <stdint.h>

/*
 * serial_newest(volume_dir, out): the serial that is noted, 0 if none is.
 * Returns 0; -ERR_FORMAT or -errno, with a detail.
 */
MUST_CHECK int serial_newest(const char *volume_dir, uint64_t *out);

/*
 * serial_note(volume_dir, serial): note it, durably, if it is higher than what is noted.
 * Returns 0 or as serial_newest().
 */
MUST_CHECK int serial_note(const char *volume_dir, uint64_t serial);

#endif /* !SERIAL_H_ */
