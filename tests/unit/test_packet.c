// SPDX-License-Identifier: MIT
/* Packets taken apart and made: what is right, and what an attacker would send. */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "packet.h"

static struct rrc_bare bare(uint16_t family)
{
	struct rrc_bare b = { .family = family,
			      .sport = 40000,
			      .dport = 6379,
			      .seq = 0xfffffff0,
			      .ack = 77,
			      .win = 500,
			      .flags = RRC_TCP_ACK | RRC_TCP_PSH,
			      .ts = true,
			      .tsval = 0x01020304,
			      .tsecr = 5 };

	for (int i = 0; i < (family == AF_INET ? 4 : 16); i++) {
		b.src[i] = (uint8_t)(i + 1);
		b.dst[i] = (uint8_t)(200 - i);
	}
	return b;
}

static enum rrc_packet_result parse(const uint8_t *frame, size_t len, struct rrc_packet *pkt)
{
	return rrc_packet_parse(frame + 14, len - 14, true, pkt);
}

static void round_trip(uint16_t family)
{
	uint8_t frame[RRC_PACKET_BARE_MAX];
	struct rrc_bare b = bare(family);
	struct rrc_packet p;
	size_t len;

	for (int byte = 0; byte < 2; byte++) {
		b.byte = byte;
		len = rrc_packet_build(&b, frame);
		cr_assert_leq(len, sizeof(frame));
		cr_assert_eq(parse(frame, len, &p), RRC_PACKET_OK);
		cr_assert_eq(p.family, family);
		cr_assert_eq(p.sport, b.sport);
		cr_assert_eq(p.dport, b.dport);
		cr_assert_eq(p.seq, b.seq);
		cr_assert_eq(p.ack, b.ack);
		cr_assert_eq(p.win, b.win);
		cr_assert_eq(p.flags, b.flags);
		cr_assert_eq(p.opts, RRC_PKT_TS);
		cr_assert_eq(p.tsval, b.tsval);
		cr_assert_eq(p.tsecr, b.tsecr);
		cr_assert_eq(p.len, (uint32_t)byte);
		cr_assert_arr_eq(p.src, b.src, 16);
		cr_assert_arr_eq(p.dst, b.dst, 16);
	}
}

Test(packet, round_trip_4)
{
	round_trip(AF_INET);
}

Test(packet, round_trip_6)
{
	round_trip(AF_INET6);
}

