/*
 * Runs a fuzz target on files: driver FILE-OR-FOLDER...  What crashes names its file first.
 *
 * Under libFuzzer (FUZZ_ENGINE) it is only the entry that the engine calls.
 */

#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	fuzz_one(bytes, len);
	return 0;
}

#ifndef FUZZ_ENGINE
static unsigned n_run;

static void fail(const char *path)
{
	fprintf(stderr, "fuzz: %s: %s\n", path, strerror(errno));
	exit(1);
}

static void run_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *bytes;
	long len = -1;

	if (!f || fseek(f, 0, SEEK_END) < 0 || (len = ftell(f)) < 0)
		fail(path);
	rewind(f);
	/* Exactly as long as the input, so that a sanitizer sees a read past it. */
	bytes = malloc(len > 0 ? (size_t)len : 1);
	if (!bytes || fread(bytes, 1, (size_t)len, f) != (size_t)len)
		fail(path);
	fclose(f);
	fprintf(stderr, "%s\n", path);
	fuzz_one(bytes, (size_t)len);
	free(bytes);
	n_run++;
}

static void run_folder(const char *path)
{
	struct dirent *e;
	char file[4096];
	DIR *d = opendir(path);

	if (!d)
		fail(path);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		run_file(file);
	}
	closedir(d);
}

int main(int argc, char **argv)
{
	struct stat st;

	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &st) < 0)
			fail(argv[i]);
		if (S_ISDIR(st.st_mode))
			run_folder(argv[i]);
		else
			run_file(argv[i]);
	}
	fprintf(stderr, "%u inputs\n", n_run);
	return n_run == 0;
}
#endif
