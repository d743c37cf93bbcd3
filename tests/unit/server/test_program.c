/* The program embassyd: options, exit codes, TLS, Unix sockets. */

#include "rpc_fixture.h"

#include "params.h"

#include <criterion/criterion.h>

#include <grpc/grpc.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(program, .init = fix_set_up, .fini = fix_tear_down, .timeout = 300);

static void make(const char *command)
{
	char script[4096], err[2000];
	char *argv[] = {"sh", "-ec", script, NULL};

	snprintf(script, sizeof(script), "cd '%s'; %s", dir, command);
	cr_assert_eq(child_run(argv, err, sizeof(err)), 0, "%s", err);
}

#define MAKE_CA(name)                                                                              \
	"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj " \
	"/CN=ca"                                                                                   \
	" -keyout " name ".key -out " name ".pem; "
#define MAKE_CERT(ca, name, subject)                                                               \
	"mkdir " name "; cp " ca ".pem " name "/ca.pem; "                                          \
	"openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '" subject "'"  \
	" -addext subjectAltName=DNS:localhost,IP:127.0.0.1"                                       \
	" -keyout " name "/key.pem -out " name "/req.pem; "                                        \
	"printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' > " name "/ext; "                   \
	"openssl x509 -req -in " name "/req.pem -CA " ca ".pem -CAkey " ca ".key -CAcreateserial"  \
	" -days 2 -extfile " name "/ext -out " name "/cert.pem; "

/* A plain connection from 127.0.0.${host}; -1: refused. */
static int connect_from(const struct child *c, unsigned host)
{
	struct sockaddr_in from = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(0x7f000000u | host)};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)atoi(strrchr(c->address, ':') + 1))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	close(fd);
	return -1;
}

Test(program, tls)
{
	struct client home, mount, stranger, plain;
	struct client_call call;
	struct pollfd silent = {.events = POLLRDHUP};
	struct child tls;

	make(MAKE_CA("ca") MAKE_CA("other") MAKE_CERT("ca", "server", "/CN=server")
		     MAKE_CERT("ca", "home", "/CN=home") MAKE_CERT("ca", "mount", "/O=none")
			     MAKE_CERT("other", "stranger", "/CN=home"));
	/* The stranger trusts the server's CA, but is not of it. */
	make("cp ca.pem stranger/ca.pem");
	cr_assert(child_start(&tls, fix_path("tls-store"), "127.0.0.1:0", fix_path("server")));
	silent.fd = connect_from(&tls, 1);
	client_init(&home, tls.address, fix_path("home"), NULL);
	client_init(&mount, tls.address, fix_path("mount"), NULL);
	client_init(&stranger, tls.address, fix_path("stranger"), NULL);
	client_init(&plain, tls.address, NULL, NULL);

	cr_assert_eq(fix_put(&home, 1, 1, &call), GRPC_STATUS_OK, "%s", call.text);
	synth_grow(&log_, 2 << 20);
	fix_append_rest(&home);
	/* A certificate of the same CA reads, and may do nothing else. */
	fix_expect_log(&mount, log_.end);
	cr_expect_eq(fix_put(&mount, 2, 1, &call), GRPC_STATUS_PERMISSION_DENIED);
	fix_begin(&mount, &call, log_.end, 1);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_PERMISSION_DENIED);
	/*
	 * Without one of that CA nothing is answered; the calls wait for a connection, so do not
	 * let them.
	 */
	grpc_channel_check_connectivity_state(stranger.channel, 1);
	grpc_channel_check_connectivity_state(plain.channel, 1);
	for (unsigned i = 0; i < 2; i++) {
		struct client *c = i ? &plain : &stranger;
		grpc_connectivity_state state = GRPC_CHANNEL_IDLE;
		int tag;

		while (state != GRPC_CHANNEL_TRANSIENT_FAILURE) {
			cr_assert_neq(state, GRPC_CHANNEL_READY);
			grpc_channel_watch_connectivity_state(
				c->channel, state, gpr_inf_future(GPR_CLOCK_REALTIME), c->cq, &tag);
			grpc_completion_queue_pluck(c->cq, &tag, gpr_inf_future(GPR_CLOCK_REALTIME),
						    NULL);
			state = grpc_channel_check_connectivity_state(c->channel, 1);
		}
	}
	/* A connection without a handshake is not kept; gRPC would for 120 s. */
	cr_expect_eq(poll(&silent, 1, 100000), 1);
	close(silent.fd);
	client_release(&home);
	client_release(&mount);
	client_release(&stranger);
	client_release(&plain);
	cr_expect_eq(child_end(&tls, SIGTERM), 0);
}

