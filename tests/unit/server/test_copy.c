/* A copy: what is served, and what a restart, a crash or a lost catalog leaves. */

#include "vault_fixture.h"

#include "buf.h"
#include "catalog.h"
#include "copy_internal.h"
#include "err.h"
#include "file.h"
#include "locks.h"
#include "newest.h"
#include "storage_memory.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(copy, .init = fix_set_up, .fini = fix_tear_down, .timeout = 300);

Test(copy, append_and_restart)
{
	synth_segment(&log_, 0);
	synth_block(&log_, 100);
	synth_head(&log_);
	fix_append_all();
	fix_expect_holds(1);
	fix_close();
	fix_open();
	fix_expect_holds(1);
	synth_block(&log_, 5000);
	synth_head(&log_);
	synth_segment(&log_, 3); /* numbers may be left out */
	synth_block(&log_, 17);
	synth_head(&log_);
	fix_append_all();
	fix_expect_holds(3);
	cr_expect_eq(fix_segment_len(0), (long)synth_head_end(&log_, 2));
	cr_expect_eq(fix_segment_len(3), (long)(log_.end - segment_start(3)));
}

Test(copy, many_segments)
{
	synth_grow(&log_, 3 * SEGMENT_SIZE + 12345);
	fix_append_all();
	fix_expect_holds(1);
	fix_close();
	fix_open();
	fix_expect_holds(1);
}

Test(copy, a_full_segment_ends_at_its_end)
{
	size_t left;

	synth_segment(&log_, 0);
	while (log_.end + (1 << 20) + 12 < SEGMENT_SIZE - (1 << 20))
		synth_block(&log_, 1 << 20);
	synth_head(&log_);
	left = SEGMENT_SIZE - log_.end;
	synth_block(&log_, left / 2);
	synth_block(&log_, SEGMENT_SIZE - log_.end - 12);
	cr_assert_eq(log_.end, SEGMENT_SIZE);
	synth_segment(&log_, 1);
	synth_head(&log_);
	fix_append_all();
	fix_expect_holds(2);
	synth_block(&log_, 77);
	synth_head(&log_);
	fix_append_all();
	fix_expect_holds(3);
}

struct seen {
	uint64_t n, first, limit;
	uint64_t pos;
};

static int see(void *ctx, const struct copy_head *h)
{
	struct seen *s = ctx;

	cr_assert_arr_eq(h->note, synth_bytes(&log_, h->pos) + 12, h->note_len);
	cr_assert_eq(h->pos, log_.heads[s->first + s->n - 1].pos);
	s->n++;
	return s->n == s->limit;
}

Test(copy, heads_by_number_and_time)
{
	struct seen s = {.first = 3, .limit = 4};

	synth_segment(&log_, 0);
	for (unsigned i = 0; i < 10; i++)
		synth_head(&log_);
	fix_append_all();
	cr_assert_eq(copy_heads(copy, 3, see, &s), 0);
	cr_expect_eq(s.n, 4);
	s = (struct seen){.first = 11, .limit = 100};
	cr_assert_eq(copy_heads(copy, 11, see, &s), 0);
	cr_expect_eq(s.n, 0);
	s = (struct seen){.first = 10, .limit = 1};
	cr_assert_eq(copy_head_at(copy, INT64_MAX, see, &s), 0);
	cr_expect_eq(s.n, 1);
	s = (struct seen){.first = 9, .limit = 1};
	cr_assert_eq(copy_head_at(copy, log_.time_ns - 1, see, &s), 0);
	cr_expect_eq(s.n, 1);
	s = (struct seen){.first = 1, .limit = 1};
	cr_assert_eq(copy_head_at(copy, 0, see, &s), 0);
	cr_expect_eq(s.n, 0);
}

static void die_in_memory(uint64_t fed, bool commit)
{
	static unsigned turn;
	struct copy_committed s;
	struct appender *a;

	cr_assert_eq(fix_begin(&a), 0);
	cr_assert_eq(fix_feed(a, fix_committed().end, fed, 100000), 0);
	if (commit)
		cr_assert_eq(appender_commit(a, &s), 0);
	memory_crash(memory, (enum memory_crash)(turn++ % 3));
	appender_end(a);
	fix_close();
	fix_open();
}

