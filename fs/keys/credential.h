#ifndef CREDENTIAL_H_
#define CREDENTIAL_H_

/*
 * A person's secret that opens a volume: a passphrase or a key file.  Held in secret memory.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CREDENTIAL_PASSPHRASE_MAX 1024u
#define CREDENTIAL_KEY_FILE_MIN 32u
#define CREDENTIAL_KEY_FILE_MAX (1u << 20)

enum credential_kind { CREDENTIAL_NONE, CREDENTIAL_PASSPHRASE, CREDENTIAL_KEY_FILE };

#define CREDENTIAL_PASSPHRASE_MIN 4u /* characters, for a new passphrase */

/* A zeroed struct is empty; end with credential_release(), which wipes. */
struct credential {
	enum credential_kind kind;
	uint8_t *p; /* secret memory */
	size_t len;
	/*
	 * The passphrase file's line with the carriage return and byte-order mark that ${p} lacks;
	 * NULL if it had neither.  Earlier versions took them as part of the passphrase.
	 */
	uint8_t *raw;
	size_t raw_len;
};

void credential_release(struct credential *c);

/*
 * credential_from_passphrase(bytes, len, out): copy ${bytes}.
 * Returns 0; -EINVAL with a detail if empty or longer than CREDENTIAL_PASSPHRASE_MAX; -ENOMEM.
 */
MUST_CHECK int credential_from_passphrase(const void *bytes, size_t len, struct credential *out);

/*
 * credential_from_passphrase_file(path, out): take the file's first line as the passphrase, without
 * its newline, a carriage return before that, and a byte-order mark at the start.  Other bytes are
 * taken as they are, in any encoding.  Pipes and devices are accepted.
 * Returns 0; -EINVAL with a detail if that line is empty or too long; -ERR_FORBIDDEN with a detail
 * if the mode of a regular file lets its group or others read it; -ENOMEM; -errno with a detail.
 */
MUST_CHECK int credential_from_passphrase_file(const char *path, struct credential *out);

/*
 * credential_from_key_file(path, out): all bytes of a file as a key.
 * Returns 0; -EINVAL with a detail if it has fewer than CREDENTIAL_KEY_FILE_MIN or more than
 * CREDENTIAL_KEY_FILE_MAX bytes; -ERR_FORBIDDEN as above; -ENOMEM; -errno with a detail.
 */
MUST_CHECK int credential_from_key_file(const char *path, struct credential *out);

/*
 * credential_from_terminal(prompt, confirm, out): ask for a passphrase on the controlling
 * terminal with echo off; if ${confirm}, ask twice.  On a signal the terminal is restored first,
 * and the signal is then delivered.
 * Returns 0; -ENXIO (or what open gives) if there is no terminal; -EINTR after a signal; -EINVAL
 * with a detail if empty, too long or typed differently; -ENOMEM; -errno.
 */
MUST_CHECK int credential_from_terminal(const char *prompt, bool confirm, struct credential *out);

/*
 * credential_find(passphrase_file, key_file, prompt, confirm, out): read the file that is given (at
 * most one of them; NULL: not given), else the file that the environment variable
 * EMBASSY_PASSPHRASE_FILE names, else ask at the terminal.
 * Returns as those functions; -EINVAL with a detail that says what to give, if both files are given
 * or no source is available.
 */
MUST_CHECK int credential_find(const char *passphrase_file, const char *key_file,
			       const char *prompt,
			       bool confirm, struct credential *out);

/*
 * credential_check_new(c): may ${c} be set as a way to open a volume?  A passphrase must have at
 * least CREDENTIAL_PASSPHRASE_MIN characters (counted as bytes that start one in UTF-8).
 * Returns 0, or -EINVAL with a detail.
 */
MUST_CHECK int credential_check_new(const struct credential *c);

#endif /* !CREDENTIAL_H_ */