Test(program, a_unix_socket)
{
	struct child second;
	struct client c;
	struct client_call call;
	char address[300];

	snprintf(address, sizeof(address), "unix:%s/sock", dir);
	cr_assert(child_start(&second, fix_path("second"), address, NULL));
	cr_expect_str_eq(second.address, address);
	client_init(&c, address, NULL, NULL);
	cr_expect_eq(fix_put(&c, 1, 1, &call), GRPC_STATUS_OK, "%s", call.text);
	client_release(&c);
	cr_expect_eq(child_end(&second, SIGINT), 0);
}

/* Whether the server speaks HTTP/2 with it; false: it has closed it. */
static bool is_served(int fd)
{
	static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	char answer[9];

	return send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(hello) - 1 &&
	       recv(fd, answer, sizeof(answer), MSG_WAITALL) == (ssize_t)sizeof(answer);
}

#define FLOOD 600u

/* Whoever opens connections, and does nothing with them, gets half of what there is. */
Test(program, a_flood_of_connections_leaves_room)
{
	static int flood[FLOOD];
	unsigned n_served = 0;
	struct rlimit limit;
	int fd;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (unsigned i = 0; i < FLOOD; i++)
		flood[i] = connect_from(&server, 1);
	fd = connect_from(&server, 2);
	cr_expect(is_served(fd));
	close(fd);
	for (unsigned i = 0; i < FLOOD; i++) {
		n_served += is_served(flood[i]);
		close(flood[i]);
	}
	/* The fixture's own client has some of them. */
	cr_expect_leq(n_served, 512);
	cr_expect_geq(n_served, 500);
}