/* The server dies at any point: a process that never ends its appender. */
static void die_after(uint64_t fed, bool commit)
{
	pid_t pid;

	if (fix_memory) {
		die_in_memory(fed, commit);
		return;
	}
	fix_close();
	pid = fork();
	if (pid == 0) {
		struct copy_committed s;
		struct appender *a;

		fix_open();
		if (fix_begin(&a) < 0 || fix_feed(a, fix_committed().end, fed, 100000) < 0)
			_exit(1);
		if (commit && appender_commit(a, &s) < 0)
			_exit(2);
		_exit(0);
	}
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	fix_open();
}

Test(copy, restart_at_any_point)
{
	size_t i = 0;

	synth_segment(&log_, 0);
	synth_block(&log_, 40);
	synth_head(&log_);
	fix_append_all();
	for (unsigned round = 0; round < 6; round++) {
		synth_block(&log_, 150000);
		if (round == 3)
			synth_segment(&log_, 1);
		synth_head(&log_);
		synth_block(&log_, 90000);
	}
	for (i = 1; i < log_.n_blocks; i += 2) {
		uint64_t fed = log_.blocks[i].pos + log_.blocks[i].len;
		uint64_t before = fix_committed().head;

		if (fed <= fix_committed().end)
			continue;
		die_after(fed, i % 4 == 3);
		cr_expect_geq(fix_committed().head, before);
		cr_expect_leq(fix_committed().end, fed);
		fix_expect_holds(fix_committed().head);
	}
	fix_append_all();
	fix_expect_holds(log_.number);
}

Test(copy, the_catalog_can_be_lost)
{
	synth_grow(&log_, 70 << 20);
	synth_block(&log_, 40);
	synth_head(&log_);
	fix_append_all();
	fix_close();
	fix_drop_index();
	fix_open();
	fix_expect_holds(2);
	synth_block(&log_, 50);
	synth_head(&log_);
	fix_append_all();
	fix_expect_holds(3);
}

