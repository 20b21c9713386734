// SPDX-License-Identifier: MIT
/* Unread datagrams, see datagrams.h. The packets come from outside: every length is checked. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "datagrams.h"
#include "util.h"

#define IP4_HLEN 20
#define IP6_HLEN 40
#define UDP_HLEN 8

static struct rrc_datagram *nth(const struct rrc_datagrams *d, size_t i)
{
	return &d->ring[(d->first + i) % RRC_DATAGRAMS];
}

static void forget(struct rrc_datagrams *d, struct rrc_datagram *gram)
{
	if (gram->packet)
		d->bytes -= gram->head.len;
	free(gram->packet);
	gram->packet = NULL;
}

static void drop_first(struct rrc_datagrams *d)
{
	forget(d, nth(d, 0));
	d->first = (d->first + 1) % RRC_DATAGRAMS;
	d->n--;
}

void rrc_datagrams_free(struct rrc_datagrams *d)
{
	while (d->n)
		drop_first(d);
	free(d->ring);
	d->ring = NULL;
}

static unsigned int get16(const uint8_t *p)
{
	return (unsigned int)p[0] << 8 | p[1];
}

/* Where UDP begins; 0: it is another protocol, or a fragment. */
static size_t find_udp(const uint8_t *p, size_t len, uint8_t *family)
{
	size_t hlen;

	if (len >= IP4_HLEN && p[0] >> 4 == 4) {
		hlen = (size_t)(p[0] & 15) * 4;
		*family = AF_INET;
		return p[9] == IPPROTO_UDP && !(get16(p + 6) & 0x3fff) && hlen >= IP4_HLEN ? hlen
											   : 0;
	}
	if (len < IP6_HLEN || p[0] >> 4 != 6)
		return 0;
	*family = AF_INET6;
	return p[6] == IPPROTO_UDP ? IP6_HLEN : 0;
}

static bool parse(const struct rrc_rec_packet *head, const uint8_t *p, struct rrc_datagram *gram)
{
	size_t at = find_udp(p, head->len, &gram->family), len;

	if (!at || head->len < at + UDP_HLEN || head->len > UINT16_MAX || head->mac_dst[0] & 1 ||
	    head->gso_segs > 1)
		return false;
	len = get16(p + at + 4);
	if (len < UDP_HLEN || at + len > head->len)
		return false;
	gram->head = *head;
	gram->port = (uint16_t)get16(p + at + 2);
	gram->at = (uint16_t)(at + UDP_HLEN);
	gram->len = (uint16_t)(len - UDP_HLEN);
	return true;
}

int rrc_datagrams_packet(struct rrc_datagrams *d, const struct rrc_rec_packet *head,
			 const uint8_t *bytes)
{
	struct rrc_datagram gram = { 0 };

	if (!parse(head, bytes, &gram))
		return 0;
	if (!d->ring)
		d->ring = calloc(RRC_DATAGRAMS, sizeof(*d->ring));
	gram.packet = malloc(head->len);
	if (!d->ring || !gram.packet) {
		free(gram.packet);
		return -ENOMEM;
	}
	memcpy(gram.packet, bytes, head->len);
	while (d->n == RRC_DATAGRAMS || (d->n && d->bytes + head->len > RRC_DATAGRAMS_BYTES))
		drop_first(d);
	*nth(d, d->n++) = gram;
	d->bytes += head->len;
	return 0;
}

/* The oldest that begins with these bytes, or, where they may be of several, that they begin with. */
static struct rrc_datagram *find(const struct rrc_datagrams *d, const uint8_t *bytes, size_t len,
				 bool several)
{
	struct rrc_datagram *cut = NULL;

	for (size_t i = 0; i < d->n; i++) {
		struct rrc_datagram *gram = nth(d, i);

		if (!gram->packet ||
		    memcmp(gram->packet + gram->at, bytes, rrc_min(len, (size_t)gram->len)))
			continue;
		if (gram->len == len || (several && gram->len && gram->len < len))
			return gram;
		if (gram->len > len && !cut)
			cut = gram; /* the program had less room */
	}
	return cut;
}

void rrc_datagrams_read(struct rrc_datagrams *d, const uint8_t *bytes, size_t len, size_t max)
{
	while (max-- && len) {
		struct rrc_datagram *gram = find(d, bytes, len, max > 0);
		size_t n;

		if (!gram)
			break;
		n = rrc_min(len, (size_t)gram->len);
		bytes += n;
		len -= n;
		forget(d, gram);
	}
	while (d->n && !nth(d, 0)->packet)
		drop_first(d);
}

void rrc_datagrams_each(const struct rrc_datagrams *d,
			void (*fn)(const struct rrc_datagram *gram, void *ctx), void *ctx)
{
	for (size_t i = 0; i < d->n; i++)
		if (nth(d, i)->packet)
			fn(nth(d, i), ctx);
}
