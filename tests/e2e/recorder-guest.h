/* SPDX-License-Identifier: MIT */
/*
 * What recorder.c records: one case for each way that bytes, tasks and connections get into the log.
 * Each begins with access("case:NAME"), by which its records are found.
 */
#ifndef RRC_RECORDER_GUEST_H
#define RRC_RECORDER_GUEST_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIG (1u << 20)
#define must(x)                     \
	do {                        \
		if (!(x)) {         \
			perror(#x); \
			_exit(1);   \
		}                   \
	} while (0)

static void begin(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "case:%s", name);
	access(path, F_OK);
}

static void big(void)
{
	int fd = memfd_create("big", 0);
	char *buf = malloc(BIG);

	for (size_t i = 0; i < BIG; i++)
		buf[i] = (char)(i * 7 + i / 4096);
	begin("big");
	must(write(fd, buf, BIG) == BIG);
	must(pread(fd, buf, BIG - 3, 3) == BIG - 3);
	free(buf);
	close(fd);
}

static void vectors(void)
{
	char a[4], b[8], c[64];
	struct iovec in[] = { { "abc", 3 }, { NULL, 0 }, { "defg", 4 }, { "hij", 3 } };
	struct iovec out[] = { { a, 4 }, { b, 1 }, { c, 64 } };
	int p[2];

	must(!pipe(p));
	begin("vectors");
	must(writev(p[1], in, 4) == 10);
	must(readv(p[0], out, 3) == 10);
	close(p[0]);
	close(p[1]);
}

static void descriptors_by_message(void)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte;
	struct iovec iov = { "x", 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int s[2];

	must(!socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &s[0], sizeof(int));
	begin("rights");
	must(sendmsg(s[0], &m, 0) == 1);
	iov.iov_base = &byte;
	must(recvmsg(s[1], &m, 0) == 1);
	close(s[0]);
	close(s[1]);
}

static void datagrams(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char buf[2][16];
	struct iovec out[] = { { "hello", 5 }, { "worlds!", 7 } };
	struct iovec in[] = { { buf[0], 16 }, { buf[1], 16 } };
	struct sockaddr_in from[2];
	struct mmsghdr m[2] = { 0 };
	socklen_t len = sizeof(a);
	int r = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM, 0);

	must(!bind(r, (struct sockaddr *)&a, sizeof(a)));
	must(!getsockname(r, (struct sockaddr *)&a, &len));
	begin("datagram");
	must(sendto(s, "0123456789", 10, 0, (struct sockaddr *)&a, sizeof(a)) == 10);
	len = 8; /* less than the kernel has to say */
	must(recvfrom(r, buf[0], 4, MSG_TRUNC, (struct sockaddr *)from, &len) == 10 && len == 16);
	for (int i = 0; i < 2; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_name = &a,
						.msg_namelen = sizeof(a),
						.msg_iov = &out[i],
						.msg_iovlen = 1 };
	begin("mmsg");
	must(sendmmsg(s, m, 2, 0) == 2);
	for (int i = 0; i < 2; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_name = &from[i],
						.msg_namelen = sizeof(a),
						.msg_iov = &in[i],
						.msg_iovlen = 1 };
	must(recvmmsg(r, m, 2, 0, NULL) == 2);
	close(r);
	close(s);
}

static void kinds(void)
{
	int p[2], e = eventfd(7, EFD_NONBLOCK), f = open("/proc/self/stat", O_RDONLY), n;
	char buf[8];
	fd_set set;

	must(!pipe(p));
	FD_ZERO(&set);
	FD_SET(p[1], &set);
	begin("kinds");
	must(write(p[1], "12345678", 8) == 8);
	must(read(p[0], buf, 8) == 8);
	must(read(e, buf, 8) == 8);
	must(read(f, buf, 8) == 8);
	must(select(70, NULL, &set, NULL, NULL) == 1);
	must(!ioctl(p[0], FIONREAD, &n));
	must(syscall(SYS_getdents64, open("/", O_RDONLY | O_DIRECTORY), alloca(4096), 4096) > 0);
	close(e);
	close(f);
}

static void tcp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
			   b;
	int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), s;
	socklen_t len = sizeof(a);
	char buf[16];

	must(!bind(l, (struct sockaddr *)&a, sizeof(a)) && !listen(l, 4));
	must(!getsockname(l, (struct sockaddr *)&a, &len));
	begin("tcp");
	must(!connect(c, (struct sockaddr *)&a, sizeof(a)));
	s = accept(l, (struct sockaddr *)&b, &len);
	must(s >= 0);
	must(write(c, "ping", 4) == 4);
	must(read(s, buf, 16) == 4);
	must(!fcntl(s, F_SETFL, O_NONBLOCK));
	must(read(s, buf, 16) == -1 && errno == EAGAIN);
	close(c);
	must(read(s, buf, 16) == 0);
	close(s);
	close(l);
}

static void *nothing(void *arg)
{
	return arg;
}

static void tasks(void)
{
	pthread_t t;
	int status;
	pid_t pid;

	begin("fork");
	pid = fork();
	if (!pid)
		_exit(3);
	must(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 3);
	begin("thread");
	must(!pthread_create(&t, NULL, nothing, NULL) && !pthread_join(t, NULL));
}

static volatile sig_atomic_t hits;

static void on_signal(int sig)
{
	(void)sig;
	hits++;
}

static void signals(void)
{
	struct itimerval soon = { .it_value.tv_usec = 100000 };
	unsigned int word = 1;
	struct timespec ts = { .tv_nsec = 1000000 };

	signal(SIGUSR1, on_signal);
	signal(SIGALRM, on_signal);
	begin("raise");
	raise(SIGUSR1);
	begin("interrupt");
	must(!setitimer(ITIMER_REAL, &soon, NULL));
	while (hits < 2)
		; /* in user code */
	begin("futex");
	syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
	must(syscall(SYS_futex, &word, FUTEX_WAIT, 1, &ts, NULL, 0) == -1 && errno == ETIMEDOUT);
}

static void failures(void)
{
	char *volatile nowhere = (char *)8;
	int s[2];

	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	begin("efault");
	must(read(open("/proc/self/stat", O_RDONLY), nowhere, 4) == -1 && errno == EFAULT);
	must(access(nowhere, F_OK) == -1 && errno == EFAULT);
	begin("fault"); /* refused before the kernel looks at the bytes */
	must(setsockopt(s[0], SOL_TCP, 1, nowhere, 16) == -1 && errno != EFAULT);
	begin("barrier");
	must(splice(-1, NULL, -1, NULL, 1, 0) == -1);
	begin("ioctl");
	must(ioctl(s[0], 0xdead, 0) == -1);
	must(fcntl(s[0], F_GETFL) >= 0);
}

/* What is executed by the exec case: writes the bytes that AT_RANDOM points to. */
static _Noreturn void guest_executed(void)
{
	begin("executed");
	must(write(STDOUT_FILENO, (void *)getauxval(AT_RANDOM), 16) == 16);
	_exit(0);
}

static _Noreturn void guest_main(const char *self)
{
	int null = open("/dev/null", O_WRONLY);

	must(null >= 0 && dup2(null, STDOUT_FILENO) >= 0);
	big();
	vectors();
	descriptors_by_message();
	datagrams();
	kinds();
	tcp();
	tasks();
	signals();
	failures();
	begin("exec");
	execl(self, self, "executed", NULL);
	_exit(1);
}

#endif
