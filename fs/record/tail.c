/**
 * Where the log ends: torn tail or damage?
 *
 * A crash leaves bytes behind the last whole block; they were never promised, and are cut off.
 * Damage leaves such bytes too; they were promised, and must stay.  The two are told apart by what
 * the log itself holds and by what a catalog positively knows.  That a catalog is there, missing,
 * old or just rebuilt is no evidence: whoever opens the log after a refusal decides as the first
 * one did.
 *
 * E is where the walk ended, in the last segment (or, if that has no block, its start).  The first
 * row that fits decides:
 *
 *  at     evidence                                           verdict   why
 *  -----  -------------------------------------------------  --------  ---------------------------
 *  both   the newest head of a catalog is not in the log     damaged   heads are durable before
 *                                                                      they are catalogued (1)
 *  both   the head in newest-head is newer than all in the   damaged   it was durable before it was
 *         log                                                          written down (4)
 *  both   a block of a segment that has a successor was      damaged   a segment is finished,
 *         refused                                                      durably, before the next is
 *                                                                      begun
 *  both   bytes are gone below E that no head before E       damaged   only what a durable head
 *         covers, or behind E                                          covers can be gone: E is no
 *                                                                      end, or what stands for them
 *                                                                      is wrong
 *  home   the file is shorter than a segment (it was         damaged   it was cut, durably, at its
 *         closed) and goes on behind E, or has no block                last block when closed
 *         at all
 *  both   nothing but zeros behind E                         nothing   allocated ahead, or never
 *                                                                      written
 *  both   bytes lie at E, and no sector of what is suspect   damaged   power stops writes between
 *         can be unwritten                                             sectors (2)
 *  home   a signed head lies behind E                        damaged   it was signed over durable
 *                                                                      bytes only
 *  copy   the same, and the catalog is not whole             damaged   it may be acknowledged
 *  copy   the same, and the catalog is whole                 torn      one commit's bytes reach the
 *                                                                      disk in any order (3)
 *  both   anything else                                      torn
 *
 * (1) tail_check_known().
 * (2) A sector of 512 bytes is written whole or not at all, and one that was not reads as zeros.
 *     A last page that is written twice ends at a block's end both times.  Suspect is the block
 *     at E; or, where a head at E has another Merkle root than what was read, all since the head
 *     before it.
 * (3) The catalog's newest heads may be lost with power, and then such a head may be acknowledged
 *     after all; the home, which signed it, still has it.
 * (4) tail_check_noted().
 *
 * What can't be proven: bytes that turned to zeros behind the newest head look like bytes that were
 * never written, even if blocks that a later fsync covered lie behind them.  For the blocks of one
 * sync reach the disk in any order, and no block says what was durable before it.  A head follows
 * each second, so at most about a second's blocks are at stake.
 * Nor is there a trace of a last segment that was lost with its file, unless a catalog or
 * newest-head knows a head in it.  If the catalog was lost too, that leaves unnoticed at most the
 * last minute of a home that was not closed.
 */

#include "tail.h"

#include "catalog.h"
#include "frame.h"
#include "history.h"
#include "holes.h"
#include "judge.h"
#include "storage.h"

#include "err.h"
#include "when.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_LEN ((size_t)1 << 20)
#define SECTOR_LEN 512u
/* Fewer zeros than this at a sector's end may be the block's own. */
#define ZEROS_MIN 8u

typedef unsigned long long ull;

struct tail {
	const struct params *params;
	struct storage *storage;
	segment_no last;	       /* the segment */
	log_pos from, file_end;	       /* E, and where its file ends */
	log_pos suspect;	       /* at or below E */
	const char *reason;	       /* why the walk refused the block at E; NULL: none */
};

#define HEAL_COPY                                                                                  \
	"stop the server and heal the folder with 'embassy check FOLDER --log-only --repair "      \
	"--from' another copy"
#define HEAL_HOME "heal it with 'embassy check VOLUME --repair --from' an embassy or another copy"
#define PARTIAL "what is whole can be mounted with -o partial"
#define COPIED_IN_USE                                                                              \
	"if this folder was copied while it was in use, copy it again when it is not; else "

static const char *way_out(const struct storage *st)
{
	return st->is_copy ? HEAL_COPY : HEAL_HOME "; " PARTIAL;
}

