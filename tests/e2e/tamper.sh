#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A byte flipped or a file cut anywhere in a recorded directory: a clear error, exit 1, no crash.
# RRC_TAMPERS: how many cases; RRC_ASAN_BIN: where an rrc-replay built with SANITIZE=address is.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

cases=${RRC_TAMPERS:-20}
RANDOM=${RRC_SEED:-1}
need_root
[[ -x $BIN/rrc-trace && -x $BIN/rrc-replay ]] || skip_all "rrc-trace and rrc-replay are not built"
replay=${RRC_ASAN_BIN:-$BIN}/rrc-replay

"$BIN/rrc-trace" -o "$WORK/good" -- bash -c 'seq 1 200 | sort -rn | head -n 3' > "$WORK/out" 2> "$WORK/err" \
	< /dev/null || { not_ok "cannot record: $(tail -n 1 "$WORK/err")"; exit 1; }
check "the directory replays as it is" "$replay" "$WORK/good" || exit 1
cp -a "$WORK/good" "$WORK/killed"
rm "$WORK/killed/end"
check "a recording that was not ended replays as far as it goes" "$replay" "$WORK/killed" &&
	{ grep -q 'warning: .*has no end' "$WORK/check.log" || not_ok "without a warning"; }

# Whole frames missing from the end of a log: every checksum that is left is right.
last=0 at=0 size=$(stat -c %s "$WORK/good/log-000001")
while (( at < size )); do
	last=$at
	at=$((at + 40 + $(od -An -tu4 -j $((at + 8)) -N 4 "$WORK/good/log-000001")))
done
cp -a "$WORK/good" "$WORK/short"
truncate -s "$last" "$WORK/short/log-000001"
rc=0
"$replay" "$WORK/short" > "$WORK/out" 2> "$WORK/err" || rc=$?
if (( rc == 1 )) && [[ -s $WORK/err ]]; then ok "a log cut between two frames is refused"
else not_ok "a log cut between two frames: exit $rc: $(head -n 3 "$WORK/err")"; fi

mapfile -t files < <(cd "$WORK/good" && find . -type f -size +0 | sort)

# flip FILE AT: changes one bit there.
flip() {
	local byte
	byte=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf '%b' "$(printf '\\x%02x' $((byte ^ 1 << RANDOM % 8)))" |
		dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

bad=0
for ((i = 0; i < cases; i++)); do
	f=${files[RANDOM % ${#files[@]}]}
	rm -rf "$WORK/bad"
	cp -a "$WORK/good" "$WORK/bad"
	size=$(stat -c %s "$WORK/bad/$f")
	at=$(((RANDOM * 32768 + RANDOM) % size))
	if (( RANDOM % 2 )); then
		what="$f flipped at $at of $size"
		flip "$WORK/bad/$f" "$at"
	else
		what="$f cut to $at of $size"
		truncate -s "$at" "$WORK/bad/$f"
	fi
	rc=0
	timeout 60 "$replay" "$WORK/bad" > "$WORK/out" 2> "$WORK/err" < /dev/null || rc=$?
	if (( rc != 1 )) || [[ ! -s $WORK/err ]] || grep -q 'ERROR: AddressSanitizer' "$WORK/err"; then
		not_ok "$what: exit $rc: $(head -n 3 "$WORK/err")"
		bad=$((bad + 1))
	fi
done
(( bad )) || ok "$cases damaged directories are refused with a clear error"
