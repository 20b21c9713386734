/* SPDX-License-Identifier: MIT */
/* Guest: sendmmsg and recvmmsg. */
#include <netinet/in.h>
#include <sys/uio.h>

#include "guest.h"

#define N 6

int main(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
			   from[N];
	struct timespec soon = { 0, 10000000 };
	char data[N][100], got[N][60];
	struct iovec out[N], in[N];
	struct mmsghdr m[N];
	socklen_t len = sizeof(a);
	int s, c, i, n;

	guest_begin();
	s = ok(socket(AF_INET, SOCK_DGRAM, 0));
	c = ok(socket(AF_INET, SOCK_DGRAM, 0));
	ok(bind(s, (void *)&a, sizeof(a)));
	ok(getsockname(s, (void *)&a, &len));
	ok(connect(c, (void *)&a, sizeof(a)));
	memset(m, 0, sizeof(m));
	for (i = 0; i < N; i++) {
		guest_fill(data[i], sizeof(data[i]), (unsigned int)i);
		out[i] = (struct iovec){ data[i], (size_t)(i + 1) * 15 };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &out[i], .msg_iovlen = 1 };
	}
	say("sent %d:", ok(sendmmsg(c, m, N, 0)));
	for (i = 0; i < N; i++)
		say(" %u", m[i].msg_len);
	say("\n");
	memset(m, 0, sizeof(m));
	for (i = 0; i < N; i++) {
		in[i] = (struct iovec){ got[i], sizeof(got[i]) };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &in[i],
						.msg_iovlen = 1,
						.msg_name = &from[i],
						.msg_namelen = sizeof(from[i]) };
	}
	n = ok(recvmmsg(s, m, N, MSG_WAITFORONE, NULL));
	say("received %d\n", n);
	for (i = 0; i < n; i++)
		say("%u flags %x sum %08x port <%u>\n", m[i].msg_len,
		    (unsigned int)m[i].msg_hdr.msg_flags, guest_sum(got[i], m[i].msg_len),
		    ntohs(from[i].sin_port));
	say("nothing %d %d\n", recvmmsg(s, m, N, MSG_DONTWAIT, &soon), errno);
	return 0;
}
