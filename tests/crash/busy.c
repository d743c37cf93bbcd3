/*
 * Writes to a mounted folder until it is stopped or the mount dies, and tells later whether what
 * the folder holds can be what was left then.
 *
 * 	busy write DIR STATE SEED [OPS]   random operations, a few and then fsync of all, over and over
 * 	busy verify DIR STATE SEED
 *
 * STATE is a file elsewhere: what the folder held at first, and how many operations were begun, and
 * were covered by fsync.  The kernel may keep what was written since; so after a kill a byte may
 * have any value that it had at the last fsync or after; what no operation touched since is as it
 * was; and the names are those after some operation that was begun.
 *
 * Exit code 0; 1: the folder holds what can't be; 3: an operation failed.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES 6u
#define OBJECTS_MAX 4096u
#define SIZE_MAX_BYTES (256u << 10)
#define OPS_PER_SYNC 10u
#define VERSIONS_MAX 16u

struct first {
	bool there;
	uint32_t size;
	uint8_t data[SIZE_MAX_BYTES];
};

struct state {
	volatile uint64_t begun, synced;
	struct first first[NAMES];
};

struct op {
	unsigned kind, a, b;
	uint32_t off, len;
	uint8_t fill;
};

/* A file, whatever its name; the contents that it had since the last sync. */
struct object {
	unsigned n;
	struct {
		uint32_t size;
		uint8_t *data;
	} v[VERSIONS_MAX];
};

struct model {
	struct object *objects[OBJECTS_MAX];
	unsigned n_objects;
	int name[NAMES]; /* object, or -1 */
};

static uint64_t random_state;

static uint32_t next_random(void)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33);
}

static void die(const char *what)
{
	fprintf(stderr, "busy: %s: %s\n", what, strerror(errno));
	exit(3);
}

static struct op next_op(void)
{
	struct op op = {.kind = next_random() % 10, .a = next_random() % NAMES};

	op.b = next_random() % NAMES;
	op.off = next_random() % (SIZE_MAX_BYTES - 1);
	op.len = next_random() % (next_random() % 4 ? 9000 : 90000) + 1;
	op.fill = (uint8_t)next_random();
	if (op.len > SIZE_MAX_BYTES - op.off)
		op.len = SIZE_MAX_BYTES - op.off;
	return op;
}

static uint8_t byte_of(const struct op *op, uint32_t i)
{
	return (uint8_t)(op->fill + i * 7 + i / 251);
}

static void name_of(unsigned i, char out[16])
{
	snprintf(out, 16, "busy-%u", i);
}

/* ---- the model ---- */

static int add_object(struct model *m)
{
	struct object *o = calloc(1, sizeof(*o));

	if (!o || m->n_objects == OBJECTS_MAX)
		die("too many files");
	o->n = 1;
	o->v[0].data = calloc(1, SIZE_MAX_BYTES);
	if (!o->v[0].data)
		die("no memory");
	m->objects[m->n_objects] = o;
	return (int)m->n_objects++;
}

/* A new version like the last one. */
static void add_version(struct object *o)
{
	if (o->n == VERSIONS_MAX)
		die("too many versions");
	o->v[o->n].size = o->v[o->n - 1].size;
	o->v[o->n].data = malloc(SIZE_MAX_BYTES);
	if (!o->v[o->n].data)
		die("no memory");
	memcpy(o->v[o->n].data, o->v[o->n - 1].data, SIZE_MAX_BYTES);
	o->n++;
}

static bool has_name(const struct model *m, unsigned object)
{
	for (unsigned i = 0; i < NAMES; i++)
		if (m->name[i] == (int)object)
			return true;
	return false;
}

/* All that went before is settled: the last version is the only one, of what has a name. */
static void settle(struct model *m)
{
	for (unsigned i = 0; i < m->n_objects; i++) {
		struct object *o = m->objects[i];

		if (!has_name(m, i)) {
			while (o->n > 0)
				free(o->v[--o->n].data);
			continue;
		}
		for (unsigned v = 0; v + 1 < o->n; v++)
			free(o->v[v].data);
		o->v[0] = o->v[o->n - 1];
		o->n = 1;
	}
}

