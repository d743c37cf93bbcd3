#ifndef CREDENTIAL_H_
#define CREDENTIAL_H_

/*
 * What a person gives to open a volume: a passphrase or a key file.  Held in secret memory.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CREDENTIAL_PASSPHRASE_MAX 1024u
#define CREDENTIAL_KEY_FILE_MIN 32u
#define CREDENTIAL_KEY_FILE_MAX (1u << 20)

enum credential_kind { CREDENTIAL_NONE, CREDENTIAL_PASSPHRASE, CREDENTIAL_KEY_FILE };

/* A zeroed struct holds nothing; release with credential_release(), which wipes. */
struct credential {
	enum credential_kind kind;
	uint8_t *p; /* secret memory */
	size_t len;
};

void credential_release(struct credential *c);

/*
 * credential_from_passphrase(bytes, len, out): copy ${bytes}.
 * Returns 0; -EINVAL with a detail if empty or longer than CREDENTIAL_PASSPHRASE_MAX; -ENOMEM.
 */
MUST_CHECK int credential_from_passphrase(const void *bytes, size_t len, struct credential *out);

/*
 * credential_from_passphrase_file(path, out): the file's first line, without its newline, as a
 * passphrase.  Pipes and devices will do.
 * Returns 0; -EINVAL with a detail if that line is empty or too long; -ENOMEM; -errno with a
 * detail.
 */
MUST_CHECK int credential_from_passphrase_file(const char *path, struct credential *out);

/*
 * credential_from_key_file(path, out): all bytes of a file as a key.
 * Returns 0; -EINVAL with a detail if it has fewer than CREDENTIAL_KEY_FILE_MIN or more than
 * CREDENTIAL_KEY_FILE_MAX bytes; -ENOMEM; -errno with a detail.
 */
MUST_CHECK int credential_from_key_file(const char *path, struct credential *out);

/*
 * credential_from_terminal(prompt, confirm, out): ask for a passphrase on the controlling
 * terminal with echo off; if ${confirm}, ask twice.  A signal restores the terminal before it
 * takes its effect.
 * Returns 0; -ENXIO (or what open gives) if there is no terminal; -EINTR after a signal; -EINVAL
 * with a detail if empty, too long or typed differently; -ENOMEM; -errno.
 */
MUST_CHECK int credential_from_terminal(const char *prompt, bool confirm, struct credential *out);

/*
 * credential_find(passphrase_file, key_file, prompt, confirm, out): from whichever file is given
 * (at most one; NULL: not given), else from the file that the environment's
 * EMBASSY_PASSPHRASE_FILE names, else from the terminal.
 * Returns as those; -EINVAL with a detail that says what to give if both or none.
 */
MUST_CHECK int credential_find(const char *passphrase_file, const char *key_file,
			       const char *prompt,
			       bool confirm, struct credential *out);

#endif /* !CREDENTIAL_H_ */
