#ifndef MSG_H_
#define MSG_H_

/*
 * Messages of a running program: one line each, "PROGRAM: text".  They go to standard error or,
 * once msg_use_syslog() was called (a daemon in the background), to syslog instead.  If standard
 * error is the system's journal, each line begins with its priority, see sd-daemon(3).
 *
 * Bytes that are not printable UTF-8 are written as \xHH.  So one message is always one line, even
 * if it contains bytes of a peer.
 */

#include "compiler.h"

/*
 * msg_init(program): set the name that begins each line; borrowed for ever.  Call it before any
 * thread starts.
 */
void msg_init(const char *program);
void msg_use_syslog(void);

void msg_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void msg_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void msg_info(const char *fmt, ...) PRINTF_LIKE(1, 2);

/*
 * msg_event(level, id, fmt, ...): write a line that ends with its id, "PROGRAM: text [id]".  The id
 * stays the same in all versions, for programs that watch the log.  ${id}: a string literal.  Lines
 * are bounded, so that no peer can fill the log: for each id, MSG_BURST lines at once, then one
 * each second.  The next line that is written says how many were left out.
 * msg_left_out(): report left-out lines of ids that wrote no line since, where the bound permits
 * it.
 * Any thread.
 */
enum msg_level { MSG_ERROR, MSG_WARN, MSG_NOTICE, MSG_INFO };

#define MSG_BURST 20u
#define MSG_EVENTS_MAX 64u /* distinct ids that a program may use */

void msg_event(enum msg_level level, const char *id, const char *fmt, ...) PRINTF_LIKE(3, 4);
void msg_left_out(void);

#endif /* !MSG_H_ */
