#ifndef FAKE_SERVER_H_
#define FAKE_SERVER_H_

/*
 * A block server for tests, inside the test's process: serves a made-up log, and lies on demand.
 * It keeps what is appended in memory only as a position, and acknowledges whatever heads the log
 * has there.
 */

#include "synth.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

enum fake_lie {
	FAKE_HONEST,
	FAKE_STATUS,	    /* every call ends with status */
	FAKE_OTHER_VOLUME,  /* GetVolume: another volume's volume.conf (that of other) */
	FAKE_BAD_PARAMS,    /* GetVolume: volume.conf with a byte changed */
	FAKE_BAD_SIGNATURE, /* heads with a changed note */
	FAKE_WRONG_HEAD,    /* heads: the next one instead */
	FAKE_TOO_MANY,	    /* heads: more than asked for */
	FAKE_NO_HEADS,	    /* heads by time: none, though there are */
	FAKE_OLD_TIME,	    /* heads by time: the first, whatever the time */
	FAKE_OLD_ONLY,	    /* the same, and by number none but the first */
	FAKE_NO_PROOF,	    /* heads and headers: none, as an older server */
	FAKE_WRONG_PROOF,   /* heads and headers: with a bit changed */
	FAKE_LONG_PROOF,    /* heads and headers: with 1 MiB behind it */
	FAKE_SHORT_PROOF,   /* heads and headers: a byte is missing */
	FAKE_OTHER_HEADERS, /* Segments: those of other */
	FAKE_LONG_HEADERS,  /* Segments: one too many */
	FAKE_OLD_VERSION,   /* Segments: no such method */
	FAKE_WRONG_END,	    /* GetVolume: an end that is not the head's */
	FAKE_LONG_READ,	    /* Read: more bytes than asked for */
	FAKE_SHORT_READ,    /* Read: half */
	FAKE_ENDLESS,	    /* an answer is sent again and again */
	FAKE_GET_STATUS,    /* GetVolume ends with status */
	FAKE_ACK_TOO_MUCH,  /* Append: acknowledges the newest head at once */
	FAKE_ACK_NONSENSE,  /* Append: acknowledges a head that is none */
	FAKE_ACK_GARBAGE,   /* Append: a reply that is no message */
	FAKE_DROP,	    /* Append: ends the stream with status after the opening */
	FAKE_MUTE,	    /* Append: takes the bytes and says nothing */
};

struct fake_server {
	_Atomic(struct synth *) log; /* what is served; borrowed */
	struct synth *other; /* for FAKE_OTHER_VOLUME and FAKE_OTHER_HEADERS; borrowed */
	char address[300];
	_Atomic int lie; /* enum fake_lie */
	_Atomic int status;
	_Atomic bool lacks_volume; /* until PutVolume */
	_Atomic uint64_t committed; /* number of the head up to which it has the log */
	atomic_uint n_get, n_put, n_heads, n_segments, n_read, n_append;
	atomic_uint n_open;		/* calls being served */
	atomic_bool bad_open, bad_data; /* what was appended does not follow */
	grpc_server *server;
	grpc_completion_queue *cq;
	pthread_t thread;
	pthread_mutex_t mu; /* over the log's catalog and store */
};

/* Serve on a Unix socket at ${path}, which may not exist.  stop: ends everything under way. */
void fake_start(struct fake_server *f, struct synth *log, const char *path);
void fake_stop(struct fake_server *f);

#endif /* !FAKE_SERVER_H_ */
