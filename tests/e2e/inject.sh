#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Programs with threads that run already get the in-process recorder: nothing they lock is missing from the log, what
# waits meanwhile stays in order, a fail-over works; programs that cannot take it are refused. RRC_INJECTIONS: how often;
# RRC_INJECT_LOAD: after how many reports of the load (ten a second) a recording begins.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

n=${RRC_INJECTIONS:-1} reports=${RRC_INJECT_LOAD:-10}
need_rrc
need_commands memcached redis-server gcc musl-gcc python3
guest=$BIN/tests/e2e/inject-guest count=$BIN/tests/e2e/inject-count
[[ -x $guest && -x $count ]] || skip_all "the guest is not built: make tools"
tracer='' load=''

clean_up() {
	[[ -z $tracer ]] || kill -KILL "$tracer" 2>/dev/null
	[[ -z $load ]] || kill -KILL "$load" 2>/dev/null
	"$LAB" down
}

pid_of() { "$LAB" status --json | jq --arg n "$1" '.containers[] | select(.name == $n).pid'; }
# What runc and rrc-trace call it.
id_of() { [[ $RRC_LAB == rrc ]] && printf '%s' "$1" || printf '%s-%s' "$RRC_LAB" "$1"; }

# ask COMMAND…: the guest's answers, one a line.
ask() {
	"$LAB" client -- python3 -c 'import socket, sys
s = socket.create_connection((sys.argv[1], 7000))
s.settimeout(30)
for command in sys.argv[2:]:
    s.sendall(command.encode())
    print(s.recv(64).decode().strip())' "$("$LAB" address guest)" "$@"
}

# await FILE REGEX N PID: until PID has written N lines that match. (A pipeline would wait for tail.)
await() {
	[[ $(grep -m"$3" -c "$2" < <(exec timeout $((60 + $3 / 10)) tail -n +1 -s 0.1 --pid="$4" -f "$1" 2>/dev/null)) == "$3" ]]
}

# attach CONTAINER DIR [OPTION…]: records it from now on; 0 when the first checkpoint is there.
attach() {
	: > "$WORK/trace.out"
	"$BIN/rrc-trace" --container "$(id_of "$1")" -o "$2" --json "${@:3}" > "$WORK/trace.out" 2> "$WORK/trace.err" &
	tracer=$!
	await "$WORK/trace.out" '"protected"' 1 $tracer && return
	wait "$tracer"
	tracer=
	tail -n 1 "$WORK/trace.err"
	return 1
}
detach() {
	kill -INT "$tracer"
	wait "$tracer"
	local rc=$?
	tracer=
	return $rc
}

run_guest() { "$LAB" run guest --plain --put "$1:/guest" --port 7000 -- "$guest" "${@:2}" 7000; }

