/* Credentials: files, pipes, the environment, and a terminal (a pseudo one) with echo off. */

#include "credential.h"

#include "err.h"
#include "file.h"
#include "secret.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static char folder[200], path[256];

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	cr_assert_eq(secret_init(), 0);
	unsetenv("EMBASSY_PASSPHRASE_FILE");
	snprintf(folder, sizeof(folder), "%s/test_credential.XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/f", folder);
}

static void teardown(void)
{
	cr_assert_eq(file_remove_tree(AT_FDCWD, folder), 0);
}

TestSuite(credential, .init = setup, .fini = teardown);

static void put_file(const void *bytes, size_t len)
{
	cr_assert_eq(file_replace(AT_FDCWD, path, bytes, len, 0600), 0);
}

static void expect_passphrase(const char *text)
{
	struct credential c;

	cr_assert_eq(credential_from_passphrase_file(path, &c), 0, "%s", err_detail(-EINVAL));
	cr_assert_eq(c.kind, CREDENTIAL_PASSPHRASE);
	cr_assert_eq(c.len, strlen(text));
	cr_assert_eq(memcmp(c.p, text, c.len), 0);
	credential_release(&c);
	cr_assert_null(c.p);
}

Test(credential, passphrase_file)
{
	put_file("secret", 6);
	expect_passphrase("secret");
	put_file("secret\n", 7);
	expect_passphrase("secret");
	put_file(" two words \nsecond line\n", 24);
	expect_passphrase(" two words ");
}

Test(credential, passphrase_file_refused)
{
	char big[CREDENTIAL_PASSPHRASE_MAX + 1];
	struct credential c;

	put_file("", 0);
	cr_assert_eq(credential_from_passphrase_file(path, &c), -EINVAL);
	put_file("\nsecret\n", 8);
	cr_assert_eq(credential_from_passphrase_file(path, &c), -EINVAL);
	cr_assert_not_null(strstr(err_detail(-EINVAL), path));
	memset(big, 'x', sizeof(big));
	put_file(big, sizeof(big));
	cr_assert_eq(credential_from_passphrase_file(path, &c), -EINVAL);
	put_file(big, sizeof(big) - 1);
	cr_assert_eq(credential_from_passphrase_file(path, &c), 0);
	credential_release(&c);
	cr_assert_eq(file_unlink(AT_FDCWD, path), 0);
	cr_assert_eq(credential_from_passphrase_file(path, &c), -ENOENT);
	cr_assert_not_null(strstr(err_detail(-ENOENT), path));
}

/* What editors add is not typed by anybody. */
Test(credential, what_editors_add_is_no_part_of_it)
{
	struct credential c;

	put_file("secret\r\n", 8);
	expect_passphrase("secret");
	put_file("secret\r", 7);
	expect_passphrase("secret");
	put_file("\xef\xbb\xbfsecret\r\nmore\r\n", 17);
	expect_passphrase("secret");
	put_file("se\rcret\n", 8);
	expect_passphrase("se\rcret");
	put_file("\xef\xbb\xbf\r\n", 5);
	cr_assert_eq(credential_from_passphrase_file(path, &c), -EINVAL);
	/* Volumes that earlier versions made have them as a part: the line stays at hand. */
	put_file("secret\r\n", 8);
	cr_assert_eq(credential_from_passphrase_file(path, &c), 0);
	cr_assert_eq(c.raw_len, 7);
	cr_assert_eq(memcmp(c.raw, "secret\r", 7), 0);
	credential_release(&c);
	put_file("secret\n", 7);
	cr_assert_eq(credential_from_passphrase_file(path, &c), 0);
	cr_assert_null(c.raw);
	credential_release(&c);
}