static void model_apply(struct model *m, const struct op *op)
{
	int *a = &m->name[op->a], *b = &m->name[op->b];
	struct object *o = *a < 0 ? NULL : m->objects[*a];

	if (op->kind < 2) {
		if (*a < 0)
			*a = add_object(m);
	} else if (!o) {
		return;
	} else if (op->kind < 7) {
		add_version(o);
		for (uint32_t i = 0; i < op->len; i++)
			o->v[o->n - 1].data[op->off + i] = byte_of(op, i);
		if (op->off + op->len > o->v[o->n - 1].size)
			o->v[o->n - 1].size = op->off + op->len;
	} else if (op->kind == 7) {
		add_version(o);
		if (op->off < o->v[o->n - 1].size)
			memset(o->v[o->n - 1].data + op->off, 0, SIZE_MAX_BYTES - op->off);
		o->v[o->n - 1].size = op->off;
	} else if (op->kind == 8) {
		if (op->a != op->b) {
			*b = *a;
			*a = -1;
		}
	} else {
		*a = -1;
	}
}

static void model_first(struct model *m, const struct state *s)
{
	for (unsigned i = 0; i < NAMES; i++) {
		m->name[i] = -1;
		if (!s->first[i].there)
			continue;
		m->name[i] = add_object(m);
		m->objects[m->name[i]]->v[0].size = s->first[i].size;
		memcpy(m->objects[m->name[i]]->v[0].data, s->first[i].data, SIZE_MAX_BYTES);
	}
}

/* ---- writing ---- */

static void read_first(int dirfd, struct state *s)
{
	for (unsigned i = 0; i < NAMES; i++) {
		char name[16];
		struct stat st;
		int fd;

		name_of(i, name);
		fd = openat(dirfd, name, O_RDONLY);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > SIZE_MAX_BYTES ||
		    pread(fd, s->first[i].data, SIZE_MAX_BYTES, 0) != st.st_size)
			die("reading what is there");
		s->first[i].there = true;
		s->first[i].size = (uint32_t)st.st_size;
		close(fd);
	}
}

static void write_op(int dirfd, const struct op *op, const int name[NAMES])
{
	static uint8_t data[SIZE_MAX_BYTES];
	char from[16], to[16];
	int fd = -1;

	name_of(op->a, from);
	name_of(op->b, to);
	if (op->kind >= 2 && name[op->a] < 0)
		return;
	if (op->kind < 8)
		fd = openat(dirfd, from, O_WRONLY | (op->kind < 2 ? O_CREAT : 0), 0600);
	if (op->kind < 8 && fd < 0)
		die("open");
	if (op->kind >= 2 && op->kind < 7) {
		for (uint32_t i = 0; i < op->len; i++)
			data[i] = byte_of(op, i);
		if (pwrite(fd, data, op->len, op->off) != (ssize_t)op->len)
			die("write");
	} else if (op->kind == 7) {
		if (ftruncate(fd, op->off) < 0)
			die("truncate");
	} else if (op->kind == 8) {
		if (op->a != op->b && renameat(dirfd, from, dirfd, to) < 0)
			die("rename");
	} else if (op->kind == 9) {
		if (unlinkat(dirfd, from, 0) < 0)
			die("unlink");
	}
	if (fd >= 0)
		close(fd);
}

static void sync_all(int dirfd, const int name[NAMES])
{
	for (unsigned i = 0; i < NAMES; i++) {
		char text[16];
		int fd;

		if (name[i] < 0)
			continue;
		name_of(i, text);
		fd = openat(dirfd, text, O_RDONLY);
		if (fd < 0 || fsync(fd) < 0)
			die("fsync");
		close(fd);
	}
	if (fsync(dirfd) < 0)
		die("fsync of the folder");
}

static int run_write(int dirfd, struct state *s, uint64_t ops)
{
	/* Names only: data is the model's affair when it is verified. */
	int name[NAMES];

	memset(s, 0, sizeof(*s));
	read_first(dirfd, s);
	for (unsigned i = 0; i < NAMES; i++)
		name[i] = s->first[i].there ? 0 : -1;
	for (uint64_t i = 0; i < ops; i++) {
		struct op op = next_op();

		s->begun = i + 1;
		write_op(dirfd, &op, name);
		if (op.kind < 2)
			name[op.a] = 0;
		if (op.kind == 8 && op.a != op.b && name[op.a] == 0)
			name[op.b] = 0;
		if ((op.kind == 8 && op.a != op.b) || op.kind == 9)
			name[op.a] = -1;
		if (i % OPS_PER_SYNC == OPS_PER_SYNC - 1) {
			sync_all(dirfd, name);
			s->synced = i + 1;
		}
	}
	return 0;
}

