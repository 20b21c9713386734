#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The lock log by itself: each guest is recorded, and replayed from its beginning, RRC_RUNS (20) times; what
# it prints depends on the order of its threads. Shown too: recordings differ from each other, and a
# log whose order was changed does not replay.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
B=${B:-$PWD/build}
HARNESS=$B/tests/preload/harness GUEST=$B/tests/preload/guest LIBRARY=$B/librrc-preload.so
RUNS=${RRC_RUNS:-20}
work=$(mktemp "${TMPDIR:-/tmp}/rrc-order.XXXXXX")
trap 'rm -f "$work"' EXIT

failed=0
# verdict NAME STATUS
verdict() {
	if (( $2 == 0 )); then echo "ok $1"; else echo "not ok $1"; failed=1; fi
}

# only the spinners need patience (ns)
for guest in mutex trylock spin cond c11 rwlock sem once barrier alloc clock births spinners pool; do
	patience=0
	[[ $guest != spinners && $guest != pool ]] || patience=3000000
	good=0
	for ((i = 0; i < RUNS; i++)); do
		timeout 60 "$HARNESS" -p $patience "$LIBRARY" "$GUEST" $guest >"$work" && good=$((good + 1)) || cat "$work"
	done
	grep '^#' "$work"
	(( good == RUNS ))
	verdict "locklog: $guest: $good of $RUNS recordings replay to the same" $?
done

# Without the log's order they are not the same: else the above would show nothing.
for guest in mutex trylock spin cond c11 rwlock sem once barrier alloc clock; do
	seen=$(for ((i = 0; i < 5; i++)); do LD_PRELOAD=$LIBRARY setarch -R "$GUEST" $guest; done | sort -u | wc -l)
	(( seen > 1 ))
	verdict "locklog: $guest: runs without a log differ ($seen of 5)" $?
done
for guest in mutex cond sem; do
	timeout 60 "$HARNESS" -d 300 "$LIBRARY" "$GUEST" $guest >/dev/null
	(( $? == 1 ))
	verdict "locklog: $guest: a log in which two turns are exchanged does not replay" $?
done
timeout 60 "$HARNESS" -r "$LIBRARY" "$GUEST" forks | grep -q '^forks 0*5 '
verdict "locklog: a forked child has a log of its own at the same address" $?
timeout 60 "$HARNESS" -r "$LIBRARY" "$GUEST" signals | grep -q '^signals '
verdict "locklog: signal handlers inside wrappers leave the log in order" $?

# Cut at each instruction of the first lock's acquisition and failed one, and now and then in the rest.
for stride in 1:500 37; do
	timeout 120 "$B/tests/preload/steps" $stride "$LIBRARY" "$GUEST" steps
	verdict "locklog: cut after any number of instructions ($stride)" $?
done

# A log that ends somewhere: its end is reached, and from there the program goes on for real.
for guest in mutex:20 trylock:10 cond:4 c11:20 rwlock:20 sem:4 once:6 barrier:20 alloc:20 clock:3 births:6; do
	for drains in 3 20; do
		timeout 60 "$HARNESS" -l $drains "$LIBRARY" "$GUEST" "${guest%:*}" "${guest#*:}" 20 >"$work" || cat "$work"
		grep '^# at' "$work"
		tail -n 2 "$work" | grep -q '1 of 1 replays went live'
		verdict "locklog: ${guest%:*}: goes live at the end of its log (after $drains drains)" $?
	done
done
exit $failed
