/* The judge of heads: each kind of lie is told from the truth, and changes nothing. */

#include "history.h"

#include "catalog.h"
#include "err.h"
#include "store.h"
#include "synthetic_log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct synthetic_log *s;
static struct history h;

/* A segment of epoch 1, a block, a head, a block: the next thing may be a head. */
static void step_new(void)
{
	bool is_head;

	cr_assert_eq(history_step(&h, &s->block, &is_head), 0, "%s", err_detail(-ERR_TAMPERED));
	cr_assert_eq(is_head, s->block.frame.kind == BLOCK_HEAD);
	synthetic_take(s);
	cr_assert_eq(h.end, s->pos);
	cr_assert_eq(h.merkle.n, s->merkle.n);
}

static void step_data(void)
{
	synthetic_make_data(s, 100);
	step_new();
}

static void step_segment(void)
{
	synthetic_make_segment(s);
	step_new();
}

static void step_head(void)
{
	struct head head = synthetic_next_head(s);

	synthetic_make_head(s, &head, s->writer_secret[head.epoch - 1]);
	head.stored_len = (uint32_t)s->block.len;
	step_new();
	s->newest = head;
	cr_assert_eq(h.head.number, head.number);
	cr_assert_eq(h.head.stored_len, head.stored_len);
}

static void setup(void)
{
	s = calloc(1, sizeof(*s));
	cr_assert_not_null(s);
	synthetic_log_init(s);
	history_init(&h, &s->params);
	step_segment();
	step_data();
	step_head();
	step_data();
}

static void teardown(void)
{
	history_release(&h);
	synthetic_log_release(s);
	free(s);
}

TestSuite(history, .init = setup, .fini = teardown);

/* s->block is refused with ${want}, and nothing has changed: the right head still passes. */
static void assert_refused(int want, const char *why)
{
	uint64_t n = h.merkle.n, end = h.end;
	size_t n_leaves = h.n_leaves;
	bool is_head;

	cr_assert_eq(history_step(&h, &s->block, &is_head), want);
	cr_assert_not(is_head);
	if (why)
		cr_assert_not_null(strstr(err_detail(want), why), "%s", err_detail(want));
	cr_assert_eq(h.merkle.n, n);
	cr_assert_eq(h.end, end);
	cr_assert_eq(h.n_leaves, n_leaves);
}

static void refuse_head(const struct head *head, const char *why)
{
	synthetic_make_head(s, head, s->writer_secret[0]);
	assert_refused(-ERR_TAMPERED, why);
}

Test(history, lies_of_a_head)
{
	const struct head right = synthetic_next_head(s);
	struct head lie = right;

	lie.number++;
	refuse_head(&lie, "number");
	lie = right;
	lie.parent_pos -= 1;
	refuse_head(&lie, "parent");
	lie = right;
	lie.time_ns = s->newest.time_ns;
	refuse_head(&lie, "time");
	lie.time_ns--;
	refuse_head(&lie, "time");
	lie = right;
	lie.root[5] ^= 1;
	refuse_head(&lie, "root");
	lie = right;
	lie.n_blocks--;
	refuse_head(&lie, "blocks");
	lie.n_blocks += 2;
	refuse_head(&lie, "blocks");
	lie = right;
	lie.pos++;
	refuse_head(&lie, "says that it is at");
	lie = right;
	lie.volume[0] ^= 1;
	refuse_head(&lie, "volume");
	lie = right;
	lie.epoch = 9;
	refuse_head(&lie, "epoch 9");
	step_head();
}

Test(history, lies_of_epoch_and_signature)
{
	struct head head = synthetic_next_head(s);

	/* Another writer's signature. */
	synthetic_make_head(s, &head, s->writer_secret[1]);
	assert_refused(-ERR_TAMPERED, NULL);
	/* Signed by the writer of the epoch it names, in a segment of another. */
	head.epoch = 2;
	synthetic_make_head(s, &head, s->writer_secret[1]);
	assert_refused(-ERR_TAMPERED, "epoch");
	step_head();

	/* The next epoch takes over with a segment of its own, and the one before is fenced. */
	s->epoch = 2;
	step_segment();
	step_data();
	head = synthetic_next_head(s);
	head.epoch = 1;
	synthetic_make_head(s, &head, s->writer_secret[0]);
	assert_refused(-ERR_TAMPERED, "epoch");
	step_head();
	s->epoch = 1;
	synthetic_make_segment(s);
	assert_refused(-ERR_TAMPERED, "epoch");
	s->epoch = 3;
	synthetic_make_segment(s);
	assert_refused(-ERR_TAMPERED, "epoch");
}

