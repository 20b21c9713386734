/* SPDX-License-Identifier: MIT */
/* rrc-trace: protects or records a running container, or a command that it starts. */
#include <argp.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "container.h"
#include "epoch.h"
#include "host.h"
#include "fault.h"
#include "log.h"
#include "options.h"
#include "prepare.h"
#include "protect.h"
#include "record.h"
#include "syscalls.h"
#include "util.h"

const char *argp_program_version = "rrc-trace " RRC_VERSION;

enum {
	OPT_PID = 1000,
	OPT_BACKUP,
	OPT_MODE,
	OPT_EPOCH,
	OPT_ENGINE,
	OPT_LOSS,
	OPT_DETACH,
	OPT_CHECK,
	OPT_SYSCALLS,
	OPT_JSON,
	OPT_NO_GATE,
	OPT_EXPLAIN,
	OPT_LIST,
	OPT_PREPARE,
	OPT_HOOK,
	OPT_NO_PRELOAD,
	OPT_INJECT,
	OPT_NO_INJECT
};

static const struct argp_option options[] = {
	{ "container", 'c', "ID", 0,
	  "Container: id, unique prefix or name (runc, crun, podman, docker, containerd)", 0 },
	{ "pid", OPT_PID, "PID", 0, "Any process whose pid namespace is its own", 0 },
	{ "backup", OPT_BACKUP, "HOST:PORT", 0, "Protect it: where rrc-replay --listen runs", 1 },
	{ "output", 'o', "DIR", 0, "Record it into a new directory instead", 1 },
	{ "mode", OPT_MODE, "MODE", 0, "hybrid (default), or passive: replies wait for checkpoints",
	  2 },
	{ "epoch", OPT_EPOCH, "TIME", 0,
	  "Between checkpoints: 50ms, 2s (default 100ms where only changes are copied, else 1s; with -o "
	  "where needed); auto, auto:2s: as long as a recovery stays under that (1s)",
	  2 },
	{ "checkpoint-engine", OPT_ENGINE, "ENGINE", 0,
	  "precopy: what changed is copied while the container runs (Linux 6.7); kfork: out of a copy on "
	  "write (the fork module); stop: all of it, stopped (default: the first that this host can)",
	  2 },
	{ "on-backup-loss", OPT_LOSS, "WHAT", 0,
	  "stop (default): hold replies; continue: go on unprotected", 2 },
	{ "no-gate", OPT_NO_GATE, NULL, 0,
	  "Record and send, but hold nothing: to measure the recorder alone", 2 },
	{ "no-preload", OPT_NO_PRELOAD, NULL, 0,
	  "Start the command without the recorder of locks and clocks: calls alone", 2 },
	{ "inject", OPT_INJECT, NULL, 0,
	  "Bring the recorder of locks and clocks into every running process, not only into those with threads",
	  2 },
	{ "no-inject", OPT_NO_INJECT, NULL, 0, "Into none: calls alone are recorded", 2 },
	{ "explain", OPT_EXPLAIN, NULL, 0,
	  "At the end, say which calls could not be recorded for replay", 2 },
	{ "detach", OPT_DETACH, "ID", 0, "End the protection of a container and undo everything",
	  3 },
	{ "prepare", OPT_PREPARE, "BUNDLE", 0,
	  "Have an OCI bundle's programs record the order of their locks (needed for threads)", 3 },
	{ "hook", OPT_HOOK, NULL, 0,
	  "The same as a hook of an OCI runtime: reads the container's state from standard input",
	  3 },
	{ "check", OPT_CHECK, NULL, 0, "Say what this host offers and what is missing", 3 },
	{ "syscalls", OPT_SYSCALLS, NULL, 0, "Print the table of system calls", 3 },
	{ "list", OPT_LIST, NULL, 0, "List the containers of this host", 3 },
	{ "json", OPT_JSON, NULL, 0,
	  "Events and tables as JSON lines (default for events off a terminal)", 4 },
	{ "verbose", 'v', NULL, 0, "Say more", 4 },
	{ 0 },
};

