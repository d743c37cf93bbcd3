/* Healing: what is damaged or missing comes back, byte for byte; another history is refused. */

#include "repair.h"

#include "err.h"
#include "file.h"
#include "frame.h"
#include "head.h"
#include "scan.h"
#include "source.h"
#include "source_folder.h"
#include "store.h"
#include "synthetic_log.h"

#include "../gone.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u

static struct synthetic_log *s;
static char mine[300]; /* the copy that is to be healed; s->dir is whole */
static unsigned reports;
static struct holes holes; /* in the copy that is to be healed */

/* A page of that copy that the disk has lost: only a write of all of it brings it back. */
static struct {
	bool lost;
	unsigned segment;
	uint64_t off;
	bool punched; /* giving its space back brings it back, too */
	bool grew;    /* its file was made longer meanwhile */
} bad;

ssize_t __real_file_read_at(int fd, void *buf, size_t len, uint64_t off);
ssize_t __wrap_file_read_at(int fd, void *buf, size_t len, uint64_t off);
int __real_file_write_at(int fd, const void *buf, size_t len, uint64_t off);
int __wrap_file_write_at(int fd, const void *buf, size_t len, uint64_t off);

int __real_file_punch(int fd, uint64_t off, uint64_t len);
int __wrap_file_punch(int fd, uint64_t off, uint64_t len);

static bool is_bad_file(int fd)
{
	char link[64], path[400], want[400];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	snprintf(want, sizeof(want), "%s/log/%016x.seg", mine, bad.segment);
	return strcmp(path, want) == 0;
}

static bool meets_bad(int fd, size_t len, uint64_t off)
{
	return bad.lost && off < bad.off + PAGE && off + len > bad.off && is_bad_file(fd);
}

int __wrap_file_punch(int fd, uint64_t off, uint64_t len)
{
	int rc;

	if (!bad.punched)
		return -EOPNOTSUPP;
	rc = __real_file_punch(fd, off, len);
	if (rc == 0 && meets_bad(fd, len, off) && off <= bad.off && off + len >= bad.off + PAGE)
		bad.lost = false;
	return rc;
}

ssize_t __wrap_file_read_at(int fd, void *buf, size_t len, uint64_t off)
{
	return meets_bad(fd, len, off) ? -EIO : __real_file_read_at(fd, buf, len, off);
}

int __wrap_file_write_at(int fd, const void *buf, size_t len, uint64_t off)
{
	if (meets_bad(fd, len, off)) {
		if (off > bad.off || off + len < bad.off + PAGE)
			return -EIO;
		bad.lost = false;
	}
	if (is_bad_file(fd)) {
		struct stat st;

		cr_assert_eq(fstat(fd, &st), 0);
		bad.grew |= off + len > (uint64_t)st.st_size;
	}
	return __real_file_write_at(fd, buf, len, off);
}

static void command(const char *fmt, const char *a, const char *b)
{
	char text[1024];

	snprintf(text, sizeof(text), fmt, a, b);
	cr_assert_eq(system(text), 0, "%s", text);
}

static void setup(void)
{
	s = calloc(1, sizeof(*s));
	cr_assert_not_null(s);
	synthetic_log_init(s);
	synthetic_grow(s, 3, 4, 5);
	snprintf(mine, sizeof(mine), "%s-mine", s->dir);
	command("cp -r '%s' '%s'", s->dir, mine);
}

static void teardown(void)
{
	cr_assert_eq(file_remove_tree(AT_FDCWD, mine), 0);
	synthetic_log_release(s);
	free(s);
}

TestSuite(repair, .init = setup, .fini = teardown);

static void count(void *ctx, const char *text)
{
	(void)ctx;
	(void)text;
	reports++;
}

static int repair_from(struct source *src, struct repair_counts *n)
{
	struct repair_config cfg = {.dir = mine,
				    .params = &s->params,
				    .source = src,
				    .holes = holes.n > 0 ? &holes : NULL,
				    .report = count};

	reports = 0;
	return repair_log(&cfg, n);
}

static int repair(struct repair_counts *n)
{
	struct source *src;
	int rc;

	cr_assert_eq(source_open_folder(s->dir, &src), 0);
	rc = repair_from(src, n);
	source_free(src);
	return rc;
}

