/*
 * What happens to an operation when others get in between: while it waits for a node of the tree,
 * and while it waits for a head.  One thread plays both: a source's read, and volume_config's on_head,
 * are called where no lock is held, and do there what another thread would.  The volume's own threads
 * are stopped meanwhile.
 */

#include "fixture.h"

#include "blocks.h"
#include "check.h"
#include "err.h"
#include "log.h"
#include "source.h"
#include "volume_internal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define N_PIECES 2000u /* extents, over some eight leaves of the tree */
#define PIECE_LEN 8192u
#define STEP ((uint64_t)EXTENT_MAX)

static struct fixture f;
static struct volume *v;
static const struct caller user = {.uid = 1000, .gid = 100};
static uint64_t file;

/* What another thread does, once each time that a read or a head lets it. */
static void (*meanwhile)(void);
static unsigned times; /* it may do so */

static void let_others_in(void)
{
	void (*fn)(void) = meanwhile;

	if (times == 0)
		return;
	times--;
	meanwhile = NULL;
	if (fn != NULL)
		fn();
	meanwhile = fn;
}

static struct source_ops hooked;
static const struct source_ops *real;
static unsigned reads;

static int hooked_read(struct source *s, uint64_t pos, size_t len, void *out)
{
	reads++;
	let_others_in();
	return real->read(s, pos, len, out);
}

static int hooked_header(struct source *s, uint64_t number, uint8_t out[SEGMENT_BLOCK_LEN])
{
	reads++;
	let_others_in();
	return real->header(s, number, out);
}

static void on_head(void *ctx, const struct head *h)
{
	(void)ctx;
	(void)h;
	let_others_in();
}

static void open_it(void)
{
	struct volume_config cfg = {
		.dir = f.dir, .params = &f.params, .keys = &f.keys, .on_head = on_head};
	struct source *src;

	times = 0;
	cr_assert_eq(volume_open(&cfg, &v), 0);
	/* Heads and checkpoints come when the test wants them. */
	scheduler_stop(v);
	src = v->view.cfg.source;
	real = src->ops;
	hooked = *real;
	hooked.read = hooked_read;
	hooked.header = hooked_header;
	src->ops = &hooked;
}

static void close_it(void)
{
	times = 0;
	v->view.cfg.source->ops = real;
	v->stopping = false;
	cr_assert_eq(scheduler_start(v), 0);
	cr_assert_eq(volume_close(v), 0);
}

/* Nothing of the tree is in memory then. */
static void cool(void)
{
	close_it();
	open_it();
}

static uint64_t make(const char *name, uint32_t mode)
{
	struct attr a;

	cr_assert_eq(volume_make_node(v, &user, INO_ROOT, name, mode, 0, NULL, &a), 0);
	return a.ino;
}

static struct attr get(uint64_t ino)
{
	struct attr a;

	cr_assert_eq(view_getattr(volume_view(v), ino, &a), 0);
	return a;
}

static void put(uint64_t ino, uint64_t off, size_t len, int with)
{
	uint8_t data[PIECE_LEN];

	memset(data, with, sizeof(data));
	cr_assert_eq(volume_write(v, NULL, ino, off, len, data, 0), 0);
}

static void expect(uint64_t ino, uint64_t off, size_t len, int with)
{
	uint8_t got[PIECE_LEN], want[PIECE_LEN];
	size_t n;

	memset(want, with, sizeof(want));
	cr_assert_eq(view_read(volume_view(v), ino, off, len, got, &n), 0);
	cr_assert_eq(n, len, "%zu bytes at %llu", n, (unsigned long long)off);
	cr_assert_arr_eq(got, want, len, "at %llu", (unsigned long long)off);
}

static void tell(void *ctx, enum check_level level, const char *text)
{
	(void)ctx;
	if (level == CHECK_BAD)
		fprintf(stderr, "%s\n", text);
}

static void check_sound(void)
{
	struct check_config cfg = {.dir = f.dir, .keys = &f.keys, .report = tell};
	struct check_counts counts;

	cr_assert_eq(volume_check(&cfg, &counts), 0);
}

static void set_up(void)
{
	fixture_make(&f);
	open_it();
	file = make("file", S_IFREG | 0644);
}

static void tear_down(void)
{
	close_it();
	check_sound();
	fixture_remove(&f);
}

TestSuite(restart, .init = set_up, .fini = tear_down, .timeout = 300);

