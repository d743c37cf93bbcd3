#ifndef SIM_LOOK_H_
#define SIM_LOOK_H_

/* Reads a whole namespace, as anybody could, and gives its digest (model.h). */

#include "compiler.h"

#include <stdint.h>

struct model_parts;
struct view;

/*
 * look_view(v, who, parts, out): read all of ${v}; its parts are added to ${parts}, unless NULL.
 * What cannot be at any moment fails: bytes of a cell that are nobody's, blocks that are not the
 * extents' sum. Returns 0, or what reading returned.
 */
MUST_CHECK int look_view(struct view *v, const char *who, struct model_parts *parts,
			 uint64_t *out_digest);

/*
 * look_folder(dir, who, out_head, out_digest): of the newest head of a volume's or an embassy's
 * folder.  0 or what reading returned.
 */
MUST_CHECK int look_folder(const char *dir, const char *who, uint64_t *out_head,
			   uint64_t *out_digest);

#endif /* !SIM_LOOK_H_ */
