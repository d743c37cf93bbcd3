#ifndef REQUEST_H_
#define REQUEST_H_

/*
 * What the kernel says with a request and libfuse does not hand on, and what is known of the request
 * from a process that was killed.  A handler asks for it once and passes it on.
 */

#include "mount.h"
#include "volume.h"

struct request {
	struct caller caller; /* for changes to the volume */
	uint32_t steps;	      /* changes of it that a process that was killed had made */
	uint64_t made;	      /* the inode that they made, or 0 */
	bool kills_priv;      /* a write that takes set-id bits away */
};

/* request_of(req): of the request that this thread handles; it holds until the handler returns. */
const struct request *request_of(fuse_req_t req);

#endif /* !REQUEST_H_ */
