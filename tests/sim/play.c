/*
 * See play.h.
 *
 * Key idea: a history has a character, drawn first: how many embassies, which kinds of trouble, how
 * much is written, how closely threads mix.  Most are short, so that many are played.
 */

#include "play.h"

#include "conf.h"
#include "disk.h"
#include "embassy.h"
#include "head.h"
#include "home.h"
#include "kept.h"
#include "model.h"
#include "net.h"
#include "oracle.h"
#include "work.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#define EVENTS_MAX 40u
#define CONVERGE_NS (600 * SECOND)
#define HOUR INT64_C(3600000000000)

enum trouble {
	HOME_CRASH,
	HOME_RESTART,
	HOME_KILL,
	HOME_STOP_AT,
	EMBASSY_CRASH,
	EMBASSY_RESTART,
	EMBASSY_KILL,
	BOTH_CRASH,
	LINK_CUT,
	LINK_BREAK,
	LINK_REFUSE,
	LINK_SPEED,
	LINK_LIES,
	DISK_ERRORS,
	DISK_FULL,
	DISK_SLOW,
	CLOCK_JUMP,
	CONF_CHANGE,
	BACKUP,
	RESTORE,
	CATALOG_LOST,
	TROUBLES,
};

static uint64_t seed_of_this;
static uint32_t enabled; /* a bit for each trouble */
static unsigned n_embassies;
static struct disk_snapshot *backup;
static struct oracle_moment *backup_moment;
static unsigned n_restores;
static bool conf_frozen; /* after a restore of an older volume.conf nobody knows the newest */

static uint64_t draw(uint64_t n)
{
	return prng_below(&world_random, n);
}

static unsigned some_embassy(void)
{
	return (unsigned)draw(n_embassies);
}

static unsigned some_machine(void)
{
	return MACHINE_HOME + (unsigned)draw(n_embassies + 1);
}

/* ---- machines ---- */

static bool down[MACHINES_MAX];

static void start_machine(unsigned m)
{
	if (!down[m])
		return;
	down[m] = false;
	if (m == MACHINE_HOME)
		home_start();
	else
		embassy_start(m - MACHINE_EMBASSY);
}

static void crash_machine(unsigned m, bool power)
{
	if (down[m])
		return;
	trace("machine %u %s", m, power ? "crashes" : "is killed");
	down[m] = true;
	if (m == MACHINE_HOME)
		home_crash(power);
	else
		embassy_crash(m - MACHINE_EMBASSY, power);
}

/* At one of the next changes of its disk, or of the names there, if they come soon. */
static void crash_at_change(unsigned m, unsigned n_max, bool power)
{
	struct disk_faults *f = disk_faults(m);

	if (down[m])
		return;
	f->stop_names = draw(2);
	f->stop_in = 1 + (unsigned)(f->stop_names ? draw(12) : prng_log(&world_random, n_max));
	disk_wait_stop(m, world_now() + prng_log(&world_random, 5 * SECOND));
	crash_machine(m, power);
}

/*
 * Anywhere, or at a change of its disk; and now and then again while it starts, since what one life
 * leaves half done the next must not believe.
 */
static void crash_somewhere(unsigned m, bool power)
{
	if (draw(2))
		crash_at_change(m, 300, power);
	else
		crash_machine(m, power);
	while (draw(3)) {
		start_machine(m);
		crash_at_change(m, 60, draw(3) == 0);
	}
}

static void stop_machine(unsigned m)
{
	if (down[m])
		return;
	trace("machine %u is stopped", m);
	if (m == MACHINE_HOME)
		home_stop();
	else
		embassy_stop(m - MACHINE_EMBASSY);
	down[m] = true;
	/* Its power may fail too, before or after: nothing may be lost by that. */
	if (draw(2)) {
		down[m] = false;
		crash_machine(m, true);
	}
}

static void away(unsigned m)
{
	if (draw(3) == 0)
		return; /* comes back with a later event */
	fiber_sleep(prng_log(&world_random, 10 * SECOND));
	start_machine(m);
}

