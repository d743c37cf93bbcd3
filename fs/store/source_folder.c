/*
 * A volume's folder as a source: at home, at a server, or copied from either.
 *
 * Key idea: the catalog says where heads are, and each head is read from the log and verified
 * before it is trusted.  If the folder was copied, or its machine lost power, the log may contain
 * newer heads than its catalog knows.  They are found by walking the log's tail once, when the
 * folder is opened.  tail_judge() decides whether the end of that walk is damage, as it does for a
 * mount.  If the catalog is missing or useless, one is made in a temporary folder; nothing is ever
 * written to the volume.
 *
 * Everything that this source returns is proven to belong to one history (signed_log.c).
 *
 * Invariants:
 * 1. tail contains verified heads in order, each newer than the newest head that the catalog
 *    had on opening; it never changes afterwards.
 * 2. If temp is set, the catalog is in that folder, and only we use it.
 *
 * Locks: mu is held while our own catalog is brought up to date.
 */

#include "source_folder.h"
#include "source.h"

#include "anchor.h"
#include "catalog.h"
#include "history.h"
#include "newest.h"
#include "params.h"
#include "scan.h"
#include "signed_log.h"
#include "store.h"
#include "tail.h"

#include "err.h"
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAIL_MAX 16384u
#define TRIES_MAX 8u

struct folder {
	struct source source; /* first */
	struct params params;
	struct store *store;
	struct catalog *catalog;
	char *temp;   /* owned; folder of our own catalog, or NULL */
	bool partial; /* damage at the end of the log is no error */
	pthread_mutex_t mu;
	struct head_ref *tail;
	size_t n_tail, cap_tail;
	struct signed_log signed_log;
};

static struct folder *folder_of(struct source *s)
{
	return (struct folder *)s;
}

static int folder_read(struct source *s, log_pos pos, size_t len, void *out)
{
	int rc = store_read(folder_of(s)->store, pos, len, out);

	if (rc == -ERR_ABSENT)
		return err_say(rc, "log: positions %llu to %llu are not in this copy",
			       (unsigned long long)pos, (unsigned long long)(pos + len));
	return rc;
}

static void folder_hint(struct source *s, log_pos pos, size_t len)
{
	store_hint(folder_of(s)->store, pos, len);
}

/* Bring our own catalog up to date.  Heads before a fault stay in it. */
static int catch_up(struct folder *f)
{
	int rc = catalog_catch_up(f->catalog, &f->params, store_storage(f->store), NULL, NULL);

	return f->partial && (rc == -ERR_DAMAGED || rc == -ERR_TAMPERED) ? 0 : rc;
}

/* Make the heads that a live writer has added visible. */
static int refresh(struct folder *f)
{
	int rc;

	if (!f->temp)
		return catalog_refresh(f->catalog);
	pthread_mutex_lock(&f->mu);
	rc = catch_up(f);
	pthread_mutex_unlock(&f->mu);
	return rc;
}

/* ${*out_walked}: the head is from the tail, which was judged when this source was opened. */
static int find_number(struct folder *f, head_no number, struct head_ref *out, bool *out_walked)
{
	int rc = catalog_head(f->catalog, number, out);

	*out_walked = false;
	if (rc != -ERR_ABSENT || f->n_tail == 0 || number < f->tail[0].number ||
	    number - f->tail[0].number >= f->n_tail)
		return rc;
	*out = f->tail[number - f->tail[0].number];
	*out_walked = true;
	return 0;
}

static int find_newest(struct folder *f, struct head_ref *out)
{
	int rc = catalog_newest(f->catalog, out);

	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	if (f->n_tail == 0 || (rc == 0 && out->number >= f->tail[f->n_tail - 1].number))
		return rc;
	*out = f->tail[f->n_tail - 1];
	return 0;
}

static int find_at(struct folder *f, int64_t time_ns, struct head_ref *out, bool *out_walked)
{
	int rc = catalog_head_at(f->catalog, time_ns, out);

	*out_walked = false;
	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	for (size_t i = f->n_tail; i > 0; i--) {
		const struct head_ref *ref = &f->tail[i - 1];

		if (ref->time_ns > time_ns)
			continue;
		if (rc == -ERR_ABSENT || ref->number > out->number) {
			*out = *ref;
			*out_walked = true;
		}
		return 0;
	}
	return rc;
}

