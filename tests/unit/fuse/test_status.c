/*
 * The status text: exact for one live volume and one view; hostile strings stay inside their
 * quotes.
 */

#include "status.h"

#include "buf.h"
#include "replicator.h"
#include "volume.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const uint8_t id[VOLUME_ID_LEN] = {0xab, [15] = 1};

static char *text_of(const struct status_input *in, struct buf *b)
{
	cr_assert_eq(status_text(in, b), 0);
	cr_assert_eq(buf_add_u8(b, 0), 0);
	return (char *)b->p;
}

Test(status, of_a_view)
{
	struct head h = {
		.number = 7, .epoch = 2, .pos = 100, .stored_len = 23, .time_ns = 1500000000};
	struct status_input in = {.volume = id, .head = &h};
	struct buf b = {0};

	cr_assert_str_eq(text_of(&in, &b),
			 "{\"volume\": \"ab000000000000000000000000000001\", \"epoch\": 2, "
			 "\"mode\": \"view\", "
			 "\"head\": {\"number\": 7, \"position\": 100, \"end\": 123, "
			 "\"time\": \"1970-01-01T00:00:01.500000000Z\"}, "
			 "\"log_end\": 123, \"durable_end\": 123, "
			 "\"version\": \"" EMBASSYFS_VERSION "\", \"supervised\": false, "
			 "\"takeovers\": 0, \"takeover_time\": \"\", \"upgrades\": 0, "
			 "\"upgrade_failure\": \"\", \"embassies\": []}\n");
	buf_release(&b);
}

Test(status, of_a_live_volume)
{
	struct volume_status live = {.head = {.number = 9, .epoch = 1, .pos = 10, .stored_len = 5},
				     .log_end = 300,
				     .durable_end = 200,
				     .log_bytes = 100,
				     .checkpoint_head = 8,
				     .disk_free = 4096,
				     .overlay_bytes = 11,
				     .cache_bytes = 12};
	struct replicator_status r[2] = {
		{.address = "host:1",
		 .state = REPLICATOR_REFUSED,
		 .reason = "says \"no\"\n\\",
		 .acknowledged = 5,
		 .lag_bytes = 6,
		 .lag_seconds = NAN,
		 .eta_seconds = INFINITY},
		{.address = "host:2",
		 .state = REPLICATOR_STREAMING,
		 .acknowledged_time_ns = 1,
		 .lag_seconds = 0.25,
		 .bytes_per_second = 1e6,
		 .eta_seconds = 2,
		 .heard_seconds = 1.5},
	};
	struct status_input in = {.volume = id,
				  .live = &live,
				  .embassies = r,
				  .n_embassies = 2,
				  .supervised = true,
				  .takeovers = 3,
				  .takeover_ns = 2,
				  .upgrades = 1,
				  .failure = "no"};
	struct buf b = {0};
	char *text = text_of(&in, &b);

	cr_expect(strstr(text, "\"mode\": \"live\"") != NULL);
	cr_expect(strstr(text, "\"supervised\": true, \"takeovers\": 3, \"takeover_time\": "
			       "\"1970-01-01T00:00:00.000000002Z\", \"upgrades\": 1, "
			       "\"upgrade_failure\": \"no\"") != NULL);
	cr_expect(strstr(text, "\"log_end\": 300, \"durable_end\": 200, \"log_bytes\": 100") !=
		  NULL);
	cr_expect(strstr(text, "\"writable\": true") != NULL);
	cr_expect(strstr(text,
			 "\"state\": \"refused\", \"reason\": \"says \\\"no\\\"\\n\\\\\"") !=
		  NULL);
	cr_expect(strstr(text, "\"lag_seconds\": 0.0") != NULL);
	cr_expect(strstr(text, "\"eta_seconds\": -1.0") != NULL);
	cr_expect(strstr(text, "\"state\": \"streaming\"") != NULL);
	cr_expect(strstr(text, "\"acknowledged_time\": \"1970-01-01T00:00:00.000000001Z\"") !=
		  NULL);
	cr_expect(strstr(text, "\"lag_seconds\": 0.25, \"bytes_per_second\": 1000000, "
			       "\"eta_seconds\": 2.0, \"heard_seconds\": 1.5") != NULL);
	buf_release(&b);
}

Test(status, of_a_volume_that_stopped)
{
	struct volume_status live = {.stuck = -5, .reason = "disk failed"};
	struct status_input in = {.volume = id, .live = &live};
	struct buf b = {0};
	char *text = text_of(&in, &b);

	cr_expect(strstr(text, "\"writable\": false, \"reason\": \"disk failed\"") != NULL);
	buf_release(&b);
}
