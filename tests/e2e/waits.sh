#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A delta stops all threads ten times a second, and no wait shows it: none ends with EINTR, none is longer or
# shorter than it was asked to be; nor does a replay or the copy at the backup that a failover goes on with.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need_rrc
DELTAS=${RRC_WAITS_DELTAS:-25}

clean_up() { "$LAB" down >/dev/null 2>&1; }

trace() { printf '%s' "/run/$RRC_LAB-lab/ct/waits/trace.jsonl"; }

# checkpoints DELTA: how many there were, whole ones (false) or deltas (true).
checkpoints() { grep '"event": *"checkpoint"' "$(trace)" | grep -c "\"delta\": *$1"; }

# ask BYTE: EINTRs, time-outs, wrong ones.
ask() {
	"$LAB" client -- timeout 10 bash -c 'exec 3<> "/dev/tcp/$1/7000" && printf %s "$2" >&3 && cat <&3' \
		ask "$addr" "$1"
}

# N more deltas; the server is asked something meanwhile.
deltas_come() {
	local i end=$(($(checkpoints true) + $1))
	for ((i = 0; i < 600; i++)); do
		(( $(checkpoints true) < end )) || return 0
		ask a > /dev/null || return 1
	done
	echo "only $(checkpoints true) deltas"
	return 1
}

start() {
	"$LAB" down >/dev/null 2>&1
	"$LAB" up && "$LAB" run waits --port 7000 -- "$BIN/tests/e2e/waits-guest" 7000 &&
		addr=$("$LAB" address waits)
}

# Whole checkpoints are CRIU's, which waits do see: none may come in between.
undisturbed() {
	local wholes eintr timeouts wrong try
	for try in 1 2 3; do
		deltas_come 2 && ask r && wholes=$(checkpoints false) && deltas_come "$DELTAS" || return 1
		read -r eintr timeouts wrong < <(ask a)
		echo "$eintr EINTRs, $timeouts timed out, $wrong of them wrong; try $try"
		(( wholes != $(checkpoints false) )) || break
	done
	(( eintr == 0 && timeouts > 0 && wrong == 0 ))
}

goes_on() {
	local eintr timeouts wrong
	"$LAB" fail primary waits && "$LAB" wait-live waits || { "$LAB" logs waits | tail; return 1; }
	read -r eintr timeouts wrong < <(ask a)
	echo "$eintr EINTRs, $timeouts timed out, $wrong of them wrong"
	(( wrong == 0 ))
}

"$BIN/rrc-trace" --help | grep -q checkpoint-engine || skip_all "no engine makes deltas here"
start && "$LAB" protect waits || { not_ok "the server is protected"; exit; }
check "$DELTAS checkpoints, and no wait ends with EINTR, too early or too late" undisturbed
check "a failover goes on" goes_on
