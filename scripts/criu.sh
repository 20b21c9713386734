#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Makes sure that there is a CRIU that works on the running kernel. The distribution's is used where
# it passes its own check; else a newer Debian build is unpacked, with the libraries it needs, into a
# private directory (PREFIX/lib/rrc/criu) and run by its own loader. The host's packages, libraries
# and apt state are not touched. lib/host.c looks in the same places in the same order.
set -euo pipefail

PREFIX=${PREFIX:-/usr/local}
SUITE=${RRC_CRIU_SUITE:-sid}
dest=$PREFIX/lib/rrc/criu
root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
passes() { [ -n "$1" ] && [ -x "$1" ] && root "$1" check >/dev/null 2>&1; }
die() { echo "criu: $*" >&2; exit 3; }

# The check's result holds as long as kernel and program are the same.
stamp=$dest/checked
key="$(uname -r) $(uname -v)"
distro=$(PATH=$PATH:/usr/sbin:/sbin command -v criu || true)
for c in "$dest/criu" "$distro"; do
	if [ ! -x "$c" ]; then continue; fi
	mark="$key $c $(stat -Lc '%Y %s' "$c")"
	if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$mark" ]; then
		exit 0
	fi
	if passes "$c"; then
		root mkdir -p "$dest"
		printf '%s\n' "$mark" | root tee "$stamp" >/dev/null
		exit 0
	fi
done
case $(uname -m) in x86_64) ;; *) die "only x86-64 is supported" ;; esac

# Prints "URI KEYRING" (KEYRING may be -) of the first enabled apt entry that serves Debian itself.
mirror() {
	local f
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		if [ -r "$f" ]; then sed -nE 's/^[[:space:]]*deb[[:space:]]+(\[([^]]*)\][[:space:]]*)?([^[:space:]]+).*/\3 [\2]/p' "$f"; fi
	done | awk '$1 ~ /\/debian\/?$/ {
		uri = $1; key = "-"
		if (match($0, /signed-by=[^] ,]+/)) key = substr($0, RSTART + 10, RLENGTH - 10)
		print uri, key; exit }'
	for f in /etc/apt/sources.list.d/*.sources; do
		if [ -r "$f" ]; then cat "$f"; echo; fi
	done | awk '
		function flush() { if (uri != "" && deb && !off) print uri, key; uri = ""; key = "-"; deb = 0; off = 0; field = "" }
		BEGIN { key = "-" }
		/^[[:space:]]*$/ { flush(); next }
		/^#/ { next }
		/^[^[:space:]]/ { field = tolower(substr($0, 1, index($0, ":") - 1)) }
		{ line = $0; if ($0 !~ /^[[:space:]]/) sub(/^[^:]*:/, "", line)
		  n = split(line, w, /[[:space:]]+/)
		  for (i = 1; i <= n; i++) {
			if (field == "types" && w[i] == "deb") deb = 1
			if (field == "enabled" && tolower(w[i]) == "no") off = 1
			if (field == "uris" && uri == "" && w[i] ~ /\/debian\/?$/) uri = w[i]
			if (field == "signed-by" && w[i] ~ /^\//) key = w[i]
		  } }
		END { flush() }' | head -n 1
}

read -r uri keyring < <(mirror) || true
[ -n "${uri-}" ] || die "no apt source of this host serves Debian itself, and '${distro:-criu}' does not work on kernel $(uname -r)"
case $keyring in /*) [ -r "$keyring" ] || keyring=- ;; *) keyring=- ;; esac
[ "$keyring" = - ] && keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || die "no keyring to check packages with ($keyring)"

echo "  CRIU     $SUITE -> $dest"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp"/apt/{lists/partial,cache/archives/partial,etc} "$tmp/root"
: >"$tmp/apt/status"
echo "deb [arch=amd64 signed-by=$keyring] $uri $SUITE main" >"$tmp/apt/etc/sources.list"
apt=(apt-get -qq -y -o Dir::State="$tmp/apt" -o Dir::State::lists="$tmp/apt/lists"
	-o Dir::State::status="$tmp/apt/status" -o Dir::Cache="$tmp/apt/cache"
	-o Dir::Cache::archives="$tmp/apt/cache/archives"
	-o Dir::Etc::sourcelist="$tmp/apt/etc/sources.list" -o Dir::Etc::sourceparts=/dev/null
	-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
	-o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o APT::Architecture=amd64
	-o APT::Architectures=amd64 -o APT::Sandbox::User="" -o Debug::NoLocking=1 -o APT::Get::List-Cleanup=false)
"${apt[@]}" update >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; die "apt-get update of suite $SUITE failed"; }
"${apt[@]}" --no-install-recommends --download-only install criu >"$tmp/log" 2>&1 ||
	{ cat "$tmp/log" >&2; die "suite $SUITE has no criu that can be had"; }
for d in "$tmp"/apt/cache/archives/*.deb; do
	dpkg-deb -x "$d" "$tmp/root"
done
loader=$(cd "$tmp/root" && find . -name ld-linux-x86-64.so.2 -path '*lib64*' | head -n 1)
prog=$(cd "$tmp/root" && find . -path '*bin/criu' | head -n 1)
if [ -z "$loader" ] || [ -z "$prog" ]; then
	die "the package of suite $SUITE is not laid out as expected"
fi
# Only what criu runs with is kept.
rm -rf "$tmp/root/usr/share" "$tmp/root/var" "$tmp/root/etc"
root rm -rf "$dest"
root mkdir -p "$dest"
root cp -a "$tmp/root" "$dest/root"
root tee "$dest/criu" >/dev/null <<WRAP
#!/bin/sh
# Runs the private CRIU by its own loader and libraries.
r=\$(dirname "\$(readlink -f "\$0")")/root
exec "\$r/${loader#./}" --argv0 criu --library-path "\$r/usr/lib/x86_64-linux-gnu:\$r/lib/x86_64-linux-gnu" "\$r/${prog#./}" "\$@"
WRAP
root chmod 755 "$dest" "$dest/criu"
if ! root "$dest/criu" check >"$tmp/log" 2>&1; then
	cat "$tmp/log" >&2
	die "neither the distribution's CRIU nor that of suite $SUITE works on kernel $(uname -r)"
fi
printf '%s\n' "$key $dest/criu $(stat -Lc '%Y %s' "$dest/criu")" | root tee "$stamp" >/dev/null
