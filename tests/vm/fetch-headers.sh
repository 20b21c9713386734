#!/bin/bash
# SPDX-License-Identifier: MIT
# fetch-headers.sh DIR: what modules for a kernel that fetch-kernel.sh unpacked in DIR are built with, unpacked
# below DIR/headers and never installed. Prints the directory for make -C.
set -euo pipefail

kernel=$1
kver=$(basename "$kernel"/lib/modules/*)
out=$kernel/headers
build=$out/usr/src/linux-headers-$kver
if [ -e "$out/ready" ]; then
	echo "$build"
	exit 0
fi
fail() { echo "fetch-headers.sh: $*" >&2; exit 3; }

rm -rf "$out"
mkdir -p "$out/tmp"
# The headers of one flavour name the common ones and the build tools that they want.
packages=("linux-headers-$kver")
while read -r p; do packages+=("$p"); done < <(apt-cache depends "linux-headers-$kver" 2>/dev/null |
	sed -nE 's/^ *\|?Depends: (linux-(headers|kbuild)-.*)$/\1/p')
[ ${#packages[@]} -ge 3 ] || fail "no package linux-headers-$kver here"
(cd "$out/tmp" && apt-get download "${packages[@]}" >/dev/null 2>&1) || fail "cannot download ${packages[*]}"
for p in "$out"/tmp/*.deb; do
	dpkg-deb -x "$p" "$out"
done
# They expect to stand in /usr.
grep -rlIE '/usr/(src|lib)/linux-' "$build" --include=Makefile --include='*.mk' --include='.kernelvariables' |
	xargs -r sed -i -E "s#(^|[^[:alnum:]./-])/usr/(src|lib)/linux-#\1$out/usr/\2/linux-#g"
while read -r link; do
	to=$(readlink "$link")
	case $to in /usr/*) ln -sfn "$out$to" "$link" ;; esac
done < <(find "$out/usr/src" -type l)
# Without the kernel's own types kbuild leaves those of the module out, and needs no pahole.
rm -f "$build/vmlinux"
rm -rf "$out/tmp"
touch "$out/ready"
echo "$build"