/* An embassy whose copy is refused, since its catalog went with the power, gets a new disk. */
static void mend(unsigned e)
{
	unsigned m = MACHINE_EMBASSY + e;

	if (!embassy_is_damaged(e))
		return;
	if (!disk_lost_catalog(m))
		fail("embassy %u: its copy is damaged, and nothing did that", e);
	trace("embassy %u gets a new disk", e);
	crash_machine(m, true);
	disk_wipe(m);
	oracle_wiped(e);
	start_machine(m);
}

/* ---- backups ---- */

static void back_up(void)
{
	if (down[MACHINE_HOME] || !home_is_up())
		return;
	trace("home: a backup");
	backup = disk_snapshot(MACHINE_HOME);
	backup_moment = oracle_moment();
}

static void restore(void)
{
	if (!backup || n_restores == 2)
		return;
	n_restores++;
	if (down[MACHINE_HOME])
		start_machine(MACHINE_HOME);
	crash_machine(MACHINE_HOME, true);
	trace("home: restored from its backup");
	disk_restore(MACHINE_HOME, backup);
	oracle_back_to(backup_moment);
	/* Either the newest volume.conf was kept elsewhere, or nobody changes it any more. */
	conf_frozen = draw(2);
	if (conf_frozen)
		home_knobs.serial = home_knobs.epochs = 1;
	start_machine(MACHINE_HOME);
}

/* ---- troubles ---- */

static void link_trouble(enum trouble t)
{
	unsigned e = some_embassy();
	struct link *l = net_link(e);

	switch (t) {
	case LINK_CUT:
		trace("link %u: %s", e, l->cut ? "is back" : "is cut");
		net_cut(e, !l->cut);
		break;
	case LINK_BREAK:
		trace("link %u: breaks", e);
		net_break(e);
		break;
	case LINK_REFUSE:
		l->refusing = !l->refusing;
		break;
	case LINK_SPEED:
		l->delay_ns = prng_log(&world_random, 2 * SECOND);
		l->window = (size_t)prng_log(&world_random, 8 << 20);
		break;
	default:
		l->lie_up = l->lie_up ? 0 : (unsigned)(1 + draw(20));
		l->lie_down = l->lie_up ? (unsigned)(1 + draw(10)) : 0;
		break;
	}
}

static void disk_trouble(enum trouble t)
{
	unsigned m = some_machine();
	struct disk_faults *f = disk_faults(m);

	if (t == DISK_FULL)
		f->full = !f->full;
	else if (t == DISK_SLOW)
		f->slow = !f->slow;
	else
		f->one_in = f->one_in ? 0 : (unsigned)(10 + prng_log(&world_random, 3000));
	trace("disk %u: full %d, errors %u", m, f->full, f->one_in);
}

static void jump(void)
{
	static const int64_t spans[] = {HOUR / 3600, HOUR, 24 * HOUR, 24 * 365 * HOUR};
	int64_t by = spans[draw(4)] * (int64_t)(1 + draw(5));
	unsigned m = some_machine();

	if (draw(2))
		by = -by;
	trace("clock %u: %+lld s", m, (long long)(by / (int64_t)SECOND));
	world_jump(m, by);
}

static void change_conf(void)
{
	if (conf_frozen)
		return;
	home_knobs.serial++;
	if (draw(2) && home_knobs.epochs < CONF_EPOCHS_MAX)
		home_knobs.epochs++;
	/* It is read when the volume is opened. */
	if (draw(2)) {
		stop_machine(MACHINE_HOME);
		start_machine(MACHINE_HOME);
	}
}

/*
 * The home goes at a place that it comes to soon: between two blocks, say, or two stores of a
 * sync.
 */
static bool stop_power;

static void come_back(void *arg)
{
	(void)arg;
	start_machine(MACHINE_HOME);
}

static void stopped(void)
{
	crash_machine(MACHINE_HOME, stop_power);
	world_at(world_now() + prng_log(&world_random, 5 * SECOND), come_back, NULL);
}

