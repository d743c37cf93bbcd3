#ifndef BLOCK_H_
#define BLOCK_H_

/*
 * The block interface: what the tree needs of a log, and no more.  The log gives
 * one backed by segments; tests give one backed by memory.
 */

#include "compiler.h"
#include "format.h"

#include <stddef.h>

struct block_io {
	/*
	 * read(ctx, ptr, kind, out): put the ${ptr->plain_len} plaintext bytes of the block at
	 * ${ptr}, which must be of ${kind}, into ${out}.  Any thread.
	 * Returns 0; -ERR_DAMAGED if the bytes are not what was sealed; -ERR_ABSENT if this
	 * copy lacks them; -ERR_UNREACHABLE; or -errno.
	 */
	int (*read)(void *ctx, const struct block_ptr *ptr, enum block_kind kind, void *out);

	/*
	 * append(ctx, kind, plain, len, out_ptr): seal ${plain} and append it.  Readable on
	 * return, durable only after the log's sync.  Any thread.  NULL for a read-only log.
	 * Returns 0, -ENOSPC, -EIO or -ERR_STUCK.
	 */
	int (*append)(void *ctx, enum block_kind kind, const void *plain, size_t len,
		      struct block_ptr *out_ptr);
	void *ctx;
};

#endif /* !BLOCK_H_ */
