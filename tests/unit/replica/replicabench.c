/*
 * How fast a backlog is shipped and read back: replicabench EMBASSYD [MIB].  Prints MB/s, CPU
 * seconds per GB on both ends, and peak memory.  Not run by the tests.
 */

#include "clock.h"
#include "embassyd_child.h"
#include "look.h"
#include "msg.h"
#include "remote.h"
#include "source.h"
#include "synth.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double rss_mb(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_maxrss / 1024;
}

static void report(const char *what, double bytes, uint64_t begin_ns, double cpu, double server_cpu,
		   double server_rss)
{
	double s = (double)(clock_mono_ns() - begin_ns) / 1e9;

	printf("%s: %.0f MB/s; CPU s/GB: client %.2f, server %.2f; peak RSS MB: client %.0f, "
	       "server %.0f\n",
	       what, bytes / 1e6 / s, cpu / bytes * 1e9, server_cpu / bytes * 1e9, rss_mb(),
	       server_rss);
}

static void read_back(struct synth *home, const char *address)
{
	struct remote_config cfg = {.address = address, .volume = home->params.id};
	uint64_t begin_ns = clock_mono_ns(), pos = 0;
	double cpu = cpu_s();
	static uint8_t p[128 << 10];
	struct source *s;

	if (source_open_remote(&cfg, &s) < 0)
		abort();
	for (; pos < SEGMENT_SIZE * 7 / 8; pos += sizeof(p))
		if (s->ops->read(s, pos, sizeof(p), p) < 0)
			abort();
	report("read back, 128 KiB at a time", (double)pos, begin_ns, cpu_s() - cpu, 0, 0);
	source_free(s);
}

int main(int argc, char **argv)
{
	uint64_t mib = argc > 2 ? strtoull(argv[2], NULL, 10) : 2048;
	char tmp[256], path[300], store[300];
	const struct figure_row *st;
	struct embassyd server;
	struct replicator *r;
	struct synth home;
	uint64_t begin_ns;
	double cpu, server_cpu, server_rss;

	if (argc < 2 || setenv("EMBASSYD", argv[1], 1) < 0 || !embassyd_path()) {
		fprintf(stderr, "usage: replicabench EMBASSYD [MIB]\n");
		return 2;
	}
	msg_init("replicabench");
	tmp_make(tmp);
	snprintf(path, sizeof(path), "%.250s/home", tmp);
	snprintf(store, sizeof(store), "%.250s/store", tmp);
	synth_new(&home, path, 1);
	for (uint64_t i = 0; i < mib / 16; i++)
		synth_add(&home, 16 << 20, 128 << 10);
	embassyd_start(&server, store, "127.0.0.1:0", NULL);
	begin_ns = clock_mono_ns();
	cpu = cpu_s();
	if (replicator_start(&(struct replicator_config){.address = server.address,
							 .params = &home.params,
							 .store = home.store,
							 .catalog = home.catalog,
							 .newest = synth_newest,
							 .ctx = &home},
			     &r) < 0)
		abort();
	do {
		usleep(1000);
		st = look(r);
	} while (figure_n(st, FIGURE_STATE) != REPLICATOR_IDLE);
	embassyd_usage(&server, &server_cpu, &server_rss);
	report("ship", (double)figure_n(st, FIGURE_ACKNOWLEDGED), begin_ns, cpu_s() - cpu,
	       server_cpu, server_rss);
	replicator_stop(r);
	read_back(&home, server.address);
	embassyd_end(&server, SIGTERM);
	synth_close(&home);
	tmp_remove(tmp);
	return 0;
}
