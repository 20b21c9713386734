/* SPDX-License-Identifier: MIT */
/* Frames: what goes in comes out, and no altered bit gets through. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

static uint8_t *pack(size_t len, uint64_t pos, size_t *whole)
{
	struct rrc_packer *p = rrc_packer_new();
	uint8_t *records = malloc(len), *copy;
	const void *frame;
	long n;

	cr_assert(p && records);
	for (size_t i = 0; i < len; i++)
		records[i] = (uint8_t)(i / 64);
	n = rrc_packer_log(p, records, (uint32_t)len, pos, 7, &frame);
	cr_assert(n > 0);
	copy = malloc((size_t)n);
	memcpy(copy, frame, (size_t)n);
	*whole = (size_t)n;
	rrc_packer_free(p);
	free(records);
	return copy;
}

static int accept_frame(const uint8_t *bytes, size_t whole, uint8_t *out)
{
	struct rrc_error err = { 0 };
	struct rrc_frame f;
	int ret;

	memcpy(&f, bytes, sizeof(f));
	ret = rrc_frame_check(&f, &err);
	if (ret)
		return ret;
	if (f.stored > whole - sizeof(f))
		return -EBADMSG;
	ret = rrc_frame_verify(&f, bytes + sizeof(f), &err);
	return ret ? ret : rrc_frame_open(&f, bytes + sizeof(f), out, &err);
}

static void round_trip(size_t len)
{
	size_t whole;
	uint8_t *frame = pack(len, 4096, &whole), *out = malloc(len);

	cr_assert_eq(accept_frame(frame, whole, out), 0);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(out[i], (uint8_t)(i / 64));
	free(frame);
	free(out);
}

Test(wire, short_frames_travel_as_they_are)
{
	round_trip(104);
}

Test(wire, long_frames_are_packed_and_opened)
{
	size_t whole;

	round_trip(1 << 20);
	free(pack(1 << 20, 0, &whole));
	cr_assert_lt(whole, (size_t)1 << 18);
}

Test(wire, every_altered_bit_is_found)
{
	uint8_t out[512];
	size_t whole;
	uint8_t *frame = pack(512, 8, &whole);

	for (size_t bit = 0; bit < whole * 8; bit++) {
		frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_lt(accept_frame(frame, whole, out), 0, "bit %zu", bit);
		frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	cr_assert_eq(accept_frame(frame, whole, out), 0);
	free(frame);
}

Test(wire, another_version_is_named)
{
	struct rrc_error err = { 0 };
	struct rrc_frame f;

	rrc_frame_seal(&f, RRC_FRAME_BEAT, 0, "", 0, 0, 0, 0);
	f.version++;
	cr_assert_eq(rrc_frame_check(&f, &err), -EPROTO);
	cr_assert(strstr(err.msg, "version"));
}

/* Only who reads the log knows of two lengths: anywhere else the second one would be believed. */
Test(wire, only_log_frames_are_packed)
{
	struct rrc_error err = { 0 };
	struct rrc_frame f;

	for (unsigned int type = 1; type < RRC_FRAME_TYPES; type++) {
		rrc_frame_seal(&f, type, RRC_FRAME_ZSTD, "abcd", 4, RRC_FRAME_MAX, 0, 0);
		cr_assert_eq(rrc_frame_check(&f, &err) == 0, type == RRC_FRAME_LOG, "%u", type);
		rrc_frame_seal(&f, type, 0, "abcd", 4, 4, 0, 0);
		cr_assert_eq(rrc_frame_check(&f, &err), 0);
	}
}

Test(wire, greetings)
{
	struct rrc_hello h = { .role = RRC_ROLE_BULK, .name = "web", .kernel = "6.1" }, got;
	struct rrc_error err = { 0 };
	struct rrc_frame f;

	rrc_frame_seal(&f, RRC_FRAME_HELLO, 0, &h, sizeof(h), sizeof(h), 0, 0);
	cr_assert_eq(rrc_hello_open(&f, &h, &got, &err), 0, "%s", err.msg);
	cr_assert(!memcmp(&h, &got, sizeof(h)));
	memset(h.name, 'x', sizeof(h.name));
	cr_assert_eq(rrc_hello_open(&f, &h, &got, &err), -EPROTO);
	memset(h.name, 0, sizeof(h.name));
	memset(h.kernel, 'x', sizeof(h.kernel));
	cr_assert_eq(rrc_hello_open(&f, &h, &got, &err), -EPROTO);
	f.stored = f.raw = sizeof(h) - 1;
	cr_assert_eq(rrc_hello_open(&f, &h, &got, &err), -EPROTO);
	rrc_frame_seal(&f, RRC_FRAME_BEAT, 0, &h, sizeof(h), sizeof(h), 0, 0);
	cr_assert_eq(rrc_hello_open(&f, &h, &got, &err), -EPROTO);
}