/* ---- verifying ---- */

static const char *file_wrong(int fd, const struct object *o)
{
	static uint8_t data[SIZE_MAX_BYTES + 1];
	ssize_t len = pread(fd, data, sizeof(data), 0);
	bool size_known = false;

	if (len < 0)
		return "can't be read";
	for (unsigned v = 0; v < o->n; v++)
		size_known |= o->v[v].size == (uint32_t)len;
	/* Growing in pages, a size may be one in between. */
	for (unsigned v = 0; v + 1 < o->n && !size_known; v++)
		size_known = o->n > 1 && (uint32_t)len > o->v[v].size &&
			     (uint32_t)len < o->v[v + 1].size;
	if (!size_known)
		return "has a size that it never had";
	for (ssize_t i = 0; i < len; i++) {
		bool known = o->n > 1 && data[i] == 0;

		for (unsigned v = 0; v < o->n && !known; v++)
			known = o->v[v].data[i] == data[i];
		if (!known)
			return "holds a byte that it never held";
	}
	return NULL;
}

/* Whether the folder's names and their contents can be those of ${name}. */
static const char *names_wrong(int dirfd, const struct model *m, const int name[NAMES])
{
	for (unsigned i = 0; i < NAMES; i++) {
		static char words[64];
		const char *wrong;
		char text[16];
		int fd;

		name_of(i, text);
		fd = openat(dirfd, text, O_RDONLY);
		if (fd < 0 && errno != ENOENT)
			return "can't be opened";
		if ((fd >= 0) != (name[i] >= 0)) {
			if (fd >= 0)
				close(fd);
			snprintf(words, sizeof(words), "%s %s", text,
				 name[i] < 0 ? "is there" : "is missing");
			return words;
		}
		if (fd < 0)
			continue;
		wrong = file_wrong(fd, m->objects[name[i]]);
		close(fd);
		if (wrong) {
			snprintf(words, sizeof(words), "%s %s", text, wrong);
			return words;
		}
	}
	return NULL;
}

static int run_verify(int dirfd, const struct state *s)
{
	static int names[OPS_PER_SYNC + 2][NAMES];
	static struct model m;
	const char *wrong = NULL;
	unsigned n = 0;

	model_first(&m, s);
	for (uint64_t i = 0; i < s->synced; i++) {
		struct op op = next_op();

		model_apply(&m, &op);
		settle(&m);
	}
	memcpy(names[n++], m.name, sizeof(m.name));
	for (uint64_t i = s->synced; i < s->begun; i++) {
		struct op op = next_op();

		model_apply(&m, &op);
		memcpy(names[n++], m.name, sizeof(m.name));
	}
	for (unsigned i = 0; i < n; i++) {
		wrong = names_wrong(dirfd, &m, names[i]);
		if (!wrong)
			return 0;
	}
	fprintf(stderr, "busy: after %llu operations, %llu synced: %s\n",
		(unsigned long long)s->begun, (unsigned long long)s->synced, wrong);
	return 1;
}

int main(int argc, char **argv)
{
	struct state *s;
	int dirfd, fd;

	if (argc < 5) {
		fprintf(stderr, "usage: busy write|verify DIR STATE SEED [OPS]\n");
		return 2;
	}
	dirfd = open(argv[2], O_RDONLY | O_DIRECTORY);
	fd = open(argv[3], O_RDWR | O_CREAT, 0600);
	if (dirfd < 0 || fd < 0 || ftruncate(fd, sizeof(*s)) < 0)
		die("opening");
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		die("mmap");
	random_state = strtoull(argv[4], NULL, 0);
	if (strcmp(argv[1], "write") == 0)
		return run_write(dirfd, s, argc > 5 ? strtoull(argv[5], NULL, 0) : UINT64_MAX);
	return run_verify(dirfd, s);
}
