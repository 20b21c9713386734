#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs what building, running and testing need and what is not there yet: Debian packages, and a
# CRIU that works on the running kernel. Says nothing and takes a moment when all is there.
# Usage: scripts/deps.sh [fuzz]
set -euo pipefail

# The one list of packages.
BUILD=(gcc libc6-dev make clang llvm bpftool pkg-config libbpf-dev libelf-dev zlib1g-dev libzstd-dev
	libxxhash-dev libnetfilter-queue-dev libmnl-dev libjson-c-dev libssl-dev libcriterion-dev)
TOOLS=(clang-format clang-tidy)
RUN=(runc iptables iproute2 procps util-linux kmod libcap2-bin ca-certificates)
TESTS=(redis-server redis-tools lighttpd lighttpd-mod-webdav qemu-system-x86 cpio memcached nginx-light sqlite3 python3 openssl curl jq
	busybox-static tcpdump gdb strace musl-tools)
# Not in every release of the distribution: scripts/criu.sh finds another way without CRIU, and what
# is about tarantool is skipped.
OPTIONAL=(criu tarantool)

here=$(dirname "$(realpath "$0")")
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing() {
	local p
	for p in "$@"; do
		[ "${installed[$p]-}" ] || printf '%s\n' "$p"
	done
}

declare -A installed=()
read_installed() {
	local p st
	installed=()
	while read -r p st; do
		case $st in "install ok installed") installed[$p]=1 ;; esac
	done < <(dpkg-query -W -f '${Package} ${Status}\n' 2>/dev/null)
}

# Servers that come with a package are for the tests' containers: they must not start on the host.
# Debian's own switch for that is policy-rc.d; one that is there already is left alone.
apt_install() {
	local policy=/usr/sbin/policy-rc.d rc=0
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | root tee $policy >/dev/null
		root chmod 755 $policy
		trap 'root rm -f /usr/sbin/policy-rc.d' EXIT
	fi
	root env DEBIAN_FRONTEND=noninteractive apt-get -y -qq --no-install-recommends \
		-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 install "$@" >"$log" 2>&1 </dev/null || rc=$?
	if [ -e $policy ] && [ "$(trap -p EXIT)" ]; then
		root rm -f $policy
		trap - EXIT
	fi
	[ $rc = 0 ] || { cat "$log" >&2; echo "deps: apt-get could not install: $*" >&2; exit 3; }
}

if ! command -v apt-get >/dev/null; then
	echo "deps: this host has no apt-get; install by hand what stands at the top of $0" >&2
	exit 3
fi
want=("${BUILD[@]}" "${TOOLS[@]}" "${RUN[@]}" "${TESTS[@]}")
optional=("${OPTIONAL[@]}")
if [ "${1-}" = fuzz ]; then
	# libFuzzer's runtime carries the compiler's version in its name.
	want+=("libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev")
fi
log=$(mktemp)
read_installed
mapfile -t need < <(missing "${want[@]}")
mapfile -t opt < <(missing "${optional[@]}")
if [ ${#need[@]} -gt 0 ]; then
	echo "  DEPS     ${need[*]}"
	root apt-get -qq update >"$log" 2>&1 || { cat "$log" >&2; exit 3; }
	for p in "${opt[@]}"; do
		apt-cache policy "$p" 2>/dev/null | grep -q 'Candidate: [^(]' && need+=("$p")
	done
	apt_install "${need[@]}"
fi
rm -f "$log"
exec "$here/criu.sh"
