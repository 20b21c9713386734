#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# rrc-trace is killed inside a dump: whatever CRIU had begun is taken back, and the container serves on. At the two places
# where everything stands, and at any other moment of one dump after the other. RRC_DUMP_KILLS: how often.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

n=${RRC_DUMP_KILLS:-6}
need_rrc
need_commands redis-server redis-cli
tracer=''

clean_up() {
	[[ -z $tracer ]] || kill -KILL "$tracer" 2>/dev/null
	"$LAB" down >/dev/null 2>&1
}

id() { [[ $RRC_LAB == rrc ]] && printf srv || printf '%s-srv' "$RRC_LAB"; }

# await REGEX N: until rrc-trace has said so N times.
await() {
	[[ $(grep -m"$2" -c "$1" < <(exec timeout 30 tail -n +1 -s 0.02 --pid="$tracer" -f "$WORK/trace" 2>/dev/null)) == "$2" ]]
}

record() { # PLACE: where it stops, or nothing
	rm -rf "$WORK/recording"
	: > "$WORK/trace"
	env ${1:+RRC_FAULT="$1"} "$BIN/rrc-trace" --container "$(id)" -o "$WORK/recording" --json --epoch 200ms \
		--checkpoint-engine stop > "$WORK/trace" 2> "$WORK/trace.err" &
	tracer=$!
}

answers() { timeout 20 "$LAB" client -- redis-cli -h "$addr" incr key; }

# Nobody holds a thread of it any more, and the dump's owner has ended.
is_free() {
	local pid owner
	for owner in $(pgrep -f "criu.*$WORK/recording"); do timeout 20 tail --pid="$owner" -f /dev/null; done
	for pid in $("$LAB" status --json | jq '.containers[].pid'); do
		grep -h TracerPid: "/proc/$pid"/task/*/status
	done | grep -qv '	0$' && return 1
	[[ -z $(pgrep -f "criu.*$WORK/recording") ]]
}

killed() { # HOW-MANY-th
	local places=(frozen:1 cut:1 frozen:2 cut:2 '' '' '' '') before after place
	place=${places[$(($1 % ${#places[@]}))]}
	before=$(answers) || return 1
	record "$place"
	if [[ -n $place ]]; then
		await '"fault"' 1
	else
		await '"checkpoint-begin"' $((1 + $1 % 3)) && sleep "0.$(printf '%03d' $((37 * $1 % 110)))"
	fi || { cat "$WORK/trace" "$WORK/trace.err"; return 1; }
	kill -KILL "$tracer"
	wait "$tracer" 2>/dev/null
	tracer=
	after=$(answers) || { echo "kill $1 at ${place:-any moment}: it serves no more"; return 1; }
	(( after == before + 1 )) || { echo "kill $1: $before, then $after"; return 1; }
	is_free || { echo "kill $1 at ${place:-any moment}: somebody still holds it"; return 1; }
}

all_killed() {
	local i
	for ((i = 0; i < n; i++)); do killed "$i" || return 1; done
}

recorded_again() {
	record ''
	await '"protected"' 1 || return 1
	answers || return 1
	kill -INT "$tracer"
	wait "$tracer" || return 1
	tracer=
	timeout 60 "$BIN/rrc-replay" "$WORK/recording"
}

"$LAB" up && "$LAB" run srv --port 6379 -- redis-server --save '' --appendonly no --protected-mode no \
	--jemalloc-bg-thread no && addr=$("$LAB" address srv) || exit 1
check "rrc-trace is killed $n times inside a dump: the container serves on" all_killed
check "and is recorded again" recorded_again
check "and nothing is left below /run" test ! -e "/run/rrc/$(id)"
