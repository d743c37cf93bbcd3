/* The vault, copies and the appender: what is let in, what is refused, and what a crash or a full disk leaves. */

#include "appender.h"
#include "copy.h"
#include "err.h"
#include "file.h"
#include "synth.h"
#include "vault.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WHO "cn:home"

static char dir[256];
static struct synth log_;
static struct vault *vault;
static struct copy *copy;

static void no_cancel(void *ctx)
{
	(void)ctx;
}

static void open_vault(void)
{
	cr_assert_eq(vault_open(dir, &vault), 0);
	cr_assert_eq(vault_find(vault, log_.id, &copy), 0);
}

static void close_vault(void)
{
	vault_close(vault);
	vault = NULL;
}

static void set_up(void)
{
	const char *tmp = getenv("TMPDIR");
	struct buf conf = {0};

	snprintf(dir, sizeof(dir), "%s/embassyd-vault-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(mkdtemp(dir));
	synth_init(&log_, 7);
	cr_assert_eq(vault_open(dir, &vault), 0);
	synth_conf(&log_, 1, 1, &conf);
	cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &copy), 0);
	buf_release(&conf);
}

static void tear_down(void)
{
	file_set_fault(NULL, NULL);
	close_vault();
	synth_release(&log_);
	cr_expect_eq(file_remove_tree(AT_FDCWD, dir), 0);
}

TestSuite(vault, .init = set_up, .fini = tear_down, .timeout = 120);

static struct copy_stand stand(void)
{
	struct copy_stand s;

	copy_get_stand(copy, &s);
	return s;
}

static int begin(struct appender **out)
{
	struct copy_stand s = stand();
	struct appender_opening o = {.epoch = log_.epoch, .position = s.end, .head = s.head,
				     .cancel = no_cancel};

	return appender_begin(copy, WHO, &o, out);
}

/* Give the log's bytes from ${pos} to ${limit} to the appender; the first error. */
static int feed(struct appender *a, uint64_t pos, uint64_t limit, size_t piece)
{
	while (pos < limit) {
		uint8_t *room;
		size_t len;
		uint64_t at = synth_piece(&log_, pos, piece, &len);
		int rc;

		cr_assert_gt(len, 0);
		rc = appender_room(a, at, len, &room);
		if (rc < 0)
			return rc;
		memcpy(room, synth_bytes(&log_, at), len);
		rc = appender_take(a);
		if (rc < 0)
			return rc;
		pos = at + len;
	}
	return 0;
}

/* Append all there is and commit. */
static void append_all(void)
{
	struct copy_stand s;
	struct appender *a;
	int rc;

	rc = begin(&a);
	cr_assert_eq(rc, 0, "%s", err_detail(rc));
	rc = feed(a, stand().end, log_.end, 1 << 20);
	cr_assert_eq(rc, 0, "%s", err_detail(rc));
	cr_assert_eq(appender_commit(a, &s), 0);
	cr_assert_eq(s.end, synth_head_end(&log_, log_.number));
	appender_end(a);
}

/* The copy holds exactly the log up to head ${number}. */
static void expect_holds(uint64_t number)
{
	uint64_t end = synth_head_end(&log_, number);
	uint8_t *bytes = malloc(BLOCK_STORED_MAX);

	cr_assert_eq(stand().head, number, "head %lu", (unsigned long)stand().head);
	cr_assert_eq(stand().end, end);
	for (size_t i = 0; i < log_.n_blocks; i++) {
		const struct synth_place *b = &log_.blocks[i];
		uint64_t len;

		if (b->pos >= end) {
			cr_assert_eq(copy_clip(copy, b->pos, b->len, &len), -ERR_ABSENT);
			continue;
		}
		cr_assert_eq(copy_clip(copy, b->pos, b->len, &len), 0);
		cr_assert_eq(len, b->len);
		cr_assert_eq(copy_read(copy, b->pos, b->len, bytes), 0);
		cr_assert_arr_eq(bytes, synth_bytes(&log_, b->pos), b->len);
	}
	free(bytes);
}

