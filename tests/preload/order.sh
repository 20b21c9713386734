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

failed=0
# verdict NAME STATUS
verdict() {
	if (( $2 == 0 )); then echo "ok $1"; else echo "not ok $1"; failed=1; fi
}

# only the spinners need patience (ns)
for guest in mutex trylock spin cond rwlock sem once barrier alloc clock births spinners; do
	patience=0
	[[ $guest != spinners ]] || patience=3000000
	"$HARNESS" -n "$RUNS" -p $patience "$LIBRARY" "$GUEST" $guest
	verdict "locklog: $guest: $RUNS replays print what the recorded run did" $?
done

# Without the log's order they are not the same: else the above would show nothing.
for guest in mutex trylock spin cond rwlock sem once barrier alloc clock; do
	seen=$(for ((i = 0; i < 5; i++)); do LD_PRELOAD=$LIBRARY setarch -R "$GUEST" $guest; done | sort -u | wc -l)
	(( seen > 1 ))
	verdict "locklog: $guest: runs without a log differ ($seen of 5)" $?
done
for guest in mutex cond sem; do
	"$HARNESS" -d 300 "$LIBRARY" "$GUEST" $guest >/dev/null
	(( $? == 1 ))
	verdict "locklog: $guest: a log in which two turns are exchanged does not replay" $?
done
exit $failed
