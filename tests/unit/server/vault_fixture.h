#ifndef VAULT_FIXTURE_H_
#define VAULT_FIXTURE_H_

/* A vault in a temporary folder with one volume, and a synthetic log to put into it. */

#include "appender.h"
#include "copy.h"
#include "synth.h"
#include "vault.h"

#define WHO "cn:home"

extern char dir[256];
extern struct synth log_;
extern struct vault *vault;
extern struct copy *copy;

/* Before and after each test. */
void fix_set_up(void);
void fix_tear_down(void);

/* Close the vault and open it again, as a restart of the server does. */
void fix_open(void);
void fix_close(void);

struct copy_stand fix_stand(void);

/* fix_begin(out): become the appender where the copy stands, in the log's epoch. */
int fix_begin(struct appender **out);
void fix_no_cancel(void *ctx);

/*
 * fix_feed(a, pos, limit, piece): give the log's bytes from ${pos} to ${limit}, in pieces.  Returns
 * 0 or the first error.
 */
int fix_feed(struct appender *a, uint64_t pos, uint64_t limit, size_t piece);

/* Append all that the log has, and commit. */
void fix_append_all(void);

/* The copy holds exactly the log up to head ${number}. */
void fix_expect_holds(uint64_t number);

/* The length of a segment's file; -1: not there. */
long fix_file_len(uint64_t number);

/* The path of ${name} in the volume's folder. */
void fix_path(const char *name, char out[512]);

#endif /* !VAULT_FIXTURE_H_ */
