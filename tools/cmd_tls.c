/*
 * embassy tls: a first certificate authority with its certificates.
 *
 * There are three ends: the server, the home (which writes) and an embassy's mount (which reads).
 * Each gets a folder with ca.pem, cert.pem and key.pem, as embassyd --tls and embassyfs -o tls=
 * expect. ca.key signs further certificates and should be kept away from all three.
 */

#include "cmd.h"

#include "err.h"
#include "file.h"
#include "secret.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOSTS_MAX 64u
#define CA_DAYS 3652L
#define CERT_DAYS 730L
#define SERIAL_LEN 16u
#define SAN_LEN (HOSTS_MAX * 258u + 64u) /* ",DNS:" and 253 bytes for each */
#define SECONDS_PER_DAY 86400L

enum { OPT_HOST = 1 };

struct tls {
	const char *dir;
	int fd; /* of the folder ${dir} */
	const char *hosts[HOSTS_MAX];
	size_t n_hosts;
	EVP_PKEY *ca_key;
	X509 *ca;
};

static int crypto_failed(const char *what)
{
	char text[256];

	ERR_error_string_n(ERR_get_error(), text, sizeof(text));
	return err_say(-EIO, "libcrypto: %s: %s", what, text);
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	int ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	if (!ext)
		return crypto_failed(value);
	ok = X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok ? 0 : crypto_failed(value);
}

static bool set_serial(X509 *cert)
{
	unsigned char bytes[SERIAL_LEN];
	BIGNUM *n;
	bool ok;

	random_bytes(bytes, sizeof(bytes));
	bytes[0] = (bytes[0] & 0x7f) | 1;
	n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
	BN_free(n);
	return ok;
}

/* A certificate with names, key and times, but no extensions and no signature. */
static int new_cert(const char *name, EVP_PKEY *key, const X509 *issuer, long days, X509 **out)
{
	X509 *cert = X509_new();
	X509_NAME *subject;

	if (!cert)
		return -ENOMEM;
	subject = X509_get_subject_name(cert);
	if (!X509_set_version(cert, X509_VERSION_3) || !set_serial(cert) ||
	    !X509_gmtime_adj(X509_getm_notBefore(cert), -3600) ||
	    !X509_gmtime_adj(X509_getm_notAfter(cert), days * SECONDS_PER_DAY) ||
	    !X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8,
					(const unsigned char *)"EmbassyFS", -1, -1, 0) ||
	    !X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name,
					-1, -1, 0) ||
	    !X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : subject) ||
	    !X509_set_pubkey(cert, key)) {
		X509_free(cert);
		return crypto_failed("a certificate can't be made");
	}
	*out = cert;
	return 0;
}

static int make_ca(struct tls *t)
{
	int rc;

	t->ca_key = EVP_EC_gen("P-256");
	if (!t->ca_key)
		return crypto_failed("a key can't be made");
	rc = new_cert("EmbassyFS CA", t->ca_key, NULL, CA_DAYS, &t->ca);
	if (rc == 0)
		rc = add_extension(t->ca, t->ca, NID_basic_constraints,
				   "critical,CA:TRUE,pathlen:0");
	if (rc == 0)
		rc = add_extension(t->ca, t->ca, NID_key_usage, "critical,keyCertSign,cRLSign");
	if (rc == 0)
		rc = add_extension(t->ca, t->ca, NID_subject_key_identifier, "hash");
	if (rc == 0 && !X509_sign(t->ca, t->ca_key, EVP_sha256()))
		rc = crypto_failed("the CA can't be signed");
	return rc;
}

static bool is_ip(const char *host)
{
	unsigned char addr[16];

	return inet_pton(AF_INET, host, addr) == 1 || inet_pton(AF_INET6, host, addr) == 1;
}

