#!/bin/bash
# SPDX-License-Identifier: MIT
# The recorder on the running kernel: what recorder.c, recorder-net.c and frames.c check. Needs root.
set -u
dir=${B:-build}/tests/e2e
failed=0

for test in "recorder" "recorder -S" "recorder-net" "frames ${B:-build}/librrc-preload.so"; do
	# shellcheck disable=SC2086 # its options
	timeout 60 "$dir"/$test || failed=1
done
exit $failed
