#ifndef RECORDER_H_
#define RECORDER_H_

/*
 * What a recording holds, and how a program speaks with the recorder (recorder.c), which is
 * loaded before it.  A program finds these functions with dlsym(); without the recorder they are
 * not there.
 *
 * A recording is a run of records.  Each is a struct record and then ${text_len} bytes (a path, or
 * two of them, each with its NUL), ${data_len} bytes (what was written), and zeros up to a multiple
 * of 8.  A file is known by the number of its opening, which its duplicates share.
 */

#include <stdint.h>

enum record_kind {
	RECORD_OPEN = 1,   /* text: path; a: O_ flags; opening: the new number */
	RECORD_WRITE,	   /* opening, a: offset, data; b: 1 if it is durable by its flags */
	RECORD_SYNC_BEGIN, /* opening, a: number of this sync */
	RECORD_SYNC_END,   /* opening, a: the same, b: 0 or the errno that it failed with */
	RECORD_TRUNCATE,   /* opening, a: size */
	RECORD_ALLOCATE,   /* opening, a: offset, b: length, c: mode */
	RECORD_RENAME,	   /* text: from, to */
	RECORD_UNLINK,	   /* text: path; a file or an empty folder */
	RECORD_LINK,	   /* text: from, to */
	RECORD_MKDIR,	   /* text: path */
	RECORD_MARK,	   /* a: kind, b: value: what the program says of itself */
};

struct record {
	uint32_t kind;
	uint32_t text_len;
	uint64_t data_len;
	uint64_t opening;
	uint64_t a, b, c;
};

static inline uint64_t record_padding(const struct record *r)
{
	return -(r->text_len + r->data_len) & 7;
}

/* How recorder_fail() fails a call. */
enum recorder_fail {
	RECORDER_FAIL_ONCE,  /* the nth call only */
	RECORDER_FAIL_SPACE, /* from the nth on, each that needs room on the disk */
	RECORDER_FAIL_SHORT, /* the nth call, if it is a write of more than a byte, does half */
};

/*
 * recorder_start(root, path): from now on record what is done to files below ${root}, a real
 * absolute path, into the file ${path}, which is elsewhere.  NULL: count and fail calls only.
 * recorder_stop(): the recording is whole.  No file below the root should be open then.
 */
typedef void recorder_start_fn(const char *root, const char *path);
typedef void recorder_stop_fn(void);

/*
 * For a program that forks, from a process of one thread: recorder_flush() before each fork and before
 * a child ends.  recorder_kill(): the same, and this process is killed (SIGKILL), its other threads
 * between any two calls.
 */
typedef void recorder_flush_fn(void);
typedef void recorder_kill_fn(void);

/* recorder_mark(kind, value): note that the program says something, at this point. */
typedef void recorder_mark_fn(uint64_t kind, uint64_t value);

/*
 * recorder_fail(nth, error, how): count calls from 1 again, and fail the ${nth} (0: none) with the
 * errno ${error}.
 * recorder_calls(): how many there were.  recorder_failed(): whether one was failed.
 */
typedef void recorder_fail_fn(uint64_t nth, int error, enum recorder_fail how);
typedef uint64_t recorder_calls_fn(void);
typedef int recorder_failed_fn(void);

/*
 * For a program that knows nothing of all this: RECORDER_ROOT names the folder, as for
 * recorder_start() with no recording, and RECORDER_CONTROL a file with this struct, by which another
 * process does what recorder_fail() does: it fills in how, error and nth, then changes turn.
 */
struct recorder_control {
	uint64_t turn, nth, error, how; /* written by the other process */
	uint64_t calls, failed;		/* by the recorder, of this turn */
};

#endif /* !RECORDER_H_ */
