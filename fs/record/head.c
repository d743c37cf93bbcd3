/*
 * Heads as text: encode, decode, verify.  (Signing is in sign.c, which a server does not link.)
 *
 * The body is a tlog-checkpoint whose extension lines come in one fixed order and one spelling,
 * so that decoding and encoding again gives the same bytes.  The body ends at the last empty line
 * of the note; signature lines follow.
 */

#include "head.h"

#include "buf.h"
#include "err.h"
#include "figures.h"
#include "hash.h"
#include "head_line.h"
#include "params.h"
#include "text.h"
#include "when.h"

#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#define ORIGIN "embassyfs/"

static int add_pointer(struct buf *out, const char *name, const struct block_ptr *ptr)
{
	return buf_printf(out, "%s %llu %u %u\n", name, (unsigned long long)ptr->pos,
			  ptr->stored_len, ptr->plain_len);
}

int head_encode_text(const struct head *h, struct buf *out)
{
	char id[VOLUME_ID_TEXT_LEN], time[WHEN_TEXT_LEN];
	int rc;

	volume_id_format(h->volume, id);
	when_format(h->time_ns, time);
	rc = buf_printf(out, ORIGIN "%s\n%llu\n", id, (unsigned long long)h->n_blocks);
	if (rc == 0)
		rc = buf_add_base64(out, h->root, HASH_LEN);
	if (rc == 0)
		rc = buf_printf(out, "\nhead %llu\nepoch %llu\ntime %s\nend %llu\nparent %llu\n",
				(unsigned long long)h->number, (unsigned long long)h->epoch, time,
				(unsigned long long)h->pos, (unsigned long long)h->parent_pos);
	if (rc == 0)
		rc = add_pointer(out, "checkpoint", &h->checkpoint);
	for (uint32_t i = 0; rc == 0 && i < h->n_deltas; i++)
		rc = add_pointer(out, "delta", &h->deltas[i]);
	return rc;
}

void head_key_id(struct text name, const uint8_t public[SIGN_PUBLIC_LEN],
		 uint8_t out[HEAD_KEY_ID_LEN])
{
	uint8_t hash[HASH_LEN];

	sha256_parts(name.p, name.len, "\n\x01", 2, public, SIGN_PUBLIC_LEN, hash);
	memcpy(out, hash, HEAD_KEY_ID_LEN);
}

/* Cut the note into its text (with the last newline) and its signature lines. */
static bool split_note(const void *note, size_t len, struct text *out_text, struct text *out_sigs)
{
	const char *p = note;

	if (len > HEAD_NOTE_MAX)
		return false;
	for (size_t i = len; i >= 2; i--) {
		if (p[i - 1] == '\n' && p[i - 2] == '\n') {
			*out_text = text_of(p, i - 1);
			*out_sigs = text_of(p + i, len - i);
			return out_sigs->len > 0;
		}
	}
	return false;
}

/* "— NAME BASE64" of any key. */
static bool read_signature_line(struct text line, struct text *out_name, struct text *out_value)
{
	return text_printable(line) && text_skip(&line, HEAD_SIGNATURE_START) &&
	       text_word(&line, out_name) && text_word(&line, out_value) && line.len == 0;
}

static bool read_named(struct text *rest, const char *name, struct text *out)
{
	return text_line(rest, out) && text_skip(out, name) && text_skip(out, " ");
}

static bool read_number(struct text *rest, const char *name, uint64_t *out)
{
	struct text value;

	return read_named(rest, name, &value) && text_u64(value, out);
}

/* "NAME POS STORED PLAIN": a block that could lie in a log below ${below}. */
static bool read_pointer(struct text value, log_pos below, struct block_ptr *out)
{
	struct text pos, stored, plain;
	uint64_t stored_len, plain_len;

	if (!text_word(&value, &pos) || !text_word(&value, &stored) ||
	    !text_word(&value, &plain) || value.len > 0)
		return false;
	if (!text_u64(pos, &out->pos) || !text_u64(stored, &stored_len) ||
	    !text_u64(plain, &plain_len))
		return false;
	if (stored_len > BLOCK_STORED_MAX || plain_len > BLOCK_PLAIN_MAX)
		return false;
	out->stored_len = (uint32_t)stored_len;
	out->plain_len = (uint32_t)plain_len;
	if (out->pos == 0)
		return stored_len == 0 && plain_len == 0;
	return stored_len > FRAME_LEN + SEAL_TAG_LEN && out->pos < below &&
	       stored_len <= below - out->pos;
}