static int segment(unsigned number, int flags)
{
	char path[400];
	int fd;

	snprintf(path, sizeof(path), "%s/log/%016x.seg", mine, number);
	fd = open(path, flags);
	cr_assert_geq(fd, 0);
	return fd;
}

static void flip(unsigned number, off_t off)
{
	int fd = segment(number, O_RDWR);
	uint8_t byte;

	cr_assert_eq(pread(fd, &byte, 1, off), 1);
	byte ^= 0x10;
	cr_assert_eq(pwrite(fd, &byte, 1, off), 1);
	close(fd);
}

static void expect_whole(void)
{
	command("diff -r '%s/log' '%s/log'", s->dir, mine);
}

Test(repair, nothing_to_heal_writes_nothing)
{
	struct repair_counts n;

	cr_assert_eq(repair(&n), 0);
	cr_assert_eq(n.heads, 12);
	cr_assert_eq(n.blocks, 0);
	cr_assert_eq(n.failed, 0);
	cr_assert_eq(reports, 0);
	expect_whole();
}

Test(repair, flips_are_healed_and_told)
{
	struct repair_counts n;

	flip(0, 5);				      /* a header's frame */
	flip(1, 700);				      /* in the middle */
	flip(2, (off_t)(s->pos % SEGMENT_SIZE) - 20); /* the newest head */
	cr_assert_eq(repair(&n), 0);
	cr_assert_eq(n.blocks, 3);
	cr_assert_eq(n.failed, 0);
	cr_assert_eq(reports, 3);
	expect_whole();
}

/* Each page of each segment: all that lies in it comes back, and the files keep their lengths. */
static void heal_each_page(void)
{
	struct repair_counts n;
	struct stat st;

	for (bad.segment = 0; bad.segment < 3; bad.segment++) {
		int fd = segment(bad.segment, O_RDONLY);

		cr_assert_eq(fstat(fd, &st), 0);
		close(fd);
		for (bad.off = 0; bad.off < (uint64_t)st.st_size; bad.off += PAGE) {
			bad.lost = true;
			cr_assert_eq(repair(&n), 0, "segment %u, %zu", bad.segment,
				     (size_t)bad.off);
			cr_expect_geq(n.blocks, 1);
			cr_expect_eq(n.failed, 0);
			cr_expect(!bad.lost, "segment %u, %zu", bad.segment, (size_t)bad.off);
			expect_whole();
		}
	}
}

Test(repair, a_page_that_can_t_be_read_is_healed)
{
	heal_each_page();
}

/* Killed at any moment, a healing leaves no file longer than its blocks: readers take that for damage. */
Test(repair, a_page_at_the_end_is_healed_in_a_file_that_keeps_its_length)
{
	bad.punched = true;
	heal_each_page();
	cr_expect_not(bad.grew);
}

static void lengthen(unsigned number, off_t len)
{
	int fd = segment(number, O_RDWR);
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	if (len == 0)
		len = PAGE - st.st_size % PAGE;
	cr_assert_eq(ftruncate(fd, st.st_size + len), 0);
	close(fd);
}

/* All blocks are right, and a segment's file goes on behind them. */
Test(repair, zeros_behind_a_segment_go)
{
	struct repair_counts n;
	struct source *src;

	for (unsigned number = 0; number < 3; number++) {
		lengthen(number, 0);
		cr_expect_eq(source_open_folder(mine, &src), -ERR_DAMAGED, "segment %u", number);
		cr_assert_eq(repair(&n), 0);
		cr_expect_eq(n.blocks, 0);
		cr_expect_eq(n.failed, 0);
		expect_whole();
	}
	lengthen(1, 3 * PAGE);
	cr_assert_eq(repair(&n), 0);
	expect_whole();
	cr_assert_eq(source_open_folder(mine, &src), 0);
	source_free(src);
}

/* What may be more than the rest of a page stays, and is told as ever. */
Test(repair, zeros_behind_the_last_segment_stay_where_blocks_may_have_been)
{
	struct repair_counts n;
	struct source *src;

	lengthen(2, 2 * PAGE);
	cr_assert_eq(repair(&n), 0);
	cr_expect_eq(source_open_folder(mine, &src), -ERR_DAMAGED);
}

