#ifndef OPTIONS_INTERNAL_H_
#define OPTIONS_INTERNAL_H_

/* The table of -o options, shared by options.c (parses) and options_format.c (writes). */

#include "options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The type of an option's value. */
enum option_value {
	VALUE_NONE,
	VALUE_ACCESS, /* ro or rw: the last one counts */
	VALUE_TEXT,
	VALUE_PATH,
	VALUE_SECONDS,
	VALUE_SIZE,
	VALUE_EMBASSY,
	VALUE_HISTORY, /* owner or users */
	VALUE_ANY
};

struct option_spec {
	const char *name;
	enum option_value value;
	size_t field; /* offset in struct options, or IGNORED */
	bool flag;    /* VALUE_NONE: the value that the field gets */
};

#define IGNORED SIZE_MAX

extern const struct option_spec option_specs[];
extern const size_t n_option_specs;

#endif /* !OPTIONS_INTERNAL_H_ */
