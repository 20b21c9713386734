// SPDX-License-Identifier: MIT
/* IP and TCP packets taken apart and made, see packet.h. Nothing here trusts a length it was given. */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "packet.h"

#define IP4_HLEN   20
#define IP6_HLEN   40
#define UDP_HLEN   8
#define TCP_HLEN   20
#define TS_OPT_LEN 12 /* two NOPs and the option */
#define MAX_EXT	   8 /* IPv6 extension headers that are looked behind */

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}

uint64_t rrc_sum_add(uint64_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t w;
	uint16_t h;

	/* Native order: the sum is the same up to a byte swap, which ntohs undoes at the end. */
	for (; len >= 4; len -= 4, p += 4) {
		memcpy(&w, p, 4);
		sum += w;
	}
	if (len >= 2) {
		memcpy(&h, p, 2);
		sum += h;
		p += 2;
		len -= 2;
	}
	if (len)
		sum += htons((uint16_t)(*p << 8));
	return sum;
}

uint16_t rrc_sum_fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ntohs((uint16_t)sum);
}

static uint64_t pseudo_sum(uint16_t family, const uint8_t *src, const uint8_t *dst,
			   uint8_t protocol, uint32_t len)
{
	size_t alen = family == AF_INET ? 4 : 16;
	uint8_t tail[8] = { 0 };
	uint64_t sum;

	put32(tail, len);
	tail[7] = protocol;
	sum = rrc_sum_add(0, src, alen);
	sum = rrc_sum_add(sum, dst, alen);
	return rrc_sum_add(sum, tail, sizeof(tail));
}

void rrc_packet_sum_udp(uint8_t *packet, size_t at)
{
	bool v4 = packet[0] >> 4 == 4;
	uint8_t *udp = packet + at - UDP_HLEN, *addrs = packet + (v4 ? 12 : 8);
	uint16_t len = get16(udp + 4), sum;
	uint64_t pseudo =
		pseudo_sum(v4 ? AF_INET : AF_INET6, addrs, addrs + (v4 ? 4 : 16), IPPROTO_UDP, len);

	put16(udp + 6, 0);
	sum = (uint16_t)~rrc_sum_fold(rrc_sum_add(pseudo, udp, len));
	put16(udp + 6, sum ? sum : 0xffff); /* 0 says that there is none */
}

static bool sum_right(const struct rrc_packet *pkt, const uint8_t *tcp, uint32_t tcp_len)
{
	uint64_t pseudo = pseudo_sum(pkt->family, pkt->src, pkt->dst, IPPROTO_TCP, tcp_len);

	if (get16(tcp + 16) == rrc_sum_fold(pseudo))
		return true; /* to be completed by a network card that it never met */
	return rrc_sum_fold(rrc_sum_add(pseudo, tcp, tcp_len)) == 0xffff;
}

static bool parse_opts(const uint8_t *p, size_t len, struct rrc_packet *pkt)
{
	while (len) {
		uint8_t kind = p[0], olen;

		if (kind == 0)
			return true;
		if (kind == 1) {
			p++, len--;
			continue;
		}
		if (len < 2 || p[1] < 2 || p[1] > len)
			return false;
		olen = p[1];
		if (kind == 2 && olen == 4) {
			pkt->opts |= RRC_PKT_MSS;
			pkt->mss = get16(p + 2);
		} else if (kind == 3 && olen == 3) {
			pkt->opts |= RRC_PKT_WSCALE;
			pkt->wscale = p[2] > 14 ? 14 : p[2]; /* RFC 7323, 2.3 */
		} else if (kind == 4 && olen == 2) {
			pkt->opts |= RRC_PKT_SACK_OK;
		} else if (kind == 8 && olen == 10) {
			pkt->opts |= RRC_PKT_TS;
			pkt->tsval = get32(p + 2);
			pkt->tsecr = get32(p + 6);
		}
		p += olen;
		len -= olen;
	}
	return true;
}

static enum rrc_packet_result parse_tcp(const uint8_t *p, size_t len, bool sum,
					struct rrc_packet *pkt)
{
	size_t hlen;

	if (len < TCP_HLEN || len > UINT32_MAX)
		return RRC_PACKET_BAD;
	hlen = (size_t)(p[12] >> 4) * 4;
	if (hlen < TCP_HLEN || hlen > len)
		return RRC_PACKET_BAD;
	if (sum && !sum_right(pkt, p, (uint32_t)len))
		return RRC_PACKET_BAD;
	pkt->sport = get16(p);
	pkt->dport = get16(p + 2);
	pkt->seq = get32(p + 4);
	pkt->ack = get32(p + 8);
	pkt->flags = p[13];
	pkt->win = get16(p + 14);
	pkt->data = p + hlen;
	pkt->len = (uint32_t)(len - hlen);
	return parse_opts(p + TCP_HLEN, hlen - TCP_HLEN, pkt) ? RRC_PACKET_OK : RRC_PACKET_BAD;
}

static enum rrc_packet_result parse_ip4(const uint8_t *p, size_t len, bool sum,
					struct rrc_packet *pkt)
{
	size_t hlen, total;

	if (len < IP4_HLEN)
		return RRC_PACKET_BAD;
	hlen = (size_t)(p[0] & 15) * 4;
	total = get16(p + 2);
	if (total == 0 && len > UINT16_MAX)
		total = len; /* a merged packet that the field cannot hold */
	if (hlen < IP4_HLEN || total < hlen || total > len)
		return RRC_PACKET_BAD;
	if (get16(p + 6) & 0x3fff || p[9] != IPPROTO_TCP)
		return RRC_PACKET_NOT_TCP;
	pkt->family = AF_INET;
	memcpy(pkt->src, p + 12, 4);
	memcpy(pkt->dst, p + 16, 4);
	return parse_tcp(p + hlen, total - hlen, sum, pkt);
}

