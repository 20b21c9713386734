#!/bin/bash
# SPDX-License-Identifier: MIT
# The recorder on Debian 12's own kernel, in a virtual machine: one object file serves both. Needs
# root, qemu-system-x86, busybox-static, cpio.
set -u
here=$(cd "$(dirname "$0")" && pwd)
"$here/../vm/vm.sh" -k 6.1 -t 240 env B="$(realpath "${B:-build}")" "$here/recorder.sh"
status=$?
[ $status = 3 ] && { echo "skip recorder-6.1: no virtual machine here"; exit 77; }
exit $status
