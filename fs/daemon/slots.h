#ifndef SLOTS_H_
#define SLOTS_H_

/*
 * Views of the past that the kernel knows nodes of.  A slot stands for one head, seen through one
 * name in .embassy, for as long as the kernel holds a reference to any node of it; node ids of
 * the past are made of the slot's number and the inode's.  (Two names of one head need two slots:
 * the kernel allows a folder one place only.)  A file of the past that was looked up has a slot to
 * itself, so that its node, and what the kernel keeps of its contents, is shared with nobody.  The view itself is opened when a request needs it
 * and closed when others need the room: a slot costs a few bytes, a view may cost megabytes.
 */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOTS_MAX 65000u
#define SLOTS_RESERVE 4096u  /* that files leave to names */
#define SLOTS_KEPT 4096u     /* with more in use the kernel is asked to forget the oldest names */
#define SLOTS_VIEWS_MIN 2u   /* open views that are kept whatever they cost */
#define SLOTS_VIEWS_MAX 256u /* beside those in use */

struct slots;
struct view;

struct slots_config {
	/*
	 * open(ctx, head, out), close(v), bytes(v): view_open() and friends, by the head's
	 * number.
	 */
	int (*open)(void *ctx, uint64_t head, struct view **out);
	void (*close)(struct view *v);
	size_t (*bytes)(const struct view *v);
	void *ctx;
	size_t bytes_max; /* of all open views together, beside those in use */
	/*
	 * slots_bytes() bytes, zeroed before they are first used, that outlive the process: who
	 * takes over from it knows every slot that the kernel has nodes of.  NULL: none.
	 */
	void *mem;
};

size_t slots_bytes(void);

/* slots_new(cfg, out): returns 0 or -ENOMEM.  slots_free(s): no view is in use; NULL is a no-op. */
MUST_CHECK int slots_new(const struct slots_config *cfg, struct slots **out);
void slots_free(struct slots *s);

/*
 * slots_take(s, head, tag, out): the slot of head number ${head} under the name that ${tag} (63
 * bits, not 0) stands for, found or made, with one reference more.  Any thread.
 * Returns 0; -ENFILE if all slots have references; -ENOMEM.
 */
MUST_CHECK int slots_take(struct slots *s, uint64_t head, uint64_t tag, uint32_t *out_slot);

/*
 * slots_take_own(s, slot, ino, out): a slot of ${slot}'s head that nobody else is ever given, for a
 * node of inode ${ino} alone, with one reference; ${slot} has references or its view is in use.  Any thread.
 * Returns 0; -ENFILE if only those that are kept for names are left.
 */
MUST_CHECK int slots_take_own(struct slots *s, uint32_t slot, uint64_t ino, uint32_t *out_slot);

/*
 * slots_retire(s, tag): the name is gone: its slots live on for whoever uses them, but are not
 * found again.
 */
void slots_retire(struct slots *s, uint64_t tag);

/*
 * slots_too_many(s): whether more than SLOTS_KEPT are in use.
 * slots_surplus(s, out, max): if so, up to ${max} of those that were used least recently, for the
 * kernel to forget their tops.  None twice unless it was used in between.  Returns how many.
 * slots_top(s, slot): the inode that its nodes hang on: the root, or the file whose own it is.
 * Any thread.
 */
bool slots_too_many(struct slots *s);
unsigned slots_surplus(struct slots *s, uint32_t *out, unsigned max);
uint64_t slots_top(struct slots *s, uint32_t slot);

/*
 * slots_generation(s, slot): the generation of the slot's nodes: a handle on a node of another head
 * that had the slot before has another one.  The slot has references or its view is in use.
 */
uint32_t slots_generation(struct slots *s, uint32_t slot);

/*
 * slots_of_older(s): whether a program that knew no generations, nor slots of files' own, left some
 * that are in use.
 */
bool slots_of_older(struct slots *s);

/*
 * slots_add(s, slot, n), slots_drop(s, slot, n): ${n} references more or fewer.  To add, the slot
 * has references or its view is in use (slots_view()).  Without either it may stand for another
 * head.  Any thread.
 */
void slots_add(struct slots *s, uint32_t slot, uint64_t n);
void slots_drop(struct slots *s, uint32_t slot, uint64_t n);

/*
 * slots_view(s, slot, out): the slot's view, opened if need be, in use until
 * slots_view_put(s, slot, v).  Meanwhile the slot keeps its head, also without references.
 * Any thread; no lock is held while a view opens, and threads that want the same one wait for it.
 * Returns 0; -ESTALE if the slot is of no head; -ENOMEM; or why it does not open.
 */
MUST_CHECK int slots_view(struct slots *s, uint32_t slot, struct view **out);
void slots_view_put(struct slots *s, uint32_t slot, struct view *v);

#endif /* !SLOTS_H_ */
