/*
 * Allocations that fail, one at a time: the nth that our own code asks for while a workload runs
 * (the linker puts the functions below before the real ones, in this program only; what libraries
 * ask for is theirs).
 *
 *   live     open a volume, operations, syncs, a head, a checkpoint, a snapshot, close
 *   read     a volume's folder as a reader without a lock sees it, a view, and check
 *   server   a copy is made, appended to, read
 *
 * What must hold: -ENOMEM and nothing else is told, by the call that met it or not at all; nothing
 * is leaked; nothing is damaged; everything works when it is tried again.
 */

#include "ground.h"
#include "model.h"
#include "shipped.h"

#include "blocks.h"
#include "cache.h"
#include "err.h"
#include "file.h"
#include "head.h"
#include "source.h"
#include "source_folder.h"
#include "vault.h"
#include "view.h"
#include "volume.h"

#include "buf.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TEMPLATE_OPS 40u
#define OPS 12u
#define TRIAL_SECONDS 60u

/* ---- what the linker puts before the real functions ---- */

static atomic_bool armed;
static atomic_long left; /* allocations before the one that fails; below 0: none does */
static atomic_long asked, live;
static atomic_bool failed;

static bool refuse(void)
{
	if (!armed)
		return false;
	asked++;
	if (atomic_fetch_sub(&left, 1) != 0)
		return false;
	failed = true;
	errno = ENOMEM;
	return true;
}

static void *counted(void *p)
{
	if (p)
		live++;
	return p;
}

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__real_realloc(void *p, size_t len);
void *__real_aligned_alloc(size_t align, size_t len);
void *__real_sodium_malloc(size_t len);
char *__real_strdup(const char *s);
void __real_free(void *p);
void __real_sodium_free(void *p);

void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_realloc(void *p, size_t len);
void *__wrap_aligned_alloc(size_t align, size_t len);
void *__wrap_sodium_malloc(size_t len);
char *__wrap_strdup(const char *s);
int __wrap_asprintf(char **out, const char *fmt, ...);
void __wrap_free(void *p);
void __wrap_sodium_free(void *p);

void *__wrap_malloc(size_t len)
{
	return refuse() ? NULL : counted(__real_malloc(len));
}

void *__wrap_calloc(size_t n, size_t len)
{
	return refuse() ? NULL : counted(__real_calloc(n, len));
}

void *__wrap_realloc(void *p, size_t len)
{
	if (refuse())
		return NULL;
	return p ? __real_realloc(p, len) : counted(__real_realloc(NULL, len));
}

void *__wrap_aligned_alloc(size_t align, size_t len)
{
	return refuse() ? NULL : counted(__real_aligned_alloc(align, len));
}

void *__wrap_sodium_malloc(size_t len)
{
	return refuse() ? NULL : counted(__real_sodium_malloc(len));
}

char *__wrap_strdup(const char *s)
{
	return refuse() ? NULL : counted(__real_strdup(s));
}

int __wrap_asprintf(char **out, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (refuse())
		return -1;
	va_start(ap, fmt);
	n = vasprintf(out, fmt, ap);
	va_end(ap);
	if (n >= 0)
		live++;
	return n;
}

void __wrap_free(void *p)
{
	if (p)
		live--;
	__real_free(p);
}

void __wrap_sodium_free(void *p)
{
	if (p)
		live--;
	__real_sodium_free(p);
}

/* ---- trials ---- */

static void *volatile leaked;


enum what { WHAT_LIVE, WHAT_READ, WHAT_SERVER, WHAT_END };
static const char *const what_names[WHAT_END] = {"live", "read", "server"};

struct told {
	long asked, left_over;
	bool failed;
};

struct run {
	enum what what;
	uint64_t seed;
	long nth, only;
	unsigned stride;
	bool leak; /* leak on purpose: must fail */
	char base[GROUND_PATH], before[GROUND_PATH], dir[GROUND_PATH];
	struct ground ground;
	struct shipped shipped;
	struct told *told;
};

