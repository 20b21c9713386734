#!/bin/bash
# SPDX-License-Identifier: MIT
# The fork module under Debian's kernels: built with their headers, tested in a virtual machine (guest.sh). A kernel that
# cannot be had here is a skip that says so. Needs root.
#
# RRC_KMOD_FORKS (30): forks of the stressed container in each. RRC_KMOD_KERNELS (6.1 6.12). RRC_KMOD_TESTS: parts.
set -u
here=$(cd "$(dirname "$0")" && pwd)
B=$(realpath "${B:-build}")
forks=${RRC_KMOD_FORKS:-30}
dir=${RRC_VM_DIR:-$here/../../build/vm}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
failed=0

# What the allocator can check of its objects (double frees, use after free, writes behind the end), for the caches
# that the module uses or a fork does.
checks=slub_debug=FZP,kmalloc-*,task_struct,cred_jar,nsproxy,filp,signal_cache,sighand_cache,files_cache,pid,mm_struct

# wanted TEST…: those that were asked for, in $tests.
wanted() {
	local test
	tests=()
	for test; do
		[[ " ${RRC_KMOD_TESTS:-$*} " != *" $test "* ]] || tests+=("$test")
	done
	[ ${#tests[@]} -gt 0 ]
}

# guest VERSION SECONDS KERNEL-ARGS COMMAND…: one start of the virtual machine
guest() {
	local version=$1 seconds=$2 args=$3 status
	shift 3
	"$here/../vm/vm.sh" -k "$version" -d "$dir" -t "$seconds" -a "$args" env B="$B" "$@" |
		sed -u -E "s/^(ok|not ok|skip) /\1 kmod-$version: /"
	status=${PIPESTATUS[0]}
	case $status in
	0) ;;
	3) echo "skip kmod-$version: no virtual machine here" ;;
	*) echo "not ok kmod-$version: the guest ended with $status"; failed=1 ;;
	esac
}

# one VERSION
one() {
	local version=$1 kernel headers out
	kernel=$("$here/../vm/fetch-kernel.sh" "$version" "$dir" 2>"$B/kmod.err") &&
		headers=$("$here/../vm/fetch-headers.sh" "$kernel" 2>"$B/kmod.err") ||
		{ echo "skip kmod-$version: $(tail -n 1 "$B/kmod.err")"; return; }
	out=$B/kmod/$(basename "$kernel"/lib/modules/*)
	"$here/build.sh" "$headers" "$out" || { echo "not ok kmod-$version: the module is built"; failed=1; return; }
	echo "ok kmod-$version: the module is built"
	wanted hostile state part forks phases dump &&
		guest "$version" $((120 + 2 * forks)) "$checks" "$here/guest.sh" "$out/rrc_fork.ko" "$forks" "${tests[@]}"
	wanted pause && guest "$version" 120 "" "$here/guest.sh" "$out/rrc_fork.ko" "$forks" pause
	# Newer ones watch writes. The emulator's counters run together, whatever the kernel thinks of them.
	[ "$version" = 6.1 ] && wanted failover &&
		guest "$version" 300 "tsc=reliable clocksource=tsc" "$here/failover.sh" "$out/rrc_fork.ko" 6
	return 0
}

mkdir -p "$B"
for version in ${RRC_KMOD_KERNELS:-6.1 6.12}; do
	one "$version"
done
exit $failed
