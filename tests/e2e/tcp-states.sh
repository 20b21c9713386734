#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A client holds one connection in every state that TCP has, IPv4, v4-mapped and IPv6, when the server's
# host dies: each goes on, or ends, as it would have. RRC_TCP_RUNS: how often.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need_rrc
need_commands ss iptables ip6tables
runs=${RRC_TCP_RUNS:-1}

clean_up() { "$LAB" down >/dev/null 2>&1; }

committed() { "$LAB" logs srv 2>/dev/null | grep -c '"event": *"committed"'; }

# What the container's kernel shows must be what the client wants to have at the failure.
states_are() {
	local port state name seen wrong=1 tries
	for ((tries = 0; tries < 50 && wrong; tries++)); do
		wrong=0
		seen=$(nsenter --net="/run/netns/$RRC_LAB-ct-srv" ss -Htan)
		while read -r _ port state name; do
			awk -v s="$state" -v p=":$port\$" '$1 == s && ($4 ~ p || $5 ~ p) { found = 1 }
				END { exit !found }' <<<"$seen" && continue
			wrong=1
			(( tries < 49 )) || echo "$name (port $port) is not in $state: $(grep ":$port " <<<"$seen")"
		done < <(grep '^expect ' "$1")
		(( wrong )) && read -rt 0.1 <> <(:)
	done
	return $wrong
}

one_run() {
	local n pid rc=0
	"$LAB" down >/dev/null 2>&1
	"$LAB" up || return 1
	"$LAB" run srv --put "$BIN/tests/e2e/tcp-states-server:/tcp-states-server" --port 7000 --output \
		-- sh -c 'exec /tcp-states-server' || return 1
	"$LAB" protect srv -- --epoch "${RRC_TCP_EPOCH:-1s}" || return 1
	rm -f "$WORK/word"
	mkfifo "$WORK/word"
	"$LAB" client -- "$BIN/tests/e2e/tcp-states-client" "$("$LAB" address srv)" \
		"$("$LAB" address srv 6)" <"$WORK/word" >"$WORK/client.log" 2>&1 &
	pid=$!
	exec 9>"$WORK/word"
	while ! grep -q '^ready' "$WORK/client.log"; do
		kill -0 "$pid" 2>/dev/null || { cat "$WORK/client.log"; return 1; }
		read -rt 0.05 <> <(:)
	done
	states_are "$WORK/client.log" || rc=1
	# A checkpoint with all of them there.
	n=$(committed)
	while (( $(committed) < n + 1 )); do
		read -rt 0.1 <> <(:)
	done
	"$LAB" fail primary srv || rc=1
	"$LAB" wait-live srv || { "$LAB" logs srv | tail -20; kill "$pid"; exec 9>&-; return 1; }
	echo live >&9
	exec 9>&-
	wait "$pid" || rc=1
	grep -v '^expect ' "$WORK/client.log"
	find "/run/$RRC_LAB-lab/backup" -name lab-output -exec cat {} +
	"$LAB" logs srv | grep -E '"event": *"live"|connection .*reset|WARN|warn' | tail -n 40
	return $rc
}

for ((run = 1; run <= runs; run++)); do
	check "every state of TCP outlives its host, run $run" one_run &&
		grep 'connections are as they' "$WORK/check.log" | sed 's/^/    /'
done
