#ifndef FIGURE_LIST_H_
#define FIGURE_LIST_H_

/*
 * Every figure about the state of a volume, each listed once: X(ID, OF, KIND, UNIT, key, words,
 * none, help).
 *
 *	ID	FIGURE_ID is its number in a struct figures
 *	OF	VOLUME, or EMBASSY: each embassy has one
 *	KIND	COUNTER (only grows while the process lives), GAUGE, HISTOGRAM, FLAG (0 or 1),
 *		STATE (one of figure_states()), LABEL (a text that tells volumes or embassies
 *		apart), INFO (a text), NOTE (a text that is empty if all is well)
 *	UNIT	NONE, BYTES, HEADS, RATE (bytes per second), SECONDS (a real number; NaN: not
 *		known), TIME
 *	key	its place in the JSON of a status: "head.number" is "number" in an object "head".
 *		Its OpenMetrics name is made of this, with the unit at the end (figures.h)
 *	words	its words in the text of a status, with % for the value; NULL: not shown
 *	none	the words for 0, an empty text, or an unknown value
 *	help	one sentence
 *
 * JSON and text show them in this order.
 */

/* clang-format off */
#define FIGURE_LIST(X)                                                                             \
X(VOLUME,          VOLUME,  LABEL,     NONE,    "volume",                                          \
  "volume    %", "volume    ", "ID of the volume")                                                 \
X(MODE,            VOLUME,  STATE,     NONE,    "mode",                                            \
  " (%", " (", "whether it can be written (live) or is looked at (view)")                          \
X(EPOCH,           VOLUME,  GAUGE,     NONE,    "epoch",                                           \
  ", epoch %)", ", epoch %)", "epoch of the newest head")                                          \
X(HEAD_NUMBER,     VOLUME,  GAUGE,     NONE,    "head.number",                                     \
  "\nhead      %", "\nhead      none yet", "number of the newest head")                            \
X(HEAD_POSITION,   VOLUME,  GAUGE,     NONE,    "head.position",                                   \
  NULL, NULL, "position in the log where the newest head begins")                                  \
X(HEAD_END,        VOLUME,  GAUGE,     NONE,    "head.end",                                        \
  NULL, NULL, "position in the log after the newest head")                                         \
X(HEAD_TIME,       VOLUME,  GAUGE,     TIME,    "head.time",                                       \
  " of %", NULL, "when the newest head was made")                                                  \
X(LOG_END,         VOLUME,  GAUGE,     NONE,    "log_end",                                         \
  NULL, NULL, "position in the log after its newest block")                                        \
X(DURABLE_END,     VOLUME,  GAUGE,     NONE,    "durable_end",                                     \
  NULL, NULL, "position in the log up to which it is durable")                                     \
X(LOG_BYTES,       VOLUME,  GAUGE,     BYTES,   "log_bytes",                                       \
  "\nlog       %", "\nlog       %", "length of the log's files, as far as it is durable")          \
X(UNDURABLE_BYTES, VOLUME,  GAUGE,     BYTES,   "undurable_bytes",                                 \
  ", % not durable yet", NULL, "bytes of the log that are not durable yet")                        \
X(CHECKPOINT_HEAD, VOLUME,  GAUGE,     NONE,    "checkpoint_head",                                 \
  NULL, NULL, "number of the head that the newest checkpoint states")                              \
X(INODES,          VOLUME,  GAUGE,     NONE,    "inodes",                                          \
  NULL, NULL, "files, folders and other inodes in use")                                            \
X(FILE_BYTES,      VOLUME,  GAUGE,     BYTES,   "file_bytes",                                      \
  NULL, NULL, "bytes of all files, without their holes")                                           \
X(DISK_FREE,       VOLUME,  GAUGE,     BYTES,   "disk_free",                                       \
  NULL, NULL, "bytes free on the disk under the log")                                              \
X(MEMORY_CHANGES,  VOLUME,  GAUGE,     BYTES,   "memory.changes",                                  \
  NULL, NULL, "memory for changes since the newest checkpoint")                                    \
X(MEMORY_NODES,    VOLUME,  GAUGE,     BYTES,   "memory.nodes",                                    \
  NULL, NULL, "memory for nodes of the namespace that were read")                                  \
X(WRITTEN_BYTES,   VOLUME,  COUNTER,   BYTES,   "written_bytes",                                   \
  NULL, NULL, "bytes that were written to files")                                                  \
X(SYNC_SECONDS,    VOLUME,  HISTOGRAM, SECONDS, "sync_seconds",                                    \
  NULL, NULL, "how long it took to make changes durable on request (fsync)")                       \
X(WRITABLE,        VOLUME,  FLAG,      NONE,    "writable",                                        \
  NULL, NULL, "0 while nothing can be written")                                                    \
