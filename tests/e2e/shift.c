/*
 * A wall clock that a test sets: loaded before a program (LD_PRELOAD), it adds to what the real time
 * clocks say the nanoseconds that the file named by CLOCK_SHIFT holds, 8 bytes, little-endian,
 * whenever they are asked.  Clocks that don't jump go as ever, and so do times that the kernel
 * gives to files.
 *
 * Waiting until a moment of the wall clock (gRPC and RocksDB do) means the shifted clock's moment
 * as of the call, so that what waits neither hangs for years nor spins.
 *
 * With CLOCK_SHIFT_ALL set, the clocks that never jump are shifted too: a program that measures time
 * with the wall clock looks like that.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)
#define UPTIME_S_MAX INT64_C(300000000) /* a clock that shows less counts from the boot */

static const volatile int64_t *shift;
static int shift_all;

__attribute__((constructor)) static void open_shift(void)
{
	const char *path = getenv("CLOCK_SHIFT");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *p;

	if (fd < 0)
		return;
	shift_all = getenv("CLOCK_SHIFT_ALL") != NULL;
	p = mmap(NULL, sizeof(*shift), PROT_READ, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED)
		shift = p;
	close(fd);
}

static void add_ns(struct timespec *ts, int64_t ns)
{
	int64_t sum = ts->tv_nsec + ns % NS_PER_S;

	ts->tv_sec += ns / NS_PER_S;
	if (sum < 0) {
		sum += NS_PER_S;
		ts->tv_sec--;
	} else if (sum >= NS_PER_S) {
		sum -= NS_PER_S;
		ts->tv_sec++;
	}
	ts->tv_nsec = sum;
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	int rc = (int)syscall(SYS_clock_gettime, clock, ts);

	if (rc == 0 && shift &&
	    (shift_all || clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		add_ns(ts, *shift);
	return rc;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;
	int rc = clock_gettime(CLOCK_REALTIME, &ts);

	(void)zone;
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return rc;
}

time_t time(time_t *out)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (out)
		*out = ts.tv_sec;
	return ts.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mu,
			   const struct timespec *restrict until)
{
	static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
	struct timespec ts = *until;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
	if (shift && (shift_all || ts.tv_sec > UPTIME_S_MAX))
		add_ns(&ts, -*shift);
	return real(cond, mu, &ts);
}
