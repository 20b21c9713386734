#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The checkers themselves: without protection they must see that things are lost, and with a server
# that forgets they must see that it contradicts itself. A checker that cannot fail proves nothing.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need_root
need_tools
need_commands runc jq redis-server redis-cli

clean_up() { "$LAB" down; }

"$CAMPAIGN" --server redis --fail primary --runs 1 --unprotected --json --evidence "$WORK/evidence" \
	> "$WORK/runs" 2>/dev/null && not_ok "a campaign without protection calls itself good"
if jq -se '.[-1] | .recovered == 0 and .lost > 0' "$WORK/runs" >/dev/null; then
	ok "the loss of an unprotected server is seen"
else
	not_ok "the loss of an unprotected server is not seen: $(tail -n 1 "$WORK/runs")"
fi
if [[ -s $WORK/evidence/redis-primary-seed-1/parameters ]]; then ok "evidence is kept"
else not_ok "no evidence of the failed run was kept"; fi

# start PORT CMD…: a server in a fresh lab.
start() {
	local port=$1
	shift
	"$LAB" down
	"$LAB" up && "$LAB" run r --port "$port" -- "$@" || exit 1
	addr=$("$LAB" address r)
}
kill_server() { kill -KILL "$("$LAB" status --json | jq '.containers[0].pid')"; }
# result_is NAME FILTER: on the result in $WORK/client.
result_is() {
	if grep '"result"' "$WORK/client" | jq -e "$2" >/dev/null; then ok "$1"
	else not_ok "$1: $(cat "$WORK/client")"; fi
}
# during LOAD CMD…: runs the load and the command in the middle of it.
during() {
	"$LAB" client -- "$BIN/tests/faults/${1}_load" --host "$addr" --pipeline 4 --rate 4000 --seconds 2 --patience 2 --json \
		> "$WORK/client" &
	grep -m1 running < <(exec timeout 10 tail -n +1 -f "$WORK/client") >/dev/null
	shift
	"$@" >/dev/null
	wait $!
}

start 6379 redis-server --save '' --protected-mode no
during redis true
result_is "a good redis is called good" '.good and .acknowledged > 1000 and .lost == 0'
during redis "$LAB" client -- redis-cli -h "$addr" flushall
result_is "a redis that forgets is seen" '(.good | not) and .lost > 0 and .contradicted > 0'
during redis kill_server
result_is "a redis that dies is seen" '(.good | not) and .reset == 20 and .lost > 0'

# tell LINE: one command over a connection of its own; prints the first line of the answer.
tell() {
	"$LAB" client -- bash -c 'exec 3<>"/dev/tcp/$0/11211" && printf "%s\r\n" "$1" >&3 && head -n1 <&3' \
		"$addr" "$1"
}
if command -v memcached >/dev/null; then
	start 11211 memcached -u root -t 4 -m 256 -U 0 -l 0.0.0.0
	during memcached true
	result_is "a good memcached is called good" '.good and .acknowledged > 1000 and .lost == 0'
	during memcached tell flush_all
	result_is "a memcached that forgets is seen" '(.good | not) and .lost > 0 and .contradicted > 0'
	during memcached kill_server
	result_is "a memcached that dies is seen" '(.good | not) and .reset == 20 and .lost > 0'
else
	skip "memcached is not installed"
fi
