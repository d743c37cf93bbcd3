/* Why a server cannot be reached, where name servers do not answer. */

#include "diagnose.h"

#include <criterion/criterion.h>
#include <netdb.h>
#include <pthread.h>
#include <string.h>

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change = PTHREAD_COND_INITIALIZER;
static bool answers;
static unsigned n_asked;

/* In the place of libc's: a name server that answers when it is let. */
int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
		struct addrinfo **out)
{
	(void)host;
	(void)port;
	(void)hints;
	(void)out;
	pthread_mutex_lock(&mu);
	n_asked++;
	pthread_cond_broadcast(&change);
	while (!answers)
		pthread_cond_wait(&change, &mu);
	pthread_mutex_unlock(&mu);
	return EAI_NONAME;
}

static void let_answer(void)
{
	pthread_mutex_lock(&mu);
	answers = true;
	pthread_cond_broadcast(&change);
	pthread_mutex_unlock(&mu);
}

static void *stop_once_asked(void *stop)
{
	pthread_mutex_lock(&mu);
	while (n_asked == 0)
		pthread_cond_wait(&change, &mu);
	pthread_mutex_unlock(&mu);
	atomic_store((atomic_bool *)stop, true);
	return NULL;
}

/* Whoever unmounts does not wait for it. */
Test(diagnose, a_name_server_is_not_waited_for_when_it_is_to_stop, .timeout = 60)
{
	atomic_bool stop = false;
	pthread_t thread;
	char text[1024];

	cr_assert_eq(pthread_create(&thread, NULL, stop_once_asked, &stop), 0);
	cr_expect_not(diagnose("embassy.example.org:7070", NULL, &stop, text, sizeof(text)));
	pthread_join(thread, NULL);
	let_answer();
}

Test(diagnose, a_name_server_that_does_not_answer_is_told, .timeout = 60)
{
	atomic_bool stop = false;
	char text[1024];

	cr_expect(diagnose("embassy.example.org:7070", NULL, &stop, text, sizeof(text)));
	cr_expect(strstr(text, "name server"), "%s", text);
	let_answer();
	cr_expect(diagnose("embassy.example.org:7070", NULL, &stop, text, sizeof(text)));
	cr_expect(strstr(text, "the host embassy.example.org is not known"), "%s", text);
}