/* Three heads, the second and the third beyond a hole, and a catalog that lost them all. */
static void three_heads_and_a_hole(bool whole)
{
	static const uint8_t zeros[4096];
	char path[512];
	struct catalog *c;
	uint64_t hole;
	int fd;

	synth_segment(&log_, 0);
	synth_block(&log_, 40);
	synth_head(&log_);
	hole = log_.end + 100;
	synth_block(&log_, 9000);
	synth_head(&log_);
	synth_block(&log_, 60);
	synth_head(&log_);
	fix_append_all();
	fix_close();
	fix_path("log/0000000000000000.seg", path);
	fd = file_open(AT_FDCWD, path, O_WRONLY, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(file_write_at(fd, zeros, sizeof(zeros), hole), 0);
	file_close(fd);
	fix_path("", path);
	cr_assert_eq(newest_forget(path), 0);
	cr_assert_eq(catalog_remove(path), 0);
	cr_assert_eq(catalog_open(path, log_.id, CATALOG_WRITE, &c), 0);
	if (whole)
		cr_assert_eq(catalog_set_whole(c), 0);
	catalog_close(c);
}

/* A catalog that was there from the start lost its newest heads only: none that was acknowledged. */
Test(copy, an_empty_catalog_that_is_whole_says_where_to_cut)
{
	FOLDER_ONLY();
	three_heads_and_a_hole(true);
	fix_open();
	fix_expect_holds(1);
	fix_append_all();
	fix_expect_holds(3);
	fix_close();
	fix_open();
	fix_expect_holds(3);
}

/* Of one that is not whole nothing is known, however often it is asked. */
Test(copy, beside_a_catalog_that_is_not_whole_nothing_is_cut)
{
	FOLDER_ONLY();
	three_heads_and_a_hole(false);
	for (int i = 0; i < 3; i++) {
		fix_open_vault();
		cr_expect_eq(vault_find(vault, log_.id, &copy), -ERR_DAMAGED);
		cr_expect(strstr(err_detail(-ERR_DAMAGED), "nothing tells whether"));
		cr_expect(strstr(err_detail(-ERR_DAMAGED), "--repair"));
		cr_expect_eq(fix_segment_len(0), (long)log_.end);
		fix_close();
	}
}

static int take_none(void *ctx, const struct copy_head *h)
{
	(void)ctx;
	(void)h;
	return 0;
}

Test(copy, a_torn_tail_is_cut)
{
	uint64_t held;

	synth_segment(&log_, 0);
	synth_block(&log_, 40);
	synth_head(&log_);
	fix_append_all();
	fix_close();
	held = log_.end;
	/* Of the blocks to come, so much. */
	synth_block(&log_, 3000);
	fix_put(held, synth_bytes(&log_, held), 700);
	fix_open();
	fix_expect_holds(1);
	cr_expect_eq(fix_segment_len(0), (long)held);
}

/* Refused, and left as it is, as often as it is opened. */
static void expect_refused(const char *words)
{
	long len = fix_segment_len(0);

	for (int i = 0; i < 3; i++) {
		fix_open_vault();
		cr_expect_eq(vault_find(vault, log_.id, &copy), -ERR_DAMAGED);
		cr_expect(strstr(err_detail(-ERR_DAMAGED), words), "%s", err_detail(-ERR_DAMAGED));
		cr_expect(strstr(err_detail(-ERR_DAMAGED), "--log-only --repair --from"), "%s",
			  err_detail(-ERR_DAMAGED));
		cr_expect_eq(fix_segment_len(0), len);
		fix_close();
	}
}

/*
 * Acknowledged heads, the newest or what it covers damaged, beside a catalog that knows it, knows an
 * older one only, or was lost: whoever follows whichever advice loses nothing.
 */
Test(copy, damage_is_not_cut_whatever_the_catalog_knows)
{
	char catalog[512], older[512], newest[512], command[2000];
	uint64_t places[3];

	FOLDER_ONLY();
	synth_segment(&log_, 0);
	synth_head(&log_);
	fix_append_all();
	fix_close();
	fix_path("catalog", catalog);
	fix_path("older", older);
	fix_path("newest", newest);
	snprintf(command, sizeof(command), "cp -a '%s' '%s'", catalog, older);
	cr_assert_eq(system(command), 0);
	fix_open();
	synth_block(&log_, 700);
	places[0] = log_.end - 3;
	/* A frame, and the head itself. */
	places[1] = log_.end + 1;
	synth_head(&log_);
	places[2] = log_.end - 30;
	fix_append_all();
	fix_close();
	snprintf(command, sizeof(command), "cp -a '%s' '%s'", catalog, newest);
	cr_assert_eq(system(command), 0);
	/* Nothing else tells of them but the log. */
	fix_path("", command);
	cr_assert_eq(newest_forget(command), 0);
	for (unsigned i = 0; i < 3; i++) {
		fix_flip(places[i]);
		for (int knows = 0; knows < 3; knows++) {
			/* Below the newest head that it knows nothing is looked at. */
			if (knows == 2 && i == 0)
				continue;
			snprintf(command, sizeof(command), "rm -rf '%s'", catalog);
			cr_assert_eq(system(command), 0);
			snprintf(command, sizeof(command), "cp -a '%s' '%s'",
				 knows == 1 ? older : newest, catalog);
			cr_assert(knows == 0 || system(command) == 0);
			expect_refused("");
		}
		fix_flip(places[i]);
	}
	fix_open();
	fix_expect_holds(2);
}

/* Appenders finish a segment before they begin the next: an earlier one has no torn end. */
Test(copy, damage_in_a_finished_segment_is_not_cut)
{
	char catalog[512], older[512], command[2000];
	uint64_t place;
	long len;
	int fd;

	FOLDER_ONLY();
	synth_segment(&log_, 0);
	synth_head(&log_);
	fix_append_all();
	fix_close();
	fix_path("catalog", catalog);
	fix_path("older", older);
	snprintf(command, sizeof(command), "cp -a '%s' '%s'", catalog, older);
	cr_assert_eq(system(command), 0);
	fix_open();
	synth_block(&log_, 9000);
	place = log_.end - 4500;
	synth_head(&log_);
	fix_append_all();
	fix_close();
	len = fix_segment_len(0);
	fix_flip(place);
	/* The next segment was named, and nothing of it was written yet. */
	fix_path("log/0000000000000001.seg", command);
	fd = file_open(AT_FDCWD, command, O_RDWR | O_CREAT, 0600);
	cr_assert_geq(fd, 0);
	file_close(fd);
	/* Power took the newest head from the catalog, which is whole for all that. */
	snprintf(command, sizeof(command), "rm -rf '%s' && mv '%s' '%s'", catalog, older, catalog);
	cr_assert_eq(system(command), 0);
	expect_refused("a segment is whole before the next is begun");
	cr_expect_eq(fix_segment_len(0), len);
	fix_flip(place);
	fix_open();
	fix_expect_holds(2);
}

/* The last segments and the catalog are gone: what is left is no sound older copy. */
Test(copy, what_was_acknowledged_is_missed_without_a_catalog)
{
	char path[512], command[2000];

	FOLDER_ONLY();
	synth_grow(&log_, 3 << 20);
	fix_append_all();
	synth_segment(&log_, 1);
	synth_block(&log_, 500);
	synth_head(&log_);
	fix_append_all();
	fix_close();
	fix_path("", path);
	snprintf(command, sizeof(command),
		 "cd '%s' && mkdir kept && mv catalog log/0000000000000001.seg kept", path);
	cr_assert_eq(system(command), 0);
	expect_refused("but head 2 of");
	snprintf(command, sizeof(command), "cd '%s' && mv kept/0000000000000001.seg log", path);
	cr_assert_eq(system(command), 0);
	fix_open();
	fix_expect_holds(2);
}

/* What a running server finds damaged: its advice is to heal, and nothing that loses. */
Test(copy, a_head_that_vanished_is_told_with_what_heals)
{
	synth_segment(&log_, 0);
	synth_head(&log_);
	fix_append_all();
	fix_flip(log_.heads[0].pos + 4);
	cr_assert_eq(copy_heads(copy, 1, take_none, NULL), -ERR_DAMAGED);
	cr_expect(strstr(err_detail(-ERR_DAMAGED), "--log-only --repair --from"));
	cr_expect(strstr(err_detail(-ERR_DAMAGED), "remove") == NULL);
	/* A frame that is whole, before a note that is not. */
	fix_flip(log_.heads[0].pos + 4);
	cr_assert_eq(copy_heads(copy, 1, take_none, NULL), 0);
	fix_flip(log_.heads[0].pos + FRAME_LEN + 1);
	cr_assert_eq(copy_heads(copy, 1, take_none, NULL), -ERR_DAMAGED);
}

Test(copy, ranges)
{
	uint64_t len;

	synth_segment(&log_, 0);
	synth_head(&log_);
	synth_segment(&log_, 2);
	synth_head(&log_);
	fix_append_all();
	cr_expect_eq(copy_clip(copy, 0, SEGMENT_SIZE, &len), 0);
	cr_expect_eq(len, synth_head_end(&log_, 1));
	cr_expect_eq(copy_clip(copy, 10, 20, &len), 0);
	cr_expect_eq(len, 20);
	cr_expect_eq(copy_clip(copy, 1, SEGMENT_SIZE, &len), -EINVAL);
	cr_expect_eq(copy_clip(copy, 0, 0, &len), -EINVAL);
	cr_expect_eq(copy_clip(copy, 0, UINT64_MAX, &len), -EINVAL);
	cr_expect_eq(copy_clip(copy, SEGMENT_SIZE, 10, &len), -ERR_ABSENT);
	cr_expect_eq(copy_clip(copy, log_.end, 1, &len), -ERR_ABSENT);
	cr_expect_eq(copy_clip(copy, UINT64_MAX, 1, &len), -ERR_ABSENT);
	cr_expect_eq(copy_clip(copy, 2 * SEGMENT_SIZE, SEGMENT_SIZE, &len), 0);
	cr_expect_eq(len, log_.end - 2 * SEGMENT_SIZE);
}

static int count_or_fail_sync(void *ctx, const char *op)
{
	int *n = ctx;

	if (strcmp(op, "sync") != 0)
		return 0;
	return ++*n == 5 ? -EIO : 0;
}

/* The fifth sync of a creation is that of the store, which makes the copy's name durable. */
Test(copy, a_name_whose_sync_failed_is_synced_by_the_next)
{
	struct buf conf = {0};
	struct synth other;
	struct copy *c;
	int n = 0, before;

	FOLDER_ONLY();
	synth_init(&other, 8);
	synth_conf(&other, 1, 1, &conf);
	fix_set_fault(count_or_fail_sync, &n);
	cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &c), -EIO);
	before = n;
	cr_assert_eq(before, 5);
	cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &c), 0);
	fix_set_fault(NULL, NULL);
	cr_assert_gt(n, before);
	buf_release(&conf);
	synth_release(&other);
}

