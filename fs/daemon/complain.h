#ifndef COMPLAIN_H_
#define COMPLAIN_H_

/*
 * Warnings about trouble that requests meet: the same subject only once in a while, and few in all,
 * however often programs ask.
 */

#include "compiler.h"

#include <stdint.h>

#define COMPLAIN_AGAIN_S 60u /* after this the same subject is warned about again */
#define COMPLAIN_BURST 20u   /* as many warnings at once; then one a second */

/*
 * complain(subject, fmt, ...): log the printf-style text as a warning, unless ${subject} (a hash
 * that identifies what it is about) was warned about lately.  Any thread.
 */
void complain(uint64_t subject, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* complain_subject(a, text): a subject made from a number and a text (may be NULL). */
uint64_t complain_subject(uint64_t a, const char *text);

#endif /* !COMPLAIN_H_ */
