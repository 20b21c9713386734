#!/bin/bash
# SPDX-License-Identifier: MIT
# build.sh HEADERS OUT: the fork module for the kernel of HEADERS, in OUT; nothing is written beside the sources.
set -euo pipefail
source=$(cd "$(dirname "$0")/../../kmod-fork" && pwd)
mkdir -p "$2"
cp -u "$source"/*.[ch] "$source"/Kbuild "$2"
log=$2/build.log
# Warnings of its own are errors in here.
make -s -C "$1" M="$(realpath "$2")" KCFLAGS=-Werror modules >"$log" 2>&1 || { cat "$log"; exit 1; }
