/* SPDX-License-Identifier: MIT */
/* The backup comes and goes: joining it, losing it (rules 6 and 7), and being replaced by it. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "log.h"
#include "protect_int.h"
#include "util.h"

#define RRC_REJOIN_NS 200000000ull
#define RRC_REJOIN_MS 100

int rrc_protect_join(struct rrc_protect *p, int timeout_ms, struct rrc_error *err)
{
	int ret = rrc_backup_connect(&p->backup, p->o->backup, p->name,
				     p->o->mode == RRC_MODE_PASSIVE, timeout_ms, err);

	if (ret)
		return ret;
	p->have_backup = 1;
	p->wants_write = 0;
	p->first = 1;
	p->backup.sent = rrc_now_ns(CLOCK_MONOTONIC);
	/* Nothing is sent before the cut of this session's first checkpoint. */
	rrc_collector_emit(p->collector, 0);
	return rrc_protect_watch(p, p->backup.log.fd, EPOLLIN);
}

void rrc_protect_superseded(struct rrc_protect *p)
{
	/* Rule 7: the lease has run out or will, the gate stays shut, for good. */
	p->state = RRC_STATE_SILENT;
	rrc_fail(&p->err, EBUSY,
		 "the backup has taken over: this container stays silent; stop it, and "
		 "protect the one that runs there");
	rrc_event("superseded", "\"epoch\":%llu", (unsigned long long)p->committed);
	p->done = 1;
}

void rrc_protect_lost(struct rrc_protect *p, const struct rrc_error *why)
{
	uint64_t now = rrc_now_ns(CLOCK_MONOTONIC);
	/* It takes over only after a silence that is longer than the lease. While the lease of its last answer
	 * lasts it cannot have; an end of the link now is the end of its process. */
	int gone_for_sure = now < p->backup.answered + p->backup.lease_ns;
	char text[600];

	if (!p->have_backup)
		return;
	rrc_link_close(&p->backup.log);
	/* The checkpoint thread may be sending: it finds the connection shut, and closing waits for it. */
	if (rrc_worker_busy(p->worker))
		shutdown(p->backup.bulk.fd, SHUT_RDWR);
	else
		rrc_link_close(&p->backup.bulk);
	p->have_backup = 0;
	rrc_collector_emit(p->collector, 0);
	p->reconnect_at = now + RRC_REJOIN_NS;
	rrc_event("backup-lost", "\"policy\":\"%s\",\"reason\":%s",
		  p->o->on_loss == RRC_LOSS_CONTINUE && gone_for_sure ? "continue" : "stop",
		  rrc_json_string(text, sizeof(text), why->msg));
	if (p->state == RRC_STATE_OPEN)
		return;
	if (p->o->on_loss == RRC_LOSS_CONTINUE && gone_for_sure) {
		rrc_log(RRC_LOG_WARN, "%s: the backup is gone; going on UNPROTECTED", p->name);
		p->state = RRC_STATE_OPEN;
		rrc_recorder_lease_set(p->recorder, 0);
		rrc_protect_release(p, now);
		rrc_gate_close(p->gate);
		p->gate = NULL;
		return;
	}
	p->state = RRC_STATE_HELD;
	rrc_log(RRC_LOG_WARN,
		"%s: no word from the backup (%s); replies are held until there is one again",
		p->name, why->msg);
}

void rrc_protect_rejoin(struct rrc_protect *p, uint64_t now)
{
	struct rrc_error err = { 0 };

	p->reconnect_at = now + RRC_REJOIN_NS;
	rrc_link_close(&p->backup.bulk);
	if (rrc_protect_join(p, RRC_REJOIN_MS, &err))
		return;
	rrc_log(RRC_LOG_INFO, "%s: a backup is there again", p->name);
	rrc_event("backup-joined", "\"epoch\":%llu", (unsigned long long)p->committed);
	/* With `continue` the rules were taken out; with `stop` what is held stays so until the commit. */
	if (rrc_protect_open_gate(p, &err)) {
		p->err = err;
		p->done = 1;
	}
}
