#ifndef GROUND_H_
#define GROUND_H_

/*
 * What the crash tests stand on: a volume whose keys are the same in every process, the recorder
 * if it is loaded, and folders that are removed.  All here end the program, with a message, on
 * trouble that is not the volume's.
 */

#include "check.h"
#include "keys.h"
#include "params.h"
#include "recorder.h"

#include <stdbool.h>
#include <stdint.h>

struct volume;

#define GROUND_PATH 4096
#define GROUND_OWNER "cn:home"

struct ground {
	struct params params;
	struct volume_keys keys;
	bool no_compress;
};

void ground_init(struct ground *g);
void ground_release(struct ground *g);

/* ground_make(g, dir): volume.conf and the log of a new volume in the empty folder ${dir}. */
int ground_make(const struct ground *g, const char *dir);
/* ground_open(g, dir, out): as volume_open(), without reports on stderr. */
int ground_open(const struct ground *g, const char *dir, struct volume **out);

/*
 * ground_check(g, dir, out): volume_check() with every data block read.  Its reports go to
 * ground_reports() (each a line; "BAD: " before what is bad), and to stderr if it finds a problem
 * and ${loud}.
 */
int ground_check(const struct ground *g, const char *dir, bool loud, struct check_counts *out);
const char *ground_reports(void);

/* The recorder's functions; all NULL if it is not loaded. */
struct recorder {
	recorder_start_fn *start;
	recorder_stop_fn *stop;
	recorder_flush_fn *flush;
	recorder_kill_fn *kill;
	recorder_mark_fn *mark;
	recorder_fail_fn *fail;
	recorder_calls_fn *calls;
	recorder_failed_fn *failed;
};
void ground_recorder(struct recorder *out);

/*
 * ground_run_recorded(argv): run this program again with the recorder before it; returns its
 * exit code.
 */
int ground_run_recorded(char **argv);

/* ground_folder(out): a new folder in memory, or where TMPDIR says; its real path. */
void ground_folder(char out[GROUND_PATH]);
/* ground_path(out, dir, name): DIR/NAME. */
void ground_path(char out[GROUND_PATH], const char *dir, const char *name);
void ground_remove(const char *path);

/*
 * ground_apart(fn, ctx, seconds, words): run ${fn} in a process of its own, which has ${seconds}
 * and whose standard error is added to the file ${words}.  Its exit code (0 when fn returns), or
 * 128 and a signal.  ground_show(words): that file, on our standard error.
 */
int ground_apart(void (*fn)(void *ctx), void *ctx, unsigned seconds, const char *words);
void ground_show(const char *words);
void ground_die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif /* !GROUND_H_ */
