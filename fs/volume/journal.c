/*
 * The changes that are in memory only.  See journal.h for what lies where and why.
 */

#include "journal.h"

#include "bytes.h"
#include "err.h"

#include <assert.h>

#define HEAD_BYTES 4096u /* offset of the generations in the area */

_Static_assert(sizeof(struct journal_area) <= HEAD_BYTES, "the generations begin at a page");

size_t journal_bytes(void)
{
	return HEAD_BYTES + 2 * (size_t)JOURNAL_GEN_BYTES;
}

static uint8_t *gen_mem(const struct journal *j, unsigned gen)
{
	return (uint8_t *)j->area + HEAD_BYTES + gen * (size_t)JOURNAL_GEN_BYTES;
}

void journal_resume(struct journal *j)
{
	unsigned f = journal_filling(j);

	j->trace = (struct overlay_trace){
		.p = gen_mem(j, f),
		.len = atomic_load(&j->area->gen[f].len) + JOURNAL_ENTRY_LEN,
		.cap = JOURNAL_GEN_BYTES,
	};
}

void journal_init(struct journal *j, void *mem, uint64_t seq)
{
	struct journal_area *a = mem;

	j->area = a;
	a->version = JOURNAL_VERSION;
	a->gen_bytes = JOURNAL_GEN_BYTES;
	atomic_store(&a->number, 0);
	for (unsigned g = 0; g < 2; g++) {
		atomic_store(&a->gen[g].len, 0);
		atomic_store(&a->gen[g].seq, seq);
	}
	atomic_store(&a->filling, 0);
	journal_resume(j);
}

int journal_attach(struct journal *j, void *mem)
{
	struct journal_area *a = mem;

	if (a->version != JOURNAL_VERSION || a->gen_bytes != JOURNAL_GEN_BYTES)
		return err_say(-ERR_VERSION, "what the last daemon left is of another version");
	j->area = a;
	if (journal_filling(j) > 1 || a->gen[0].len > JOURNAL_GEN_BYTES ||
	    a->gen[1].len > JOURNAL_GEN_BYTES)
		return err_say(-ERR_DAMAGED, "what the last daemon left of changes makes no sense");
	return 0;
}

int journal_walk(const struct journal *j, unsigned gen,
		 int (*fn)(void *ctx, const struct journal_entry *e), void *ctx)
{
	struct reader all = reader_of(gen_mem(j, gen), atomic_load(&j->area->gen[gen].len));
	int rc = 0;

	while (rc == 0 && all.left > 0) {
		struct reader r = reader_of(all.p, all.left);
		uint32_t len = reader_le32(&r), zero = reader_le32(&r);
		struct journal_entry e = {.number = reader_le64(&r), .tag = reader_le64(&r)};

		e.counts.next_ino = reader_le64(&r);
		e.counts.inodes = reader_le64(&r);
		e.counts.bytes = reader_le64(&r);
		if (r.bad || zero != 0 || len <= JOURNAL_ENTRY_LEN || len > all.left)
			return err_say(-ERR_DAMAGED,
				       "what the last daemon left of changes makes no sense");
		e.records = r.p;
		e.records_len = len - JOURNAL_ENTRY_LEN;
		rc = fn(ctx, &e);
		(void)reader_take(&all, len);
	}
	return rc;
}

uint64_t journal_publish(struct journal *j, uint64_t tag, const struct volume_counts *counts)
{
	struct journal_area *a = j->area;
	size_t from;
	uint64_t number;
	uint8_t *p;

	if (!a)
		return 0;
	from = atomic_load_explicit(&a->gen[journal_filling(j)].len, memory_order_relaxed);
	if (j->trace.len == from + JOURNAL_ENTRY_LEN)
		return 0;
	assert(j->trace.len + JOURNAL_ENTRY_LEN <= j->trace.cap);
	number = atomic_load_explicit(&a->number, memory_order_relaxed) + 1;
	p = j->trace.p + from;
	put_le32(p, (uint32_t)(j->trace.len - from));
	put_le32(p + 4, 0);
	put_le64(p + 8, number);
	put_le64(p + 16, tag);
	put_le64(p + 24, counts->next_ino);
	put_le64(p + 32, counts->inodes);
	put_le64(p + 40, counts->bytes);
	/*
	 * Store the number first.  If we are killed in between, a number without an entry is
	 * harmless; two entries with the same number would not be.
	 */
	atomic_store_explicit(&a->number, number, memory_order_release);
	atomic_store_explicit(&a->gen[journal_filling(j)].len, j->trace.len, memory_order_release);
	j->trace.len += JOURNAL_ENTRY_LEN;
	return number;
}

void journal_turn(struct journal *j, uint64_t seq)
{
	unsigned other;

	if (!j->area)
		return;
	other = 1 - journal_filling(j);
	assert(atomic_load(&j->area->gen[other].len) == 0);
	atomic_store(&j->area->gen[other].seq, seq);
	atomic_store(&j->area->filling, other);
	journal_resume(j);
}

void journal_sent(struct journal *j)
{
	if (j->area)
		atomic_store(&j->area->gen[1 - journal_filling(j)].len, 0);
}

void journal_void(struct journal *j)
{
	if (!j->area)
		return;
	atomic_store(&j->area->gen[journal_filling(j)].len, 0);
	journal_resume(j);
}