static unsigned n_descriptors(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	cr_assert(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* gRPC stops listening once accept4() fails; so it must not. */
Test(program, it_listens_again_after_descriptors_ran_out)
{
	static int flood[100];
	struct client_call call;
	struct rlimit limit, few;
	int fd;

	cr_assert_eq(fix_put(&client, 1, 1, &call), GRPC_STATUS_OK, "%s", call.text);
	cr_assert_eq(prlimit(server.pid, RLIMIT_NOFILE, NULL, &limit), 0);
	few = limit;
	few.rlim_cur = n_descriptors(server.pid) + 8;
	cr_assert_eq(prlimit(server.pid, RLIMIT_NOFILE, &few, NULL), 0);
	for (unsigned i = 0; i < 100; i++)
		flood[i] = connect_from(&server, 1);
	/* The last one was taken in its turn: it is closed. */
	cr_expect_not(is_served(flood[99]));
	cr_assert_eq(prlimit(server.pid, RLIMIT_NOFILE, &limit, NULL), 0);
	for (unsigned i = 0; i < 100; i++)
		close(flood[i]);
	fd = connect_from(&server, 1);
	cr_expect(is_served(fd));
	close(fd);
}

/* Whether what ${c} has written into its log since the last call has a line of this id. */
static bool told(const struct child *c, const char *level_and_id)
{
	static char text[65536];
	size_t len = 0;
	ssize_t n;

	cr_assert_eq(fcntl(c->err, F_SETFL, O_NONBLOCK), 0);
	while ((n = read(c->err, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return strstr(text, level_and_id);
}

/* A CA that is half written is told, and passed over, like any other of the files. */
Test(program, half_of_a_ca_is_not_taken)
{
	struct client_call call;
	struct client home;
	struct child tls;
	char err[2000];
	char *argv[] = {EMBASSYD, "--store", dir, "--listen", "127.0.0.1:0", "--tls", NULL, NULL};

	make(MAKE_CA("ca") MAKE_CERT("ca", "server", "/CN=server")
		     MAKE_CERT("ca", "home", "/CN=home"));
	cr_assert(child_start(&tls, fix_path("tls-store"), "127.0.0.1:0", fix_path("server")));
	make("cat ca.pem ca.pem | head -n -4 > server/ca.pem");
	client_init(&home, tls.address, fix_path("home"), NULL);
	cr_expect_eq(fix_put(&home, 1, 1, &call), GRPC_STATUS_OK, "%s", call.text);
	cr_expect(told(&tls, "[certificate-refused]"));
	client_release(&home);
	cr_expect_eq(child_end(&tls, SIGTERM), 0);
	/* And a server does not begin with it. */
	argv[6] = (char *)fix_path("server");
	cr_expect_eq(child_run(argv, err, sizeof(err)), 1, "%s", err);
	cr_expect(strstr(err, "ca.pem: it holds no certificate"), "%s", err);
}

static void lengthen(const char *path)
{
	static const char zeros[100];
	int fd = open(path, O_WRONLY | O_APPEND);

	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(write(fd, zeros, sizeof(zeros)), (ssize_t)sizeof(zeros));
	close(fd);
}

/* Each is written before the client hears of it. */
Test(program, what_happens_is_told_in_the_log)
{
	char id[VOLUME_ID_TEXT_LEN], path[100];
	struct client_call call;
	struct child second;
	struct client c;

	cr_assert(child_start(&second, fix_path("second"), "127.0.0.1:0", NULL));
	client_init(&c, second.address, NULL, NULL);
	fix_begin(&c, &call, 0, 0);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_NOT_FOUND);
	cr_expect(told(&second, "no such volume; its home creates it when it first connects "
				"[stream-refused]\n"));
	cr_expect_eq(fix_put(&c, 1, 1, &call), GRPC_STATUS_OK);
	cr_expect(told(&second, " [volume-opened]\n"));
	cr_expect_eq(fix_put(&c, 2, 2, &call), GRPC_STATUS_OK);
	cr_expect(told(&second, "serial 2 now, it had 1 [conf-replaced]\n"));
	cr_expect_eq(fix_put(&c, 1, 1, &call), GRPC_STATUS_FAILED_PRECONDITION);
	cr_expect(told(&second, "local: PutVolume: volume.conf: its serial 1 is not higher"));

	log_.epoch = 2;
	synth_grow(&log_, 1 << 20);
	fix_append_rest(&c);
	/* That stream ended before the next call is answered. */
	fix_begin(&c, &call, 1, 0);
	cr_expect_null(client_receive(&call));
	cr_expect_eq(client_finish(&call), GRPC_STATUS_FAILED_PRECONDITION);
	cr_expect(told(&second, " [stream-refused]\n"));
	client_release(&c);
	cr_expect_eq(child_end(&second, SIGTERM), 0);

	/* As a crash leaves a page that was being filled. */
	volume_id_format(log_.id, id);
	snprintf(path, sizeof(path), "second/%s/log/0000000000000000.seg", id);
	lengthen(fix_path(path));
	cr_assert(child_start(&second, fix_path("second"), "127.0.0.1:0", NULL));
	client_init(&c, second.address, NULL, NULL);
	cr_expect_eq(fix_get_end(&c), log_.end);
	cr_expect(told(&second,
		       "0 heads that its catalog did not have were taken in, and 100 bytes "
		       "that no head covers cut off [volume-recovered]\n"));
	client_release(&c);
	cr_expect_eq(child_end(&second, SIGTERM), 0);
}

/* Run embassyd with these arguments; its exit code. */
static int run(char *err, size_t len, const char *a, const char *b, const char *c, const char *d,
	       const char *e, const char *f)
{
	char *argv[] = {EMBASSYD,  (char *)a, (char *)b, (char *)c,
			(char *)d, (char *)e, (char *)f, NULL};

	return child_run(argv, err, len);
}

Test(program, command_line)
{
	static const char *const far_away[] = {"0.0.0.0:0", "[::]:0", "192.0.2.1:1",
					       "example.org:1", "128.0.0.1:0"};
	const char *second = fix_path("second");
	char err[2000];

	for (size_t i = 0; i < sizeof(far_away) / sizeof(far_away[0]); i++) {
		cr_expect_eq(run(err, sizeof(err), "--store", second, "--listen", far_away[i],
				 "--insecure", NULL),
			     2);
		cr_expect(strstr(err, "--insecure: refused on"), "%s", err);
	}
	cr_expect_eq(
		run(err, sizeof(err), "--store", second, "--listen", "127.0.0.1:0", NULL, NULL), 2);
	cr_expect(strstr(err, "embassyd: --tls: missing"), "%s", err);
	cr_expect_eq(
		run(err, sizeof(err), "--listen", "127.0.0.1:0", "--insecure", NULL, NULL, NULL),
		2);
	cr_expect_eq(run(err, sizeof(err), "--store", second, "--insecure", NULL, NULL, NULL), 2);
	cr_expect_eq(run(err, sizeof(err), "--store", second, "--listen", "nonsense", "--insecure",
			 NULL),
		     2);
	cr_expect_eq(run(err, sizeof(err), "--nonsense", NULL, NULL, NULL, NULL, NULL), 2);
	cr_expect_eq(run(err, sizeof(err), "--help", NULL, NULL, NULL, NULL, NULL), 0);
	cr_expect_eq(run(err, sizeof(err), "--version", NULL, NULL, NULL, NULL, NULL), 0);
	/* A store that is in use, an address that is in use, and TLS files that are not there. */
	cr_expect_eq(run(err, sizeof(err), "--store", store, "--listen", "127.0.0.1:0",
			 "--insecure", NULL),
		     11);
	cr_expect(strstr(err, store), "%s", err);
	cr_expect_eq(run(err, sizeof(err), "--store", second, "--listen", server.address,
			 "--insecure", NULL),
		     1);
	cr_expect(strstr(err, "another program listens there"), "%s", err);
	cr_expect_neq(run(err, sizeof(err), "--store", second, "--listen", "127.0.0.1:0", "--tls",
			  fix_path("nowhere")),
		      0);
	cr_expect(strstr(err, "ca.pem"), "%s", err);
}
