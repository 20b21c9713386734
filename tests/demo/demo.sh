#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The demonstration: redis in a container, a client that writes, the host under it dies, and the
# client goes on. Tells a newcomer what happens while it happens. `make demo` runs it.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BIN=${RRC_BIN:-${B:-$(cd "$HERE/../.." && pwd)/build}}
export RRC_LAB=${RRC_LAB:-rrcdemo} RRC_BIN=$BIN
LAB=$HERE/../lab/lab
STATE=/run/$RRC_LAB-lab
RATE=${RRC_DEMO_RATE:-2000}

say() { printf '%s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; [[ ! -d $STATE/ct/redis ]] || "$LAB" logs redis >&2; exit 1; }
pretty() { printf "%'d" "$1"; }

client=
work=$(mktemp -d "${TMPDIR:-/tmp}/rrc-demo.XXXXXX")
# shellcheck disable=SC2317 # called by the trap
clean_up() {
	[[ -z $client ]] || kill "$client" 2>/dev/null || true
	"$LAB" down 2>/dev/null || true
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Not a pipeline: that would wait for tail, which ends only with the next line.
await() { grep -m1 "$1" < <(exec timeout "$2" tail -n +1 -s 0.1 -f "$work/client.jsonl") >/dev/null; }
last() { jq -Rn --arg e "$2" '[inputs | fromjson? | select(.event == $e)] | last // {}' "$1"; }

(( EUID == 0 )) || fail "must be root"
[[ -x $BIN/tests/faults/redis_load ]] || fail "the client is not built: run \`make tools\`"

"$LAB" down
say "Three hosts on one switch, all on this machine: client, primary, backup."
"$LAB" up || fail "the lab does not come up"
"$LAB" run redis --port 6379 -- redis-server --save '' --appendonly no --protected-mode no \
	--jemalloc-bg-thread no || fail "redis does not start"
addr=$("$LAB" address redis)
say "primary: redis-server runs in a container at $addr. Nobody changed anything in it."
"$LAB" protect redis || fail "redis is not protected"
say "primary: rrc-trace protects it now; backup: rrc-replay holds a first checkpoint and stores the log."

: > "$work/client.jsonl"
"$LAB" client -- "$BIN/tests/faults/redis_load" --host "$addr" --connections 20 --pipeline 1 \
	--rate "$RATE" --mix 2,1,1,1 --tail 3 --json > "$work/client.jsonl" 2> "$work/client.err" &
client=$!
await '"running"' 20 || fail "the client does not start: $(<"$work/client.err")"
say "client:  20 connections write increasing values under changing keys and check every answer."
sleep "${RRC_DEMO_SECONDS:-3}"

kill -USR1 "$client"
"$LAB" fail primary redis
say "primary: DEAD. The cable was cut and everything on the host killed, in the middle of the load."
"$LAB" wait-live redis --timeout 30 || fail "the backup did not take over"
say "backup:  has run again, in its copy, what came after the last checkpoint, and serves at $addr."

wait "$client" || true
client=
grep '"result"' "$work/client.jsonl" > "$work/result.json" ||
	fail "the client has no result: $(<"$work/client.err")"
get() { jq -r "$1" "$work/result.json"; }
last "$STATE/backup/replay.jsonl" live > "$work/live.json"
last "$STATE/ct/redis/trace.jsonl" status > "$work/status.json"

say
say "What the client saw:"
say "  requests acknowledged before the failure   $(pretty "$(get .before)")"
say "  requests acknowledged after it             $(pretty "$(get .after)")"
say "  acknowledged writes that were lost         $(get .lost)"
say "  answers that contradict earlier ones       $(get .contradicted)"
say "  connections reset                          $(get .reset)"
say "  longest time without any answer            $(get '.gap_ms | round') ms"
say "What it took:"
jq -r --slurpfile status "$work/status.json" --slurpfile result "$work/result.json" '
	$status[0] as $s |
	[if $s.epoch then ["epochs (checkpoints) before the failure", $s.epoch] else empty end,
	 if $s.log_bytes then ["log bytes a request",
		($s.log_bytes / ([$result[0].before, 1] | max) | round)] else empty end,
	 if .records then ["records replayed", .records] else empty end,
	 if .replay_ms then ["time to replay them", "\(.replay_ms | round) ms"] else empty end,
	 if .takeover_ms then ["time from suspicion to service", "\(.takeover_ms | round) ms"]
		else empty end] |
	.[] | "  \(.[0])\(" " * (43 - (.[0] | length)))\(.[1])"' "$work/live.json"
problem=$(get .problem)
[[ -z $problem ]] || say "First problem: $problem"
say
jq -r '"demo: acknowledged \(.acknowledged), lost \(.lost), contradicted \(.contradicted), " +
	"reset \(.reset), longest gap \(.gap_ms | round) ms"' "$work/result.json"
[[ $(get .good) == true ]]