/* "DNS:localhost,IP:127.0.0.1,..."; the characters of the hosts were checked. */
static void host_names(const struct tls *t, char *out, size_t cap)
{
	size_t n = (size_t)snprintf(out, cap, "DNS:localhost,IP:127.0.0.1,IP:::1");

	for (size_t i = 0; i < t->n_hosts && n < cap; i++)
		n += (size_t)snprintf(out + n, cap - n, ",%s:%s", is_ip(t->hosts[i]) ? "IP" : "DNS",
				      t->hosts[i]);
}

static int make_cert(const struct tls *t, const char *name, bool server, EVP_PKEY *key, X509 **out)
{
	char san[SAN_LEN];
	X509 *cert;
	int rc;

	rc = new_cert(name, key, t->ca, CERT_DAYS, &cert);
	if (rc < 0)
		return rc;
	rc = add_extension(cert, t->ca, NID_basic_constraints, "critical,CA:FALSE");
	if (rc == 0)
		rc = add_extension(cert, t->ca, NID_key_usage, "critical,digitalSignature");
	if (rc == 0)
		rc = add_extension(cert, t->ca, NID_ext_key_usage,
				   server ? "serverAuth" : "clientAuth");
	if (rc == 0)
		rc = add_extension(cert, t->ca, NID_authority_key_identifier, "keyid");
	if (rc == 0 && server) {
		host_names(t, san, sizeof(san));
		rc = add_extension(cert, t->ca, NID_subject_alt_name, san);
	}
	if (rc == 0 && !X509_sign(cert, t->ca_key, EVP_sha256()))
		rc = crypto_failed("a certificate can't be signed");
	if (rc < 0) {
		X509_free(cert);
		return rc;
	}
	*out = cert;
	return 0;
}

/* Write the contents of ${bio} durably; never over an existing file. */
static int write_bio(const struct tls *t, const char *path, BIO *bio, mode_t mode)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);
	int fd, rc;

	fd = file_open(t->fd, path, O_WRONLY | O_CREAT | O_EXCL, mode);
	if (fd < 0)
		return err_say(
			fd, "%s/%s: %s", t->dir, path,
			fd == -EEXIST ? "it is there already; nothing is overwritten, give another "
					"folder"
				      : strerror(-fd));
	rc = file_write_at(fd, data, (size_t)len, 0);
	if (rc == 0)
		rc = file_sync(fd);
	file_close(fd);
	return rc < 0 ? err_say(rc, "%s/%s: %s", t->dir, path, strerror(-rc)) : 0;
}

static int write_pem(const struct tls *t, const char *path, const X509 *cert, EVP_PKEY *key)
{
	/* libcrypto wipes this memory when it is freed: it may contain a private key. */
	BIO *bio = BIO_new(BIO_s_secmem());
	int ok, rc;

	if (!bio)
		return -ENOMEM;
	ok = cert ? PEM_write_bio_X509(bio, cert)
		  : PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	rc = ok ? write_bio(t, path, bio, cert ? 0644 : 0600) : crypto_failed(path);
	BIO_free(bio);
	return rc;
}

/* Make the folder DIR/NAME with a key and a certificate. */
static int make_end(const struct tls *t, const char *name, bool server)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = NULL;
	char path[64];
	int rc;

	if (!key)
		return crypto_failed("a key can't be made");
	rc = make_cert(t, name, server, key, &cert);
	if (rc == 0) {
		rc = file_mkdir(t->fd, name, 0700);
		if (rc < 0)
			rc = err_say(rc, "%s/%s: %s", t->dir, name, strerror(-rc));
	}
	if (rc == 0) {
		snprintf(path, sizeof(path), "%s/ca.pem", name);
		rc = write_pem(t, path, t->ca, NULL);
	}
	if (rc == 0) {
		snprintf(path, sizeof(path), "%s/cert.pem", name);
		rc = write_pem(t, path, cert, NULL);
	}
	if (rc == 0) {
		snprintf(path, sizeof(path), "%s/key.pem", name);
		rc = write_pem(t, path, NULL, key);
	}
	if (rc == 0)
		rc = file_sync_dir(t->fd, name);
	X509_free(cert);
	EVP_PKEY_free(key);
	return rc;
}

