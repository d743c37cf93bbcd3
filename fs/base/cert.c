/*
 * PEM certificates, read with libcrypto.
 */

#include "cert.h"

#include "err.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <time.h>

/* Do not ask for the passphrase of an encrypted key: fail. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return -1;
}

static int read_cert(const char *pem, size_t len, X509 **out)
{
	BIO *bio = len <= INT_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;

	if (!bio)
		return -ENOMEM;
	*out = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
	BIO_free(bio);
	ERR_clear_error();
	return *out ? 0 : -ERR_FORMAT;
}

static bool expires(const X509 *cert, int64_t *out_s)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
		return false;
	*out_s = timegm(&tm);
	return true;
}

int cert_expiry(const char *pem, size_t len, int64_t *out_s)
{
	X509 *cert;
	int rc = read_cert(pem, len, &cert);

	if (rc < 0)
		return rc;
	if (!expires(cert, out_s))
		rc = -ERR_FORMAT;
	X509_free(cert);
	ERR_clear_error();
	return rc;
}

int cert_list(const char *pem, size_t len, int64_t *out_s)
{
	BIO *bio = len <= INT_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
	unsigned n = 0;
	int64_t at_s;
	X509 *cert;
	bool ended;

	if (!bio)
		return -ENOMEM;
	*out_s = INT64_MIN;
	while ((cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL))) {
		if (expires(cert, &at_s) && at_s > *out_s)
			*out_s = at_s;
		X509_free(cert);
		n++;
	}
	/*
	 * The loop ended because no further certificate begins; any other reason means that one is
	 * broken.
	 */
	ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	ERR_clear_error();
	BIO_free(bio);
	return n > 0 && ended && *out_s != INT64_MIN ? 0 : -ERR_FORMAT;
}

/* May it be used for one of ${uses}?  If it states no uses, all bits are set. */
static int is_for(const char *pem, size_t len, uint32_t uses)
{
	X509 *cert;
	int rc = read_cert(pem, len, &cert);

	if (rc < 0)
		return rc;
	if (!(X509_get_extended_key_usage(cert) & uses))
		rc = -EINVAL;
	X509_free(cert);
	return rc;
}

int cert_serves(const char *pem, size_t len)
{
	return is_for(pem, len, XKU_SSL_SERVER | XKU_ANYEKU);
}

int cert_asks(const char *pem, size_t len)
{
	return is_for(pem, len, XKU_SSL_CLIENT | XKU_ANYEKU);
}

int cert_fits(const char *cert, size_t cert_len, const char *key, size_t key_len)
{
	BIO *bio = key_len <= INT_MAX ? BIO_new_mem_buf(key, (int)key_len) : NULL;
	EVP_PKEY *pkey;
	X509 *x;
	int rc;

	if (!bio)
		return -ENOMEM;
	rc = read_cert(cert, cert_len, &x);
	if (rc < 0)
		goto free_bio;
	pkey = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	if (!pkey)
		rc = -ERR_FORMAT;
	else if (X509_check_private_key(x, pkey) != 1)
		rc = -EINVAL;
	EVP_PKEY_free(pkey);
	X509_free(x);
	ERR_clear_error();
free_bio:
	BIO_free(bio);
	return rc;
}