static enum rrc_packet_result parse_ip6(const uint8_t *p, size_t len, bool sum,
					struct rrc_packet *pkt)
{
	size_t total, off = IP6_HLEN;
	uint8_t next;

	if (len < IP6_HLEN)
		return RRC_PACKET_BAD;
	total = get16(p + 4);
	total = total == 0 && len > UINT16_MAX ? len : total + IP6_HLEN;
	if (total > len)
		return RRC_PACKET_BAD;
	next = p[6];
	for (int i = 0; next != IPPROTO_TCP; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			return RRC_PACKET_NOT_TCP;
		if (i == MAX_EXT || total - off < 8)
			return RRC_PACKET_BAD;
		next = p[off];
		off += ((size_t)p[off + 1] + 1) * 8;
		if (off > total)
			return RRC_PACKET_BAD;
	}
	pkt->family = AF_INET6;
	memcpy(pkt->src, p + 8, 16);
	memcpy(pkt->dst, p + 24, 16);
	return parse_tcp(p + off, total - off, sum, pkt);
}

enum rrc_packet_result rrc_packet_parse(const void *buf, size_t len, bool sum,
					struct rrc_packet *pkt)
{
	const uint8_t *p = buf;

	memset(pkt, 0, sizeof(*pkt));
	if (len < 1)
		return RRC_PACKET_BAD;
	switch (p[0] >> 4) {
	case 4:
		return parse_ip4(p, len, sum, pkt);
	case 6:
		return parse_ip6(p, len, sum, pkt);
	default:
		return RRC_PACKET_NOT_TCP;
	}
}

static size_t build_ip(uint16_t family, const uint8_t *src, const uint8_t *dst, uint8_t protocol,
		       uint8_t *p, size_t len)
{
	if (family == AF_INET) {
		memset(p, 0, IP4_HLEN);
		p[0] = 0x45;
		put16(p + 2, (uint16_t)(IP4_HLEN + len));
		p[6] = 0x40; /* may not be fragmented */
		p[8] = 64;
		p[9] = protocol;
		memcpy(p + 12, src, 4);
		memcpy(p + 16, dst, 4);
		put16(p + 10, (uint16_t)~rrc_sum_fold(rrc_sum_add(0, p, IP4_HLEN)));
		return IP4_HLEN;
	}
	memset(p, 0, IP6_HLEN);
	p[0] = 0x60;
	put16(p + 4, (uint16_t)len);
	p[6] = protocol;
	p[7] = 64;
	memcpy(p + 8, src, 16);
	memcpy(p + 24, dst, 16);
	return IP6_HLEN;
}

static uint8_t *build_ether(const struct rrc_bare *bare, uint8_t *p)
{
	memcpy(p, bare->mac_dst, 6);
	memcpy(p + 6, bare->mac_src, 6);
	put16(p + 12, bare->family == AF_INET ? ETHERTYPE_IP : ETHERTYPE_IPV6);
	return p + ETH_HLEN;
}

size_t rrc_packet_build(const struct rrc_bare *bare, uint8_t *buf)
{
	size_t hlen = TCP_HLEN + (bare->opts ? bare->opts_len : bare->ts ? TS_OPT_LEN : 0);
	size_t tcp_len = hlen + (bare->byte ? 1 : bare->len);
	uint8_t *p = build_ether(bare, buf);
	uint64_t sum;

	p += build_ip(bare->family, bare->src, bare->dst, IPPROTO_TCP, p, tcp_len);
	memset(p, 0, tcp_len);
	put16(p, bare->sport);
	put16(p + 2, bare->dport);
	put32(p + 4, bare->seq);
	put32(p + 8, bare->ack);
	p[12] = (uint8_t)(hlen / 4 << 4);
	p[13] = bare->flags;
	put16(p + 14, bare->win);
	if (bare->opts) {
		memcpy(p + TCP_HLEN, bare->opts, bare->opts_len);
	} else if (bare->ts) {
		p[20] = p[21] = 1;
		p[22] = 8;
		p[23] = 10;
		put32(p + 24, bare->tsval);
		put32(p + 28, bare->tsecr);
	}
	if (bare->len)
		memcpy(p + hlen, bare->data, bare->len);
	sum = pseudo_sum(bare->family, bare->src, bare->dst, IPPROTO_TCP, (uint32_t)tcp_len);
	put16(p + 16, (uint16_t)~rrc_sum_fold(rrc_sum_add(sum, p, tcp_len)));
	return (size_t)(p + tcp_len - buf);
}

size_t rrc_packet_build_unreachable(const struct rrc_bare *bare, uint8_t *buf)
{
	bool v4 = bare->family == AF_INET;
	uint8_t protocol = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	size_t len = 8 + (v4 ? IP4_HLEN : IP6_HLEN) + 8;
	uint8_t *p = build_ether(bare, buf), *in;
	uint64_t sum =
		v4 ? 0 : pseudo_sum(bare->family, bare->src, bare->dst, protocol, (uint32_t)len);

	p += build_ip(bare->family, bare->src, bare->dst, protocol, p, len);
	memset(p, 0, len);
	p[0] = v4 ? 3 : 1; /* destination unreachable: */
	p[1] = v4 ? 1 : 0; /* host; no route */
	in = p + 8;
	in += build_ip(bare->family, bare->dst, bare->src, IPPROTO_TCP, in, TCP_HLEN);
	put16(in, bare->dport);
	put16(in + 2, bare->sport);
	put32(in + 4, bare->ack);
	put16(p + 2, (uint16_t)~rrc_sum_fold(rrc_sum_add(sum, p, len)));
	return (size_t)(p + len - buf);
}
