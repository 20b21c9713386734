#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# First process of the guest of vm.sh: the host's root under an overlay in memory, then guest.sh.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
while read -r m; do
	[ -e "/m/$m.ko" ] && $b insmod "/m/$m.ko"
done </m/order
$b mount -t tmpfs rw /rw
$b mkdir /rw/upper /rw/work
o=trans=virtio,version=9p2000.L,msize=262144
$b mount -t 9p -o "$o,cache=loose,ro" root /lower &&
	$b mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /root ||
	{ echo "vm: no root"; $b dmesg | $b tail -n 20; $b poweroff -f; }
$b mkdir -p /root/run/rrc-vm
$b mount -t tmpfs run /root/run
$b mkdir -p /root/run/rrc-vm
$b mount -t 9p -o "$o" share /root/run/rrc-vm
for d in proc sys dev; do
	$b mount --move /$d /root/$d
done
exec $b switch_root /root /bin/bash /run/rrc-vm/guest.sh
