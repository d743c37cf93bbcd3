/*
 * Roll-ups: the net effect of many deltas, in several blocks, of which a crash may leave some; and
 * what a volume does while heads or checkpoints fail.
 *
 * The appends are watched: what is appended is counted, replaced or refused.
 */

#include "fixture.h"

#include "bytes.h"
#include "delta.h"
#include "err.h"
#include "item.h"
#include "log.h"
#include "secret.h"
#include "source.h"
#include "source_folder.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAMES 1600u /* attributes of 1,000 random bytes: a roll-up of two pieces */

#define LAST_PIECE (800u << 10) /* it is shorter, all others are longer */

static const struct caller me = {0};

/* What becomes of a roll-up's pieces. */
static enum { KEEP, END_AT_SECOND, REFUSE_SECOND, END_AFTER_FOREIGN } mode;
static atomic_uint pieces, kept_pieces, nodes;
static atomic_bool no_checkpoint, no_head, no_delta;
static atomic_uint head_tries;

int __real_log_append(struct log *, enum block_kind, const void *, size_t, int, struct block_ptr *);

static void end_here(struct log *log)
{
	/* What lies before is durable: a power cut could do so. */
	_exit(log_sync(log, UINT64_MAX) == 0 ? 0 : 8);
}

/* A first piece as it was written once: all deleted ranges of the roll-up, whatever their keys. */
static int append_foreign(struct log *log, const struct delta *d)
{
	uint8_t plain[DELTA_HEADER_LEN + 32] = {0}, *p = plain + DELTA_HEADER_LEN;
	struct item_key from, to;
	struct block_ptr ptr;

	put_le32(plain, 1);
	put_le64(plain + 8, d->first_seq);
	put_le64(plain + 16, d->last_seq);
	put_le64(plain + 24, d->counts.next_ino);
	put_le64(plain + 32, d->counts.inodes);
	put_le64(plain + 40, d->counts.bytes);
	item_key(&from, INO_ROOT + 2, ITEM_EXTENT);
	item_key(&to, INO_ROOT + 3, ITEM_INODE);
	*p++ = 3;
	put_le16(p, (uint16_t)from.len);
	put_le16(p + 2, (uint16_t)to.len);
	p += 4;
	memcpy(p, from.b, from.len);
	memcpy(p + from.len, to.b, to.len);
	p += from.len + to.len;
	return __real_log_append(log, BLOCK_DELTA, plain, (size_t)(p - plain), 0, &ptr);
}

int __wrap_log_append(struct log *log, enum block_kind kind, const void *plain, size_t len,
		      int level, struct block_ptr *out);

int __wrap_log_append(struct log *log, enum block_kind kind, const void *plain, size_t len,
		      int level, struct block_ptr *out)
{
	struct delta d;

	if (kind == BLOCK_DELTA && delta_decode(plain, len, &d) == 0 && d.first_seq < d.last_seq) {
		unsigned n = atomic_fetch_add(&pieces, 1) + 1;

		if (mode == END_AFTER_FOREIGN) {
			if (append_foreign(log, &d) < 0)
				_exit(7);
			end_here(log);
		}
		if (mode == END_AT_SECOND && n == 2)
			end_here(log);
		if (mode == REFUSE_SECOND && len < LAST_PIECE)
			return -ENOSPC;
		atomic_fetch_add(&kept_pieces, 1);
	}
	if ((kind == BLOCK_CHECKPOINT && no_checkpoint) || (kind == BLOCK_DELTA && no_delta))
		return err_say(-EIO, "refused by the test");
	if (kind == BLOCK_NODE)
		atomic_fetch_add(&nodes, 1);
	return __real_log_append(log, kind, plain, len, level, out);
}

int __real_log_add_head(struct log *, struct head *);
int __wrap_log_add_head(struct log *log, struct head *h);

int __wrap_log_add_head(struct log *log, struct head *h)
{
	if (!no_head)
		return __real_log_add_head(log, h);
	atomic_fetch_add(&head_tries, 1);
	return err_say(-ENOSPC, "refused by the test");
}

