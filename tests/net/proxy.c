/*
 * A TCP proxy that is as bad as networks are.
 *
 *	proxy LISTEN-PORT TO-PORT
 *
 * Both on 127.0.0.1; port 0 takes a free one.  Prints "listening PORT", then obeys lines on
 * standard input, and answers each with "ok" or a figure:
 *
 *	delay MS	what comes in goes out that much later, either way
 *	rate BYTES	a second, each way; 0: no limit
 *	stall, go	keep connections but pass nothing on; pass on again
 *	slow		read from the server a byte at a time, ten times a second; until "go"
 *	reset		break all connections with RST
 *	reset-after N	the same in the middle of whatever is under way, N bytes from now
 *	half-open	forget all connections without telling either end
 *	refuse, accept	stop listening; listen again
 *	duplicate	send the first bytes of the newest connection again, on a second one
 *	bytes		how many were passed on to the server
 *	end
 *
 * One thread, one poll() loop.  What is on its way lies in a queue for each direction, each piece
 * with the time at which it goes out.  A queue holds at most QUEUE_MAX bytes; when it is full the
 * proxy stops reading, as a network does.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define PIECE_MAX (64u << 10)
#define QUEUE_MAX (64u << 20)
#define FIRST_MAX (64u << 10) /* bytes kept of a connection's begin, to be sent again */
#define NS_PER_S UINT64_C(1000000000)

struct piece {
	struct piece *next;
	uint64_t due_ns;
	size_t len, sent;
	uint8_t bytes[];
};

struct way {
	int from, to;
	struct piece *head, **tail;
	size_t queued;
	uint64_t free_ns; /* when the link has sent all that was given to it */
	bool ended;	  /* no more will come */
	bool shut;
};

struct connection {
	struct way up, down; /* to the server, and from it */
	uint8_t *first;
	size_t n_first;
};

static struct connection *connections[CONNECTIONS_MAX];
static int listener = -1;
static uint16_t listen_port, to_port;
static uint64_t delay_ns, rate, reset_after = UINT64_MAX, passed_up;
static bool stalled, slow;

static void die(const char *what)
{
	fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void start_listening(void)
{
	struct sockaddr_in a = loopback(listen_port);
	socklen_t len = sizeof(a);
	int on = 1;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener < 0)
		die("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&a, len) < 0 || listen(listener, 64) < 0 ||
	    getsockname(listener, (struct sockaddr *)&a, &len) < 0)
		die("listen");
	listen_port = ntohs(a.sin_port);
}

