#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Rule 7: a backup that hears the link end does not speak before the lease of its last answer is over,
# however long that is. rrc-trace is killed under a silence of 3 s (lease 2 s): service must not move
# to the backup in less.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need_rrc
need_commands redis-server
clean_up() { "$LAB" down; }
"$LAB" down
"$LAB" up
"$LAB" run web --port 6379 -- redis-server --save '' --protected-mode no --jemalloc-bg-thread no
"$LAB" protect web --replay --silence --replay 3000
start=${EPOCHREALTIME/./}
"$LAB" fail tracer web
"$LAB" wait-live web --timeout 20
took=$(((${EPOCHREALTIME/./} - start) / 1000))
if ((took >= 1900)); then
	ok "the backup waits for the end of the lease ($took ms)"
else
	not_ok "the backup waits for the end of the lease: it served after $took ms"
fi
