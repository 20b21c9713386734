#!/bin/bash
# SPDX-License-Identifier: MIT
# In the virtual machine: all of it at once on a kernel where writes cannot be watched. redis under checked load, its
# checkpoints taken out of copies that the module makes, its host dies, the backup goes on. Emulated, so everything
# is slow: the backup believes in silence later, and epochs are longer.
#	failover.sh MODULE DELTAS
set -u
module=$1 deltas=$2
here=$(cd "$(dirname "$0")" && pwd)
LAB=$here/../lab/lab
export RRC_BIN=$B RRC_LAB=kmod RRC_LAB_TIMEOUT=120
state=/run/$RRC_LAB-lab
trace=$state/ct/srv/trace.jsonl backup=$state/backup/replay.jsonl client=/tmp/client.jsonl
failed=0
ok() { echo "ok failover: $*"; }
not_ok() { echo "not ok failover: $*"; failed=1; }
give_up() {
	not_ok "$*"
	"$LAB" logs srv 2>/dev/null | grep -v '"event":"status"' | tail -n 40 | sed 's/^/# /'
	tail -n 3 "$client" /tmp/client.err 2>/dev/null | sed 's/^/# /'
	dmesg | tail -n 20 | sed 's/^/# /'
	exit 1
}

# await FILE REGEX N SECONDS: until N lines of the file match.
await() {
	local n
	n=$(grep -m"$3" -cE "$2" < <(exec timeout "$4" tail -n +1 -s 0.1 --pid=$$ -f "$1" 2>/dev/null))
	(( n >= $3 ))
}

# Until more was answered than when the host died.
answered_since() {
	local n
	while read -r n; do
		(( n <= acked + 100 )) || return 0
	done < <(exec timeout 60 tail -n +1 -s 0.1 --pid=$$ -f "$client" | jq --unbuffered 'select(.event == "progress") | .acknowledged')
	return 1
}

# Of the checkpoints that were deltas: least, median and most of one of their figures.
figure() {
	jq -rs --arg f "$1" '[.[] | select(.event == "checkpoint" and .delta) | .[$f]] | sort |
		"\(.[0]) \(.[length / 2 | floor]) \(.[-1])"' "$trace"
}

dmesg -C
insmod "$module" || { dmesg | tail; not_ok "the module loads"; exit 1; }
# CRIU tries out a kernel that it does not know yet, and would have them loaded one by one.
modprobe -qa tcp_diag udp_diag raw_diag unix_diag af_packet_diag netlink_diag nf_tables nft_compat nf_conntrack_netlink tun veth \
	bridge overlay nfnetlink_queue xt_NFQUEUE sch_ingress cls_bpf
"$LAB" up || give_up "the lab stands"
"$LAB" run srv --port 6379 -- redis-server --save '' --appendonly no --protected-mode no --jemalloc-bg-thread no ||
	give_up "redis starts"
"$LAB" protect srv --replay --silence=4000 -- --checkpoint-engine kfork --epoch 500ms || give_up "redis is protected"
ok "redis is protected on $(uname -r)"
: >"$client"
"$LAB" client -- "$B/tests/faults/redis_load" --connections 8 --pipeline 1 --rate 200 --seconds 300 --progress 0.5 --seed 1 \
	--patience 60 --host "$("$LAB" address srv)" --json >"$client" 2>/tmp/client.err &
load=$!
await "$client" '"event":"running"' 1 60 || give_up "the load runs"
before=$(grep -c '"delta":true' "$trace")
await "$trace" '"event":"checkpoint".*"engine":"kfork".*"delta":true' $((before + deltas)) 90 ||
	give_up "$deltas copies were committed under load: $(grep -c '"delta":true' "$trace")"
ok "$deltas copies were committed under load"
"$LAB" fail primary srv
# What is answered from here on the backup answers.
kill -USR1 "$load"
await "$client" '"event":"marked"' 1 10 || give_up "the load goes on"
"$LAB" wait-live srv --timeout 60 || give_up "the backup takes over"
acked=$(grep '"event":"marked"' "$client" | jq .acknowledged)
answered_since || give_up "the backup answers"
kill -TERM "$load"
wait "$load"
result=$(grep '"event":"result"' "$client") || give_up "the client has a result"
if jq -e '.good and .before > 0 and .after > 0 and .lost + .contradicted + .reset == 0' <<<"$result" >/dev/null; then
	ok "nothing is lost, contradicted or reset: $(jq -r '"\(.before) + \(.after) requests, gap \(.gap_ms | round) ms"' <<<"$result")"
else
	not_ok "nothing is lost, contradicted or reset: $result"
fi
if grep '"event":"live"' "$backup" | jq -e '.warm and .attempts == 1' >/dev/null; then
	ok "it went on with the copy that stood ready"
else
	not_ok "it went on with the copy that stood ready: $(grep '"event":"live"' "$backup")"
fi
echo "# deltas (least, median, most): pause $(figure pause_ms) ms: park $(figure park_ms), copy $(figure copy_ms)," \
	"cut $(figure drain_ms), rest $(figure rest_ms); $(figure pages) pages, $(figure whole_ms) ms in all"
"$LAB" down
# The dead host's copies went with it.
if [ "$(cat /sys/module/rrc_fork/parameters/sessions)" = 0 ] && rmmod rrc_fork; then
	ok "no copy is left"
else
	not_ok "no copy is left: $(cat /sys/module/rrc_fork/parameters/sessions)"
fi
if dmesg | grep -E 'WARNING|BUG|Oops|Call Trace|refcount_t|list_(add|del) corruption|blocked for more|stall|corrupt'; then
	dmesg | tail -n 40
	not_ok "the kernel had nothing to say"
else
	ok "the kernel had nothing to say"
fi
exit $failed
