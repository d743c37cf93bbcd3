/*
 * Deltas and checkpoints as stored bytes: proto/FORMAT.md, "Delta" and "Checkpoint".
 */

#include "delta.h"

#include "blocks.h"
#include "buf.h"
#include "bytes.h"
#include "err.h"

#define DELTA_VERSION 1u
#define CHECKPOINT_VERSION 1u

static int add_counts(struct buf *out, const struct volume_counts *c)
{
	int rc = buf_add_le64(out, c->next_ino);

	if (rc == 0)
		rc = buf_add_le64(out, c->inodes);
	if (rc == 0)
		rc = buf_add_le64(out, c->bytes);
	return rc;
}

static struct volume_counts take_counts(struct reader *r)
{
	struct volume_counts c;

	c.next_ino = reader_le64(r);
	c.inodes = reader_le64(r);
	c.bytes = reader_le64(r);
	return c;
}

int delta_begin(struct buf *out, const struct delta *d)
{
	int rc = buf_reserve(out, DELTA_HEADER_LEN);

	if (rc == 0)
		rc = buf_add_le32(out, DELTA_VERSION);
	if (rc == 0)
		rc = buf_add_le32(out, 0);
	if (rc == 0)
		rc = buf_add_le64(out, d->first_seq);
	if (rc == 0)
		rc = buf_add_le64(out, d->last_seq);
	if (rc == 0)
		rc = add_counts(out, &d->counts);
	return rc;
}

int delta_decode(const void *plain, size_t len, struct delta *out)
{
	struct reader r = reader_of(plain, len);
	uint32_t version = reader_le32(&r);
	uint32_t zero = reader_le32(&r);

	if (!r.bad && version > DELTA_VERSION)
		return err_say(-ERR_VERSION, "a delta has version %u, this program knows %u",
			       version, DELTA_VERSION);
	out->first_seq = reader_le64(&r);
	out->last_seq = reader_le64(&r);
	out->counts = take_counts(&r);
	out->records = r.p;
	out->records_len = r.left;
	if (r.bad || version == 0 || zero != 0 || out->first_seq > out->last_seq)
		return err_say(-ERR_DAMAGED, "a delta's header is malformed");
	return 0;
}

void checkpoint_encode(const struct checkpoint *c, uint8_t out[CHECKPOINT_LEN])
{
	put_le32(out, CHECKPOINT_VERSION);
	put_le32(out + 4, c->root.height);
	put_le64(out + 8, c->covers_seq);
	put_le64(out + 16, c->from_head);
	put_le64(out + 24, c->counts.next_ino);
	put_le64(out + 32, c->counts.inodes);
	put_le64(out + 40, c->counts.bytes);
	put_le64(out + 48, c->root.ptr.pos);
	put_le32(out + 56, c->root.ptr.stored_len);
	put_le32(out + 60, c->root.ptr.plain_len);
	put_le64(out + 64, 0);
}

static int checkpoint_decode(const uint8_t *plain, size_t len, struct checkpoint *out)
{
	struct reader r = reader_of(plain, len);
	uint32_t version = reader_le32(&r);

	if (!r.bad && version > CHECKPOINT_VERSION)
		return err_say(-ERR_VERSION, "a checkpoint has version %u, this program knows %u",
			       version, CHECKPOINT_VERSION);
	out->root.height = reader_le32(&r);
	out->covers_seq = reader_le64(&r);
	out->from_head = reader_le64(&r);
	out->counts = take_counts(&r);
	out->root.ptr.pos = reader_le64(&r);
	out->root.ptr.stored_len = reader_le32(&r);
	out->root.ptr.plain_len = reader_le32(&r);
	if (reader_le64(&r) != 0 || r.bad || r.left != 0 || version == 0 ||
	    out->root.height > TREE_HEIGHT_MAX ||
	    (out->root.height == 0) != (out->root.ptr.pos == 0))
		return err_say(-ERR_DAMAGED, "a checkpoint is malformed");
	return 0;
}

int checkpoint_read(struct blocks *b, const struct block_ptr *ptr, struct checkpoint *out)
{
	uint8_t plain[CHECKPOINT_LEN];
	int rc;

	if (ptr->plain_len != CHECKPOINT_LEN)
		return err_say(-ERR_DAMAGED, "the checkpoint at position %llu has a wrong length",
			       (unsigned long long)ptr->pos);
	rc = blocks_read(b, ptr, BLOCK_CHECKPOINT, plain);
	if (rc < 0)
		return rc;
	rc = checkpoint_decode(plain, sizeof(plain), out);
	if (rc < 0)
		return rc;
	if (out->root.ptr.pos >= ptr->pos)
		return err_say(-ERR_DAMAGED, "the checkpoint at position %llu points above itself",
			       (unsigned long long)ptr->pos);
	return 0;
}
