/*
 * Speed of the log: sealing, sequential appends, group commit.
 *
 * logbench FOLDER [MEBIBYTES]: works in a new folder under FOLDER and removes it.
 */

#include "blocks.h"
#include "clock.h"
#include "frame.h"
#include "log.h"
#include "log_fixture.h"
#include "seal.h"
#include "secret.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define BLOCK (128u << 10)
#define POINTERS_MAX (1u << 16)

static struct log *open_log;
static atomic_long left;
static uint64_t sync_until_ns;
static atomic_long n_syncs;
static struct block_ptr pointers[POINTERS_MAX];
static atomic_long n_pointers;

static void need(int rc, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "logbench: %s: %d\n", what, rc);
	exit(1);
}

static double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double seconds_since(uint64_t start_ns)
{
	return (double)(clock_mono_ns() - start_ns) / 1e9;
}

static void run(unsigned n, void *(*fn)(void *))
{
	pthread_t t[16];

	for (unsigned i = 0; i < n; i++)
		need(pthread_create(&t[i], NULL, fn, NULL), "thread");
	for (unsigned i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

static void bench_seal(const struct log_fixture *f)
{
	struct segment_header h = {.cipher = CIPHER_AES256GCM};
	struct frame frame = {.body_len = sealed_len(BLOCK, 0), .kind = BLOCK_DATA};
	uint8_t *plain = calloc(1, BLOCK), *out = calloc(2, BLOCK), leaf[HASH_LEN];
	struct segment_key *k;
	uint64_t start;
	double s;

	need(segment_key_new(f->log_key, &h, &k), "key");
	start = clock_mono_ns();
	for (uint64_t i = 0; i < 16384; i++)
		need(seal_block(k, i * 256, &frame, plain, BLOCK, out), "seal");
	s = seconds_since(start);
	printf("seal 128 KiB: %.2f GB/s\n", 16384.0 * BLOCK / s / 1e9);
	start = clock_mono_ns();
	for (uint64_t i = 0; i < 4096; i++)
		leaf_hash(i, out, BLOCK, leaf);
	s = seconds_since(start);
	printf("leaf 128 KiB: %.2f GB/s\n", 4096.0 * BLOCK / s / 1e9);
	segment_key_free(k);
	free(plain);
	free(out);
}

static void *append_loop(void *arg)
{
	uint8_t *data = malloc(BLOCK);
	struct block_ptr ptr;
	long i;

	(void)arg;
	log_fixture_pattern((uint64_t)(uintptr_t)data, data, BLOCK, true);
	while (atomic_fetch_sub(&left, 1) > 0) {
		need(log_append(open_log, BLOCK_DATA, data, BLOCK, 1, &ptr), "append");
		i = atomic_fetch_add(&n_pointers, 1);
		if (i < (long)POINTERS_MAX)
			pointers[i] = ptr;
	}
	free(data);
	return NULL;
}

static void bench_append(unsigned threads, long mib)
{
	double cpu = cpu_s(), s, gb = (double)mib * 1048576 / 1e9;
	uint64_t start = clock_mono_ns();

	n_pointers = 0;
	left = mib * 1048576 / (long)BLOCK;
	run(threads, append_loop);
	need(log_sync(open_log, UINT64_MAX), "sync");
	s = seconds_since(start);
	printf("append 128 KiB, %u threads: %.0f MB/s, %.2f CPU s/GB\n", threads, gb * 1000 / s,
	       (cpu_s() - cpu) / gb);
}

static void bench_read(void)
{
	long n = n_pointers < (long)POINTERS_MAX ? n_pointers : (long)POINTERS_MAX;
	uint8_t *out = malloc(8 * BLOCK);
	double cpu = cpu_s(), s, gb = (double)n * BLOCK / 1e9;
	uint64_t start = clock_mono_ns();

	for (long i = 0; i < n; i += 8) {
		struct block_slice slices[8];
		long j;

		for (j = 0; j < 8 && i + j < n; j++)
			slices[j] = (struct block_slice){.ptr = pointers[i + j],
							 .len = BLOCK,
							 .out = out + (size_t)j * BLOCK};
		need(blocks_read_slices(log_blocks(open_log), slices, (size_t)j), "read");
	}
	s = seconds_since(start);
	printf("read 1 MiB slices: %.0f MB/s, %.2f CPU s/GB\n", gb * 1000 / s,
	       (cpu_s() - cpu) / gb);
	free(out);
}

static void *sync_loop(void *arg)
{
	uint8_t data[4096 - FRAME_LEN - SEAL_TAG_LEN];
	struct block_ptr ptr;

	(void)arg;
	log_fixture_pattern(1, data, sizeof(data), true);
	while (clock_mono_ns() < sync_until_ns) {
		need(log_append(open_log, BLOCK_DELTA, data, sizeof(data), 0, &ptr), "append");
		need(log_sync(open_log, ptr.pos + ptr.stored_len), "sync");
		atomic_fetch_add(&n_syncs, 1);
	}
	return NULL;
}

static void bench_sync(unsigned threads)
{
	uint64_t start = clock_mono_ns();

	n_syncs = 0;
	sync_until_ns = start + UINT64_C(3000000000);
	run(threads, sync_loop);
	printf("append 4 KiB and sync, %u threads: %.0f /s\n", threads,
	       (double)n_syncs / seconds_since(start));
}

static void bench_heads(void)
{
	uint64_t start = clock_mono_ns();
	struct head h;

	for (int i = 0; i < 200; i++) {
		memset(&h, 0, sizeof(h));
		h.time_ns = clock_wall_ns();
		need(log_add_head(open_log, &h), "head");
	}
	printf("heads: %.0f /s\n", 200 / seconds_since(start));
}

int main(int argc, char **argv)
{
	struct log_fixture f;
	struct log_tail tail;
	long mib = argc > 2 ? atol(argv[2]) : 2048;

	if (argc < 2) {
		fprintf(stderr, "usage: logbench FOLDER [MEBIBYTES]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	log_fixture_init(&f, argv[1]);
	bench_seal(&f);
	need(log_fixture_open(&f, &open_log, &tail), "open");
	log_tail_release(&tail);
	bench_append(1, mib);
	bench_append(2, mib);
	bench_read();
	bench_sync(1);
	bench_sync(8);
	bench_heads();
	need(log_close(open_log), "close");
	log_fixture_release(&f);
	return 0;
}