X(REASON,          VOLUME,  NOTE,      NONE,    "reason",                                          \
  "\nwarning   %", NULL, "what is wrong with the volume here")                                     \
X(VERSION,         VOLUME,  INFO,      NONE,    "version",                                         \
  NULL, NULL, "version of the program that serves the mount")                                      \
X(SUPERVISED,      VOLUME,  FLAG,      NONE,    "supervised",                                      \
  NULL, NULL, "1 if another process takes over when the one that serves the mount dies")           \
X(TAKEOVERS,       VOLUME,  COUNTER,   NONE,    "takeovers",                                       \
  "\ntakeovers %", NULL, "times that another process took over from one that died")                \
X(TAKEOVER_TIME,   VOLUME,  GAUGE,     TIME,    "takeover_time",                                   \
  ", the newest at %", NULL, "when one last did")                                                  \
X(UPGRADES,        VOLUME,  COUNTER,   NONE,    "upgrades",                                        \
  NULL, NULL, "times that the mount went on in a new program")                                     \
X(UPGRADE_FAILURE, VOLUME,  NOTE,      NONE,    "upgrade_failure",                                 \
  "\nupgrade   failed: %", NULL, "why the newest upgrade did not come about")                      \
X(COPY,            VOLUME,  FLAG,      NONE,    "copy",                                            \
  "\ncopy      an embassy's; it has no embassies itself", NULL, "1 if it is an embassy's copy")    \
X(EMBASSIES_KNOWN, VOLUME,  FLAG,      NONE,    "embassies_known",                                 \
  NULL, "\nembassies not known: the catalog is missing, can't be read or was made anew",           \
  "0 if the catalog, which would tell of the embassies, is missing, unreadable or made anew")      \
X(ADDRESS,         EMBASSY, LABEL,     NONE,    "address",                                         \
  "\nembassy   %", "\nembassy   ", "address of the embassy")                                       \
X(STATE,           EMBASSY, STATE,     NONE,    "state",                                           \
  ": %", ": in a state that this program does not know", "how it stands with the embassy")         \
X(EMBASSY_REASON,  EMBASSY, NOTE,      NONE,    "reason",                                          \
  ": %", NULL, "why nothing is sent to the embassy")                                               \
X(ACKNOWLEDGED,    EMBASSY, GAUGE,     NONE,    "acknowledged",                                    \
  NULL, NULL, "position in the log up to which the embassy holds all durably")                     \
X(ACKNOWLEDGED_HEAD, EMBASSY, GAUGE,   NONE,    "acknowledged_head",                               \
  NULL, NULL, "number of the newest head that the embassy holds durably")                          \
X(LAG_BYTES,       EMBASSY, GAUGE,     BYTES,   "lag_bytes",                                       \
  "\n          % behind", "\n          had everything when it last answered",                      \
  "bytes of the log that the embassy has not acknowledged")                                        \
X(LAG_HEADS,       EMBASSY, GAUGE,     HEADS,   "lag_heads",                                       \
  NULL, NULL, "heads that the embassy has not acknowledged")                                       \
X(LAG_SECONDS,     EMBASSY, GAUGE,     SECONDS, "lag_seconds",                                     \
  ", %", ", %", "age of the oldest head that the embassy has not acknowledged")                    \
X(SENT_RATE,       EMBASSY, GAUGE,     RATE,    "bytes_per_second",                                \
  "; % a second", NULL, "bytes sent a second, of the last few seconds")                            \
X(ETA_SECONDS,     EMBASSY, GAUGE,     SECONDS, "eta_seconds",                                     \
  "; done in %", NULL, "when the embassy will have all, at the speed of the last few seconds")     \
X(ACKNOWLEDGED_TIME, EMBASSY, GAUGE,   TIME,    "acknowledged_time",                               \
  "; acknowledged the state of %", NULL, "when the newest head that the embassy holds was made")   \
X(HEARD_SECONDS,   EMBASSY, GAUGE,     SECONDS, "heard_seconds",                                   \
  NULL, NULL, "since the embassy last said that it holds what it acknowledged")                    \
X(SENT_BYTES,      EMBASSY, COUNTER,   BYTES,   "sent_bytes",                                      \
  NULL, NULL, "bytes of the log sent to the embassy, those sent again too")                        \
X(CONNECTIONS,     EMBASSY, COUNTER,   NONE,    "connections",                                     \
  NULL, NULL, "times that the embassy began to take the log")                                      \
X(WARNING,         EMBASSY, NOTE,      NONE,    "warning",                                         \
  "\n          warning: %", NULL, "what a person should look at though the embassy goes on")
/* clang-format on */

#endif /* !FIGURE_LIST_H_ */