/* A verified head of the log, and its anchor, which ties it to the tree. */
static int read_head(struct folder *f, const struct head_ref *ref, struct head *out,
		     struct anchor *out_anchor)
{
	uint8_t leaf[HASH_LEN];
	int rc = history_read_head(&f->params, store_storage(f->store), ref, out, leaf);

	if (rc == 0)
		anchor_of(out, leaf, out_anchor);
	return rc;
}

static int folder_head_at(struct source *s, int64_t time_ns, struct head *out)
{
	struct folder *f = folder_of(s);
	struct anchor anchor;
	struct head_ref ref;
	bool walked = false;
	int rc = find_newest(f, &ref);

	if (rc == -ERR_ABSENT || (rc == 0 && time_ns > ref.time_ns)) {
		rc = refresh(f);
		if (rc == 0)
			rc = find_newest(f, &ref);
	}
	if (rc == -ERR_ABSENT)
		return err_say(rc, "volume: has no head yet");
	if (rc == 0)
		rc = find_at(f, time_ns, &ref, &walked);
	if (rc == -ERR_ABSENT)
		return -ERR_TOO_EARLY;
	if (rc == 0)
		rc = read_head(f, &ref, out, &anchor);
	return rc < 0 || walked ? rc : signed_log_admit(&f->signed_log, f->catalog, &anchor, 1);
}

/* Read the heads from ${first} on.  The first ${*out_n_anchors} of them are from the catalog. */
static int read_heads(struct folder *f, head_no first, size_t n, struct head *out, size_t *out_n,
		      struct anchor *anchors, size_t *out_n_anchors)
{
	struct head_ref ref;
	bool walked;

	*out_n = *out_n_anchors = 0;
	for (size_t i = 0; i < n; i++) {
		int rc = find_number(f, first + i, &ref, &walked);

		if (rc == -ERR_ABSENT && i == 0) {
			rc = refresh(f);
			if (rc == 0)
				rc = find_number(f, first, &ref, &walked);
		}
		if (rc == 0)
			rc = read_head(f, &ref, &out[i], &anchors[*out_n_anchors]);
		else if (rc == -ERR_ABSENT && i > 0)
			break;
		if (rc < 0)
			return rc;
		*out_n = i + 1;
		*out_n_anchors += !walked;
	}
	return 0;
}

static int folder_heads(struct source *s, head_no first, size_t n, struct head *out, size_t *out_n)
{
	struct folder *f = folder_of(s);
	struct anchor *anchors = malloc(n * sizeof(*anchors));
	size_t n_anchors;
	int rc;

	if (!anchors)
		return -ENOMEM;
	rc = read_heads(f, first, n, out, out_n, anchors, &n_anchors);
	if (rc == 0)
		rc = signed_log_admit(&f->signed_log, f->catalog, anchors, n_anchors);
	free(anchors);
	return rc;
}

static int folder_header(struct source *s, segment_no number, uint8_t out[SEGMENT_BLOCK_LEN])
{
	struct folder *f = folder_of(s);

	return signed_log_header(&f->signed_log, f->catalog, number, out);
}

static void folder_hint_header(struct source *s, segment_no number)
{
	store_hint(folder_of(s)->store, segment_start(number), SEGMENT_BLOCK_LEN);
}

static void folder_free(struct source *s)
{
	struct folder *f = folder_of(s);

	catalog_close(f->catalog);
	signed_log_release(&f->signed_log);
	store_close(f->store);
	params_release(&f->params);
	if (f->temp)
		(void)!file_remove_tree(AT_FDCWD, f->temp);
	free(f->temp);
	free(f->tail);
	pthread_mutex_destroy(&f->mu);
	free(f);
}

