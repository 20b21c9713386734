#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A server with thousands of connections, and a backup that was started with the usual limit of 1024
# descriptors. RRC_MANY: how many.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need_rrc
need_commands redis-server
n=${RRC_MANY:-3000}

clean_up() { "$LAB" down >/dev/null 2>&1; }

fails_over() {
	local pid rc=0
	"$LAB" down >/dev/null 2>&1
	"$LAB" up || return 1
	"$LAB" run srv --port 6379 -- redis-server --save '' --protected-mode no --maxclients $((n + 100)) \
		--jemalloc-bg-thread no || return 1
	(ulimit -Sn 1024; "$LAB" protect srv -- --epoch 10s) || return 1
	mkfifo "$WORK/word"
	"$LAB" client -- "$BIN/tests/e2e/many-client" "$("$LAB" address srv)" "$n" \
		<"$WORK/word" >"$WORK/client.log" 2>&1 &
	pid=$!
	exec 9>"$WORK/word"
	while ! grep -q '^ready' "$WORK/client.log"; do
		kill -0 "$pid" 2>/dev/null || { cat "$WORK/client.log"; exec 9>&-; return 1; }
		read -rt 0.05 <> <(:)
	done
	"$LAB" fail primary srv || rc=1
	"$LAB" wait-live srv || { "$LAB" logs srv | tail -20; kill "$pid"; exec 9>&-; return 1; }
	echo live >&9
	exec 9>&-
	wait "$pid" || rc=1
	cat "$WORK/client.log"
	"$LAB" logs srv | grep '"event": *"live"'
	return $rc
}

check "$n connections outlive their host" fails_over &&
	grep -E '^after|"live"' "$WORK/check.log" | sed 's/^/    /'
