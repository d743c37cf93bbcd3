/*
 * Recovery: where does the log end, and what lies after its newest head?
 *
 * Key idea: blocks after the newest head are walked and opened with their keys.  The first that
 * fails in the last segment is where a crash tore the log, since what is durable is whole, and
 * the log is cut there.  But a head is signed only over durable bytes: if a signed head lies
 * behind the failure, no crash did this, and nothing is touched.
 *
 * Invariants:
 *  - The log is changed only after all checks are done, and only past its end.
 *  - No block that a signed head covers is ever cut off.
 *  - What counts as the log afterwards is durable before anyone builds on it.
 */

#include "catalog.h"
#include "compress.h"
#include "err.h"
#include "frame.h"
#include "log.h"
#include "log_internal.h"
#include "params.h"
#include "scan.h"
#include "seal.h"
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_BLOCK_MAX (FRAME_LEN + HEAD_NOTE_MAX)
#define REST_CHUNK ((size_t)1 << 20)

struct pointers {
	struct block_ptr *p;
	size_t n, cap;
};

struct recovery {
	const struct log_config *cfg;
	struct store *store;
	struct catalog *catalog;
	struct history *hist;
	struct pointers deltas, checkpoints;
	uint64_t last;		 /* the last segment */
	bool rebuilt;		 /* the catalog was, so nothing says which head was the newest */
	struct segment_key *key; /* of key_segment; NULL: none yet */
	uint64_t key_segment;
	uint8_t *plain; /* BLOCK_PLAIN_MAX bytes */
};

static int add_pointer(struct pointers *list, const struct block_ptr *ptr)
{
	size_t cap = list->cap ? 2 * list->cap : 64;
	void *p;

	if (list->n == list->cap) {
		p = realloc(list->p, cap * sizeof(*list->p));
		if (!p)
			return -ENOMEM;
		list->p = p;
		list->cap = cap;
	}
	list->p[list->n++] = *ptr;
	return 0;
}

static int set_key(struct recovery *r, const uint8_t header[SEGMENT_BLOCK_LEN], uint64_t number)
{
	struct segment_header h;
	struct segment_key *key;
	int rc;

	rc = segment_header_decode(header, number, &h);
	if (rc == 0)
		rc = segment_key_new(r->cfg->log_key, &h, &key);
	if (rc < 0)
		return rc;
	segment_key_free(r->key);
	r->key = key;
	r->key_segment = number;
	return 0;
}

/* The walk may begin in the middle of a segment. */
static int ensure_key(struct recovery *r, uint64_t number)
{
	uint8_t header[SEGMENT_BLOCK_LEN];
	int rc;

	if (r->key && r->key_segment == number)
		return 0;
	rc = store_read(r->store, segment_start(number), sizeof(header), header);
	return rc < 0 ? rc : set_key(r, header, number);
}

/* Open a sealed block and find its plaintext's length. */
static int open_sealed(struct recovery *r, const struct scan_block *b, uint32_t *out_plain_len)
{
	size_t len;
	int rc;

	rc = ensure_key(r, segment_of(b->pos));
	if (rc == 0)
		rc = seal_open(r->key, b->pos, &b->frame, b->bytes, r->plain);
	if (rc < 0)
		return rc;
	len = opened_len(b->frame.body_len, b->frame.flags);
	if (b->frame.flags & BLOCK_FLAG_ZSTD)
		return compress_plain_len(r->plain, len, out_plain_len);
	*out_plain_len = (uint32_t)len;
	return 0;
}

static int judge_block(struct recovery *r, const struct scan_block *b, bool *out_is_head,
		       uint32_t *out_plain_len)
{
	int rc = 0;

	*out_plain_len = 0;
	if (!block_kind_is_clear(b->frame.kind))
		rc = open_sealed(r, b, out_plain_len);
	if (rc == 0)
		rc = history_step(r->hist, b, out_is_head);
	if (rc == 0 && b->frame.kind == BLOCK_SEGMENT)
		rc = set_key(r, b->bytes, segment_of(b->pos));
	return rc;
}

static int take_block(void *ctx, const struct scan_block *b)
{
	struct recovery *r = ctx;
	struct block_ptr ptr = {.pos = b->pos, .stored_len = (uint32_t)b->len};
	bool is_head = false;
	int rc;

	rc = judge_block(r, b, &is_head, &ptr.plain_len);
	if ((rc == -ERR_DAMAGED || rc == -ERR_TAMPERED || rc == -ERR_FORMAT) &&
	    segment_of(b->pos) == r->last)
		return SCAN_STOP;
	if (rc == -ERR_DAMAGED)
		return err_say(rc, "segment %016llx: the block at %llu is not what was written",
			       (unsigned long long)segment_of(b->pos), (unsigned long long)b->pos);
	if (rc < 0)
		return rc;

	if (is_head) {
		r->deltas.n = r->checkpoints.n = 0;
		return history_commit(r->hist, r->catalog);
	}
	if (b->frame.kind == BLOCK_DELTA)
		return add_pointer(&r->deltas, &ptr);
	if (b->frame.kind == BLOCK_CHECKPOINT)
		return add_pointer(&r->checkpoints, &ptr);
	return SCAN_GO;
}