/* The same for a log that is older than what is known of it; nothing in it need be damaged. */
static const char *way_out_of_loss(const struct storage *st)
{
	return st->is_copy ? COPIED_IN_USE HEAL_COPY
		       ", or move it away, and its home sends all again"
			   : COPIED_IN_USE HEAL_HOME ", or give up what is missing with 'embassy "
						     "check VOLUME --repair --cut "
						     "POSITION'; " PARTIAL;
}

static int refuse(const struct tail *t, const char *why, const char *way)
{
	return err_say(-ERR_DAMAGED,
		       "segment %016llx: damage at position %llu, no tail of a crash: %s%s%s%s; "
		       "nothing was cut off; %s",
		       (ull)t->last, (ull)t->from, why, t->reason ? " (" : "",
		       t->reason ? t->reason : "", t->reason ? ")" : "", way);
}

/* Read the ${len} bytes at ${pos}; where the file has ended, zeros. */
static int read_padded(const struct tail *t, log_pos pos, size_t len, uint8_t *out)
{
	uint64_t left = pos < t->file_end ? t->file_end - pos : 0;
	size_t n = left < len ? (size_t)left : len;

	memset(out + n, 0, len - n);
	return n > 0 ? storage_read(t->storage, pos, n, out) : 0;
}

/* Whether the first byte is zero, and each is like the one before it: as fast as libc compares. */
static bool all_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* The position after the last byte from E on that is not zero; E if there is none. */
static int find_last_byte(const struct tail *t, log_pos *out)
{
	uint8_t *buf = malloc(WINDOW_LEN);
	int rc = buf ? 0 : -ENOMEM;

	*out = t->from;
	for (log_pos pos = t->from; rc == 0 && pos < t->file_end; pos += WINDOW_LEN) {
		size_t n = WINDOW_LEN;

		rc = read_padded(t, pos, n, buf);
		if (rc < 0 || all_zero(buf, n))
			continue;
		while (n > SECTOR_LEN && all_zero(buf + n - SECTOR_LEN, SECTOR_LEN))
			n -= SECTOR_LEN;
		while (buf[n - 1] == 0)
			n--;
		*out = pos + n;
	}
	free(buf);
	return rc;
}

/*
 * How far the block at E reaches.  Without a whole frame nothing says how long the block is; then
 * only its frame counts.
 */
static int find_block_end(const struct tail *t, log_pos *out)
{
	uint64_t left = segment_start(t->last) + SEGMENT_SIZE - t->from;
	uint8_t bytes[FRAME_LEN];
	struct frame f;
	int rc;

	*out = t->from + (left < FRAME_LEN ? left : FRAME_LEN);
	if (left < FRAME_LEN)
		return 0;
	rc = read_padded(t, t->from, FRAME_LEN, bytes);
	if (rc == 0 && frame_decode(bytes, t->from, &f) == 0 && FRAME_LEN + f.body_len <= left)
		*out = t->from + FRAME_LEN + f.body_len;
	return rc;
}

/* Whether any suspect sector below ${end} can be one that was never written. */
static int may_be_unwritten(const struct tail *t, log_pos end, bool *out)
{
	uint8_t sector[SECTOR_LEN];
	int rc = 0;

	*out = false;
	for (log_pos at = t->suspect; rc == 0 && !*out && at < end;) {
		size_t n = (size_t)(SECTOR_LEN - at % SECTOR_LEN), zeros;

		if (n > end - at)
			n = (size_t)(end - at);
		zeros = n < ZEROS_MIN ? n : ZEROS_MIN;
		rc = read_padded(t, at, n, sector);
		*out = rc == 0 && all_zero(sector + n - zeros, zeros);
		at += n;
		/* A write that was cut short may have stopped inside the last sector. */
		if (rc == 0 && at == end && sector[n - 1] == 0)
			*out = true;
	}
	return rc;
}

static int take_first(void *ctx, const struct head *h)
{
	*(struct head *)ctx = *h;
	return 1;
}

static int judge_rest(const struct tail *t, bool acknowledged)
{
	struct head head;
	char why[160];
	log_pos end;
	bool unwritten;
	int rc = find_block_end(t, &end);

	if (rc == 0)
		rc = may_be_unwritten(t, end, &unwritten);
	if (rc == 0 && !unwritten)
		return refuse(t, "what lies there was written whole, and is not what was written",
			      way_out(t->storage));
	if (rc < 0 || (acknowledged && t->storage->is_copy))
		return rc;
	rc = head_search(t->params, t->storage, t->from, t->file_end, take_first, &head);
	if (rc <= 0)
		return rc;
	snprintf(why, sizeof(why), "head %llu at %llu covers it", (ull)head.number, (ull)head.pos);
	return refuse(t, why, way_out(t->storage));
}

