#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The backup dies. With `continue` clients go on within a second; with `stop` they get no answer
# until a new backup is there, and then all of them. RRC_BACKUP_LOSSES: how often each.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

n=${RRC_BACKUP_LOSSES:-1}
need_rrc
need_commands redis-server

gap_case() {
	local gap
	campaign_case "backup dies, continue, $n times" --server redis --fail backup --runs "$n" \
		--seed 1 --on-backup-loss continue || return
	gap=$(tail -n 1 "$WORK/campaign.log" | sed -E 's/.*max ([0-9]+) ms$/\1/')
	if (( gap < 1000 )); then ok "clients go on within a second: $gap ms"
	else not_ok "clients waited $gap ms"; fi
}
gap_case
campaign_case "backup dies, stop, a new one comes, $n times" --server redis --fail backup \
	--runs "$n" --seed 1001 --on-backup-loss stop
