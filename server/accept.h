#ifndef ACCEPT_H_
#define ACCEPT_H_

/*
 * A limit on the connections that are open at once.
 *
 * gRPC accepts every connection, and stops listening for good once accept4() fails in a way that it
 * does not know, as when descriptors have run out.  So anyone who opens enough connections could
 * silence the server, without a certificate.  This program therefore has an accept4() of its own,
 * which the library finds before libc's.  It closes excess connections, and hides errors that pass
 * from gRPC.
 */

#define ACCEPT_ALL_MAX 1024u /* connections of a server */

/*
 * accept_limit(all, one): allow at most ${all} connections, no more than ACCEPT_ALL_MAX and half of
 * the descriptors that this process may have; and at most ${one} from one address, for IPv6 from
 * one /64.  0 for ${all} means as many as there may be; 0 for ${one}, half of them.  For the whole
 * process.  Any thread.
 */
void accept_limit(unsigned all, unsigned one);

#endif /* !ACCEPT_H_ */
