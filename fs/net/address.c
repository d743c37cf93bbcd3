/*
 * Addresses of block servers, as users write them.  Key idea: every decision is made from the text
 * alone, without a resolver, because plain text may be sent on the strength of the answer.
 */

#include "address.h"

#include "err.h"
#include "params.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#define UNIX_PATH_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

/*
 * Split HOST:PORT or [HOST]:PORT.  ${*out_host} is the part before the last colon, without
 * brackets.
 * Returns false if the text has another form.
 */
static bool split_host(const char *address, size_t len, const char **out_host, size_t *out_len)
{
	const char *colon = memrchr(address, ':', len);
	const char *end = address + len;
	unsigned long port = 0;

	if (!colon || colon == address || end - colon < 2 || end - colon > 6)
		return false;
	for (const char *p = colon + 1; p < end; p++) {
		if (*p < '0' || *p > '9')
			return false;
		port = port * 10 + (unsigned long)(*p - '0');
	}
	if (port == 0 || port > 65535)
		return false;
	*out_host = address;
	*out_len = (size_t)(colon - address);
	if (address[0] == '[') {
		if (*out_len < 3 || colon[-1] != ']')
			return false;
		*out_host = address + 1;
		*out_len -= 2;
	} else if (memchr(address, ':', *out_len)) {
		return false; /* an IPv6 address must be in brackets */
	}
	for (size_t i = 0; i < *out_len; i++) {
		unsigned char ch = (unsigned char)(*out_host)[i];

		if (ch <= ' ' || ch == '/' || ch >= 0x7f)
			return false;
	}
	return true;
}

int address_check(const char *text)
{
	struct in6_addr v6;
	char host[64];
	const char *p;
	size_t len;

	if (strncmp(text, "unix:", 5) == 0 && text[5] && strlen(text + 5) < UNIX_PATH_MAX)
		return 0;
	if (strncmp(text, "unix:", 5) != 0 && split_host(text, strlen(text), &p, &len)) {
		if (text[0] != '[')
			return 0;
		if (len < sizeof(host)) {
			memcpy(host, p, len);
			host[len] = '\0';
			host[strcspn(host, "%")] = '\0'; /* drop the interface, if given */
			if (inet_pton(AF_INET6, host, &v6) == 1)
				return 0;
		}
	}
	return err_say(-ERR_FORMAT,
		       "%.300s: not HOST:PORT, [IPV6]:PORT or unix:PATH, with a port from 1 to 65535",
		       text);
}

bool address_is_loopback(const char *address)
{
	struct in_addr v4;
	struct in6_addr v6;
	char host[64];
	const char *p;
	size_t len;

	if (strncmp(address, "unix:", 5) == 0)
		return true;
	if (!split_host(address, strlen(address), &p, &len) || len >= sizeof(host))
		return false;
	memcpy(host, p, len);
	host[len] = '\0';
	if (address[0] == '[')
		return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return strcmp(host, "localhost") == 0;
}

/* The host, without brackets and the dot that ends a full name; false if it is too long. */
static bool copy_host(const char *address, char out[256])
{
	const char *p;
	size_t len;

	if (!split_host(address, strlen(address), &p, &len) || len >= 256)
		return false;
	if (len > 1 && p[len - 1] == '.')
		len--;
	memcpy(out, p, len);
	out[len] = '\0';
	return true;
}

bool address_same(const char *a, const char *b)
{
	struct in6_addr a6, b6;
	char a_host[256], b_host[256];

	if (strncmp(a, "unix:", 5) == 0 || strncmp(b, "unix:", 5) == 0)
		return strcmp(a, b) == 0;
	if (!copy_host(a, a_host) || !copy_host(b, b_host))
		return strcmp(a, b) == 0;
	if (atoi(strrchr(a, ':') + 1) != atoi(strrchr(b, ':') + 1))
		return false;
	if (inet_pton(AF_INET6, a_host, &a6) == 1 && inet_pton(AF_INET6, b_host, &b6) == 1)
		return memcmp(&a6, &b6, sizeof(a6)) == 0;
	return strcasecmp(a_host, b_host) == 0;
}

int address_parse_target(const char *text, char **out_address, uint8_t out_volume[VOLUME_ID_LEN])
{
	const char *slash = strrchr(text, '/');
	const char *host;
	size_t len, host_len;
	char *address;

	if (!slash || volume_id_parse(slash + 1, out_volume) < 0)
		goto malformed;
	len = (size_t)(slash - text);
	if (strncmp(text, "unix:", 5) == 0) {
		if (len <= 5)
			goto malformed;
	} else if (!split_host(text, len, &host, &host_len)) {
		goto malformed;
	}
	address = strndup(text, len);
	if (!address)
		return -ENOMEM;
	*out_address = address;
	return 0;

malformed:
	return err_say(-ERR_FORMAT,
		       "%s: not HOST:PORT/VOLUME-ID or unix:PATH/VOLUME-ID; the id is 32 "
		       "hexadecimal digits, as shown by 'embassy status'",
		       text);
}
