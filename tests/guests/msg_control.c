/* SPDX-License-Identifier: MIT */
/* Guest: sendmsg and recvmsg: several iovecs, control data. */
#include <netinet/in.h>
#include <sys/uio.h>
#include <time.h>

#include "guest.h"

int main(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
			   f;
	char x[3], y[200], z[64], ctl[256] __attribute__((aligned(8)));
	struct iovec out[] = { { "alpha", 5 }, { "", 0 }, { "beta", 4 }, { "gamma", 5 } };
	struct iovec in[] = { { x, sizeof(x) }, { y, 6 }, { z, sizeof(z) } };
	struct msghdr m = {
		.msg_name = &a, .msg_namelen = sizeof(a), .msg_iov = out, .msg_iovlen = 4
	};
	socklen_t len = sizeof(a);
	struct cmsghdr *h;
	int s, c, on = 1;

	guest_begin();
	s = ok(socket(AF_INET, SOCK_DGRAM, 0));
	c = ok(socket(AF_INET, SOCK_DGRAM, 0));
	ok(bind(s, (void *)&a, sizeof(a)));
	ok(getsockname(s, (void *)&a, &len));
	ok(setsockopt(s, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)));
	ok(setsockopt(s, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on)));
	ok(setsockopt(s, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)));
	say("sent %zd\n", ok(sendmsg(c, &m, 0)));
	m = (struct msghdr){ .msg_name = &f,
			     .msg_namelen = sizeof(f),
			     .msg_iov = in,
			     .msg_iovlen = 3,
			     .msg_control = ctl,
			     .msg_controllen = sizeof(ctl) };
	say("received %zd ", ok(recvmsg(s, &m, 0)));
	say("%.3s %.6s %.5s, name of %u, flags %x, control of %zu\n", x, y, z, m.msg_namelen,
	    (unsigned int)m.msg_flags, m.msg_controllen);
	for (h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		int ttl;

		say("control level %d type %d length %zu", h->cmsg_level, h->cmsg_type,
		    h->cmsg_len);
		if (h->cmsg_level == SOL_SOCKET) {
			struct timespec ts;

			memcpy(&ts, CMSG_DATA(h), sizeof(ts));
			say(" <%ld.%09ld>", (long)ts.tv_sec, ts.tv_nsec);
		} else if (h->cmsg_type == IP_TTL) {
			memcpy(&ttl, CMSG_DATA(h), sizeof(ttl));
			say(" ttl %d", ttl);
		}
		say("\n");
	}
	return 0;
}
