/* Addresses as users write them. */

#include "err.h"
#include "address.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define ID "00112233445566778899aabbccddeeff"

static void good(const char *text, const char *want)
{
	uint8_t id[VOLUME_ID_LEN];
	char *address;

	cr_assert_eq(address_parse_target(text, &address, id), 0, "%s", text);
	cr_assert(strcmp(address, want) == 0, "%s gives %s", text, address);
	cr_assert(id[0] == 0 && id[1] == 0x11 && id[15] == 0xff);
	free(address);
}

static void bad(const char *text)
{
	uint8_t id[VOLUME_ID_LEN];
	char *address;

	cr_assert_eq(address_parse_target(text, &address, id), -ERR_FORMAT, "%s", text);
	cr_assert(strstr(err_detail(-ERR_FORMAT), "VOLUME-ID") != NULL);
}

Test(target, forms_that_are_read)
{
	good("host.example:7070/" ID, "host.example:7070");
	good("10.0.0.1:1/" ID, "10.0.0.1:1");
	good("[::1]:65535/" ID, "[::1]:65535");
	good("unix:/run/embassy.sock/" ID, "unix:/run/embassy.sock");
	good("unix:x/" ID, "unix:x");
}

Test(target, forms_that_are_not)
{
	bad("");
	bad(ID);
	bad("/" ID);
	bad("host/" ID);
	bad("host:/" ID);
	bad("host:0/" ID);
	bad("host:65536/" ID);
	bad("host:123456/" ID);
	bad("host:12x/" ID);
	bad(":7070/" ID);
	bad("::1:7070/" ID);
	bad("[]:7070/" ID);
	bad("[::1:7070/" ID);
	bad("a b:7070/" ID);
	bad("a/b:7070/" ID);
	bad("unix:/" ID);
	bad("host:7070");
	bad("host:7070/");
	bad("host:7070/" ID "0");
	bad("host:7070/0011");
	bad("host:7070/"
	    "00112233445566778899AABBCCDDEEFF");
}

Test(target, plain_text_is_for_this_machine_only)
{
	cr_assert(address_is_loopback("unix:/x"));
	cr_assert(address_is_loopback("127.0.0.1:5"));
	cr_assert(address_is_loopback("127.9.8.7:5"));
	cr_assert(address_is_loopback("[::1]:5"));
	cr_assert(address_is_loopback("localhost:5"));
	cr_assert(!(address_is_loopback("128.0.0.1:5")));
	cr_assert(!(address_is_loopback("[::2]:5")));
	cr_assert(!(address_is_loopback("localhost.example:5")));
	cr_assert(!(address_is_loopback("127.0.0.1.example:5")));
	cr_assert(!(address_is_loopback("127.0.0.1")));
	cr_assert(!(address_is_loopback("0.0.0.0:5")));
	cr_assert(!(address_is_loopback("")));
}

Test(address, spellings_of_one)
{
	static const struct {
		const char *a, *b;
		bool same;
	} rows[] = {
		{"a.example:7443", "a.example:7443", true},
		{"a.example:7443", "A.Example:7443", true},
		{"a.example:7443", "a.example.:07443", true},
		{"a.example:7443", "a.example:7444", false},
		{"a.example:7443", "b.example:7443", false},
		{"[::1]:7443", "[0:0:0:0:0:0:0:1]:7443", true},
		{"[::1]:7443", "[::2]:7443", false},
		{"127.0.0.1:7443", "localhost:7443", false},
		{"unix:/s", "unix:/s", true},
		{"unix:/s", "unix:/S", false},
		{"unix:/s", "s:7443", false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		cr_expect_eq(address_same(rows[i].a, rows[i].b), rows[i].same, "%s %s", rows[i].a,
			     rows[i].b);
}
