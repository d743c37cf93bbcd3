/*
 * volume.conf: read, check, write.
 *
 * A table gives the lines' order, how often each may come and how its value is read; one walk
 * along it reads the file.  Every value has one spelling, so params_encode() of what was decoded
 * gives the same bytes.  Invariants of a decoded struct params: the id is that of the authority
 * key, every grant and the whole file are signed by it, epochs ascend.
 */

#include "params.h"

#include "buf.h"
#include "bytes.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "hash.h"
#include "text.h"
#include "when.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_LINE "embassyfs volume "
#define COMPRESS_MIN (-100)
#define COMPRESS_MAX 22

static const char *const cipher_names[] = {
	[CIPHER_AES256GCM] = "aes-256-gcm",
	[CIPHER_CHACHA20POLY1305] = "chacha20-poly1305",
};
#define CIPHER_END (sizeof(cipher_names) / sizeof(cipher_names[0]))

static bool read_id(struct params *p, struct text value)
{
	return text_hex(value, p->id, VOLUME_ID_LEN);
}

static bool read_authority(struct params *p, struct text value)
{
	return text_base64(value, p->authority, SIGN_PUBLIC_LEN);
}

static bool read_serial(struct params *p, struct text value)
{
	return text_u64(value, &p->serial) && p->serial > 0;
}

static bool read_created(struct params *p, struct text value)
{
	return text_time(value, &p->created_ns);
}

static bool read_cipher(struct params *p, struct text value)
{
	for (uint32_t i = CIPHER_AES256GCM; i < CIPHER_END; i++) {
		if (text_is(value, cipher_names[i])) {
			p->cipher = i;
			return true;
		}
	}
	return false;
}

static bool read_compress(struct params *p, struct text value)
{
	bool minus = text_skip(&value, "-");
	uint64_t n;

	if (!text_u64(value, &n) || n > 1000 || (minus && n == 0))
		return false;
	p->compress = minus ? -(int32_t)n : (int32_t)n;
	return p->compress >= COMPRESS_MIN && p->compress <= COMPRESS_MAX;
}

static bool read_grant(struct params *p, struct text value)
{
	struct grant *g = &p->grants[p->n_grants];
	struct text epoch, writer, signature;

	if (!text_word(&value, &epoch) || !text_word(&value, &writer) ||
	    !text_word(&value, &signature) || value.len > 0)
		return false;
	if (!text_u64(epoch, &g->epoch) || !text_base64(writer, g->writer, SIGN_PUBLIC_LEN) ||
	    !text_base64(signature, g->signature, SIGN_LEN))
		return false;
	if (g->epoch <= params_epoch(p))
		return false;
	p->n_grants++;
	return true;
}

/* Without memory the value counts as missing; the caller tells the two apart by errno. */
static bool keep_text(char **out, uint32_t *n, struct text value)
{
	char *copy = strndup(value.p, value.len);

	if (!copy)
		return false;
	out[(*n)++] = copy;
	return true;
}

static bool read_slot(struct params *p, struct text value)
{
	return keep_text(p->slots, &p->n_slots, value);
}

static bool read_secret(struct params *p, struct text value)
{
	return keep_text(p->secrets, &p->n_secrets, value);
}

static bool read_signature(struct params *p, struct text value)
{
	return text_base64(value, p->signature, SIGN_LEN);
}

static const struct row {
	const char *name;
	unsigned min, max;
	bool (*read)(struct params *p, struct text value);
} rows[] = {
	{"id", 1, 1, read_id},
	{"authority", 1, 1, read_authority},
	{"serial", 1, 1, read_serial},
	{"created", 1, 1, read_created},
	{"cipher", 1, 1, read_cipher},
	{"compress", 1, 1, read_compress},
	{"grant", 1, PARAMS_GRANTS_MAX, read_grant},
	{"slot", 0, PARAMS_SLOTS_MAX, read_slot},
	{"secret", 0, PARAMS_SECRETS_MAX, read_secret},
	{"signature", 1, 1, read_signature},
};
#define ROWS_END (sizeof(rows) / sizeof(rows[0]))

static size_t find_row(struct text name)
{
	size_t i = 0;

	while (i < ROWS_END && !text_is(name, rows[i].name))
		i++;
	return i;
}

static int read_first_line(struct text *rest)
{
	struct text line;

	if (!text_line(rest, &line) || line.len > PARAMS_LINE_MAX || !text_skip(&line, FIRST_LINE))
		return err_say(-ERR_FORMAT, "not a volume.conf: it does not begin with \"%s1\"",
			       FIRST_LINE);
	if (!text_is(line, "1"))
		return err_say(-ERR_VERSION,
			       "volume format %.*s: this program knows 1 only; use a newer program",
			       (int)line.len, line.p);
	return 0;
}

/* Where the walk along the table stands. */
struct walk {
	size_t row;
	unsigned count; /* lines of that row so far */
};

