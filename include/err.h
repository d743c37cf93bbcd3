#ifndef ERR_H_
#define ERR_H_

/*
 * Error codes of our own, beside errno.
 *
 * Functions return 0, -errno or -ERR_X.  ERR_X lie above every errno, so the two
 * never meet.  Each has a parent errno, used at the FUSE boundary only, and an
 * exit code, used by the programs only.  Damaged, absent and forbidden are three
 * different codes everywhere.
 */

#include "compiler.h"

/*    name               parent        exit  text */
#define ERR_TABLE(X)                                                                               \
	X(ERR_DAMAGED, EIO, 20, "damaged")                                                         \
	X(ERR_TAMPERED, EIO, 21, "tampered with")                                                  \
	X(ERR_FORKED, EIO, 21, "forked: the two histories differ")                                 \
	X(ERR_ROLLED_BACK, EIO, 21, "rolled back: older than what was seen before")                \
	X(ERR_ABSENT, EIO, 20, "not in this copy")                                                 \
	X(ERR_FORBIDDEN, EACCES, 13, "forbidden")                                                  \
	X(ERR_WRONG_KEY, EKEYREJECTED, 12, "wrong key or passphrase")                              \
	X(ERR_NO_VOLUME, ENOENT, 10, "no such volume")                                             \
	X(ERR_LOCKED, EBUSY, 11, "locked by another process")                                      \
	X(ERR_UNREACHABLE, EHOSTUNREACH, 30, "unreachable")                                        \
	X(ERR_REFUSED, ECONNREFUSED, 13, "refused by the other side")                              \
	X(ERR_STALE, ESTALE, 22, "older than was asked for")                                       \
	X(ERR_BAD_TIME, EINVAL, 2, "not a time")                                                   \
	X(ERR_TOO_EARLY, ENOENT, 22, "before the volume began")                                    \
	X(ERR_VERSION, EPROTONOSUPPORT, 1, "of a format version that this program does not know")  \
	X(ERR_FORMAT, EINVAL, 20, "malformed")                                                     \
	X(ERR_STUCK, EIO, 1, "stopped by an earlier error")                                        \
	X(ERR_NEED_NODE, EIO, 1, "a tree node must be loaded first")                               \
	X(ERR_NO_STATE, ENOENT, 2, "no such head or snapshot")

enum err {
	ERR_BASE = 10000,
#define X(name, parent, exit_code, text) name,
	ERR_TABLE(X)
#undef X
	ERR_END
};

/* err_text(rc): a short text for 0, -errno or -ERR_X.  Any thread; never NULL. */
const char *err_text(int rc);

/* err_errno(rc): the positive errno that stands for ${rc} at the FUSE boundary. */
int err_errno(int rc);

/* err_exit(rc): the exit code that stands for ${rc}: 0, 1, 2, 10 to 30. */
int err_exit(int rc);

/*
 * err_say(rc, fmt, ...): remember the printf-style text as this thread's detail of
 * ${rc} ("THING: REASON; what to do next", no newline, at most 1023 bytes) and
 * return ${rc}.  Called once, where the cause is known.
 */
int err_say(int rc, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * err_forget(rc): the thread's detail, if it is for ${rc}, tells of an earlier failure.  Called where
 * a new one of that code begins and has nothing to say for itself, as when the system fails a call.
 * ${rc} 0: the detail, whatever it is for.  Called where a thread begins with something else, such as
 * another caller's question, to whom nothing of the one before is to be told.
 */
void err_forget(int rc);

/*
 * err_detail(rc): this thread's detail if the newest err_say() was for ${rc}, else
 * err_text(rc).  Valid until the thread's next err_say().
 */
const char *err_detail(int rc);

#endif /* !ERR_H_ */
