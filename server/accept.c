/*
 * accept4() for gRPC, with limits.
 *
 * Key idea: gRPC closes a connection without telling us.  So each one's descriptor is kept with its
 * socket's inode: once that number is free, or another file's, the connection is over.  This is
 * checked only when there is no room, and at most once in LOOK_NS, so that a flood costs little.
 *
 * Invariants:
 *  1. n <= all <= ACCEPT_ALL_MAX: there are no more live connections than entries.
 *  2. While descriptors last, one is kept spare.  When they have run out, it makes way for the
 *     connection that waits, which is then closed; gRPC would not be told a second time of one that
 *     is left waiting.
 *
 * Lock order: mu is a leaf.
 */

#include "accept.h"

#include "clock.h"
#include "locks.h"
#include "msg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOK_NS (UINT64_C(100) * 1000 * 1000)

/*
 * What connections are counted by: an IPv4 address; half of an IPv6 one; zeros for a Unix socket.
 */
struct origin {
	int family;
	uint8_t bytes[8];
};

struct connection {
	int fd;
	ino_t ino;
	struct origin from;
};

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
/* Guarded by mu. */
static unsigned all, one;
static struct connection list[ACCEPT_ALL_MAX];
static unsigned n;
static uint64_t looked_ns;
static int spare = -1;

static void keep_spare_locked(void) REQUIRES(mu);
static void set_limits_locked(unsigned want_all, unsigned want_one) REQUIRES(mu);
static unsigned count_locked(const struct origin *from) REQUIRES(mu);
static void look_locked(uint64_t now_ns) REQUIRES(mu);
static bool has_room_locked(const struct origin *from) REQUIRES(mu);

static void keep_spare_locked(void)
{
	if (spare < 0)
		spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void set_limits_locked(unsigned want_all, unsigned want_one)
{
	struct rlimit limit;

	all = want_all > 0 && want_all < ACCEPT_ALL_MAX ? want_all : ACCEPT_ALL_MAX;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 2 < all)
		all = limit.rlim_cur < 4 ? 2 : (unsigned)(limit.rlim_cur / 2);
	one = want_one > 0 && want_one < all ? want_one : all / 2;
	n = 0;
	looked_ns = 0;
	keep_spare_locked();
}

void accept_limit(unsigned want_all, unsigned want_one)
{
	pthread_mutex_lock(&mu);
	set_limits_locked(want_all, want_one);
	pthread_mutex_unlock(&mu);
}

static struct origin origin_of(const struct sockaddr_storage *sa)
{
	struct origin o = {.family = sa->ss_family};

	if (sa->ss_family == AF_INET) {
		memcpy(o.bytes, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	} else if (sa->ss_family == AF_INET6) {
		const struct in6_addr *a = &((const struct sockaddr_in6 *)sa)->sin6_addr;

		/* gRPC listens on IPv6 for both. */
		if (IN6_IS_ADDR_V4MAPPED(a)) {
			o.family = AF_INET;
			memcpy(o.bytes, a->s6_addr + 12, 4);
		} else {
			memcpy(o.bytes, a->s6_addr, sizeof(o.bytes));
		}
	}
	return o;
}

static bool same_origin(const struct origin *a, const struct origin *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static unsigned count_locked(const struct origin *from)
{
	unsigned found = 0;

	for (unsigned i = 0; i < n; i++)
		found += same_origin(&list[i].from, from);
	return found;
}

/* Forget the connections that are over. */
static void look_locked(uint64_t now_ns)
{
	unsigned kept = 0;

	if (looked_ns != 0 && now_ns - looked_ns < LOOK_NS)
		return;
	looked_ns = now_ns;
	for (unsigned i = 0; i < n; i++) {
		struct stat st;

		if (fstat(list[i].fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == list[i].ino)
			list[kept++] = list[i];
	}
	n = kept;
}

static bool has_room_locked(const struct origin *from)
{
	return n < all && count_locked(from) < one;
}

/* Whether the connection may stay; if so, count it. */
static bool admit(int fd, const struct origin *from)
{
	struct stat st;
	bool may;

	if (fstat(fd, &st) < 0)
		return false;
	pthread_mutex_lock(&mu);
	if (all == 0)
		set_limits_locked(0, 0);
	if (!has_room_locked(from))
		look_locked(clock_mono_ns());
	may = has_room_locked(from);
	if (may)
		list[n++] = (struct connection){.fd = fd, .ino = st.st_ino, .from = *from};
	keep_spare_locked();
	pthread_mutex_unlock(&mu);
	return may;
}

static void tell_refused(const struct origin *from)
{
	char text[INET6_ADDRSTRLEN] = "a Unix socket";
	struct in6_addr v6 = IN6ADDR_ANY_INIT;

	if (from->family == AF_INET) {
		(void)inet_ntop(AF_INET, from->bytes, text, sizeof(text));
	} else if (from->family == AF_INET6) {
		memcpy(v6.s6_addr, from->bytes, sizeof(from->bytes));
		(void)inet_ntop(AF_INET6, &v6, text, sizeof(text));
	}
	msg_event(MSG_WARN, "connection-refused",
		  "%s%s: a connection was closed at once, since there are as many as there may be",
		  text, from->family == AF_INET6 ? "/64" : "");
}

static int take(int listener, struct sockaddr_storage *sa, socklen_t *len, int flags)
{
	*len = sizeof(*sa);
	memset(sa, 0, sizeof(*sa));
	return (int)syscall(SYS_accept4, listener, sa, len, flags);
}

/* No descriptor is left for the connection that waits: close it.  Returns an errno for gRPC. */
static int shed(int listener)
{
	struct sockaddr_storage sa;
	socklen_t len;
	int fd = -1;

	pthread_mutex_lock(&mu);
	if (spare >= 0) {
		close(spare);
		spare = -1;
		fd = take(listener, &sa, &len, SOCK_CLOEXEC);
		if (fd >= 0)
			close(fd);
		keep_spare_locked();
	}
	pthread_mutex_unlock(&mu);
	msg_event(MSG_ERROR, "descriptors-short",
		  "descriptors have run out: connections are closed at once; raise the limit of "
		  "open files");
	return fd < 0 ? EAGAIN : EINTR;
}

/*
 * What gRPC is to see for ${err}: EINTR makes it call again, EAGAIN makes it wait for the next
 * connection.  On Linux, accept(2) also returns errors of the connection that waited; they are over
 * with it.
 */
static int judge(int listener, int err)
{
	switch (err) {
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		return shed(listener);
	case ECONNABORTED:
	case EPERM:
	case EPROTO:
	case ENOPROTOOPT:
	case ENONET:
	case ENETDOWN:
	case ENETUNREACH:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ETIMEDOUT:
		return EINTR;
	default:
		return err; /* the listener's own: it was closed, or there is nothing */
	}
}

int accept4(int listener, __SOCKADDR_ARG addr, socklen_t *restrict addr_len, int flags)
{
	struct sockaddr_storage sa;
	struct origin from;
	socklen_t len;
	int fd = take(listener, &sa, &len, flags);

	if (fd < 0) {
		errno = judge(listener, errno);
		return -1;
	}
	from = origin_of(&sa);
	if (!admit(fd, &from)) {
		close(fd);
		tell_refused(&from);
		errno = EINTR;
		return -1;
	}
	if (addr.__sockaddr__ && addr_len) {
		memcpy(addr.__sockaddr__, &sa, len < *addr_len ? len : *addr_len);
		*addr_len = len;
	}
	return fd;
}
