/*
 * Operations to text and back.
 *
 * The text is what a failure prints and what is replayed, so both directions go by one table.
 */

#include "op.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

static const struct {
	const char *name, *args;
} kinds[N_OPS] = {
#define OP_ROW(name, args) {#name, args},
	OPS(OP_ROW)
#undef OP_ROW
};

struct flag {
	const char *name;
	int64_t value;
};

/* O_TMPFILE and O_SYNC hold other flags, so they come first. */
static const struct flag open_flags[] = {
	{"wronly", O_WRONLY},	    {"rdwr", O_RDWR},	      {"tmpfile", O_TMPFILE},
	{"creat", O_CREAT},	    {"excl", O_EXCL},	      {"trunc", O_TRUNC},
	{"append", O_APPEND},	    {"sync", O_SYNC},	      {"dsync", O_DSYNC},
	{"directory", O_DIRECTORY}, {"nofollow", O_NOFOLLOW}, {NULL, 0}};
static const struct flag rename_flags[] = {
	{"noreplace", RENAME_NOREPLACE}, {"exchange", RENAME_EXCHANGE}, {NULL, 0}};
static const struct flag allocate_flags[] = {{"keep", FALLOC_FL_KEEP_SIZE},
					     {"punch", FALLOC_FL_PUNCH_HOLE},
					     {"zero", FALLOC_FL_ZERO_RANGE},
					     {NULL, 0}};
static const struct flag xattr_flags[] = {
	{"create", XATTR_CREATE}, {"replace", XATTR_REPLACE}, {NULL, 0}};
/* Of these exactly one. */
static const struct flag whences[] = {{"set", SEEK_SET},   {"cur", SEEK_CUR},	{"end", SEEK_END},
				      {"data", SEEK_DATA}, {"hole", SEEK_HOLE}, {NULL, 0}};

static const char *const xattrs[N_XATTRS] = {"user.a",	  "user.b", "user.longer-name", "user.c",
					     "trusted.t", "user.",  "nonsense.x"};

/* What has a label has no text that could be printed in one word. */
static const struct {
	const char *text, *label;
} odd[] = {{".", NULL},	     {"a/.", NULL},	      {"b/..", NULL}, {"a/", NULL},
	   {"b/c/", NULL},   {"", "@empty"},	      {NULL, "@255"}, {NULL, "@256"},
	   {NULL, "a/@255"}, {"d/\xff\n", "d/@bytes"}};
#define N_ODD (sizeof(odd) / sizeof(*odd))

static char plain[N_PLAIN][8];
static char long_names[N_ODD][2 + 256 + 1];
static pthread_once_t paths_once = PTHREAD_ONCE_INIT;

static void make_paths(void)
{
	for (int64_t i = 0; i < N_PLAIN; i++) {
		int64_t parent = path_parent(i);
		size_t n = 0;

		if (parent >= 0) {
			n = strlen(plain[parent]);
			memcpy(plain[i], plain[parent], n);
			plain[i][n++] = '/';
		}
		assert(n + 1 < sizeof(plain[i]));
		plain[i][n] = (char)('a' + i % N_NAMES);
	}
	for (size_t i = 0; i < N_ODD; i++) {
		const char *at = odd[i].label ? strchr(odd[i].label, '@') : NULL;

		if (odd[i].text || !at)
			continue;
		memcpy(long_names[i], odd[i].label, (size_t)(at - odd[i].label));
		memset(long_names[i] + (at - odd[i].label), 'n', (size_t)atoi(at + 1));
	}
}

size_t path_count(void)
{
	return N_PLAIN + N_ODD;
}

int64_t path_parent(int64_t path)
{
	return path < N_NAMES ? -1 : (path - N_NAMES) / N_NAMES;
}

const char *path_text(int64_t path)
{
	pthread_once(&paths_once, make_paths);
	if (path < N_PLAIN)
		return plain[path];
	return odd[path - N_PLAIN].text ? odd[path - N_PLAIN].text : long_names[path - N_PLAIN];
}

static const char *path_label(int64_t path)
{
	return path < N_PLAIN || !odd[path - N_PLAIN].label ? path_text(path)
							    : odd[path - N_PLAIN].label;
}

