/*
 * Time.  clock_gettime() with these clocks fails only on a bad address, so its result
 * is asserted, not handled.
 */

#include "clock.h"

#include "units.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>


int64_t clock_wall_ns(void)
{
	struct timespec ts;
	int rc = clock_gettime(CLOCK_REALTIME, &ts);

	assert(rc == 0);
	(void)rc;
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int stamped = -1; /* our pipe, whose inode is stamped; -1: there is none */
static pthread_once_t stamped_once = PTHREAD_ONCE_INIT;

static void make_stamped(void)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return;
	close(fds[1]);
	stamped = fds[0];
}

/*
 * No clock tells which time the kernel would stamp a file with.  The time of the last tick may be
 * behind a finer stamp that the kernel gave to another file.  So have the kernel stamp a pipe, and
 * read that stamp.  If that fails, use the tick.
 */
struct timespec clock_stamp(void)
{
	struct timespec ts;
	struct stat st;
	int rc;

	pthread_once(&stamped_once, make_stamped);
	if (stamped >= 0 && futimens(stamped, NULL) == 0 && fstat(stamped, &st) == 0)
		return st.st_mtim;
	rc = clock_gettime(CLOCK_REALTIME_COARSE, &ts);
	assert(rc == 0);
	(void)rc;
	return ts;
}

int64_t clock_onward_ns(int64_t last_ns, uint64_t last_mono_ns, int64_t wall_ns, uint64_t mono_ns)
{
	int64_t slow_ns = last_ns + (int64_t)((mono_ns - last_mono_ns) / 2);

	return wall_ns > slow_ns ? wall_ns : slow_ns;
}

uint64_t clock_mono_ns(void)
{
	struct timespec ts;
	int rc = clock_gettime(CLOCK_MONOTONIC, &ts);

	assert(rc == 0);
	(void)rc;
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

void clock_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

int clock_wait(pthread_cond_t *cond, pthread_mutex_t *mu, uint64_t until_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(until_ns / NS_PER_S),
			      .tv_nsec = (long)(until_ns % NS_PER_S)};

	return -pthread_cond_timedwait(cond, mu, &ts);
}