static void write_pieces(void)
{
	for (unsigned i = 0; i < N_PIECES; i++)
		put(file, i * STEP, PIECE_LEN, 17);
	cool();
}

static uint64_t at; /* of the piece that both write to */

static void write_second_half(void)
{
	put(file, at + PIECE_LEN / 2, PIECE_LEN / 2, 2);
}

/* Two writers in one extent, the second while the first waits for a leaf: both are there. */
Test(restart, a_write_that_waits_for_a_node_keeps_what_others_wrote)
{
	unsigned met = 0;

	write_pieces();
	meanwhile = write_second_half;
	for (unsigned i = 0; i < N_PIECES; i++) {
		at = i * STEP;
		times = 1;
		put(file, at, PIECE_LEN / 2, 1);
		if (times == 0)
			met++;
		else
			write_second_half();
		times = 0;
		expect(file, at, PIECE_LEN / 2, 1);
		expect(file, at + PIECE_LEN / 2, PIECE_LEN / 2, 2);
	}
	cr_assert_gt(met, 0, "no write waited for a node");
	cr_assert_eq(get(file).bytes, (uint64_t)N_PIECES * PIECE_LEN);
}

/* The first piece of each leaf is met cold, and so is the leaf behind its last. */
Test(restart, what_reaches_beyond_a_cut_is_counted_once)
{
	write_pieces();
	for (unsigned i = 0; i < N_PIECES; i++)
		put(file, i * STEP + 100, 100, 3);
	cr_assert_eq(get(file).bytes, (uint64_t)N_PIECES * PIECE_LEN);
	cool();
	for (unsigned i = 0; i < N_PIECES; i++)
		cr_assert_eq(volume_allocate(v, NULL, file, 3, i * STEP + 1000, 1000), 0);
	cr_assert_eq(get(file).bytes, (uint64_t)N_PIECES * (PIECE_LEN - 1000));
}

static void write_a_piece_again(void)
{
	put(file, 10 * STEP, PIECE_LEN / 2, 4);
}

static void punch_a_piece(void)
{
	cr_assert_eq(volume_allocate(v, NULL, file, 3, 5 * STEP, PIECE_LEN), 0);
}

/* The cut has counted the pieces that change while it waits for the next leaf. */
Test(restart, a_long_cut_counts_again_what_changed)
{
	struct attr a, want = {.size = 4 * STEP + 100};

	write_pieces();
	meanwhile = write_a_piece_again;
	times = 3;
	cr_assert_eq(volume_allocate(v, NULL, file, 3, 6 * STEP + 50, 1000 * STEP), 0);
	cr_assert_eq(times, 0);
	cr_assert_eq(get(file).bytes, (uint64_t)(N_PIECES - 1000) * PIECE_LEN);
	expect(file, 6 * STEP, 50, 17);
	cool();
	meanwhile = punch_a_piece;
	times = 2;
	cr_assert_eq(volume_setattr(v, NULL, file, SET_SIZE, &want, &a), 0);
	cr_assert_eq(times, 0);
	cr_assert_eq(get(file).bytes, 4 * PIECE_LEN + 100);
	expect(file, 4 * STEP, 100, 17);
}

/* How much is read for it shows that a cut of a cold file goes on from where it was. */
Test(restart, a_long_cut_goes_on_where_nothing_changed)
{
	write_pieces();
	reads = 0;
	cr_assert_eq(volume_allocate(v, NULL, file, 3, 0, N_PIECES * STEP), 0);
	cr_assert_gt(reads, 5);
	cr_assert_lt(reads, 40);
	cr_assert_eq(get(file).bytes, 0);
}

#define N_FILES 20000u

static struct view *past;
static unsigned loads;

/*
 * Reads some hundred leaves, three times: a cache of the least size has let go of all that was read
 * before, and is not in use.
 */
static void sweep_the_cache(void)
{
	struct attr a;

	loads++;
	for (unsigned i = 0; i < 3; i++)
		for (uint64_t ino = 2; ino < N_FILES; ino += 40)
			cr_assert_eq(view_getattr(past, ino, &a), 0);
	times = loads < 100;
}