/* Whatever byte of the note differs, it is refused. */
Test(history, every_byte_of_a_head)
{
	struct head head = synthetic_next_head(s);

	for (size_t i = 0;; i++) {
		bool is_head;
		int rc;

		synthetic_make_head(s, &head, s->writer_secret[0]);
		if (FRAME_LEN + i >= s->block.len)
			break;
		s->bytes[FRAME_LEN + i] ^= 0x04;
		rc = history_step(&h, &s->block, &is_head);
		cr_assert(rc == -ERR_TAMPERED || rc == -ERR_VERSION, "byte %zu: %d", i, rc);
	}
	step_head();
}

Test(history, bytes_that_do_not_follow)
{
	/* Skipped bytes. */
	s->pos += 50;
	synthetic_make_data(s, 100);
	assert_refused(-ERR_DAMAGED, "does not follow");
	/* Bytes told before. */
	s->pos -= 100;
	synthetic_make_data(s, 100);
	assert_refused(-ERR_DAMAGED, "does not follow");
	s->pos += 50;
	/* A length that is not the frame's. */
	synthetic_make_data(s, 100);
	s->block.len--;
	assert_refused(-ERR_DAMAGED, NULL);
	step_data();
}

Test(history, segments_that_do_not_follow)
{
	/* The one that is there already. */
	s->next = 0;
	synthetic_make_segment(s);
	assert_refused(-ERR_DAMAGED, "comes after");
	s->next = 1;
	s->merkle.n++;
	synthetic_make_segment(s);
	s->merkle.n--;
	assert_refused(-ERR_DAMAGED, "a segment may be missing");
	s->params.id[0] ^= 1;
	synthetic_make_segment(s);
	s->params.id[0] ^= 1;
	assert_refused(-ERR_DAMAGED, "another volume");
	s->bytes[FRAME_LEN + 8] = 99; /* version */
	assert_refused(-ERR_VERSION, NULL);
	s->next = 3;
	step_segment();
	step_head();
}

Test(history, first_block_must_be_a_header)
{
	struct history empty;
	bool is_head;

	history_init(&empty, &s->params);
	s->pos = 0;
	synthetic_make_data(s, 100);
	cr_assert_eq(history_step(&empty, &s->block, &is_head), -ERR_DAMAGED);
	s->pos = SEGMENT_BLOCK_LEN;
	synthetic_make_data(s, 100);
	cr_assert_eq(history_step(&empty, &s->block, &is_head), -ERR_DAMAGED);
	history_release(&empty);
}

/* A peer that never sends a head cannot take memory without end. */
Test(history, bounded_leaves)
{
	h.n_leaves = HISTORY_LEAVES_MAX;
	synthetic_make_data(s, 100);
	assert_refused(-ERR_TAMPERED, "without a head");
	h.n_leaves = 0;
}

static struct catalog *commit_all(void)
{
	struct catalog *c;

	cr_assert_eq(catalog_open(s->dir, s->params.id, CATALOG_WRITE, &c), 0);
	cr_assert_eq(history_commit(&h, c), 0, "%s", err_detail(-ERR_DAMAGED));
	return c;
}

