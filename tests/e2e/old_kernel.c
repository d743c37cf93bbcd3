/*
 * A kernel before 6.9, for a FUSE server on a newer one: loaded before the server (LD_PRELOAD), it
 * takes from the kernel's first request what says that it can give requests again
 * (FUSE_HAS_RESEND).
 */

#include <dlfcn.h>
#include <linux/fuse.h>
#include <unistd.h>

#define HAS_RESEND_2 (1u << (39 - 32)) /* in flags2; the headers may be older */

typedef ssize_t read_fn(int fd, void *buf, size_t size);

ssize_t read(int fd, void *buf, size_t size)
{
	static read_fn *next;
	struct fuse_in_header *in = buf;
	ssize_t n;

	if (!next)
		next = (read_fn *)dlsym(RTLD_NEXT, "read");
	n = next(fd, buf, size);
	if (n >= (ssize_t)(sizeof(*in) + sizeof(struct fuse_init_in)) && in->opcode == FUSE_INIT &&
	    in->len == (size_t)n)
		((struct fuse_init_in *)(in + 1))->flags2 &= ~HAS_RESEND_2;
	return n;
}
