/*
 * Slices and byte buffers of gRPC: counted bytes, no more.  In place of the library's, whose own
 * bookkeeping hangs on the thread, which here is one for all.
 */

#include "world.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct grpc_slice_refcount {
	unsigned refs;
	void (*release)(void *arg); /* NULL: of its own memory */
	void *arg;
};

static struct grpc_slice_refcount never_freed = {.refs = 1};

static grpc_slice slice_of(void *bytes, size_t len, void (*release)(void *arg), void *arg)
{
	grpc_slice s = {0};

	s.refcount = malloc(sizeof(*s.refcount));
	assert(s.refcount);
	*s.refcount = (struct grpc_slice_refcount){1, release, arg};
	s.data.refcounted.bytes = bytes;
	s.data.refcounted.length = len;
	return s;
}

grpc_slice grpc_slice_malloc(size_t length)
{
	void *p = malloc(length + 1);

	assert(p);
	return slice_of(p, length, free, p);
}

grpc_slice grpc_slice_from_copied_buffer(const char *source, size_t len)
{
	grpc_slice s = grpc_slice_malloc(len);

	if (len > 0)
		memcpy(GRPC_SLICE_START_PTR(s), source, len);
	return s;
}

grpc_slice grpc_slice_from_copied_string(const char *source)
{
	return grpc_slice_from_copied_buffer(source, strlen(source));
}

grpc_slice grpc_slice_from_static_string(const char *source)
{
	grpc_slice s = {.refcount = &never_freed};

	s.data.refcounted.bytes = (uint8_t *)(uintptr_t)source;
	s.data.refcounted.length = strlen(source);
	return s;
}

grpc_slice grpc_slice_new_with_user_data(void *p, size_t len, void (*destroy)(void *),
					 void *user_data)
{
	return slice_of(p, len, destroy, user_data);
}

grpc_slice grpc_empty_slice(void)
{
	return (grpc_slice){0};
}

grpc_slice grpc_slice_ref(grpc_slice s)
{
	if (s.refcount && s.refcount != &never_freed)
		s.refcount->refs++;
	return s;
}

void grpc_slice_unref(grpc_slice s)
{
	struct grpc_slice_refcount *r = s.refcount;

	if (!r || r == &never_freed || --r->refs > 0)
		return;
	r->release(r->arg);
	free(r);
}

int grpc_slice_str_cmp(grpc_slice a, const char *b)
{
	size_t len = GRPC_SLICE_LENGTH(a);

	return len != strlen(b) || memcmp(GRPC_SLICE_START_PTR(a), b, len) != 0;
}

grpc_byte_buffer *grpc_raw_byte_buffer_create(grpc_slice *slices, size_t nslices)
{
	grpc_byte_buffer *bb = calloc(1, sizeof(*bb));
	grpc_slice_buffer *sb;

	assert(bb);
	bb->type = GRPC_BB_RAW;
	bb->data.raw.compression = GRPC_COMPRESS_NONE;
	sb = &bb->data.raw.slice_buffer;
	sb->slices = calloc(nslices + 1, sizeof(*sb->slices));
	assert(sb->slices);
	sb->count = nslices;
	for (size_t i = 0; i < nslices; i++) {
		sb->slices[i] = grpc_slice_ref(slices[i]);
		sb->length += GRPC_SLICE_LENGTH(slices[i]);
	}
	return bb;
}

grpc_byte_buffer *grpc_byte_buffer_copy(grpc_byte_buffer *bb)
{
	return grpc_raw_byte_buffer_create(bb->data.raw.slice_buffer.slices,
					   bb->data.raw.slice_buffer.count);
}

size_t grpc_byte_buffer_length(grpc_byte_buffer *bb)
{
	return bb->data.raw.slice_buffer.length;
}

void grpc_byte_buffer_destroy(grpc_byte_buffer *bb)
{
	grpc_slice_buffer *sb;

	if (!bb)
		return;
	sb = &bb->data.raw.slice_buffer;
	for (size_t i = 0; i < sb->count; i++)
		grpc_slice_unref(sb->slices[i]);
	free(sb->slices);
	free(bb);
}

int grpc_byte_buffer_reader_init(grpc_byte_buffer_reader *reader, grpc_byte_buffer *buffer)
{
	reader->buffer_in = reader->buffer_out = buffer;
	return 1;
}

void grpc_byte_buffer_reader_destroy(grpc_byte_buffer_reader *reader)
{
	reader->buffer_in = NULL;
}

grpc_slice grpc_byte_buffer_reader_readall(grpc_byte_buffer_reader *reader)
{
	const grpc_slice_buffer *sb = &reader->buffer_in->data.raw.slice_buffer;
	grpc_slice all = grpc_slice_malloc(sb->length);
	uint8_t *to = GRPC_SLICE_START_PTR(all);

	for (size_t i = 0; i < sb->count; i++) {
		memcpy(to, GRPC_SLICE_START_PTR(sb->slices[i]), GRPC_SLICE_LENGTH(sb->slices[i]));
		to += GRPC_SLICE_LENGTH(sb->slices[i]);
	}
	return all;
}

/* ---- time ---- */

static gpr_timespec timespec_of(uint64_t ns)
{
	return (gpr_timespec){.tv_sec = (int64_t)(ns / SECOND),
			      .tv_nsec = (int32_t)(ns % SECOND),
			      .clock_type = GPR_CLOCK_MONOTONIC};
}

gpr_timespec gpr_now(gpr_clock_type clock)
{
	(void)clock;
	return timespec_of(world_now());
}

gpr_timespec gpr_inf_future(gpr_clock_type type)
{
	return (gpr_timespec){.tv_sec = INT64_MAX, .clock_type = type};
}

gpr_timespec gpr_time_from_millis(int64_t ms, gpr_clock_type type)
{
	(void)type;
	return timespec_of((uint64_t)ms * MS);
}

gpr_timespec gpr_time_add(gpr_timespec a, gpr_timespec b)
{
	return timespec_of((uint64_t)a.tv_sec * SECOND + (uint64_t)a.tv_nsec +
			   (uint64_t)b.tv_sec * SECOND + (uint64_t)b.tv_nsec);
}