/* A flipped bit in the newest head: it was acknowledged, so it is no torn tail, and stays. */
Test(copy, newest_head_is_damaged)
{
	synth_segment(&log_, 0);
	synth_head(&log_);
	synth_block(&log_, 500);
	synth_head(&log_);
	fix_append_all();
	fix_close();
	fix_flip(log_.end - 30);
	fix_open_vault();
	cr_expect_eq(vault_find(vault, log_.id, &copy), -ERR_DAMAGED);
	cr_expect(strstr(err_detail(-ERR_DAMAGED), "--repair"));
	cr_expect_eq(fix_segment_len(0), (long)log_.end);
	fix_close();
	fix_flip(log_.end - 30);
	fix_open();
	fix_expect_holds(2);
}

static int mend(const char *who, size_t block, uint64_t leaf, size_t len, uint32_t *out)
{
	const struct synth_place *b = &log_.blocks[block];

	return copy_repair(copy, who, b->pos, leaf, synth_bytes(&log_, b->pos), len ? len : b->len,
			   out);
}

/* What the owner sends again is taken if it is what was verified before, and only then. */
Test(copy, mending)
{
	uint8_t wrong[600];
	uint32_t n;

	synth_segment(&log_, 0);
	synth_block(&log_, 500);
	synth_head(&log_);
	synth_segment(&log_, 1);
	synth_block(&log_, 500);
	synth_head(&log_);
	synth_block(&log_, 40);
	synth_head(&log_);
	fix_append_all();
	cr_expect_eq(mend(WHO, 1, 1, 0, &n), 0);
	cr_expect_eq(n, 0);
	fix_flip(log_.blocks[1].pos + 30);
	cr_expect_eq(mend("cn:thief", 1, 1, 0, &n), -ERR_FORBIDDEN);
	cr_expect_eq(mend(WHO, 1, 2, 0, &n), -ERR_FORBIDDEN);
	cr_expect_eq(mend(WHO, 1, 99, 0, &n), -ERR_ABSENT);
	cr_expect_eq(mend(WHO, 1, 1, 20, &n), -EINVAL);
	memcpy(wrong, synth_bytes(&log_, log_.blocks[1].pos), log_.blocks[1].len);
	wrong[100] ^= 1;
	cr_expect_eq(copy_repair(copy, WHO, log_.blocks[1].pos, 1, wrong, log_.blocks[1].len, &n),
		     -ERR_FORBIDDEN);
	cr_expect_eq(copy_repair(copy, WHO, log_.end, 8, wrong, 100, &n), -ERR_ABSENT);
	cr_expect_eq(n, 0);
	cr_expect_eq(mend(WHO, 1, 1, 0, &n), 0);
	cr_expect_eq(n, 1);
	fix_expect_holds(3);

	/* A segment that is gone comes back; all its blocks in one request. */
	fix_close();
	fix_drop_segment(0);
	fix_open();
	cr_expect_eq(mend(WHO, 0, 0, log_.blocks[2].pos + log_.blocks[2].len, &n), 0);
	cr_expect_eq(n, 3);
	fix_expect_holds(3);
	/* Appending goes on. */
	synth_block(&log_, 70);
	synth_head(&log_);
	fix_append_all();
	fix_expect_holds(4);
}