/* The length of a segment's file; -1: not there. */
static long file_len(uint64_t number)
{
	char path[512], id[2 * VOLUME_ID_LEN + 1];
	struct stat st;

	for (unsigned i = 0; i < VOLUME_ID_LEN; i++)
		sprintf(id + 2 * i, "%02x", log_.id[i]);
	snprintf(path, sizeof(path), "%s/%s/log/%016llx.seg", dir, id, (unsigned long long)number);
	return stat(path, &st) < 0 ? -1 : (long)st.st_size;
}

static void volume_path(const char *name, char out[512])
{
	char id[2 * VOLUME_ID_LEN + 1];

	for (unsigned i = 0; i < VOLUME_ID_LEN; i++)
		sprintf(id + 2 * i, "%02x", log_.id[i]);
	snprintf(out, 512, "%s/%s/%s", dir, id, name);
}

Test(vault, append_and_restart)
{
	synth_segment(&log_, 0);
	synth_block(&log_, 100);
	synth_head(&log_);
	append_all();
	expect_holds(1);
	close_vault();
	open_vault();
	expect_holds(1);
	synth_block(&log_, 5000);
	synth_head(&log_);
	synth_segment(&log_, 3); /* numbers may be left out */
	synth_block(&log_, 17);
	synth_head(&log_);
	append_all();
	expect_holds(3);
	cr_expect_eq(file_len(0), (long)synth_head_end(&log_, 2));
	cr_expect_eq(file_len(3), (long)(log_.end - segment_start(3)));
}

Test(vault, many_segments)
{
	synth_grow(&log_, 3 * SEGMENT_SIZE + 12345);
	append_all();
	expect_holds(1);
	close_vault();
	open_vault();
	expect_holds(1);
}

Test(vault, a_full_segment_ends_at_its_end)
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
	append_all();
	expect_holds(2);
	synth_block(&log_, 77);
	synth_head(&log_);
	append_all();
	expect_holds(3);
}

Test(vault, nothing_after_the_newest_head_counts)
{
	struct appender *a;

	synth_grow(&log_, 3 << 20);
	append_all();
	synth_block(&log_, 70000);
	synth_segment(&log_, 1);
	synth_block(&log_, 70000);
	cr_assert_eq(begin(&a), 0);
	cr_assert_eq(feed(a, stand().end, log_.end, 1 << 20), 0);
	cr_expect_not(appender_has_heads(a));
	expect_holds(1);
	appender_end(a);
	expect_holds(1);
	cr_expect_eq(file_len(0), (long)synth_head_end(&log_, 1));
	cr_expect_eq(file_len(1), -1);
	/* The same bytes are taken when they come again with a head. */
	synth_head(&log_);
	append_all();
	expect_holds(2);
}

Test(vault, heads_share_a_sync)
{
	struct copy_stand s;
	struct appender *a;

	synth_segment(&log_, 0);
	for (unsigned i = 0; i < 3 * APPENDER_HEADS_MAX + 5; i++) {
		synth_block(&log_, 40 + i);
		synth_head(&log_);
	}
	cr_assert_eq(begin(&a), 0);
	cr_assert_eq(feed(a, 0, log_.end, 1 << 20), 0);
	cr_expect(appender_has_heads(a));
	cr_assert_eq(appender_commit(a, &s), 0);
	cr_expect_eq(s.head, log_.number);
	cr_expect_not(appender_has_heads(a));
	appender_end(a);
	expect_holds(log_.number);
	close_vault();
	open_vault();
	expect_holds(log_.number);
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

Test(vault, heads_by_number_and_time)
{
	struct seen s = {.first = 3, .limit = 4};

	synth_segment(&log_, 0);
	for (unsigned i = 0; i < 10; i++)
		synth_head(&log_);
	append_all();
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

/* Whatever a head lies about, it is refused, and what came before it stays. */
Test(vault, every_lie_is_refused)
{
	struct buf conf = {0};

	synth_conf(&log_, 2, 2, &conf);
	cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &copy), 0);
	buf_release(&conf);
	synth_grow(&log_, 200000);
	/* The epoch that is granted newest is the one that may append. */
	log_.epoch = 2;
	append_all();
	log_.epoch = 1;
	for (int lie = 0; lie < LIE_END; lie++) {
		struct synth bad;
		struct appender *a;
		int rc;

		synth_init(&bad, 7);
		synth_grow(&bad, 200000);
		synth_block(&bad, 1000);
		synth_lying_head(&bad, (enum synth_lie)lie);
		log_.epoch = 2;
		cr_assert_eq(begin(&a), 0);
		struct synth good = log_;
		log_ = bad;
		rc = feed(a, synth_head_end(&bad, 1), bad.end, 1 << 20);
		log_ = good;
		cr_expect_eq(rc, -ERR_TAMPERED, "lie %d: %s", lie, err_detail(rc));
		cr_expect_not(appender_has_heads(a));
		appender_end(a);
		log_.epoch = 1;
		expect_holds(1);
		synth_release(&bad);
	}
}

