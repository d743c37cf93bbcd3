/* The thread pool. */

#include "pool.h"

#include <criterion/criterion.h>

#include <stdatomic.h>

#define N_JOBS 1000

static atomic_uint n_run;

static void count(struct job *job)
{
	(void)job;
	atomic_fetch_add(&n_run, 1);
}

Test(pool, every_job_runs_once)
{
	static struct job jobs[N_JOBS];
	struct pool *p;

	cr_assert_eq(pool_new(4, &p), 0);
	for (size_t i = 0; i < N_JOBS; i++) {
		jobs[i].run = count;
		pool_add(p, &jobs[i]);
	}
	pool_free(p);
	cr_expect_eq(atomic_load(&n_run), N_JOBS);
	pool_free(NULL);
}
