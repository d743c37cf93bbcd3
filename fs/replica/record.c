/*
 * What a volume remembers of its embassies.  Each record is three numbers of 8 bytes,
 * little-endian.  "embassy:ADDRESS": number, end and time of the head that it acknowledged.
 * "lost:ADDRESS": held, acknowledged, when; zeros mean no loss.
 */

#include "record.h"

#include "bytes.h"
#include "catalog.h"
#include "err.h"
#include "when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ACKED "embassy:"
#define LOST "lost:"
#define RECORD_LEN 24u
#define NAME_LEN 300u

/* A name that is too long is cut here to a length that the catalog still refuses. */
static int put(struct catalog *c, const char *kind, const char *address, const uint64_t n[3])
{
	uint8_t value[RECORD_LEN];
	char name[NAME_LEN];

	for (unsigned i = 0; i < 3; i++)
		put_le64(value + (size_t)8 * i, n[i]);
	snprintf(name, sizeof(name), "%s%s", kind, address);
	return catalog_put_cursor(c, name, value, sizeof(value));
}

static int get(struct catalog *c, const char *kind, const char *address, uint64_t out[3])
{
	uint8_t value[RECORD_LEN];
	size_t len = sizeof(value);
	char name[NAME_LEN];
	int rc;

	snprintf(name, sizeof(name), "%s%s", kind, address);
	rc = catalog_get_cursor(c, name, value, &len);
	if (rc == -ERR_DAMAGED || (rc == 0 && len != sizeof(value)))
		return -ERR_ABSENT;
	for (unsigned i = 0; rc == 0 && i < 3; i++)
		out[i] = get_le64(value + (size_t)8 * i);
	return rc;
}

int record_put_acked(struct catalog *c, const char *address, const struct step_head *acked)
{
	return put(c, ACKED, address,
		   (uint64_t[]){acked->number, acked->end, (uint64_t)acked->time_ns});
}

int record_get_acked(struct catalog *c, const char *address, struct step_head *out)
{
	uint64_t n[3];
	int rc = get(c, ACKED, address, n);

	if (rc == 0)
		*out = (struct step_head){.number = n[0], .end = n[1], .time_ns = (int64_t)n[2]};
	return rc;
}

int record_put_loss(struct catalog *c, const char *address, const struct loss *l)
{
	return put(c, LOST, address, (uint64_t[]){l->held, l->acknowledged, (uint64_t)l->time_ns});
}

int record_get_loss(struct catalog *c, const char *address, struct loss *out)
{
	uint64_t n[3];
	int rc = get(c, LOST, address, n);

	if (rc == 0)
		*out = (struct loss){.held = n[0], .acknowledged = n[1], .time_ns = (int64_t)n[2]};
	return rc;
}

struct each {
	int (*fn)(void *ctx, const char *address);
	void *ctx;
};

static int each_name(void *ctx, const char *name)
{
	const struct each *e = ctx;

	return e->fn(e->ctx, name + strlen(ACKED));
}

int record_addresses(struct catalog *c, int (*fn)(void *ctx, const char *address), void *ctx)
{
	return catalog_cursors(c, ACKED, each_name, &(struct each){fn, ctx});
}

bool record_is_whole(struct catalog *c)
{
	uint8_t value[RECORD_LEN];
	size_t len = sizeof(value);

	return catalog_get_cursor(c, CURSOR_BEGUN, value, &len) == 0;
}

void loss_text(const struct loss *l, char out[LOSS_TEXT_LEN])
{
	char when[WHEN_TEXT_LEN];

	out[0] = '\0';
	if (l->acknowledged == 0)
		return;
	when_format_seconds(l->time_ns, when);
	snprintf(out, LOSS_TEXT_LEN,
		 "on %s it held only head %" PRIu64 ", though it had acknowledged head %" PRIu64
		 "; what it lost is sent again. Find out why it was lost, then answer with "
		 "'embassy drain MOUNT --accept-loss ADDRESS'",
		 when, l->held, l->acknowledged);
}
