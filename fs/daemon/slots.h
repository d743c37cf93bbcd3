#ifndef SLOTS_H_
#define SLOTS_H_

/*
 * Views of the past that the kernel knows nodes of.  A slot stands for one head, seen through one
 * name in .embassy, for as long as the kernel holds a reference to any node of it.  Node ids of the
 * past are made of the slot's number and the inode's.  (Two names of one head need two slots,
 * because the kernel allows a folder in one place only.)  A file of the past that was looked up has
 * a slot of its own, so that it shares its node, and the contents that the kernel caches, with no
 * other.  The view itself is opened when a request needs it and closed when others need the room: a
 * slot costs a few bytes, a view may cost megabytes.
 */

#include "compiler.h"
#include "numbers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOTS_MAX 65000u
#define SLOTS_RESERVE 4096u  /* slots reserved for names; files may not take them */
#define SLOTS_KEPT 4096u     /* with more in use, the kernel is asked to forget the oldest names */
#define SLOTS_VIEWS_MIN 2u   /* open views that are kept however large they are */
#define SLOTS_VIEWS_MAX 256u /* open views, not counting those in use */

struct slots;
struct view;

struct slots_config {
	/*
	 * open(ctx, head, out), close(v), bytes(v): as view_open() and its like; ${head} a number.
	 */
	int (*open)(void *ctx, head_no head, struct view **out);
	void (*close)(struct view *v);
	size_t (*bytes)(const struct view *v);
	void *ctx;
	size_t bytes_max; /* of all open views together, not counting those in use */
	/*
	 * slots_bytes() bytes, zeroed before their first use, that outlive the process.  From them
	 * a successor knows every slot of which the kernel has nodes.  NULL: the table is private.
	 */
	void *mem;
};

size_t slots_bytes(void);

/* slots_new(cfg, out): returns 0 or -ENOMEM.  slots_free(s): no view is in use; NULL is a no-op. */
MUST_CHECK int slots_new(const struct slots_config *cfg, struct slots **out);
void slots_free(struct slots *s);

/*
 * slots_take(s, head, tag, out): find or create the slot of head number ${head} under the name that
 * ${tag} (63 bits, not 0) stands for, and add one reference.  Any thread.
 * Returns 0; -ENFILE if all slots have references; -ENOMEM.
 */
MUST_CHECK int slots_take(struct slots *s, head_no head, uint64_t tag, uint32_t *out_slot);

/*
 * slots_take_own(s, slot, ino, out): create a slot of the head of ${slot} for nodes of inode ${ino}
 * alone, with one reference; no other call returns it.  ${slot} has references or its view is in
 * use.
 * Any thread.  Returns 0; -ENFILE if only the slots reserved for names are left.
 */
MUST_CHECK int slots_take_own(struct slots *s, uint32_t slot, inode_no ino, uint32_t *out_slot);

/*
 * slots_retire(s, tag): the name is gone.  Its slots stay valid while they are in use, but are not
 * found again.
 */
void slots_retire(struct slots *s, uint64_t tag);

/*
 * slots_too_many(s): are more than SLOTS_KEPT in use?
 * slots_surplus(s, out, max): if so, up to ${max} of the least recently used ones, so that the
 * caller can ask the kernel to forget their tops.  No slot twice unless it was used in between.
 * Returns how many.
 * slots_top(s, slot): the inode above all its nodes: the root, or the file that owns the slot.
 * Any thread.
 */
bool slots_too_many(struct slots *s);
unsigned slots_surplus(struct slots *s, uint32_t *out, unsigned max);
uint64_t slots_top(struct slots *s, uint32_t slot);

/*
 * slots_generation(s, slot): the generation of the slot's nodes.  It tells them from nodes of
 * another head that had the slot before.  The slot has references or its view is in use.
 */
uint32_t slots_generation(struct slots *s, uint32_t slot);

/*
 * slots_of_older(s): has an older program, which knew neither generations nor slots of single
 * files, left slots that are in use?
 */
bool slots_of_older(struct slots *s);

/*
 * slots_add(s, slot, n), slots_drop(s, slot, n): add or drop ${n} references.  Add only to a slot
 * that has references or whose view is in use (slots_view()); any other may already stand for
 * another head.
 * Any thread.
 */
void slots_add(struct slots *s, uint32_t slot, uint64_t n);
void slots_drop(struct slots *s, uint32_t slot, uint64_t n);

/*
 * slots_view(s, slot, out): the slot's view, opened if need be, in use until
 * slots_view_put(s, slot, v).  Meanwhile the slot keeps its head, even without references.
 * Any thread.  No lock is held while a view opens, and threads that want the same one wait for it.
 * Returns 0; -ESTALE if the slot is not in use; -ENOMEM; or why it does not open.
 */
MUST_CHECK int slots_view(struct slots *s, uint32_t slot, struct view **out);
void slots_view_put(struct slots *s, uint32_t slot, struct view *v);

#endif /* !SLOTS_H_ */
