// SPDX-License-Identifier: MIT
/*
 * Any bytes on the link, in pieces: what comes out as a frame has a sound header, its payload is there
 * to its last byte, it opens to what it says or not at all. Half of the inputs are made frames with
 * right checksums, so that what is behind them is reached.
 */
#include <errno.h>
#include <sys/socket.h>

#include "fuzz.h"
#include "link.h"
#include "util.h"

static volatile unsigned int sink; /* so that reading is not optimised away */

static void use(const struct rrc_frame *f, const uint8_t *payload)
{
	struct rrc_hello h;
	unsigned int sum = 0;
	uint8_t *raw;

	must(f->type && f->type < RRC_FRAME_TYPES);
	must(f->type == RRC_FRAME_LOG || f->stored == f->raw);
	for (uint32_t i = 0; i < f->stored; i++)
		sum += payload[i];
	sink = sum;
	if (!rrc_hello_open(f, payload, &h, NULL))
		must(strlen(h.name) < sizeof(h.name) && strlen(h.kernel) < sizeof(h.kernel));
	if (f->raw > 1 << 20)
		return;
	raw = malloc(f->raw ? f->raw : 1);
	must(raw != NULL);
	rrc_frame_open(f, payload, raw, NULL);
	free(raw);
}

/* A frame with what the input says, its checksum right. */
static void put_frame(int fd, struct input *in)
{
	uint8_t type = (uint8_t)take_num(in, RRC_FRAME_TYPES + 1), flags = (uint8_t)take_num(in, 3);
	size_t n = take_num(in, 1024);
	const uint8_t *p = take_bytes(in, &n);
	uint32_t raw = take_num(in, 4) ? (uint32_t)n : take_num(in, 1 << 24);
	struct rrc_frame f;

	rrc_frame_seal(&f, type, flags, p, (uint32_t)n, raw, take_num(in, 65536), 0);
	must(send(fd, &f, sizeof(f), 0) == sizeof(f) && send(fd, p, n, 0) == (ssize_t)n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size < 16384 ? size : 16384 };
	int made = (int)take_num(&in, 2), ret = 0, p[2];
	struct rrc_error err = { 0 };
	const uint8_t *payload;
	struct rrc_link l;
	struct rrc_frame f;

	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p));
	rrc_link_init(&l, p[0]);
	while (in.len && !ret) {
		if (made) {
			put_frame(p[1], &in);
		} else {
			size_t n = 1 + take_num(&in, 4096);
			const uint8_t *bytes = take_bytes(&in, &n);

			must(send(p[1], bytes, n, 0) == (ssize_t)n);
		}
		while ((ret = rrc_link_recv(&l, &f, &payload, &err)) > 0)
			use(&f, payload);
	}
	/* The end of the stream is told, not waited for. */
	shutdown(p[1], SHUT_WR);
	while (ret >= 0 && (ret = rrc_link_recv_wait(&l, &f, &payload, 1000, &err)) > 0)
		use(&f, payload);
	must(ret < 0 && ret != -ETIMEDOUT && err.msg[0]);
	rrc_link_close(&l);
	close(p[1]);
	return 0;
}
