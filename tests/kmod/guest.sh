#!/bin/bash
# SPDX-License-Identifier: MIT
# In the virtual machine: loads the module, runs the tests of it, looks at what the kernel said.
#	guest.sh MODULE FORKS TEST…
set -u
module=$1 forks=$2
shift 2
bin=$B/tests/kmod
dmesg -C
insmod "$module" || { dmesg | tail; echo "not ok the module loads"; exit 1; }
echo "ok the module loads on $(uname -r)"
# CRIU tries out a kernel that it does not know yet, and has modules loaded one by one, which takes long in here: meanwhile.
criu=$(PATH=$PATH:/usr/sbin:/sbin command -v criu)
probing=
case " $* " in
*" dump "*)
	{
		modprobe -qa tcp_diag udp_diag raw_diag unix_diag af_packet_diag netlink_diag nf_tables nf_conntrack_netlink tun veth
		"$criu" check
	} >/dev/null 2>&1 &
	probing=$! ;;
esac
for t; do
	begin=$SECONDS
	case $t in
	forks) "$bin/forks" "$bin/container" "$forks" ;;
	dump)
		wait "$probing"
		"$bin/dump" "$bin/container" "$criu" ;;
	*) "$bin/$t" "$bin/container" ;;
	esac
	status=$?
	[ $status = 0 ] || echo "# $t ended with $status"
	[ $status -lt 126 ] || echo "not ok $t ended with $status"
	echo "# $t: $((SECONDS - begin)) s"
done
# What a kernel says when something is wrong with it.
if dmesg | grep -E 'WARNING|BUG|Oops|Call Trace|refcount_t|list_(add|del) corruption|blocked for more|stall|leak|corrupt'; then
	dmesg | tail -n 60
	echo "not ok the kernel had nothing to say"
else
	echo "ok the kernel had nothing to say"
fi
if rmmod rrc_fork; then echo "ok the module unloads"; else echo "not ok the module unloads"; fi
