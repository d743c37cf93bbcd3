#include "words.h"

#include <stdio.h>

const char *words_bytes(double bytes, char *out)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	size_t u = 0;

	while (bytes >= 1024 && u < sizeof(units) / sizeof(units[0]) - 1) {
		bytes /= 1024;
		u++;
	}
	snprintf(out, WORDS_LEN, u > 0 && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[u]);
	return out;
}

const char *words_seconds(double seconds, char *out)
{
	unsigned long s = seconds < 1e9 ? (unsigned long)seconds : 1000000000UL;

	if (seconds < 10)
		snprintf(out, WORDS_LEN, "%.1f s", seconds);
	else if (s < 120)
		snprintf(out, WORDS_LEN, "%lu s", s);
	else if (s < 7200)
		snprintf(out, WORDS_LEN, "%lu min", s / 60);
	else if (s < 172800)
		snprintf(out, WORDS_LEN, "%lu h %lu min", s / 3600, s / 60 % 60);
	else
		snprintf(out, WORDS_LEN, "%lu d %lu h", s / 86400, s / 3600 % 24);
	return out;
}
