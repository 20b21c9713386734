#!/bin/bash
# SPDX-License-Identifier: MIT
# vm.sh: runs a command under another kernel of Debian's, on this host's own files.
#
#	tests/vm/vm.sh [-k VERSION] [-t SECONDS] [-m MIB] [-d DIR] [-a KERNEL-ARGS] COMMAND [ARGS…]
#
# Boots linux-image-VERSION*-amd64 (default 6.1) in QEMU, by software alone. Its root is this host's, read-only over 9p
# under an overlay in memory, so the command may write anywhere and nothing stays. The working
# directory is the caller's, the exit status the command's (at most 125). Modules: modprobe works.
# DIR (default build/vm) keeps the unpacked kernels. Root is needed to read all files.
set -euo pipefail

version=6.1 seconds=300 mib=1536 append=
here=$(cd "$(dirname "$0")" && pwd)
dir=${RRC_VM_DIR:-$here/../../build/vm}
while getopts k:t:m:d:a: o; do
	case $o in
	k) version=$OPTARG ;;
	t) seconds=$OPTARG ;;
	m) mib=$OPTARG ;;
	d) dir=$OPTARG ;;
	a) append=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { sed -n '3,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

for tool in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio; do
	command -v "${tool%%:*}" >/dev/null ||
		{ echo "vm.sh: ${tool%%:*} is missing: apt-get install ${tool##*:}" >&2; exit 3; }
done

kernel=$("$here/fetch-kernel.sh" "$version" "$dir")
share=$(mktemp -d "${TMPDIR:-/tmp}/rrc-vm.XXXXXX")
trap 'rm -rf "$share"' EXIT

# What the guest runs once its root is there.
{
	printf 'cd %q || exit 125\n' "$PWD"
	printf 'export PATH=%q\n' "$PATH"
	printf '%q ' "$@"
	echo
} >"$share/command"
cp "$here/guest.sh" "$share/"

# The emulator's processors do not always see an instruction whole that the kernel patches while it boots (an
# oops "int3" on one of them). A guest that ended before its command began is started again.
boot() {
	timeout "$seconds" qemu-system-x86_64 -M q35 -accel tcg,thread=multi,tb-size=512 -cpu max -smp 2 -m "$mib" \
		-display none -no-reboot -nodefaults -serial stdio \
		-device isa-debug-exit,iobase=0xf4,iosize=0x04 \
		-kernel "$kernel/vmlinux" -initrd "$kernel/initrd" \
		-append "console=ttyS0 quiet panic=-1 oops=panic mitigations=off rrc.modules=$kernel $append" \
		-fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
		-device virtio-9p-pci,fsdev=root,mount_tag=root \
		-fsdev "local,id=share,path=$share,security_model=none" \
		-device virtio-9p-pci,fsdev=share,mount_tag=share </dev/null | tr -d '\r'
	return "${PIPESTATUS[0]}"
}
set +e
for _ in 1 2 3; do
	boot
	status=$?
	[ $status = 124 ] || [ -e "$share/began" ] && break
done
set -e

# isa-debug-exit: the guest wrote v, QEMU leaves with v << 1 | 1.
if [ "$status" = 124 ]; then
	echo "vm.sh: no end after $seconds s" >&2
	exit 124
fi
[ $((status & 1)) = 1 ] && [ -e "$share/ended" ] && exit $((status >> 1))
echo "vm.sh: the guest ended by itself (qemu: $status)" >&2
exit 125