/* There is no catalog, so a reader walks: one of what is whole gets what lies before it. */
Test(repair, a_page_that_can_t_be_read_ends_what_is_whole)
{
	struct source *src;
	struct head h;

	bad.segment = 1;
	bad.lost = true;
	cr_expect_eq(source_open_folder(mine, &src), -EIO);
	cr_expect(strstr(err_detail(-EIO), "can't be read at offset 0"), "%s", err_detail(-EIO));
	cr_assert_eq(source_open_folder_partial(mine, &src), 0);
	cr_assert_eq(src->ops->head_at(src, INT64_MAX, &h), 0);
	cr_expect_eq(h.number, 4);
	source_free(src);
}

struct calls {
	int writes, syncs, failing_sync;
};

static int watch_calls(void *ctx, const char *op)
{
	struct calls *c = ctx;

	c->writes += strcmp(op, "write") == 0;
	if (strcmp(op, "sync_data") != 0)
		return 0;
	return ++c->syncs == c->failing_sync ? -EIO : 0;
}

/*
 * After a sync that failed readers see the healed bytes, which may be on no disk: whoever comes next
 * writes them again, and syncs.
 */
Test(repair, what_could_not_be_synced_is_written_again)
{
	struct calls c = {0};
	struct repair_counts n;
	int nth = 0, rc;

	file_set_fault(watch_calls, &c);
	for (;;) {
		flip(1, 700);
		c = (struct calls){.failing_sync = ++nth};
		rc = repair(&n);
		if (rc == 0)
			break;
		cr_assert_eq(rc, -EIO, "sync %d", nth);
		c = (struct calls){0};
		cr_expect_eq(repair(&n), 0);
		cr_expect_gt(c.writes, 0, "sync %d: nothing was written", nth);
		cr_expect_gt(c.syncs, 0, "sync %d: nothing was synced", nth);
	}
	c = (struct calls){0};
	cr_expect_eq(repair(&n), 0);
	file_set_fault(NULL, NULL);
	cr_expect_eq(c.writes, 0, "all was durable, and was written once more");
	cr_expect_gt(nth, 1);
	expect_whole();
}

static int fail_rename(void *ctx, const char *op)
{
	(void)ctx;
	return strcmp(op, "rename") == 0 ? -EIO : 0;
}

/* A disk that does not take the note is not one with a page that can't be read. */
Test(repair, nothing_is_written_that_could_not_be_noted)
{
	struct repair_counts n;

	flip(1, 700);
	command("cp -r '%s' '%s-before'", mine, mine);
	file_set_fault(fail_rename, NULL);
	cr_expect_eq(repair(&n), -EIO);
	file_set_fault(NULL, NULL);
	cr_expect_eq(n.blocks, 0);
	command("diff -r '%s/log' '%s-before/log'", mine, mine);
	command("rm -r '%s-before'%s", mine, "");
	cr_expect_eq(repair(&n), 0);
	expect_whole();
}

Test(repair, missing_files_and_ends_come_back)
{
	char path[400];
	struct repair_counts n;
	int fd;

	snprintf(path, sizeof(path), "%s/log/0000000000000001.seg", mine);
	cr_assert_eq(unlink(path), 0);
	fd = segment(2, O_RDWR);
	cr_assert_eq(ftruncate(fd, 300), 0);
	close(fd);
	/* Rubbish behind a segment that has a successor goes. */
	fd = segment(0, O_WRONLY | O_APPEND);
	cr_assert_eq(write(fd, "rubbish", 7), 7);
	close(fd);
	flip(0, 40);
	cr_assert_eq(repair(&n), 0, "%s", err_detail(-ERR_DAMAGED));
	cr_assert_eq(n.failed, 0);
	expect_whole();
}

/* The writer of the copy that is to be healed.  diverge_end() frees it. */
static struct synthetic_log *diverge_begin(void)
{
	struct synthetic_log *other = calloc(1, sizeof(*other));