static void stop_at_place(void)
{
	stop_power = draw(2);
	switch (draw(4)) {
	case 0:
		world_stop_at(MACHINE_HOME, prng_log(&world_random, 20000), stopped);
		break;
	case 1:
		work_stop_at((unsigned)prng_log(&world_random, 300), false, stopped);
		break;
	default:
		work_stop_at((unsigned)prng_log(&world_random, 12), true, stopped);
		break;
	}
}

static void happen(enum trouble t)
{
	unsigned m = t == HOME_CRASH || t == HOME_RESTART || t == HOME_KILL
			     ? MACHINE_HOME
			     : MACHINE_EMBASSY + some_embassy();

	switch (t) {
	case HOME_CRASH:
	case EMBASSY_CRASH:
		crash_somewhere(m, true);
		away(m);
		break;
	case HOME_RESTART:
	case EMBASSY_RESTART:
		stop_machine(m);
		away(m);
		break;
	case HOME_KILL:
	case EMBASSY_KILL:
		crash_somewhere(m, false);
		away(m);
		break;
	case HOME_STOP_AT:
		stop_at_place();
		break;
	case BOTH_CRASH:
		crash_machine(MACHINE_HOME, true);
		crash_machine(m, true);
		away(m);
		away(MACHINE_HOME);
		break;
	case CATALOG_LOST:
		m = some_machine();
		crash_machine(m, true);
		if (m == MACHINE_HOME)
			disk_drop_catalogs(m);
		else
			kept_lose_catalogs(m - MACHINE_EMBASSY);
		away(m);
		break;
	case DISK_ERRORS:
	case DISK_FULL:
	case DISK_SLOW:
		disk_trouble(t);
		break;
	case CLOCK_JUMP:
		jump();
		break;
	case CONF_CHANGE:
		change_conf();
		break;
	case BACKUP:
		back_up();
		break;
	case RESTORE:
		restore();
		break;
	default:
		link_trouble(t);
		break;
	}
}

/* ---- a history ---- */

static void draw_character(void)
{
	static const unsigned embassies[] = {1, 1, 1, 2, 2, 3, 4};
	static const uint64_t paces[] = {60 * MS, 300 * MS, 600 * MS, 2 * SECOND};
	static const uint32_t blocks[] = {500,	500,   500,    3000,
					  3000, 30000, 100000, BLOCK_PLAIN_MAX};
	static const uint32_t cells[] = {1, 1, 2, 8, 40, MODEL_CELLS_MAX};
	static const size_t memories[] = {(size_t)256 << 10, (size_t)1 << 20, (size_t)64 << 20};

	n_embassies = home_knobs.n_embassies = embassies[draw(7)];
	home_knobs.supervised = draw(2);
	home_knobs.pace_ns = paces[draw(4)];
	home_knobs.block_max = blocks[draw(8)];
	home_knobs.volume = draw(5) < 3;
	home_knobs.cells = cells[draw(6)];
	if (home_knobs.volume)
		home_knobs.pace_ns /= 8;
	home_knobs.memory_bytes = memories[draw(3)];
	/* Some troubles only, so that each has its part without all the others; or all of them. */
	for (unsigned i = 0; i < TROUBLES; i++)
		if (draw(3) == 0)
			enabled |= 1u << i;
	if (draw(8) == 0)
		enabled = (1u << TROUBLES) - 1;
	if (draw(3))
		enabled &= ~(1u << RESTORE | 1u << CATALOG_LOST);
	enabled |= 1u << (draw(2) ? HOME_CRASH : EMBASSY_CRASH);
	if (draw(2))
		enabled |= 1u << HOME_STOP_AT;
	for (unsigned e = 0; e < n_embassies; e++) {
		net_link(e)->delay_ns = prng_log(&world_random, 100 * MS);
		net_link(e)->window = (size_t)prng_log(&world_random, 4 << 20);
	}
}