static int feed_raw(uint64_t pos, const void *bytes, size_t len)
{
	struct appender *a;
	uint8_t *room;
	int rc;

	cr_assert_eq(begin(&a), 0);
	rc = appender_room(a, pos, len, &room);
	if (rc == 0) {
		memcpy(room, bytes, len);
		rc = appender_take(a);
	}
	appender_end(a);
	return rc;
}

Test(vault, bad_bytes_are_refused)
{
	uint8_t garbage[1000];
	uint64_t end;

	memset(garbage, 0xa5, sizeof(garbage));
	cr_expect_eq(feed_raw(0, garbage, sizeof(garbage)), -ERR_DAMAGED);
	cr_expect_eq(feed_raw(100, garbage, sizeof(garbage)), -EINVAL);
	synth_segment(&log_, 0);
	synth_block(&log_, 3000);
	synth_head(&log_);
	/* Half a block, a flipped frame, no header first. */
	cr_expect_eq(feed_raw(0, synth_bytes(&log_, 0), log_.end - 1), -ERR_DAMAGED);
	cr_expect_eq(feed_raw(0, synth_bytes(&log_, 0), 5), -ERR_DAMAGED);
	cr_expect_eq(feed_raw(0, synth_bytes(&log_, log_.blocks[1].pos), 100), -ERR_DAMAGED);
	expect_holds(0);
	append_all();
	end = log_.end;
	synth_block(&log_, 3000);
	/* Not where the log ends; over a segment's end; nothing; too much. */
	cr_expect_eq(feed_raw(end + 1, synth_bytes(&log_, end), 100), -EINVAL);
	cr_expect_eq(feed_raw(end - 1, synth_bytes(&log_, end), 100), -EINVAL);
	cr_expect_eq(feed_raw(SEGMENT_SIZE - 10, garbage, 100), -EINVAL);
	cr_expect_eq(feed_raw(end, garbage, 0), -EINVAL);
	cr_expect_eq(feed_raw(0, garbage, 100), -EINVAL);
	cr_expect_eq(feed_raw(UINT64_MAX - SEGMENT_SIZE + 1, garbage, 100), -EINVAL);
	cr_expect_eq(feed_raw(APPENDER_POSITION_MAX, garbage, 100), -EINVAL);
	/* Data in the place of a segment's header. */
	cr_expect_eq(feed_raw(SEGMENT_SIZE, synth_bytes(&log_, end), 3012), -ERR_DAMAGED);
	expect_holds(1);
	cr_expect_eq(file_len(1), -1);
}

Test(vault, too_much_in_one_message)
{
	struct appender *a;
	uint8_t *room;

	cr_assert_eq(begin(&a), 0);
	cr_expect_eq(appender_room(a, 0, APPENDER_DATA_MAX + 1, &room), -EINVAL);
	appender_end(a);
}

/* A flipped bit anywhere in what a head covers is found by the head at the latest. */
Test(vault, a_flipped_bit_is_found)
{
	synth_segment(&log_, 0);
	synth_block(&log_, 300);
	synth_head(&log_);
	for (size_t at = 0; at < log_.end; at += 7) {
		uint8_t *bytes = malloc(log_.end);
		int rc;

		memcpy(bytes, synth_bytes(&log_, 0), log_.end);
		bytes[at] ^= 1 << at % 8;
		rc = feed_raw(0, bytes, log_.end);
		free(bytes);
		cr_assert(rc == -ERR_DAMAGED || rc == -ERR_TAMPERED || rc == -ERR_VERSION,
			  "byte %zu: %d", at, rc);
	}
	expect_holds(0);
}

