/*
 * The figures of a volume.
 */

#include "volume_internal.h"

#include "cache.h"
#include "figures.h"
#include "log.h"
#include "overlay.h"

#include <errno.h>
#include <sys/statvfs.h>

int volume_disk_free(const struct volume *v, uint64_t *out_bytes)
{
	struct statvfs fs;

	if (statvfs(v->cfg.dir, &fs) < 0)
		return -errno;
	*out_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return 0;
}

/* A position is not a length, because each segment begins at a multiple of SEGMENT_SIZE. */
static uint64_t undurable_bytes(log_pos end, log_pos durable)
{
	if (segment_of(durable) < segment_of(end))
		durable = segment_start(segment_of(end));
	return durable < end ? end - durable : 0;
}

static void set_log(const struct volume *v, struct figures *f)
{
	log_pos durable = log_durable_end(v->log), end = log_end(v->log);
	uint64_t disk_free = 0;

	figures_set(f, FIGURE_LOG_END, end);
	figures_set(f, FIGURE_DURABLE_END, durable);
	figures_set(f, FIGURE_LOG_BYTES, log_bytes(v->log));
	figures_set(f, FIGURE_UNDURABLE_BYTES, undurable_bytes(end, durable));
	if (volume_disk_free(v, &disk_free) < 0)
		disk_free = 0;
	figures_set(f, FIGURE_DISK_FREE, disk_free);
}

void volume_figures(struct volume *v, struct figures *f)
{
	char reason[256];
	struct head head;
	uint64_t overlays;

	log_newest_head(v->log, &head);
	head_figures(&head, f);
	set_log(v, f);
	figures_set(f, FIGURE_MEMORY_NODES, node_cache_bytes(v->cache));
	view_rdlock(&v->view);
	overlays = overlay_bytes(v->view.map.live) +
		   (v->view.map.frozen ? overlay_bytes(v->view.map.frozen) : 0);
	view_unlock(&v->view);
	figures_set(f, FIGURE_MEMORY_CHANGES, overlays);
	pthread_mutex_lock(&v->flush_mu);
	figures_set(f, FIGURE_CHECKPOINT_HEAD, v->checkpoint_head);
	pthread_mutex_unlock(&v->flush_mu);
	figures_set_counter(f, FIGURE_WRITTEN_BYTES, &v->written);
	figures_set_histogram(f, FIGURE_SYNC_SECONDS, &v->syncs);
	figures_set(f, FIGURE_WRITABLE, !scheduler_reason(v, reason, sizeof(reason)));
	figures_set_text(f, FIGURE_REASON, reason);
}
