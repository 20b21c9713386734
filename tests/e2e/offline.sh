#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Recording into a directory and replaying it there, any number of times: no divergence, all output
# bytes equal. RRC_OFFLINE_REQUESTS: for redis; RRC_OFFLINE_REPLAYS: how often each.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

requests=${RRC_OFFLINE_REQUESTS:-20000}
replays=${RRC_OFFLINE_REPLAYS:-3}
need_root
[[ -x $BIN/rrc-trace && -x $BIN/rrc-replay ]] || skip_all "rrc-trace and rrc-replay are not built"
port=17391
tracer=

clean_up() { [[ -z $tracer ]] || kill -KILL "$tracer" 2>/dev/null; }

replay_case() {
	local name=$1 i
	for ((i = 1; i <= replays; i++)); do
		check "$name: replay $i of $replays" timeout 300 "$BIN/rrc-replay" "$WORK/$name" || return
	done
}

# A program that comes to its end by itself; its output, recorded, is what it is without us.
program_case() {
	local name=$1 rc=0
	shift
	command -v "$1" >/dev/null || { skip "$name: $1 is not installed"; return; }
	"$@" > "$WORK/$name.native" 2>&1 < /dev/null
	timeout 120 "$BIN/rrc-trace" -o "$WORK/$name" -- "$@" > "$WORK/$name.recorded" \
		2> "$WORK/$name.err" < /dev/null || rc=$?
	if (( rc )); then
		not_ok "$name: recording ended with $rc: $(tail -n 1 "$WORK/$name.err")"
		return
	fi
	grep -v '^{"event"' "$WORK/$name.recorded" | cmp -s - "$WORK/$name.native" ||
		{ not_ok "$name: the recorded program printed something else"; return; }
	replay_case "$name"
	rm -rf "${WORK:?}/$name"
}

# record_server NAME SERVER ARGS… -- LOAD ARGS…: a recording of a server while it is asked something.
record_server() {
	local name=$1 server=()
	shift
	while [[ $1 != -- ]]; do server+=("$1"); shift; done
	shift
	"$BIN/rrc-trace" -o "$WORK/$name" -- "${server[@]}" > "$WORK/$name.out" 2> "$WORK/$name.err" < /dev/null &
	tracer=$!
	timeout 60 bash -c "until exec 3<>/dev/tcp/127.0.0.1/$port; do sleep 0.05; done" 2>/dev/null ||
		{ not_ok "$name does not start: $(tail -n 1 "$WORK/$name.err")"; return 1; }
	check "$name: requests while recorded" "$@" || return 1
	kill -INT "$tracer"
	wait "$tracer"
	tracer=
	replay_case "$name"
}

redis_case() {
	command -v redis-benchmark >/dev/null || { skip "redis: not installed"; return; }
	record_server redis redis-server --save '' --appendonly no --port $port --jemalloc-bg-thread no -- \
		redis-benchmark -p $port -c 20 -n "$requests" -t set,get,incr,lpush -q
}

# Threads whose calls alternate: most of them are answered inside the program.
memcached_case() {
	local inside calls=5000
	command -v memcached >/dev/null || { skip "memcached: not installed"; return; }
	record_server memcached memcached -u root -t 4 -U 0 -l 127.0.0.1 -p $port -- \
		"$BIN/tests/faults/memcached_load" --host 127.0.0.1 --port $port --connections 20 \
		--requests $calls || return
	inside=$(timeout 300 "$BIN/rrc-replay" --json "$WORK/memcached" | jq -s 'map(.inprocess) | add')
	if (( inside > calls )); then ok "memcached: $inside calls answered inside the program"
	else not_ok "memcached: only ${inside:-0} calls answered inside the program"; fi
}

redis_case
memcached_case
program_case python python3 -c 'import os, time, random, json
print(json.dumps({"pid": os.getpid() > 0, "sum": sum(range(10 ** 6)), "later": time.time() > 1}))
open("/tmp/rrc-e2e-python", "w").write("x" * 100000)
print(len(open("/tmp/rrc-e2e-python").read()), 0 <= random.random() < 1)
os.unlink("/tmp/rrc-e2e-python")'
program_case sqlite sqlite3 :memory: 'create table t(a, b);
	with recursive c(x) as (select 1 union all select x + 1 from c where x < 10000)
	insert into t select x, x * x from c; select count(*), sum(b) from t;'
program_case openssl openssl dgst -sha256 /bin/bash
# shellcheck disable=SC2016 # the inner shell expands it
program_case bash bash -c 'seq 1 2000 | sort -rn | head -n 5; for i in 1 2 3; do echo $i | tr 1-3 a-c; done'

# What could not be recorded for replay is named: userfaultfd(2), which has no row that replays.
"$BIN/rrc-trace" --explain --json -o "$WORK/explain" -- python3 -c 'import ctypes
ctypes.CDLL(None).syscall(323, 0)' > "$WORK/explain.out" 2> "$WORK/explain.err" < /dev/null
if grep -q 'times not to be replayed: userfaultfd' "$WORK/explain.err" &&
	grep '^{"event":"barriers"' "$WORK/explain.out" | jq -e '.total > 0 and .causes.userfaultfd == 1' > /dev/null
then ok "--explain names the call"
else not_ok "--explain: $(tail -n 2 "$WORK/explain.err")"; fi

# Locks that a signal's handler takes inside the recorder are not in the log, which is said (rule 4).
"$BIN/rrc-trace" --explain -o "$WORK/handler" -- "$BIN/tests/e2e/handler-locks" > "$WORK/handler.out" 2>&1 < /dev/null
if grep -q '^done' "$WORK/handler.out" && grep -q 'times not to be replayed: lost records' "$WORK/handler.out"
then ok "locks taken in a handler inside the recorder are a barrier"
else not_ok "locks in a handler: $(tail -n 2 "$WORK/handler.out")"; fi