Test(vault, openings)
{
	struct appender_opening o = {.epoch = 1, .cancel = no_cancel};
	struct appender *a;
	struct buf conf = {0};

	synth_segment(&log_, 0);
	synth_head(&log_);
	cr_expect_eq(appender_begin(copy, "cn:thief", &o, &a), -ERR_FORBIDDEN);
	o.epoch = 2;
	cr_expect_eq(appender_begin(copy, WHO, &o, &a), -ERR_STALE);
	o.epoch = 1;
	o.position = 5;
	cr_expect_eq(appender_begin(copy, WHO, &o, &a), -ERR_STALE);
	append_all();
	/* A fork: other ends, other heads. */
	o.position = log_.end;
	o.head = 2;
	cr_expect_eq(appender_begin(copy, WHO, &o, &a), -ERR_STALE);
	cr_expect(strstr(err_detail(-ERR_STALE), "stands at head 1"));
	o.position = o.head = 0;
	cr_expect_eq(appender_begin(copy, WHO, &o, &a), -ERR_STALE);
	/* A granted epoch fences the one before, at the opening and in mid-stream. */
	o.position = log_.end;
	o.head = 1;
	cr_assert_eq(appender_begin(copy, WHO, &o, &a), 0);
	synth_conf(&log_, 2, 2, &conf);
	cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &copy), 0);
	synth_block(&log_, 40);
	cr_expect_eq(feed(a, o.position, log_.end, 1 << 20), -ERR_STALE);
	appender_end(a);
	cr_expect_eq(appender_begin(copy, WHO, &o, &a), -ERR_STALE);
	o.epoch = 2;
	cr_assert_eq(appender_begin(copy, WHO, &o, &a), 0);
	appender_end(a);
	buf_release(&conf);
}

struct former {
	struct appender *a;
	pthread_mutex_t mu;
	pthread_cond_t told;
	bool cancelled;
};

static void cancel_former(void *ctx)
{
	struct former *f = ctx;

	pthread_mutex_lock(&f->mu);
	f->cancelled = true;
	pthread_cond_signal(&f->told);
	pthread_mutex_unlock(&f->mu);
}

static void *end_when_told(void *ctx)
{
	struct former *f = ctx;

	pthread_mutex_lock(&f->mu);
	while (!f->cancelled)
		pthread_cond_wait(&f->told, &f->mu);
	pthread_mutex_unlock(&f->mu);
	appender_end(f->a);
	return NULL;
}

Test(vault, a_newer_stream_takes_over)
{
	struct former f = {.mu = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};
	struct appender_opening o = {.epoch = 1, .cancel = cancel_former, .ctx = &f};
	struct appender *second;
	pthread_t thread;

	synth_segment(&log_, 0);
	synth_block(&log_, 100);
	cr_assert_eq(appender_begin(copy, WHO, &o, &f.a), 0);
	cr_assert_eq(feed(f.a, 0, log_.end, 1 << 20), 0);
	cr_assert_eq(pthread_create(&thread, NULL, end_when_told, &f), 0);
	cr_assert_eq(begin(&second), 0);
	pthread_join(thread, NULL);
	synth_head(&log_);
	cr_assert_eq(feed(second, 0, log_.end, 1 << 20), 0);
	appender_end(second);
	expect_holds(0);
	append_all();
	expect_holds(1);
}

/* The server dies at any point: a process that never ends its appender. */
static void die_after(uint64_t fed, bool commit)
{
	pid_t pid;

	close_vault();
	pid = fork();
	if (pid == 0) {
		struct copy_stand s;
		struct appender *a;

		open_vault();
		if (begin(&a) < 0 || feed(a, stand().end, fed, 100000) < 0)
			_exit(1);
		if (commit && appender_commit(a, &s) < 0)
			_exit(2);
		_exit(0);
	}
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	open_vault();
}

