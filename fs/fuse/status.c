/*
 * The JSON text of .embassy/status.
 */

#include "status.h"

#include "jsontext.h"
#include "params.h"
#include "replicator.h"
#include "volume.h"

#include <errno.h>
#include <math.h>

/* JSON knows no infinity.  Digits that say nothing are left out. */
static double rounded(double x, double unit, double otherwise)
{
	return isfinite(x) ? round(x / unit) * unit : otherwise;
}

/* Empty where there is no such time. */
static json_t *time_or_empty(int64_t time_ns)
{
	return time_ns ? jsontext_time(time_ns) : json_string("");
}

static json_t *head_json(const struct head *h)
{
	return json_pack("{s:I, s:I, s:I, s:o}", "number", jsontext_u64(h->number), "position",
			 jsontext_u64(h->pos), "end", jsontext_u64(head_end(h)), "time",
			 jsontext_time(h->time_ns));
}

static const char *state_name(enum replicator_state state)
{
	switch (state) {
	case REPLICATOR_STREAMING:
		return "streaming";
	case REPLICATOR_IDLE:
		return "idle";
	case REPLICATOR_REFUSED:
		return "refused";
	case REPLICATOR_CONNECTING:
		break;
	}
	return "connecting";
}

/* clang-format off */
static json_t *embassy_json(const struct replicator_status *r)
{
	return json_pack("{s:o, s:s, s:o, s:o, s:I, s:I, s:o, s:I, s:I, s:f, s:I, s:f, s:f}",
		"address", jsontext_string(r->address),
		"state", state_name(r->state),
		"reason", jsontext_string(r->reason),
		"warning", jsontext_string(r->warning),
		"acknowledged", jsontext_u64(r->acknowledged),
		"acknowledged_head", jsontext_u64(r->acknowledged_head),
		"acknowledged_time", time_or_empty(r->acknowledged_time_ns),
		"lag_bytes", jsontext_u64(r->lag_bytes),
		"lag_heads", jsontext_u64(r->lag_heads),
		"lag_seconds", rounded(r->lag_seconds, 1e-3, 0),
		"bytes_per_second", (json_int_t)fmin(rounded(r->bytes_per_second, 1, 0), 1e18),
		"eta_seconds", rounded(r->eta_seconds, 1e-1, -1),
		"heard_seconds", rounded(r->heard_seconds, 1e-6, -1));
}

static json_t *live_json(const struct volume_status *v)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I}, s:b, s:o}",
		"log_end", jsontext_u64(v->log_end),
		"durable_end", jsontext_u64(v->durable_end),
		"log_bytes", jsontext_u64(v->log_bytes),
		"checkpoint_head", jsontext_u64(v->checkpoint_head),
		"disk_free", jsontext_u64(v->disk_free),
		"memory",
			"changes", jsontext_u64(v->overlay_bytes),
			"nodes", jsontext_u64(v->cache_bytes),
		"writable", !v->stuck,
		"reason", jsontext_string(v->reason));
}

static json_t *view_json(const struct head *h)
{
	return json_pack("{s:I, s:I}",
		"log_end", jsontext_u64(head_end(h)),
		"durable_end", jsontext_u64(head_end(h)));
}

/* Of the processes that serve the mount. */
static json_t *process_json(const struct status_input *in)
{
	return json_pack("{s:s, s:b, s:I, s:o, s:I, s:o}",
		"version", EMBASSYFS_VERSION,
		"supervised", in->supervised,
		"takeovers", (json_int_t)in->takeovers,
		"takeover_time", time_or_empty(in->takeover_ns),
		"upgrades", (json_int_t)in->upgrades,
		"upgrade_failure", jsontext_string(in->failure ? in->failure : ""));
}
/* clang-format on */

int status_text(const struct status_input *in, struct buf *out)
{
	const struct head *h = in->live ? &in->live->head : in->head;
	char id[VOLUME_ID_TEXT_LEN];
	json_t *all, *list = json_array();

	volume_id_format(in->volume, id);
	all = json_pack("{s:s, s:I, s:s, s:o}", "volume", id, "epoch", jsontext_u64(h->epoch),
			"mode", in->live ? "live" : "view", "head", head_json(h));
	for (size_t i = 0; i < in->n_embassies; i++)
		if (json_array_append_new(list, embassy_json(&in->embassies[i])) < 0)
			goto fail;
	if (json_object_update_new(all, in->live ? live_json(in->live) : view_json(h)) < 0 ||
	    json_object_update_new(all, process_json(in)) < 0 ||
	    json_object_set(all, "embassies", list) < 0)
		goto fail;
	json_decref(list);
	return jsontext_line(all, out);

fail:
	json_decref(list);
	json_decref(all);
	return -ENOMEM;
}
