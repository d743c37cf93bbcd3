#ifndef WORDS_H_
#define WORDS_H_

/*
 * Figures for people: "1.2 MiB"; "2 h 5 min".  Each function writes at most WORDS_LEN bytes and
 * returns ${out}.
 */

#define WORDS_LEN 32

const char *words_bytes(double bytes, char *out);
const char *words_seconds(double seconds, char *out);

#endif /* !WORDS_H_ */