/* Counts calls of one kind and, past the first so many, fails them. */
struct failing {
	const char *op;
	int count, from;
};

static int fail_from(void *ctx, const char *op)
{
	struct failing *f = ctx;

	if (strcmp(op, f->op) != 0)
		return 0;
	return ++f->count > f->from ? -EIO : 0;
}

/* What a mending could not make durable is not served, and written again by the next, and by a restart. */
Test(copy, a_mending_whose_sync_failed_is_made_again)
{
	struct failing f = {.op = fix_memory ? "drain" : "sync_data"};
	struct failing w = {.op = fix_memory ? "drain" : "write", .from = 1 << 20};
	uint8_t byte;
	uint32_t n;

	synth_segment(&log_, 0);
	synth_block(&log_, 500);
	synth_head(&log_);
	fix_append_all();
	for (int restart = 0; restart < 2; restart++) {
		fix_flip(log_.blocks[1].pos + 30);
		f.count = w.count = 0;
		fix_set_fault(fail_from, &f);
		cr_expect_eq(mend(WHO, 1, 1, 0, &n), -EIO);
		fix_set_fault(fail_from, &w);
		cr_expect_eq(copy_read(copy, log_.blocks[1].pos, 1, &byte), -EIO);
		if (restart) {
			fix_close();
			fix_open();
		} else {
			cr_expect_eq(mend(WHO, 1, 1, 0, &n), 0);
		}
		cr_expect_gt(w.count, 0, "nothing was written again");
		fix_set_fault(NULL, NULL);
		cr_expect_eq(copy_read(copy, log_.blocks[1].pos, 1, &byte), 0);
		fix_expect_holds(1);
	}
}

