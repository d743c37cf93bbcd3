/* The command line: each option, each refusal. */

#include "options.h"

#include "err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int parse_target(struct options *o, const char *list, const char *target)
{
	char *argv[] = {"embassyfs", (char *)target, "/mnt", "-o", (char *)list, NULL};

	return options_parse(5, argv, o);
}

static int parse(struct options *o, const char *list)
{
	return parse_target(o, list, "/vol");
}

Test(options, all_of_them)
{
	struct options o;

	cr_assert_eq(parse(&o,
			   "passphrase-file=/no/such/p,embassy=a:1,embassy=unix:/s,tls=/no/such/t,"
			   "allow_other,noatime,flush=7,checkpoint=90,memory=512M,local=3G"),
		     0);
	cr_assert_str_eq(o.target, "/vol");
	cr_assert_str_eq(o.mount_point, "/mnt");
	cr_assert_str_eq(o.passphrase_file, "/no/such/p");
	cr_assert_eq(o.n_embassies, 2);
	cr_assert_str_eq(o.embassies[0], "a:1");
	cr_assert_str_eq(o.embassies[1], "unix:/s");
	cr_assert_str_eq(o.tls_dir, "/no/such/t");
	cr_assert(o.allow_other && o.noatime && !o.read_only && !o.foreground);
	cr_assert_eq(o.flush_s, 7);
	cr_assert_eq(o.checkpoint_s, 90);
	cr_assert_eq(o.memory_bytes, UINT64_C(512) << 20);
	cr_assert_eq(o.local_bytes, UINT64_C(3) << 30);
	options_release(&o);
	cr_assert(o.target == NULL);
}

Test(options, access_times)
{
	struct options o;

	cr_assert_eq(parse(&o, "relatime"), 0);
	cr_assert(!o.noatime && !o.nodiratime && !o.strictatime);
	options_release(&o);
	cr_assert_eq(parse(&o, "strictatime,nodiratime"), 0);
	cr_assert(!o.noatime && o.nodiratime && o.strictatime);
	options_release(&o);
	cr_assert_eq(parse(&o, "noatime,strictatime,nodiratime,diratime,atime,nostrictatime"), 0);
	cr_assert(!o.noatime && !o.nodiratime && !o.strictatime);
	options_release(&o);
}

Test(options, what_mount_adds_is_taken)
{
	struct options o;

	cr_assert_eq(parse(&o, "rw,user=ann,noauto,nofail,_netdev,x-systemd.automount,dev,suid,"
			       "noexec,,defaults"),
		     0);
	cr_assert(o.dev && o.suid && o.noexec);
	options_release(&o);
}

Test(options, the_last_word_counts)
{
	struct options o;

	cr_assert_eq(parse(&o, "ro,rw,flush=3,flush=4"), 0);
	cr_assert(!o.read_only && o.read_write);
	cr_assert_eq(o.flush_s, 4);
	options_release(&o);
	cr_assert_eq(parse(&o, "rw,at=5m,at=latest,ro"), 0);
	cr_assert(o.read_only && !o.read_write);
	cr_assert_str_eq(o.at, "latest");
	options_release(&o);
}

/* mount(8) says rw, dev and suid for itself; a person who says rw of the past is told. */
Test(options, the_past_is_not_written_to)
{
	struct options o;

	cr_assert_eq(parse(&o, "rw,at=latest"), -EINVAL);
	cr_assert_eq(parse(&o, "at=latest,rw"), -EINVAL);
	cr_assert_eq(parse(&o, "rw,at=latest,dev,suid"), 0);
	cr_assert(!o.read_write);
	options_release(&o);
	cr_assert_eq(parse(&o, "rw,partial"), -EINVAL);
	cr_assert_eq(parse(&o, "partial,embassy=a:1"), -EINVAL);
	cr_assert_eq(parse_target(&o, "partial", "h:1/00112233445566778899aabbccddeeff"), -EINVAL);
	cr_assert_eq(parse(&o, "partial"), 0);
	cr_assert(o.partial && o.read_only);
	options_release(&o);
	/* What fstab says of a mount comes along when it is remounted. */
	cr_assert_eq(parse(&o, "rw,embassy=a:1,remount,ro"), 0);
	cr_assert(o.remount && o.read_only);
	options_release(&o);
}

Test(options, embassies_have_a_host_and_a_port)
{
	static const char *const bad[] = {
		"localhost", "localhost:",  "localhost:abc", "localhost:0",  "localhost:99999",
		"::1:1",     "[::1]",	    "http://a:1",    ":1",	     "[localhost]:1",
		"[::1:1",    "a:1,embassy=A:1", "unix:",	     "a:1 ",	     "a b:1",
	};
	static const char *const good[] = {"localhost:1", "[::1]:65535", "10.0.0.1:7443",
					   "unix:/a", "a:1,embassy=a:2", "[fe80::1%eth0]:1"};
	char list[100];
	struct options o;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(list, sizeof(list), "embassy=%s", bad[i]);
		cr_expect_eq(parse(&o, list), -EINVAL, "%s", bad[i]);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		snprintf(list, sizeof(list), "embassy=%s", good[i]);
		cr_expect_eq(parse(&o, list), 0, "%s: %s", good[i], err_detail(-EINVAL));
		options_release(&o);
	}
}

