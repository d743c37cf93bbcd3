/*
 * Why a server cannot be reached.
 *
 * Key idea: repeat by hand what gRPC does to connect (resolve, connect, shake hands) and report the
 * first step that fails.  This runs only after a call has failed, and its result is only reported:
 * the connection is closed.
 *
 * With TLS 1.3 a server judges the client's certificate after the client thinks that the handshake
 * is over, so a refusal is found by reading once.
 */

#include "diagnose.h"

#include "clock.h"
#include "lookup.h"
#include "units.h"
#include "wire.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SLICE_MS 100	/* how often a stop is looked for */
#define VERDICT_MS 1000 /* how long a server may take to refuse our certificate */
#define HOST_MAX 256u

struct probe {
	const char *address, *tls_dir;
	const atomic_bool *stop;
	uint64_t end_ns;
	char host[HOST_MAX], port[8];
	int fd;
	char *out;
	size_t size;
};

/* Wait for ${events} until ${end_ns}.  Returns 1; or 0 after a time-out or a stop. */
static int wait_for(struct probe *p, short events, uint64_t end_ns)
{
	struct pollfd pfd = {.fd = p->fd, .events = events};

	while (!atomic_load(p->stop) && clock_mono_ns() < end_ns) {
		if (poll(&pfd, 1, SLICE_MS) > 0)
			return 1;
	}
	return 0;
}

static bool split(struct probe *p)
{
	const char *colon = strrchr(p->address, ':');
	const char *host = p->address;
	size_t len;

	if (!colon || strlen(colon + 1) >= sizeof(p->port))
		return false;
	len = (size_t)(colon - host);
	if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	}
	if (len == 0 || len >= sizeof(p->host))
		return false;
	memcpy(p->host, host, len);
	p->host[len] = '\0';
	strcpy(p->port, colon + 1);
	return true;
}

/* Connect p->fd, which is non-blocking.  Returns 0 or an errno. */
static int connect_to(struct probe *p, const struct sockaddr *sa, socklen_t len)
{
	socklen_t err_len = sizeof(int);
	int err = 0;

	if (connect(p->fd, sa, len) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	if (!wait_for(p, POLLOUT, p->end_ns))
		return ETIMEDOUT;
	(void)getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &err_len);
	return err;
}

static int open_unix(struct probe *p)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	if (strlen(p->address + 5) >= sizeof(sa.sun_path))
		return ENAMETOOLONG;
	strcpy(sa.sun_path, p->address + 5);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return p->fd < 0 ? errno : connect_to(p, (struct sockaddr *)&sa, sizeof(sa));
}

/* Connect to any of the host's addresses; the last address's failure is reported. */
static int open_inet(struct probe *p, const struct addrinfo *list)
{
	int err = EHOSTUNREACH;

	for (const struct addrinfo *a = list; a; a = a->ai_next) {
		p->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		err = p->fd < 0 ? errno : connect_to(p, a->ai_addr, a->ai_addrlen);
		if (err == 0)
			return 0;
		if (p->fd >= 0)
			close(p->fd);
		p->fd = -1;
	}
	return err;
}

static bool say_connect(struct probe *p, int err)
{
	const char *what = strerror(err);

	if (atomic_load(p->stop))
		return false;
	if (err == ECONNREFUSED || err == ENOENT)
		what = "no server listens there; start embassyd, or correct the address";
	else if (err == ETIMEDOUT)
		what = "it does not answer; is the address right, the machine up, the port open?";
	snprintf(p->out, p->size, "%s", what);
	return true;
}

/* The look-up gave no address.  Returns true if the cause could be told. */
static bool say_lookup(struct probe *p, int err, bool late)
{
	if (late && atomic_load(p->stop))
		return false;
	if (late)
		snprintf(p->out, p->size,
			 "the host %s was not found in time: its name server does not answer",
			 p->host);
	else
		snprintf(p->out, p->size, "the host %s is not known: %s", p->host,
			 gai_strerror(err));
	return true;
}

