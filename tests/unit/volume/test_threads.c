/*
 * Many threads on one volume: each keeps files of its own and checks them, while others sync, take
 * heads and checkpoints, open views and list.  Run under the thread sanitizer too.
 */

#include "fixture.h"

#include "err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define N_WRITERS 4u
#define ROUNDS 60u
#define FILES_PER_ROUND 8u

static struct fixture f;
static struct volume *v;
static atomic_uint writers_left, failures;
static const struct caller user = {.uid = 1000, .gid = 100};

static void expect(bool ok, const char *what, int rc)
{
	if (!ok) {
		fprintf(stderr, "%s: %s\n", what, err_detail(rc));
		atomic_fetch_add(&failures, 1);
	}
}

static void write_and_check(uint64_t dir, unsigned round, unsigned i)
{
	uint8_t data[20000], got[20000];
	struct attr a, b;
	char name[32];
	size_t len;
	int rc;

	snprintf(name, sizeof(name), "%u-%u", round, i);
	memset(data, (int)(round + i), sizeof(data));
	rc = volume_make_node(v, &user, dir, name, S_IFREG | 0600, 0, NULL, &a);
	expect(rc == 0, "make", rc);
	rc = volume_write(v, NULL, a.ino, 1000 * i, sizeof(data), data, false);
	expect(rc == 0, "write", rc);
	if (i % 3 == 0)
		rc = volume_sync(v);
	expect(rc == 0, "sync", rc);
	rc = view_lookup(volume_view(v), dir, name, &b);
	expect(rc == 0 && b.ino == a.ino && b.size == 1000 * i + sizeof(data), "lookup", rc);
	rc = view_read(volume_view(v), a.ino, 1000 * i, sizeof(got), got, &len);
	expect(rc == 0 && len == sizeof(got) && memcmp(got, data, len) == 0, "read", rc);
	if (i % 2 == 0) {
		rc = volume_unlink(v, NULL, dir, name);
		expect(rc == 0, "unlink", rc);
		volume_forget(v, a.ino);
	}
}

static void *writer(void *arg)
{
	struct attr dir;
	char name[16];
	int rc;

	snprintf(name, sizeof(name), "dir-%u", (unsigned)(uintptr_t)arg);
	rc = volume_make_node(v, &user, INO_ROOT, name, S_IFDIR | 0755, 0, NULL, &dir);
	expect(rc == 0, "mkdir", rc);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < FILES_PER_ROUND; i++)
			write_and_check(dir.ino, round, i);
	}
	atomic_fetch_sub(&writers_left, 1);
	return NULL;
}

static int count_entry(void *ctx, const struct view_entry *e)
{
	(void)e;
	(*(unsigned *)ctx)++;
	return 0;
}

static void *observer(void *arg)
{
	struct view *past;
	struct head head;
	unsigned n;
	int rc;

	(void)arg;
	while (atomic_load(&writers_left) > 0) {
		rc = volume_add_head(v, &head);
		expect(rc == 0, "head", rc);
		rc = view_open(volume_view_config(v), &head, &past);
		expect(rc == 0, "view", rc);
		n = 0;
		rc = rc == 0 ? view_readdir(past, INO_ROOT, 0, true, count_entry, &n) : rc;
		expect(rc == 0 && n >= 2 && n <= 2 + N_WRITERS, "readdir", rc);
		view_close(past);
		rc = volume_checkpoint(v);
		expect(rc == 0, "checkpoint", rc);
	}
	return NULL;
}

Test(threads, side_by_side, .timeout = 300)
{
	pthread_t thread[N_WRITERS + 1];
	struct view_usage usage;

	fixture_make(&f);
	v = fixture_open(&f);
	atomic_store(&writers_left, N_WRITERS);
	for (uintptr_t i = 0; i < N_WRITERS; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, writer, (void *)i), 0);
	cr_assert_eq(pthread_create(&thread[N_WRITERS], NULL, observer, NULL), 0);
	for (unsigned i = 0; i <= N_WRITERS; i++)
		pthread_join(thread[i], NULL);
	cr_assert_eq(atomic_load(&failures), 0);
	cr_assert_eq(volume_close(v), 0);
	v = fixture_open(&f);
	view_usage(volume_view(v), &usage);
	cr_assert_eq(usage.inodes, 1 + N_WRITERS * (1 + ROUNDS * FILES_PER_ROUND / 2));
	cr_assert_eq(usage.bytes, N_WRITERS * ROUNDS * (FILES_PER_ROUND / 2) * 20000ul);
	cr_assert_eq(volume_close(v), 0);
	fixture_remove(&f);
}