static int connect_to_server(void)
{
	struct sockaddr_in a = loopback(to_port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		die("socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void way_init(struct way *w, int from, int to)
{
	*w = (struct way){.from = from, .to = to};
	w->tail = &w->head;
}

static void way_release(struct way *w)
{
	while (w->head) {
		struct piece *p = w->head;

		w->head = p->next;
		free(p);
	}
}

/* How an end is told: with FIN, with RST, or not at all. */
enum farewell { FIN, RST, SILENCE };

static void drop(int i, enum farewell how)
{
	struct connection *c = connections[i];
	struct linger hard = {.l_onoff = 1};
	int fds[2] = {c->up.from, c->up.to};

	for (int j = 0; j < 2; j++) {
		if (how == RST)
			setsockopt(fds[j], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		/*
		 * A socket that nobody reads or closes looks to its peer like a host that is gone.
		 */
		if (how != SILENCE)
			close(fds[j]);
	}
	way_release(&c->up);
	way_release(&c->down);
	free(c->first);
	free(c);
	connections[i] = NULL;
}

static void drop_all(enum farewell how)
{
	for (int i = 0; i < CONNECTIONS_MAX; i++)
		if (connections[i])
			drop(i, how);
}

static bool add_connection(int client, int server)
{
	for (int i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *c;

		if (connections[i])
			continue;
		c = calloc(1, sizeof(*c));
		if (!c || !(c->first = malloc(FIRST_MAX)))
			die("memory");
		way_init(&c->up, client, server);
		way_init(&c->down, server, client);
		connections[i] = c;
		return true;
	}
	return false;
}

static void accept_one(void)
{
	int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1, server;

	if (client < 0)
		return;
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	server = connect_to_server();
	if (server < 0 || !add_connection(client, server)) {
		close(client);
		if (server >= 0)
			close(server);
	}
}

/* False: the other end is gone. */
static bool take_in(struct connection *c, struct way *w, uint64_t now)
{
	size_t want = slow && w == &c->down ? 1 : PIECE_MAX;
	struct piece *p = malloc(sizeof(*p) + want);
	ssize_t n;

	if (!p)
		die("memory");
	n = recv(w->from, p->bytes, want, 0);
	if (n <= 0) {
		free(p);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		w->ended = true;
		return true;
	}
	if (w == &c->up && c->n_first < FIRST_MAX) {
		size_t keep = FIRST_MAX - c->n_first;

		keep = (size_t)n < keep ? (size_t)n : keep;
		memcpy(c->first + c->n_first, p->bytes, keep);
		c->n_first += keep;
	}
	p->next = NULL;
	p->len = (size_t)n;
	p->sent = 0;
	if (w->free_ns < now)
		w->free_ns = now;
	if (rate)
		w->free_ns += p->len * NS_PER_S / rate;
	p->due_ns = w->free_ns + delay_ns;
	*w->tail = p;
	w->tail = &p->next;
	w->queued += p->len;
	return true;
}

/* False: the other end is gone, or a reset was due. */
static bool send_out(struct connection *c, struct way *w, uint64_t now)
{
	while (w->head && w->head->due_ns <= now) {
		struct piece *p = w->head;
		size_t len = p->len - p->sent;
		ssize_t n;

		if (w == &c->up && len > reset_after)
			len = (size_t)reset_after;
		n = len ? send(w->to, p->bytes + p->sent, len, MSG_NOSIGNAL) : 0;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (w == &c->up) {
			passed_up += (uint64_t)n;
			if (reset_after != UINT64_MAX && (reset_after -= (uint64_t)n) == 0)
				return false;
		}
		p->sent += (size_t)n;
		if (p->sent < p->len)
			return true;
		w->queued -= p->len;
		w->head = p->next;
		if (!w->head)
			w->tail = &w->head;
		free(p);
	}
	if (w->ended && !w->head && !w->shut) {
		shutdown(w->to, SHUT_WR);
		w->shut = true;
	}
	return true;
}

static void duplicate_newest(void)
{
	for (int i = CONNECTIONS_MAX - 1; i >= 0; i--) {
		struct connection *c = connections[i];
		int fd;

		if (!c || c->n_first == 0)
			continue;
		fd = connect_to_server();
		/* Nobody reads what the server says to it. */
		if (fd >= 0 && send(fd, c->first, c->n_first, MSG_NOSIGNAL) < 0)
			close(fd);
		return;
	}
}

/* False at the end. */
static bool obey(char *line)
{
	char *arg = strchr(line, ' ');
	uint64_t n = arg ? strtoull(arg + 1, NULL, 10) : 0;

	if (arg)
		*arg = '\0';
	if (strcmp(line, "end") == 0)
		return false;
	if (strcmp(line, "delay") == 0)
		delay_ns = n * 1000000;
	else if (strcmp(line, "rate") == 0)
		rate = n;
	else if (strcmp(line, "stall") == 0)
		stalled = true;
	else if (strcmp(line, "slow") == 0)
		slow = true;
	else if (strcmp(line, "go") == 0)
		stalled = slow = false;
	else if (strcmp(line, "reset") == 0)
		drop_all(RST);
	else if (strcmp(line, "reset-after") == 0)
		reset_after = n;
	else if (strcmp(line, "half-open") == 0)
		drop_all(SILENCE);
	else if (strcmp(line, "refuse") == 0 && listener >= 0) {
		close(listener);
		listener = -1;
	} else if (strcmp(line, "accept") == 0 && listener < 0)
		start_listening();
	else if (strcmp(line, "duplicate") == 0)
		duplicate_newest();
	else if (strcmp(line, "bytes") == 0) {
		printf("%llu\n", (unsigned long long)passed_up);
		return true;
	} else {
		printf("what is '%s'?\n", line);
		return true;
	}
	puts("ok");
	return true;
}

/* What arrived on standard input; false at the end. */
static bool obey_input(void)
{
	static char buf[4096];
	static size_t len;
	ssize_t n = read(0, buf + len, sizeof(buf) - 1 - len);
	char *line = buf, *end;

	if (n <= 0)
		return false;
	len += (size_t)n;
	buf[len] = '\0';
	while ((end = strchr(line, '\n'))) {
		*end = '\0';
		if (!obey(line))
			return false;
		line = end + 1;
	}
	fflush(stdout);
	len -= (size_t)(line - buf);
	memmove(buf, line, len);
	return true;
}

static bool wants_input(const struct way *w)
{
	return !stalled && !w->ended && w->queued < QUEUE_MAX;
}

static int wait_ms(uint64_t now)
{
	uint64_t soonest = now + NS_PER_S / 2;

	for (int i = 0; i < CONNECTIONS_MAX && !stalled; i++) {
		struct connection *c = connections[i];

		if (c && c->up.head && c->up.head->due_ns < soonest)
			soonest = c->up.head->due_ns;
		if (c && c->down.head && c->down.head->due_ns < soonest)
			soonest = c->down.head->due_ns;
	}
	if (slow)
		soonest = now + NS_PER_S / 10;
	return soonest <= now ? 1 : (int)((soonest - now + 999999) / 1000000);
}

static void serve_connection(int i, const struct pollfd *up, const struct pollfd *down)
{
	struct connection *c = connections[i];
	uint64_t now = now_ns();
	bool fine = true;

	if (stalled)
		return;
	if ((up->revents & (POLLIN | POLLHUP | POLLERR)) && wants_input(&c->up))
		fine = take_in(c, &c->up, now);
	if (fine && (down->revents & (POLLIN | POLLHUP | POLLERR)) && wants_input(&c->down))
		fine = take_in(c, &c->down, now);
	fine = fine && send_out(c, &c->up, now) && send_out(c, &c->down, now);
	if (!fine) {
		reset_after = reset_after == 0 ? UINT64_MAX : reset_after;
		drop(i, RST);
	} else if (c->up.shut && c->down.shut) {
		drop(i, FIN);
	}
}

static bool ready(const struct way *w, uint64_t now)
{
	return !stalled && w->head && w->head->due_ns <= now;
}

static bool run_once(void)
{
	struct pollfd p[2 + 2 * CONNECTIONS_MAX];
	int wait;
	uint64_t now = now_ns();

	p[0] = (struct pollfd){.fd = 0, .events = POLLIN};
	p[1] = (struct pollfd){.fd = listener, .events = POLLIN};
	for (int i = 0; i < CONNECTIONS_MAX; i++) {
		struct connection *c = connections[i];
		struct pollfd *q = &p[2 + 2 * i];

		q[0] = q[1] = (struct pollfd){.fd = -1};
		if (!c || stalled)
			continue;
		q[0].fd = c->up.from;
		q[1].fd = c->down.from;
		q[0].events = (short)((wants_input(&c->up) ? POLLIN : 0) |
				      (ready(&c->down, now) ? POLLOUT : 0));
		q[1].events = (short)((wants_input(&c->down) && !slow ? POLLIN : 0) |
				      (ready(&c->up, now) ? POLLOUT : 0));
		if (q[0].events == 0)
			q[0].fd = -1;
		if (q[1].events == 0)
			q[1].fd = -1;
	}
	wait = wait_ms(now);
	if (poll(p, 2 + 2 * CONNECTIONS_MAX, wait) < 0 && errno != EINTR)
		die("poll");
	if ((p[0].revents & (POLLIN | POLLHUP)) && !obey_input())
		return false;
	if (listener >= 0 && (p[1].revents & POLLIN))
		accept_one();
	for (int i = 0; i < CONNECTIONS_MAX; i++) {
		if (slow)
			p[3 + 2 * i].revents = POLLIN;
		if (connections[i])
			serve_connection(i, &p[2 + 2 * i], &p[3 + 2 * i]);
	}
	return true;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: proxy LISTEN-PORT TO-PORT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	listen_port = (uint16_t)atoi(argv[1]);
	to_port = (uint16_t)atoi(argv[2]);
	start_listening();
	printf("listening %u\n", listen_port);
	fflush(stdout);
	while (run_once())
		;
	drop_all(FIN);
	return 0;
}
