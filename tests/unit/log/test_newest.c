/* VOLUME/newest-head: evidence where it is whole, nothing where it is not. */

#include "newest.h"

#include "catalog.h"
#include "clock.h"
#include "err.h"
#include "file.h"
#include "head.h"
#include "source.h"
#include "source_folder.h"
#include "storage.h"
#include "store.h"
#include "synthetic_log.h"
#include "tail.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct synthetic_log *s;
static char path[512];

static void setup(void)
{
	s = calloc(1, sizeof(*s));
	cr_assert_not_null(s);
	synthetic_log_init(s);
	synthetic_grow(s, 3, 2, 5);
	snprintf(path, sizeof(path), "%s/newest-head", s->dir);
}

static void teardown(void)
{
	synthetic_log_release(s);
	free(s);
}

TestSuite(newest, .init = setup, .fini = teardown);

static struct head_ref ref_of(const struct head *h)
{
	return (struct head_ref){h->number, h->pos, h->stored_len, h->time_ns};
}

static void note_newest(void)
{
	const struct head_ref ref = ref_of(&s->newest);
	struct newest n = {0};

	newest_note(&n, &s->params, store_storage(s->store), &ref);
	cr_assert_eq(n.number, s->newest.number);
}

static uint64_t known(void)
{
	struct head h;

	newest_known(&s->params, store_storage(s->store), &h);
	return h.number;
}

Test(newest, what_is_written_is_known)
{
	struct head h;

	cr_expect_eq(known(), 0);
	note_newest();
	newest_known(&s->params, store_storage(s->store), &h);
	cr_expect_eq(h.number, s->newest.number);
	cr_expect_eq(h.pos, s->newest.pos);
	cr_expect_eq(h.time_ns, s->newest.time_ns);
	cr_expect_eq(h.stored_len, s->newest.stored_len);
	cr_expect_arr_eq(h.root, s->newest.root, HASH_LEN);
	cr_expect_eq(newest_forget(s->dir), 0);
	cr_expect_eq(known(), 0);
	cr_expect_eq(newest_forget(s->dir), 0);
}

/* A changed byte, a cut, another volume's: never a reason to refuse what is whole. */
Test(newest, spoiled_it_tells_nothing)
{
	struct source *src;
	uint8_t *note, id;
	void *data;
	size_t len;

	note_newest();
	cr_assert_eq(file_read_all(AT_FDCWD, path, HEAD_NOTE_MAX, &data, &len), 0);
	note = data;
	for (size_t i = 0; i < len; i++) {
		note[i] ^= 1;
		cr_assert_eq(file_replace(AT_FDCWD, path, note, len, 0600), 0);
		cr_assert_eq(known(), 0, "a flip at %zu", i);
		note[i] ^= 1;
	}
	for (size_t n = 0; n < len; n += 7) {
		cr_assert_eq(file_replace(AT_FDCWD, path, note, n, 0600), 0);
		cr_assert_eq(known(), 0, "cut at %zu", n);
	}
	cr_assert_eq(source_open_folder(s->dir, &src), 0);
	source_free(src);
	cr_assert_eq(file_replace(AT_FDCWD, path, note, len, 0600), 0);
	cr_assert_eq(known(), s->newest.number);
	id = s->params.id[0]++;
	cr_assert_eq(known(), 0);
	s->params.id[0] = id;
	free(data);
}

Test(newest, written_seldom)
{
	struct head_ref ref = ref_of(&s->newest);
	struct newest n = {0};

	cr_expect(newest_is_due(&n, &ref, false));
	n = newest_found(&s->newest);
	n.at_ns = clock_mono_ns();
	cr_expect(!newest_is_due(&n, &ref, false));
	cr_expect(!newest_is_due(&n, &ref, true));
	ref.number++;
	cr_expect(newest_is_due(&n, &ref, true));
	cr_expect(!newest_is_due(&n, &ref, false));
	n.at_ns -= NEWEST_ROLL_NS;
	cr_expect(!newest_is_due(&n, &ref, false));
	ref.pos += SEGMENT_SIZE;
	cr_expect(newest_is_due(&n, &ref, false));
	ref.pos -= SEGMENT_SIZE;
	n.at_ns -= NEWEST_EVERY_NS;
	cr_expect(newest_is_due(&n, &ref, false));
}