#define REQUIRE(cond, ...)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, __VA_ARGS__);                                              \
			fputc('\n', stderr);                                                       \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* The result of a call of the workload: whether to try again without failing. */
static bool again(int rc, const char *what)
{
	if (rc >= 0)
		return false;
	REQUIRE(failed, "%s failed without a cause: %s", what, err_detail(rc));
	REQUIRE(rc == -ENOMEM, "%s failed with %d, not ENOMEM: %s", what, rc, err_detail(rc));
	return true;
}

#define TRY(call, what)                                                                            \
	do {                                                                                       \
		int rc_ = (call);                                                                  \
		if (again(rc_, what))                                                              \
			rc_ = (call);                                                              \
		REQUIRE(rc_ >= 0, "%s fails again: %s", what, err_detail(rc_));                    \
	} while (0)

static struct op small_op(uint64_t *random)
{
	struct op op = op_random(random);

	op.off %= 60000;
	op.off2 %= 60000;
	op.len = op.len % 20000 + 1;
	return op;
}

static int apply_op(struct model *m, struct volume *v, const struct op *op)
{
	int rc = model_apply(m, v, op);

	REQUIRE(rc <= 0, "an operation did what it should not");
	return rc;
}

static void model_at(const struct run *r, struct model *m, uint64_t *random)
{
	model_init(m);
	*random = r->seed;
	for (unsigned i = 0; i < TEMPLATE_OPS; i++) {
		struct op op = small_op(random);

		(void)model_apply(m, NULL, &op);
	}
}

static int same(struct volume *v, const struct model *m)
{
	int rc;
	bool equal = model_equal(volume_view(v), m, &rc);

	REQUIRE(rc < 0 || equal, "not the operations that succeeded");
	return rc;
}

static void trial_live(struct run *r)
{
	struct snapshot snap;
	struct volume *v;
	struct head head;
	struct model m;
	uint64_t random;
	int rc;

	model_at(r, &m, &random);
	armed = true;
	TRY(ground_open(&r->ground, r->dir, &v), "opening");
	for (unsigned i = 0; i < OPS; i++) {
		struct op op = small_op(&random);

		TRY(apply_op(&m, v, &op), "an operation");
		if (i % 4 == 3)
			TRY(volume_sync(v), "a sync");
		if (i == OPS / 2)
			TRY(volume_checkpoint(v), "a checkpoint");
	}
	TRY(volume_add_head(v, &head), "a head");
	TRY(volume_snapshot(v, NULL, "now", false, &snap), "a snapshot");
	TRY(same(v, &m), "reading");
	rc = volume_close(v);
	(void)again(rc, "closing");
	armed = false;
	if (r->leak && failed)
		leaked = malloc(10);
	r->told->left_over = live;
	REQUIRE(ground_open(&r->ground, r->dir, &v) == 0, "does not open afterwards");
	REQUIRE(same(v, &m) == 0, "can't be read afterwards");
	REQUIRE(volume_close(v) == 0, "does not close afterwards");
	model_release(&m);
}

static int read_all(const struct run *r, const struct model *m)
{
	struct view_config vc = {.name_key = r->ground.keys.name_key};
	struct source *src;
	struct block_io io;
	struct head head;
	struct view *v;
	bool equal;
	int rc = source_open_folder(r->dir, &src);

	if (rc < 0)
		return rc;
	vc.source = src;
	rc = blocks_new(src, r->ground.keys.log_key, &vc.blocks);
	if (rc < 0)
		goto free_source;
	io = blocks_io(vc.blocks);
	rc = node_cache_new((size_t)4 << 20, &io, &vc.cache);
	if (rc < 0)
		goto free_blocks;
	rc = src->ops->head_at(src, INT64_MAX, &head);
	if (rc == 0)
		rc = view_open(&vc, &head, &v);
	if (rc < 0)
		goto free_cache;
	equal = model_equal(v, m, &rc);
	REQUIRE(rc < 0 || equal, "reads other bytes");
	view_close(v);
free_cache:
	node_cache_free(vc.cache);
free_blocks:
	blocks_free(vc.blocks);
free_source:
	source_free(src);
	return rc;
}