/* Open the connection.  True if that fails; ${*out_known}: the cause is known and has been told. */
static bool open_fails(struct probe *p, bool *out_known)
{
	struct addrinfo *list;
	bool late;
	int err;

	if (strncmp(p->address, "unix:", 5) == 0) {
		err = open_unix(p);
	} else if (!split(p)) {
		*out_known = false;
		return true;
	} else {
		err = lookup(p->host, p->port, p->stop, p->end_ns, &list, &late);
		if (err != 0) {
			*out_known = say_lookup(p, err, late);
			return true;
		}
		err = open_inet(p, list);
		freeaddrinfo(list);
	}
	if (err == 0)
		return false;
	*out_known = say_connect(p, err);
	return true;
}

/* ---- TLS ---- */

static bool has_expired(int64_t expiry_s)
{
	return expiry_s <= clock_wall_ns() / NS_PER_S;
}

static bool ca_expired(struct probe *p)
{
	int64_t expiry_s;

	if (wire_tls_ca_expiry(p->tls_dir, &expiry_s) < 0 || !has_expired(expiry_s))
		return false;
	snprintf(p->out, p->size,
		 "the authority in %s/ca.pem has expired, and with it the server's certificate; "
		 "make a new one with 'embassy tls' for both sides",
		 p->tls_dir);
	return true;
}

static bool say_verify(struct probe *p, long verdict)
{
	switch (verdict) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		if (ca_expired(p))
			return true;
		snprintf(p->out, p->size,
			 "the server's certificate has expired; renew it there (cert.pem in the "
			 "folder of embassyd --tls)");
		return true;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		snprintf(p->out, p->size,
			 "the server's certificate is not valid yet; compare the clocks here and "
			 "there");
		return true;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		snprintf(p->out, p->size,
			 "the server's certificate is not for %s; connect by a name that it lists, "
			 "or make one with 'embassy tls DIR --host %s'",
			 p->host, p->host);
		return true;
	default:
		snprintf(p->out, p->size,
			 "the server's certificate is not of the authority in %s/ca.pem (%s); both "
			 "sides need certificates of one authority",
			 p->tls_dir, X509_verify_cert_error_string(verdict));
		return true;
	}
}

/* gRPC servers end a connection without an alert, so find out whether our certificate expired. */
static bool say_expired(struct probe *p)
{
	int64_t expiry_s;

	if (wire_tls_expiry(p->tls_dir, &expiry_s) < 0 || !has_expired(expiry_s))
		return false;
	snprintf(p->out, p->size,
		 "the server refuses our certificate (%s/cert.pem), which has expired; put a "
		 "renewed one in its place",
		 p->tls_dir);
	return true;
}

static bool say_alert(struct probe *p)
{
	unsigned long e = ERR_peek_last_error();
	const char *what = ERR_reason_error_string(e);

	if (say_expired(p))
		return true;
	switch (ERR_GET_REASON(e)) {
	case SSL_R_UNEXPECTED_EOF_WHILE_READING:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
		snprintf(p->out, p->size,
			 "the server refuses our certificate (%s/cert.pem): it is not of the "
			 "server's authority, or not good by the server's clock; both sides need "
			 "certificates of one authority",
			 p->tls_dir);
		return true;
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_HTTP_REQUEST:
		snprintf(p->out, p->size,
			 "the server there speaks no TLS; leave out the folder of certificates, "
			 "or start it with --tls");
		return true;
	default:
		snprintf(p->out, p->size, "TLS fails: %s", what ? what : "for no reason given");
		return what;
	}
}

/*
 * Repeat one step of SSL until it is done or ${end_ns}.  Returns 1 when done; 0 after a time-out or
 * a stop; -1 on failure.
 */
