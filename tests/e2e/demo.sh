#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The demo itself: its last line must say that nothing was lost and the gap was short.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need_rrc
need_commands redis-server

check "the demo ends well" env RRC_LAB=rrctest "$ROOT/tests/demo/demo.sh"
line=$(tail -n 1 "$WORK/check.log")
if [[ $line =~ ^demo:\ acknowledged\ ([0-9]+),\ lost\ 0,\ contradicted\ 0,\ reset\ 0,\ longest\ gap\ ([0-9]+)\ ms$ ]] &&
	(( BASH_REMATCH[1] > 0 && BASH_REMATCH[2] < 1000 )); then
	ok "$line"
else
	not_ok "the last line is: $line"
fi
