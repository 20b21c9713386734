#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The lab does what its verbs say, says so when it cannot, and leaves nothing behind.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need_root
need_commands runc jq ip nsenter redis-server redis-cli
clean_up() { "$LAB" down; }

# refuses NAME PATTERN VERB…: the verb fails with one line like this.
refuses() {
	local name=$1 pattern=$2 said
	shift 2
	said=$("$LAB" "$@" 2>&1) && { not_ok "$name: it did not fail"; return; }
	if [[ $said =~ $pattern && $(wc -l <<<"$said") == 1 ]]; then ok "$name"
	else not_ok "$name: $said"; fi
}
answers() { [[ $(timeout 1 "$LAB" client -- redis-cli -h "$1" ping 2>/dev/null) == PONG ]]; }
silent() { ! answers "$1"; }
state() { "$LAB" status --json | jq -r '.containers[0] | "\(.name) \(.address) \(.host) \(.state)"'; }

"$LAB" down
refuses "run without a lab" 'no lab' run a -- true
check "up" "$LAB" up || exit 1
refuses "up twice" 'up already' up
refuses "a program that is not there" 'not installed' run a -- no-such-program
refuses "a program that ends at once" 'ended at once' run a -- true
check "run" "$LAB" run a --port 6379 --env X=1 -- redis-server --save '' --protected-mode no || exit 1
refuses "the same name twice" 'already' run a -- sleep 1
check "answers over IPv4" answers "$("$LAB" address a)"
check "answers over IPv6" answers "$("$LAB" address a 6)"
check "status" test "$(state)" = "a $("$LAB" address a) primary running"
check "fail link" "$LAB" fail link a
check "nothing comes through" silent "$("$LAB" address a)"
check "heal" "$LAB" heal
check "answers again" answers "$("$LAB" address a)"
refuses "wait-live without protection" 'protect it first' wait-live a
refuses "fail tracer without one" 'no rrc-trace' fail tracer a
check "fail primary" "$LAB" fail primary a
check "status after it" test "$(state)" = "a $("$LAB" address a) primary dead"
check "down" "$LAB" down
left=$(ip netns; grep "$RRC_LAB-lab" /proc/mounts; find /sys/fs/cgroup -maxdepth 3 -name "$RRC_LAB-lab*";
	runc list -q | grep "^$RRC_LAB"; ls -d "/run/$RRC_LAB-lab" 2>/dev/null)
if grep -q "$RRC_LAB" <<<"$left"; then not_ok "left behind: $left"; else ok "nothing is left"; fi
check "down twice" "$LAB" down