static int check_it(const struct run *r)
{
	struct check_counts counts;
	int rc = ground_check(&r->ground, r->dir, false, &counts);

	REQUIRE(counts.problems == 0, "check takes a lack of memory for damage:\n%s",
		ground_reports());
	return rc;
}

static void trial_read(struct run *r)
{
	char catalog[GROUND_PATH];
	uint64_t random;
	struct model m;

	model_at(r, &m, &random);
	armed = true;
	TRY(read_all(r, &m), "reading");
	TRY(check_it(r), "check");
	ground_path(catalog, r->dir, "catalog");
	TRY(file_remove_tree(AT_FDCWD, catalog), "removing the catalog");
	TRY(read_all(r, &m), "reading without a catalog");
	TRY(check_it(r), "check without a catalog");
	armed = false;
	if (r->leak && failed)
		leaked = malloc(10);
	r->told->left_over = live;
	model_release(&m);
}

static int put_conf(const struct run *r, struct vault *v, struct copy **out)
{
	struct buf text = {0};
	int rc = params_encode(&r->ground.params, &text);

	if (rc == 0)
		rc = vault_put(v, text.p, text.len, GROUND_OWNER, out);
	buf_release(&text);
	return rc;
}

static int see_head(void *ctx, const struct copy_head *h)
{
	(void)h;
	++*(uint64_t *)ctx;
	return 0;
}

static int see_heads(struct copy *c, uint64_t *out)
{
	*out = 0;
	return copy_heads(c, 1, see_head, out);
}

static void trial_server(struct run *r)
{
	uint64_t heads = r->shipped.heads, seen;
	struct vault *v;
	struct copy *c;
	int rc;

	armed = true;
	TRY(shipped_open_vault(r->dir, &v), "opening the store");
	/*
	 * A copy that could not be opened is not tried again at once, but by a store opened anew.
	 */
	rc = put_conf(r, v, &c);
	if (again(rc, "putting a volume")) {
		vault_close(v);
		TRY(shipped_open_vault(r->dir, &v), "opening the store");
		TRY(put_conf(r, v, &c), "putting a volume");
	}
	TRY(shipped_send(&r->shipped, c, heads / 2, 2, NULL, NULL), "appending");
	vault_close(v);
	TRY(shipped_open_vault(r->dir, &v), "opening the store again");
	armed = false;
	REQUIRE(vault_find(v, r->ground.params.id, &c) == 0, "the copy does not open");
	armed = true;
	TRY(shipped_send(&r->shipped, c, heads, 2, NULL, NULL), "appending on");
	TRY(see_heads(c, &seen), "the heads");
	REQUIRE(seen == heads, "holds %llu heads of %llu", (unsigned long long)seen,
		(unsigned long long)heads);
	armed = false;
	REQUIRE(shipped_holds(&r->shipped, c), "is not the home's log");
	vault_close(v);
	if (r->leak && failed)
		leaked = malloc(10);
	r->told->left_over = live;
}

static int make_template(struct run *r)
{
	uint64_t random = r->seed;
	struct volume *v;
	struct head head;
	struct model m;
	int rc;

	model_init(&m);
	if (mkdir(r->before, 0700) < 0)
		return -errno;
	rc = ground_make(&r->ground, r->before);
	if (rc == 0)
		rc = ground_open(&r->ground, r->before, &v);
	for (unsigned i = 0; rc == 0 && i < TEMPLATE_OPS; i++) {
		struct op op = small_op(&random);

		rc = model_apply(&m, v, &op);
		if (rc == 0 && i % 8 == 7)
			rc = volume_add_head(v, &head);
	}
	return rc == 0 ? volume_close(v) : rc;
}

struct part {
	void (*fn)(struct run *r);
	struct run *r;
};

static void run_part(void *ctx)
{
	const struct part *p = ctx;

	live = asked = 0;
	left = p->r->nth - 1;
	p->fn(p->r);
	p->r->told->asked = asked;
	p->r->told->failed = failed;
}

