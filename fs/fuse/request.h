#ifndef REQUEST_H_
#define REQUEST_H_

/*
 * Fields of the kernel's message that libfuse does not hand on, and which changes of the request a
 * killed process had made.  A handler gets it once from request_of() and passes it on.
 */

#include "mount.h"
#include "volume.h"

struct request {
	struct caller caller; /* for changes to the volume */
	uint32_t steps;	      /* how many changes of it a killed process had made */
	inode_no made;	      /* the inode that they made, or 0 */
	bool kills_priv;      /* a write that clears set-id bits */
};

/* request_of(req): the request that this thread handles; valid until the handler returns. */
const struct request *request_of(fuse_req_t req);

#endif /* !REQUEST_H_ */
