#ifndef MSG_H_
#define MSG_H_

/*
 * Messages of a running program: one line each, "PROGRAM: text".  To standard error, and, once
 * msg_use_syslog() was called (a daemon in the background), to syslog instead.  Where standard error
 * is the system's journal, each line begins with its priority, as sd-daemon(3) says.
 *
 * What is not printable UTF-8 is written as \xHH, so that one message is one line whatever bytes
 * were put into it, also a peer's.
 */

#include "compiler.h"

/* msg_init(program): the name that starts each line; borrowed for good.  Before any thread. */
void msg_init(const char *program);
void msg_use_syslog(void);

void msg_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void msg_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void msg_info(const char *fmt, ...) PRINTF_LIKE(1, 2);

/*
 * msg_event(level, id, fmt, ...): a line that ends in its id, "PROGRAM: text [id]", which stays the
 * same in all versions, for whoever watches the log.  ${id}: a string literal.  Bounded, so that no
 * peer can fill the log: of each id MSG_BURST lines at once, then one each second; the next one that
 * is written says how many were left out.
 * msg_left_out(): say so of ids of which no line has come since, where one may be written.
 * Any thread.
 */
enum msg_level { MSG_ERROR, MSG_WARN, MSG_NOTICE, MSG_INFO };

#define MSG_BURST 20u
#define MSG_EVENTS_MAX 64u /* ids of a program */

void msg_event(enum msg_level level, const char *id, const char *fmt, ...) PRINTF_LIKE(3, 4);
void msg_left_out(void);

#endif /* !MSG_H_ */
