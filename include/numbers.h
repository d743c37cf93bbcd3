#ifndef NUMBERS_H_
#define NUMBERS_H_

/*
 * The numbers of a log and of a namespace, each a type of its own, since functions take two or three
 * of them side by side.
 *
 * For the compiler of what is installed they are uint64_t, and cost nothing.  For clang they are
 * enumerations of that size, of which it refuses to pass, assign, return, compare, add or point to
 * one as another (tests/types; clang's build has its warnings as errors).  Literals and uint64_t go
 * with each of them: what is read from bytes, a wire or the command line gets its kind where it is
 * first stored.  The result of arithmetic is a uint64_t, too, and += adds whatever it is given: a
 * variable of the right kind takes a result before it is passed on.
 *
 * From one kind to another only a function that is named for it leads, as segment_of() and
 * segment_start(), or a cast that says why.
 */

#include <stdint.h>

#ifdef __clang__
#define NUMBER(name) typedef enum name : uint64_t { name##_zero } name
#else
#define NUMBER(name) typedef uint64_t name
#endif

NUMBER(log_pos);    /* a position: bytes from the log's beginning, holes included */
NUMBER(segment_no); /* 0, 1, 2 ...: may leave some out */
NUMBER(leaf_no);    /* of a block in the Merkle tree, from 0; so also how many are below one */
NUMBER(head_no);    /* 1, 2, 3 ...; 0: none */
NUMBER(epoch_no);   /* one writer's term, from 1 */
NUMBER(inode_no);   /* of a file, in the live volume and in the past alike; 0: none */

#undef NUMBER

#endif /* !NUMBERS_H_ */