Test(vault, restart_at_any_point)
{
	size_t i = 0;

	synth_segment(&log_, 0);
	synth_block(&log_, 40);
	synth_head(&log_);
	append_all();
	for (unsigned round = 0; round < 6; round++) {
		synth_block(&log_, 150000);
		if (round == 3)
			synth_segment(&log_, 1);
		synth_head(&log_);
		synth_block(&log_, 90000);
	}
	for (i = 1; i < log_.n_blocks; i += 2) {
		uint64_t fed = log_.blocks[i].pos + log_.blocks[i].len;
		uint64_t before = stand().head;

		if (fed <= stand().end)
			continue;
		die_after(fed, i % 4 == 3);
		cr_expect_geq(stand().head, before);
		cr_expect_leq(stand().end, fed);
		expect_holds(stand().head);
	}
	append_all();
	expect_holds(log_.number);
}

Test(vault, the_catalog_can_be_lost)
{
	char path[512];

	synth_grow(&log_, 70 << 20);
	synth_block(&log_, 40);
	synth_head(&log_);
	append_all();
	close_vault();
	volume_path("catalog", path);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	open_vault();
	expect_holds(2);
	synth_block(&log_, 50);
	synth_head(&log_);
	append_all();
	expect_holds(3);
}

Test(vault, a_torn_tail_is_cut)
{
	char path[512];
	FILE *f;

	synth_segment(&log_, 0);
	synth_block(&log_, 40);
	synth_head(&log_);
	append_all();
	close_vault();
	volume_path("log/0000000000000000.seg", path);
	f = fopen(path, "a");
	cr_assert(f && fputs("torn in half", f) >= 0 && fclose(f) == 0);
	open_vault();
	expect_holds(1);
	cr_expect_eq(file_len(0), (long)log_.end);
}

Test(vault, a_damaged_volume_is_an_error_of_its_own)
{
	struct synth other;
	struct buf conf = {0};
	char path[512];
	int fd, rc;

	synth_init(&other, 8);
	synth_conf(&other, 1, 1, &conf);
	cr_assert_eq(vault_put(vault, conf.p, conf.len, WHO, &copy), 0);
	cr_assert_eq(vault_find(vault, log_.id, &copy), 0);
	synth_grow(&log_, 70 << 20);
	append_all();
	close_vault();
	volume_path("log/0000000000000000.seg", path);
	fd = open(path, O_WRONLY);
	cr_assert(fd >= 0 && pwrite(fd, "xxxx", 4, 1 << 20) == 4);
	close(fd);
	volume_path("catalog", path);
	cr_assert_eq(file_remove_tree(AT_FDCWD, path), 0);
	cr_assert_eq(vault_open(dir, &vault), 0);
	rc = vault_find(vault, log_.id, &copy);
	cr_expect(rc == -ERR_DAMAGED || rc == -ERR_TAMPERED, "%d", rc);
	cr_expect(strlen(err_detail(rc)) > 20);
	cr_expect_eq(vault_find(vault, log_.id, &copy), rc, "the failure is remembered");
	cr_expect_eq(vault_find(vault, other.id, &copy), 0);
	buf_release(&conf);
	synth_release(&other);
}

/* Fail the Nth call of one kind, once. */
struct fault {
	const char *op;
	int countdown;
	int rc;
	bool hit;
};

static int fail_nth(void *ctx, const char *op)
{
	struct fault *f = ctx;

	if (strcmp(op, f->op) != 0 || f->countdown-- != 0)
		return 0;
	f->hit = true;
	return f->rc;
}

/* Every write, sync, creation and cut fails once; the copy stays what it was, and takes the rest afterwards. */
static void fail_each(const char *op, int why)
{
	for (int n = 0;; n++) {
		struct fault f = {.op = op, .countdown = n, .rc = why};
		struct copy_stand s;
		struct appender *a;
		uint64_t before = stand().head;
		int rc;

		synth_block(&log_, 300000);
		synth_segment(&log_, segment_of(log_.end) + 1);
		synth_block(&log_, 300000);
		synth_head(&log_);
		file_set_fault(fail_nth, &f);
		rc = begin(&a);
		if (rc == 0) {
			rc = feed(a, stand().end, log_.end, 1 << 20);
			if (rc == 0)
				rc = appender_commit(a, &s);
			appender_end(a);
		}
		file_set_fault(NULL, NULL);
		if (rc < 0)
			cr_assert(f.hit, "%s", err_detail(rc));
		expect_holds(rc == 0 ? log_.number : before);
		append_all();
		expect_holds(log_.number);
		close_vault();
		open_vault();
		expect_holds(log_.number);
		if (!f.hit)
			break;
		cr_assert_lt(n, 50);
	}
}