const char *xattr_text(int64_t name)
{
	return xattrs[name];
}

const char *op_name(enum op_kind kind)
{
	return kinds[kind].name;
}

const char *op_args(enum op_kind kind)
{
	return kinds[kind].args;
}

static const struct flag *flags_of(char kind)
{
	switch (kind) {
	case 'O':
		return open_flags;
	case 'R':
		return rename_flags;
	case 'A':
		return allocate_flags;
	case 'X':
		return xattr_flags;
	default:
		return NULL;
	}
}

static void format_flags(const struct flag *f, int64_t value, char *out, size_t size)
{
	size_t n = 0;

	for (; f->name && n < size; f++)
		if (f->value && (value & f->value) == f->value) {
			value &= ~f->value;
			n += (size_t)snprintf(out + n, size - n, "%s%s", n ? "|" : "", f->name);
		}
	if (n == 0)
		snprintf(out, size, "0");
}

static void format_arg(char kind, int64_t value, char *out, size_t size)
{
	if (kind == 'p')
		snprintf(out, size, "%s", path_label(value));
	else if (kind == 'x')
		snprintf(out, size, "%s", xattr_text(value));
	else if (kind == 'o')
		snprintf(out, size, "0%" PRIo64, (uint64_t)value);
	else if (kind == 'W')
		snprintf(out, size, "%s", whences[value].name);
	else if (flags_of(kind))
		format_flags(flags_of(kind), value, out, size);
	else
		snprintf(out, size, "%" PRId64, value);
}

void op_format(const struct op *op, char out[OP_TEXT_MAX])
{
	size_t n = (size_t)snprintf(out, OP_TEXT_MAX, "%s", op_name(op->kind));
	const char *args = op_args(op->kind);
	char one[80];

	for (size_t i = 0; args[i]; i++) {
		format_arg(args[i], op->arg[i], one, sizeof(one));
		n += (size_t)snprintf(out + n, OP_TEXT_MAX - n, " %s", one);
	}
}

static bool parse_flags(const struct flag *all, char *word, int64_t *out)
{
	char *save, *one;

	*out = 0;
	if (strcmp(word, "0") == 0)
		return true;
	for (one = strtok_r(word, "|", &save); one; one = strtok_r(NULL, "|", &save)) {
		const struct flag *f = all;

		while (f->name && strcmp(f->name, one) != 0)
			f++;
		if (!f->name)
			return false;
		*out |= f->value;
	}
	return true;
}

static bool parse_arg(char kind, char *word, int64_t *out)
{
	char *end;

	if (kind == 'p') {
		for (*out = 0; *out < (int64_t)path_count(); ++*out)
			if (strcmp(path_label(*out), word) == 0)
				return true;
		return false;
	}
	if (kind == 'x') {
		for (*out = 0; *out < N_XATTRS; ++*out)
			if (strcmp(xattr_text(*out), word) == 0)
				return true;
		return false;
	}
	if (kind == 'W') {
		for (*out = 0; whences[*out].name; ++*out)
			if (strcmp(whences[*out].name, word) == 0)
				return true;
		return false;
	}
	if (flags_of(kind))
		return parse_flags(flags_of(kind), word, out);
	*out = strtoll(word, &end, kind == 'o' ? 8 : 10);
	return *end == '\0' && (kind != 'f' || (*out >= 0 && *out < N_SLOTS));
}

bool op_parse(const char *line, struct op *out)
{
	char copy[OP_TEXT_MAX], *save, *word;
	const char *args;

	*out = (struct op){0};
	if (strlen(line) >= sizeof(copy))
		return false;
	strcpy(copy, line);
	word = strtok_r(copy, " \t\n", &save);
	if (!word)
		return false;
	while (out->kind < N_OPS && strcmp(op_name(out->kind), word) != 0)
		out->kind++;
	if (out->kind == N_OPS)
		return false;
	args = op_args(out->kind);
	for (size_t i = 0; args[i]; i++) {
		word = strtok_r(NULL, " \t\n", &save);
		if (!word || !parse_arg(args[i], word, &out->arg[i]))
			return false;
	}
	return strtok_r(NULL, " \t\n", &save) == NULL;
}
