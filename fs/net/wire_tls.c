/*
 * TLS from a folder of PEM files.
 *
 * Key idea: files are compared by contents.  They are a few KiB, and are read when a connection is
 * made.  So a renewed certificate is used without a restart or a signal.  Unusable files (half of a
 * renewal, say) are logged once, and those read before stay in use.
 */

#include "wire.h"

#include "cert.h"
#include "err.h"
#include "file.h"
#include "hash.h"
#include "locks.h"
#include "msg.h"
#include "secret.h"
#include "units.h"
#include "when.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TLS_MAKE "'embassy tls' makes one to start with"

/* The three files, NUL-terminated. */
struct tls_files {
	char *ca, *cert, *key;
	size_t ca_len, cert_len, key_len;
};

static int read_pem(const char *dir, const char *name, char **out, size_t *out_len)
{
	char path[4096];
	void *text;
	int rc;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return err_say(-ENAMETOOLONG, "%s: the path is too long", dir);
	rc = file_read_all(AT_FDCWD, path, WIRE_TLS_FILE_MAX, &text, out_len);
	if (rc < 0)
		return err_say(rc,
			       "%s: %s; a TLS folder holds ca.pem, cert.pem and key.pem, " TLS_MAKE,
			       path, err_text(rc));
	*out = text;
	if (strstr(text, "-----BEGIN ") && strlen(text) == *out_len)
		return 0;
	return err_say(-EINVAL, "%s: not a PEM file; " TLS_MAKE, path);
}

static void tls_files_release(struct tls_files *f)
{
	free(f->ca);
	free(f->cert);
	if (f->key)
		secret_wipe(f->key, f->key_len);
	free(f->key);
}

static int check_ca(const char *dir, const struct tls_files *f, int64_t *out_expiry_s)
{
	int rc = cert_list(f->ca, f->ca_len, out_expiry_s);

	if (rc == -ERR_FORMAT)
		return err_say(-EINVAL,
			       "%s/ca.pem: it holds no certificate, or one that is not whole; "
			       "" TLS_MAKE,
			       dir);
	return rc;
}

/*
 * The key lies in ordinary memory for a moment.  That is no loss: gRPC keeps an ordinary copy of
 * its own in any case.
 */
static int tls_files_read(const char *dir, struct tls_files *f)
{
	int64_t expiry_s;
	int rc;

	memset(f, 0, sizeof(*f));
	rc = read_pem(dir, "ca.pem", &f->ca, &f->ca_len);
	if (rc == 0)
		rc = read_pem(dir, "cert.pem", &f->cert, &f->cert_len);
	if (rc == 0)
		rc = read_pem(dir, "key.pem", &f->key, &f->key_len);
	if (rc < 0)
		return rc;
	/* gRPC would accept an empty list, and then refuse every peer. */
	rc = check_ca(dir, f, &expiry_s);
	if (rc < 0)
		return rc;
	rc = cert_fits(f->cert, f->cert_len, f->key, f->key_len);
	if (rc == -EINVAL)
		return err_say(rc,
			       "%s: key.pem is not the key of cert.pem; copy both from the same "
			       "place",
			       dir);
	if (rc == -ERR_FORMAT)
		return err_say(
			-EINVAL,
			"%s: cert.pem holds no certificate, or key.pem no private key without "
			"a passphrase; " TLS_MAKE,
			dir);
	return rc;
}

static void tls_files_hash(const struct tls_files *f, uint8_t out[32])
{
	sha256_parts(f->ca, f->ca_len + 1, f->cert, f->cert_len + 1, f->key, f->key_len + 1, out);
}

int wire_tls_expiry(const char *tls_dir, int64_t *out_s)
{
	struct tls_files f = {0};
	int rc = read_pem(tls_dir, "cert.pem", &f.cert, &f.cert_len);

	if (rc == 0)
		rc = cert_expiry(f.cert, f.cert_len, out_s);
	if (rc == -ERR_FORMAT)
		rc = err_say(-EINVAL, "%s/cert.pem: not a certificate; " TLS_MAKE, tls_dir);
	tls_files_release(&f);
	return rc;
}

int wire_tls_ca_expiry(const char *tls_dir, int64_t *out_s)
{
	struct tls_files f = {0};
	int rc = read_pem(tls_dir, "ca.pem", &f.ca, &f.ca_len);

	if (rc == 0)
		rc = check_ca(tls_dir, &f, out_s);
	tls_files_release(&f);
	return rc;
}

bool wire_tls_warning(const char *tls_dir, int64_t now_s, char *out, size_t size)
{
	char when[WHEN_TEXT_LEN];
	int64_t expiry_s, limit_s = now_s + WIRE_TLS_WARN_DAYS * 86400;
	const char *file, *advice;

	out[0] = '\0';
	if (!tls_dir)
		return false;
	if (wire_tls_ca_expiry(tls_dir, &expiry_s) == 0 && expiry_s <= limit_s) {
		file = "ca.pem";
		advice = "make a new authority with 'embassy tls' in a new folder, append its "
			 "ca.pem to this one here and at the other side, and then put its "
			 "certificates and keys in place";
	} else if (wire_tls_expiry(tls_dir, &expiry_s) == 0 && expiry_s <= limit_s) {
		file = "cert.pem";
		advice = "put a renewed certificate in its place";
	} else {
		return false;
	}
	when_format(expiry_s * NS_PER_S, when);
	snprintf(out, size, "%s/%s %s at %s: %s; it is taken without a restart", tls_dir, file,
		 expiry_s < now_s ? "expired" : "expires", when, advice);
	return true;
}

