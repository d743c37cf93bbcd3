/*
 * Fibers, virtual time, the trace.
 *
 * Key idea: the scheduler runs in the process's own context; a fiber that waits switches to it.  It
 * picks, by the seed, one of those that can run; when there is none, it takes the earliest event,
 * which moves the clock.
 *
 * Invariants: at most one fiber runs; events of one time happen in the order they were asked for;
 * no choice depends on an address.
 *
 * The program's own thread-local variables are a fiber's: they are exchanged at each switch.
 */

#include "world.h"

#include <assert.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/common_interface_defs.h>
#define STACK_LEN ((size_t)2 << 20)
#else
#define STACK_LEN ((size_t)512 << 10)
#endif

#define FIBERS_MAX 1024u
#define STILL_MAX 4000000u /* switches without any time passing: a livelock */
#define WALL_START INT64_C(1800000000000000000)

enum fiber_state { FIBER_FREE, FIBER_READY, FIBER_WAITING, FIBER_ENDED };

struct fiber {
	enum fiber_state state;
	unsigned machine;
	ucontext_t context;
	void *stack;
	void *(*fn)(void *arg);
	void *arg;
	const void *on; /* what it waits for; NULL: time only */
	uint64_t wait;	/* counts its waits, so that a late event does not end a later one */
	bool woken;	/* by fiber_wake(), not by time */
	int detail_rc;
	char detail[FIBER_DETAIL_LEN];
	uint8_t *locals; /* its thread-local variables, while it does not run */
#ifdef WITH_ASAN
	void *fake_stack;
#endif
};

struct event {
	uint64_t when, order;
	void (*fn)(void *arg); /* NULL: a fiber's time has come */
	void *arg;
	uint64_t wait;
};

struct prng world_random;
int fail_fd = 2;

static struct world_config config;
static struct fiber *fibers[FIBERS_MAX];
static unsigned n_fibers;
static struct fiber *ready[FIBERS_MAX];
static unsigned n_ready;
static struct fiber *current;
static ucontext_t scheduler;
/* Where the program's thread-local variables lie, how they begin, and the scheduler's own. */
static struct {
	uint8_t *now, *first, *scheduler;
	size_t len;
} locals;
/* A machine that is to be stopped at a place, and what to call then. */
static struct {
	unsigned machine;
	uint64_t places;
	void (*fn)(void);
} stop;
static void (*urgent)(void);
#ifdef WITH_ASAN
static const void *scheduler_stack;
static size_t scheduler_stack_len;
#endif
static struct event *events;
static size_t n_events, cap_events;
static uint64_t now_ns = 1000 * SECOND, n_order;
static int64_t wall_off[MACHINES_MAX];
static unsigned incarnations[MACHINES_MAX];
static uint64_t hash = UINT64_C(0xcbf29ce484222325);

/* ---- the trace ---- */

void trace(const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	n = snprintf(text, sizeof(text), "%9.3f ", (double)(now_ns - 1000 * SECOND) / 1e9);
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	for (const char *c = text; *c; c++)
		hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
	hash = (hash ^ now_ns) * UINT64_C(0x100000001b3);
	if (config.verbose)
		puts(text);
}

void fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	dprintf(fail_fd, "at %.3f: ", (double)(now_ns - 1000 * SECOND) / 1e9);
	va_start(ap, fmt);
	vdprintf(fail_fd, fmt, ap);
	va_end(ap);
	dprintf(fail_fd, "\n");
	_exit(1);
}

/* ---- time ---- */

uint64_t world_now(void)
{
	return now_ns;
}

int64_t world_wall(unsigned machine)
{
	return WALL_START + (int64_t)now_ns + wall_off[machine];
}

void world_jump(unsigned machine, int64_t by_ns)
{
	wall_off[machine] += by_ns;
}

static bool is_before(const struct event *a, const struct event *b)
{
	return a->when != b->when ? a->when < b->when : a->order < b->order;
}

/* A binary heap, the earliest first. */
static void add_event(struct event e)
{
	size_t i = n_events++;

	if (n_events > cap_events) {
		cap_events = cap_events ? 2 * cap_events : 256;
		events = realloc(events, cap_events * sizeof(*events));
		assert(events);
	}
	e.order = n_order++;
	for (; i > 0 && is_before(&e, &events[(i - 1) / 2]); i = (i - 1) / 2)
		events[i] = events[(i - 1) / 2];
	events[i] = e;
}

