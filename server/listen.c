/*
 * Listening addresses.
 *
 * Key idea: whether an address is local is decided from its text alone, strictly: what is not known
 * to be local is not.
 */

#include "listen.h"

#include "err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

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
