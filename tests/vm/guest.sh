#!/bin/bash
# SPDX-License-Identifier: MIT
# In the guest of vm.sh: the rest of a usual system, the command, its exit status to QEMU.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mkdir -p /dev/pts /dev/shm /run/lock
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ -d /sys/fs/bpf ] && mount -t bpf bpf /sys/fs/bpf
ln -sf /proc/self/fd /dev/fd
modules=$(sed 's/.*rrc\.modules=\([^ ]*\).*/\1/' /proc/cmdline)
kver=$(uname -r)
mkdir -p "/lib/modules/$kver"
mount --bind "$modules/lib/modules/$kver" "/lib/modules/$kver"
ip link set lo up
touch /run/rrc-vm/began
# In a session of its own; from a file, so that nothing is quoted twice.
(. /run/rrc-vm/command)
status=$?
[ "$status" -gt 125 ] && status=125
touch /run/rrc-vm/ended
sync
# shellcheck disable=SC2059 # the escape is the point
printf "\\x$(printf %02x "$status")" | dd of=/dev/port bs=1 seek=$((0xf4)) conv=notrunc 2>/dev/null
