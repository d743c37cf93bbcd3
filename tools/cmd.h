#ifndef CMD_H_
#define CMD_H_

/*
 * The commands of `embassy`, and what they share: options, errors, progress, words for figures.
 * Each command returns the program's exit code.
 */

#include "compiler.h"

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXIT_USAGE 2
#define EXIT_INTERRUPTED 130

struct params;
struct volume_keys;

struct command {
	const char *name;
	const char *summary;
	const char *help; /* usage, options, an example */
	int (*run)(const struct command *cmd, int argc, char **argv);
};

extern const struct command cmd_init, cmd_status, cmd_drain, cmd_snapshot, cmd_hold,
	cmd_release, cmd_snapshots, cmd_heads, cmd_check, cmd_keys, cmd_tls, cmd_upgrade;

/*
 * cmd_getopt(cmd, argc, argv, options, out_code): the next long option, its value in optarg; -1
 * after the last, with the plain arguments from argv[optind] on.  --help is handled: like an
 * unknown option it gives '?', and ${*out_code} is what to exit with.
 */
int cmd_getopt(const struct command *cmd, int argc, char **argv, const struct option *options,
	       int *out_code);

/*
 * cmd_usage(cmd, fmt, ...): say what is wrong with the command line and where its help is. 
 * Returns EXIT_USAGE.
 */
int cmd_usage(const struct command *cmd, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * cmd_fail(rc, thing): print the error ${rc} (with its detail; about ${thing} where it has
 * none).  Returns the exit code of ${rc}.
 */
int cmd_fail(int rc, const char *thing);

/*
 * cmd_flush(): write what was printed to standard output.  Returns 0, or a negative error with a
 * detail if any of it, now or before, could not be written.
 */
MUST_CHECK int cmd_flush(void);

/* cmd_number(text, max, out): a decimal number of at most ${max}; false if it is none. */
bool cmd_number(const char *text, uint64_t max, uint64_t *out);

/*
 * cmd_shown(text): as a terminal may have it, utf8_show(), for text that others made: peers, mounts,
 * names in a volume.  Good until the 16th call after it.
 */
const char *cmd_shown(const char *text);

/* What unlocks a volume: from options, else the environment, else the terminal. */
struct cmd_credential {
	const char *passphrase_file, *key_file;
};

/* Two long options for struct cmd_credential, and their values. */
enum { OPT_PASSPHRASE_FILE = 1000, OPT_KEY_FILE };
#define CMD_CREDENTIAL_OPTIONS                                                                     \
	{"passphrase-file", required_argument, NULL, OPT_PASSPHRASE_FILE},                         \
	{                                                                                          \
		"key-file", required_argument, NULL, OPT_KEY_FILE                                  \
	}

/*
 * cmd_unlock(c, p, out): the keys of ${p}; release with keys_release().  Returns as
 * keys_unlock() and credential_find().
 */
MUST_CHECK int cmd_unlock(const struct cmd_credential *c, const struct params *p,
			  struct volume_keys *out);

/* SIGINT and SIGTERM set this, once cmd_catch_signals() was called. */
extern volatile sig_atomic_t cmd_interrupted;
void cmd_catch_signals(void);

/* cmd_sleep(ms): less when a signal comes. */
void cmd_sleep(unsigned ms);

/*
 * A line of progress on standard error, overwritten by the next and by cmd_progress_end(); nothing
 * where that is no terminal.
 */
void cmd_progress(const char *fmt, ...) PRINTF_LIKE(1, 2);
void cmd_progress_end(void);

#endif /* !CMD_H_ */
