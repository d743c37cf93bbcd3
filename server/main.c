/*
 * embassyd: the block server's options, start and orderly end.
 *
 * Key idea: everything that can be wrong is found before the line "listening on" is printed, so
 * that a script which starts the server can wait for that line.  Signals are blocked in all threads
 * and taken here, one at a time.
 *
 * Invariant: plain text is never spoken to another machine: without --tls, the address must be
 * local and --insecure given.
 */

#include "accept.h"
#include "clock.h"
#include "err.h"
#include "listen.h"
#include "msg.h"
#include "process.h"
#include "rpc.h"
#include "secret.h"
#include "storage_folder.h"
#include "units.h"
#include "vault.h"
#include "when.h"
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define EXIT_USAGE 2
#define FILES_MIN 32u /* each open volume takes many descriptors, each connection one */
#define DAY_NS (86400 * NS_PER_S)
#define IDLE_NS (30 * NS_PER_S) /* a copy that nobody used for so long is closed */
#define TICK_S 5			    /* how often that is looked at */

struct options {
	const char *store, *listen, *tls_dir;
	bool insecure;
};

static const char usage[] =
	"usage: embassyd --store DIR --listen ADDRESS:PORT|unix:PATH [--tls DIR] [--insecure]\n"
	"\n"
	"Keeps copies of EmbassyFS volumes that it can neither read nor forge.\n"
	"\n"
	"  --store DIR     where the copies are kept; made where missing\n"
	"  --listen WHERE  address and port, or a Unix socket; port 0 takes any that is free\n"
	"  --tls DIR       folder with ca.pem, cert.pem and key.pem; clients need a certificate of "
	"that CA\n"
	"  --insecure      no TLS; on loopback and Unix sockets only\n"
	"  --help          this text\n"
	"  --version       the version\n"
	"\n"
	"SIGTERM and SIGINT end it in order.  SIGHUP checks the files of --tls; renewed ones are\n"
	"taken for each new connection without it.\n";

static int refuse(const char *text)
{
	msg_error("%s", text);
	return EXIT_USAGE;
}

/* Whether the options fit each other; 0 or an exit code. */
static int check_options(const struct options *o)
{
	int rc;

	if (!o->store)
		return refuse("--store: missing; give the folder for the copies, see --help");
	if (!o->listen)
		return refuse(
			"--listen: missing; give an address and port or unix:PATH, see --help");
	rc = listen_check(o->listen);
	if (rc < 0)
		return refuse(err_detail(rc));
	if (o->tls_dir && o->insecure)
		return refuse("--insecure: contradicts --tls; leave one of them out");
	if (!o->tls_dir && !o->insecure)
		return refuse(
			"--tls: missing; give a folder with ca.pem, cert.pem and key.pem, which "
			"'embassy tls' makes");
	if (!o->tls_dir && !listen_is_local(o->listen)) {
		msg_error("--insecure: refused on %s, which other machines may reach; use --tls, "
			  "or listen "
			  "on 127.0.0.1, [::1], localhost or unix:PATH",
			  o->listen);
		return EXIT_USAGE;
	}
	return 0;
}

