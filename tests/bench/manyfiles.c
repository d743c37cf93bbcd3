/*
 * A volume of very many files, made and looked at through the volume's own functions: what grows
 * with their number, without the kernel's share.
 *
 *	manyfiles make VOLUME KEY-FILE N	N empty files, 1,000 a folder; a checkpoint; closed
 *	manyfiles look VOLUME KEY-FILE N	opened again, and files picked at random looked up
 *
 * Prints "METRIC VALUE UNIT".  tests/bench/scale calls it.
 */

#include "clock.h"
#include "credential.h"
#include "err.h"
#include "keys.h"
#include "params.h"
#include "prng.h"
#include "secret.h"
#include "volume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define PER_FOLDER UINT64_C(1000)
#define LOOKUPS 20000u
#define PARTS 10u

struct bench {
	struct params params;
	struct volume_keys keys;
	struct volume *volume;
};

static double now(void)
{
	return (double)clock_mono_ns() / 1e9;
}

static void must(int rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "manyfiles: %s: %s\n", what, err_detail(rc));
	exit(1);
}

static void open_volume(struct bench *b, const char *dir, const char *key_file)
{
	struct volume_config cfg = {.dir = dir, .params = &b->params, .keys = &b->keys};
	struct credential cred = {0};
	double start;

	must(secret_init(), "secrets");
	must(params_load(dir, &b->params), dir);
	must(credential_find(NULL, key_file, "", false, &cred), key_file);
	must(keys_unlock(&b->params, &cred, &b->keys), key_file);
	credential_release(&cred);
	start = now();
	must(volume_open(&cfg, &b->volume), dir);
	printf("open %.0f ms\n", (now() - start) * 1e3);
}

static void close_volume(struct bench *b)
{
	double start = now();

	must(volume_close(b->volume), "closing");
	printf("close %.0f ms\n", (now() - start) * 1e3);
	keys_release(&b->keys);
	params_release(&b->params);
}

static uint64_t make_node(struct bench *b, uint64_t parent, const char *prefix, uint64_t n,
			  uint32_t mode)
{
	const struct caller root = {0};
	struct attr attr;
	char name[32];

	snprintf(name, sizeof(name), "%s%llu", prefix, (unsigned long long)n);
	must(volume_make_node(b->volume, &root, parent, name, mode, 0, NULL, &attr), name);
	return attr.ino;
}

/* Largest memory of this process so far. */
static void print_memory(const char *metric)
{
	struct rusage u;

	must(getrusage(RUSAGE_SELF, &u), "getrusage");
	printf("%s %ld MiB\n", metric, u.ru_maxrss / 1024);
}

/* File number i is fI in folder dJ of folder gK, a thousand of each. */
static void make_files(struct bench *b, uint64_t n)
{
	uint64_t group = 0, folder = 0, part = (n + PARTS - 1) / PARTS;
	double start = now(), since = start;

	for (uint64_t i = 0; i < n; i++) {
		if (i % (PER_FOLDER * PER_FOLDER) == 0)
			group = make_node(b, INO_ROOT, "g", i / PER_FOLDER / PER_FOLDER,
					  S_IFDIR | 0755);
		if (i % PER_FOLDER == 0)
			folder = make_node(b, group, "d", i / PER_FOLDER, S_IFDIR | 0755);
		make_node(b, folder, "f", i, S_IFREG | 0644);
		if ((i + 1) % part == 0 || i + 1 == n) {
			printf("create-to-%llu %.0f /s\n", (unsigned long long)(i + 1),
			       (double)(i % part + 1) / (now() - since));
			fflush(stdout);
			since = now();
		}
	}
	printf("create %.0f /s\n", (double)n / (now() - start));
	start = now();
	must(volume_checkpoint(b->volume), "checkpoint");
	printf("checkpoint %.0f ms\n", (now() - start) * 1e3);
	print_memory("memory-while-creating");
}

static void look_up(struct bench *b, uint64_t i)
{
	const char *prefixes[] = {"g", "d", "f"};
	const uint64_t numbers[] = {i / PER_FOLDER / PER_FOLDER, i / PER_FOLDER, i};
	struct attr attr = {.ino = INO_ROOT};
	char name[32];

	for (unsigned at = 0; at < 3; at++) {
		snprintf(name, sizeof(name), "%s%llu", prefixes[at],
			 (unsigned long long)numbers[at]);
		must(view_lookup(volume_view(b->volume), attr.ino, name, &attr), name);
	}
}

static void look_at_random(struct bench *b, uint64_t n, const char *metric)
{
	struct prng random = {0};
	double start = now();

	for (unsigned i = 0; i < LOOKUPS; i++)
		look_up(b, prng_below(&random, n));
	printf("%s %.1f us\n", metric, (now() - start) * 1e6 / LOOKUPS);
}

int main(int argc, char **argv)
{
	uint64_t n = argc == 5 ? strtoull(argv[4], NULL, 10) : 0;
	struct bench b = {0};

	if (n == 0 || (strcmp(argv[1], "make") != 0 && strcmp(argv[1], "look") != 0)) {
		fprintf(stderr, "usage: manyfiles make|look VOLUME KEY-FILE N\n");
		return 2;
	}
	open_volume(&b, argv[2], argv[3]);
	if (strcmp(argv[1], "make") == 0) {
		make_files(&b, n);
	} else {
		look_at_random(&b, n, "look-up-cold");
		look_at_random(&b, n, "look-up-again");
		print_memory("memory-while-looking");
	}
	close_volume(&b);
	return 0;
}
