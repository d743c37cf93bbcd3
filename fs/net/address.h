#ifndef ADDRESS_H_
#define ADDRESS_H_

/* Addresses of block servers, as users write them.  Judged from the text; no resolver is asked. */

#include "compiler.h"
#include "format.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * address_parse_target(text, address, volume): split "HOST:PORT/VOLUME-ID" or "unix:PATH/VOLUME-ID"
 * (id: 32 hex digits). The caller frees ${*address}.
 * Returns 0, -ERR_FORMAT if the text has another form, or -ENOMEM.
 */
MUST_CHECK int address_parse_target(const char *text, char **out_address,
				   uint8_t out_volume[VOLUME_ID_LEN]);

/*
 * address_check(text): whether ${text} is HOST:PORT, [IPV6]:PORT or unix:PATH, with a port from
 * 1 to 65535.  The host is not looked up.
 * Returns 0 or -ERR_FORMAT with a detail.
 */
MUST_CHECK int address_check(const char *text);

/*
 * address_is_loopback(address): may plain text be sent to it?  True for a Unix socket, 127.0.0.0/8,
 * [::1] and localhost.
 */
bool address_is_loopback(const char *address);

/*
 * address_same(a, b): whether two addresses, which address_check() accepts, are spellings of one:
 * letters of either case, zeros before a port, an IPv6 address written out.  A path of a socket has
 * one spelling.
 */
bool address_same(const char *a, const char *b);

#endif /* !ADDRESS_H_ */
