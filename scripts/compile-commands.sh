#!/bin/sh
# SPDX-License-Identifier: MIT
# Prints compile_commands.json for editors and clang-tidy.
# Usage: scripts/compile-commands.sh CC "FLAGS" FILE…
cc=$1 flags=$2
shift 2
esc() { printf '%s' "$1" | sed 's/["\\]/\\&/g'; }
sep='['
for f; do
	printf '%s\n  {"directory": "%s", "file": "%s", "command": "%s"}' "$sep" \
		"$(esc "$PWD")" "$(esc "$f")" "$(esc "$cc $flags -c $f")"
	sep=','
done
printf '\n]\n'
