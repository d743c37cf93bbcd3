#ifndef WHO_H_
#define WHO_H_

/* Identities, as one line of text each: what owns a volume, and what quotas are counted by. */

#define WHO_MAX 256u /* bytes of one, NUL included */

/* All callers of a server without TLS. */
#define WHO_LOCAL "local"

#endif /* !WHO_H_ */