/* In the process that the test forked, which does not answer to Criterion. */
#define need(rc)                                                                                   \
	do {                                                                                       \
		if ((rc) < 0)                                                                      \
			_exit(6);                                                                  \
	} while (0)

static void put_names(struct volume *v, uint64_t ino, unsigned from, unsigned n)
{
	static uint8_t noise[64 << 10];

	random_bytes(noise, sizeof(noise));
	for (unsigned i = from; i < from + n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "user.%u", i);
		need(volume_setxattr(v, NULL, ino, name, noise + i * 37 % 60000, 1000, 0));
	}
}

/*
 * Many changes to a file, "first", and synced overwriting of one that comes after it in the order
 * of keys, "second", until a head rolls them up.  Ends the process where ${mode} says so.
 */
static void work(struct fixture *f)
{
	struct volume_config cfg = {.dir = f->dir, .params = &f->params, .keys = &f->keys};
	struct volume *v;
	static char data[64 << 10];
	struct attr a, b;
	struct head h;
	int rc;

	need(volume_open(&cfg, &v));
	need(volume_make_node(v, &me, INO_ROOT, "first", S_IFREG | 0600, 0, NULL, &a));
	need(volume_make_node(v, &me, INO_ROOT, "second", S_IFREG | 0600, 0, NULL, &b));
	memset(data, 'A', sizeof(data));
	need(volume_write(v, NULL, b.ino, 0, sizeof(data), data, false));
	need(volume_add_head(v, &h));
	memset(data, 'B', sizeof(data));
	need(volume_write(v, NULL, b.ino, 0, sizeof(data), data, false));
	/* The clock may make a head in between: then it takes another round. */
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < NAMES; i += 20) {
			put_names(v, a.ino, i, 20);
			need(volume_sync(v));
		}
		rc = volume_add_head(v, &h);
		if (rc < 0) { /* it goes on, syncs once more, and is killed */
			put_names(v, a.ino, 0, 1);
			need(volume_sync(v));
			_exit(0);
		}
		memset(data, 'B', sizeof(data));
		need(volume_write(v, NULL, b.ino, 0, sizeof(data), data, false));
	}
	_exit(9);
}

static void require_second(struct volume *v)
{
	static char got[64 << 10];
	struct attr a;
	size_t len;

	cr_assert_eq(view_lookup(volume_view(v), INO_ROOT, "second", &a), 0);
	cr_assert_eq(view_read(volume_view(v), a.ino, 0, sizeof(got), got, &len), 0);
	cr_assert_eq(len, sizeof(got));
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(got[i], 'B', "byte %zu of what was synced is %d", i, got[i]);
}

static void torn(int how)
{
	struct fixture f;
	struct volume *v;
	struct view *past;
	struct head h;
	int status;

	fixture_make(&f);
	mode = how;
	if (fork() == 0)
		work(&f);
	cr_assert(wait(&status) > 0);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the writer ended with %x",
		  status);
	mode = KEEP;
	v = fixture_open(&f);
	require_second(v);
	/* The head that lists the same deltas says the same. */
	cr_assert_eq(volume_add_head(v, &h), 0);
	log_newest_head(volume_log(v), &h);
	cr_assert_eq(view_open(volume_view_config(v), &h, &past), 0);
	view_close(past);
	cr_assert_eq(volume_close(v), 0);
	v = fixture_open(&f);
	require_second(v);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}

Test(rollup, a_crash_between_its_pieces_loses_nothing)
{
	torn(END_AT_SECOND);
}

Test(rollup, a_full_disk_between_its_pieces_and_a_crash_lose_nothing)
{
	torn(REFUSE_SECOND);
}

Test(rollup, a_torn_one_of_a_former_version_is_passed_over)
{
	torn(END_AFTER_FOREIGN);
}

/* ${n} attributes of "f", which is made if it is not there, a sync after ${each} of them. */
static struct attr put_synced(struct volume *v, unsigned n, unsigned each)
{
	struct attr a;

