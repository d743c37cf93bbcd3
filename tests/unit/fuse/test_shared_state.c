/* What a daemon leaves to its successor: attached by another, and keys that are whole or not there. */

#include "keys.h"
#include "shared_state.h"

#include "../stores.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct volume_keys keys;
static struct shared_keys *left;

static void fill(uint8_t *p, size_t len, uint8_t with)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(with + i);
}

static void setup(void)
{
	static uint8_t log_key[32], name_key[16], writer[64];

	fill(log_key, sizeof(log_key), 1);
	fill(name_key, sizeof(name_key), 80);
	fill(writer, sizeof(writer), 120);
	keys = (struct volume_keys){
		.log_key = log_key, .name_key = name_key, .writer_secret = writer};
	left = mmap(NULL, sizeof(*left), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(left, MAP_FAILED);
}

TestSuite(shared_state, .init = setup);

static bool are_whole(const struct shared_keys *k)
{
	return k->has_writer && memcmp(k->log_key, keys.log_key, sizeof(k->log_key)) == 0 &&
	       memcmp(k->name_key, keys.name_key, sizeof(k->name_key)) == 0 &&
	       memcmp(k->writer_secret, keys.writer_secret, sizeof(k->writer_secret)) == 0;
}

static void leave(void *arg)
{
	(void)arg;
	shared_leave_keys(left, &keys);
}

Test(shared_state, keys_killed_at_each_store, .timeout = 60)
{
	unsigned nth = 0;
	int rc;

	do {
		memset(left, 0, sizeof(*left));
		rc = stores_kill_at(leave, NULL, left, sizeof(*left), ++nth);
		if (rc < 0)
			cr_skip_test("processes can't be traced here");
		cr_assert(!left->filled || are_whole(left), "killed at store %u", nth);
	} while (rc > 0);
	cr_assert(left->filled);
	cr_expect_gt(nth, 4, "stores were counted");
}

Test(shared_state, a_successor_finds_what_was_left)
{
	struct shared_map map, other;
	int fd, keys_fd;

	cr_assert_eq(shared_make(false, &map), 0);
	shared_leave_keys(map.keys, &keys);
	map.state->view_head = 77;
	fd = dup(map.fd);
	keys_fd = dup(map.keys_fd);
	cr_assert_eq(shared_attach(fd, keys_fd, false, &other), 0);
	cr_assert(other.keys->filled && are_whole(other.keys));
	cr_assert_eq(other.state->view_head, 77);
	/* It is gone in every process. */
	shared_wipe(&map);
	cr_assert_not(other.keys->filled);
	cr_assert_not(are_whole(other.keys));
	shared_wipe(&other);
}

Test(shared_state, one_of_another_layout_is_refused)
{
	struct shared_map map, other;

	cr_assert_eq(shared_make(false, &map), 0);
	cr_assert_lt(shared_attach(dup(map.fd), dup(map.keys_fd), true, &other), 0);
	map.state->version++;
	cr_assert_lt(shared_attach(dup(map.fd), dup(map.keys_fd), false, &other), 0);
	shared_wipe(&map);
}
