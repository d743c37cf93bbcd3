/*
 * The process title that ps(1) shows.
 */

#include "title.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	char *at, *copy;
	size_t len;
} area;

int title_save(int argc, char **argv)
{
	char *end = argv[0];

	/* The kernel lays the strings out one after the other; getopt() may have reordered argv. */
	area.at = argv[0];
	for (int i = 0; i < argc; i++) {
		if (argv[i] < area.at)
			area.at = argv[i];
		if (argv[i] + strlen(argv[i]) + 1 > end)
			end = argv[i] + strlen(argv[i]) + 1;
	}
	area.len = (size_t)(end - area.at);
	area.copy = malloc(area.len + 1);
	if (!area.copy)
		return -ENOMEM;
	memcpy(area.copy, area.at, area.len);
	return 0;
}

void title_set(const char *text)
{
	size_t len = strlen(text);

	if (area.len == 0)
		return;
	memset(area.at, 0, area.len);
	memcpy(area.at, text, len < area.len ? len : area.len - 1);
}

void title_restore(void)
{
	if (area.len > 0)
		memcpy(area.at, area.copy, area.len);
}

int title_program(char *out, size_t size)
{
	/* The kernel appends this to the name of a file that was removed. */
	static const char deleted[] = " (deleted)";
	const size_t len = sizeof(deleted) - 1;
	ssize_t n = readlink("/proc/self/exe", out, size);

	if (n < 0)
		return -errno;
	if ((size_t)n == size)
		return -ENAMETOOLONG;
	out[n] = '\0';
	if ((size_t)n > len && strcmp(out + (size_t)n - len, deleted) == 0)
		out[(size_t)n - len] = '\0';
	return 0;
}
