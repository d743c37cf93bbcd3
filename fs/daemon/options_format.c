/*
 * Options written back as a command line.
 *
 * A supervisor executes the next program, and a daemon its next supervisor, with the options that it
 * was started with.  options_parse() must read the result as the same options, so both use one
 * table of words.
 */

#include "options_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Add "NAME=VALUE" or "NAME" to a list, with commas and backslashes in the value escaped. */
static int add_word(char **list, const char *name, const char *value)
{
	size_t len = *list ? strlen(*list) : 0;
	char *p = realloc(*list, len + strlen(name) + 2 * (value ? strlen(value) : 0) + 3);

	if (!p)
		return -ENOMEM;
	*list = p;
	p += len;
	if (len > 0)
		*p++ = ',';
	p = stpcpy(p, name);
	if (value)
		*p++ = '=';
	for (; value && *value; value++) {
		if (*value == ',' || *value == '\\')
			*p++ = '\\';
		*p++ = *value;
	}
	*p = '\0';
	return 0;
}

static int format_spec(const struct options *o, const struct option_spec *sp, char **list)
{
	const void *field;
	char number[24];
	int rc = 0;

	if (sp->field == IGNORED)
		return 0;
	field = (const char *)o + sp->field;
	switch (sp->value) {
	case VALUE_ACCESS:
		return (sp->flag ? o->read_only : o->read_write) ? add_word(list, sp->name, NULL)
								 : 0;
	case VALUE_NONE:
		return sp->flag && *(const bool *)field ? add_word(list, sp->name, NULL) : 0;
	case VALUE_HISTORY:
		return *(const bool *)field ? add_word(list, sp->name, "users") : 0;
	case VALUE_TEXT:
	case VALUE_PATH:
		return *(char *const *)field ? add_word(list, sp->name, *(char *const *)field) : 0;
	case VALUE_SECONDS:
		snprintf(number, sizeof(number), "%u", *(const unsigned *)field);
		return *(const unsigned *)field ? add_word(list, sp->name, number) : 0;
	case VALUE_SIZE:
		snprintf(number, sizeof(number), "%llu",
			 (unsigned long long)*(const uint64_t *)field);
		return *(const uint64_t *)field ? add_word(list, sp->name, number) : 0;
	default:
		for (size_t i = 0; rc == 0 && i < o->n_embassies; i++)
			rc = add_word(list, sp->name, o->embassies[i]);
		return rc;
	}
}

#define FORMAT_WORDS 8u /* at most, including the NULL */

int options_format(const struct options *o, const char *program, int handover_fd, char ***out_argv)
{
	char **argv = calloc(FORMAT_WORDS, sizeof(*argv));
	char *list = NULL;
	unsigned n = 0;
	int rc = argv ? 0 : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < n_option_specs; i++)
		rc = format_spec(o, &option_specs[i], &list);
	if (rc == 0) {
		argv[n++] = strdup(program);
		argv[n++] = strdup(o->target);
		argv[n++] = strdup(o->mount_point);
		if (asprintf(&argv[n++], "--handover=%d", handover_fd) < 0)
			argv[n - 1] = NULL;
		if (o->foreground)
			argv[n++] = strdup("-f");
		if (list) {
			argv[n++] = strdup("-o");
			argv[n++] = list;
			list = NULL;
		}
		for (unsigned i = 0; i < n; i++)
			if (!argv[i])
				rc = -ENOMEM;
	}
	free(list);
	if (rc < 0) {
		for (unsigned i = 0; argv && i < n; i++)
			free(argv[i]);
		free(argv);
		return rc;
	}
	*out_argv = argv;
	return 0;
}

void options_format_free(char **argv)
{
	for (char **p = argv; *p; p++)
		free(*p);
	free(argv);
}
