// SPDX-License-Identifier: MIT
/* Connections recreated in their listener, see reborn.h. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>

#include "../bpf/reborn.h"
#include "ingress.h"
#include "reborn.h"
#include "reborn.skel.h"
#include "util.h"

#define WAIT_MS	    20 /* for the kernel's backlog, which mostly is worked off at once */
#define TS_AHEAD_MS 1000 /* beyond what the client has seen of us: it has only our SYN-ACK */

struct rrc_reborn {
	struct reborn_bpf *skel;
	int netns, map;
	uint32_t ifindex;
	bool attached, refused;
};

static struct reborn_bpf *load(void)
{
	libbpf_print_fn_t old = libbpf_set_print(NULL); /* a refusal is no news to anybody */
	struct reborn_bpf *skel = reborn_bpf__open_and_load();
	int saved = errno;

	libbpf_set_print(old);
	errno = saved;
	return skel;
}

struct rrc_reborn *rrc_reborn_load(struct rrc_error *err)
{
	struct rrc_reborn *r = calloc(1, sizeof(*r));

	if (!r) {
		rrc_fail(err, -ENOMEM, "no memory for connections that wait to be accepted");
		return NULL;
	}
	r->skel = load();
	if (r->skel) {
		r->map = bpf_map__fd(r->skel->maps.rrc_reborn);
		return r;
	}
	rrc_fail(err, -EOPNOTSUPP, "this kernel cannot recreate connections in their listener: %s",
		 strerror(errno));
	free(r);
	return NULL;
}

void rrc_reborn_free(struct rrc_reborn *r)
{
	if (!r)
		return;
	rrc_reborn_detach(r);
	reborn_bpf__destroy(r->skel);
	free(r);
}

int rrc_reborn_attach(struct rrc_reborn *r, int netns, uint32_t ifindex, struct rrc_error *err)
{
	int ret = rrc_ingress_add(netns, ifindex, RRC_INGRESS_REBORN,
				  bpf_program__fd(r->skel->progs.rrc_reborn_ingress), "rrc_reborn",
				  err);

	r->netns = netns;
	r->ifindex = ifindex;
	r->attached = !ret;
	return ret;
}

void rrc_reborn_detach(struct rrc_reborn *r)
{
	if (r->attached)
		rrc_ingress_remove(r->netns, r->ifindex, RRC_INGRESS_REBORN, NULL);
	r->attached = false;
}

static struct rrc_reborn_key key_of(const struct rrc_conn *conn)
{
	struct rrc_reborn_key key = { .client_port = htons(conn->s.birth.rport),
				      .own_port = htons(conn->s.birth.lport) };

	rrc_conn_addrs(conn, key.own, key.client);
	return key;
}

int rrc_reborn_expect(struct rrc_reborn *r, const struct rrc_conn *conn, uint32_t tsval)
{
	const struct rrc_rec_conn *b = &conn->s.birth;
	struct rrc_reborn_key key = key_of(conn);
	struct rrc_reborn_entry e = {
		.first_in = rrc_conn_in_seq(conn, 0),
		.first_out = rrc_conn_out_seq(conn, 0),
		.tsval = conn->s.tsval,
		.tsecr = tsval,
		.mss = (uint16_t)rrc_min(b->mss_clamp, (uint32_t)UINT16_MAX),
		.rcv_wscale = b->rcv_wscale,
		.snd_wscale = b->snd_wscale,
		.wscale = b->wscale_ok,
		.sack = b->sack_ok,
		.ts = b->tstamp_ok,
		.usec_ts = b->usec_ts,
		.sure = 1,
	};

	return bpf_map_update_elem(r->map, &key, &e, BPF_ANY) ? -errno : 0;
}

static struct rrc_reborn_key key_of_syn(const struct rrc_packet *syn)
{
	struct rrc_reborn_key key = { .client_port = htons(syn->sport),
				      .own_port = htons(syn->dport) };

	memcpy(key.client, syn->src, sizeof(key.client));
	memcpy(key.own, syn->dst, sizeof(key.own));
	return key;
}

bool rrc_reborn_answers(const struct rrc_reborn *r, const struct rrc_packet *syn)
{
	struct rrc_reborn_key key = key_of_syn(syn);
	struct rrc_reborn_entry e;

	if (bpf_map_lookup_elem(r->map, &key, &e) || e.state != RRC_REBORN_WAITS)
		return false;
	e.answered_ns = rrc_now_ns(CLOCK_MONOTONIC);
	return !bpf_map_update_elem(r->map, &key, &e, BPF_EXIST);
}

int rrc_reborn_expect_syn(struct rrc_reborn *r, const struct rrc_packet *syn, uint8_t rcv_wscale)
{
	struct rrc_reborn_key key = key_of_syn(syn);
	bool wscale = syn->opts & RRC_PKT_WSCALE;
	struct rrc_reborn_entry e = {
		.answered_ns = rrc_now_ns(CLOCK_MONOTONIC),
		.first_in = syn->seq + 1,
		.ts_ahead = TS_AHEAD_MS,
		.mss = syn->opts & RRC_PKT_MSS ? syn->mss : 536,
		.rcv_wscale = wscale ? rcv_wscale : 0,
		.snd_wscale = wscale ? (uint8_t)rrc_min(syn->wscale, (uint8_t)14) : 0,
		.wscale = wscale,
		.sack = !!(syn->opts & RRC_PKT_SACK_OK),
		.ts = !!(syn->opts & RRC_PKT_TS),
	};

	return bpf_map_update_elem(r->map, &key, &e, BPF_NOEXIST) ? -errno : 0;
}

/* The state that the program has come to, once it is at least this; waits a little. */
static bool reached(const struct rrc_reborn *r, const struct rrc_reborn_key *key, uint8_t state)
{
	struct rrc_reborn_entry e;

	for (int i = 0; i < (r->refused ? 1 : WAIT_MS); i++) {
		if (bpf_map_lookup_elem(r->map, key, &e))
			return false;
		if (e.state >= state || e.error)
			return e.state >= state;
		poll(NULL, 0, 1);
	}
	return false;
}

int rrc_reborn_make(struct rrc_reborn *r, struct rrc_rawlink *link, const struct rrc_conn *conn)
{
	struct rrc_reborn_key key = key_of(conn);
	uint64_t off = 0;
	int ret = rrc_rawlink_inject(link, conn, 0, 0, 0, NULL, 0);

	/* The same again finds the connection, and says so. */
	if (!ret && reached(r, &key, RRC_REBORN_GIVEN))
		ret = rrc_rawlink_inject(link, conn, 0, 0, 0, NULL, 0);
	if (!ret && !reached(r, &key, RRC_REBORN_ALIVE)) {
		ret = -ECONNREFUSED;
		r->refused = true;
	}
	while (!ret && off < conn->s.rcvd) {
		size_t len = rrc_min((size_t)(conn->s.rcvd - off), (size_t)RRC_INJECT_MAX);

		ret = rrc_rawlink_inject(link, conn, RRC_TCP_PSH, off, 0,
					 rrc_stream_at(&conn->in, off), len);
		off += len;
	}
	if (!ret && rrc_conn_fin_in(conn))
		ret = rrc_rawlink_inject(link, conn, RRC_TCP_FIN, conn->s.fin_pos, 0, NULL, 0);
	if (ret)
		bpf_map_delete_elem(r->map, &key);
	return ret;
}
