# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the end-to-end tests share. Each is a script that prints `ok`, `not ok` or `skip` for every
# case it has and ends with 0 unless one was not ok. How often a failure is tried comes from an
# environment variable, small in everyday use.
set -uo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BIN=${RRC_BIN:-${B:-$ROOT/build}}
export RRC_BIN=$BIN RRC_LAB=${RRC_LAB:-rrctest}
# shellcheck disable=SC2034 # for the scripts
LAB=$ROOT/tests/lab/lab
CAMPAIGN=$ROOT/tests/faults/campaign
FAILED=0
WORK=$(mktemp -d "${TMPDIR:-/tmp}/rrc-e2e.XXXXXX")

ok() { printf 'ok %s\n' "$*"; }
not_ok() { printf 'not ok %s\n' "$*"; FAILED=1; }
skip() { printf 'skip %s\n' "$*"; }
skip_all() { skip "$(basename "$0" .sh): $*"; exit 0; }
# check NAME CMD…: one case; what the command says is shown if it fails.
check() {
	local name=$1 rc=0
	shift
	"$@" > "$WORK/check.log" 2>&1 || rc=$?
	if (( rc == 0 )); then ok "$name"; else
		not_ok "$name: exit $rc"
		sed 's/^/    /' "$WORK/check.log"
	fi
	return $rc
}

# shellcheck disable=SC2317 # called by the trap
end_test() {
	local rc=$?
	declare -F clean_up >/dev/null && clean_up
	rm -rf "$WORK"
	(( rc == 0 )) || exit "$rc"
	exit $FAILED
}
trap end_test EXIT
trap 'exit 130' INT TERM

need_root() { (( EUID == 0 )) || skip_all "must be root"; }
need_commands() {
	local c
	for c in "$@"; do command -v "$c" >/dev/null || skip_all "$c is not installed"; done
}
need_tools() { [[ -x $BIN/tests/faults/redis_load ]] || skip_all "the clients are not built: make tools"; }
# Both ends; and a host on which they can work, by their own word.
need_rrc() {
	need_root
	need_tools
	need_commands runc jq ip nsenter
	[[ -x $BIN/rrc-trace && -x $BIN/rrc-replay ]] || skip_all "rrc-trace and rrc-replay are not built"
	"$BIN/rrc-trace" --check > "$WORK/host.log" 2>&1 ||
		skip_all "this host lacks something: $(grep -im1 missing "$WORK/host.log")"
}

# campaign_case NAME OPTIONS…: N failures as one case; its runs are shown only when one is wrong.
campaign_case() {
	local name=$1 rc=0
	shift
	"$CAMPAIGN" "$@" > "$WORK/campaign.log" 2>&1 || rc=$?
	if (( rc == 0 )); then
		ok "$name: $(tail -n 1 "$WORK/campaign.log")"
	else
		not_ok "$name: $(tail -n 1 "$WORK/campaign.log")"
		sed 's/^/    /' "$WORK/campaign.log"
	fi
	return $rc
}
