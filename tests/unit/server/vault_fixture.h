#ifndef VAULT_FIXTURE_H_
#define VAULT_FIXTURE_H_

/*
 * A vault with one volume, and a synthetic log to put into it.  What keeps the volume is a temporary
 * folder, or memory, as EMBASSYFS_TEST_STORAGE says: the same tests are run over both.
 */

#include "appender.h"
#include "copy.h"
#include "synth.h"
#include "vault.h"

#define WHO "cn:home"

extern char dir[256];
extern struct synth log_;
extern struct vault *vault;
extern struct copy *copy;
extern bool fix_memory;	      /* over memory, not a folder */
extern struct memory *memory; /* NULL: over a folder */
extern const struct holes *fix_holes; /* of what is opened from now on; NULL: all is there */

/* What follows is about files. */
#define FOLDER_ONLY()                                                                              \
	do {                                                                                       \
		if (fix_memory)                                                                    \
			return;                                                                    \
	} while (0)

/* Before and after each test. */
void fix_set_up(void);
void fix_tear_down(void);

/*
 * Close the vault and open it again, as a restart of the server does.  fix_open_vault(): without the
 * volume.
 */
void fix_open(void);
void fix_open_vault(void);
void fix_close(void);

/* fix_set_fault(fn, ctx): of file.h, or of storage_memory.h. */
void fix_set_fault(int (*fn)(void *ctx, const char *op), void *ctx);

/*
 * Behind the server's back: fix_flip(pos): a bit of the log's byte ${pos}; fix_put(): these bytes are
 * there; fix_drop_segment(), fix_drop_index(): gone, while the vault is closed.
 */
void fix_flip(uint64_t pos);
void fix_put(uint64_t pos, const void *bytes, size_t len);
void fix_drop_segment(uint64_t number);
void fix_drop_index(void);

struct copy_committed fix_committed(void);

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

/* The length of a segment; -1: not there. */
long fix_segment_len(uint64_t number);

/* The path of ${name} in the volume's folder. */
void fix_path(const char *name, char out[512]);

#endif /* !VAULT_FIXTURE_H_ */
