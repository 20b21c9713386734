// SPDX-License-Identifier: MIT
/* Datagrams that came in, and which of them calls have read. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "datagrams.h"

static void came(struct rrc_datagrams *d, uint16_t port, const char *text)
{
	struct rrc_rec_packet head = { .mac_dst = { 2 } };
	uint8_t p[128] = { 0x45 };
	size_t n = strlen(text);

	p[9] = 17;
	p[22] = (uint8_t)(port >> 8);
	p[23] = (uint8_t)port;
	p[25] = (uint8_t)(8 + n);
	memcpy(p + 28, text, n);
	head.len = (uint32_t)(28 + n);
	cr_assert_eq(rrc_datagrams_packet(d, &head, p), 0);
}

static void read_one(struct rrc_datagrams *d, const char *text)
{
	rrc_datagrams_read(d, (const uint8_t *)text, strlen(text), 1);
}

static void list(const struct rrc_datagram *gram, void *ctx)
{
	snprintf((char *)ctx + strlen(ctx), 32, "%u:%.*s ", gram->port, gram->len,
		 gram->packet + gram->at);
}

static void unread_are(const struct rrc_datagrams *d, const char *want)
{
	char text[4096] = "";

	rrc_datagrams_each(d, list, text);
	cr_assert_str_eq(text, want);
}

Test(datagrams, what_was_read_is_gone)
{
	struct rrc_datagrams d = { 0 };

	came(&d, 53, "one");
	came(&d, 54, "two");
	came(&d, 53, "three");
	came(&d, 53, "one");
	read_one(&d, "two");
	unread_are(&d, "53:one 53:three 53:one ");
	read_one(&d, "one");
	unread_are(&d, "53:three 53:one ");
	read_one(&d, "never seen");
	read_one(&d, "thr"); /* it had no more room */
	unread_are(&d, "53:one ");
	rrc_datagrams_free(&d);
}

Test(datagrams, several_by_one_call)
{
	struct rrc_datagrams d = { 0 };

	came(&d, 1, "ab");
	came(&d, 1, "cde");
	came(&d, 1, "f");
	rrc_datagrams_read(&d, (const uint8_t *)"abcde", 5, 2);
	unread_are(&d, "1:f ");
	rrc_datagrams_free(&d);
}

Test(datagrams, other_packets_and_wrong_lengths)
{
	struct rrc_rec_packet head = { .mac_dst = { 2 }, .len = 30 };
	struct rrc_datagrams d = { 0 };
	uint8_t p[64] = { 0x45 };

	p[9] = 17;
	for (unsigned int udp_len = 0; udp_len < 256; udp_len++) {
		if (udp_len >= 8 && udp_len <= 10)
			continue;
		p[25] = (uint8_t)udp_len;
		cr_assert_eq(rrc_datagrams_packet(&d, &head, p), 0);
	}
	p[25] = 10;
	p[9] = 6;
	rrc_datagrams_packet(&d, &head, p);
	p[9] = 17;
	p[6] = 0x20; /* a fragment */
	rrc_datagrams_packet(&d, &head, p);
	p[6] = 0;
	for (head.len = 0; head.len < 30; head.len++)
		rrc_datagrams_packet(&d, &head, p);
	head.len = 30;
	head.mac_dst[0] = 0xff;
	rrc_datagrams_packet(&d, &head, p);
	cr_assert_eq(d.n, 0);
	rrc_datagrams_free(&d);
}

Test(datagrams, memory_is_bounded)
{
	struct rrc_datagrams d = { 0 };
	char text[16];

	for (int i = 0; i < RRC_DATAGRAMS + 10; i++) {
		snprintf(text, sizeof(text), "%d", i);
		came(&d, 1, text);
	}
	cr_assert_eq(d.n, RRC_DATAGRAMS);
	read_one(&d, "9"); /* forgotten; what begins with it is taken for a longer one */
	read_one(&d, "10");
	cr_assert_geq(d.n, RRC_DATAGRAMS - 2);
	rrc_datagrams_free(&d);
	cr_assert_eq(d.bytes, 0);
}
