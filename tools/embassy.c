/*
 * embassy: the administrator's command.  Finds the command named first and calls it.
 */

#include "cmd.h"

#include "err.h"
#include "msg.h"
#include "process.h"
#include "secret.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

static const struct command *const commands[] = {
	&cmd_init,	&cmd_status, &cmd_drain, &cmd_snapshot, &cmd_hold, &cmd_release,
	&cmd_snapshots, &cmd_heads,  &cmd_check, &cmd_keys,	&cmd_tls,  &cmd_upgrade,
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	}
	return NULL;
}

static void print_help(void)
{
	printf("usage: embassy COMMAND [ARGUMENT]...\n\n"
	       "Administers EmbassyFS volumes.  Commands:\n\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	printf("  %-10s %s\n  %-10s %s\n\n", "help", "tell about a command: embassy help COMMAND",
	       "version", "print the version");
	printf("To mount a volume, see embassyfs(1); to run a block server, embassyd(8).\n");
}

static int unknown(const char *name)
{
	msg_error("%s: no such command; see 'embassy help'", name);
	return EXIT_USAGE;
}

static int help(int argc, char **argv)
{
	const struct command *cmd;

	if (argc < 2) {
		print_help();
		return 0;
	}
	cmd = find(argv[1]);
	if (!cmd)
		return unknown(argv[1]);
	printf("%s", cmd->help);
	return 0;
}

static int run(int argc, char **argv)
{
	const struct rlimit none = {0, 0};
	const struct command *cmd;
	const char *name;
	int rc;

	/* Keys must not be written to a core file. */
	setrlimit(RLIMIT_CORE, &none);
	rc = secret_init();
	if (rc < 0)
		return cmd_fail(rc, "libsodium");
	if (argc < 2) {
		print_help();
		return EXIT_USAGE;
	}
	name = argv[1];
	if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return help(argc - 1, argv + 1);
	if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0 ||
	    strcmp(name, "-V") == 0) {
		printf("embassy %s\n", EMBASSYFS_VERSION);
		return 0;
	}
	cmd = find(name);
	if (!cmd)
		return unknown(name);
	return cmd->run(cmd, argc - 1, argv + 1);
}

/*
 * Whoever takes what is printed for all there is must be told if some of it did not get there.
 */
int main(int argc, char **argv)
{
	int code, rc;

	process_std_fds();
	msg_init("embassy");
	/* What is made can be used by who makes it, whatever else is taken from everybody. */
	umask(umask(0) & 077);
	/* Let a write beyond RLIMIT_FSIZE fail, so that it is reported and what was begun is undone. */
	signal(SIGXFSZ, SIG_IGN);
	code = run(argc, argv);
	rc = cmd_flush();
	return rc < 0 && code == 0 ? cmd_fail(rc, "standard output") : code;
}
