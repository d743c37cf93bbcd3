/* See gone.h. */

#include "gone.h"

#include "frame.h"
#include "merkle.h"
#include "scan.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static int note(void *ctx, const struct scan_block *b)
{
	struct gone *g = ctx;
	struct gone_block *n;

	cr_assert_null(b->hole);
	if (g->n == g->cap) {
		g->cap = g->cap ? 2 * g->cap : 256;
		g->block = realloc(g->block, g->cap * sizeof(*g->block));
		cr_assert_not_null(g->block);
	}
	n = &g->block[g->n++];
	*n = (struct gone_block){
		.pos = b->pos, .len = b->len, .kind = b->frame.kind, .flags = b->frame.flags};
	memcpy(n->leaf, b->leaf, HASH_LEN);
	return SCAN_GO;
}

void gone_note(struct storage *st, struct gone *g)
{
	struct scan_result r;

	*g = (struct gone){0};
	cr_assert_eq(scan_blocks(st, 0, note, g, &r), 0);
}

void gone_release(struct gone *g)
{
	free(g->block);
	*g = (struct gone){0};
}

bool gone_can(const struct gone *g, size_t i, unsigned height)
{
	size_t n = (size_t)1 << height;

	if (i % n != 0 || i + n > g->n)
		return false;
	for (size_t j = i; j < i + n; j++)
		if (block_kind_is_clear(g->block[j].kind) ||
		    segment_of(g->block[j].pos) != segment_of(g->block[i].pos))
			return false;
	return true;
}

struct hole gone_of(const struct gone *g, size_t i, unsigned height)
{
	size_t last = i + ((size_t)1 << height) - 1;
	struct hole h = {.pos = g->block[i].pos, .height = (uint8_t)height};
	struct merkle m;

	cr_assert_lt(last, g->n);
	h.len = g->block[last].pos + g->block[last].len - h.pos;
	merkle_init(&m);
	for (size_t j = i; j <= last; j++)
		merkle_add(&m, g->block[j].leaf);
	merkle_root(&m, h.hash);
	if (height == 0) {
		h.kind = g->block[i].kind;
		h.flags = g->block[i].flags;
	}
	return h;
}

void gone_fill(const struct gone *g, unsigned max_height, unsigned step, uint64_t to,
	       struct holes *t)
{
	unsigned count = 0;

	for (size_t i = 0; i < g->n && g->block[i].pos < to;) {
		unsigned height = max_height;
		struct hole h;

		while (height > 0 && !gone_can(g, i, height))
			height--;
		if (!gone_can(g, i, height) || (step && ++count % step == 0)) {
			i++;
			continue;
		}
		h = gone_of(g, i, height);
		cr_assert_eq(holes_add(t, &h), 0, "%llu", (unsigned long long)h.pos);
		i += (size_t)1 << height;
	}
}

void gone_lose(const struct holes *t,
	       void (*write)(void *ctx, uint64_t pos, const void *bytes, size_t len), void *ctx)
{
	for (size_t i = 0; i < t->n; i++) {
		size_t len = (size_t)t->hole[i].len;
		uint8_t *zeros = calloc(1, len);

		cr_assert_not_null(zeros);
		write(ctx, t->hole[i].pos, zeros, len);
		free(zeros);
	}
}
