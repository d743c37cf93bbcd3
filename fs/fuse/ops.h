#ifndef OPS_H_
#define OPS_H_

/* The handlers that libfuse calls. */

#include "mount.h"

extern const struct fuse_lowlevel_ops mount_ops;

/* op_init(userdata, conn): defined with the session (session.c). */
void op_init(void *userdata, struct fuse_conn_info *conn);

#endif /* !OPS_H_ */
