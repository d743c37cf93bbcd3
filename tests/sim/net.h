#ifndef NET_H_
#define NET_H_

/*
 * The network between the home and the embassies, behind gRPC's functions (grpc_calls.c), so that
 * all code of ours above them is the real one.  Embassy E, from 0, is at port NET_PORT + E.
 *
 * Within a stream all comes in order, each way; streams pass each other.  A connection breaks for
 * both ends, or for one, while the other only finds out when its keepalive strikes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_PORT 7100
#define EMBASSIES_MAX 4u

struct link {
	bool cut;		   /* nothing passes; nobody is told */
	bool refusing;		   /* no new connection is taken */
	uint64_t delay_ns;	   /* one way, at most */
	size_t window;		   /* bytes of one stream on their way */
	unsigned lie_up, lie_down; /* one message in so many, to or from the embassy, is a lie */
};

struct link *net_link(unsigned embassy);

/* net_cut(e, cut): the link goes, or is there again.  net_break(e): all its connections break. */
void net_cut(unsigned embassy, bool cut);
void net_break(unsigned embassy);

/* net_crashed(m): the machine's connections are gone; the others find out. */
void net_crashed(unsigned machine);

/*
 * What a server sends as an acknowledgement, before it is on its way: told to the oracle.
 * Set by who checks.
 */
extern void (*net_acknowledged)(unsigned embassy, uint64_t head, uint64_t end);

#endif /* !NET_H_ */
