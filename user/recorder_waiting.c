// SPDX-License-Identifier: MIT
/*
 * Connections whose state cannot be read when protection begins, by the recorder's iterator. Apart from recorder.c
 * because the iterator is opened inside another network namespace.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "netcfg.h"
#include "recorder.h"
#include "recorder_int.h"
#include "util.h"

static int read_all(int it, struct rrc_waiting *w)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(it, buf, sizeof(buf))) > 0 ||
	       (n < 0 && (errno == EAGAIN || errno == EINTR)))
		for (ssize_t i = 0; i < n; i++) {
			w->unaccepted += buf[i] == RRC_WAITING_ACCEPT;
			w->gaps += buf[i] == RRC_WAITING_GAP;
		}
	return n ? -errno : 0;
}

int rrc_recorder_waiting(struct rrc_recorder *rec, int netns_fd, struct rrc_waiting *w,
			 struct rrc_error *err)
{
	int old, it, ret = rrc_netns_enter(netns_fd, &old, err);

	memset(w, 0, sizeof(*w));
	if (ret)
		return ret;
	/* It is of the network that it is opened in. */
	it = bpf_iter_create(rrc_recorder_waiting_link(rec));
	ret = it < 0 ? it : read_all(it, w);
	rrc_closep(&it);
	rrc_netns_leave(old);
	return ret ? rrc_fail(err, ret, "cannot look at the container's connections: %s",
			      strerror(-ret))
		   : 0;
}
