#ifndef MODEL_ONEFILE_H_
#define MODEL_ONEFILE_H_

/*
 * Several threads in one file, and a byte of memory for each of its bytes.
 *
 * The file is divided into plots.  Each belongs to one thread, and nobody else changes its bytes, so
 * the owner knows them whatever the others do.  The plots are drawn anew each round and respect
 * no block, extent or page: one thread's bytes lie in extents that another cuts.
 *
 * The size is shared.  In most rounds it only grows, by writes and allocations of all.  In the
 * others one thread, the cutter, truncates too: it owns all beyond a border that the size never
 * goes below, and the others allocate there as well.
 *
 * What is tested may be killed at any time.  A byte is in doubt from before it is changed until the
 * change is promised to outlive that: when the call returns, or when its thread's next sync does.
 * After a restart every byte that is not in doubt is what its owner last made it.
 *
 * The seed gives the plots, and each thread's operations, but not how the threads mix.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ONEFILE_SIZE_MAX ((size_t)6 << 20)
#define ONEFILE_THREADS_MAX 16u
#define ONEFILE_PLOTS_MAX 8192u
#define ONEFILE_IO_MAX ((size_t)64 << 10)

/* What is tested.  All return 0 or -errno; -ENOTCONN: it is gone, the thread ends. */
struct subject {
	void *ctx;
	int (*write)(void *ctx, unsigned thread, uint64_t off, const void *data, size_t len);
	/* Beyond the end: zeros. */
	int (*read)(void *ctx, unsigned thread, uint64_t off, void *out, size_t len);
	int (*allocate)(void *ctx, unsigned thread, int mode, uint64_t off, uint64_t len);
	/* All of it; the source lies below the size and does not touch the target. */
	int (*copy)(void *ctx, unsigned thread, uint64_t from, uint64_t to, uint64_t len);
	int (*truncate)(void *ctx, unsigned thread, uint64_t size);
	int (*size)(void *ctx, unsigned thread, uint64_t *out);
	int (*sync)(void *ctx, unsigned thread);
	/* Something else that must not matter: attributes, other names, checkpoints.  Has its own checks. */
	int (*aside)(void *ctx, unsigned thread, uint64_t random);
};

/* Lies in memory that outlives a killed process. */
struct onefile {
	uint64_t seed;
	unsigned n_threads, round;
	bool kept;  /* what was answered outlives a kill, not only what was synced */
	bool quick; /* writes are as short as can be, so that the file has many extents */

	uint8_t want[ONEFILE_SIZE_MAX];
	uint8_t doubt[ONEFILE_SIZE_MAX];
	/* The size is promised to be at least floor; nothing asked for more than ceiling. */
	atomic_uint_least64_t floor, ceiling;
	uint64_t reached; /* after a round: what floor will be, once all is promised */
	uint64_t border;  /* the size is never cut below */
	int cutter;	  /* thread, or -1 */

	unsigned n_plots;
	uint32_t plot[ONEFILE_PLOTS_MAX + 1]; /* where each begins */
	uint8_t owner[ONEFILE_PLOTS_MAX];

	atomic_uint_least64_t ops;   /* that have begun, in all rounds */
	atomic_uint_least64_t place; /* all work within near bytes from here, which moves */
	uint64_t near;
	atomic_bool failed, stop;
};

/* onefile_init(f, seed, n_threads): an empty file.  ${f} is zeroed memory. */
void onefile_init(struct onefile *f, uint64_t seed, unsigned n_threads);

/*
 * onefile_round(f, s, n_ops): new plots, then ${n_ops} operations by each thread, all at once.
 * Returns true if nothing was wrong; else it is told on standard error.
 */
bool onefile_round(struct onefile *f, const struct subject *s, unsigned n_ops);

/*
 * onefile_compare(f, s): with nobody at work: the file is what it should be.  What is in doubt is
 * taken as it is found, and is in doubt no more.
 */
bool onefile_compare(struct onefile *f, const struct subject *s);

/* onefile_settled(f): after a whole round: all that was done outlives what comes. */
void onefile_settled(struct onefile *f);

/* onefile_wrong(f, fmt, ...): tell what is wrong; returns false. */
bool onefile_wrong(struct onefile *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The next random number after ${*state}. */
uint64_t onefile_random(uint64_t *state);

#endif /* !MODEL_ONEFILE_H_ */
