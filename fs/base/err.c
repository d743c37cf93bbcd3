/*
 * Error codes: texts, parents, exit codes, and each thread's newest detail.
 *
 * The detail belongs to one code: err_detail() of another code returns that code's plain text.  If
 * a failure has no detail of its own (a system call failed), err_forget() is called for it, so that
 * an older detail of the same code is not shown for it.
 */

#include "err.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define DETAIL_LEN 1024u

struct err_row {
	int parent;
	int exit_code;
	const char *text;
};

static const struct err_row rows[] = {
#define X(name, parent_errno, code, words) {(parent_errno), (code), (words)},
	ERR_TABLE(X)
#undef X
};

static _Thread_local int detail_rc;
static _Thread_local char detail[DETAIL_LEN];

/* The row of -ERR_X, or NULL for anything else. */
static const struct err_row *find_row(int rc)
{
	if (rc > -ERR_DAMAGED || rc <= -ERR_END)
		return NULL;
	return &rows[-rc - ERR_DAMAGED];
}

const char *err_text(int rc)
{
	const struct err_row *row = find_row(rc);
	const char *text;

	if (rc >= 0)
		return "success";
	if (row)
		return row->text;
	text = rc > -ERR_BASE ? strerrordesc_np(-rc) : NULL;
	return text ? text : "unknown error";
}

int err_errno(int rc)
{
	const struct err_row *row = find_row(rc);

	if (rc >= 0)
		return 0;
	if (row)
		return row->parent;
	return rc > -ERR_BASE ? -rc : EIO;
}

int err_exit(int rc)
{
	const struct err_row *row = find_row(rc);

	if (rc >= 0)
		return 0;
	return row ? row->exit_code : 1;
}

int err_say(int rc, const char *fmt, ...)
{
	char text[DETAIL_LEN];
	va_list ap;

	/* Format into a separate buffer: an argument may be the current detail itself. */
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);

	/* The text may contain bytes of a peer or a file: make it one printable line. */
	for (char *c = text; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	memcpy(detail, text, strlen(text) + 1);
	detail_rc = rc;
	return rc;
}

void err_forget(int rc)
{
	if (rc == 0 || rc == detail_rc)
		detail_rc = 0;
}

const char *err_detail(int rc)
{
	if (rc < 0 && rc == detail_rc)
		return detail;
	return err_text(rc);
}
