/*
 * The text of .embassy/status: figures of the volume, the replicators and the processes of the
 * mount.
 */

#include "status.h"

#include "figures.h"
#include "mount.h"
#include "params.h"
#include "replicator.h"
#include "supervisor.h"
#include "volume.h"

static void set_process(const struct mount *m, struct figures *f)
{
	static const struct shared_state none;
	const struct shared_state *e = m->successor->map.state ? m->successor->map.state : &none;

	figures_set_text(f, FIGURE_VERSION, EMBASSYFS_VERSION);
	figures_set(f, FIGURE_SUPERVISED, e != &none && atomic_load(&m->successor->supervised));
	figures_set(f, FIGURE_TAKEOVERS, e->takeovers);
	figures_set_time(f, FIGURE_TAKEOVER_TIME, e->takeover_ns);
	figures_set(f, FIGURE_UPGRADES, e->upgrades);
	figures_set_text(f, FIGURE_UPGRADE_FAILURE, e->failure);
}

static void set_usage(struct view *v, struct figures *f)
{
	struct view_usage u;

	view_usage(v, &u);
	figures_set(f, FIGURE_INODES, u.inodes);
	figures_set(f, FIGURE_FILE_BYTES, u.bytes);
}

int status_text(struct mount *m, struct buf *out)
{
	struct figures f = {0};
	char id[VOLUME_ID_TEXT_LEN];
	int rc;

	volume_id_format(m->volume_id, id);
	figures_set_text(&f, FIGURE_VOLUME, id);
	figures_set(&f, FIGURE_MODE, m->volume ? FIGURE_MODE_LIVE : FIGURE_MODE_VIEW);
	if (m->volume)
		volume_figures(m->volume, &f);
	else
		head_figures(view_head(m->view), &f);
	set_usage(m->view, &f);
	set_process(m, &f);
	for (size_t i = 0; i < m->n_replicators; i++)
		replicator_figures(m->replicators[i], &f);
	rc = figures_json(&f, out);
	figures_release(&f);
	return rc;
}