static struct event take_event(void)
{
	struct event first = events[0], last = events[--n_events];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < n_events) {
		if (child + 1 < n_events && is_before(&events[child + 1], &events[child]))
			child++;
		if (!is_before(&events[child], &last))
			break;
		events[i] = events[child];
		i = child;
	}
	events[i] = last;
	return first;
}

void world_at(uint64_t when_ns, void (*fn)(void *arg), void *arg)
{
	add_event(
		(struct event){.when = when_ns < now_ns ? now_ns : when_ns, .fn = fn, .arg = arg});
}

/* ---- fibers ---- */

static int find_locals(struct dl_phdr_info *info, size_t len, void *arg)
{
	(void)len;
	(void)arg;
	/* The program comes first; what its libraries keep for a thread is one thread's. */
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];

		if (h->p_type != PT_TLS)
			continue;
		locals.now = info->dlpi_tls_data;
		locals.len = h->p_memsz;
		locals.first = calloc(1, h->p_memsz);
		locals.scheduler = calloc(1, h->p_memsz);
		assert(locals.now && locals.first && locals.scheduler);
		/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
		memcpy(locals.first, (const void *)(info->dlpi_addr + h->p_vaddr), h->p_filesz);
	}
	return 1;
}

static void exchange_locals(uint8_t *keep, const uint8_t *take)
{
	memcpy(keep, locals.now, locals.len);
	memcpy(locals.now, take, locals.len);
}

static void switch_to(struct fiber *f)
{
	current = f;
	exchange_locals(locals.scheduler, f->locals);
#ifdef WITH_ASAN
	void *fake;

	__sanitizer_start_switch_fiber(&fake, f->stack, STACK_LEN);
#endif
	swapcontext(&scheduler, &f->context);
#ifdef WITH_ASAN
	__sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
	exchange_locals(f->locals, locals.scheduler);
	current = NULL;
}

static void switch_back(struct fiber *f)
{
#ifdef WITH_ASAN
	__sanitizer_start_switch_fiber(f->state == FIBER_ENDED ? NULL : &f->fake_stack,
				       scheduler_stack, scheduler_stack_len);
#endif
	swapcontext(&f->context, &scheduler);
#ifdef WITH_ASAN
	__sanitizer_finish_switch_fiber(f->fake_stack, &scheduler_stack, &scheduler_stack_len);
#endif
}

static void enter(void)
{
	struct fiber *f = current;

#ifdef WITH_ASAN
	__sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_stack_len);
#endif
	f->fn(f->arg);
	f->state = FIBER_ENDED;
	fiber_wake(f, true);
	switch_back(f);
	abort();
}

