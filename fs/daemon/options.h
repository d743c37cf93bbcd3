#ifndef OPTIONS_H_
#define OPTIONS_H_

/* embassyfs's command line. */

#include "compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_EMBASSIES_MAX 16u
#define OPTIONS_FLUSH_S_MAX 3600u
#define OPTIONS_MEMORY_MIN (UINT64_C(16) << 20)

struct options {
	/* All strings are owned by the struct; NULL: not given. */
	char *target;	   /* VOLUME, absolute if it exists, or HOST:PORT/VOLUME-ID */
	char *mount_point; /* absolute */
	char *passphrase_file, *key_file, *tls_dir, *at;
	char *embassies[OPTIONS_EMBASSIES_MAX];
	size_t n_embassies;
	bool history_users; /* all users who are let in may use .embassy, not only the mounter */
	bool read_write;    /* the user asked for rw explicitly */
	bool partial;	    /* accept a damaged or missing end of the log; implies read_only */
	bool read_only, allow_other, dev, suid, noexec, noatime, nodiratime, strictatime;
	unsigned flush_s, checkpoint_s;	    /* 0: not given */
	uint64_t memory_bytes, local_bytes; /* 0: not given */
	bool foreground, help, version, remount;
	bool nonempty;	   /* mount on a folder that is not empty */
	bool unsupervised; /* no supervisor restarts the daemon */
	int handover_fd;   /* socket to the supervisor that this program replaces; -1: none */
};

/*
 * options_parse(argc, argv, out): parse the command line; paths that exist are made absolute.
 * Returns 0 (then options_release()); -EINVAL with a detail that names the wrong word; -ENOMEM.
 */
MUST_CHECK int options_parse(int argc, char *const argv[], struct options *out);
void options_release(struct options *o);

/*
 * options_names_server(o): is the target HOST:PORT/VOLUME-ID?  A folder that exists is a folder, even
 * if its name looks like one.
 */
bool options_names_server(const struct options *o);

/*
 * options_format(o, program, handover_fd, out_argv): make a command line that options_parse()
 * parses into ${o}, with ${handover_fd}; NULL-terminated, freed by options_format_free().  Returns
 * 0 or -ENOMEM.
 */
MUST_CHECK int options_format(const struct options *o, const char *program, int handover_fd,
			      char ***out_argv);
void options_format_free(char **argv);

/* options_size(text, out): parse a size such as "64M", in powers of 1024.  Returns 0 or -EINVAL. */
MUST_CHECK int options_size(const char *text, uint64_t *out);

/* The text of --help. */
extern const char options_help[];

#endif /* !OPTIONS_H_ */
