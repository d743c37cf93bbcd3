#ifndef MODEL_APPLY_H_
#define MODEL_APPLY_H_

/* Does one operation on one side, and says all that a program could see of how it went. */

#include "op.h"

#include <stddef.h>
#include <stdint.h>

#define IO_MAX (256u << 10) /* bytes in one read or write */

/*
 * Deliberate mistakes, for showing that they are found: what the side that has one does.
 * Number and words.
 */
#define BREAKS(_)                                                                                  \
	_(1, TRUNCATE, "truncate leaves a byte too much")                                          \
	_(2, NOREPLACE, "rename ignores noreplace")                                                \
	_(3, PWRITE, "pwrite loses its last byte")                                                 \
	_(4, TIMES, "utimens rounds to microseconds")                                              \
	_(5, REMOVEXATTR, "removexattr says yes and does nothing")                                 \
	_(6, CHMOD, "chmod drops the sticky bit and its like")                                     \
	_(7, PUNCH, "punching a hole leaves its last byte")                                        \
	_(8, APPEND, "append is forgotten")                                                        \
	_(9, ERRNO, "rmdir of what is no folder says ENOENT")                                      \
	_(10, MAPWRITE, "what is written into a mapping is lost")                                  \
	_(11, MTIME, "pwrite leaves mtime as it was")

enum broken {
	BREAK_NONE,
#define BREAK_ENUM(number, name, words) BREAK_##name = number,
	BREAKS(BREAK_ENUM)
#undef BREAK_ENUM
		N_BREAKS
};

struct side {
	const char *name;
	int root;	   /* the folder that all happens in */
	int slot[N_SLOTS]; /* -1: empty */
	enum broken broken;
	uint8_t *buf; /* IO_MAX bytes, aligned for O_DIRECT */
};

struct result {
	int64_t ret;
	int err;      /* 0 where it succeeded */
	uint64_t sum; /* of the data that came back */
};

/* What a result of an operation that means nothing here has in ${ret}, on both sides. */
#define RET_SKIPPED (-1000)
/* A seek for data or a hole gave what the file's bytes contradict. */
#define RET_BAD_SEEK (-1001)

void apply(struct side *side, const struct op *op, struct result *out);

/* Closes what is in the slots. */
void side_close(struct side *side);

uint64_t sum_of(const void *p, size_t len, uint64_t sum);
#define SUM_START 14695981039346656037u

#endif /* !MODEL_APPLY_H_ */
