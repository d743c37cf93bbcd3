/* Files of many small extents: what is found in them, and how many are passed for it. */

#include "../sampled.h"
#include "fixture.h"

#include "map.h"
#include "volume_internal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>

#define LEN (3 * (size_t)EXTENT_MAX)

static const struct caller me = {0};
static struct fixture f;
static struct volume *v;
static uint64_t ino;
static unsigned steps; /* of cursors */
static uint8_t want[LEN], got[LEN];
static bool there[LEN]; /* not a hole */

int __real_map_next(struct map_cursor *mc);
int __wrap_map_next(struct map_cursor *mc);

int __wrap_map_next(struct map_cursor *mc)
{
	steps++;
	return __real_map_next(mc);
}

static void set_up(void)
{
	struct attr a;

	fixture_make(&f);
	v = fixture_open(&f);
	cr_assert_eq(volume_make_node(v, &me, INO_ROOT, "f", S_IFREG | 0644, 0, NULL, &a), 0);
	ino = a.ino;
}

static void tear_down(void)
{
	cr_assert_eq(volume_close(v), 0);
	cr_assert_eq(fixture_check(&f), 0);
	fixture_remove(&f);
}

TestSuite(small, .init = set_up, .fini = tear_down, .timeout = 300);

static uint64_t dice = 1;

static size_t roll(size_t n)
{
	dice = dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (size_t)(dice >> 33) % n;
}

static void write_some(size_t at, size_t len)
{
	memset(want + at, (int)(1 + roll(255)), len);
	memset(there + at, true, len);
	cr_assert_eq(volume_write(v, NULL, ino, at, len, want + at, 0), 0);
}

static void punch_some(size_t at, size_t len)
{
	memset(want + at, 0, len);
	memset(there + at, false, len);
	cr_assert_eq(
		volume_allocate(v, NULL, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len),
		0);
}

static void expect_at(size_t at)
{
	size_t len = 1 + roll(LEN - at < 5000 ? LEN - at : 5000), n, data = at, hole = at;
	uint64_t found;
	int rc;

	cr_assert_eq(view_read(volume_view(v), ino, at, len, got, &n), 0);
	cr_assert_eq(n, len);
	cr_assert_arr_eq(got, want + at, len);
	while (data < LEN && !there[data])
		data++;
	while (hole < LEN && there[hole])
		hole++;
	rc = view_seek(volume_view(v), ino, at, false, &found);
	cr_assert_eq(rc, data == LEN ? -ENXIO : 0);
	cr_assert(rc < 0 || found == data, "data from %zu at %zu, not %zu", at, data,
		  (size_t)found);
	cr_assert_eq(view_seek(volume_view(v), ino, at, true, &found), 0);
	cr_assert_eq(found, hole);
}

/* Extents of one byte and of many, with holes, some in the tree and some in the overlay. */
Test(small, what_is_found_is_what_is_there)
{
	write_some(LEN - 1, 1);
	for (unsigned round = 0; round < rounds(3); round++) {
		for (unsigned i = 0; i < 6000; i++) {
			size_t max = (size_t)1 << roll(10), at = roll(LEN - max);

			if (roll(5) == 0)
				punch_some(at, max);
			else
				write_some(at, 1 + roll(max));
		}
		write_some(roll(LEN / 2), EXTENT_MAX);
		for (unsigned i = 0; i < 1000; i++)
			expect_at(roll(LEN));
		cr_assert_eq(volume_checkpoint(v), 0);
		for (unsigned i = 0; i < 1000; i++)
			expect_at(roll(LEN));
	}
}

/* A byte is not looked for among all that begin before it. */
Test(small, few_are_passed)
{
	size_t n;

	for (size_t i = 0; i < EXTENT_MAX / 4; i++)
		write_some(i, 1);
	steps = 0;
	for (size_t i = 0; i < 100; i++) {
		size_t at = EXTENT_MAX / 4 - 200 + i;

		cr_assert_eq(view_read(volume_view(v), ino, at, 1, got, &n), 0);
		cr_assert_eq(got[0], want[at]);
		cr_assert_eq(volume_write(v, NULL, ino, at, 1, want + at, 0), 0);
	}
	cr_assert_lt(steps, 200 * 1000);
}