/* Whether the bytes at ${pos} are a head that this volume's writer signed. */
static bool is_signed_head(const struct recovery *r, uint64_t pos, const uint8_t *bytes, size_t len)
{
	const uint8_t *writer;
	struct frame f;
	struct head h;

	if (len < FRAME_LEN || frame_decode(bytes, pos, &f) < 0 || f.kind != BLOCK_HEAD ||
	    f.body_len > len - FRAME_LEN || head_decode(bytes + FRAME_LEN, f.body_len, &h) < 0)
		return false;
	writer = params_writer(r->cfg->params, h.epoch);
	return h.pos == pos && writer && head_verify(bytes + FRAME_LEN, f.body_len, writer) == 0;
}

/* A head's note begins with its origin, so heads can be found without walking blocks. */
static bool find_signed_head(const struct recovery *r, uint64_t pos, const uint8_t *bytes,
			     size_t len, uint64_t *out_pos)
{
	char origin[16 + VOLUME_ID_TEXT_LEN] = "embassyfs/";
	const uint8_t *at = bytes, *hit;
	size_t origin_len;

	volume_id_format(r->cfg->params->id, origin + strlen(origin));
	strcat(origin, "\n");
	origin_len = strlen(origin);
	while ((hit = memmem(at, len - (size_t)(at - bytes), origin, origin_len)) != NULL) {
		size_t off = (size_t)(hit - bytes);

		at = hit + 1;
		if (off < FRAME_LEN)
			continue;
		off -= FRAME_LEN;
		if (is_signed_head(r, pos + off, bytes + off, len - off)) {
			*out_pos = pos + off;
			return true;
		}
	}
	return false;
}

/*
 * Look through what lies after the end in the last segment: refuse if a signed head is there,
 * and count the bytes up to the last that is not zero.
 */
static int inspect_rest(const struct recovery *r, uint64_t end, uint64_t file_end,
			uint64_t *out_dropped)
{
	size_t keep = 0, n, i;
	uint64_t pos = end, head_pos;
	uint8_t *buf;
	int rc = 0;

	*out_dropped = 0;
	buf = malloc(HEAD_BLOCK_MAX + REST_CHUNK);
	if (!buf)
		return -ENOMEM;
	/* Each round keeps the last bytes of the one before, so that no head is cut in two. */
	for (; rc == 0 && pos < file_end; pos += n) {
		n = file_end - pos < REST_CHUNK ? file_end - pos : REST_CHUNK;
		rc = store_read(r->store, pos, n, buf + keep);
		if (rc < 0)
			break;
		for (i = n; i > 0 && buf[keep + i - 1] == 0; i--)
			;
		if (i > 0)
			*out_dropped = pos + i - end;
		if (find_signed_head(r, pos - keep, buf, keep + n, &head_pos))
			rc = err_say(-ERR_DAMAGED,
				     "segment %016llx: the bytes at %llu are not what was written, "
				     "though the head at %llu covers them; restore the segment "
				     "from an embassy",
				     (unsigned long long)r->last, (unsigned long long)end,
				     (unsigned long long)head_pos);
		i = keep + n < HEAD_BLOCK_MAX ? keep + n : HEAD_BLOCK_MAX;
		memmove(buf, buf + keep + n - i, i);
		keep = i;
	}
	free(buf);
	return rc;
}

/* Cut the last segment where the log ends, durably. */
static int cut_tail(struct recovery *r, uint64_t end, uint64_t *out_dropped)
{
	uint64_t start = segment_start(r->last), size;
	int rc;

	rc = store_size(r->store, r->last, &size);
	if (rc < 0)
		return rc;
	rc = inspect_rest(r, end > start ? end : start, start + size, out_dropped);
	if (rc < 0)
		return rc;
	if (end <= start)
		return store_remove(r->store, r->last);
	if (size != end - start)
		return store_truncate(r->store, r->last, end - start);
	return 0;
}

