#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Checkpoints that are only what changed, and the copy that they keep warm: they come, a birth in between makes
# one of them whole and the next are deltas again, and a failover goes on with the copy, or, with --cold,
# restores and makes all again. How long epochs are by themselves. RRC_DELTA_FAULTS: how many failures at numbered places of a checkpoint.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need_rrc
need_commands redis-server redis-cli
faults=${RRC_DELTA_FAULTS:-12}

clean_up() { "$LAB" down >/dev/null 2>&1; }

trace() { printf '%s' "/run/$RRC_LAB-lab/ct/srv/trace.jsonl"; }
backup() { printf '%s' "/run/$RRC_LAB-lab/backup/replay.jsonl"; }

# deltas FILE: how many, of all.
deltas() { grep '"event": *"checkpoint"' "$1" | grep -c '"delta": *true'; }

# wait_for N CMD…: until the command's number is N or more; the container is asked something meanwhile.
wait_for() {
	local n=$1 i
	shift
	for ((i = 0; i < 400; i++)); do
		(( $("$@") < n )) || return 0
		"$LAB" client -- redis-cli -h "$addr" -r 20 -i 0.005 incr key > /dev/null || return 1
	done
	echo "waited in vain for $n of: $*"
	return 1
}

wholes() { grep '"event": *"checkpoint"' "$(trace)" | grep -c '"delta": *false'; }

start() {
	"$LAB" down >/dev/null 2>&1
	"$LAB" up && "$LAB" run srv --port 6379 -- redis-server --save '' --appendonly no \
		--protected-mode no --jemalloc-bg-thread no --dbfilename x.rdb && addr=$("$LAB" address srv)
}

goes_on() { # WARM REPLAY-OPTIONS…: true or false
	local warm=$1 before after
	shift
	start && "$LAB" protect srv "$@" || return 1
	wait_for 5 deltas "$(trace)" || { cat "$(trace)"; return 1; }
	before=$(wholes)
	"$LAB" client -- redis-cli -h "$addr" bgsave || return 1
	wait_for $((before + 1)) wholes || return 1
	wait_for $(($(deltas "$(trace)") + 5)) deltas "$(trace)" || return 1
	after=$("$LAB" client -- redis-cli -h "$addr" incr key) || return 1
	"$LAB" fail primary srv || return 1
	"$LAB" wait-live srv || { "$LAB" logs srv | tail; return 1; }
	grep '"event": *"live"' "$(backup)"
	(( $("$LAB" client -- redis-cli -h "$addr" incr key) == after + 1 )) || return 1
	grep '"event": *"live"' "$(backup)" | grep -q "\"warm\": *$warm"
}

# committed WARM: how many checkpoints after the first the backup has kept with a copy that stood, or before it did.
committed() { grep '"event": *"committed"' "$(backup)" | tail -n +2 | grep -c "\"warm\": *$1"; }

# The copy of much memory takes its time to be restored: checkpoints are kept meanwhile, and brought on with it.
kept_meanwhile() {
	local after i
	start || return 1
	"$LAB" client -- redis-cli -h "$addr" setbit bits 1600000000 1 > /dev/null &&
		"$LAB" client -- redis-cli -h "$addr" bitop not full bits > /dev/null &&
		"$LAB" protect srv || return 1
	# Nobody asks it anything: what makes no calls needs no copy to be tried in.
	for ((i = 0; i < 400 && $(committed true) < 3; i++)); do sleep 0.05; done
	grep '"event": *"committed"' "$(backup)" | head -n 12
	(( $(committed false) >= 1 )) || return 1
	after=$("$LAB" client -- redis-cli -h "$addr" incr key) || return 1
	"$LAB" fail primary srv && "$LAB" wait-live srv || return 1
	(( $("$LAB" client -- redis-cli -h "$addr" incr key) == after + 1 )) || return 1
	grep '"event": *"live"' "$(backup)" | grep -q '"warm": *true'
}

# A checkpoint with calls waits for that copy, and so does a failover, whose it is then.
fails_meanwhile() {
	local after n client
	start || return 1
	"$LAB" client -- redis-cli -h "$addr" setbit bits 1600000000 1 > /dev/null &&
		"$LAB" client -- redis-cli -h "$addr" bitop not full bits > /dev/null &&
		"$LAB" protect srv || return 1
	"$LAB" client -- redis-cli -h "$addr" -r 1000 -i 0.01 incr busy > /dev/null &
	client=$!
	n=$(grep -c '"checkpoint-begin"' "$(trace)")
	[[ $(grep -m $((n + 1)) -c '"checkpoint-begin"' \
		< <(exec timeout 20 tail -n +1 -s 0.02 --pid=$client -f "$(trace)" 2>/dev/null)) == $((n + 1)) ]] || return 1
	after=$("$LAB" client -- redis-cli -h "$addr" incr key) || return 1
	"$LAB" fail primary srv || return 1
	"$LAB" wait-live srv || { "$LAB" logs srv | tail -n 5; return 1; }
	(( $("$LAB" client -- redis-cli -h "$addr" incr key) == after + 1 )) || return 1
	kill $client
	grep '"event": *"committed"' "$(backup)" | tail -n 3
	grep '"event": *"live"' "$(backup)" | grep '"warm": *true'
}

