/*
 * VOLUME/newest-serial: a decimal number and a newline.  It is advice for whoever changes
 * volume.conf, and says nothing about any copy; a volume without it is as good as any.
 */

#include "serial.h"

#include "err.h"
#include "file.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERIAL_FILE_MAX 32u

static int serial_path(const char *volume_dir, char **out)
{
	return asprintf(out, "%s/newest-serial", volume_dir) < 0 ? -ENOMEM : 0;
}

static int read_serial(const char *path, uint64_t *out)
{
	struct text t;
	void *data;
	size_t len;
	int rc;

	*out = 0;
	rc = file_read_all(AT_FDCWD, path, SERIAL_FILE_MAX, &data, &len);
	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return err_say(rc, "%s: %s", path, err_text(rc));
	t = text_of(data, len);
	if (t.len > 0 && t.p[t.len - 1] == '\n')
		t.len--;
	if (!text_u64(t, out))
		rc = err_say(
			-ERR_FORMAT,
			"%s: not a number; write the highest serial that a volume.conf of this "
			"volume has had into it",
			path);
	free(data);
	return rc;
}

int serial_newest(const char *volume_dir, uint64_t *out)
{
	char *path;
	int rc = serial_path(volume_dir, &path);

	if (rc < 0)
		return rc;
	rc = read_serial(path, out);
	free(path);
	return rc;
}

int serial_note(const char *volume_dir, uint64_t serial)
{
	uint64_t known;
	char text[24], *path;
	int rc = serial_path(volume_dir, &path);

	if (rc < 0)
		return rc;
	rc = read_serial(path, &known);
	if (rc == 0 && known < serial) {
		snprintf(text, sizeof(text), "%" PRIu64 "\n", serial);
		rc = file_replace(AT_FDCWD, path, text, strlen(text), 0600);
		if (rc < 0)
			rc = err_say(rc, "%s: cannot write: %s", path, err_text(rc));
	}
	free(path);
	return rc;
}
