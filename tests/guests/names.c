/* SPDX-License-Identifier: MIT */
/* Guest: users, hosts, local time: what libc reads from files. */
#include <arpa/inet.h>
#include <netdb.h>
#include <pwd.h>
#include <time.h>

#include "guest.h"

int main(void)
{
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *ai = NULL;
	struct passwd *pw = getpwuid(0);
	time_t t = 1000000000;
	char text[64];
	struct tm tm;

	guest_begin();
	say("user %s home %s\n", pw ? pw->pw_name : "-", pw ? pw->pw_dir : "-");
	say("no such %p\n", (void *)getpwnam("no-such-user-here"));
	must(getaddrinfo("127.0.0.1", "80", &hints, &ai) == 0);
	say("address %s port %d\n", inet_ntoa(((struct sockaddr_in *)ai->ai_addr)->sin_addr),
	    ntohs(((struct sockaddr_in *)ai->ai_addr)->sin_port));
	freeaddrinfo(ai);
	must(getaddrinfo("localhost", NULL, &hints, &ai) == 0);
	say("localhost %s\n", inet_ntoa(((struct sockaddr_in *)ai->ai_addr)->sin_addr));
	freeaddrinfo(ai);
	localtime_r(&t, &tm);
	strftime(text, sizeof(text), "%c %Z", &tm);
	say("then %s\n", text);
	t = time(NULL);
	localtime_r(&t, &tm);
	strftime(text, sizeof(text), "%F %T", &tm);
	say("now <%s>\n", text);
	return 0;
}