Test(vault, full_disk)
{
	synth_segment(&log_, 0);
	synth_head(&log_);
	append_all();
	fail_each("write", -ENOSPC);
}

Test(vault, failing_syncs)
{
	synth_segment(&log_, 0);
	synth_head(&log_);
	append_all();
	fail_each("sync_data", -EIO);
	fail_each("sync", -EIO);
}

Test(vault, failing_opens_and_cuts)
{
	synth_segment(&log_, 0);
	synth_head(&log_);
	append_all();
	fail_each("open", -ENOSPC);
	fail_each("truncate", -EIO);
	fail_each("unlink", -EIO);
}

Test(vault, volume_conf)
{
	struct buf first = {0}, second = {0}, fewer = {0}, stored = {0};
	struct copy *same;

	synth_conf(&log_, 1, 1, &first);
	synth_conf(&log_, 2, 2, &second);
	synth_conf(&log_, 3, 1, &fewer);
	cr_expect_eq(vault_put(vault, first.p, first.len, WHO, &same), 0, "the same again");
	cr_expect_eq(same, copy);
	cr_expect_eq(vault_put(vault, second.p, second.len, "cn:thief", &same), -ERR_FORBIDDEN);
	cr_expect_eq(vault_put(vault, second.p, second.len, WHO, &same), 0);
	cr_expect_eq(vault_put(vault, first.p, first.len, WHO, &same), -ERR_STALE);
	cr_expect_eq(vault_put(vault, fewer.p, fewer.len, WHO, &same), -ERR_FORBIDDEN);
	second.p[second.len / 2] ^= 1;
	cr_expect_lt(vault_put(vault, second.p, second.len, WHO, &same), 0);
	second.p[second.len / 2] ^= 1;
	cr_expect_lt(vault_put(vault, "", 0, WHO, &same), 0);
	close_vault();
	open_vault();
	cr_assert_eq(copy_get_params(copy, &stored), 0);
	cr_expect_eq(stored.len, second.len);
	cr_expect_arr_eq(stored.p, second.p, second.len);
	cr_expect(copy_owned_by(copy, WHO));
	cr_expect_not(copy_owned_by(copy, "local"));
	buf_release(&first);
	buf_release(&second);
	buf_release(&fewer);
	buf_release(&stored);
}

Test(vault, same_serial_other_bytes)
{
	struct buf other = {0};
	struct copy *same;

	/* Serial 1 as before, but one more grant. */
	synth_conf(&log_, 1, 2, &other);
	cr_expect_eq(vault_put(vault, other.p, other.len, WHO, &same), -ERR_STALE);
	buf_release(&other);
}

static int count(void *ctx, const uint8_t id[VOLUME_ID_LEN])
{
	cr_expect_arr_eq(id, log_.id, VOLUME_ID_LEN);
	++*(int *)ctx;
	return 0;
}

Test(vault, lists_and_locks)
{
	uint8_t unknown[VOLUME_ID_LEN] = {1};
	struct vault *second;
	struct copy *none;
	int n = 0;

	cr_assert_eq(vault_list(vault, count, &n), 0);
	cr_expect_eq(n, 1);
	cr_expect_eq(vault_find(vault, unknown, &none), -ERR_NO_VOLUME);
	cr_expect_eq(vault_open(dir, &second), -ERR_LOCKED);
	cr_expect_lt(vault_open("/proc/nowhere/store", &second), 0);
}

Test(vault, ranges)
{
	uint64_t len;

	synth_segment(&log_, 0);
	synth_head(&log_);
	synth_segment(&log_, 2);
	synth_head(&log_);
	append_all();
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
