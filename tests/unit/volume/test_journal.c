/* The journal, whose process is killed at each of its stores: what a successor finds in it. */

#include "journal.h"

#include "../sampled.h"
#include "../stores.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RECORDS_MAX 90u
#define WATCHED (4096u + 1024u) /* the head, and what the first generation begins with */

/* What the process that is killed had said, in memory that is not watched. */
struct said {
	uint64_t begun, published; /* numbers of entries */
	uint64_t sent;		   /* all up to it are in the log */
	uint64_t void_upto;	   /* all up to it may be gone: they changed nothing */
};

static struct journal j;
static void *area;
static struct said *said;

static void *share(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(p, MAP_FAILED);
	return p;
}

static void setup(void)
{
	area = share(journal_bytes());
	said = share(sizeof(*said));
}

TestSuite(journal, .init = setup);

static size_t records_of(uint64_t number)
{
	return 10 + number * 7 % (RECORDS_MAX - 10);
}

static struct volume_counts counts_of(uint64_t number)
{
	return (struct volume_counts){
		.next_ino = 100 + number, .inodes = 3 * number, .bytes = number << 33};
}

/* One operation: a few records, then the entry. */
static void operate(void)
{
	uint64_t number = said->published + 1;
	struct volume_counts counts = counts_of(number);

	said->begun = number;
	for (size_t i = 0; i < records_of(number); i++)
		j.trace.p[j.trace.len++] = (uint8_t)(number + i);
	if (journal_publish(&j, 1000 + number, &counts) != number)
		_exit(3);
	said->published = number;
}

static void live(void *arg)
{
	(void)arg;
	operate();
	operate();
	journal_turn(&j, 8);
	operate();
	said->sent = 2;
	journal_sent(&j);
	operate();
	journal_turn(&j, 9);
	said->sent = 4;
	journal_sent(&j);
	operate();
	said->void_upto = 5;
	journal_void(&j);
	operate();
}

struct found {
	uint64_t first, last;
};

static int take(void *ctx, const struct journal_entry *e)
{
	struct volume_counts counts = counts_of(e->number);
	struct found *f = ctx;

	if (f->last != 0)
		cr_assert_eq(e->number, f->last + 1, "%ju after %ju", (uintmax_t)e->number,
			     (uintmax_t)f->last);
	else
		f->first = e->number;
	f->last = e->number;
	cr_assert_eq(e->tag, 1000 + e->number);
	cr_assert_eq(memcmp(&e->counts, &counts, sizeof(counts)), 0);
	cr_assert_eq(e->records_len, records_of(e->number));
	for (size_t i = 0; i < e->records_len; i++)
		cr_assert_eq(e->records[i], (uint8_t)(e->number + i));
	return 0;
}

static struct found walk(void)
{
	struct found f = {0};

	cr_assert_eq(journal_walk(&j, 1 - journal_filling(&j), take, &f), 0);
	cr_assert_eq(journal_walk(&j, journal_filling(&j), take, &f), 0);
	return f;
}

/* The numbers of the deltas that cover the two generations go up in the order of their entries. */
static void check_order(void)
{
	unsigned filling = journal_filling(&j);
	uint64_t other_len = atomic_load(&j.area->gen[1 - filling].len);

	if (other_len > 0)
		cr_assert_lt(journal_seq(&j, 1 - filling), journal_seq(&j, filling));
}

static void succeed(void)
{
	struct found f;

	memset(&j, 0, sizeof(j));
	cr_assert_eq(journal_attach(&j, area), 0);
	check_order();
	f = walk();
	/* All that was said to be there, and not in the log, is; and no more than what was begun. */
	if (said->published > said->sent && said->published > said->void_upto) {
		cr_assert_geq(f.last, said->published);
		cr_assert_leq(f.first,
			      (said->sent > said->void_upto ? said->sent : said->void_upto) + 1);
	}
	cr_assert_leq(f.last, said->begun);
	cr_assert_geq(atomic_load(&j.area->number), f.last);

	/* It goes on: no number comes twice. */
	journal_resume(&j);
	said->published = atomic_load(&j.area->number);
	operate();
	if (f.last != 0 && said->published == f.last + 1)
		cr_assert_eq(walk().last, said->published);
}

Test(journal, killed_at_each_store, .timeout = 120)
{
	unsigned nth = 0;
	int rc;

	do {
		memset(area, 0, journal_bytes());
		memset(said, 0, sizeof(*said));
		journal_init(&j, area, 7);
		nth += sampled(1);
		rc = stores_kill_at(live, NULL, area, WATCHED, nth);
		if (rc < 0)
			cr_skip_test("processes can't be traced here");
		succeed();
	} while (rc > 0);
	cr_expect_gt(nth, 100, "stores were counted");
}

/* An entry's bytes that its process had not published are no entry, whatever they are. */
Test(journal, what_was_not_published_is_not_there)
{
	journal_init(&j, area, 7);
	operate();
	memset(j.trace.p + j.trace.len, 0xff, 200);
	j.trace.len += 200;
	succeed();
	cr_assert_eq(walk().last, 2);
}
