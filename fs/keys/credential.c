/*
 * Passphrases and key files, from where people keep them.
 *
 * Bytes are read straight into secret memory.
 */

#include "credential.h"

#include "err.h"
#include "file.h"
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

void credential_release(struct credential *c)
{
	secret_free(c->p);
	*c = (struct credential){0};
}

int credential_from_passphrase(const void *bytes, size_t len, struct credential *out)
{
	*out = (struct credential){0};
	if (len == 0)
		return err_say(-EINVAL, "the passphrase is empty");
	if (len > CREDENTIAL_PASSPHRASE_MAX)
		return err_say(-EINVAL, "the passphrase is longer than %u bytes",
			       CREDENTIAL_PASSPHRASE_MAX);
	out->p = secret_alloc(len);
	if (!out->p)
		return -ENOMEM;
	memcpy(out->p, bytes, len);
	out->len = len;
	out->kind = CREDENTIAL_PASSPHRASE;
	return 0;
}

/* Up to ${cap} bytes of a file into fresh secret memory. */
static int read_secret_file(const char *path, size_t cap, uint8_t **out, size_t *out_len)
{
	uint8_t *p = NULL;
	ssize_t n;
	int fd;

	fd = file_open(AT_FDCWD, path, O_RDONLY, 0);
	if (fd < 0)
		return err_say(fd, "%s: cannot open: %s", path, err_text(fd));
	p = secret_alloc(cap);
	if (!p) {
		file_close(fd);
		return -ENOMEM;
	}
	n = file_read(fd, p, cap);
	file_close(fd);
	if (n < 0) {
		secret_free(p);
		return err_say((int)n, "%s: cannot read: %s", path, err_text((int)n));
	}
	*out = p;
	*out_len = (size_t)n;
	return 0;
}

int credential_from_passphrase_file(const char *path, struct credential *out)
{
	const uint8_t *end;
	uint8_t *p = NULL;
	size_t len = 0;
	int rc;

	*out = (struct credential){0};
	rc = read_secret_file(path, CREDENTIAL_PASSPHRASE_MAX + 1, &p, &len);
	if (rc < 0)
		return rc;
	end = memchr(p, '\n', len);
	rc = credential_from_passphrase(p, end ? (size_t)(end - p) : len, out);
	secret_free(p);
	if (rc == -EINVAL)
		rc = err_say(rc, "%s: its first line must have 1 to %u bytes: it is the passphrase",
			     path, CREDENTIAL_PASSPHRASE_MAX);
	return rc;
}

int credential_from_key_file(const char *path, struct credential *out)
{
	uint8_t *p = NULL;
	size_t len = 0;
	int rc;

	*out = (struct credential){0};
	rc = read_secret_file(path, CREDENTIAL_KEY_FILE_MAX + 1, &p, &len);
	if (rc < 0)
		return rc;
	if (len < CREDENTIAL_KEY_FILE_MIN || len > CREDENTIAL_KEY_FILE_MAX) {
		secret_free(p);
		return err_say(-EINVAL, "%s: not a key file: it must have %u to %u bytes", path,
			       CREDENTIAL_KEY_FILE_MIN, CREDENTIAL_KEY_FILE_MAX);
	}
	*out = (struct credential){.kind = CREDENTIAL_KEY_FILE, .p = p, .len = len};
	return 0;
}

int credential_find(const char *passphrase_file, const char *key_file, const char *prompt,
		    bool confirm, struct credential *out)
{
	const char *from_env = getenv("EMBASSY_PASSPHRASE_FILE");
	int rc;

	*out = (struct credential){0};
	if (passphrase_file && key_file)
		return err_say(-EINVAL, "a passphrase file and a key file are given; give one");
	if (key_file)
		return credential_from_key_file(key_file, out);
	if (passphrase_file)
		return credential_from_passphrase_file(passphrase_file, out);
	if (from_env && from_env[0])
		return credential_from_passphrase_file(from_env, out);

	rc = credential_from_terminal(prompt, confirm, out);
	if (rc == -ENXIO || rc == -ENOTTY || rc == -ENOENT || rc == -EIO)
		rc = err_say(-EINVAL, "no passphrase: there is no terminal to ask on; give "
				      "--passphrase-file FILE, --key-file FILE or "
				      "EMBASSY_PASSPHRASE_FILE=FILE in the environment");
	return rc;
}