int tail_judge(const struct params *params, struct storage *st, struct tail_end *out)
{
	struct tail t = {.params = params, .storage = st};
	uint64_t size;
	log_pos start, last_byte;
	bool closed;
	int rc = storage_last(st, &t.last);

	out->torn_bytes = 0;
	t.reason = out->why && *out->why ? out->why : NULL;
	if (rc == 0)
		rc = storage_size(st, t.last, &size);
	if (rc < 0)
		return rc == -ERR_ABSENT ? 0 : rc;
	if (t.reason && segment_of(out->refused) < t.last) {
		t.last = segment_of(out->refused);
		t.from = out->refused;
		return refuse(&t, "a segment is whole before the next is begun", way_out(st));
	}
	start = segment_start(t.last);
	t.from = out->end > start ? out->end : start;
	assert(out->suspect <= out->end);
	t.suspect = out->suspect > start ? out->suspect : start;
	t.file_end = start + (size < SEGMENT_SIZE ? size : SEGMENT_SIZE);
	if (out->n_gone > 0)
		return refuse(&t, "bytes before it are gone, and no head proves what stands for them",
			      way_out(st));
	if (st->holes && holes_from(st->holes, t.from) < st->holes->n)
		return refuse(&t, "bytes behind it are gone, which a head covered", way_out(st));
	closed = !st->is_copy && size < SEGMENT_SIZE;
	if (closed && (t.from < t.file_end || t.from == start))
		return refuse(&t, "the file was closed at its last block, and no block lies there",
			      way_out(st));
	if (t.from >= t.file_end)
		return 0;
	rc = find_last_byte(&t, &last_byte);
	if (rc == 0 && last_byte > t.from) {
		out->torn_bytes = last_byte - t.from;
		rc = judge_rest(&t, out->acknowledged);
	}
	/* The log's writer cut it meanwhile, and had decided by itself. */
	return rc == -ERR_ABSENT ? 0 : rc;
}

struct tail_end tail_of_history(const struct history *h, const char *why, log_pos refused)
{
	struct tail_end t = {.end = h->end,
			     .suspect = h->end,
			     .n_gone = h->n_gone,
			     .why = why,
			     .refused = refused};

	if (h->root_differs)
		t.suspect = h->head.number > 0 ? head_end(&h->head) : 0;
	return t;
}

static int is_known(void *ctx, const struct head *h)
{
	const struct head_ref *known = ctx;

	return h->pos == known->pos && h->number == known->number;
}

/* Whether the log holds it all the same, and the catalog has its length or time wrong. */
static int find_known(const struct params *params, struct storage *st, const struct head_ref *known)
{
	struct head_ref ref = *known;

	return head_search(params, st, ref.pos, ref.pos + HEAD_BLOCK_MAX, is_known, &ref);
}

int tail_check_known(const struct params *params, struct storage *st, const struct head_ref *known)
{
	struct tail t = {.params = params,
			 .storage = st,
			 .last = segment_of(known->pos),
			 .from = known->pos};
	struct head head;
	char why[200], reason[200];
	int rc;

	/* No head is so long: the catalog is wrong. */
	if (known->stored_len > HEAD_BLOCK_MAX)
		return 0;
	rc = history_read_head(params, st, known, &head, NULL);
	if (rc != -ERR_DAMAGED && rc != -ERR_TAMPERED && rc != -ERR_ABSENT)
		return rc;
	snprintf(reason, sizeof(reason), "%s", err_detail(rc));
	rc = find_known(params, st, known);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	t.reason = reason;
	snprintf(why, sizeof(why), "head %llu is in the catalog, but not in the log",
		 (ull)known->number);
	return refuse(&t, why, way_out_of_loss(st));
}

int tail_check_noted(const struct storage *st, const struct head *noted, head_no found)
{
	char time[WHEN_TEXT_LEN];

	if (noted->number <= found)
		return 0;
	when_format_seconds(noted->time_ns, time);
	return err_say(
		-ERR_DAMAGED,
		"the log ends with head %llu, but head %llu of %s was here, in segment %016llx, "
		"as the folder's newest-head tells: what lies between is missing; nothing was "
		"cut off; %s",
		(ull)found, (ull)noted->number, time, (ull)segment_of(noted->pos),
		way_out_of_loss(st));
}
