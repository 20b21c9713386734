#!/bin/bash
# SPDX-License-Identifier: MIT
# fetch-kernel.sh VERSION DIR: Debian's newest kernel of that version (6.1, 6.12), unpacked below DIR
# for vm.sh: vmlinux (an ELF, which QEMU boots at once), initrd, lib/modules. Prints where. Nothing is
# installed.
set -euo pipefail

version=$1 dir=$2
found=$(find "$dir" -maxdepth 2 -path "$dir/linux-image-$version.*/ready" | sort -V | tail -n 1)
if [ -n "$found" ]; then
	dirname "$found"
	exit 0
fi

package=$(apt-cache search --names-only "^linux-image-${version//./\\.}\.[0-9].*-amd64\$|^linux-image-${version//./\\.}\.[0-9].*\+deb[0-9]+-amd64\$" |
	cut -d' ' -f1 | grep -vE 'cloud|rt-|dbg|unsigned' | sort -V | tail -n 1)
[ -n "$package" ] || { echo "fetch-kernel.sh: no package of kernel $version here" >&2; exit 3; }
new=$dir/$package
rm -rf "$new"
mkdir -p "$new/tmp"
(cd "$new/tmp" && apt-get download "$package" >/dev/null 2>&1) ||
	{ echo "fetch-kernel.sh: cannot download $package" >&2; exit 3; }
dpkg-deb -x "$new"/tmp/*.deb "$new"
kver=$(basename "$new"/lib/modules/*)

# The compressed kernel is a payload in the bzImage; where it is stands in the boot header.
image=$new/boot/vmlinuz-$kver
number() { od -An -t "u$2" -j "$1" -N "$2" "$image" | tr -d ' '; }
sectors=$(number $((0x1f1)) 1)
offset=$(($(number $((0x248)) 4) + (sectors + 1) * 512))
length=$(number $((0x24c)) 4)
dd if="$image" of="$new/tmp/payload" bs=64K iflag=skip_bytes,count_bytes skip="$offset" count="$length" status=none
case $(od -An -t x1 -N 4 "$new/tmp/payload" | tr -d ' ') in
1f8b*) unpack="gzip -dc" ;;
fd377a58) unpack="xz -dc --single-stream" ;;
28b52ffd) unpack="zstd -dc" ;;
02214c18) unpack="lz4 -dc" ;;
*) echo "fetch-kernel.sh: $image: unknown compression" >&2; exit 3 ;;
esac
# Behind the stream stands its length, which some of these tools take for damage.
$unpack <"$new/tmp/payload" >"$new/vmlinux" 2>/dev/null || true
[ "$(od -An -c -j 1 -N 3 "$new/vmlinux" | tr -d ' ')" = ELF ] ||
	{ echo "fetch-kernel.sh: $image does not unpack" >&2; exit 3; }

# The initramfs: busybox, and the modules that the host's files are reached with.
PATH=$PATH:/usr/sbin:/sbin depmod -b "$new" "$kver"
ird=$new/tmp/initrd
mkdir -p "$ird"/{bin,m,proc,sys,dev,lower,rw,root}
cp "$(command -v busybox)" "$ird/bin/busybox"
cp "$(dirname "$0")/init.sh" "$ird/init"
modules=(virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci netfs fscache
	9pnet 9pnet_virtio 9p overlay)
for m in "${modules[@]}"; do
	file=$(find "$new/lib/modules/$kver/kernel" -name "$m.ko*" | head -n 1)
	case $file in
	*.xz) xz -dc "$file" >"$ird/m/$m.ko" ;;
	*.ko) cp "$file" "$ird/m/$m.ko" ;;
	esac
	echo "$m" >>"$ird/m/order"
done
(cd "$ird" && find . | cpio -o -H newc --quiet | gzip -1) >"$new/initrd"
rm -rf "$new/tmp" "$new/usr/share"
touch "$new/ready"
echo "$new"