	cr_assert_not_null(other);
	*other = *s;
	other->bytes = malloc(BLOCK_STORED_MAX);
	cr_assert_eq(store_open(mine, STORE_WRITABLE, &other->store), 0);
	return other;
}

/* The same volume went on differently in that copy. */
static struct synthetic_log *diverge(void)
{
	struct synthetic_log *other = diverge_begin();

	synthetic_data(other, 77);
	synthetic_head(other);
	synthetic_data(s, 99);
	synthetic_head(s);
	return other;
}

static void diverge_end(struct synthetic_log *other)
{
	store_close(other->store);
	free(other->bytes);
	free(other);
}

Test(repair, another_history_is_refused)
{
	struct synthetic_log *other = diverge();
	struct repair_counts n;

	flip(0, 40);
	cr_assert_eq(repair(&n), -ERR_FORKED);
	cr_assert(strstr(err_detail(-ERR_FORKED), "different histories"));
	cr_assert_eq(n.blocks, 0);
	/* The flip is still there: nothing was written. */
	command("! cmp -s '%s/log/0000000000000000.seg' '%s/log/0000000000000000.seg'", s->dir,
		mine);
	diverge_end(other);
}

/* All that a head states must be the same, not its place, time and root alone. */
Test(repair, a_head_that_states_something_else_is_another_history)
{
	struct synthetic_log *other = diverge_begin();
	struct head h = synthetic_next_head(s), lists_one = h;
	struct repair_counts n;

	lists_one.deltas[lists_one.n_deltas++] = (struct block_ptr){300, 100, 50};
	synthetic_make_head(s, &h, s->writer_secret[s->epoch - 1]);
	synthetic_take(s);
	synthetic_make_head(other, &lists_one, s->writer_secret[s->epoch - 1]);
	synthetic_take(other);
	command("cp -r '%s' '%s-before'", mine, mine);
	cr_expect_eq(repair(&n), -ERR_FORKED);
	cr_expect_eq(n.blocks, 0);
	command("diff -r '%s/log' '%s-before/log'", mine, mine);
	command("rm -r '%s-before'%s", mine, "");
	diverge_end(other);
}

/* A source that gives wrong bytes writes nothing. */
struct liar {
	struct source source;
	struct source *real;
};

static int lying_read(struct source *src, uint64_t pos, size_t len, void *out)
{
	struct liar *l = (struct liar *)src;
	int rc = l->real->ops->read(l->real, pos, len, out);

	if (rc == 0 && len > 12)
		((uint8_t *)out)[len / 2] ^= 1;
	return rc;
}

static int real_head_at(struct source *src, int64_t time_ns, struct head *out)
{
	struct source *real = ((struct liar *)src)->real;

	return real->ops->head_at(real, time_ns, out);
}

static int real_heads(struct source *src, uint64_t first, size_t n, struct head *out, size_t *out_n)
{
	struct source *real = ((struct liar *)src)->real;

	return real->ops->heads(real, first, n, out, out_n);
}

Test(repair, wrong_bytes_are_not_taken)
{
	static const struct source_ops ops = {
		.read = lying_read, .head_at = real_head_at, .heads = real_heads};
	struct liar l = {.source = {.ops = &ops}};
	struct repair_counts n;

	cr_assert_eq(source_open_folder(s->dir, &l.real), 0);
	flip(1, 700);
	command("cp -r '%s' '%s-before'", mine, mine);
	cr_assert_eq(repair_from(&l.source, &n), 0);
	cr_assert_eq(n.failed, 1);
	cr_assert_eq(n.blocks, 0);
	command("diff -r '%s/log' '%s-before/log'", mine, mine);
	command("rm -r '%s-before'%s", mine, "");
	source_free(l.real);
}

static int denying_heads(struct source *src, uint64_t first, size_t n, struct head *out,
			 size_t *out_n)
{
	static unsigned denied;

	if (first == 1)
		return real_heads(src, first, n < 12 ? n : 12, out, out_n);
	/* At first. */
	return denied++ < 2 ? -ERR_ABSENT : real_heads(src, first, n, out, out_n);
}

static int true_read(struct source *src, uint64_t pos, size_t len, void *out)
{
	struct source *real = ((struct liar *)src)->real;

	return real->ops->read(real, pos, len, out);
}

