/*
 * The inode number of a file in a view, from the top bit down: one bit that is set; four bits for
 * the width of the inode part, which is 20 to 48 of the other 59 bits; the head number; the inode
 * number.
 */

#include "number.h"

#define VIEW_BIT (UINT64_C(1) << 63)
#define CLASS_SHIFT 59
#define CLASS_HASH 14u /* a hash: beside inodes of 48 bits few heads would fit */
#define WIDTH_MIN 20u
#define WIDTH_STEP 2u

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t number_of(head_no head, inode_no ino)
{
	unsigned class = 0, width;

	if (head == 0)
		return ino;
	while (class < CLASS_HASH && ino >> (WIDTH_MIN + WIDTH_STEP * class) != 0)
		class ++;
	width = WIDTH_MIN + WIDTH_STEP * class;
	if (class < CLASS_HASH && head >> (CLASS_SHIFT - width) == 0)
		return VIEW_BIT | (uint64_t) class << CLASS_SHIFT | head << width | ino;
	return VIEW_BIT | (uint64_t)CLASS_HASH << CLASS_SHIFT |
	       (mix(head ^ mix(ino)) & ((UINT64_C(1) << CLASS_SHIFT) - 1));
}