static const struct source_ops folder_ops = {
	.read = folder_read,
	.hint = folder_hint,
	.header = folder_header,
	.hint_header = folder_hint_header,
	.head_at = folder_head_at,
	.heads = folder_heads,
	.free = folder_free,
};

static int add_tail(struct folder *f, const struct head *h)
{
	size_t cap = f->cap_tail ? 2 * f->cap_tail : 64;
	void *p;

	if (f->n_tail == f->cap_tail) {
		p = realloc(f->tail, cap * sizeof(*f->tail));
		if (!p)
			return -ENOMEM;
		f->tail = p;
		f->cap_tail = cap;
	}
	f->tail[f->n_tail++] = (struct head_ref){h->number, h->pos, h->stored_len, h->time_ns};
	return 0;
}

struct tail_walk {
	struct folder *folder;
	struct history history;
	bool full; /* stopped without a fault: more heads than fit */
	char why[200];
	log_pos refused; /* the block at which it stopped, if why is set */
};

static int take_tail_block(void *ctx, const struct scan_block *b)
{
	struct tail_walk *w = ctx;
	bool is_head;
	int rc = history_step(&w->history, b, &is_head);

	/*
	 * The walk ends here: the block is torn, just being written, or damaged.  Nothing after it
	 * is trusted.
	 */
	if (rc == -ERR_DAMAGED || rc == -ERR_TAMPERED) {
		snprintf(w->why, sizeof(w->why), "%s", err_detail(rc));
		w->refused = b->pos;
		return SCAN_STOP;
	}
	if (rc == 0)
		rc = signed_log_walked(&w->folder->signed_log, b);
	if (rc < 0 || !is_head)
		return rc;
	w->full = w->folder->n_tail >= TAIL_MAX;
	if (w->full)
		return SCAN_STOP;
	history_forget_leaves(&w->history); /* only the leaves' count and root matter here */
	return add_tail(w->folder, &w->history.head);
}

/*
 * Start the history at the catalog's newest head.  -ERR_ABSENT if catalog and log do not fit
 * together although the log contains that head: then another catalog is needed.  If the log does
 * not contain it, the log is damaged.
 */
static int stand(struct folder *f, struct history *h)
{
	struct head_ref known;
	int rc = history_resume(h, f->catalog, store_storage(f->store));

	if (rc != -ERR_DAMAGED && rc != -ERR_TAMPERED)
		return rc;
	if (catalog_newest(f->catalog, &known) < 0)
		return -ERR_ABSENT;
	rc = tail_check_known(&f->params, store_storage(f->store), &known);
	return rc < 0 && !f->partial ? rc : -ERR_ABSENT;
}

/*
 * Find the heads in the log that the catalog does not know.  Sets ${*out_end} to where the walk
 * ended.
 */
static int walk_tail_once(struct folder *f, struct tail_walk *w, log_pos *out_end)
{
	struct tail_end end;
	struct scan_result result;
	int rc;

	w->folder = f;
	w->full = false;
	w->why[0] = '\0';
	f->n_tail = 0;
	signed_log_forget(&f->signed_log);
	history_init(&w->history, &f->params);
	rc = stand(f, &w->history);
	if (rc == 0)
		rc = scan_blocks(store_storage(f->store), w->history.end, take_tail_block, w,
				 &result);
	end = tail_of_history(&w->history, w->why, w->refused);
	end.acknowledged = catalog_is_whole(f->catalog) > 0;
	*out_end = end.end;
	history_release(&w->history);
	/*
	 * If there are more heads than tail can hold, none is left out: our own catalog will hold
	 * them.
	 */
	if (rc == 0 && w->full)
		return -ERR_ABSENT;
	if (rc < 0 || f->partial)
		return rc;
	return tail_judge(&f->params, store_storage(f->store), &end);
}

/*
 * What looks like damage may be a block that a live writer is just writing.  Then the end moves on,
 * so walk again until it stays in place.
 */