/* As tls_files_read(), for a client. */
static int client_files_read(const char *dir, struct tls_files *f)
{
	int rc = tls_files_read(dir, f);

	if (rc == 0 && cert_asks(f->cert, f->cert_len) == -EINVAL)
		rc = err_say(-EINVAL,
			     "%s: cert.pem is a server's certificate; give the folder with the "
			     "home's or the embassy's",
			     dir);
	return rc;
}

int wire_client_tls(const char *tls_dir, struct wire_tls_seen *seen, grpc_channel_credentials **out)
{
	struct tls_files f;
	uint8_t hash[32];
	int rc;

	*out = NULL;
	rc = client_files_read(tls_dir, &f);
	if (rc < 0)
		goto release;
	tls_files_hash(&f, hash);
	if (!seen->any || memcmp(seen->hash, hash, sizeof(hash)) != 0) {
		grpc_ssl_pem_key_cert_pair pair = {.private_key = f.key, .cert_chain = f.cert};

		*out = grpc_ssl_credentials_create_ex(f.ca, &pair, NULL, NULL);
		if (!*out) {
			rc = err_say(-EINVAL, "%s: gRPC refuses these TLS files", tls_dir);
			goto release;
		}
		seen->any = true;
		memcpy(seen->hash, hash, sizeof(hash));
	}
release:
	tls_files_release(&f);
	return rc;
}

/* ---- the server's ---- */

/* As tls_files_read(), for a server. */
static int server_files_read(const char *dir, struct tls_files *f)
{
	int rc = tls_files_read(dir, f);

	if (rc == 0 && cert_serves(f->cert, f->cert_len) == -EINVAL)
		rc = err_say(-EINVAL,
			     "%s: cert.pem is a client's certificate; give the folder with the "
			     "server's, which 'embassy tls' calls server",
			     dir);
	return rc;
}

struct wire_tls_source {
	char *dir;
	pthread_mutex_t mu;
	/* Guarded by mu. */
	bool any;
	uint8_t hash[32]; /* of the files last given to gRPC */
	char said[1024];  /* the problem last logged; empty if none */
};

static void tell_locked(struct wire_tls_source *s, int rc) REQUIRES(s->mu);
static int read_news_locked(struct wire_tls_source *s, grpc_ssl_server_certificate_config **out)
	REQUIRES(s->mu);

int wire_tls_source_new(const char *tls_dir, struct wire_tls_source **out)
{
	struct wire_tls_source *s = calloc(1, sizeof(*s));

	if (s)
		s->dir = strdup(tls_dir);
	if (!s || !s->dir) {
		free(s);
		return -ENOMEM;
	}
	pthread_mutex_init(&s->mu, NULL);
	*out = s;
	return 0;
}

void wire_tls_source_free(struct wire_tls_source *s)
{
	if (!s)
		return;
	pthread_mutex_destroy(&s->mu);
	free(s->dir);
	free(s);
}

/* Log once that the files are bad, and once that they are good again. */
static void tell_locked(struct wire_tls_source *s, int rc)
{
	char text[sizeof(s->said)] = "";

	if (rc < 0)
		snprintf(text, sizeof(text), "%s", err_detail(rc));
	if (strcmp(text, s->said) == 0)
		return;
	if (rc < 0)
		msg_event(MSG_ERROR, "certificate-refused",
			  "%s; the certificate that was read before stays in use", text);
	memcpy(s->said, text, sizeof(text));
}

/*
 * Read the files.  Returns 1 and ${*out} if they differ from those that gRPC has; 0 if not; or
 * their error, which has been logged.
 */
static int read_news_locked(struct wire_tls_source *s, grpc_ssl_server_certificate_config **out)
{
	struct tls_files f;
	uint8_t hash[32];
	int rc;

	rc = server_files_read(s->dir, &f);
	tell_locked(s, rc);
	if (rc < 0)
		goto release;
	tls_files_hash(&f, hash);
	if (!s->any || memcmp(s->hash, hash, sizeof(hash)) != 0) {
		grpc_ssl_pem_key_cert_pair pair = {.private_key = f.key, .cert_chain = f.cert};

		if (s->any)
			msg_event(MSG_INFO, "certificate-read",
				  "%s: a renewed certificate is in use for new connections",
				  s->dir);
		*out = grpc_ssl_server_certificate_config_create(f.ca, &pair, 1);
		rc = *out ? 1 : -ENOMEM;
		s->any = true;
		memcpy(s->hash, hash, sizeof(hash));
	}
release:
	tls_files_release(&f);
	return rc;
}

/* gRPC calls this before each handshake. */
static grpc_ssl_certificate_config_reload_status fetch_config(
	void *arg, grpc_ssl_server_certificate_config **out)
{
	struct wire_tls_source *s = arg;
	int rc;

	pthread_mutex_lock(&s->mu);
	rc = read_news_locked(s, out);
	pthread_mutex_unlock(&s->mu);
	if (rc < 0)
		return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_FAIL;
	return rc ? GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW
		  : GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
}

int wire_tls_check(const char *tls_dir)
{
	struct tls_files f;
	int rc = server_files_read(tls_dir, &f);

	tls_files_release(&f);
	return rc;
}

int wire_server_tls(struct wire_tls_source *s, grpc_server_credentials **out)
{
	grpc_ssl_server_credentials_options *options;
	int rc = wire_tls_check(s->dir);

	if (rc < 0)
		return rc;
	options = grpc_ssl_server_credentials_create_options_using_config_fetcher(
		GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY, fetch_config, s);
	*out = options ? grpc_ssl_server_credentials_create_with_options(options) : NULL;
	return *out ? 0 : err_say(-EINVAL, "%s: gRPC refuses these TLS files", s->dir);
}
