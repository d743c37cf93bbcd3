/* A volume in a temporary folder, with keys made for the test. */

#include "fixture.h"

#include "blocks.h"
#include "buf.h"
#include "check.h"
#include "err.h"
#include "file.h"
#include "frame.h"
#include "hash.h"
#include "key.h"
#include "secret.h"
#include "source.h"
#include "source_folder.h"
#include "view_state.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void make_keys(struct fixture *f)
{
	uint8_t digest[32], message[GRANT_MESSAGE_LEN];
	struct grant *g = &f->params.grants[0];

	f->keys.log_key = secret_alloc(32);
	f->keys.name_key = secret_alloc(16);
	f->keys.writer_secret = secret_alloc(64);
	f->keys.authority_secret = secret_alloc(64);
	random_bytes(f->keys.log_key, 32);
	random_bytes(f->keys.name_key, 16);
	crypto_sign_keypair(f->params.authority, f->keys.authority_secret);
	crypto_sign_keypair(g->writer, f->keys.writer_secret);
	sha256_parts(f->params.authority, sizeof(f->params.authority), NULL, 0, NULL, 0, digest);
	memcpy(f->params.id, digest, VOLUME_ID_LEN);
	g->epoch = 1;
	f->params.n_grants = 1;
	params_grant_message(f->params.id, g, message);
	crypto_sign_detached(g->signature, NULL, message, sizeof(message),
			     f->keys.authority_secret);
	f->params.serial = 1;
	f->params.cipher = CIPHER_AES256GCM;
	f->params.compress = 1;
}

static void sign_params(struct fixture *f)
{
	struct buf text = {0};

	cr_assert_eq(params_encode_unsigned(&f->params, &text), 0);
	crypto_sign_detached(f->params.signature, NULL, text.p, text.len, f->keys.authority_secret);
	buf_release(&text);
	cr_assert_eq(params_store(&f->params, f->dir), 0);
}

/*
 * In a process of its own: tests fork, which the thread sanitizer can follow only where there have been no
 * threads yet, and a volume has some.
 */
static void make_apart(struct fixture *f)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(volume_make(f->dir, &f->params, &f->keys, 0, 0) == 0 ? 0 : 1);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "no volume can be made");
}

void fixture_make(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	cr_assert_eq(secret_init(), 0);
	strcpy(f->dir, "/tmp/embassyfs-test-XXXXXX");
	cr_assert_not_null(mkdtemp(f->dir));
	make_keys(f);
	sign_params(f);
	make_apart(f);
}

struct volume *fixture_open(struct fixture *f)
{
	struct volume_config cfg = {.dir = f->dir, .params = &f->params, .keys = &f->keys};
	struct volume *v;
	int rc = volume_open(&cfg, &v);

	cr_assert_eq(rc, 0, "volume_open: %s", err_detail(rc));
	return v;
}

static void say_check(void *ctx, enum check_level level, const char *text)
{
	(void)ctx;
	(void)level;
	(void)text;
}

int fixture_check(struct fixture *f)
{
	struct check_config cfg = {
		.dir = f->dir, .keys = &f->keys, .read_percent = 100, .report = say_check};
	struct check_counts counts;

	return volume_check(&cfg, &counts);
}

struct leaf_search {
	struct item_key key;
	struct block_ptr found;
};

static int find_leaf(void *ctx, const struct tree_walk_node *n)
{
	struct leaf_search *s = ctx;

	if (n->level == 0 && key_cmp(n->from, n->from_len, s->key.b, s->key.len) <= 0)
		s->found = n->ptr;
	return 0;
}

struct block_ptr fixture_leaf(struct fixture *f, uint64_t ino)
{
	struct view_config cfg = {.name_key = f->keys.name_key};
	struct leaf_search s = {0};
	struct block_io io;
	struct head newest;
	struct view *v;

	item_key(&s.key, ino, ITEM_INODE);
	cr_assert_eq(source_open_folder(f->dir, &cfg.source), 0);
	cr_assert_eq(blocks_new(cfg.source, f->keys.log_key, &cfg.blocks), 0);
	io = blocks_io(cfg.blocks);
	cr_assert_eq(node_cache_new(1 << 20, &io, &cfg.cache), 0);
	cr_assert_eq(cfg.source->ops->head_at(cfg.source, INT64_MAX, &newest), 0);
	cr_assert_eq(view_open(&cfg, &newest, &v), 0);
	cr_assert_eq(tree_walk(cfg.cache, &v->map.base, find_leaf, NULL, &s), 0);
	view_close(v);
	node_cache_free(cfg.cache);
	blocks_free(cfg.blocks);
	source_free(cfg.source);
	cr_assert_neq(s.found.pos, 0, "the tree has no leaf");
	return s.found;
}

void fixture_damage(struct fixture *f, uint64_t pos)
{
	char path[128];
	uint8_t byte;
	int fd;

	snprintf(path, sizeof(path), "%s/log/%016llx.seg", f->dir,
		 (unsigned long long)segment_of(pos));
	fd = file_open(AT_FDCWD, path, O_RDWR, 0);
	cr_assert_geq(fd, 0);
	cr_assert_eq(file_read_at(fd, &byte, 1, pos - segment_start(segment_of(pos))), 1);
	byte ^= 0x55;
	cr_assert_eq(file_write_at(fd, &byte, 1, pos - segment_start(segment_of(pos))), 0);
	file_close(fd);
}

void fixture_remove(struct fixture *f)
{
	cr_assert_eq(file_remove_tree(AT_FDCWD, f->dir), 0);
	secret_free(f->keys.log_key);
	secret_free(f->keys.name_key);
	secret_free(f->keys.writer_secret);
	secret_free(f->keys.authority_secret);
}

const struct figure_row *fixture_look(struct volume *v)
{
	static struct figures seen;

	figures_release(&seen);
	volume_figures(v, &seen);
	return &seen.volume;
}
