/* accept4() as gRPC gets it: limits, and errors that end no listening. */

#include "accept.h"

#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int listener;
static struct sockaddr_in where;

static void set_up(void)
{
	socklen_t len = sizeof(where);

	where = (struct sockaddr_in){.sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_geq(listener, 0);
	cr_assert_eq(bind(listener, (struct sockaddr *)&where, sizeof(where)), 0);
	cr_assert_eq(listen(listener, 64), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&where, &len), 0);
}

TestSuite(accept, .init = set_up, .timeout = 60);

/* A connection from 127.0.0.${host}, which the kernel has taken. */
static int connect_from(unsigned host)
{
	struct sockaddr_in from = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(0x7f000000u | host)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	cr_assert_eq(connect(fd, (struct sockaddr *)&where, sizeof(where)), 0, "%s",
		     strerror(errno));
	return fd;
}

/* The descriptor, or -errno. */
static int take(void)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd = accept4(listener, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0)
		cr_expect_eq(sa.ss_family, AF_INET);
	return fd < 0 ? -errno : fd;
}

/* Once what waited was looked at, which takes a moment if it was looked at just now. */
static int take_in_time(unsigned host, int *out_theirs)
{
	int ours;

	for (;;) {
		*out_theirs = connect_from(host);
		ours = take();
		if (ours != -EINTR)
			return ours;
		close(*out_theirs);
		poll(NULL, 0, 10);
	}
}

static void expect_closed(int fd)
{
	char byte;

	cr_expect_leq(read(fd, &byte, 1), 0);
	close(fd);
}

Test(accept, one_address_leaves_room_to_others)
{
	int theirs[4], ours[4], fd;

	accept_limit(4, 2);
	for (unsigned i = 0; i < 2; i++) {
		theirs[i] = connect_from(1);
		ours[i] = take();
		cr_assert_geq(ours[i], 0);
	}
	fd = connect_from(1);
	cr_expect_eq(take(), -EINTR);
	expect_closed(fd);
	for (unsigned i = 2; i < 4; i++) {
		theirs[i] = connect_from(i);
		ours[i] = take();
		cr_assert_geq(ours[i], 0);
	}
	/* All of them. */
	fd = connect_from(4);
	cr_expect_eq(take(), -EINTR);
	expect_closed(fd);
	cr_expect_eq(take(), -EAGAIN);
	/* One that is over makes room, also if its number is another file's by then. */
	close(ours[0]);
	cr_assert_eq(open("/dev/null", O_RDONLY), ours[0]);
	cr_expect_geq(take_in_time(1, &fd), 0);
	close(fd);
	for (unsigned i = 0; i < 4; i++)
		close(theirs[i]);
}

/* More than there are descriptors for are closed, and later ones taken. */
Test(accept, descriptors_run_out)
{
	struct rlimit limit;
	int first, theirs, ours, used;

	accept_limit(0, 0);
	first = connect_from(1);
	ours = take();
	cr_assert_geq(ours, 0);
	close(ours);
	theirs = connect_from(1);
	used = dup(theirs);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)used + 1, limit.rlim_max}),
		     0);
	/* The next free number is none. */
	cr_assert_lt(dup(theirs), 0);
	cr_expect_eq(take(), -EINTR);
	expect_closed(theirs);
	cr_expect_eq(take(), -EAGAIN);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	theirs = connect_from(1);
	cr_expect_geq(take(), 0);
	close(first);
	close(theirs);
}

/* gRPC must see that its listener is gone. */
Test(accept, a_listener_that_is_closed)
{
	int fd = listener;

	accept_limit(0, 0);
	cr_expect_eq(shutdown(listener, SHUT_RDWR), 0);
	cr_expect_eq(take(), -EINVAL);
	close(listener);
	cr_expect_eq(take(), -EBADF);
	listener = fd;
}