Test(packet, every_flipped_bit_is_noticed)
{
	uint16_t families[] = { AF_INET, AF_INET6 };

	for (int f = 0; f < 2; f++) {
		uint8_t frame[RRC_PACKET_BARE_MAX];
		struct rrc_bare b = bare(families[f]);
		size_t len = rrc_packet_build(&b, frame), tcp = 14 + (f ? 40 : 20);

		for (size_t bit = tcp * 8; bit < len * 8; bit++) {
			struct rrc_packet p;

			frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
			cr_assert_neq(parse(frame, len, &p), RRC_PACKET_OK, "bit %zu", bit);
			frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

Test(packet, cut_short_anywhere)
{
	uint8_t frame[RRC_PACKET_BARE_MAX];
	struct rrc_bare b = bare(AF_INET6);
	size_t len = rrc_packet_build(&b, frame);
	struct rrc_packet p;

	for (size_t n = 14; n < len; n++)
		cr_assert_neq(parse(frame, n, &p), RRC_PACKET_OK, "%zu bytes", n);
	/* Longer than the packet says (padding of a short frame) is fine. */
	cr_assert_eq(rrc_packet_parse(frame + 14, len - 14, false, &p), RRC_PACKET_OK);
}

/* A packet from another namespace of the same machine: the sum of the pseudo header alone. */
Test(packet, checksum_left_to_hardware)
{
	uint8_t frame[RRC_PACKET_BARE_MAX];
	struct rrc_bare b = bare(AF_INET);
	size_t len = rrc_packet_build(&b, frame), tcp_len = len - 34;
	uint8_t pseudo[4] = { 0, 6, (uint8_t)(tcp_len >> 8), (uint8_t)tcp_len };
	uint16_t sum = rrc_sum_fold(rrc_sum_add(rrc_sum_add(0, frame + 26, 8), pseudo, 4));
	struct rrc_packet p;

	frame[50] = (uint8_t)(sum >> 8);
	frame[51] = (uint8_t)sum;
	cr_assert_eq(parse(frame, len, &p), RRC_PACKET_OK);
	frame[51]++;
	cr_assert_eq(parse(frame, len, &p), RRC_PACKET_BAD);
}

Test(packet, extension_headers)
{
	uint8_t frame[RRC_PACKET_BARE_MAX], long_one[200] = { 0 };
	struct rrc_bare b = bare(AF_INET6);
	size_t len = rrc_packet_build(&b, frame), tcp_len = len - 54;
	struct rrc_packet p;

	memcpy(long_one, frame + 14, 40);
	long_one[5] = (uint8_t)(tcp_len + 24);
	long_one[6] = IPPROTO_HOPOPTS;
	long_one[40] = IPPROTO_DSTOPTS; /* 8 bytes */
	long_one[48] = IPPROTO_TCP; /* 16 bytes */
	long_one[49] = 1;
	memcpy(long_one + 64, frame + 54, tcp_len);
	cr_assert_eq(rrc_packet_parse(long_one, 64 + tcp_len, true, &p), RRC_PACKET_OK);
	cr_assert_eq(p.sport, b.sport);
	long_one[49] = 255; /* reaches beyond the packet */
	cr_assert_eq(rrc_packet_parse(long_one, 64 + tcp_len, true, &p), RRC_PACKET_BAD);
	long_one[40] = IPPROTO_FRAGMENT;
	cr_assert_eq(rrc_packet_parse(long_one, 64 + tcp_len, true, &p), RRC_PACKET_NOT_TCP);
}

Test(packet, options_of_a_syn)
{
	uint8_t p[20 + 40] = { 0x45, 0, 0, 60, [6] = 0x40, [8] = 64, [9] = IPPROTO_TCP };
	static const uint8_t opts[20] = { 2, 4, 5, 180, 4, 2, 8, 10, 0, 0,
					  0, 9, 0, 0,	0, 0, 1, 3,  3, 20 };
	struct rrc_packet pkt;

	p[20 + 12] = 0xa0;
	p[20 + 13] = RRC_TCP_SYN;
	memcpy(p + 40, opts, sizeof(opts));
	cr_assert_eq(rrc_packet_parse(p, sizeof(p), false, &pkt), RRC_PACKET_OK);
	cr_assert_eq(pkt.opts, RRC_PKT_MSS | RRC_PKT_SACK_OK | RRC_PKT_TS | RRC_PKT_WSCALE);
	cr_assert_eq(pkt.mss, 1460);
	cr_assert_eq(pkt.wscale, 14, "more than 14 is taken as 14");
	p[41] = 1; /* an option shorter than itself */
	cr_assert_eq(rrc_packet_parse(p, sizeof(p), false, &pkt), RRC_PACKET_BAD);
	p[41] = 41; /* longer than the header */
	cr_assert_eq(rrc_packet_parse(p, sizeof(p), false, &pkt), RRC_PACKET_BAD);
	p[41] = 4;
	p[20 + 12] = 0x40; /* header shorter than a header */
	cr_assert_eq(rrc_packet_parse(p, sizeof(p), false, &pkt), RRC_PACKET_BAD);
	p[6] = 0x20; /* a fragment */
	cr_assert_eq(rrc_packet_parse(p, sizeof(p), false, &pkt), RRC_PACKET_NOT_TCP);
}

Test(packet, unreachable_names_the_lost_segment)
{
	uint16_t families[] = { AF_INET, AF_INET6 };

	for (int f = 0; f < 2; f++) {
		uint8_t frame[RRC_PACKET_BARE_MAX], *icmp = frame + 14 + (f ? 40 : 20);
		uint8_t *inner = icmp + 8, *tcp = inner + (f ? 40 : 20);
		struct rrc_bare b = bare(families[f]);
		size_t len = rrc_packet_build_unreachable(&b, frame),
		       n = (size_t)(frame + len - icmp);
		uint8_t tail[8] = { 0, 0, 0, (uint8_t)n, 0, 0, 0, IPPROTO_ICMPV6 };
		uint64_t sum = rrc_sum_add(0, icmp, n);

		cr_assert_leq(len, sizeof(frame));
		if (f)
			sum = rrc_sum_add(rrc_sum_add(sum, frame + 22, 32), tail, 8);
		cr_assert_eq(rrc_sum_fold(sum), 0xffff);
		cr_assert_eq(icmp[0], f ? 1 : 3);
		/* The segment was on its way from them to us. */
		cr_assert_arr_eq(inner + (f ? 8 : 12), b.dst, f ? 16 : 4);
		cr_assert_eq(tcp[0] << 8 | tcp[1], b.dport);
		cr_assert_eq(tcp[2] << 8 | tcp[3], b.sport);
		cr_assert_eq(tcp[7], b.ack);
	}
}

Test(packet, made_with_options_and_data)
{
	static const uint8_t opts[] = { 2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 9 };
	uint8_t data[RRC_PACKET_BARE_MAX * 4], frame[RRC_PACKET_BARE_MAX + sizeof(data)];
	struct rrc_bare b = bare(AF_INET6);
	struct rrc_packet pkt;
	size_t len;

	memset(data, 'x', sizeof(data));
	b.opts = opts;
	b.opts_len = sizeof(opts);
	b.data = data;
	b.len = sizeof(data);
	len = rrc_packet_build(&b, frame);
	cr_assert_eq(rrc_packet_parse(frame + 14, len - 14, true, &pkt), RRC_PACKET_OK);
	cr_assert_eq(pkt.opts, RRC_PKT_MSS | RRC_PKT_SACK_OK | RRC_PKT_WSCALE);
	cr_assert_eq(pkt.mss, 1460);
	cr_assert_eq(pkt.wscale, 9);
	cr_assert_eq(pkt.len, sizeof(data));
	cr_assert_arr_eq(pkt.data, data, sizeof(data));
}

/* RFC 768's sum over pseudo header and all comes to all ones. */
Test(packet, checksum_of_a_datagram)
{
	uint8_t p[33] = { 0x45, [9] = 17, [12] = 10, 0,	 0,    1,    10,  0,   0,   9,	 0,  53,
			  0,	99,	  0,	     13, 0xab, 0xcd, 'h', 'e', 'l', 'l', 'o' };
	uint8_t rest[4] = { 0, 17, 0, 13 };
	uint64_t sum;

	rrc_packet_sum_udp(p, 28);
	sum = rrc_sum_add(rrc_sum_add(rrc_sum_add(0, p + 12, 8), rest, 4), p + 20, 13);
	cr_assert_eq(rrc_sum_fold(sum), 0xffff);
	cr_assert_str_neq((char *)p + 26, "\xab\xcd");
}
