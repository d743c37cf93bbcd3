#ifndef JSONTEXT_H_
#define JSONTEXT_H_

/*
 * JSON helpers that libjansson does not have: our numbers, strings and times as JSON values, and a
 * value as one line of text.
 *
 * Each jsontext_*() that makes a value returns an owned one, or NULL if out of memory.  json_pack()
 * and jsontext_line() take ownership of it, and fail on NULL; so a caller checks only the last
 * call.
 */

#include "compiler.h"

#include <jansson.h>
#include <stdint.h>

struct buf;

/*
 * jsontext_u64(n): ${n} for json_pack()'s "I".  JSON integers are signed here, so from 2^63 on the
 * result is 2^63 - 1.  Positions stay below 2^62.
 */
json_int_t jsontext_u64(uint64_t n);

/* jsontext_string(s): each byte of ${s} that is not part of valid UTF-8 becomes U+FFFD. */
MUST_CHECK json_t *jsontext_string(const char *s);

/*
 * jsontext_set_name(object, key, name): set ${key} to jsontext_string(${name}).  If ${name} is not
 * valid UTF-8, also set ${key}_hex to its exact bytes, in lower-case hex.  Returns 0 or -ENOMEM.
 */
MUST_CHECK int jsontext_set_name(json_t *object, const char *key, const char *name);

/* jsontext_time(time_ns): a time as when_format() writes it. */
MUST_CHECK json_t *jsontext_time(int64_t time_ns);

/*
 * jsontext_get(object, key): a string, borrowed, "" if there is none.  jsontext_get_u64(): a
 * number, 0 if there is none.
 */
const char *jsontext_get(const json_t *object, const char *key);
uint64_t jsontext_get_u64(const json_t *object, const char *key);

/*
 * jsontext_line(value, out): append ${value} as one line with a newline, and release ${value}.
 * Characters that are not safe for a terminal (utf8_is_plain()) are written as \uXXXX, which means
 * the same to every JSON reader.
 * Returns 0 or -ENOMEM.
 */
MUST_CHECK int jsontext_line(json_t *value, struct buf *out);

/* jsontext_print(value): the same, to standard output.  Returns 0, -ENOMEM or -EIO. */
MUST_CHECK int jsontext_print(json_t *value);

#endif /* !JSONTEXT_H_ */