# The guest's own count of its locks and the library's are equal, over threads that wait in libc when it comes.
counts_case() {
	local before after ours theirs
	run_guest "$guest" || { not_ok "the guest does not start"; return; }
	ask pause resume > /dev/null
	check "a guest with waiting threads is attached to" attach guest "$WORK/guest" || return
	before=$(ask pause count | tail -n 1) theirs=$("$count" "$(pid_of guest)")
	ask resume release work > /dev/null
	after=$(ask pause count | tail -n 1) ours=$("$count" "$(pid_of guest)")
	if (( after > before && after - before == ${ours%% *} - ${theirs%% *} )) &&
		[[ ${ours#* } == '0 0 2' ]]
	then ok "every lock operation is recorded: $((after - before)) of $((after - before))"
	else not_ok "the guest counted $before to $after, the library $theirs to $ours"; fi
	ask digest resume > /dev/null
	check "it is detached from" detach
	check "and runs on" ask pause resume
	check "what was recorded replays" timeout 120 "$BIN/rrc-replay" "$WORK/guest"
	# What the first recording did not take out any more is not the second one's.
	check "it is attached to again" attach guest "$WORK/guest-2" || return
	ask work digest resume > /dev/null
	check "and let go" detach
	check "what was recorded then replays" timeout 120 "$BIN/rrc-replay" "$WORK/guest-2"
	"$LAB" rm guest
}

# refused NAME WHY: attaching fails with exit code 3 and one line.
refused() {
	local rc=0
	timeout 60 "$BIN/rrc-trace" --container "$(id_of guest)" -o "$WORK/refused" \
		> /dev/null 2> "$WORK/refused.err" || rc=$?
	if (( rc == 3 )) && [[ $(grep -c error: "$WORK/refused.err") == 1 ]] && grep -q "$2" "$WORK/refused.err"
	then ok "$1 is refused: $(sed -n 's/.*error: //p' "$WORK/refused.err")"
	else not_ok "$1: exit $rc: $(tail -n 1 "$WORK/refused.err")"; fi
	check "$1 runs on" ask pause resume
	rm -rf "$WORK/refused"
}

refusals_case() {
	local source=$ROOT/tests/e2e/inject-guest.c
	if ! gcc -O2 -static -D_GNU_SOURCE -o "$WORK/static" "$source" ||
		! musl-gcc -O2 -D_GNU_SOURCE -o "$WORK/musl" "$source"
	then not_ok "the guest cannot be built for another libc"; return; fi
	"$LAB" run guest --plain --put "$WORK/static:$WORK/static" --port 7000 -- "$WORK/static" 7000
	refused "a static program" 'linked statically'
	"$LAB" rm guest
	"$LAB" run guest --plain --put "$WORK/musl:$WORK/musl" --port 7000 -- "$WORK/musl" 7000
	refused "a program on musl" 'ld-musl'
	check "and is recorded without it on request" attach guest "$WORK/without" --no-inject && detach
	"$LAB" rm guest
}

# A runtime's hook brings it in at the start: every program has it, one that is executed under protection too.
hook_case() {
	local pid
	"$LAB" run guest --hook --put "$guest:/guest" --port 7000 -- "$guest" 7000 ||
		{ not_ok "no container starts with the hook"; return; }
	pid=$(pid_of guest)
	check "a hook brings the recorder in" grep -q librrc-preload.so "/proc/$pid/maps"
	check "the environment is as it was" eval "! tr '\\0' '\\n' < /proc/$pid/environ | grep -q LD_PRELOAD"
	check "what it started is attached to" attach guest "$WORK/hooked" || return
	check "it works on" ask work digest resume
	check "and let go" detach
	check "what was recorded replays" timeout 120 "$BIN/rrc-replay" "$WORK/hooked"
	"$LAB" rm guest
}

# start_server NAME LOAD PORT CMD…: and a load that has begun.
start_server() {
	local name=$1 client=$2 port=$3
	shift 3
	"$LAB" run server --plain --port "$port" -- "$@" || { not_ok "$name does not start"; return 1; }
	: > "$WORK/load.jsonl"
	"$LAB" client -- "$BIN/tests/faults/$client" --host "$("$LAB" address server)" --connections 8 \
		--rate 4000 --tail 2 --patience 10 --progress 0.1 --json > "$WORK/load.jsonl" 2> "$WORK/load.err" &
	load=$!
	some_load || { not_ok "$name: the load does not begin: $(tail -n 1 "$WORK/load.err")"; return 1; }
}
# some_load [N]: N reports more.
some_load() {
	await "$WORK/load.jsonl" '"progress"' $(($(grep -c '"progress"' "$WORK/load.jsonl") + ${1:-10})) $load
}
end_load() {
	local rc=0
	wait $load || rc=$?
	load=
	if (( rc == 0 )); then ok "$1: nothing lost: $(tail -n 1 "$WORK/load.jsonl")"
	else not_ok "$1: $(tail -n 1 "$WORK/load.jsonl")"; fi
}

# replay_case NAME LOAD PORT CMD…: under load, attached to, recorded, replayed.
replay_case() {
	start_server "$@" || return
	some_load "$reports"
	check "$1 is attached to under load" attach server "$WORK/server" || return
	some_load
	check "$1: its recording ends" detach
	kill -USR1 $load
	end_load "$1"
	check "$1: what was recorded replays" timeout 120 "$BIN/rrc-replay" "$WORK/server"
	rm -rf "$WORK/server"
}

# failover_case NAME LOAD PORT CMD…: under load, protected, its host dies.
failover_case() {
	start_server "$@" || return
	check "$1 is protected under load" "$LAB" protect server || return
	some_load
	kill -USR1 $load
	"$LAB" fail primary server
	check "$1: its backup serves" "$LAB" wait-live server --timeout 30 ||
		"$LAB" logs server | grep -v '"status"' | tail -n 8 | sed 's/^/    /'
	end_load "$1"
}

"$LAB" up || exit 1
counts_case
refusals_case
hook_case
for ((i = 0; i < n; i++)); do
	replay_case memcached memcached_load 11211 memcached -u root -t 4 -m 64 -U 0 -l 0.0.0.0
	"$LAB" down && "$LAB" up
	failover_case redis redis_load 6379 redis-server --save '' --appendonly no --protected-mode no \
		--jemalloc-bg-thread yes
	"$LAB" down && "$LAB" up
done
