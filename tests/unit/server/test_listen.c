/* Listening addresses. */

#include "listen.h"

#include <criterion/criterion.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

Test(listen, forms)
{
	static const char *const good[] = {"127.0.0.1:0", "[::1]:65535", "host:1", "unix:/a/b",
					   "unix:x"};
	static const char *const bad[] = {
		"",	 ":1",	  "host",  "host:",   "host:65536", "host:1x",
		"::1:5", "[::1]", "unix:", "host:-1", "host:000001"};
	char deep[200] = "unix:";

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		cr_expect_eq(listen_check(good[i]), 0, "%s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_eq(listen_check(bad[i]), -EINVAL, "%s", bad[i]);
	memset(deep + 5, 'x', 108);
	cr_expect_eq(listen_check(deep), -EINVAL);
	deep[5 + 107] = '\0';
	cr_expect_eq(listen_check(deep), 0);
}

Test(listen, what_is_local)
{
	static const char *const local[] = {"127.0.0.1:1", "127.255.0.9:1", "[::1]:1",
					    "localhost:1", "unix:/x"};
	static const char *const not_local[] = {
		"0.0.0.0:1", "[::]:1",	  "128.0.0.1:1",	 "10.0.0.1:1",	 "localhost.evil:1",
		"127.1:1",   "127.0.0.1", "[::ffff:10.0.0.1]:1", "xlocalhost:1", "[127.0.0.1]:1"};

	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
		cr_expect(listen_is_local(local[i]), "%s", local[i]);
	for (size_t i = 0; i < sizeof(not_local) / sizeof(not_local[0]); i++)
		cr_expect_not(listen_is_local(not_local[i]), "%s", not_local[i]);
}

Test(listen, the_real_port)
{
	char *text = listen_format("[::1]:0", 4711);

	cr_expect_str_eq(text, "[::1]:4711");
	free(text);
	text = listen_format("unix:/a:0", 1);
	cr_expect_str_eq(text, "unix:/a:0");
	free(text);
}
