/* Headers that several want at once, of a server that does not answer. */

#include "proven.h"

#include "err.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#define READERS 8

static struct proven *p;
static atomic_uint n_asked, n_patient, n_waiting;
static atomic_bool answers;
static _Thread_local bool is_reader;

int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mu);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mu);

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mu)
{
	int rc;

	n_waiting += is_reader;
	rc = __real_pthread_cond_wait(cond, mu);
	n_waiting -= is_reader;
	return rc;
}

static int ask(void *ctx, const char *method, const ProtobufCMessage *request,
	       const ProtobufCMessageDescriptor *type, bool patient, ProtobufCMessage **out)
{
	(void)ctx, (void)method, (void)request, (void)type, (void)out;
	n_asked++;
	n_patient += patient;
	while (!answers)
		sched_yield();
	return err_say(-ERR_UNREACHABLE, "host:1: is away");
}

static void set_up(void)
{
	static const uint8_t id[VOLUME_ID_LEN];
	const struct proven_config cfg = {.address = "host:1", .volume = id, .ask = ask};
	const struct anchor newest = {.number = 1, .n_blocks = 1};

	cr_assert_eq(proven_new(&cfg, &newest, &p), 0);
}

static void tear_down(void)
{
	proven_free(p);
}

TestSuite(proven, .init = set_up, .fini = tear_down, .timeout = 300);

static void *read_header(void *arg)
{
	uint8_t block[SEGMENT_BLOCK_LEN];
	int *rc = arg;

	is_reader = true;
	*rc = proven_header(p, 3, block);
	if (*rc == -ERR_UNREACHABLE && !strstr(err_detail(*rc), "host:1"))
		*rc = 0;
	return NULL;
}

static void read_all(unsigned n, unsigned n_wait)
{
	pthread_t threads[READERS];
	int rc[READERS];

	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, read_header, &rc[i]), 0);
	while (n_waiting < n_wait)
		sched_yield();
	answers = true;
	for (unsigned i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		cr_expect_eq(rc[i], -ERR_UNREACHABLE, "reader %u: %d", i, rc[i]);
	}
}

/* Each that asked anew would wait for as long again. */
Test(proven, a_server_s_silence_is_waited_for_once)
{
	read_all(READERS, READERS - 1);
	cr_expect_eq(n_asked, 1, "asked %u times", n_asked);
}

/* Who asks ahead gives up at once, which is no answer for who waits. */
Test(proven, who_waits_for_one_that_asks_ahead_asks_too)
{
	proven_hint(p, 3);
	while (n_asked == 0)
		sched_yield();
	read_all(1, 1);
	cr_expect_eq(n_asked, 2);
	cr_expect_eq(n_patient, 1);
}
