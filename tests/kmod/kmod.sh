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

# guest VERSION MODULE KERNEL-ARGS TEST…: one start of the virtual machine
guest() {
	local version=$1 module=$2 args=$3 status test tests=()
	shift 3
	for test; do
		[[ " ${RRC_KMOD_TESTS:-$*} " != *" $test "* ]] || tests+=("$test")
	done
	[ ${#tests[@]} -gt 0 ] || return 0
	"$here/../vm/vm.sh" -k "$version" -d "$dir" -t $((120 + 2 * forks)) -a "$args" \
		env B="$B" "$here/guest.sh" "$module" "$forks" "${tests[@]}" | sed -u -E "s/^(ok|not ok|skip) /\1 kmod-$version: /"
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
	guest "$version" "$out/rrc_fork.ko" "$checks" hostile state part forks phases dump
	guest "$version" "$out/rrc_fork.ko" "" pause
}

mkdir -p "$B"
for version in ${RRC_KMOD_KERNELS:-6.1 6.12}; do
	one "$version"
done
exit $failed
