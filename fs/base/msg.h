#ifndef MSG_H_
#define MSG_H_

/*
 * Messages of a running program: one line each, "PROGRAM: text".  To standard error, and, once
 * msg_use_syslog() was called (a daemon in the background), to syslog instead.
 */

#include "compiler.h"

/* msg_init(program): the name that starts each line; borrowed for good. */
void msg_init(const char *program);
void msg_use_syslog(void);

void msg_error(const char *fmt, ...) PRINTF_LIKE(1, 2);
void msg_warn(const char *fmt, ...) PRINTF_LIKE(1, 2);
void msg_info(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif /* !MSG_H_ */