/* Each node of an operation is driven out while it waits for the next: it ends all the same. */
Test(restart, an_operation_ends_though_the_cache_is_swept_while_it_loads)
{
	struct view_config vc;
	struct block_io io;
	struct head head;
	struct attr a;
	char name[16];

	for (unsigned i = 0; i < N_FILES; i++) {
		snprintf(name, sizeof(name), "%u", i);
		(void)make(name, S_IFREG | 0600);
	}
	cr_assert_eq(checkpoint_take(v), 0);
	cr_assert_eq(volume_add_head(v, &head), 0);
	vc = v->view.cfg;
	io = blocks_io(log_blocks(v->log));
	cr_assert_eq(node_cache_new(0, &io, &vc.cache), 0);
	cr_assert_eq(view_open(&vc, &head, &past), 0);
	meanwhile = sweep_the_cache;
	times = 1;
	cr_assert_eq(view_lookup(past, INO_ROOT, "1", &a), 0);
	cr_assert_geq(loads, 2);
	cr_assert_leq(loads, 2 * TREE_HEIGHT_MAX);
	view_close(past);
	node_cache_free(vc.cache);
}

/* The change that is asked for next waits for a head, and lets others in there. */
static void next_change_waits(void (*fn)(void))
{
	put(file, 0, 1, 1); /* so that there is something for a head to state */
	meanwhile = fn;
	times = 1;
	atomic_store(&v->since_full, true);
}

static void write_at_2_mib(void)
{
	put(file, 2 << 20, 4096, 5);
}

Test(restart, fallocate_keeps_what_is_written_behind_it)
{
	next_change_waits(write_at_2_mib);
	cr_assert_eq(volume_allocate(v, NULL, file, 0, 0, 1 << 20), 0);
	cr_assert_eq(times, 0);
	cr_assert_eq(get(file).size, (2 << 20) + 4096);
	expect(file, 2 << 20, 4096, 5);
}

static void cut_to_1000(void)
{
	struct attr a, want = {.size = 1000};

	cr_assert_eq(volume_setattr(v, NULL, file, SET_SIZE, &want, &a), 0);
}

Test(restart, a_copy_takes_no_more_than_its_source_has)
{
	uint64_t to = make("to", S_IFREG | 0644), n;

	put(file, 0, PIECE_LEN, 6);
	next_change_waits(cut_to_1000);
	cr_assert_eq(volume_copy_range(v, NULL, file, 0, to, 0, PIECE_LEN, &n), 0);
	cr_assert_eq(times, 0);
	cr_assert_eq(n, 1000);
	cr_assert_eq(get(to).size, 1000);
	expect(to, 1, 999, 6);
}

/* Of pages that others may change meanwhile, whole ones, and what reaches the target's end. */
Test(restart, a_copy_of_whole_pages)
{
	uint64_t to = make("to", S_IFREG | 0644), n;

	put(file, 0, PIECE_LEN, 6);
	put(to, 0, PIECE_LEN, 7);
	put(to, PIECE_LEN, PIECE_LEN, 7);
	put(to, 2 * PIECE_LEN, 4096 + 100, 7);
	cr_assert_eq(volume_copy_pages(v, NULL, file, 0, to, 4096, 2 * 4096 + 9, 4096, &n), 0);
	cr_assert_eq(n, 2 * 4096);
	expect(to, 0, 4096, 7);
	expect(to, 4096, 2 * 4096, 6);
	expect(to, 3 * 4096, PIECE_LEN, 7);
	cr_assert_eq(volume_copy_pages(v, NULL, file, 0, to, 4096, 4095, 4096, &n), -EXDEV);
	cr_assert_eq(volume_copy_pages(v, NULL, file, 0, to, 4097, 2 * 4096, 4096, &n), -EXDEV);
	cr_assert_eq(volume_copy_pages(v, NULL, file, 0, to, 5 * 4096 + 1, 4096, 4096, &n), -EXDEV);
	cr_assert_eq(volume_copy_pages(v, NULL, file, 0, to, 5 * 4096, 100, 4096, &n), 0);
	cr_assert_eq(n, 100);
	cr_assert_eq(volume_copy_pages(v, NULL, file, 0, to, 6 * 4096 + 5, 7, 4096, &n), 0);
	cr_assert_eq(n, 7);
	cr_assert_eq(get(to).size, 6 * 4096 + 12);
	expect(to, 5 * 4096, 100, 6);
	expect(to, 6 * 4096 + 5, 7, 6);
}

