#ifndef MODEL_OP_H_
#define MODEL_OP_H_

/*
 * Operations as values: what is done, with which arguments, and how that is written down.
 *
 * An operation names paths and slots of open files by number and holds nothing that a run found
 * out, so any of a sequence can be left out and the rest still means something.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OP_ARGS_MAX 5
#define N_SLOTS 8
#define OP_TEXT_MAX 256

/*
 * Name and kinds of arguments: p path, f slot, x name of an attribute, o octal, n number, and flags
 * by name: O of open, R of rename, A of fallocate, X of setxattr, W where a seek starts from.
 */
#define OPS(_)                                                                                     \
	_(open, "fpOo")                                                                            \
	_(close, "f")                                                                              \
	_(read, "fn")                                                                              \
	_(write, "fnn")                                                                            \
	_(pread, "fnn")                                                                            \
	_(pwrite, "fnnn")                                                                          \
	_(seek, "fnW")                                                                             \
	_(truncate, "pn")                                                                          \
	_(ftruncate, "fn")                                                                         \
	_(fallocate, "fAnn")                                                                       \
	_(mkdir, "po")                                                                             \
	_(rmdir, "p")                                                                              \
	_(unlink, "p")                                                                             \
	_(rename, "ppR")                                                                           \
	_(link, "ppn")                                                                             \
	_(linkfd, "fp")                                                                            \
	_(symlink, "pp")                                                                           \
	_(readlink, "p")                                                                           \
	_(mknod, "pon")                                                                            \
	_(chmod, "po")                                                                             \
	_(fchmod, "fo")                                                                            \
	_(chown, "pnn")                                                                            \
	_(fchown, "fnn")                                                                           \
	_(utimens, "pnn")                                                                          \
	_(futimens, "fnn")                                                                         \
	_(setxattr, "pxnnX")                                                                       \
	_(getxattr, "px")                                                                          \
	_(removexattr, "px")                                                                       \
	_(fsetxattr, "fxnnX")                                                                      \
	_(stat, "p")                                                                               \
	_(readdir, "p")                                                                            \
	_(access, "pn")                                                                            \
	_(copy, "fnfnn")                                                                           \
	_(mapwrite, "fnnn")                                                                        \
	_(mapread, "fnn")                                                                          \
	_(fsync, "f")                                                                              \
	_(fdatasync, "f")                                                                          \
	_(syncdir, "p")                                                                            \
	_(dread, "pnn")                                                                            \
	_(dwrite, "pnnn")                                                                          \
	_(flock, "fn")                                                                             \
	_(lock, "fnnn")                                                                            \
	_(drop, "f")                                                                               \
	_(as, "n")                                                                                 \
	_(umask, "o")                                                                              \
	_(tick, "")                                                                                \
	_(check, "n")                                                                              \
	_(remount, "")

enum op_kind {
#define OP_ENUM(name, args) OP_##name,
	OPS(OP_ENUM)
#undef OP_ENUM
		N_OPS
};

struct op {
	enum op_kind kind;
	int64_t arg[OP_ARGS_MAX];
};

/* Times below this, in nanoseconds, were set by somebody; a clock shows more. */
#define TIME_SET_MAX_NS 1000000000000000000

#define TIME_NOW (-1)
#define TIME_OMIT (-2)

const char *op_name(enum op_kind kind);

/* The kinds of its arguments, one letter each. */
const char *op_args(enum op_kind kind);

/* As one line without its end. */
void op_format(const struct op *op, char out[OP_TEXT_MAX]);

/* The reverse; false if the line makes no sense. */
bool op_parse(const char *line, struct op *out);

/*
 * The paths: four names on three levels first, in the order path * 4 + name + 4, so that a path's
 * parent can be computed; then odd ones.  All are relative.
 */
#define N_NAMES 4
#define N_PLAIN (N_NAMES + N_NAMES * N_NAMES + N_NAMES * N_NAMES * N_NAMES)
size_t path_count(void);
const char *path_text(int64_t path);
int64_t path_parent(int64_t path); /* of a plain one; -1: the folder that all are in */

#define N_XATTRS 7
const char *xattr_text(int64_t name);

#endif /* !MODEL_OP_H_ */
