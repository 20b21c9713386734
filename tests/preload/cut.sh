#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The lock log across a checkpoint: each guest is cut by CRIU at random instructions, RRC_RUNS (2) times,
# with its rings drained or run full, and its restored copy goes by the log to the same result.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
B=${B:-$PWD/build}
GUEST=$B/tests/preload/guest LIBRARY=$B/librrc-preload.so
RUNS=${RRC_RUNS:-2}
(( EUID == 0 )) || { echo "skip: must be root"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/rrc-cut.XXXXXX")
trap 'rm -rf "$work"' EXIT

RANDOM=${RRC_SEED:-$$}
failed=0
# how long: for some tenths of a second
for guest in mutex:4 trylock:10 spin:8 cond:15 rwlock:16 sem:8 once:4 barrier:60 alloc:10 clock:4 births:30; do
	name=${guest%:*} good=0 early=0
	for ((i = 0; i < RUNS; i++)); do
		rm -rf "$work/cut" && mkdir "$work/cut"
		delay=$((5 + RANDOM % 20))
		"$B/tests/preload/cut" "$work/cut" $delay 0 "$LIBRARY" "$GUEST" "$name" "${guest#*:}" 300
		rc=$?
		(( rc != 77 )) || exit 77
		if (( rc == 3 && early++ < 3 )); then # it had come to its end before CRIU was there
			i=$((i - 1))
		elif (( rc == 0 )); then
			good=$((good + 1))
		else
			echo "# $name, cut after $delay ms: exit $rc"
		fi
	done
	if (( good == RUNS )); then
		echo "ok locklog: $name: cut $RUNS times"
	else
		echo "not ok locklog: $name: $good of $RUNS cuts replayed"
		failed=1
	fi
done
exit $failed
