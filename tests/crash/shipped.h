#ifndef SHIPPED_H_
#define SHIPPED_H_

/*
 * A home's log in memory, block by block, to be shipped to a server's copy, and the copy compared
 * with it.
 */

#include "appender.h"
#include "copy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ground;
struct vault;

/* shipped_open_vault(dir, out): the vault of a server's store folder.  Returns 0 or the error. */
int shipped_open_vault(const char *dir, struct vault **out);

struct shipped_block {
	uint64_t pos;
	size_t len;
	const uint8_t *bytes;
	uint64_t head; /* its number; 0: no head */
};

struct shipped {
	struct shipped_block *blocks;
	size_t n_blocks;
	uint64_t heads, end; /* the newest head's number, and its end */
};

/* shipped_load(s, dir): the log of the volume in ${dir}, up to its newest head; or it aborts. */
void shipped_load(struct shipped *s, const char *dir);
void shipped_free(struct shipped *s);

/*
 * shipped_send(s, copy, upto, heads_per_commit, acked, ctx): append to the copy, from where it
 * stands up to head ${upto}, as one stream.  acked(ctx, head) is called after each commit.
 * Returns 0 or the first error.
 */
int shipped_send(const struct shipped *s, struct copy *copy, uint64_t upto,
		 unsigned heads_per_commit, void (*acked)(void *ctx, uint64_t head), void *ctx);

/* shipped_holds(s, copy): whether the copy is the log up to one of its heads; says why not. */
bool shipped_holds(const struct shipped *s, struct copy *copy);

/*
 * shipped_folder_holds(s, dir, upto): whether the files of the volume in ${dir} hold each block up
 * to head ${upto}, byte for byte, with whatever after it.
 */
bool shipped_folder_holds(const struct shipped *s, const char *dir, uint64_t upto);

#endif /* !SHIPPED_H_ */