/* A source that does not show the head in whose place this copy has another one gets none of it overwritten. */
Test(repair, a_history_that_the_source_denies_is_not_overwritten)
{
	static const struct source_ops ops = {
		.read = true_read, .head_at = real_head_at, .heads = denying_heads};
	struct liar l = {.source = {.ops = &ops}};
	struct synthetic_log *other = diverge();
	struct repair_counts n;

	cr_assert_eq(source_open_folder(s->dir, &l.real), 0);
	cr_expect_eq(repair_from(&l.source, &n), -ERR_TAMPERED);
	cr_expect_eq(n.blocks, 0);
	source_free(l.real);
	diverge_end(other);
}

static unsigned asked;

static int counted_heads(struct source *src, uint64_t first, size_t n, struct head *out,
			 size_t *out_n)
{
	asked++;
	return real_heads(src, first, n, out, out_n);
}

/* A home has a head for each second of use, and each question to an embassy takes its way there and back. */
Test(repair, a_source_is_not_asked_for_each_head)
{
	static const struct source_ops ops = {
		.read = lying_read, .head_at = real_head_at, .heads = counted_heads};
	struct liar l = {.source = {.ops = &ops}};
	struct repair_counts n;

	cr_assert_eq(source_open_folder(s->dir, &l.real), 0);
	l.source.params = l.real->params;
	cr_assert_eq(repair_from(&l.source, &n), 0);
	cr_assert_eq(n.heads, 12);
	cr_expect_eq(asked, 2, "once for forks, once to heal");
	source_free(l.real);
}

/* A source that lies once it has been read ${honest} times to the end of a stretch. */
struct turncoat {
	struct liar liar;
	uint64_t pos;	 /* of the block about which it lies */
	unsigned honest; /* so often it does not */
};

static int turncoat_read(struct source *src, uint64_t pos, size_t len, void *out)
{
	struct turncoat *t = (struct turncoat *)src;
	struct source *real = t->liar.real;
	int rc = real->ops->read(real, pos, len, out);

	if (rc == 0 && pos == t->pos + FRAME_LEN && t->honest-- == 0)
		((uint8_t *)out)[len / 2] ^= 1;
	return rc;
}

/* Calls in their order: w a write, s a sync of data, u an unlinking. */
struct order {
	char calls[256];
	size_t n;
};

static int note_order(void *ctx, const char *op)
{
	struct order *o = ctx;
	char c = strcmp(op, "write") == 0	? 'w'
		 : strcmp(op, "sync_data") == 0 ? 's'
		 : strcmp(op, "unlink") == 0	? 'u'
						: 0;

	if (c && o->n + 1 < sizeof(o->calls))
		o->calls[o->n++] = c;
	return 0;
}

static int find_second(void *ctx, const struct scan_block *b)
{
	struct turncoat *t = ctx;

	if (b->frame.kind == BLOCK_DATA && segment_of(b->pos) == 1 && t->honest++ == 1)
		t->pos = b->pos;
	return SCAN_GO;
}

/* What was written before the other copy failed is synced before the note of it goes. */
Test(repair, half_a_stretch_is_synced_before_it_is_believed)
{
	static const struct source_ops ops = {
		.read = turncoat_read, .head_at = real_head_at, .heads = real_heads};
	struct turncoat t = {.liar = {.source = {.ops = &ops}}};
	struct scan_result found;
	struct order o = {.n = 0};
	struct repair_counts n;
	char note[400];

	cr_assert_eq(scan_blocks(store_storage(s->store), 0, find_second, &t, &found), 0);
	cr_assert_gt(t.pos, 0);
	cr_assert_eq(source_open_folder(s->dir, &t.liar.real), 0);
	flip(1, SEGMENT_BLOCK_LEN + 20);
	flip(1, (off_t)(t.pos % SEGMENT_SIZE) + 20);
	t.honest = 1;
	file_set_fault(note_order, &o);
	cr_assert_eq(repair_from(&t.liar.source, &n), 0);
	file_set_fault(NULL, NULL);
	cr_assert_eq(n.failed, 1);
	cr_assert_eq(n.blocks, 1);
	snprintf(note, sizeof(note), "%s/log/healing", mine);
	cr_assert_eq(access(note, F_OK), -1);
	cr_assert_gt(o.n, 2);
	cr_assert_eq(strcmp(o.calls + o.n - 3, "wsu"), 0, "%s", o.calls);
	source_free(t.liar.real);
}

