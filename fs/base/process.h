#ifndef PROCESS_H_
#define PROCESS_H_

/* What a program that runs for long does first, so that its surroundings cannot end it. */

/*
 * process_std_fds(): where standard input, output or error is closed, put /dev/null in its place:
 * else the next file that is opened gets that number, and messages are written into it.  Before
 * anything is opened.
 */
void process_std_fds(void);

/*
 * process_ignore_signals(): let calls fail with EPIPE and EFBIG instead of ending the process
 * (SIGPIPE, a peer that went; SIGXFSZ, RLIMIT_FSIZE), and pass over SIGUSR1 and SIGUSR2, which mean
 * nothing here and would end it.
 */
void process_ignore_signals(void);

#endif /* !PROCESS_H_ */
