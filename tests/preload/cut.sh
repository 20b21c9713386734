#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The lock log across a checkpoint: each guest is cut by CRIU at random instructions, RRC_RUNS (4) times,
# with its rings drained or run full, and its restored copy goes by the log to the same result.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
B=${B:-$PWD/build}
GUEST=$B/tests/preload/guest LIBRARY=$B/librrc-preload.so
RUNS=${RRC_RUNS:-4}
(( EUID == 0 )) || { echo "skip: must be root"; exit 77; }
work=$(mktemp -d "${TMPDIR:-/tmp}/rrc-cut.XXXXXX")
trap 'rm -rf "$work"' EXIT

RANDOM=${RRC_SEED:-$$}
failed=0
for guest in mutex:900 trylock:300 spin:2500 cond:80 rwlock:1200 sem:300 once:50 barrier:300 alloc:400 clock:100 births:60; do
	name=${guest%:*} good=0
	for ((i = 0; i < RUNS; i++)); do
		rm -rf "$work/cut" && mkdir "$work/cut"
		delay=$((10 + RANDOM % 40))
		timeout 100 "$B/tests/preload/cut" "$work/cut" $delay 0 "$LIBRARY" "$GUEST" "$name" "${guest#*:}"
		rc=$?
		(( rc != 77 )) || exit 77
		if (( rc == 0 )); then
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