static int fail_all(void *ctx, const char *op)
{
	return strcmp(op, ctx) == 0 ? -EIO : 0;
}

/* What cannot be written or read stops nothing, and leaves what was there. */
Test(newest, errors_of_the_disk)
{
	static char *const ops[] = {"write", "sync", "rename", "open"};
	uint64_t before;

	note_newest();
	before = known();
	synthetic_grow(s, 1, 1, 2);
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		file_set_fault(fail_all, ops[i]);
		note_newest();
		file_set_fault(NULL, NULL);
		/* Its name is in place before the folder is synced. */
		cr_expect(known() == before || strcmp(ops[i], "sync") == 0, "%s", ops[i]);
	}
	file_set_fault(fail_all, "read");
	cr_expect_eq(known(), 0);
	file_set_fault(NULL, NULL);
	note_newest();
	cr_expect_eq(known(), s->newest.number);
}

/* What failed is tried again with the next head, and at the end even without one. */
Test(newest, a_failure_is_not_what_the_file_tells_of)
{
	struct newest n = newest_found(&s->newest);
	struct head_ref ref;

	note_newest();
	synthetic_grow(s, 1, 1, 2);
	ref = ref_of(&s->newest);
	file_set_fault(fail_all, (void *)"write");
	newest_note(&n, &s->params, store_storage(s->store), &ref);
	file_set_fault(NULL, NULL);
	cr_expect(known() < ref.number);
	cr_expect(!newest_is_due(&n, &ref, false));
	cr_expect(newest_is_due(&n, &ref, true));
	newest_note(&n, &s->params, store_storage(s->store), &ref);
	cr_expect_eq(known(), ref.number);
	cr_expect(!newest_is_due(&n, &ref, true));
}

/* Segments and the catalog are gone: a reader refuses what is left, but for who asks for that. */
Test(newest, a_reader_misses_what_it_tells_of)
{
	struct source *src;
	struct head h;

	note_newest();
	cr_assert_eq(store_remove(s->store, 2), 0);
	for (int i = 0; i < 2; i++) {
		cr_expect_eq(source_open_folder(s->dir, &src), -ERR_DAMAGED);
		cr_expect(strstr(err_detail(-ERR_DAMAGED), "ends with head 4, but head 6 of"), "%s",
			  err_detail(-ERR_DAMAGED));
		cr_expect(strstr(err_detail(-ERR_DAMAGED), "in segment 0000000000000002"));
		/* What may have happened, and all that can be done. */
		cr_expect(strstr(err_detail(-ERR_DAMAGED), "copied while it was in use"));
		cr_expect(strstr(err_detail(-ERR_DAMAGED), "--repair --from'"));
		cr_expect(strstr(err_detail(-ERR_DAMAGED), "--repair --cut POSITION'"));
		cr_expect(strstr(err_detail(-ERR_DAMAGED), "-o partial"));
	}
	/* Its home has all that a copy lost. */
	store_storage(s->store)->is_copy = true;
	cr_expect_eq(tail_check_noted(store_storage(s->store), &s->newest, 4), -ERR_DAMAGED);
	cr_expect(strstr(err_detail(-ERR_DAMAGED), "copied while it was in use"));
	cr_expect(strstr(err_detail(-ERR_DAMAGED), "move it away"));
	store_storage(s->store)->is_copy = false;
	cr_assert_eq(source_open_folder_partial(s->dir, &src), 0);
	cr_expect_eq(src->ops->head_at(src, INT64_MAX, &h), 0);
	cr_expect_eq(h.number, 4);
	source_free(src);
}
