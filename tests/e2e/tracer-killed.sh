#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# rrc-trace is killed at random moments: either the backup serves, and knows all that was answered,
# or the container's outputs stay held. RRC_TRACER_KILLS: how often.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

n=${RRC_TRACER_KILLS:-2}
need_rrc
need_commands redis-server

"$CAMPAIGN" --server redis --fail tracer --runs "$n" --seed 1 --json > "$WORK/runs" 2> "$WORK/err"
if jq -se --argjson n "$n" '.[-1] | .runs == $n and .recovered + .held == $n and
	.lost + .contradicted + .reset == 0' "$WORK/runs" > /dev/null; then
	ok "rrc-trace killed $n times: $(jq -sr '.[-1] |
		"\(.recovered) times the backup serves, \(.held) times outputs are held"' "$WORK/runs")"
else
	not_ok "rrc-trace killed $n times"
	sed 's/^/    /' "$WORK/runs" "$WORK/err"
fi