Test(restart, a_copy_of_a_file_behind_itself_ends)
{
	uint64_t n;

	put(file, 0, PIECE_LEN, 6);
	cr_assert_eq(volume_copy_range(v, NULL, file, 0, file, PIECE_LEN, UINT64_MAX, &n), 0);
	cr_assert_eq(n, PIECE_LEN);
	cr_assert_eq(get(file).size, 2 * PIECE_LEN);
	expect(file, PIECE_LEN, PIECE_LEN, 6);
}

static void take_the_name(void)
{
	struct snapshot s;

	cr_assert_eq(volume_snapshot(v, NULL, "name", true, &s), 0);
}

Test(restart, a_snapshot_keeps_its_name_and_its_hold)
{
	struct snapshot s;

	next_change_waits(take_the_name);
	cr_assert_eq(volume_snapshot(v, NULL, "name", false, &s), -EEXIST);
	cr_assert_eq(times, 0);
	cr_assert_eq(view_snapshot(volume_view(v), "name", &s), 0);
	cr_assert(s.hold);
}

static void hold_the_name(void)
{
	struct snapshot s;

	cr_assert_eq(volume_snapshot_remove(v, NULL, "name"), 0);
	cr_assert_eq(volume_snapshot(v, NULL, "name", true, &s), 0);
}

Test(restart, a_snapshot_that_is_held_by_now_is_not_removed)
{
	struct snapshot s;

	cr_assert_eq(volume_snapshot(v, NULL, "name", false, &s), 0);
	next_change_waits(hold_the_name);
	cr_assert_eq(volume_snapshot_remove(v, NULL, "name"), -EPERM);
	cr_assert_eq(times, 0);
	cr_assert_eq(view_snapshot(volume_view(v), "name", &s), 0);
}

static void remove_the_name(void)
{
	cr_assert_eq(volume_snapshot_release(v, NULL, "name"), 0);
	cr_assert_eq(volume_snapshot_remove(v, NULL, "name"), 0);
}

Test(restart, a_snapshot_that_is_gone_does_not_come_back)
{
	struct snapshot s;

	take_the_name();
	next_change_waits(remove_the_name);
	cr_assert_eq(volume_snapshot_release(v, NULL, "name"), -ENOENT);
	cr_assert_eq(times, 0);
	cr_assert_eq(view_snapshot(volume_view(v), "name", &s), -ENOENT);
}

static void change_the_mode(void)
{
	struct attr a, want = {.mode = 02711};

	cr_assert_eq(volume_setattr(v, NULL, file, SET_MODE, &want, &a), 0);
}

/* What is to be cleared is told, or what is to be set: the rest is as it is by then. */
Test(restart, bits_of_a_mode_are_changed_without_the_rest)
{
	struct attr a, want = {.mode = 0640};

	want.mode = 06755;
	cr_assert_eq(volume_setattr(v, NULL, file, SET_MODE, &want, &a), 0);
	next_change_waits(change_the_mode);
	cr_assert_eq(volume_setattr(v, NULL, file, SET_KILL_PRIV | SET_KILL_SGID, &want, &a), 0);
	cr_assert_eq(times, 0);
	cr_assert_eq(a.mode, S_IFREG | 0711);
	next_change_waits(change_the_mode);
	want.mode = 0640;
	cr_assert_eq(volume_setattr(v, NULL, file, SET_PERMISSIONS, &want, &a), 0);
	cr_assert_eq(a.mode, S_IFREG | 02640);
}

static unsigned listed;

static int count_name(void *ctx, const struct view_entry *e)
{
	(void)ctx;
	(void)e;
	listed++;
	return 0;
}

/* Each node is read once, not once more for each that is missing behind it. */
Test(restart, a_folder_is_listed_cold_with_each_node_read_once)
{
	unsigned warm;
	char name[16];

	for (unsigned i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "%u", i);
		(void)make(name, S_IFREG | 0600);
	}
	cool();
	reads = 0;
	cr_assert_eq(view_readdir(volume_view(v), INO_ROOT, 0, true, count_name, NULL), 0);
	cr_assert_eq(listed, 5003);
	/* 5000 names of some 40 bytes and as many inodes of 121, in nodes of 4 KiB at least. */
	cr_assert_gt(reads, 20);
	cr_assert_lt(reads, 220);
	warm = reads;
	cr_assert_eq(view_readdir(volume_view(v), INO_ROOT, 0, true, count_name, NULL), 0);
	cr_assert_eq(reads, warm);
}