static int apart(struct run *r, void (*fn)(struct run *), const char *words)
{
	struct part p = {.fn = fn, .r = r};

	(void)unlink(words);
	return ground_apart(run_part, &p, TRIAL_SECONDS, words);
}

static void copy_template(struct run *r)
{
	char command[2 * GROUND_PATH + 64];

	if (r->what == WHAT_SERVER)
		return;
	snprintf(command, sizeof(command), "cp -r --sparse=always '%s' '%s'", r->before, r->dir);
	if (system(command) != 0)
		ground_die("%s: failed", command);
}

static unsigned series(struct run *r)
{
	static void (*const trials[])(struct run *) = {trial_live, trial_read, trial_server};
	unsigned tried = 0, bad = 0;
	char words[GROUND_PATH];
	long usual = -1;

	ground_path(words, r->base, "words");
	/* Once with nothing failing: what is left over then is kept for the process's life. */
	for (r->nth = 0; bad < 5; r->nth += r->nth ? (long)r->stride : 1) {
		int code;

		if (r->only && r->nth == 1)
			r->nth = r->only;
		memset(r->told, 0, sizeof(*r->told));
		copy_template(r);
		code = apart(r, trials[r->what], words);
		if (usual < 0)
			usual = r->told->left_over;
		if (code == 0 && r->told->left_over > usual) {
			FILE *f = fopen(words, "a");

			fprintf(f, "%ld allocations leaked\n", r->told->left_over - usual);
			fclose(f);
			code = 1;
		}
		ground_remove(r->dir);
		if (code != 0) {
			fprintf(stderr, "%s, allocation %ld: exit %d\n", what_names[r->what],
				r->nth, code);
			ground_show(words);
			bad++;
		}
		if (r->nth > 0 && code == 0 && !r->told->failed)
			break;
		tried += r->nth > 0;
		if (r->only && r->nth == r->only)
			break;
	}
	printf("  %-6s %u allocations failed one by one, of %ld; %u went wrong\n",
	       what_names[r->what], tried, r->nth - 1, bad);
	fflush(stdout);
	return bad;
}

static void make_before(struct run *r)
{
	exit(make_template(r) == 0 ? 0 : 1);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"stride", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'e'},
		{"nth", required_argument, NULL, 'n'},
		{"leak", no_argument, NULL, 'l'},
		{NULL, 0, NULL, 0},
	};
	struct run *r = calloc(1, sizeof(*r));
	unsigned bad = 0;
	char words[GROUND_PATH];
	int opt;

	r->seed = (uint64_t)getpid() * 2654435761u;
	r->stride = 1;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			r->stride = (unsigned)atoi(optarg) ? (unsigned)atoi(optarg) : 1;
		else if (opt == 'e')
			r->seed = strtoull(optarg, NULL, 0);
		else if (opt == 'n')
			r->only = atol(optarg);
		else if (opt == 'l')
			r->leak = true;
		else
			ground_die("usage: oom [live|read|server] [--stride N] [--seed N] "
				   "[--nth N] [--leak]");
	}
	ground_init(&r->ground);
	ground_folder(r->base);
	ground_path(r->before, r->base, "before");
	ground_path(r->dir, r->base, "volume");
	ground_path(words, r->base, "words");
	r->told = mmap(NULL, sizeof(*r->told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	printf("oom: seed %llu\n", (unsigned long long)r->seed);
	r->nth = 0;
	if (apart(r, make_before, words) != 0)
		ground_die("no volume to begin with");
	shipped_load(&r->shipped, r->before);
	for (unsigned w = 0; w < WHAT_END; w++) {
		r->what = (enum what)w;
		if (optind == argc || strcmp(argv[optind], what_names[w]) == 0)
			bad += series(r);
	}
	shipped_free(&r->shipped);
	ground_remove(r->base);
	ground_release(&r->ground);
	free(r);
	return bad == 0 ? 0 : 1;
}
