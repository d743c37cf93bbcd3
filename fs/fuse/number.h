#ifndef NUMBER_H_
#define NUMBER_H_

/*
 * st_ino.  Programs take two files with one number for one file, so a number is never another
 * file's, nor the same file's at another head, and stays what it is over mounts.
 */

#include <stdint.h>

/*
 * number_of(head, ino): the number of inode ${ino} (below INO_MAX) at head number ${head}; 0: of
 * the namespace at the root, where it is ${ino} itself.  Numbers of views have the top bit set and
 * are below 0xf8 << 56, where those of what is stored nowhere are (embassy_dir.h).
 * No two are the same while the lengths of ${head} and ${ino} in bits come to 58 at most: 2^27
 * heads (four years with one each second) of 2^31 inodes, or 2^39 of 2^19.  Beyond, they are hashes
 * of 59 bits.
 */
uint64_t number_of(uint64_t head, uint64_t ino);

#endif /* !NUMBER_H_ */
