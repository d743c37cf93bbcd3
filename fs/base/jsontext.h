#ifndef JSONTEXT_H_
#define JSONTEXT_H_

/*
 * What libjansson leaves to its callers: our numbers, strings and times as JSON values, and a value
 * as one line of text.
 *
 * Each jsontext_*() that makes a value returns an owned one, or NULL without memory.  json_pack()
 * and jsontext_line() take it, and fail on NULL; so a caller checks only the last.
 */

#include "compiler.h"

#include <jansson.h>
#include <stdint.h>

struct buf;

/*
 * jsontext_u64(n): for json_pack()'s "I".  JSON's integers are signed here: from 2^63 on it is 2^63 - 1.
 * Positions stay below 2^62.
 */
json_int_t jsontext_u64(uint64_t n);

/* jsontext_string(s): each byte of ${s} that is not part of valid UTF-8 becomes U+FFFD. */
MUST_CHECK json_t *jsontext_string(const char *s);

/*
 * jsontext_set_name(object, key, name): set ${key} to jsontext_string(${name}); if ${name} is not valid
 * UTF-8, set ${key}_hex to its exact bytes, in lower-case hex.  Returns 0 or -ENOMEM.
 */
MUST_CHECK int jsontext_set_name(json_t *object, const char *key, const char *name);

/* jsontext_time(time_ns): as when_format() writes it. */
MUST_CHECK json_t *jsontext_time(int64_t time_ns);

/* jsontext_get(object, key): a string, borrowed; jsontext_get_u64(): a number.  "", 0 if there is none. */
const char *jsontext_get(const json_t *object, const char *key);
uint64_t jsontext_get_u64(const json_t *object, const char *key);

/*
 * jsontext_line(value, out): append ${value} and a newline, all one line, and release ${value}.  What
 * a terminal may not have (utf8_is_plain()) is written as \uXXXX, which every reader takes for the same.
 * Returns 0 or -ENOMEM.
 */
MUST_CHECK int jsontext_line(json_t *value, struct buf *out);

/* jsontext_print(value): the same to standard output.  Returns 0, -ENOMEM or -EIO. */
MUST_CHECK int jsontext_print(json_t *value);

#endif /* !JSONTEXT_H_ */