static int open_dir(struct tls *t)
{
	static const char *const made[] = {"ca.pem", "ca.key", "server", "home", "embassy"};
	int rc = file_mkdir(AT_FDCWD, t->dir, 0700);

	if (rc < 0 && rc != -EEXIST)
		return err_say(rc, "%s: %s", t->dir, strerror(-rc));
	t->fd = file_open(AT_FDCWD, t->dir, O_RDONLY | O_DIRECTORY, 0);
	if (t->fd < 0)
		return err_say(t->fd, "%s: %s", t->dir, strerror(-t->fd));
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
		if (faccessat(t->fd, made[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return err_say(-EEXIST,
				       "%s/%s: it is there already; nothing is overwritten, give "
				       "another folder",
				       t->dir, made[i]);
	}
	return 0;
}

static int make_all(struct tls *t)
{
	int rc = open_dir(t);

	if (rc == 0)
		rc = make_ca(t);
	if (rc == 0)
		rc = write_pem(t, "ca.key", NULL, t->ca_key);
	if (rc == 0)
		rc = write_pem(t, "ca.pem", t->ca, NULL);
	if (rc == 0)
		rc = make_end(t, "server", true);
	if (rc == 0)
		rc = make_end(t, "home", false);
	if (rc == 0)
		rc = make_end(t, "embassy", false);
	if (rc == 0)
		rc = file_sync_dir(t->fd, ".");
	X509_free(t->ca);
	EVP_PKEY_free(t->ca_key);
	if (t->fd >= 0)
		file_close(t->fd);
	return rc;
}

/*
 * Host names go into a list separated by commas and colons, so they must not contain any other
 * characters than host names may.
 */
static bool host_is_good(const char *host)
{
	if (is_ip(host))
		return true;
	return host[0] != '\0' && strlen(host) <= 253 &&
	       strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-*") ==
		       strlen(host);
}

static int run(const struct command *cmd, int argc, char **argv)
{
	static const struct option options[] = {
		{"host", required_argument, NULL, OPT_HOST},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct tls t = {.fd = -1};
	int opt, code, rc;

	while ((opt = cmd_getopt(cmd, argc, argv, options, &code)) != -1) {
		if (opt == '?')
			return code;
		if (!host_is_good(optarg))
			return cmd_usage(cmd, "--host: '%.80s' is neither a name nor an address",
					 optarg);
		if (t.n_hosts == HOSTS_MAX)
			return cmd_usage(cmd, "--host: more than %u of them", HOSTS_MAX);
		t.hosts[t.n_hosts++] = optarg;
	}
	if (argc - optind != 1)
		return cmd_usage(cmd, "give one folder");
	t.dir = argv[optind];
	rc = make_all(&t);
	if (rc < 0)
		return cmd_fail(rc, t.dir);
	printf("certificates are in %s:\n"
	       "  server/   for embassyd --tls %s/server\n"
	       "  home/     for embassyfs VOLUME MOUNT -o tls=%s/home,embassy=HOST:PORT\n"
	       "  embassy/  for embassyfs HOST:PORT/VOLUME-ID MOUNT -o tls=%s/embassy\n"
	       "  ca.key    signs more of them; keep it away from all three\n",
	       t.dir, t.dir, t.dir, t.dir);
	return 0;
}

const struct command cmd_tls = {
	.name = "tls",
	.summary = "make a CA and certificates to start with",
	.help = "usage: embassy tls DIR [--host NAME]...\n\n"
		"Makes a certificate authority (valid for ten years) and certificates (two years)\n"
		"for a server, a home and an embassy's mount, in folders of DIR.  Nothing is\n"
		"overwritten.\n\n"
		"  --host NAME  a name or address at which the server is reached; localhost,\n"
		"               127.0.0.1 and ::1 always work\n"
		"  --help\n\n"
		"example: embassy tls /etc/embassyfs/tls --host embassy.example.org\n",
	.run = run,
};