Test(credential, a_file_that_others_may_read_is_refused)
{
	static const uint8_t key[32] = "0123456789012345678901234567890";
	static const struct {
		mode_t mode;
		bool ok;
	} modes[] = {{0600, true}, {0400, true}, {0640, false}, {0604, false}, {0644, false},
		     {0620, true}};
	struct credential c;

	put_file(key, sizeof(key));
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		int rc = modes[i].ok ? 0 : -ERR_FORBIDDEN;

		cr_assert_eq(chmod(path, modes[i].mode), 0);
		cr_expect_eq(credential_from_key_file(path, &c), rc, "%o", modes[i].mode);
		credential_release(&c);
		cr_expect_eq(credential_from_passphrase_file(path, &c), rc, "%o", modes[i].mode);
		credential_release(&c);
	}
	/* But one that the service manager hands over: its ACL shows as the group's bits. */
	cr_assert_eq(chmod(path, 0440), 0);
	cr_expect_eq(credential_from_key_file(path, &c), -ERR_FORBIDDEN);
	cr_expect(strstr(err_detail(-ERR_FORBIDDEN), "chmod 600"));
	setenv("CREDENTIALS_DIRECTORY", folder, 1);
	cr_expect_eq(credential_from_key_file(path, &c), 0);
	credential_release(&c);
}

Test(credential, a_new_passphrase_is_not_a_letter)
{
	static const struct {
		const char *text;
		int rc;
	} list[] = {{"x", -EINVAL}, {"abc", -EINVAL}, {"abcd", 0}, {"\xc3\xb5\xc3\xa4\xc3\xb6", -EINVAL},
		    {"\xc3\xb5\xc3\xa4\xc3\xb6\xc3\xbc", 0}};
	struct credential c;

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		cr_assert_eq(credential_from_passphrase(list[i].text, strlen(list[i].text), &c), 0);
		cr_expect_eq(credential_check_new(&c), list[i].rc, "%s", list[i].text);
		credential_release(&c);
	}
}

Test(credential, passphrase_from_a_pipe)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(write(fds[1], "se", 2), 2);
	cr_assert_eq(write(fds[1], "cret\n", 5), 5);
	close(fds[1]);
	snprintf(path, sizeof(path), "/dev/fd/%d", fds[0]);
	expect_passphrase("secret");
	close(fds[0]);
}

Test(credential, key_file)
{
	uint8_t *big = calloc(1, CREDENTIAL_KEY_FILE_MAX + 1);
	struct credential c;

	put_file(big, CREDENTIAL_KEY_FILE_MIN - 1);
	cr_assert_eq(credential_from_key_file(path, &c), -EINVAL);
	put_file(big, CREDENTIAL_KEY_FILE_MAX + 1);
	cr_assert_eq(credential_from_key_file(path, &c), -EINVAL);
	put_file(big, CREDENTIAL_KEY_FILE_MIN);
	cr_assert_eq(credential_from_key_file(path, &c), 0);
	cr_assert_eq(c.len, CREDENTIAL_KEY_FILE_MIN);
	cr_assert_eq(c.kind, CREDENTIAL_KEY_FILE);
	credential_release(&c);
	big[CREDENTIAL_KEY_FILE_MAX - 1] = 9;
	put_file(big, CREDENTIAL_KEY_FILE_MAX);
	cr_assert_eq(credential_from_key_file(path, &c), 0);
	cr_assert_eq(memcmp(c.p, big, CREDENTIAL_KEY_FILE_MAX), 0);
	credential_release(&c);
	free(big);
}

Test(credential, find_takes_what_is_given)
{
	uint8_t key[32] = {0};
	struct credential c;

	put_file(key, sizeof(key));
	cr_assert_eq(credential_find(NULL, path, "", false, &c), 0);
	cr_assert_eq(c.kind, CREDENTIAL_KEY_FILE);
	credential_release(&c);
	cr_assert_eq(credential_find(path, path, "", false, &c), -EINVAL);

	put_file("from a file\n", 12);
	cr_assert_eq(credential_find(path, NULL, "", false, &c), 0);
	cr_assert_eq(c.kind, CREDENTIAL_PASSPHRASE);
	credential_release(&c);
	setenv("EMBASSY_PASSPHRASE_FILE", path, 1);
	cr_assert_eq(credential_find(NULL, NULL, "", false, &c), 0);
	cr_assert_eq(c.len, 11);
	credential_release(&c);
	/* An option outweighs the environment. */
	setenv("EMBASSY_PASSPHRASE_FILE", "/does/not/exist", 1);
	cr_assert_eq(credential_find(path, NULL, "", false, &c), 0);
	credential_release(&c);
	cr_assert_eq(credential_find(NULL, NULL, "", false, &c), -ENOENT);
}