static void *stack_new(void)
{
	void *p = mmap(NULL, STACK_LEN, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert(p != MAP_FAILED);
	return p;
}

struct fiber *fiber_start(unsigned machine, void *(*fn)(void *arg), void *arg)
{
	struct fiber *f = calloc(1, sizeof(*f));

	assert(f && n_fibers < FIBERS_MAX);
	f->state = FIBER_READY;
	f->machine = machine;
	f->fn = fn;
	f->arg = arg;
	f->stack = stack_new();
	f->locals = malloc(locals.len + 1);
	assert(f->locals);
	memcpy(f->locals, locals.first, locals.len);
	getcontext(&f->context);
	f->context.uc_stack.ss_sp = f->stack;
	f->context.uc_stack.ss_size = STACK_LEN;
	makecontext(&f->context, enter, 0);
	fibers[n_fibers++] = f;
	ready[n_ready++] = f;
	return f;
}

struct fiber *fiber_self(void)
{
	return current;
}

unsigned fiber_machine(void)
{
	return current ? current->machine : MACHINE_WORLD;
}

void fiber_join(const struct fiber *f)
{
	while (f->state != FIBER_ENDED)
		(void)fiber_wait(f, WORLD_NEVER);
}

int *fiber_detail_rc(void)
{
	static int outside;

	return current ? &current->detail_rc : &outside;
}

char *fiber_detail(void)
{
	static char outside[FIBER_DETAIL_LEN];

	return current ? current->detail : outside;
}

static void make_ready(struct fiber *f)
{
	f->state = FIBER_READY;
	f->on = NULL;
	f->wait++;
	ready[n_ready++] = f;
}

bool fiber_wait(const void *on, uint64_t until_ns)
{
	struct fiber *f = current;

	assert(f);
	if (until_ns <= now_ns)
		return false;
	f->state = FIBER_WAITING;
	f->on = on;
	f->woken = false;
	if (until_ns != WORLD_NEVER)
		add_event((struct event){.when = until_ns, .arg = f, .wait = f->wait});
	switch_back(f);
	return f->woken;
}

void fiber_sleep(uint64_t ns)
{
	(void)fiber_wait(NULL, now_ns + (ns ? ns : 1));
}

void world_stop(void (*fn)(void))
{
	struct fiber *f = current;

	assert(f && !urgent);
	urgent = fn;
	f->state = FIBER_WAITING;
	f->on = NULL;
	switch_back(f);
	abort();
}

void world_stop_at(unsigned machine, uint64_t places, void (*fn)(void))
{
	stop.machine = machine;
	stop.places = places;
	stop.fn = fn;
}

void fiber_pause(void)
{
	if (current && stop.places > 0 && current->machine == stop.machine && --stop.places == 0)
		world_stop(stop.fn);
	if (!current || config.preempt == 0 || !prng_one_in(&world_random, config.preempt))
		return;
	if (prng_one_in(&world_random, 4))
		fiber_sleep(prng_log(&world_random, 2 * MS));
	else
		fiber_yield();
}

void fiber_yield(void)
{
	ready[n_ready++] = current;
	switch_back(current);
}

void fiber_wake(const void *on, bool all)
{
	unsigned n = 0, pick;

	for (unsigned i = 0; i < n_fibers; i++)
		n += fibers[i]->state == FIBER_WAITING && fibers[i]->on == on;
	if (n == 0)
		return;
	pick = all ? 0 : (unsigned)prng_below(&world_random, n);
	for (unsigned i = 0; i < n_fibers; i++) {
		struct fiber *f = fibers[i];

		if (f->state != FIBER_WAITING || f->on != on)
			continue;
		if (all || pick-- == 0) {
			make_ready(f);
			f->woken = true;
			if (!all)
				return;
		}
	}
}

static void drop_ended(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_fibers; i++) {
		struct fiber *f = fibers[i];

		if (f->state != FIBER_ENDED)
			fibers[n++] = f;
		else if (f->stack) {
			munmap(f->stack, STACK_LEN);
			f->stack = NULL; /* the struct stays, for who joins */
			free(f->locals);
		}
	}
	n_fibers = n;
}

void world_crash(unsigned machine)
{
	unsigned n = 0;

	assert(fiber_machine() != machine);
	incarnations[machine]++;
	for (unsigned i = 0; i < n_ready; i++)
		if (ready[i]->machine != machine)
			ready[n++] = ready[i];
	n_ready = n;
	for (unsigned i = 0; i < n_fibers; i++)
		if (fibers[i]->machine == machine) {
			fibers[i]->state = FIBER_ENDED;
			fiber_wake(fibers[i], true);
		}
	drop_ended();
}

unsigned world_incarnation(unsigned machine)
{
	return incarnations[machine];
}

/* ---- the scheduler ---- */

static void play_event(void)
{
	struct event e = take_event();
	struct fiber *f = e.arg;

	assert(e.when >= now_ns);
	now_ns = e.when;
	if (e.fn)
		e.fn(e.arg);
	else if (f->state == FIBER_WAITING && f->wait == e.wait)
		make_ready(f);
}

static void *run_first(void *arg)
{
	void (*const *fn)(void) = arg;

	(*fn)();
	return NULL;
}

uint64_t world_run(const struct world_config *cfg, void (*fn)(void))
{
	struct fiber *first;
	unsigned still = 0;
	uint64_t last_ns = 0;

	config = *cfg;
	world_random.state = cfg->seed;
	dl_iterate_phdr(find_locals, NULL);
	first = fiber_start(MACHINE_WORLD, run_first, &fn);
	while (first->state != FIBER_ENDED) {
		if (urgent) {
			void (*now)(void) = urgent;

			urgent = NULL;
			now();
		} else if (n_ready > 0) {
			unsigned i = (unsigned)prng_below(&world_random, n_ready);
			struct fiber *f = ready[i];

			ready[i] = ready[--n_ready];
			switch_to(f);
			if (f->state == FIBER_ENDED)
				drop_ended();
		} else if (n_events > 0) {
			play_event();
		} else {
			fail("nobody can go on: a deadlock");
		}
		still = now_ns == last_ns ? still + 1 : 0;
		last_ns = now_ns;
		if (still > STILL_MAX)
			fail("no time passes: a livelock");
	}
	return hash;
}
