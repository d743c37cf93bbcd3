/*
 * Passphrases and key files, from the places where people keep them.
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
#include <sys/stat.h>

/* A byte-order mark, a carriage return, a newline, and one byte more to notice a longer line. */
#define LINE_EXTRA 6u

void credential_release(struct credential *c)
{
	secret_free(c->p);
	secret_free(c->raw);
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

/*
 * Refuse a secret file that others can read.  Pipes and devices are exempt: their mode says nothing
 * about their contents.  So are files in a service manager's credentials folder: the manager
 * protects them by an ACL, whose mask shows as the group's mode bits.
 */
static int check_mode(const char *path, int fd)
{
	const char *handed = getenv("CREDENTIALS_DIRECTORY");
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_say(-errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || (st.st_mode & (S_IRGRP | S_IROTH)) == 0)
		return 0;
	if (handed && handed[0] == '/' && strncmp(path, handed, strlen(handed)) == 0 &&
	    path[strlen(handed)] == '/')
		return 0;
	return err_say(-ERR_FORBIDDEN,
		       "%s: its mode (%04o) lets others read the secret; take that from them: "
		       "chmod 600 %s",
		       path, st.st_mode & 07777, path);
}

/* Read up to ${cap} bytes of a file into new secret memory. */
static int read_secret_file(const char *path, size_t cap, uint8_t **out, size_t *out_len)
{
	uint8_t *p = NULL;
	ssize_t n;
	int fd, rc;

	fd = file_open(AT_FDCWD, path, O_RDONLY, 0);
	if (fd < 0)
		return err_say(fd, "%s: cannot open: %s", path, err_text(fd));
	rc = check_mode(path, fd);
	if (rc < 0)
		goto close_file;
	p = secret_alloc(cap);
	if (!p) {
		rc = -ENOMEM;
		goto close_file;
	}
	n = file_read(fd, p, cap);
	if (n < 0) {
		rc = err_say((int)n, "%s: cannot read: %s", path, err_text((int)n));
		secret_free(p);
		goto close_file;
	}
	*out = p;
	*out_len = (size_t)n;
close_file:
	file_close(fd);
	return rc;
}

/* The first line as it is, and ${text}, the same without byte-order mark and carriage return. */
struct line {
	const uint8_t *p;
	size_t len;
	const uint8_t *text;
	size_t text_len;
};

static struct line first_line(const uint8_t *p, size_t len)
{
	static const uint8_t bom[] = {0xef, 0xbb, 0xbf};
	const uint8_t *end = memchr(p, '\n', len);
	struct line l = {.p = p, .len = end ? (size_t)(end - p) : len};

	l.text = l.p;
	l.text_len = l.len;
	if (l.text_len >= sizeof(bom) && memcmp(l.text, bom, sizeof(bom)) == 0) {
		l.text += sizeof(bom);
		l.text_len -= sizeof(bom);
	}
	if (l.text_len > 0 && l.text[l.text_len - 1] == '\r')
		l.text_len--;
	return l;
}

static int keep_raw(const struct line *l, struct credential *c)
{
	if (l->len == l->text_len || l->len > CREDENTIAL_PASSPHRASE_MAX)
		return 0;
	c->raw = secret_alloc(l->len);
	if (!c->raw)
		return -ENOMEM;
	memcpy(c->raw, l->p, l->len);
	c->raw_len = l->len;
	return 0;
}

int credential_from_passphrase_file(const char *path, struct credential *out)
{
	uint8_t *p = NULL;
	struct line l;
	size_t len = 0;
	int rc;

	*out = (struct credential){0};
	rc = read_secret_file(path, CREDENTIAL_PASSPHRASE_MAX + LINE_EXTRA, &p, &len);
	if (rc < 0)
		return rc;
	l = first_line(p, len);
	rc = credential_from_passphrase(l.text, l.text_len, out);
	if (rc == 0)
		rc = keep_raw(&l, out);
	secret_free(p);
	if (rc < 0)
		credential_release(out);
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

int credential_check_new(const struct credential *c)
{
	size_t n = 0;

	if (c->kind != CREDENTIAL_PASSPHRASE)
		return 0;
	for (size_t i = 0; i < c->len; i++)
		n += (c->p[i] & 0xc0) != 0x80;
	if (n >= CREDENTIAL_PASSPHRASE_MIN)
		return 0;
	return err_say(-EINVAL,
		       "the passphrase has %zu characters, and is found by trying; take a longer "
		       "one, or say --weak",
		       n);
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
		rc = err_say(-EINVAL, "no passphrase: there is no terminal to ask on; name a file "
				      "that holds it in the environment's EMBASSY_PASSPHRASE_FILE, "
				      "or by the option passphrase-file or key-file");
	return rc;
}
