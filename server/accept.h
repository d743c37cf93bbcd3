#ifndef ACCEPT_H_
#define ACCEPT_H_

/*
 * How many connections there are at once.
 *
 * gRPC takes every connection that comes, and stops listening for good once accept4() fails in a way
 * that it does not know, as when descriptors have run out: whoever opens enough connections would
 * silence the server, without a certificate.  So this program has an accept4() of its own, which the
 * library finds before libc's.  It closes what is too much, and shows gRPC no error that passes.
 */

#define ACCEPT_ALL_MAX 1024u /* connections of a server */

/*
 * accept_limit(all, one): let there be ${all} connections at most, no more than ACCEPT_ALL_MAX and
 * half of the descriptors that this process may have, and ${one} of one address; of IPv6, of one /64.
 * 0: as many as there may be; half of them.  Of the whole process.  Any thread.
 */
void accept_limit(unsigned all, unsigned one);

#endif /* !ACCEPT_H_ */