/* The catalog holds durable heads only.  If its newest is not in the log, the log has lost it. */
static int check_known_head(struct recovery *r, const struct head_ref *known)
{
	uint8_t block[HEAD_BLOCK_MAX];
	int rc;

	if (known->stored_len > sizeof(block))
		return 0; /* no head is so long: the catalog is at fault */
	rc = store_read(r->store, known->pos, known->stored_len, block);
	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	if (rc == 0 && is_signed_head(r, known->pos, block, known->stored_len))
		return 0;
	return err_say(-ERR_DAMAGED,
		       "%s: head %llu at %llu is in the catalog, but not in the log; restore the "
		       "log from an embassy, or remove the catalog to go on without that head",
		       r->cfg->volume_dir, (unsigned long long)known->number,
		       (unsigned long long)known->pos);
}

static int rebuild_catalog(struct recovery *r)
{
	const struct log_config *cfg = r->cfg;
	int rc;

	r->rebuilt = true;
	rc = store_settle(r->store, 0);
	if (rc < 0)
		return rc;
	catalog_close(r->catalog);
	r->catalog = NULL;
	history_release(r->hist);
	history_init(r->hist, cfg->params);
	rc = catalog_rebuild(cfg->volume_dir, cfg->params, r->store, NULL, NULL);
	if (rc == 0)
		rc = catalog_open(cfg->volume_dir, cfg->params->id, CATALOG_WRITE, &r->catalog);
	return rc < 0 ? rc : history_resume(r->hist, r->catalog, r->store);
}

/* Stand at the newest head that the catalog knows, making the catalog anew if it is no use. */
static int resume(struct recovery *r)
{
	const struct log_config *cfg = r->cfg;
	struct head_ref known = {0};
	int rc;

	/* On a full disk the spare makes the room that opening the catalog takes. */
	do
		rc = catalog_open(cfg->volume_dir, cfg->params->id, CATALOG_WRITE, &r->catalog);
	while (rc == -ENOSPC && store_shrink_spare(r->store, 0));
	if (rc == -ERR_DAMAGED)
		return rebuild_catalog(r);
	if (rc == 0)
		rc = history_resume(r->hist, r->catalog, r->store);
	if (rc != -ERR_DAMAGED)
		return rc;
	if (catalog_newest(r->catalog, &known) < 0)
		return rebuild_catalog(r);
	rc = check_known_head(r, &known);
	return rc < 0 ? rc : rebuild_catalog(r);
}

/* Without a catalog, only the file can tell a torn tail from a newest head that is damaged. */
static int check_closed(struct recovery *r, uint64_t end)
{
	uint64_t start = segment_start(r->last), size;
	bool may_be_torn = true;
	int rc;

	if (!r->rebuilt)
		return 0;
	rc = store_size(r->store, r->last, &size);
	if (rc == 0)
		rc = history_may_be_torn(r->cfg->volume_dir, r->store, &may_be_torn);
	if (rc < 0 || may_be_torn || start + size <= end)
		return rc;
	return err_say(-ERR_DAMAGED,
		       "segment %016llx: its file was closed at its last block, but no block lies "
		       "at position %llu; restore it with 'embassy check --repair --from'",
		       (unsigned long long)r->last, (unsigned long long)end);
}

static int walk(struct recovery *r, struct log_tail *tail)
{
	struct scan_result result;
	int rc;

	tail->dropped_bytes = 0;
	rc = store_last(r->store, &r->last);
	if (rc == -ERR_ABSENT)
		return 0;
	/* Heads that are found go into the catalog, which must not be newer than the disk. */
	if (rc == 0)
		rc = store_settle(r->store, r->hist->end);
	if (rc == 0)
		rc = scan_blocks(r->store, r->hist->end, take_block, r, &result);
	if (rc == 0)
		rc = check_closed(r, r->hist->end);
	return rc < 0 ? rc : cut_tail(r, r->hist->end, &tail->dropped_bytes);
}

int log_recover(const struct log_config *cfg, struct store *store, struct catalog **out_catalog,
		struct history *hist, struct log_tail *tail)
{
	struct recovery r = {.cfg = cfg, .store = store, .hist = hist};
	int rc = -ENOMEM;

	history_init(hist, cfg->params);
	r.plain = malloc(BLOCK_PLAIN_MAX);
	if (r.plain)
		rc = resume(&r);
	/* An empty catalog may be one that was lost. */
	if (hist->head.number == 0)
		r.rebuilt = true;
	if (rc == 0)
		rc = walk(&r, tail);
	free(r.plain);
	segment_key_free(r.key);
	if (rc < 0) {
		free(r.deltas.p);
		free(r.checkpoints.p);
		catalog_close(r.catalog);
		return rc;
	}

	*out_catalog = r.catalog;
	tail->head = hist->head;
	tail->end = hist->end;
	tail->deltas = r.deltas.p;
	tail->n_deltas = r.deltas.n;
	tail->checkpoints = r.checkpoints.p;
	tail->n_checkpoints = r.checkpoints.n;
	return 0;
}