enum action {
	ACT_PROTECT,
	ACT_DETACH,
	ACT_CHECK,
	ACT_SYSCALLS,
	ACT_LIST,
	ACT_PREPARE,
	ACT_HOOK
};

struct cli {
	struct rrc_options o;
	enum action action;
	const char *detach;
	const char *bundle;
};

/* "500ms", "2s", "1.5s"; plain numbers are seconds. */
static int parse_time(const char *text, uint64_t *ns)
{
	char *end;
	double v = strtod(text, &end), unit = 1e9;

	if (!strcmp(end, "ms"))
		unit = 1e6;
	else if (!strcmp(end, "us"))
		unit = 1e3;
	else if (*end && strcmp(end, "s"))
		return -EINVAL;
	if (end == text || v < 0 || v > 86400)
		return -EINVAL;
	*ns = (uint64_t)(v * unit);
	return 0;
}

/* A time, or "auto" with a limit behind it. */
static int parse_epoch(const char *text, struct rrc_options *o)
{
	if (strncmp(text, "auto", 4))
		return parse_time(text, &o->epoch_ns);
	o->epoch_ns = RRC_EPOCH_CHOOSE;
	o->recovery_ns = RRC_EPOCH_LIMIT_NS;
	if (!text[4])
		return 0;
	return text[4] == ':' ? parse_time(text + 5, &o->recovery_ns) : -EINVAL;
}

/* Options that say no more than that they are there. */
static const struct {
	int key;
	size_t flag; /* offset in struct rrc_options */
} flags[] = {
	{ OPT_NO_GATE, offsetof(struct rrc_options, no_gate) },
	{ OPT_NO_PRELOAD, offsetof(struct rrc_options, no_preload) },
	{ OPT_EXPLAIN, offsetof(struct rrc_options, explain) },
	{ OPT_JSON, offsetof(struct rrc_options, json) },
};

static const struct {
	int key;
	enum action action;
} actions[] = {
	{ OPT_DETACH, ACT_DETACH }, { OPT_PREPARE, ACT_PREPARE }, { OPT_HOOK, ACT_HOOK },
	{ OPT_CHECK, ACT_CHECK },   { OPT_LIST, ACT_LIST },	  { OPT_SYSCALLS, ACT_SYSCALLS },
};

static bool parse_plain(struct cli *c, int key)
{
	for (size_t i = 0; i < RRC_ARRAY_SIZE(flags); i++) {
		if (flags[i].key != key)
			continue;
		*(bool *)((char *)&c->o + flags[i].flag) = true;
		return true;
	}
	for (size_t i = 0; i < RRC_ARRAY_SIZE(actions); i++) {
		if (actions[i].key != key)
			continue;
		c->action = actions[i].action;
		return true;
	}
	return false;
}