/* After a sync that failed, a server that is started again sees what is not on the disk. */
Test(copy, what_no_catalog_vouches_for_is_written_again)
{
	struct failing f = {.op = "write", .from = 1000};
	char path[512];

	FOLDER_ONLY();
	synth_segment(&log_, 0);
	synth_block(&log_, 9000);
	synth_head(&log_);
	fix_append_all();
	fix_close();
	fix_path("catalog", path);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	fix_open_vault();
	fix_set_fault(fail_from, &f);
	cr_expect_eq(vault_find(vault, log_.id, &copy), 0);
	fix_set_fault(NULL, NULL);
	cr_expect_geq(f.count, 3);
	fix_expect_holds(1);
	fix_close();

	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	fix_open_vault();
	f = (struct failing){.op = "sync_data"};
	fix_set_fault(fail_from, &f);
	cr_expect_eq(vault_find(vault, log_.id, &copy), -EIO);
	fix_set_fault(NULL, NULL);
	fix_close();
	fix_open();
	fix_expect_holds(1);
}

/* Where the storage says what was committed, all of it must be there, whatever the index knows. */
Test(copy, below_a_commit_nothing_may_be_missing)
{
	uint64_t places[3], end;

	synth_segment(&log_, 0);
	synth_head(&log_);
	synth_block(&log_, 9000);
	places[0] = log_.end - 4500;
	synth_head(&log_);
	places[1] = log_.end - 30;
	synth_segment(&log_, 1);
	synth_block(&log_, 70);
	synth_head(&log_);
	places[2] = log_.end - 30;
	fix_append_all();
	end = log_.end;
	fix_close();
	for (unsigned i = 0; i < 3; i++) {
		fix_drop_index();
		fix_flip(places[i]);
		for (int again = 0; again < 2; again++) {
			fix_open_vault();
			cr_expect_eq(vault_find(vault, log_.id, &copy), -ERR_DAMAGED);
			cr_expect_eq(fix_segment_len(1), (long)(end - SEGMENT_SIZE));
			fix_close();
		}
		fix_flip(places[i]);
		fix_open();
		fix_expect_holds(3);
		fix_close();
	}
	fix_open();
}