/* Judge and read one line. */
static int read_line(struct params *p, struct walk *w, struct text line, unsigned number)
{
	struct text value = line, name;
	size_t row;

	if (line.len > PARAMS_LINE_MAX || !text_printable(line) || !text_word(&value, &name))
		return err_say(-ERR_FORMAT, "line %u: malformed", number);
	row = find_row(name);
	if (row == ROWS_END)
		return err_say(-ERR_VERSION,
			       "line %u: this program does not know \"%.*s\"; use a newer program",
			       number, (int)name.len, name.p);
	if (row < w->row)
		return err_say(-ERR_FORMAT, "line %u: \"%s\" is out of order", number,
			       rows[row].name);
	for (; w->row < row; w->row++, w->count = 0)
		if (w->count < rows[w->row].min)
			return err_say(-ERR_FORMAT, "line %u: \"%s\" is missing", number,
				       rows[w->row].name);
	if (w->count == rows[row].max)
		return err_say(-ERR_FORMAT, "line %u: too many of \"%s\"", number, rows[row].name);

	errno = 0;
	if (value.len == 0 || !rows[row].read(p, value)) {
		if (errno == ENOMEM)
			return -ENOMEM;
		return err_say(-ERR_FORMAT, "line %u: \"%s\" has a bad value", number,
			       rows[row].name);
	}
	w->count++;
	return 0;
}

static int verify_grants(const struct params *p)
{
	uint8_t message[GRANT_MESSAGE_LEN];

	for (uint32_t i = 0; i < p->n_grants; i++) {
		const struct grant *g = &p->grants[i];

		params_grant_message(p->id, g, message);
		if (crypto_sign_verify_detached(g->signature, message, sizeof(message),
						p->authority) != 0)
			return err_say(-ERR_TAMPERED,
				       "the grant of epoch %llu is not signed by the authority",
				       (unsigned long long)g->epoch);
	}
	return 0;
}

/* Check what was read against the authority key; ${signed_len} bytes lie before the signature. */
static int verify(const struct params *p, const void *text, size_t signed_len)
{
	uint8_t hash[HASH_LEN];
	int rc;

	sha256_parts(p->authority, SIGN_PUBLIC_LEN, NULL, 0, NULL, 0, hash);
	if (memcmp(hash, p->id, VOLUME_ID_LEN) != 0)
		return err_say(-ERR_TAMPERED, "the authority key is not that of the volume's id");
	rc = verify_grants(p);
	if (rc < 0)
		return rc;
	if (crypto_sign_verify_detached(p->signature, text, signed_len, p->authority) != 0)
		return err_say(-ERR_TAMPERED, "the signature is not the authority's");
	return 0;
}

int params_decode(const void *text, size_t len, struct params *out)
{
	struct text rest = text_of(text, len), line;
	struct walk walk = {0};
	size_t signed_len = 0;
	int rc;

	*out = (struct params){0};
	if (len > PARAMS_FILE_MAX)
		return err_say(-ERR_FORMAT, "larger than %u bytes", PARAMS_FILE_MAX);
	rc = read_first_line(&rest);
	for (unsigned number = 2; rc == 0 && rest.len > 0; number++) {
		signed_len = len - rest.len;
		if (walk.row == ROWS_END - 1)
			rc = err_say(-ERR_FORMAT, "line %u: text after the signature", number);
		else if (!text_line(&rest, &line))
			rc = err_say(-ERR_FORMAT, "line %u: cut short", number);
		else
			rc = read_line(out, &walk, line, number);
	}
	if (rc == 0 && walk.row != ROWS_END - 1)
		rc = err_say(-ERR_FORMAT, "cut short: there is no signature");
	if (rc == 0)
		rc = verify(out, text, signed_len);
	if (rc < 0)
		params_release(out);
	return rc;
}

void params_release(struct params *p)
{
	for (uint32_t i = 0; i < p->n_slots; i++)
		free(p->slots[i]);
	for (uint32_t i = 0; i < p->n_secrets; i++)
		free(p->secrets[i]);
	*p = (struct params){0};
}

static int encode_grant(const struct grant *g, struct buf *out)
{
	int rc = buf_printf(out, "grant %llu ", (unsigned long long)g->epoch);

	if (rc == 0)
		rc = buf_add_base64(out, g->writer, SIGN_PUBLIC_LEN);
	if (rc == 0)
		rc = buf_add_u8(out, ' ');
	if (rc == 0)
		rc = buf_add_base64(out, g->signature, SIGN_LEN);
	if (rc == 0)
		rc = buf_add_u8(out, '\n');
	return rc;
}

