#ifndef SECRET_H_
#define SECRET_H_

/* Random bytes, and memory for secrets: locked, guarded, wiped when freed. */

#include "compiler.h"

#include <stddef.h>

/* secret_init(): initialise libsodium; once, before any other call here.  Returns 0 or -EIO. */
MUST_CHECK int secret_init(void);

/* random_bytes(out, len): from the OS; cannot fail. */
void random_bytes(void *out, size_t len);

/* secret_alloc(len): locked memory, or NULL.  secret_free(NULL) is a no-op. */
void *secret_alloc(size_t len);
void secret_free(void *p);

/* secret_wipe(p, len): overwrite a stack copy in a way that the compiler does not optimise out. */
void secret_wipe(void *p, size_t len);

#endif /* !SECRET_H_ */