/* In a session without a terminal, the error says what to give. */
Test(credential, find_without_a_terminal)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		struct credential c;
		int rc;

		setsid();
		rc = credential_find(NULL, NULL, "Passphrase: ", false, &c);
		_exit(rc == -EINVAL && strstr(err_detail(rc), "passphrase-file") ? 0 : 1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Read what the child prints on its terminal until it has printed ${text}, at most ten seconds. */
static void expect_output(int terminal, const char *text)
{
	char got[1024] = {0};
	size_t len = 0;

	while (!strstr(got, text)) {
		struct pollfd fd = {.fd = terminal, .events = POLLIN};
		ssize_t n;

		cr_assert_eq(poll(&fd, 1, 10000), 1, "never printed: %s", text);
		n = read(terminal, got + len, sizeof(got) - 1 - len);
		cr_assert_gt(n, 0, "never printed: %s", text);
		len += (size_t)n;
	}
	cr_assert_null(strstr(got, "sesame"), "the passphrase was echoed");
}

/* Ask on a fresh pseudo terminal in a child; it exits with 0 if told "sesame", else the error. */
static pid_t ask(bool confirm, int *out_terminal)
{
	pid_t child = forkpty(out_terminal, NULL, NULL, NULL);

	cr_assert_geq(child, 0);
	if (child == 0) {
		struct credential c;
		int rc = credential_from_terminal("Passphrase: ", confirm, &c);

		if (rc == 0)
			rc = c.len == 6 && memcmp(c.p, "sesame", 6) == 0 ? 0 : -99;
		_exit(-rc);
	}
	return child;
}

static int exit_status(pid_t child)
{
	int status;

	cr_assert_eq(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void type(int terminal, const char *text)
{
	cr_assert_eq(write(terminal, text, strlen(text)), (ssize_t)strlen(text));
}

Test(credential, terminal)
{
	int terminal;
	pid_t child = ask(false, &terminal);
	struct termios t;

	expect_output(terminal, "Passphrase: ");
	cr_assert_eq(tcgetattr(terminal, &t), 0);
	cr_assert_not(t.c_lflag & ECHO);
	type(terminal, "sesame\n");
	cr_assert_eq(exit_status(child), 0);
	close(terminal);
}

Test(credential, terminal_confirms)
{
	int terminal;
	pid_t child = ask(true, &terminal);

	expect_output(terminal, "Passphrase: ");
	type(terminal, "sesame\n");
	expect_output(terminal, "again: ");
	type(terminal, "sesame\n");
	cr_assert_eq(exit_status(child), 0);
	close(terminal);

	child = ask(true, &terminal);
	expect_output(terminal, "Passphrase: ");
	type(terminal, "sesame\n");
	expect_output(terminal, "again: ");
	type(terminal, "sesamy\n");
	cr_assert_eq(exit_status(child), EINVAL);
	close(terminal);
}

Test(credential, terminal_refuses_empty_and_overlong)
{
	char big[CREDENTIAL_PASSPHRASE_MAX + 3];
	int terminal;
	pid_t child = ask(false, &terminal);

	expect_output(terminal, "Passphrase: ");
	type(terminal, "\n");
	cr_assert_eq(exit_status(child), EINVAL);
	close(terminal);

	memset(big, 'x', sizeof(big) - 2);
	big[sizeof(big) - 2] = '\n';
	big[sizeof(big) - 1] = '\0';
	child = ask(false, &terminal);
	expect_output(terminal, "Passphrase: ");
	type(terminal, big);
	cr_assert_eq(exit_status(child), EINVAL);
	close(terminal);
}

/* Interrupted, the program dies of the signal, but not before echo is on again. */
Test(credential, terminal_is_restored_by_a_signal)
{
	int terminal, keep;
	pid_t child = ask(false, &terminal);
	char name[64];
	struct termios t;

	/* Held open, so that the terminal's settings outlive the child. */
	cr_assert_eq(ptsname_r(terminal, name, sizeof(name)), 0);
	keep = open(name, O_RDWR | O_NOCTTY);
	cr_assert_geq(keep, 0);
	expect_output(terminal, "Passphrase: ");
	type(terminal, "\x03");
	cr_assert_eq(exit_status(child), -SIGINT);
	cr_assert_eq(tcgetattr(keep, &t), 0);
	cr_assert(t.c_lflag & ECHO);
	close(keep);
	close(terminal);
}
