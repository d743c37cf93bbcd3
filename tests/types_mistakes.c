/*
 * Numbers of one kind taken for another, for `tests/types --self`: each line that is marked is to be found, and no other.  Is
 * never built.
 */

#include "format.h"
#include "head.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

/* As copy_repair() and the like: two kinds side by side, which anybody could swap. */
int put_block(log_pos pos, leaf_no leaf, size_t len);
int grant(head_no from, epoch_no epoch);
int find_last(segment_no *out_number);
int remove_name(inode_no parent, const char *name, inode_no ino);
int prove(const leaf_no *index, size_t n);
int each_block(int (*fn)(void *ctx, log_pos pos));
int take_leaf(void *ctx, leaf_no leaf);
int take_block(void *ctx, log_pos pos);
int take_number(void *ctx, uint64_t n);

struct place {
	log_pos pos;
	segment_no segment;
	_Atomic log_pos durable;
};

int swap_arguments(log_pos pos, leaf_no leaf)
{
	int rc = put_block(pos, leaf, 0);

	if (rc == 0)
		rc = put_block(leaf, pos, 0); /* MISTAKE */
	if (rc == 0)
		rc = put_block(leaf, 0, 0); /* MISTAKE */
	if (rc == 0)
		rc = put_block(0, pos, 0); /* MISTAKE */
	return rc;
}

int give_fields(const struct head *h)
{
	int rc = put_block(h->pos, h->n_blocks, 0);

	if (rc == 0)
		rc = put_block(h->n_blocks, h->pos, 0); /* MISTAKE */
	if (rc == 0)
		rc = grant(h->number, h->epoch);
	if (rc == 0)
		rc = grant(h->epoch, h->number); /* MISTAKE */
	/* What a function gives has its kind, too. */
	if (rc == 0)
		rc = put_block(head_end(h), h->n_blocks, 0);
	if (rc == 0)
		rc = put_block(0, head_end(h), 0); /* MISTAKE */
	return rc;
}

log_pos return_other(const struct head *h)
{
	if (h->n_blocks == 0)
		return h->parent_pos;
	return h->n_blocks; /* MISTAKE */
}

void assign_and_initialise(struct place *p, const struct head *h)
{
	struct place made = {.pos = h->pos, .segment = segment_of(h->pos)};
	struct place wrong = {.pos = h->pos, .segment = h->pos}; /* MISTAKE */
	log_pos start = segment_start(made.segment);
	log_pos bad = made.segment; /* MISTAKE */
	head_no number = h->epoch;  /* MISTAKE */

	p->pos = start;
	p->pos = p->segment; /* MISTAKE */
	p->pos = segment_start(p->segment);
	p->pos = segment_start(p->pos);	 /* MISTAKE */
	p->segment = segment_of(number); /* MISTAKE */
	atomic_store(&p->durable, h->pos);
	number = atomic_load(&p->durable); /* MISTAKE */
	*p = bad > 0 && number > 0 ? wrong : made;
}

bool compare(const struct head *h, leaf_no leaf, inode_no ino)
{
	if (leaf < h->n_blocks)
		return true;
	if (leaf < h->pos) /* MISTAKE */
		return true;
	return ino == h->number; /* MISTAKE */
}

uint64_t calculate(log_pos pos, log_pos end, segment_no segment, leaf_no leaf)
{
	uint64_t len = end - pos;

	len += end - leaf; /* MISTAKE */
	pos += FRAME_LEN;
	pos = pos + leaf; /* MISTAKE */
	end = len ? pos : end;
	end = len ? pos : segment; /* MISTAKE */
	return end - segment_start(segment);
}

int point(const struct head *heads, size_t n, inode_no ino)
{
	leaf_no leaves[4] = {0};
	head_no numbers[4] = {0};
	segment_no segment;
	log_pos pos;
	uint64_t plain;
	int rc = find_last(&segment);

	if (rc == 0)
		rc = find_last(&plain);
	if (rc == 0)
		rc = find_last(&pos); /* MISTAKE */
	for (size_t i = 0; i < n; i++)
		numbers[i] = heads[i].number;
	if (rc == 0)
		rc = prove(leaves, n);
	if (rc == 0)
		rc = prove(numbers, n); /* MISTAKE */
	if (rc == 0)
		rc = remove_name(ino, "a", ino + 1);
	if (rc == 0)
		rc = each_block(take_block);
	if (rc == 0)
		rc = each_block(take_number);
	if (rc == 0)
		rc = each_block(take_leaf); /* MISTAKE */
	return rc;
}

/* What is allowed: literals, plain numbers, results of arithmetic, casts that are written out, printing. */
void plain(uint64_t n, log_pos pos, const struct head *h)
{
	head_no number = n;
	leaf_no leaf = (leaf_no)pos;
	uint64_t sum = pos + h->n_blocks * SEGMENT_SIZE;

	n = pos;
	if (pos == n && number < 5 && leaf != UINT64_MAX && put_block(n, n, 0) == 0)
		printf("%" PRIu64 " %llu %" PRIu64 "\n", pos, (unsigned long long)number, sum);
	for (segment_no s = 0; s < segment_of(pos); s++)
		put_block(segment_start(s), 0, 0);
}