static void *recover_it(void *arg)
{
	struct copy_lock lock;

	cr_assert_eq(copy_lock_briefly(copy, WHO, &lock), 0);
	cr_expect_eq(copy_recover(copy), 0);
	copy_unlock(copy, &lock);
	return arg;
}

static int let_it_be_recovered(void *ctx, const struct copy_head *h) UNFOLLOWED;

/* While one asks for heads a recovery begins: who asks from then on does not get in before it. */
static int let_it_be_recovered(void *ctx, const struct copy_head *h)
{
	(void)h;
	cr_assert_eq(pthread_create(ctx, NULL, recover_it, NULL), 0);
	while (pthread_rwlock_tryrdlock(&copy->gate) == 0) {
		pthread_rwlock_unlock(&copy->gate);
		sched_yield();
	}
	return 1;
}

Test(copy, questions_without_a_pause_do_not_keep_a_recovery_out)
{
	pthread_t recoverer;

	synth_segment(&log_, 0);
	synth_head(&log_);
	fix_append_all();
	cr_expect_eq(copy_heads(copy, 1, let_it_be_recovered, &recoverer), 0);
	pthread_join(recoverer, NULL);
	fix_expect_holds(1);
}

#define QUESTIONS 1000

/*
 * A copy whose recovery failed is recovered by who asks; but not by each: strangers may ask, too, and each
 * attempt takes the disk, and a thread, for what it takes.
 */
Test(copy, questions_do_not_each_recover_what_cannot_be_recovered)
{
	struct failing f = {.op = fix_memory ? "index" : "list"};
	struct copy_lock lock;
	int tried;

	synth_segment(&log_, 0);
	synth_head(&log_);
	fix_append_all();
	fix_set_fault(fail_from, &f);
	cr_assert_eq(copy_lock_briefly(copy, WHO, &lock), 0);
	cr_expect_eq(copy_recover(copy), -EIO);
	copy_unlock(copy, &lock);
	tried = f.count;
	for (int i = 0; i < QUESTIONS; i++)
		cr_expect_eq(copy_heads(copy, 1, take_none, NULL), -EIO);
	cr_expect_gt(f.count, tried, "none recovers it");
	cr_expect_lt(f.count, QUESTIONS, "each recovers it");
	fix_set_fault(NULL, NULL);
	/* The owner need not wait. */
	fix_append_all();
	cr_expect_eq(copy_heads(copy, 1, take_none, NULL), 0);
	fix_expect_holds(1);
}

static int take_any(void *ctx, const struct copy_head *h)
{
	(void)ctx, (void)h;
	return 0;
}

static int ask_beside_a_recovery(void *ctx, const struct copy_head *h)
{
	struct buf proof = {0};
	uint64_t first = 0;

	(void)let_it_be_recovered(ctx, h);
	/* Whoever waited for the gate here would wait for as long as the recovery does. */
	cr_expect_eq(copy_heads(copy, 1, take_any, NULL), -ERR_LOCKED);
	cr_expect(strstr(err_detail(-ERR_LOCKED), "recovering this volume"));
	cr_expect_eq(copy_head_at(copy, INT64_MAX, take_any, NULL), -ERR_LOCKED);
	cr_expect_eq(copy_prove(copy, 1, &first, 1, &proof), -ERR_LOCKED);
	return 1;
}

/* A recovery may make the catalog anew, for hours, and a server has few threads. */
Test(copy, a_recovery_does_not_hold_who_asks)
{
	pthread_t recoverer;

	synth_segment(&log_, 0);
	synth_head(&log_);
	fix_append_all();
	cr_expect_eq(copy_heads(copy, 1, ask_beside_a_recovery, &recoverer), 0);
	pthread_join(recoverer, NULL);
	fix_expect_holds(1);
	cr_expect_eq(copy_heads(copy, 1, take_any, NULL), 0);
}