static int walk_tail(struct folder *f)
{
	struct tail_walk *w = calloc(1, sizeof(*w));
	log_pos end, end_before = 0;
	int rc = w ? 0 : -ENOMEM;

	for (unsigned i = 0; rc == 0 && i < TRIES_MAX; i++) {
		rc = walk_tail_once(f, w, &end);
		if (rc != -ERR_DAMAGED || (i > 0 && end == end_before))
			break;
		end_before = end;
		rc = 0;
	}
	free(w);
	return rc;
}

/* Make our own catalog from the log. */
static int make_catalog(struct folder *f)
{
	const char *tmp = getenv("TMPDIR");
	int rc;

	if (asprintf(&f->temp, "%s/embassyfs-XXXXXX", tmp && *tmp ? tmp : "/tmp") < 0) {
		f->temp = NULL;
		return -ENOMEM;
	}
	if (!mkdtemp(f->temp)) {
		rc = -errno;
		free(f->temp);
		f->temp = NULL;
		return rc;
	}
	rc = catalog_open(f->temp, f->params.id, CATALOG_WRITE, &f->catalog);
	return rc < 0 ? rc : catch_up(f);
}

static int find_catalog(struct folder *f, const char *volume_dir)
{
	int rc = catalog_open(volume_dir, f->params.id, CATALOG_READ, &f->catalog);
	bool of_no_use = rc == -ERR_ABSENT || rc == -ERR_DAMAGED || rc == -EACCES;

	if (rc == 0) {
		rc = walk_tail(f);
		of_no_use = rc == -ERR_ABSENT;
	}
	if (!of_no_use)
		return rc;
	catalog_close(f->catalog);
	f->catalog = NULL;
	f->n_tail = 0;
	signed_log_forget(&f->signed_log);
	return make_catalog(f);
}

static int check_noted(struct folder *f, const struct head *noted)
{
	struct head_ref newest;
	int rc = find_newest(f, &newest);

	if (rc < 0 && rc != -ERR_ABSENT)
		return rc;
	return tail_check_noted(store_storage(f->store), noted, rc == 0 ? newest.number : 0);
}

/*
 * Make the catalog's newest head the anchor: everything that this source returns is proven to
 * belong to its history.
 */
static int hold_newest(struct folder *f)
{
	struct anchor newest;
	struct head_ref ref;
	struct head *h;
	int rc = catalog_newest(f->catalog, &ref);

	if (rc < 0)
		return rc == -ERR_ABSENT ? 0 : rc;
	h = malloc(sizeof(*h));
	if (!h)
		return -ENOMEM;
	rc = read_head(f, &ref, h, &newest);
	if (rc == 0)
		rc = signed_log_admit(&f->signed_log, f->catalog, &newest, 1);
	free(h);
	return rc;
}

static int open_folder(const char *volume_dir, bool partial, struct source **out)
{
	struct folder *f = calloc(1, sizeof(*f));
	struct head noted;
	int rc;

	if (!f)
		return -ENOMEM;
	rc = params_load(volume_dir, &f->params);
	if (rc < 0) {
		free(f);
		return rc;
	}
	f->partial = partial;
	f->source = (struct source){.ops = &folder_ops, .params = &f->params};
	pthread_mutex_init(&f->mu, NULL);
	rc = store_open(volume_dir, STORE_LOOK | (partial ? STORE_AROUND : 0), &f->store);
	signed_log_init(&f->signed_log, &f->params, rc == 0 ? store_storage(f->store) : NULL);
	/*
	 * Read the noted head first.  A live writer goes on meanwhile, so the log, which is looked
	 * at later, must contain it.
	 */
	if (rc == 0)
		newest_known(&f->params, store_storage(f->store), &noted);
	if (rc == 0)
		rc = find_catalog(f, volume_dir);
	if (rc == 0)
		rc = hold_newest(f);
	if (rc == 0 && !partial)
		rc = check_noted(f, &noted);
	if (rc < 0) {
		folder_free(&f->source);
		return rc;
	}
	*out = &f->source;
	return 0;
}

int source_open_folder(const char *volume_dir, struct source **out)
{
	return open_folder(volume_dir, false, out);
}

int source_open_folder_partial(const char *volume_dir, struct source **out)
{
	return open_folder(volume_dir, true, out);
}
