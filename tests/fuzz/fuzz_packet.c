// SPDX-License-Identifier: MIT
/*
 * Captured packets, datagrams among them, and the saved table of connections: bytes from outside. The first byte chooses;
 * packets go into a table with one connection, whose promises are checked after each.
 */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <xxhash.h>

#include "conn.h"
#include "fuzz.h"
#include "packet.h"

static int check(struct rrc_conn *conn, void *ctx)
{
	const struct rrc_conn_state *s = &conn->s;

	(void)ctx;
	must(s->read <= s->rcvd && s->acked <= s->written && s->acked <= s->claimed);
	must(conn->in.start == s->read && conn->in.end >= s->rcvd);
	for (uint32_t i = 0; i < s->nspans; i++) {
		must(conn->spans[i].from > (i ? conn->spans[i - 1].to : s->rcvd));
		must(conn->spans[i].to > conn->spans[i].from && conn->spans[i].to <= conn->in.end);
	}
	if (s->rcvd > s->read)
		must(rrc_stream_at(&conn->in, s->rcvd - 1) != NULL);
	return 0;
}

/* Puts the fuzzer's TCP part behind addresses that hit the connection. */
static void feed(struct rrc_conns *conns, const uint8_t *data, size_t len, uint64_t ns)
{
	uint8_t p[2048] = { 0x45, [8] = 64, [9] = 6, [12] = 10, 0, 0, 9, 10, 0, 0, 1 };
	struct rrc_rec_packet head = { 0 };
	uint64_t sum;
	uint16_t fold;

	if (len > 1400)
		len = 1400;
	memcpy(p + 20, data, len);
	if (len > 20) {
		memcpy(p + 20, (uint8_t[]){ 0x9c, 0x40, 0x18, 0xeb, 0, 0 },
		       6); /* ports, near seq */
		memcpy(p + 20 + 8, (uint8_t[]){ 0, 0 }, 2);
		p[2] = (uint8_t)((20 + len) >> 8);
		p[3] = (uint8_t)(20 + len);
		sum = rrc_sum_add(0, p + 12, 8);
		sum = rrc_sum_add(sum, (uint8_t[]){ 0, 6, (uint8_t)(len >> 8), (uint8_t)len }, 4);
		fold = rrc_sum_fold(sum);
		p[36] = (uint8_t)(fold >> 8);
		p[37] = (uint8_t)fold;
	}
	head.len = (uint32_t)(20 + len);
	must(rrc_conns_packet(conns, &head, p, ns, NULL, NULL) == 0);
	rrc_conns_each(conns, check, NULL);
}

static void fuzz_table(const uint8_t *data, size_t size)
{
	struct rrc_rec_conn birth = { .cookie = 1,
				      .family = AF_INET,
				      .lport = 6379,
				      .rport = 40000,
				      .laddr = { 10, 0, 0, 1 },
				      .raddr = { 10, 0, 0, 9 },
				      .state = 1,
				      .wscale_ok = 1,
				      .snd_wscale = 4,
				      .rcv_wscale = 1,
				      .tstamp_ok = 1 };
	struct rrc_conns *conns = rrc_conns_new();
	uint8_t *buf;
	size_t len;

	must(conns != NULL);
	must(!rrc_conns_add(conns, &birth, "abc", 3, "defgh", 5, NULL));
	while (size > 2) {
		size_t n = data[0] | (size_t)(data[1] & 3) << 8;

		data += 2;
		size -= 2;
		n = n < size ? n : size;
		feed(conns, data, n, size);
		data += n;
		size -= n;
	}
	must(!rrc_conns_save(conns, &buf, &len, NULL));
	rrc_conns_free(conns);
	conns = rrc_conns_load(buf, len, NULL);
	must(conns != NULL);
	rrc_conns_each(conns, check, NULL);
	rrc_conns_free(conns);
	free(buf);
}

/* A saved table with the checksum put right, so that what is behind it is reached. */
static void fuzz_load(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 40);
	struct rrc_conns *conns;
	uint64_t n;

	must(copy != NULL);
	memcpy(copy, (uint8_t[]){ 0, 0x52, 0x52, 0x43, 0x43, 0x4f, 0x4e, 0x4e }, 8);
	n = RRC_FORMAT_VERSION | (uint64_t)sizeof(struct rrc_conn_state) << 32;
	memcpy(copy + 8, &n, 8);
	n = size + 40;
	memcpy(copy + 16, &n, 8);
	n = size > 4 ? data[0] % 3 | (uint64_t)(data[1] % 3) << 32 : 0;
	memcpy(copy + 32, &n, 8);
	memcpy(copy + 40, data, size);
	n = XXH3_64bits(copy + 40, size);
	memcpy(copy + 24, &n, 8);
	conns = rrc_conns_load(copy, size + 40, NULL);
	if (conns) {
		rrc_conns_each(conns, check, NULL);
		feed(conns, data, size, 1);
		rrc_conns_free(conns);
	}
	free(copy);
}

static void inside(const struct rrc_datagram *gram, void *ctx)
{
	(void)ctx;
	must((size_t)gram->at + gram->len <= gram->head.len);
	rrc_packet_sum_udp(gram->packet, gram->at);
}

/* Packets that may be datagrams, each of them read in part. */
static void fuzz_datagrams(const uint8_t *data, size_t size)
{
	struct rrc_datagrams d = { 0 };

	while (size > 2) {
		struct rrc_rec_packet head = { .len = data[0] };
		size_t cut = data[1];
		uint8_t *p;

		data += 2;
		size -= 2;
		head.len = head.len < size ? head.len : (uint32_t)size;
		p = malloc(head.len + 1); /* so that one byte too far is seen */
		must(p != NULL);
		memcpy(p, data, head.len);
		p = realloc(p, head.len ? head.len : 1);
		must(!rrc_datagrams_packet(&d, &head, p));
		rrc_datagrams_each(&d, inside, NULL);
		rrc_datagrams_read(&d, p, cut < head.len ? cut : head.len, cut % 4);
		free(p);
		data += head.len;
		size -= head.len;
	}
	rrc_datagrams_free(&d);
	must(!d.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rrc_packet pkt;

	if (!size)
		return 0;
	if (data[0] >= 0xf0)
		fuzz_datagrams(data + 1, size - 1);
	else if (data[0] % 3 == 0)
		fuzz_table(data + 1, size - 1);
	else if (data[0] % 3 == 1)
		fuzz_load(data + 1, size - 1);
	else
		rrc_packet_parse(data + 1, size - 1, data[0] & 4, &pkt);
	return 0;
}
