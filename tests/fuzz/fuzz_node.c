/* A tree node: what is found well-formed is searched for each of its keys. */

#include "fuzz.h"
#include "node.h"

#include <string.h>

void fuzz_one(const uint8_t *bytes, size_t len)
{
	const uint64_t pos = UINT64_C(1) << 40;
	struct node_item item;
	struct block_ptr child;
	struct node *n;
	bool equal;

	if (node_fault(bytes, len, pos))
		return;
	n = node_new((uint32_t)len);
	MUST_HOLD(n);
	memcpy(n->plain, bytes, len);
	n->ptr = (struct block_ptr){.pos = pos, .plain_len = (uint32_t)len};
	node_adopt(n);
	for (uint32_t i = 0; i < n->n; i++) {
		node_entry(n, i, &item);
		MUST_HOLD(item.key >= n->plain && item.value + item.value_len <= n->plain + len);
		MUST_HOLD(node_search(n, item.key, item.key_len, &equal) == i && equal);
		if (n->level > 0) {
			node_child(n, i, &child);
			MUST_HOLD(child.pos < pos);
			MUST_HOLD(node_search_child(n, item.key, item.key_len) == i);
		}
	}
	free(n);
}