/* The lines that every head has. */
static bool read_fixed(struct text *rest, struct head *h)
{
	struct text line, value;

	if (!text_line(rest, &line) || !text_skip(&line, ORIGIN) ||
	    !text_hex(line, h->volume, VOLUME_ID_LEN))
		return false;
	if (!text_line(rest, &line) || !text_u64(line, &h->n_blocks))
		return false;
	if (!text_line(rest, &line) || !text_base64(line, h->root, HASH_LEN))
		return false;
	if (!read_number(rest, "head", &h->number) || !read_number(rest, "epoch", &h->epoch))
		return false;
	if (!read_named(rest, "time", &value) || !text_time(value, &h->time_ns))
		return false;
	if (!read_number(rest, "end", &h->pos) || !read_number(rest, "parent", &h->parent_pos))
		return false;
	if (h->number == 0 || h->epoch == 0 || h->pos == 0 || h->parent_pos >= h->pos ||
	    (h->number == 1) != (h->parent_pos == 0))
		return false;
	return read_named(rest, "checkpoint", &value) &&
	       read_pointer(value, h->pos, &h->checkpoint);
}

static int read_deltas(struct text *rest, struct head *h)
{
	log_pos above = 0;
	struct text line;

	while (text_line(rest, &line)) {
		struct block_ptr *delta = &h->deltas[h->n_deltas];

		if (!text_skip(&line, "delta "))
			return err_say(-ERR_VERSION,
				       "head %llu: this program does not know its line \"%.*s\"; "
				       "use a newer program",
				       (unsigned long long)h->number,
				       (int)(line.len < 64 ? line.len : 64), line.p);
		if (h->n_deltas == HEAD_DELTAS_MAX || !read_pointer(line, h->pos, delta) ||
		    delta->pos == 0 || delta->pos < above)
			return err_say(-ERR_FORMAT, "head %llu: malformed list of deltas",
				       (unsigned long long)h->number);
		above = delta->pos + delta->stored_len;
		h->n_deltas++;
	}
	return 0;
}

int head_decode(const void *note, size_t len, struct head *out)
{
	struct text text, signatures, line, name, value;
	int rc;

	*out = (struct head){0};
	if (!split_note(note, len, &text, &signatures))
		return err_say(-ERR_FORMAT, "head: not a signed note");
	if (!read_fixed(&text, out))
		return err_say(-ERR_FORMAT, "head: malformed");
	rc = read_deltas(&text, out);
	if (rc < 0)
		return rc;
	while (text_line(&signatures, &line))
		if (!read_signature_line(line, &name, &value))
			return err_say(-ERR_FORMAT, "head %llu: malformed signature line",
				       (unsigned long long)out->number);
	if (signatures.len > 0)
		return err_say(-ERR_FORMAT, "head %llu: cut short",
			       (unsigned long long)out->number);
	return 0;
}

int head_verify(const void *note, size_t len, const uint8_t public[SIGN_PUBLIC_LEN])
{
	uint8_t key_id[HEAD_KEY_ID_LEN], signature[HEAD_KEY_ID_LEN + SIGN_LEN];
	struct text text, rest, origin, signatures, line, name, value;
	bool verified = false;

	if (!split_note(note, len, &text, &signatures))
		return err_say(-ERR_TAMPERED, "head: not a signed note");
	rest = text;
	if (!text_line(&rest, &origin))
		return err_say(-ERR_TAMPERED, "head: not a signed note");
	head_key_id(origin, public, key_id);

	while (text_line(&signatures, &line)) {
		/* Another name, length or key: it is a witness's signature. */
		if (!read_signature_line(line, &name, &value) || name.len != origin.len ||
		    memcmp(name.p, origin.p, name.len) != 0 ||
		    !text_base64(value, signature, sizeof(signature)) ||
		    memcmp(signature, key_id, HEAD_KEY_ID_LEN) != 0)
			continue;
		if (crypto_sign_verify_detached(signature + HEAD_KEY_ID_LEN,
						(const uint8_t *)text.p, text.len, public) != 0)
			return err_say(-ERR_TAMPERED, "head: its signature is wrong");
		verified = true;
	}
	if (!verified)
		return err_say(-ERR_TAMPERED, "head: not signed by its epoch's writer");
	return 0;
}

void head_figures(const struct head *h, struct figures *f)
{
	figures_set(f, FIGURE_EPOCH, h->epoch);
	figures_set(f, FIGURE_HEAD_NUMBER, h->number);
	figures_set(f, FIGURE_HEAD_POSITION, h->pos);
	figures_set(f, FIGURE_HEAD_END, head_end(h));
	figures_set_time(f, FIGURE_HEAD_TIME, h->time_ns);
}
