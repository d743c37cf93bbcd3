/* Warnings: counted where they come out, at standard error. */

#include "complain.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static FILE *capture(void)
{
	FILE *f = tmpfile();

	cr_assert(f != NULL);
	fflush(stderr);
	dup2(fileno(f), STDERR_FILENO);
	return f;
}

static unsigned lines(FILE *f, const char *with)
{
	char line[256];
	unsigned n = 0;

	fflush(stderr);
	rewind(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, with))
			n++;
	return n;
}

Test(complain, a_subject_once)
{
	FILE *f = capture();

	for (unsigned i = 0; i < 100; i++)
		complain(complain_subject(1, "x"), "about %s", "x");
	complain(complain_subject(2, "x"), "about %s", "another");
	cr_assert_eq(lines(f, "about x"), 1);
	cr_assert_eq(lines(f, "about another"), 1);
	fclose(f);
}

Test(complain, no_flood)
{
	FILE *f = capture();

	for (unsigned i = 0; i < 10000; i++)
		complain(complain_subject(i, NULL), "flood");
	/* the burst, and perhaps a few more for the seconds that this took */
	cr_assert_geq(lines(f, "flood"), COMPLAIN_BURST);
	cr_assert_lt(lines(f, "flood"), 5 * COMPLAIN_BURST);
	fclose(f);
}

Test(complain, subjects_differ)
{
	cr_assert_neq(complain_subject(1, "a"), complain_subject(1, "b"));
	cr_assert_neq(complain_subject(1, "a"), complain_subject(2, "a"));
	cr_assert_eq(complain_subject(1, "a"), complain_subject(1, "a"));
}