Test(options, a_backslash_keeps_commas)
{
	struct options o;

	cr_assert_eq(parse(&o, "key-file=/no/a\\,b\\\\c,ro"), 0);
	cr_assert_str_eq(o.key_file, "/no/a,b\\c");
	cr_assert(o.read_only);
	options_release(&o);
}

Test(options, refusals_name_the_option)
{
	static const char *const bad[][2] = {
		{"frobnicate", "frobnicate"},
		{"flush", "flush"},
		{"flush=0", "flush"},
		{"flush=5x", "flush"},
		{"flush=3601", "flush"},
		{"flush=-1", "flush"},
		{"memory=12Q", "memory"},
		{"memory=1M", "memory"},
		{"ro=1", "ro"},
		{"at=", "at"},
		{"embassy=a:1,ro", "embassy"},
		{"embassy=a:1,at=5m", "embassy"},
		{"passphrase-file=a,key-file=b", "key-file"},
	};
	struct options o;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int rc = parse(&o, bad[i][0]);

		cr_expect_eq(rc, -EINVAL, "%s", bad[i][0]);
		cr_expect(strstr(err_detail(rc), bad[i][1]) != NULL, "%s: %s", bad[i][0],
			  err_detail(rc));
		cr_expect(strstr(err_detail(rc), ";") != NULL, "%s: %s", bad[i][0], err_detail(rc));
	}
}

Test(options, too_many_embassies)
{
	char list[OPTIONS_EMBASSIES_MAX * 16 + 32] = "";
	struct options o;

	for (unsigned i = 0; i <= OPTIONS_EMBASSIES_MAX; i++)
		sprintf(list + strlen(list), ",embassy=a:%u", i + 1);
	cr_assert_eq(parse(&o, list), -EINVAL);
	cr_assert(strstr(err_detail(-EINVAL), "more than 16 times"));
}

Test(options, words)
{
	char *none[] = {"embassyfs", NULL};
	char *one[] = {"embassyfs", "/vol", NULL};
	char *three[] = {"embassyfs", "/vol", "/mnt", "/more", NULL};
	char *unknown[] = {"embassyfs", "/vol", "/mnt", "-x", NULL};
	char *lacking[] = {"embassyfs", "/vol", "/mnt", "-o", NULL};
	char *help[] = {"embassyfs", "--help", NULL};
	char *version[] = {"embassyfs", "-V", NULL};
	char *after[] = {"embassyfs", "/vol", "/mnt", "-f", NULL};
	struct options o;

	cr_assert_eq(options_parse(1, none, &o), -EINVAL);
	cr_assert_eq(options_parse(2, one, &o), -EINVAL);
	cr_assert_eq(options_parse(4, three, &o), -EINVAL);
	cr_assert_eq(options_parse(4, unknown, &o), -EINVAL);
	cr_assert_eq(options_parse(4, lacking, &o), -EINVAL);
	cr_assert_eq(options_parse(2, help, &o), 0);
	cr_assert(o.help);
	options_release(&o);
	cr_assert_eq(options_parse(2, version, &o), 0);
	cr_assert(o.version);
	options_release(&o);
	cr_assert_eq(options_parse(4, after, &o), 0);
	cr_assert(o.foreground);
	options_release(&o);
}

Test(options, sizes)
{
	static const char *const bad[] = {
		"", "-1", "K", "1KB", " 1", "16777216T", "99999999999999999999"};
	uint64_t n;

	cr_assert_eq(options_size("0", &n), 0);
	cr_assert_eq(n, 0);
	cr_assert_eq(options_size("3K", &n), 0);
	cr_assert_eq(n, 3072);
	cr_assert_eq(options_size("16777215T", &n), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_expect_eq(options_size(bad[i], &n), -EINVAL, "%s", bad[i]);
}

/* What one supervisor tells the next is what it was told. */
Test(options, formatted_they_are_the_same)
{
	struct options o, again;
	char **argv;
	int argc = 0;

	cr_assert_eq(parse(&o,
			   "key-file=/no/a\\,b\\\\c,embassy=a:1,embassy=b:2,flush=7,memory=512M,"
			   "allow_other,suid,checkpoint=9,local=1G,tls=/no/t,noatime"),
		     0);
	cr_assert_eq(o.handover_fd, -1);
	o.foreground = true;
	cr_assert_eq(options_format(&o, "program", 3, &argv), 0);
	while (argv[argc])
		argc++;
	cr_assert_str_eq(argv[0], "program");
	cr_assert_eq(options_parse(argc, argv, &again), 0);
	cr_assert_eq(again.handover_fd, 3);
	cr_assert_str_eq(again.target, o.target);
	cr_assert_str_eq(again.mount_point, o.mount_point);
	cr_assert_str_eq(again.key_file, "/no/a,b\\c");
	cr_assert_str_eq(again.tls_dir, o.tls_dir);
	cr_assert_eq(again.n_embassies, 2);
	cr_assert_str_eq(again.embassies[1], "b:2");
	cr_assert_eq(again.flush_s, 7);
	cr_assert_eq(again.checkpoint_s, 9);
	cr_assert_eq(again.memory_bytes, o.memory_bytes);
	cr_assert_eq(again.local_bytes, o.local_bytes);
	cr_assert(again.allow_other && again.suid && again.noatime && again.foreground);
	cr_assert(!again.dev && !again.read_only && !again.unsupervised);
	options_format_free(argv);
	options_release(&again);
	options_release(&o);
}
