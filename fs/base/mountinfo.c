/*
 * /proc/PID/mountinfo, see proc(5).
 */

#include "mountinfo.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

static void row_release(struct mountinfo_row *row)
{
	free(row->path);
	free(row->type);
	free(row->source);
}

void mountinfo_release(struct mountinfo *m)
{
	for (size_t i = 0; i < m->n; i++)
		row_release(&m->row[i]);
	free(m->row);
	*m = (struct mountinfo){0};
}

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* Blanks and the like are written as a backslash and three octal digits. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && is_octal(s[1]) && is_octal(s[2]) && is_octal(s[3])) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

/* ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS */
static bool parse(const char *line, struct mountinfo_row *out)
{
	const char *rest = strstr(line, " - ");
	unsigned ma, mi;

	*out = (struct mountinfo_row){0};
	if (!rest ||
	    sscanf(line, "%lu %lu %u:%u %*s %ms", &out->id, &out->parent, &ma, &mi, &out->path) !=
		    5 ||
	    sscanf(rest, " - %ms %ms", &out->type, &out->source) != 2) {
		row_release(out);
		return false;
	}
	out->dev = makedev(ma, mi);
	unescape(out->path);
	unescape(out->source);
	return true;
}

int mountinfo_read(const char *file, struct mountinfo *out)
{
	FILE *f = fopen(file, "re");
	char *line = NULL;
	size_t size = 0;
	struct mountinfo_row row, *grown;
	int rc = 0;

	*out = (struct mountinfo){0};
	if (!f)
		return -errno;
	while (rc == 0 && getline(&line, &size, f) > 0) {
		if (!parse(line, &row))
			continue;
		grown = reallocarray(out->row, out->n + 1, sizeof(row));
		if (grown) {
			out->row = grown;
			out->row[out->n++] = row;
		} else {
			row_release(&row);
			rc = -ENOMEM;
		}
	}
	free(line);
	fclose(f);
	if (rc < 0)
		mountinfo_release(out);
	return rc;
}