Test(history, commit_and_resume)
{
	struct catalog *c = commit_all();
	struct history again;
	struct head_ref ref;
	bool is_head;

	/* The head's own leaf and the block after it stay. */
	cr_assert_eq(h.n_leaves, 2);
	step_head();
	cr_assert_eq(history_commit(&h, c), 0);
	cr_assert_eq(h.n_leaves, 1);
	cr_assert_eq(catalog_newest(c, &ref), 0);
	cr_assert_eq(ref.number, 2);

	history_init(&again, &s->params);
	cr_assert_eq(history_resume(&again, c, store_storage(s->store)), 0, "%s", err_detail(-ERR_DAMAGED));
	cr_assert_eq(again.end, s->pos);
	cr_assert_eq(again.head.number, 2);
	cr_assert_eq(again.head.stored_len, s->newest.stored_len);
	cr_assert_eq(again.merkle.n, s->merkle.n);
	cr_assert_eq(again.epoch, 1);
	/* And goes on as the first does. */
	synthetic_make_data(s, 33);
	cr_assert_eq(history_step(&again, &s->block, &is_head), 0);
	step_new();
	struct head head = synthetic_next_head(s);
	synthetic_make_head(s, &head, s->writer_secret[0]);
	cr_assert_eq(history_step(&again, &s->block, &is_head), 0, "%s", err_detail(-ERR_TAMPERED));
	cr_assert_eq(history_commit(&again, c), 0);
	history_release(&again);
	catalog_close(c);
}

static int resume(struct catalog *c)
{
	struct history again;
	int rc;

	history_init(&again, &s->params);
	rc = history_resume(&again, c, store_storage(s->store));
	if (rc < 0)
		cr_assert(again.merkle.n == 0 && again.head.number == 0 && !again.leaves);
	history_release(&again);
	return rc;
}

Test(history, resume_checks_the_log)
{
	struct catalog *c = commit_all();
	const uint64_t pos = s->newest.pos, len = s->newest.stored_len;
	uint8_t good[2];

	cr_assert_eq(resume(c), 0);
	cr_assert_eq(store_read(s->store, pos + len - 10, 1, good), 0);
	good[1] = good[0] ^ 1;
	/* The signature. */
	cr_assert_eq(store_write(s->store, pos + len - 10, good + 1, 1, false), 0);
	cr_assert_eq(resume(c), -ERR_TAMPERED);
	cr_assert_eq(store_write(s->store, pos + len - 10, good, 1, false), 0);
	/* The frame. */
	cr_assert_eq(store_read(s->store, pos + 4, 1, good), 0);
	good[1] = BLOCK_DATA;
	cr_assert_eq(store_write(s->store, pos + 4, good + 1, 1, false), 0);
	cr_assert_eq(resume(c), -ERR_DAMAGED);
	cr_assert_eq(store_write(s->store, pos + 4, good, 1, false), 0);
	cr_assert_eq(resume(c), 0);
	/* A log older than the catalog. */
	cr_assert_eq(store_truncate(s->store, 0, pos + 20), 0);
	cr_assert_eq(resume(c), -ERR_DAMAGED);
	cr_assert_eq(store_remove(s->store, 0), 0);
	cr_assert_eq(resume(c), -ERR_DAMAGED);
	catalog_close(c);
}

/* The right head, but other leaves. */
Test(history, resume_checks_the_leaves)
{
	struct catalog *c;
	struct head_ref ref;

	h.leaves[1][0] ^= 1;
	c = commit_all();
	cr_assert_eq(resume(c), -ERR_DAMAGED);
	cr_assert_eq(catalog_newest(c, &ref), 0);
	catalog_close(c);
}

Test(history, read_head_checks_the_reference)
{
	struct head_ref ref = {s->newest.number, s->newest.pos, s->newest.stored_len,
			       s->newest.time_ns};
	struct head head;

	cr_assert_eq(history_read_head(&s->params, store_storage(s->store), &ref, &head, NULL), 0);
	cr_assert_eq(head.n_blocks, s->newest.n_blocks);
	ref.number++;
	cr_assert_eq(history_read_head(&s->params, store_storage(s->store), &ref, &head, NULL), -ERR_DAMAGED);
	ref.number--;
	ref.stored_len--;
	cr_assert_eq(history_read_head(&s->params, store_storage(s->store), &ref, &head, NULL), -ERR_DAMAGED);
	ref.stored_len = UINT32_MAX;
	cr_assert_eq(history_read_head(&s->params, store_storage(s->store), &ref, &head, NULL), -ERR_DAMAGED);
	ref.stored_len = s->newest.stored_len;
	ref.pos += SEGMENT_SIZE;
	cr_assert_eq(history_read_head(&s->params, store_storage(s->store), &ref, &head, NULL), -ERR_ABSENT);
}
