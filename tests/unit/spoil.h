#ifndef SPOIL_H_
#define SPOIL_H_

/* A catalog in a volume's folder, which nobody has open, made wrong. */

#include "bytes.h"
#include "kv.h"

#include <criterion/criterion.h>
#include <stdio.h>

/* spoil_time(volume_dir, number): it has another time for head ${number}. */
static inline void spoil_time(const char *volume_dir, uint64_t number)
{
	uint8_t key[9] = {'H'}, value[20];
	struct kv_batch *b;
	char path[512];
	struct kv *kv;
	size_t len;

	snprintf(path, sizeof(path), "%s/catalog", volume_dir);
	cr_assert_eq(kv_open(path, true, &kv), 0);
	put_be64(key + 1, number);
	cr_assert_eq(kv_get(kv, key, sizeof(key), value, sizeof(value), &len), 0);
	cr_assert_eq(len, sizeof(value));
	value[12] ^= 1;
	b = kv_batch_new(kv);
	kv_batch_put(kv, b, key, sizeof(key), value, sizeof(value));
	cr_assert_eq(kv_batch_write(kv, b), 0);
	kv_close(kv);
}

/* spoil_order(volume_dir, number): by time, the head after ${number} comes in its place. */
static inline void spoil_order(const char *volume_dir, uint64_t number)
{
	uint8_t key[9] = {'H'}, value[20], time[17] = {'T'};
	struct kv_batch *b;
	char path[512];
	struct kv *kv;
	size_t len;

	snprintf(path, sizeof(path), "%s/catalog", volume_dir);
	cr_assert_eq(kv_open(path, true, &kv), 0);
	put_be64(key + 1, number);
	cr_assert_eq(kv_get(kv, key, sizeof(key), value, sizeof(value), &len), 0);
	put_be64(time + 1, get_le64(value + 12) ^ UINT64_C(1) << 63);
	put_be64(time + 9, number + 1);
	b = kv_batch_new(kv);
	kv_batch_put(kv, b, time, sizeof(time), "", 0);
	cr_assert_eq(kv_batch_write(kv, b), 0);
	kv_close(kv);
}

/* spoil_leaf(volume_dir, index): it has another leaf for block ${index}. */
static inline void spoil_leaf(const char *volume_dir, uint64_t index)
{
	static uint8_t tile[256 * 32];
	uint8_t key[10] = {'M', 0};
	struct kv_batch *b;
	char path[512];
	struct kv *kv;
	size_t len;

	snprintf(path, sizeof(path), "%s/catalog", volume_dir);
	cr_assert_eq(kv_open(path, true, &kv), 0);
	put_be64(key + 2, index / 256);
	cr_assert_eq(kv_get(kv, key, sizeof(key), tile, sizeof(tile), &len), 0);
	cr_assert_gt(len, index % 256 * 32);
	tile[index % 256 * 32] ^= 1;
	b = kv_batch_new(kv);
	kv_batch_put(kv, b, key, sizeof(key), tile, len);
	cr_assert_eq(kv_batch_write(kv, b), 0);
	kv_close(kv);
}

#endif /* !SPOIL_H_ */
