#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What a user can get wrong: one clear line on stderr and the right exit code (1 failed, 2 usage, 3 this
# host), never a crash or a wait.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need_root
need_commands setpriv mount
[[ -x $BIN/rrc-trace && -x $BIN/rrc-replay ]] || skip_all "rrc-trace and rrc-replay are not built"
trace=$BIN/rrc-trace replay=$BIN/rrc-replay

clean_up() { mountpoint -q "$WORK/small" && umount -l "$WORK/small"; }

# refused NAME CODES PATTERN CMD…: CODES as a pattern of alternatives.
refused() {
	local name=$1 codes=$2 pattern=$3 rc=0 lines
	shift 3
	timeout 30 "$@" > "$WORK/out" 2> "$WORK/err" < /dev/null || rc=$?
	lines=$(grep -c 'error: \|^rrc-[a-z]*: ' "$WORK/err")
	if [[ ! $rc =~ ^($codes)$ ]]; then not_ok "$name: exit $rc: $(head -n 2 "$WORK/err")"
	elif (( lines != 1 )); then not_ok "$name: $lines lines of error: $(head -n 3 "$WORK/err")"
	elif ! grep -q "$pattern" "$WORK/err"; then not_ok "$name: it says $(head -n 1 "$WORK/err")"
	else ok "$name: $(head -n 1 "$WORK/err")"; fi
}

refused "unknown container" 1 'no-such-container' "$trace" -c no-such-container -o "$WORK/a"
refused "nothing to record" 2 'name one container' "$trace" -o "$WORK/a"
refused "nowhere to record to" 2 'say where it goes' "$trace" -- true
refused "bad epoch" 2 'a time such as' "$trace" --epoch soon -o "$WORK/a" -- true
mkdir "$WORK/full"
touch "$WORK/full/file"
refused "directory that is not empty" 1 'not empty' "$trace" -o "$WORK/full" -- true
refused "no recording" 1 'no recording' "$replay" "$WORK/full"
refused "dump of no recording" 1 'no recording' "$replay" --dump "$WORK/full"
refused "recording that is not there" 1 'No such file' "$replay" "$WORK/nowhere"
chmod 755 "$WORK"
refused "trace without root" 3 'root' setpriv --reuid 65534 --regid 65534 --clear-groups "$trace" -o /tmp/rrc-nobody -- true

mkdir "$WORK/small"
mount -t tmpfs -o size=64k tmpfs "$WORK/small"
refused "full disk" 1 'No space left' "$trace" -o "$WORK/small/rec" -- true

"$trace" -o "$WORK/rec" -- true > "$WORK/out" 2>&1 < /dev/null || not_ok "cannot record"
printf '\377' | dd of="$WORK/rec/ckpt-000001/manifest" bs=1 seek=4 conv=notrunc status=none
refused "another version" 1 'version 255' "$replay" "$WORK/rec"