/* Read the options; 0 to go on, else ${*out_exit} is the exit code. */
static int read_options(int argc, char **argv, struct options *o, int *out_exit)
{
	static const struct option list[] = {
		{"store", required_argument, NULL, 's'},
		{"listen", required_argument, NULL, 'l'},
		{"tls", required_argument, NULL, 't'},
		{"insecure", no_argument, NULL, 'i'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	int ch;

	*out_exit = 0;
	while ((ch = getopt_long(argc, argv, "", list, NULL)) != -1) {
		switch (ch) {
		case 's':
			o->store = optarg;
			break;
		case 'l':
			o->listen = optarg;
			break;
		case 't':
			o->tls_dir = optarg;
			break;
		case 'i':
			o->insecure = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return -ECANCELED;
		case 'v':
			puts("embassyd " EMBASSYFS_VERSION);
			return -ECANCELED;
		default:
			*out_exit = EXIT_USAGE;
			return -EINVAL;
		}
	}
	*out_exit = optind < argc ? refuse("too many arguments; see --help") : check_options(o);
	return *out_exit ? -EINVAL : 0;
}

/* Report whether new connections get what is in the TLS folder, and when that expires. */
static void tell_tls(const char *tls_dir)
{
	char text[1024], when[WHEN_TEXT_LEN];
	int64_t expiry_s;
	int rc;

	if (!tls_dir) {
		msg_info("SIGHUP: there are no certificates to read, since --tls was not given");
		return;
	}
	rc = wire_tls_check(tls_dir);
	if (rc == 0)
		rc = wire_tls_expiry(tls_dir, &expiry_s);
	if (rc < 0) {
		msg_event(MSG_ERROR, "certificate-refused",
			  "%s; the certificate that was read before stays in use", err_detail(rc));
		return;
	}
	if (wire_tls_warning(tls_dir, clock_wall_ns() / NS_PER_S, text, sizeof(text))) {
		msg_event(MSG_WARN, "certificate-expires", "%s", text);
		return;
	}
	when_format(expiry_s * NS_PER_S, when);
	msg_event(MSG_INFO, "certificate-read",
		  "%s: new connections get this certificate, which is good until %s", tls_dir,
		  when);
}

/* A certificate that is about to expire is told at the start and each day. */
static void warn_daily(const char *tls_dir, uint64_t *warned_ns)
{
	uint64_t now = clock_mono_ns();
	char text[1024];

	if (*warned_ns != 0 && now - *warned_ns < DAY_NS)
		return;
	*warned_ns = now;
	if (wire_tls_warning(tls_dir, clock_wall_ns() / NS_PER_S, text, sizeof(text)))
		msg_event(MSG_WARN, "certificate-expires", "%s", text);
}

/*
 * Each tick: renew leases, and close copies that nobody uses.  Their memory is given back to the
 * system explicitly, since wire_setup() has malloc keep it.
 */
static void rest(struct vault *vault)
{
	vault_renew(vault);
	if (vault_rest(vault, IDLE_NS) > 0)
		malloc_trim(0);
	msg_left_out();
}

/* Wait until a signal tells the server to end. */
static int wait_for_end(const struct options *o, struct vault *vault, const sigset_t *signals)
{
	const struct timespec tick = {.tv_sec = TICK_S};
	uint64_t warned_ns = 0;

	for (;;) {
		int rc;

		warn_daily(o->tls_dir, &warned_ns);
		do
			rc = sigtimedwait(signals, NULL, &tick);
		while (rc < 0 && errno == EINTR);
		if (rc == SIGTERM || rc == SIGINT)
			return 0;
		if (rc == SIGHUP)
			tell_tls(o->tls_dir);
		else if (rc < 0 && errno != EAGAIN)
			return -errno;
		rest(vault);
	}
}

/* Say that we are ready, and wait to be told to end. */
static int serve(const struct options *o, const struct rpc *rpc, struct vault *vault,
		 const sigset_t *signals)
{
	char *where = listen_format(o->listen, rpc_port(rpc));

	if (!where)
		return -ENOMEM;
	printf("embassyd: listening on %s\n", where);
	fflush(stdout);
	free(where);
	return wait_for_end(o, vault, signals);
}

static int run(const struct options *o, const sigset_t *signals)
{
	struct rpc_config cfg = {.listen = o->listen, .tls_dir = o->tls_dir};
	struct storage_pool *pool;
	struct vault *vault;
	struct rpc *rpc;
	int rc;

	rc = storage_folder_open(o->store, &pool);
	if (rc < 0)
		return rc;
	rc = vault_open(pool, &vault);
	if (rc < 0)
		return rc;
	cfg.vault = vault;
	grpc_init();
	rc = rpc_start(&cfg, &rpc);
	if (rc == 0) {
		rc = serve(o, rpc, vault, signals);
		rpc_stop(rpc);
	}
	/* Waits for gRPC's own threads. */
	grpc_shutdown_blocking();
	vault_close(vault);
	if (rc == 0)
		msg_event(MSG_NOTICE, "server-stopped", "%s: stopped in order", o->store);
	return rc;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	sigset_t signals;
	int rc, code;

	process_std_fds();
	msg_init("embassyd");
	if (read_options(argc, argv, &o, &code) < 0)
		return code;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	process_ignore_signals();
	umask(077);
	rc = process_raise_files(FILES_MIN, "a server");
	if (rc == 0) {
		accept_limit(0, 0);
		wire_setup();
		/*
		 * malloc_trim() gives back the end of the first arena only: so have no other
		 * arenas.
		 */
		mallopt(M_ARENA_MAX, 1);
		rc = secret_init();
	}
	if (rc == 0)
		rc = run(&o, &signals);
	if (rc < 0)
		msg_error("%s", err_detail(rc));
	return err_exit(rc);
}