	if (view_lookup(volume_view(v), INO_ROOT, "f", &a) < 0)
		cr_assert_eq(volume_make_node(v, &me, INO_ROOT, "f", S_IFREG | 0600, 0, NULL, &a),
			     0);
	for (unsigned i = 0; i < n; i += each) {
		put_names(v, a.ino, i, each);
		cr_assert_eq(volume_sync(v), 0);
	}
	return a;
}

/* While no head can be made nothing is appended again, and the clock tries once a second. */
Test(rollup, heads_that_fail_append_nothing_anew)
{
	struct fixture f;
	struct volume *v;
	struct view *past;
	const char *reason;
	struct attr a;
	struct head h;
	uint64_t end;
	char got[1000];
	size_t len;
	time_t begin;

	fixture_make(&f);
	v = fixture_open(&f);
	no_head = true;
	/* More than asks for a head at once. */
	a = put_synced(v, 9000, 100);
	cr_assert_eq(volume_add_head(v, &h), -ENOSPC);
	end = log_end(volume_log(v));
	for (int i = 0; i < 10; i++)
		cr_assert_eq(volume_add_head(v, &h), -ENOSPC);
	cr_assert_eq(log_end(volume_log(v)), end, "a try that fails appends");
	/* However slow this machine is, the clock's tries are no more than its seconds. */
	begin = time(NULL);
	head_tries = 0;
	sleep(2);
	cr_assert_leq(head_tries, (unsigned)(time(NULL) - begin) + 1);
	cr_assert_eq(log_end(volume_log(v)), end);
	reason = figure_text(fixture_look(v), FIGURE_REASON);
	cr_assert_not_null(strstr(reason, "no head can be made"), "'%s'", reason);
	/* What comes after the roll-up is listed behind it. */
	cr_assert_eq(volume_setxattr(v, NULL, a.ino, "user.5", "new", 3, 0), 0);
	no_head = false;
	cr_assert_eq(volume_add_head(v, &h), 0);
	reason = figure_text(fixture_look(v), FIGURE_REASON);
	cr_assert_str_empty(reason);
	log_newest_head(volume_log(v), &h);
	cr_assert_eq(view_open(volume_view_config(v), &h, &past), 0);
	cr_assert_eq(view_getxattr(past, a.ino, "user.5", got, sizeof(got), &len), 0);
	cr_assert_eq(len, 3);
	cr_assert_eq(view_getxattr(past, a.ino, "user.8999", got, sizeof(got), &len), 0);
	view_close(past);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}

/* A roll-up of which a piece does not fit keeps the pieces that it has. */
Test(rollup, pieces_are_appended_once)
{
	struct fixture f;
	struct volume *v;
	struct head h;
	unsigned kept = 0;

	fixture_make(&f);
	v = fixture_open(&f);
	mode = REFUSE_SECOND;
	/*
	 * The scheduler may have made a head of a part, or kept a piece of a part: then there is more
	 * to roll up.  Once a try has failed and nothing changes any more, no piece is added.
	 */
	for (int i = 0; i < 10 && kept == 0; i++) {
		kept_pieces = 0;
		(void)put_synced(v, NAMES, 20);
		if (volume_add_head(v, &h) == -ENOSPC)
			kept = kept_pieces;
	}
	cr_assert_geq(kept, 1);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(volume_add_head(v, &h), -ENOSPC);
	cr_assert_eq(kept_pieces, kept);
	mode = KEEP;
	cr_assert_eq(volume_add_head(v, &h), 0);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}