static error_t parse_opt(int key, char *arg, struct argp_state *st)
{
	struct cli *c = st->input;
	struct rrc_options *o = &c->o;

	switch (key) {
	case 'c':
		o->container = arg;
		break;
	case OPT_PID:
		o->pid = atoi(arg);
		if (o->pid <= 0)
			argp_error(st, "--pid %s: not a process id", arg);
		break;
	case OPT_BACKUP:
		o->backup = arg;
		break;
	case 'o':
		o->out = arg;
		break;
	case OPT_MODE:
		if (strcmp(arg, "hybrid") && strcmp(arg, "passive"))
			argp_error(st, "--mode %s: hybrid or passive", arg);
		o->mode = strcmp(arg, "passive") ? RRC_MODE_HYBRID : RRC_MODE_PASSIVE;
		break;
	case OPT_EPOCH:
		if (parse_epoch(arg, o))
			argp_error(st, "--epoch %s: a time such as 500ms or 2s, auto, or auto:TIME",
				   arg);
		break;
	case OPT_ENGINE:
		o->engine = arg;
		break;
	case OPT_LOSS:
		if (strcmp(arg, "stop") && strcmp(arg, "continue"))
			argp_error(st, "--on-backup-loss %s: stop or continue", arg ? arg : "");
		o->on_loss = strcmp(arg, "continue") ? RRC_LOSS_STOP : RRC_LOSS_CONTINUE;
		break;
	case OPT_INJECT:
	case OPT_NO_INJECT:
		o->inject = key == OPT_INJECT ? RRC_INJECT_ALL : RRC_INJECT_NONE;
		break;
	case OPT_DETACH:
		c->detach = arg;
		parse_plain(c, key);
		break;
	case OPT_PREPARE:
		c->bundle = arg;
		parse_plain(c, key);
		break;
	case 'v':
		o->verbose++;
		break;
	case ARGP_KEY_ARG:
		o->command = st->argv + st->next - 1;
		st->next = st->argc;
		break;
	default:
		return parse_plain(c, key) ? 0 : ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static void check_usage(const struct argp *argp, const struct cli *c, char *argv0)
{
	const struct rrc_options *o = &c->o;
	const char *wrong = NULL;

	if (c->action != ACT_PROTECT)
		return;
	if (!!o->container + !!o->pid + !!o->command != 1)
		wrong = "name one container (--container ID), process (--pid PID) or command (-- CMD)";
	else if (!!o->backup + !!o->out != 1)
		wrong = "say where it goes: --backup HOST:PORT or -o DIR";
	else if (o->recovery_ns && !o->backup)
		wrong = "--epoch auto is for recovery, so it goes with --backup";
	else if (o->mode == RRC_MODE_PASSIVE && o->out)
		wrong = "--mode passive records nothing, so it goes with --backup";
	if (!wrong)
		return;
	fprintf(stderr, "rrc-trace: %s\n", wrong);
	argp_help(argp, stderr, ARGP_HELP_SEE, argv0);
	exit(RRC_EXIT_USAGE);
}

static int run(struct cli *c, struct rrc_error *err)
{
	int ret;

	switch (c->action) {
	case ACT_CHECK:
		return rrc_check_print(stdout, c->o.json, err);
	case ACT_SYSCALLS:
		return rrc_syscalls_print(stdout, c->o.json);
	case ACT_LIST:
		return rrc_container_list("/", stdout, c->o.json, err);
	case ACT_DETACH:
		return rrc_unprotect(c->detach, err);
	case ACT_PREPARE:
		return rrc_prepare(c->bundle, err);
	case ACT_HOOK:
		return rrc_hook(stdin, err);
	case ACT_PROTECT:
		break;
	}
	ret = rrc_host_require(err);
	return ret ? ret : rrc_protect(&c->o, err);
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		options,
		parse_opt,
		"[-- CMD ARGS…]",
		"Protects a container: its state and the log of what it does go to a backup, which takes over when "
		"this host dies. Or records it into a directory for rrc-replay.",
		NULL,
		NULL,
		NULL,
	};
	struct cli c = { 0 };
	struct rrc_error err = { 0 };
	int ret;

	argp_err_exit_status = RRC_EXIT_USAGE;
	c.o.epoch_ns = RRC_EPOCH_CHOOSE;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &c);
	check_usage(&argp, &c, argv[0]);
	if (!isatty(STDOUT_FILENO) && !c.o.command && c.action == ACT_PROTECT)
		c.o.json = true;
	rrc_log_setup("rrc-trace", c.o.verbose ? RRC_LOG_DEBUG : RRC_LOG_INFO, c.o.json);
	ret = rrc_fault_setup() ? rrc_fail_exit(&err, RRC_EXIT_USAGE, EINVAL,
						"RRC_FAULT names a place that there is not")
				: run(&c, &err);
	return ret < 0 ? rrc_log_error(&err) : ret;
}
