#ifndef NUMBER_H_
#define NUMBER_H_

/*
 * st_ino.  Programs take two files with the same number for one file.  So a number is never that of
 * another file, nor of the same file at another head, and it stays the same over mounts.
 */

#include "numbers.h"

#include <stdint.h>

/*
 * number_of(head, ino): the number of inode ${ino} (below INO_MAX) at head number ${head}.  Head 0
 * stands for the namespace at the root, where the number is ${ino} itself.  Numbers in views have
 * the top bit set and are below 0xf8 << 56, where the numbers of virtual nodes begin
 * (embassy_dir.h).
 * No two numbers are the same while the lengths of ${head} and ${ino} in bits add up to 58 at most:
 * 2^27 heads (four years with one each second) of 2^31 inodes, or 2^39 of 2^19.  Beyond that,
 * numbers are hashes of 59 bits.
 */
uint64_t number_of(head_no head, inode_no ino);

#endif /* !NUMBER_H_ */