/* A checkpoint that fails is told until one succeeds, costs nothing again, and keeps no head back. */
Test(rollup, checkpoints_that_fail_keep_nothing_back)
{
	struct fixture f;
	struct volume *v;
	const char *reason;
	struct source *src;
	struct head h, last;
	struct attr a;
	unsigned n;

	fixture_make(&f);
	v = fixture_open(&f);
	a = put_synced(v, 1000, 100);
	no_checkpoint = true;
	cr_assert_eq(volume_checkpoint(v), -EIO);
	n = nodes;
	cr_assert_gt(n, 10);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(volume_checkpoint(v), -EIO);
	cr_assert_eq(nodes, n, "a tree that was merged is written again");
	cr_assert_eq(volume_setxattr(v, NULL, a.ino, "user.more", "1", 1, 0), 0);
	cr_assert_eq(volume_add_head(v, &h), 0);
	reason = figure_text(fixture_look(v), FIGURE_REASON);
	cr_assert_not_null(strstr(reason, "no checkpoint can be taken: refused"), "'%s'", reason);
	no_checkpoint = false;
	cr_assert_eq(volume_checkpoint(v), 0);
	reason = figure_text(fixture_look(v), FIGURE_REASON);
	cr_assert_str_empty(reason);

	/* The last head is made all the same. */
	no_checkpoint = true;
	log_newest_head(volume_log(v), &h);
	cr_assert_eq(volume_setxattr(v, NULL, a.ino, "user.last", "1", 1, 0), 0);
	cr_assert_eq(volume_close(v), 0);
	cr_assert_eq(source_open_folder(f.dir, &src), 0);
	cr_assert_eq(src->ops->head_at(src, INT64_MAX, &last), 0);
	cr_assert_gt(last.number, h.number);
	source_free(src);
	no_checkpoint = false;
	fixture_remove(&f);
}

/* An embassy takes 2^20 blocks without a head, and no more ever: changes wait for one before. */
Test(rollup, blocks_without_a_head_are_few_enough_for_an_embassy, .timeout = 300)
{
	struct fixture f;
	struct volume *v;
	struct attr a;
	uint64_t begin;
	unsigned n = 0;
	int rc = 0;

	fixture_make(&f);
	v = fixture_open(&f);
	cr_assert_eq(volume_make_node(v, &me, INO_ROOT, "f", S_IFREG | 0600, 0, NULL, &a), 0);
	begin = log_blocks_below_end(volume_log(v));
	no_head = true;
	/* One byte again and again: hardly any delta, hardly any log, and a block each time. */
	while (rc == 0 && n < 1u << 20) {
		rc = volume_write(v, NULL, a.ino, 0, 1, "x", false);
		n += rc == 0;
	}
	cr_assert_eq(rc, -ENOSPC, "%u blocks were taken", n);
	cr_assert_gt(n, 1u << 18);
	cr_assert_lt(log_blocks_below_end(volume_log(v)) - begin, (1u << 20) - (1u << 12));
	no_head = false;
	while (rc == -ENOSPC) /* the clock makes one, or this does, a second after the newest try */
		rc = volume_write(v, NULL, a.ino, 0, 1, "x", false);
	cr_assert_eq(rc, 0);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}

/* What failed is neither written nor a time that a sync takes. */
Test(rollup, what_came_about_is_counted)
{
	const struct figure_row *r;
	struct fixture f;
	struct volume *v;
	struct attr a;

	fixture_make(&f);
	v = fixture_open(&f);
	cr_assert_eq(volume_make_node(v, &me, INO_ROOT, "f", S_IFREG | 0600, 0, NULL, &a), 0);
	cr_assert_eq(volume_write(v, NULL, a.ino, 0, 3, "abc", 0), 0);
	cr_assert_eq(volume_sync(v), 0);
	no_delta = true;
	cr_assert_eq(volume_write(v, NULL, a.ino, 0, 2, "de", 0), 0);
	cr_assert_eq(volume_write(v, NULL, a.ino + 1, 0, 2, "fg", 0), -ENOENT);
	cr_assert_eq(volume_sync(v), -EIO);
	no_delta = false;
	cr_assert_eq(volume_sync(v), 0);
	r = fixture_look(v);
	cr_expect_eq(figure_n(r, FIGURE_WRITTEN_BYTES), 5);
	cr_expect_eq(r->value[FIGURE_SYNC_SECONDS].spread->le[FIGURE_BUCKETS - 1], 2);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}
