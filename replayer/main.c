/* SPDX-License-Identifier: MIT */
/* rrc-replay: the backup's daemon, and the tool that re-executes and shows recordings. */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon.h"
#include "fault.h"
#include "log.h"
#include "offline.h"
#include "record.h"

const char *argp_program_version = "rrc-replay " RRC_VERSION;

enum {
	OPT_LISTEN = 1000,
	OPT_STATE,
	OPT_BRIDGE,
	OPT_ROOTFS,
	OPT_SILENCE,
	OPT_DUMP,
	OPT_TID,
	OPT_CALL,
	OPT_ATTEMPTS,
	OPT_NO_PACING,
	OPT_COLD,
	OPT_BY_PTRACE,
	OPT_JSON,
	OPT_TRACE
};

static const struct argp_option options[] = {
	{ "listen", OPT_LISTEN, "ADDR:PORT", 0,
	  "Be a backup: store checkpoints and logs, take over", 0 },
	{ "state", OPT_STATE, "DIR", 0, "Where checkpoints are kept (default /var/lib/rrc)", 1 },
	{ "bridge", OPT_BRIDGE, "NAME", 0, "Bridge that a container joins when it lives here", 1 },
	{ "rootfs", OPT_ROOTFS, "DIR", 0,
	  "The container's image, unpacked: what its writable layer lies upon", 1 },
	{ "silence", OPT_SILENCE, "MS", 0, "Take over after so long without a word (default 90)",
	  1 },
	{ "cold", OPT_COLD, NULL, 0,
	  "Keep images only, and restore when it is needed: less memory, a slower failover", 1 },
	{ "no-pacing", OPT_NO_PACING, NULL, 0,
	  "Let threads that compute meet in any way: to see what the rule about their timing is worth",
	  1 },
	{ "by-ptrace", OPT_BY_PTRACE, NULL, 0,
	  "Of a recording: answer every call through ptrace, none inside the program (slower; to compare)",
	  2 },
	{ "attempts", OPT_ATTEMPTS, "N", 0, "Replay again so often when it diverges (default 8)",
	  1 },
	{ "dump", OPT_DUMP, NULL, 0, "Print a recording's log", 2 },
	{ "tid", OPT_TID, "N", 0, "With --dump: only this thread", 2 },
	{ "call", OPT_CALL, "NAME", 0, "With --dump: only this call", 2 },
	{ "trace", OPT_TRACE, NULL, 0, "Print every step of a replay", 2 },
	{ "json", OPT_JSON, NULL, 0, "Results as JSON", 3 },
	{ "verbose", 'v', NULL, 0, "Say more", 3 },
	{ 0 },
};

struct cli {
	struct rrc_offline_opts off;
	struct rrc_daemon_opts d;
	int dump, verbose;
};

static error_t parse_opt(int key, char *arg, struct argp_state *st)
{
	struct cli *c = st->input;

	switch (key) {
	case OPT_LISTEN:
		c->d.listen = arg;
		break;
	case OPT_STATE:
		c->d.state = arg;
		break;
	case OPT_BRIDGE:
		c->d.bridge = arg;
		break;
	case OPT_ROOTFS:
		c->d.rootfs = c->off.rootfs = arg;
		break;
	case OPT_SILENCE:
		c->d.silence_ms = (unsigned int)atoi(arg);
		if (c->d.silence_ms < 30 || c->d.silence_ms > 60000)
			argp_error(st, "--silence %s: 30 to 60000 milliseconds", arg);
		break;
	case OPT_COLD:
		c->d.cold = true;
		break;
	case OPT_BY_PTRACE:
		c->off.by_ptrace = true;
		break;
	case OPT_NO_PACING:
		c->off.no_pacing = c->d.no_pacing = true;
		break;
	case OPT_ATTEMPTS:
		c->off.attempts = c->d.attempts = (unsigned int)atoi(arg);
		if (c->off.attempts < 1 || c->off.attempts > 1000)
			argp_error(st, "--attempts %s: 1 to 1000", arg);
		break;
	case OPT_DUMP:
		c->dump = 1;
		break;
	case OPT_TID:
		c->off.tid = atol(arg);
		break;
	case OPT_CALL:
		c->off.call = arg;
		break;
	case OPT_TRACE:
		c->off.trace = true;
		break;
	case OPT_JSON:
		c->off.json = c->d.json = true;
		break;
	case 'v':
		c->verbose++;
		break;
	case ARGP_KEY_ARG:
		if (c->off.dir)
			argp_error(st, "one recording at a time");
		c->off.dir = arg;
		break;
	case ARGP_KEY_END:
		if (!!c->d.listen == !!c->off.dir)
			argp_error(st,
				   "name a recording (DIR), or be a backup (--listen ADDR:PORT)");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

/* Each connection of a container is two descriptors of ours, and the usual limit is 1024. */
static void allow_descriptors(void)
{
	struct rlimit rl;

	if (!getrlimit(RLIMIT_NOFILE, &rl)) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		options,
		parse_opt,
		"[DIR]",
		"Re-executes a recording and checks it against its log, or keeps the checkpoints and logs of "
		"containers on other hosts and takes over when such a host falls silent.",
		NULL,
		NULL,
		NULL,
	};
	struct cli c = {
		.off.attempts = 8, /* rule 5, as at a takeover */
		.d = { .state = "/var/lib/rrc", .silence_ms = 90, .attempts = 8 },
	};
	struct rrc_error err = { 0 };
	int ret;

	argp_err_exit_status = RRC_EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &c);
	rrc_log_setup("rrc-replay", c.verbose ? RRC_LOG_DEBUG : RRC_LOG_INFO, c.d.listen != NULL);
	signal(SIGPIPE, SIG_IGN);
	allow_descriptors();
	if (rrc_fault_setup())
		ret = rrc_fail_exit(&err, RRC_EXIT_USAGE, EINVAL,
				    "RRC_FAULT names a place that there is not");
	else if (geteuid() && !c.dump)
		ret = rrc_fail_exit(&err, RRC_EXIT_HOST, EPERM,
				    "this needs root: sudo rrc-replay …");
	else if (c.d.listen)
		ret = rrc_daemon(&c.d, &err);
	else
		ret = c.dump ? rrc_offline_dump(&c.off, &err) : rrc_offline_replay(&c.off, &err);
	return ret < 0 ? rrc_log_error(&err) : ret;
}