static int step(struct probe *p, SSL *ssl, int (*fn)(SSL *ssl), uint64_t end_ns)
{
	for (;;) {
		int rc = fn(ssl);
		int err = SSL_get_error(ssl, rc);

		if (rc == 1)
			return 1;
		if (err != SSL_ERROR_WANT_READ && err != SSL_ERROR_WANT_WRITE)
			return -1;
		if (!wait_for(p, err == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, end_ns))
			return 0;
	}
}

static int read_once(SSL *ssl)
{
	char byte;

	return SSL_read(ssl, &byte, 1);
}

static int set_up(struct probe *p, SSL_CTX *ctx)
{
	char ca[4096], cert[4096], key[4096];

	if (!p->tls_dir)
		return 1; /* the question is only whether the server speaks TLS */
	snprintf(ca, sizeof(ca), "%s/ca.pem", p->tls_dir);
	snprintf(cert, sizeof(cert), "%s/cert.pem", p->tls_dir);
	snprintf(key, sizeof(key), "%s/key.pem", p->tls_dir);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return SSL_CTX_load_verify_locations(ctx, ca, NULL) == 1 &&
	       SSL_CTX_use_certificate_chain_file(ctx, cert) == 1 &&
	       SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1;
}

static int set_host(const struct probe *p, SSL *ssl)
{
	if (!p->tls_dir || p->host[0] == '\0')
		return 1;
	if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), p->host) == 1)
		return 1;
	return SSL_set1_host(ssl, p->host) == 1 && SSL_set_tlsext_host_name(ssl, p->host) == 1;
}

static bool shake_hands(struct probe *p, SSL *ssl)
{
	static const unsigned char h2[] = {2, 'h', '2'};
	uint64_t end_ns;
	long verdict;
	int rc;

	ERR_clear_error();
	if (set_host(p, ssl) != 1 || SSL_set_fd(ssl, p->fd) != 1 ||
	    SSL_set_alpn_protos(ssl, h2, sizeof(h2)) != 0)
		return false;
	rc = step(p, ssl, SSL_connect, p->end_ns);
	if (!p->tls_dir) {
		/* A server that answers the hello, if only to ask for a certificate, speaks TLS. */
		if (SSL_version(ssl) == 0 || !SSL_get0_peer_certificate(ssl))
			return false;
		snprintf(p->out, p->size,
			 "the server there speaks TLS only; give the folder with our certificate "
			 "(-o tls=DIR of embassyfs, --tls DIR of embassy)");
		return true;
	}
	verdict = SSL_get_verify_result(ssl);
	if (rc < 0)
		return verdict == X509_V_OK ? say_alert(p) : say_verify(p, verdict);
	if (rc == 0) {
		snprintf(p->out, p->size,
			 "the server took the connection and does not answer; it may be frozen or "
			 "overloaded");
		return !atomic_load(p->stop);
	}
	end_ns = clock_mono_ns() + VERDICT_MS * NS_PER_MS;
	rc = step(p, ssl, read_once, end_ns < p->end_ns ? end_ns : p->end_ns);
	return rc < 0 && ERR_peek_last_error() != 0 && say_alert(p);
}

bool diagnose(const char *address, const char *tls_dir, const atomic_bool *stop, char *out,
	      size_t size)
{
	struct probe p = {.address = address,
			  .tls_dir = tls_dir,
			  .stop = stop,
			  .end_ns = clock_mono_ns() + DIAGNOSE_MS * NS_PER_MS,
			  .fd = -1,
			  .out = out,
			  .size = size};
	bool known = false;
	SSL_CTX *ctx;
	SSL *ssl;

	out[0] = '\0';
	if (open_fails(&p, &known)) {
		if (p.fd >= 0)
			close(p.fd);
		return known;
	}
	ctx = SSL_CTX_new(TLS_client_method());
	ssl = ctx && set_up(&p, ctx) == 1 ? SSL_new(ctx) : NULL;
	if (ssl)
		known = shake_hands(&p, ssl);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	ERR_clear_error();
	close(p.fd);
	return known;
}
