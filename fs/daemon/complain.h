#ifndef COMPLAIN_H_
#define COMPLAIN_H_

/*
 * Warnings about what requests run into: each subject once in a while, and few altogether,
 * however often a program asks.
 */

#include "compiler.h"

#include <stdint.h>

#define COMPLAIN_AGAIN_S 60u /* the same subject is named again after this */
#define COMPLAIN_BURST 20u   /* and so many subjects at once, one a second after that */

/*
 * complain(subject, fmt, ...): log the printf-style text as a warning unless ${subject} (a hash
 * of what it is about) was named lately.  Any thread.
 */
void complain(uint64_t subject, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* complain_subject(a, text): a subject made of a number and a text (may be NULL). */
uint64_t complain_subject(uint64_t a, const char *text);

#endif /* !COMPLAIN_H_ */
