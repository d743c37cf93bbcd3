/*
 * The JSON text of .embassy/status.
 */

#include "status.h"

#include "buf.h"
#include "params.h"
#include "replicator.h"
#include "volume.h"
#include "when.h"

#include <inttypes.h>
#include <math.h>

/* A JSON string, quotes included.  What is no UTF-8 is the writer's fault, and passed through. */
static int add_string(struct buf *b, const char *s)
{
	int rc = buf_add_u8(b, '"');

	for (; rc == 0 && *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			rc = buf_printf(b, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			rc = buf_printf(b, "\\u%04x", c);
		else
			rc = buf_add_u8(b, c);
	}
	return rc ? rc : buf_add_u8(b, '"');
}

static int add_key_string(struct buf *b, const char *key, const char *s)
{
	int rc = buf_printf(b, "\"%s\": ", key);

	return rc ? rc : add_string(b, s);
}

/* JSON knows no infinity. */
static double finite_or(double x, double otherwise)
{
	return isfinite(x) ? x : otherwise;
}

static int add_head(struct buf *b, const struct head *h)
{
	char when[WHEN_TEXT_LEN];

	when_format(h->time_ns, when);
	return buf_printf(b,
			  "\"head\": {\"number\": %" PRIu64 ", \"position\": %" PRIu64
			  ", \"end\": %" PRIu64 ", \"time\": \"%s\"}",
			  h->number, h->pos, head_end(h), when);
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

static int add_embassy(struct buf *b, const struct replicator_status *r)
{
	char when[WHEN_TEXT_LEN] = "";
	int rc;

	if (r->acknowledged_time_ns)
		when_format(r->acknowledged_time_ns, when);
	if ((rc = buf_printf(b, "\n  {")) || (rc = add_key_string(b, "address", r->address)) ||
	    (rc = buf_printf(b, ", \"state\": \"%s\", ", state_name(r->state))) ||
	    (rc = add_key_string(b, "reason", r->reason)) || (rc = buf_printf(b, ", ")) ||
	    (rc = add_key_string(b, "warning", r->warning)))
		return rc;
	return buf_printf(
		b,
		",\n   \"acknowledged\": %" PRIu64 ", \"acknowledged_head\": %" PRIu64
		", \"acknowledged_time\": \"%s\", \"lag_bytes\": %" PRIu64
		",\n   \"lag_seconds\": %.3f, \"bytes_per_second\": %.0f, \"eta_seconds\": %.1f, "
		"\"heard_seconds\": %.6f}",
		r->acknowledged, r->acknowledged_head, when, r->lag_bytes,
		finite_or(r->lag_seconds, 0), finite_or(r->bytes_per_second, 0),
		finite_or(r->eta_seconds, -1), finite_or(r->heard_seconds, -1));
}

static int add_live(struct buf *b, const struct volume_status *v)
{
	int rc = buf_printf(b,
			    ",\n \"log_end\": %" PRIu64 ", \"durable_end\": %" PRIu64
			    ", \"log_bytes\": %" PRIu64 ", \"checkpoint_head\": %" PRIu64
			    ",\n \"disk_free\": %" PRIu64 ", \"memory\": {\"changes\": %" PRIu64
			    ", \"nodes\": %" PRIu64 "},\n \"writable\": %s, ",
			    v->log_end, v->durable_end, v->log_bytes, v->checkpoint_head,
			    v->disk_free, v->overlay_bytes, v->cache_bytes,
			    v->stuck ? "false" : "true");

	return rc ? rc : add_key_string(b, "reason", v->reason);
}

/* Of the processes that serve the mount. */
static int add_process(struct buf *b, const struct status_input *in)
{
	char when[WHEN_TEXT_LEN] = "";
	int rc;

	if (in->takeover_ns)
		when_format(in->takeover_ns, when);
	rc = buf_printf(b,
			",\n \"version\": \"" EMBASSYFS_VERSION "\", \"supervised\": %s, "
			"\"takeovers\": %" PRIu32 ", \"takeover_time\": \"%s\", "
			"\"upgrades\": %" PRIu32 ", ",
			in->supervised ? "true" : "false", in->takeovers, when, in->upgrades);
	return rc ? rc : add_key_string(b, "upgrade_failure", in->failure ? in->failure : "");
}

int status_text(const struct status_input *in, struct buf *out)
{
	const struct head *h = in->live ? &in->live->head : in->head;
	char id[VOLUME_ID_TEXT_LEN];
	int rc;

	volume_id_format(in->volume, id);
	if ((rc = buf_printf(out,
			     "{\"volume\": \"%s\", \"epoch\": %" PRIu64 ", \"mode\": \"%s\",\n ",
			     id, h->epoch, in->live ? "live" : "view")) ||
	    (rc = add_head(out, h)))
		return rc;
	if (in->live)
		rc = add_live(out, in->live);
	else
		rc = buf_printf(out, ",\n \"log_end\": %" PRIu64 ", \"durable_end\": %" PRIu64,
				head_end(h), head_end(h));
	if (rc || (rc = add_process(out, in)) || (rc = buf_printf(out, ",\n \"embassies\": [")))
		return rc;
	for (size_t i = 0; i < in->n_embassies; i++)
		if ((i > 0 && (rc = buf_add_u8(out, ','))) ||
		    (rc = add_embassy(out, &in->embassies[i])))
			return rc;
	return buf_printf(out, "]}\n");
}