int params_encode_unsigned(const struct params *p, struct buf *out)
{
	char id[VOLUME_ID_TEXT_LEN], created[WHEN_TEXT_LEN];
	int rc;

	assert(p->cipher >= CIPHER_AES256GCM && p->cipher < CIPHER_END);
	volume_id_format(p->id, id);
	when_format(p->created_ns, created);
	rc = buf_printf(out, FIRST_LINE "%u\nid %s\nauthority ", FORMAT_VERSION, id);
	if (rc == 0)
		rc = buf_add_base64(out, p->authority, SIGN_PUBLIC_LEN);
	if (rc == 0)
		rc = buf_printf(out, "\nserial %llu\ncreated %s\ncipher %s\ncompress %d\n",
				(unsigned long long)p->serial, created, cipher_names[p->cipher],
				(int)p->compress);
	for (uint32_t i = 0; rc == 0 && i < p->n_grants; i++)
		rc = encode_grant(&p->grants[i], out);
	for (uint32_t i = 0; rc == 0 && i < p->n_slots; i++)
		rc = buf_printf(out, "slot %s\n", p->slots[i]);
	for (uint32_t i = 0; rc == 0 && i < p->n_secrets; i++)
		rc = buf_printf(out, "secret %s\n", p->secrets[i]);
	return rc;
}

int params_encode(const struct params *p, struct buf *out)
{
	int rc = params_encode_unsigned(p, out);

	if (rc == 0)
		rc = buf_printf(out, "signature ");
	if (rc == 0)
		rc = buf_add_base64(out, p->signature, SIGN_LEN);
	if (rc == 0)
		rc = buf_add_u8(out, '\n');
	return rc;
}

void params_grant_message(const uint8_t id[VOLUME_ID_LEN], const struct grant *grant,
			  uint8_t out[GRANT_MESSAGE_LEN])
{
	memcpy(out, "embassyfs grant", 15);
	memcpy(out + 15, id, VOLUME_ID_LEN);
	put_le64(out + 15 + VOLUME_ID_LEN, grant->epoch);
	memcpy(out + 15 + VOLUME_ID_LEN + 8, grant->writer, SIGN_PUBLIC_LEN);
}

const uint8_t *params_writer(const struct params *p, epoch_no epoch)
{
	for (uint32_t i = 0; i < p->n_grants; i++)
		if (p->grants[i].epoch == epoch)
			return p->grants[i].writer;
	return NULL;
}

epoch_no params_epoch(const struct params *p)
{
	return p->n_grants > 0 ? p->grants[p->n_grants - 1].epoch : 0;
}

static int conf_path(const char *volume_dir, char **out)
{
	return asprintf(out, "%s/volume.conf", volume_dir) < 0 ? -ENOMEM : 0;
}

/* Advice to make a new volume would be fatal where only this file is missing. */
static int say_missing(const char *volume_dir)
{
	char *log;
	int there;

	if (asprintf(&log, "%s/log", volume_dir) < 0)
		return -ENOMEM;
	there = file_exists(AT_FDCWD, log);
	free(log);
	if (there == 1)
		return err_say(
			-ERR_NO_VOLUME,
			"%s: its volume.conf is missing, but its log is there; bring that "
			"file from an embassy's copy ('embassy check FOLDER --repair --from "
			"HOST:PORT/VOLUME-ID') or from a backup, and make no new volume here",
			volume_dir);
	return err_say(-ERR_NO_VOLUME, "%s: no volume here: there is no volume.conf in it",
		       volume_dir);
}

int params_load(const char *volume_dir, struct params *out)
{
	void *data = NULL;
	size_t len;
	char *path;
	int rc;

	*out = (struct params){0};
	rc = conf_path(volume_dir, &path);
	if (rc < 0)
		return rc;

	rc = file_read_all(AT_FDCWD, path, PARAMS_FILE_MAX, &data, &len);
	if (rc == -ENOENT || rc == -ENOTDIR)
		rc = say_missing(volume_dir);
	else if (rc == -EFBIG)
		rc = err_say(-ERR_FORMAT, "%s: larger than %u bytes", path, PARAMS_FILE_MAX);
	else if (rc < 0)
		rc = err_say(rc, "%s: %s", path, err_text(rc));
	else {
		rc = params_decode(data, len, out);
		if (rc < 0)
			rc = err_say(rc, "%s: %s", path, err_detail(rc));
	}
	free(data);
	free(path);
	return rc;
}

int params_store(const struct params *p, const char *volume_dir)
{
	struct buf text = {0};
	char *path;
	int rc;

	rc = conf_path(volume_dir, &path);
	if (rc < 0)
		return rc;
	rc = params_encode(p, &text);
	if (rc == 0) {
		rc = file_replace(AT_FDCWD, path, text.p, text.len, 0600);
		if (rc < 0)
			rc = err_say(rc, "%s: cannot write: %s", path, err_text(rc));
	}
	buf_release(&text);
	free(path);
	return rc;
}

void volume_id_format(const uint8_t id[VOLUME_ID_LEN], char out[VOLUME_ID_TEXT_LEN])
{
	sodium_bin2hex(out, VOLUME_ID_TEXT_LEN, id, VOLUME_ID_LEN);
}

int volume_id_parse(const char *text, uint8_t out[VOLUME_ID_LEN])
{
	if (text_hex(text_of(text, strlen(text)), out, VOLUME_ID_LEN))
		return 0;
	return err_say(-ERR_FORMAT, "%.64s: not a volume id; it is 32 lower-case hex digits", text);
}
