#ifndef WHEN_H_
#define WHEN_H_

/*
 * The TIME that users write.  What is ambiguous is refused.
 *
 *	2026-11-24T10:00[:05[.fraction]]	with "T" or a space, and with "Z", "UTC",
 *						"+02:00", "+0200" or "+02" after it, else UTC
 *	5m 2h 3d 30s 1w 1h30m			ago; also "5 minutes ago"
 *	yesterday				24 hours ago
 *	today					00:00 UTC
 *	now, latest, head:NUMBER, snapshot:NAME
 */

#include "compiler.h"
#include "numbers.h"

#include <stddef.h>
#include <stdint.h>

enum when_kind { WHEN_LATEST, WHEN_TIME, WHEN_HEAD, WHEN_SNAPSHOT };

struct when {
	enum when_kind kind;
	int64_t time_ns;   /* WHEN_TIME: since 1970 UTC */
	head_no head;	   /* WHEN_HEAD */
	char snapshot[256]; /* WHEN_SNAPSHOT */
};

/*
 * when_parse(text, now_ns, out): parse ${text}; relative forms count back from ${now_ns}.
 * Returns 0 or -ERR_BAD_TIME with a detail that names the text and the forms accepted.
 */
MUST_CHECK int when_parse(const char *text, int64_t now_ns, struct when *out);

/* when_parse_duration(text, out_ns): parse only "5m" and the like.  Returns 0 or -ERR_BAD_TIME. */
MUST_CHECK int when_parse_duration(const char *text, int64_t *out_ns);

#define WHEN_TEXT_LEN 40
/*
 * when_format(time_ns, out): RFC 3339 in UTC with the fraction to nine digits
 * ("2026-11-24T10:00:05.123456789Z"); ${out} has WHEN_TEXT_LEN bytes.  Years 0000 to 9999.
 */
void when_format(int64_t time_ns, char *out);

/* when_format_seconds(): the same without the fraction, truncated. */
void when_format_seconds(int64_t time_ns, char *out);

#endif /* !WHEN_H_ */
