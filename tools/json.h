#ifndef JSON_H_
#define JSON_H_

/*
 * JSON (RFC 8259), as far as the command needs it: a writer that appends to a buffer, and a reader
 * that finds values in a text without building a tree.
 */

#include "buf.h"
#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 32u

/* A zeroed struct is a writer with nothing written.  Errors are kept: ask once, with json_end(). */
struct json_out {
	struct buf buf;
	bool comma; /* a value stands before */
	int rc;
};

/* Each writes one value; ${key} is its name in an object, NULL in an array or at the top. */
void json_open(struct json_out *j, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json_out *j, char bracket);		   /* '}' or ']' */
void json_put_string(struct json_out *j, const char *key,
		     const char *value); /* bytes that are no UTF-8 become U+FFFD */
void json_put_u64(struct json_out *j, const char *key, uint64_t value);
void json_put_bool(struct json_out *j, const char *key, bool value);
void json_put_time(struct json_out *j, const char *key, int64_t time_ns); /* RFC 3339 */

/*
 * json_end(j): print the text and a newline to standard output, and empty the writer for the next.
 * Returns 0, -ENOMEM if writing failed before, or -EIO.
 */
MUST_CHECK int json_end(struct json_out *j);
void json_out_release(struct json_out *j);

/* A value inside a text: borrowed. */
struct json {
	const char *p;
	size_t len;
};

/*
 * json_check(text, len, out): is ${text} one well-formed value, at most JSON_DEPTH_MAX deep?  0
 * or -ERR_FORMAT.
 */
MUST_CHECK int json_check(const char *text, size_t len, struct json *out);

/*
 * On values that json_check() passed.  json_get: a member of an object; false if it is not
 * there.
 */
bool json_get(const struct json *object, const char *key, struct json *out);

/*
 * json_next(array, at, out): the value at offset ${*at} (0 first), which moves on; false at the
 * end, or if it is no array.
 */
bool json_next(const struct json *array, size_t *at, struct json *out);

/*
 * Values by key; 0, "" where there is none of that type.  A string is cut to fit; escapes
 * beyond ASCII become '?'.
 */
uint64_t json_u64(const struct json *object, const char *key);
double json_double(const struct json *object, const char *key);
void json_string(const struct json *object, const char *key, char *out, size_t cap);

#endif /* !JSON_H_ */
