/*
 * Listening addresses.
 *
 * Key idea: whether an address is local is decided from its text alone, strictly: an address that
 * is not known to be local counts as remote.
 */

#include "listen.h"

#include "err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_PREFIX "unix:"
#define PORT_DIGITS_MAX 5u

static bool is_unix(const char *text)
{
	return strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0;
}

/* The colon before the port, or NULL. */
static const char *find_port(const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t digits;

	if (!colon || colon == text)
		return NULL;
	digits = strspn(colon + 1, "0123456789");
	if (digits == 0 || digits > PORT_DIGITS_MAX || colon[1 + digits] || atoi(colon + 1) > 65535)
		return NULL;
	/* An IPv6 address needs its brackets. */
	if (memchr(text, ':', (size_t)(colon - text)) && (text[0] != '[' || colon[-1] != ']'))
		return NULL;
	return colon;
}

int listen_check(const char *text)
{
	if (is_unix(text)) {
		size_t len = strlen(text + strlen(UNIX_PREFIX));

		if (len > 0 && len < sizeof(((struct sockaddr_un *)0)->sun_path))
			return 0;
	} else if (find_port(text)) {
		return 0;
	}
	return err_say(-EINVAL,
		       "--listen %s: not ADDRESS:PORT, [IPV6]:PORT or unix:PATH (of at most 107 "
		       "bytes)",
		       text);
}

bool listen_is_local(const char *text)
{
	const char *colon = find_port(text);
	struct in6_addr v6;
	struct in_addr v4;
	char host[64];
	size_t len;

	if (is_unix(text))
		return true;
	if (!colon)
		return false;
	len = (size_t)(colon - text);
	if (len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	if (host[0] == '[') {
		host[len - 1] = '\0';
		return inet_pton(AF_INET6, host + 1, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
	}
	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return strcmp(host, "localhost") == 0;
}

char *listen_format(const char *text, int port)
{
	const char *colon = find_port(text);
	char *out;

	if (is_unix(text) || !colon)
		return strdup(text);
	return asprintf(&out, "%.*s:%d", (int)(colon - text), text, port) < 0 ? NULL : out;
}

static int say_bind(const char *text, int err)
{
	switch (err) {
	case EACCES:
		return err_say(-err,
			       "%s: this user may not listen there; take a port above 1023, or a "
			       "folder that it may write to",
			       text);
	case EADDRNOTAVAIL:
		return err_say(-err, "%s: not an address of this machine; 'ip address' lists them",
			       text);
	case ENOENT:
		return err_say(-err, "%s: there is no such folder; make it first", text);
	case 0:
	case EADDRINUSE:
		return err_say(-EADDRINUSE,
			       "%s: another program listens there; stop it, or take another port",
			       text);
	default:
		return err_say(-err, "%s: cannot be listened on: %s", text, strerror(err));
	}
}

static int try_bind(int family, const struct sockaddr *sa, socklen_t len)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, err = 0;

	if (fd < 0)
		return errno;
	/*
	 * As gRPC does, so that what is left of former connections is not reported as the reason.
	 */
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, sa, len) < 0 || listen(fd, 1) < 0)
		err = errno;
	close(fd);
	return err;
}

static int explain_unix(const char *text)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int err;

	strcpy(sa.sun_path, text + strlen(UNIX_PREFIX));
	err = try_bind(AF_UNIX, (struct sockaddr *)&sa, sizeof(sa));
	if (err == 0)
		(void)unlink(sa.sun_path);
	return say_bind(text, err);
}

int listen_check_free(const char *text)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct stat st;
	int fd, err;

	if (!is_unix(text))
		return 0;
	strcpy(sa.sun_path, text + strlen(UNIX_PREFIX));
	if (lstat(sa.sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_say(-EEXIST, "%s: what is there is no socket; take another path", text);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* EAGAIN: somebody listens, and has much to do. */
	err = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EAGAIN ? errno : 0;
	close(fd);
	return err == 0 ? say_bind(text, EADDRINUSE) : 0;
}

int listen_explain(const char *text)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
	const char *colon = find_port(text);
	char host[256];
	size_t len;
	int err;

	if (is_unix(text))
		return explain_unix(text);
	len = colon ? (size_t)(colon - text) : sizeof(host);
	if (len >= sizeof(host))
		return err_say(-EADDRNOTAVAIL, "%s: too long an address", text);
	memcpy(host, text, len);
	host[len] = '\0';
	if (host[0] == '[') {
		host[len - 1] = '\0';
		memmove(host, host + 1, len - 1);
	}
	err = getaddrinfo(host, colon + 1, &hints, &list);
	if (err != 0)
		return err_say(-EADDRNOTAVAIL, "%s: the host %s is not known: %s", text, host,
			       gai_strerror(err));
	err = try_bind(list->ai_family, list->ai_addr, list->ai_addrlen);
	freeaddrinfo(list);
	return say_bind(text, err);
}