static void lose_mine(void *ctx, uint64_t pos, const void *bytes, size_t len)
{
	int fd = segment((unsigned)segment_of(pos), O_RDWR);

	(void)ctx;
	cr_assert_eq(pwrite(fd, bytes, len, (off_t)(pos % SEGMENT_SIZE)), (ssize_t)len);
	close(fd);
}

static int give_back(void *ctx, uint64_t pos, uint64_t leaf, const void *bytes, size_t len)
{
	const struct gone *gone = ctx;

	cr_assert_eq(gone->block[leaf].pos, pos);
	cr_assert_eq(gone->block[leaf].len, len);
	lose_mine(NULL, pos, bytes, len);
	return 0;
}

/* What is gone is no damage, and stays gone; what is damaged beside it is healed. */
Test(repair, what_is_gone_is_not_filled_again)
{
	struct repair_counts n;
	struct gone gone;

	gone_note(store_storage(s->store), &gone);
	gone_fill(&gone, 1, 2, s->newest.pos, &holes);
	gone_lose(&holes, lose_mine, NULL);
	command("cp -r '%s/log' '%s/before'", mine, mine);
	cr_assert_eq(repair(&n), 0);
	cr_assert_eq(n.blocks, 0);
	cr_assert_eq(n.failed, 0);
	cr_assert_eq(n.heads, s->newest.number);
	command("diff -r '%s/log' '%s/before'", mine, mine);
	for (size_t i = 0; i < gone.n; i += 5) {
		if (holes_at(&holes, gone.block[i].pos))
			continue;
		flip((unsigned)segment_of(gone.block[i].pos),
		     (off_t)(gone.block[i].pos % SEGMENT_SIZE) + 20);
		cr_assert_eq(repair(&n), 0);
		cr_assert_eq(n.blocks, 1, "block %zu", i);
		command("diff -r '%s/log' '%s/before'", mine, mine);
	}
	gone_release(&gone);
	holes_release(&holes);
}

/* What is not written again is not called healed where the table lies. */
Test(repair, what_stands_for_blocks_wrongly_is_told)
{
	struct repair_counts n;
	struct gone gone;

	gone_note(store_storage(s->store), &gone);
	for (unsigned height = 0; height < 2; height++) {
		gone_fill(&gone, height, 2, s->newest.pos, &holes);
		gone_lose(&holes, lose_mine, NULL);
		holes.hole[holes.n / 2].hash[0] ^= 1;
		cr_expect_eq(repair(&n), 0);
		cr_expect_eq(n.failed, 1, "runs of 2^%u", height);
		holes_release(&holes);
	}
	gone_release(&gone);
}

/* The other way round: a copy with holes heals another with what it has, by the right numbers. */
Test(repair, a_copy_with_holes_heals_another)
{
	struct repair_config cfg = {
		.dir = s->dir, .params = &s->params, .report = count, .holes = &holes};
	struct repair_counts n;
	struct gone gone;
	uint64_t damaged = 0;
	int rc;

	cr_assert_eq(source_open_folder_partial(mine, &cfg.source), 0);
	gone_note(store_storage(s->store), &gone);
	gone_fill(&gone, 1, 2, s->newest.pos, &holes);
	for (size_t i = 1; i < gone.n; i += 3) {
		if (block_kind_is_clear(gone.block[i].kind))
			continue;
		flip((unsigned)segment_of(gone.block[i].pos),
		     (off_t)(gone.block[i].pos % SEGMENT_SIZE) + 20);
		damaged += !holes_at(&holes, gone.block[i].pos);
	}
	rc = repair_other(&cfg, give_back, &gone, &n);
	cr_assert_eq(rc, 0, "%s", err_detail(rc));
	cr_assert_eq(n.blocks, damaged);
	source_free(cfg.source);
	gone_release(&gone);
	holes_release(&holes);
}
