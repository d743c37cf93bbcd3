/*
 * See told.h.
 *
 * Key idea: the volume puts each change into its journal under its exclusive lock; there, by --wrap,
 * the model is told.  So the model knows the order of changes, and, since a delta takes what the
 * journal holds, which of them a head states.
 */

#include "told.h"

#include "breaks.h"
#include "disk.h"
#include "journal.h"
#include "log.h"
#include "volume.h"
#include "work.h"
#include "world.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define ROOM (UINT64_C(1) << 40)
#define STILL_MAX 5000u

struct doing doings[DOING_MAX];

static bool telling;
static uint64_t cut;	/* changes that a delta took so far */
static uint64_t begun;	/* how often a volume was opened or left */
static uint64_t opened; /* changes that it had then */
/* Where the machine is to stop. */
static struct {
	unsigned in;	 /* places from now; 0: never */
	bool in_roll_up; /* counting those only between the pieces of one */
	void (*fn)(void);
} stop;
static bool rolling_up;

uint64_t __real_journal_publish(struct journal *j, uint64_t tag,
				const struct volume_counts *counts);
uint64_t __wrap_journal_publish(struct journal *j, uint64_t tag,
				const struct volume_counts *counts);
void __real_journal_turn(struct journal *j, uint64_t seq);
void __wrap_journal_turn(struct journal *j, uint64_t seq);
void __real_journal_void(struct journal *j);
void __wrap_journal_void(struct journal *j);
int __real_log_add_head(struct log *log, struct head *h);
int __wrap_log_add_head(struct log *log, struct head *h);
int __real_log_append(struct log *log, enum block_kind kind, const void *plain, size_t len,
		      int level, struct block_ptr *out);
int __wrap_log_append(struct log *log, enum block_kind kind, const void *plain, size_t len,
		      int level, struct block_ptr *out);
int __wrap_overlay_encode(const struct overlay *ov, size_t piece_max, piece_fn *fn, void *ctx);
int __wrap_statvfs(const char *path, struct statvfs *out);

static struct doing *mine(void)
{
	for (unsigned i = 0; i < DOING_MAX; i++)
		if (doings[i].fiber && doings[i].fiber == fiber_self())
			return &doings[i];
	return NULL;
}

/* One change by the calling fiber. */
static void changed(const struct volume_counts *counts)
{
	static const struct model_change nothing = {.kind = MODEL_NOTHING};
	struct doing *d = mine();

	if (!telling)
		return;
	if (!d) {
		model_change(&nothing);
		return;
	}
	if (d->c.kind == MODEL_MAKE)
		d->c.ino = counts->next_ino - 1;
	if (d->c.kind == MODEL_SNAPSHOT && d->snapshot)
		d->c.seed = d->made == 0 ? d->snapshot->head : 0;
	else if (d->made > 0)
		fail("home: one operation of kind %d made two changes", (int)d->c.kind);
	d->made++;
	model_change(&d->c);
	d->newest = model_n();
}

uint64_t __wrap_journal_publish(struct journal *j, uint64_t tag, const struct volume_counts *counts)
{
	uint64_t number = __real_journal_publish(j, tag, counts);

	if (number != 0)
		changed(counts);
	return number;
}

void __wrap_journal_turn(struct journal *j, uint64_t seq)
{
	cut = model_n();
	__real_journal_turn(j, seq);
}

void __wrap_journal_void(struct journal *j)
{
	cut = model_n();
	__real_journal_void(j);
}

/*
 * The volume flushed before, and nothing is flushed meanwhile.  A head that was begun while the volume opened
 * is of what was recovered.
 */
int __wrap_log_add_head(struct log *log, struct head *h)
{
	uint64_t n = cut, then = begun;
	int rc = __real_log_add_head(log, h);

	if (begun != then)
		n = opened;
	if (rc == 0 && telling) {
		model_head(h->number, n);
		model_synced(n);
	}
	return rc;
}

static void place_to_stop(void)
{
	if (stop.in > 0 && fiber_machine() == MACHINE_HOME && (rolling_up || !stop.in_roll_up) &&
	    --stop.in == 0) {
		trace("home: stops at a block%s", rolling_up ? ", in a roll-up" : "");
		world_stop(stop.fn);
	}
}

/* A head's deltas are rolled up, by one at a time. */
int __wrap_overlay_encode(const struct overlay *ov, size_t piece_max, piece_fn *fn, void *ctx)
{
	int rc;

	rolling_up = true;
	rc = breaks_roll_up(ov, piece_max, fn, ctx);
	rolling_up = false;
	return rc;
}

int __wrap_log_append(struct log *log, enum block_kind kind, const void *plain, size_t len,
		      int level, struct block_ptr *out)
{
	static uint64_t n_still, still_ns;
	int rc;

	n_still = still_ns == world_now() ? n_still + 1 : 0;
	still_ns = world_now();
	if (n_still > STILL_MAX)
		fail("%u blocks are appended, and no time passes", STILL_MAX);
	place_to_stop();
	rc = __real_log_append(log, kind, plain, len, level, out);
	place_to_stop();
	return rc;
}

int __wrap_statvfs(const char *path, struct statvfs *out)
{
	unsigned machine = (unsigned)(path[1] - '0');

	memset(out, 0, sizeof(*out));
	out->f_frsize = 4096;
	out->f_bavail = disk_faults(machine)->full ? 0 : ROOM / out->f_frsize;
	return 0;
}

void work_stop_at(unsigned n, bool in_roll_up, void (*fn)(void))
{
	stop.in = n;
	stop.in_roll_up = in_roll_up;
	stop.fn = fn;
}

struct doing *doing_new(const struct model_change *c)
{
	for (unsigned i = 0; i < DOING_MAX; i++)
		if (!doings[i].fiber) {
			doings[i] = (struct doing){.fiber = fiber_self(), .c = *c};
			return &doings[i];
		}
	abort();
}

void told_begin(bool tell)
{
	memset(doings, 0, sizeof(doings));
	rolling_up = false;
	begun++;
	cut = opened = tell ? model_n() : 0;
	telling = tell;
}