# next_ms FIRST: how long the epoch is that each checkpoint began, from the FIRSTth on.
next_ms() { grep '"event": *"checkpoint"' "$(trace)" | tail -n "+$1" | sed 's/.*"next_ms": *\([0-9]*\).*/\1/'; }

# With nothing to do an epoch becomes long; load ends it, and the next ones are shorter; a failover then is good.
chooses_epochs() {
	local i n idle busy after
	start && "$LAB" protect srv -- --epoch=auto:350ms || return 1
	for ((i = 0; i < 300 && $(next_ms 1 | tail -n 1) < 2000; i++)); do sleep 0.05; done
	n=$(next_ms 1 | wc -l)
	idle=$(next_ms "$n" | tail -n 1)
	"$LAB" client -- redis-benchmark -h "$addr" -t set -n 80000 -c 20 -q > /dev/null || return 1
	busy=$(next_ms $((n + 1)) | sort -n | head -n 1)
	echo "idle: $idle ms, under load: $busy ms at least"
	(( idle >= 2000 && busy < 1000 )) || return 1
	after=$("$LAB" client -- redis-cli -h "$addr" incr key) || return 1
	"$LAB" fail primary srv && "$LAB" wait-live srv || return 1
	(( $("$LAB" client -- redis-cli -h "$addr" incr key) == after + 1 ))
}

# held FILE: what the process whose number is in it holds: descriptors and mappings.
held() { echo "$(find "/proc/$(<"$1")/fd" | wc -l) $(wc -l < "/proc/$(<"$1")/maps")"; }

# Each checkpoint gives back what it took: 4 more of either is the most that a moment makes of it.
keeps_nothing() {
	local lab=/run/$RRC_LAB-lab who before=() after=() i
	start && "$LAB" protect srv || return 1
	wait_for 20 deltas "$(trace)" || return 1
	for who in "$lab/ct/srv/trace.pid" "$lab/backup/replay.pid"; do read -ra i <<< "$(held "$who")"; before+=("${i[@]}"); done
	wait_for $(($(deltas "$(trace)") + 100)) deltas "$(trace)" || return 1
	for who in "$lab/ct/srv/trace.pid" "$lab/backup/replay.pid"; do read -ra i <<< "$(held "$who")"; after+=("${i[@]}"); done
	echo "descriptors and mappings of rrc-trace, of rrc-replay: ${before[*]}, then ${after[*]}"
	for i in "${!before[@]}"; do (( after[i] <= before[i] + 4 )) || return 1; done
	(( $(find "/run/rrc/$RRC_LAB-srv" "$lab/backup/state" -xdev -name 'ckpt-*' | wc -l) <= 2 ))
}

# The copy dies, and so does the host.
without_the_copy() {
	local before pid
	start && "$LAB" protect srv || return 1
	wait_for 5 deltas "$(trace)" || { cat "$(trace)"; return 1; }
	pid=$(cat "/run/$RRC_LAB-lab"/backup/state/*/*/restore.pid) && kill -KILL "$pid" || return 1
	before=$("$LAB" client -- redis-cli -h "$addr" incr key) || return 1
	"$LAB" fail primary srv || return 1
	"$LAB" wait-live srv || { "$LAB" logs srv | tail; return 1; }
	grep '"event": *"live"' "$(backup)" | grep '"warm": *false' || return 1
	(( $("$LAB" client -- redis-cli -h "$addr" incr key) == before + 1 ))
}

"$BIN/rrc-trace" --help | grep -q checkpoint-engine || skip_all "no engine makes deltas here"
check "deltas keep a copy warm, and a failover goes on with it" goes_on true
check "100 checkpoints leave nothing behind at either end" keeps_nothing
check "a cold backup restores, and makes all again" goes_on false --replay --cold
check "checkpoints are kept while a copy is being restored" kept_meanwhile
check "a failover waits for it, and has it for itself" fails_meanwhile
check "an epoch is as long as a recovery may be" chooses_epochs
check "a copy that died is no use, and another one is restored" without_the_copy
clean_up
campaign_case "a replay that diverged is made again, from the images" --server memcached --fail primary --again \
	--runs 2 --seed 1
campaign_case "the primary fails at $faults places of a checkpoint" --server redis --fail primary \
	--fault each --runs "$faults" --seed 1
