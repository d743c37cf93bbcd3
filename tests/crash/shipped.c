/* See shipped.h. */

#include "shipped.h"

#include "err.h"
#include "ground.h"
#include "head.h"
#include "scan.h"
#include "storage_folder.h"
#include "store.h"
#include "vault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_MAX ((size_t)1 << 20)

static int take(void *ctx, const struct scan_block *b)
{
	struct shipped *s = ctx;
	struct shipped_block *sb;
	uint8_t *bytes = malloc(b->len);
	struct head h;

	s->blocks = realloc(s->blocks, (s->n_blocks + 1) * sizeof(*s->blocks));
	if (!s->blocks || !bytes)
		ground_die("no memory");
	memcpy(bytes, b->bytes, b->len);
	sb = &s->blocks[s->n_blocks++];
	*sb = (struct shipped_block){.pos = b->pos, .len = b->len, .bytes = bytes};
	if (b->frame.kind == BLOCK_HEAD) {
		if (head_decode(bytes + FRAME_LEN, b->len - FRAME_LEN, &h) < 0)
			ground_die("a head that is none");
		sb->head = s->heads = h.number;
		s->end = b->pos + b->len;
	}
	return SCAN_GO;
}

void shipped_load(struct shipped *s, const char *dir)
{
	struct scan_result result;
	struct store *st;
	int rc;

	memset(s, 0, sizeof(*s));
	rc = store_open(dir, 0, &st);
	if (rc == 0)
		rc = scan_blocks(store_storage(st), 0, take, s, &result);
	if (rc < 0)
		ground_die("%s: %s", dir, err_detail(rc));
	store_close(st);
	while (s->n_blocks > 0 && s->blocks[s->n_blocks - 1].head == 0)
		free((void *)s->blocks[--s->n_blocks].bytes);
}

void shipped_free(struct shipped *s)
{
	for (size_t i = 0; i < s->n_blocks; i++)
		free((void *)s->blocks[i].bytes);
	free(s->blocks);
}

static void no_cancel(void *ctx)
{
	(void)ctx;
}

/* Whole adjacent blocks from ${*i} on, up to and with a head. */
static int send_piece(const struct shipped *s, struct appender *a, size_t *i)
{
	size_t first = *i, n = first, len = 0;
	uint8_t *room;
	int rc;

	do {
		len += s->blocks[n++].len;
	} while (n < s->n_blocks && s->blocks[n - 1].head == 0 &&
		 s->blocks[n].pos == s->blocks[n - 1].pos + s->blocks[n - 1].len &&
		 s->blocks[n].pos % SEGMENT_SIZE != 0 && len + s->blocks[n].len <= PIECE_MAX);
	rc = appender_room(a, s->blocks[first].pos, len, &room);
	if (rc < 0)
		return rc;
	for (; *i < n; ++*i) {
		memcpy(room, s->blocks[*i].bytes, s->blocks[*i].len);
		room += s->blocks[*i].len;
	}
	return appender_take(a);
}

int shipped_send(const struct shipped *s, struct copy *copy, uint64_t upto,
		 unsigned heads_per_commit, void (*acked)(void *ctx, uint64_t head), void *ctx)
{
	struct appender_opening o = {.epoch = 1, .cancel = no_cancel};
	struct copy_committed committed;
	struct appender *a;
	unsigned heads = 0;
	uint64_t head;
	size_t i = 0;
	int rc;

	/*
	 * A copy that recovers first may then stand elsewhere than it said: as a home, ask again.
	 */
	for (unsigned tries = 0;; tries++) {
		copy_get_committed(copy, &committed);
		o.position = committed.end;
		o.head = head = committed.head;
		rc = appender_begin(copy, GROUND_OWNER, &o, &a);
		if (rc == 0)
			break;
		if (rc != -ERR_STALE || tries > 0)
			return rc;
	}
	if (acked && head > 0)
		acked(ctx, head);
	while (i < s->n_blocks && s->blocks[i].pos < committed.end)
		i++;
	while (rc == 0 && head < upto) {
		rc = send_piece(s, a, &i);
		if (rc == 0 && s->blocks[i - 1].head != 0) {
			head = s->blocks[i - 1].head;
			heads++;
		}
		if (rc == 0 && heads > 0 && (heads == heads_per_commit || head == upto)) {
			heads = 0;
			rc = appender_commit(a, &committed);
			if (rc == 0 && acked)
				acked(ctx, committed.head);
		}
	}
	appender_end(a);
	return rc;
}

bool shipped_holds(const struct shipped *s, struct copy *copy)
{
	struct copy_committed committed;
	uint64_t end = 0;
	uint8_t *buf = malloc(BLOCK_STORED_MAX);

	copy_get_committed(copy, &committed);
	for (size_t i = 0; i < s->n_blocks && s->blocks[i].pos < committed.end; i++) {
		const struct shipped_block *b = &s->blocks[i];
		int rc = copy_read(copy, b->pos, b->len, buf);

		if (rc < 0 || memcmp(buf, b->bytes, b->len) != 0) {
			fprintf(stderr, "block at %llu: %s\n", (unsigned long long)b->pos,
				rc < 0 ? err_detail(rc) : "differs");
			free(buf);
			return false;
		}
		end = b->pos + b->len;
	}
	free(buf);
	if (end != committed.end)
		fprintf(stderr, "the copy ends at %llu, which is no head's end\n",
			(unsigned long long)committed.end);
	return end == committed.end;
}

bool shipped_folder_holds(const struct shipped *s, const char *dir, uint64_t upto)
{
	uint8_t *buf = malloc(BLOCK_STORED_MAX);
	struct store *st;
	int rc = store_open(dir, 0, &st);

	if (rc < 0 || !buf)
		ground_die("%s: %s", dir, err_detail(rc));
	for (size_t i = 0; rc == 0 && i < s->n_blocks && upto > 0; i++) {
		const struct shipped_block *b = &s->blocks[i];

		rc = store_read(st, b->pos, b->len, buf);
		if (rc == 0 && memcmp(buf, b->bytes, b->len) != 0)
			rc = -ERR_DAMAGED;
		if (b->head == upto)
			break;
	}
	store_close(st);
	free(buf);
	return rc == 0;
}

int shipped_open_vault(const char *dir, struct vault **out)
{
	struct storage_pool *pool;
	int rc = storage_folder_open(dir, &pool);

	return rc < 0 ? rc : vault_open(pool, out);
}