static void trouble_all(void)
{
	unsigned n = 1 + (unsigned)draw(EVENTS_MAX);

	if (draw(4))
		n = 1 + n / 6;
	while (n-- > 0) {
		enum trouble t = (enum trouble)draw(TROUBLES);

		fiber_sleep(draw(2) ? draw(3 * SECOND) : prng_log(&world_random, SECOND));
		while (!(enabled & 1u << t))
			t = (enum trouble)draw(TROUBLES);
		happen(t);
		if (draw(4) == 0)
			start_machine(some_machine());
		for (unsigned e = 0; e < n_embassies; e++)
			mend(e);
	}
}

static void heal(void)
{
	trace("all heals");
	world_stop_at(MACHINE_HOME, 0, NULL);
	work_stop_at(0, false, NULL);
	for (unsigned m = MACHINE_HOME; m <= MACHINE_HOME + n_embassies; m++) {
		struct disk_faults *f = disk_faults(m);

		f->full = f->slow = false;
		f->one_in = 0;
	}
	for (unsigned e = 0; e < n_embassies; e++) {
		struct link *l = net_link(e);

		if (l->cut)
			net_cut(e, false);
		l->refusing = false;
		l->lie_up = l->lie_down = 0;
		if (l->delay_ns > 200 * MS)
			l->delay_ns = 200 * MS;
		if (l->window < 65536)
			l->window = 65536;
	}
	for (unsigned m = MACHINE_HOME; m <= MACHINE_HOME + n_embassies; m++)
		start_machine(m);
}

/* Nothing more can be wanted of the embassy: it has all, or has to be refused, and is. */
static bool is_settled(unsigned e)
{
	if (down[MACHINE_EMBASSY + e])
		return false;
	embassy_look(e, false);
	if (oracle_copy_is_newest(e))
		return true;
	return home_refused(e) && (embassy_epoch(e) > home_epoch() || !oracle_copy_fits(e));
}

static void converge(void)
{
	uint64_t until = world_now() + CONVERGE_NS;
	unsigned settled = 0;

	home_knobs.quiet = work_knobs.quiet = true;
	fiber_sleep(5 * SECOND);
	while (settled < n_embassies) {
		fiber_sleep(SECOND / 2);
		settled = 0;
		for (unsigned e = 0; e < n_embassies; e++) {
			mend(e);
			settled += home_is_up() && is_settled(e);
			if (world_now() > until && !is_settled(e))
				fail("embassy %u: all is well for %llu s, and it stands at head "
				     "%llu",
				     e, (unsigned long long)(CONVERGE_NS / SECOND),
				     (unsigned long long)oracle_copy_head(e));
		}
		if (world_now() > until && !home_is_up())
			fail("home: all is well, and it is not up");
	}
	trace("converged");
}

/* Once more, in good order, and with the power cut. */
static void end(void)
{
	for (unsigned m = MACHINE_HOME; m <= MACHINE_HOME + n_embassies; m++)
		stop_machine(m);
	for (unsigned m = MACHINE_HOME; m <= MACHINE_HOME + n_embassies; m++)
		start_machine(m);
	fiber_sleep(3 * SECOND);
	for (unsigned e = 0; e < n_embassies; e++) {
		mend(e);
		embassy_look(e, true);
	}
	if (!home_is_up())
		fail("home: cannot be opened again");
}

static void play(void)
{
	draw_character();
	trace("seed %llu: %s, %u embassies, troubles %06x", (unsigned long long)seed_of_this,
	      home_knobs.volume ? "a volume" : "a bare log", n_embassies, enabled);
	net_acknowledged = oracle_acknowledged;
	home_make();
	for (unsigned m = MACHINE_HOME; m <= MACHINE_HOME + n_embassies; m++) {
		down[m] = true;
		start_machine(m);
	}
	fiber_sleep(prng_log(&world_random, 5 * SECOND));
	trouble_all();
	heal();
	converge();
	end();
}

uint64_t play_history(uint64_t seed, bool verbose)
{
	static const unsigned preempt[] = {0, 0, 100, 30, 10};
	struct prng p = {seed};
	struct world_config cfg = {
		.seed = prng_next(&p), .preempt = preempt[prng_below(&p, 5)], .verbose = verbose};

	seed_of_this = seed;
	return world_run(&cfg, play);
}
