#!/bin/bash
# SPDX-License-Identifier: MIT
# TCP takeover without a container (see tcp-takeover.c): every kind of connection, both families, a
# short and a long silence. Needs root. Leaves nothing behind: its namespaces have no names.
set -u
prog=${B:-build}/tests/e2e/tcp-takeover
failed=0

run()
{
	echo "== $*"
	timeout 60 "$prog" "$@" || { echo "tcp-takeover: FAILED: $*"; failed=1; }
}

run D2 U2 T30 I16			# 50 connections, downloads and uploads in the middle
run -4 -b 10000000 D1 U1 T4		# one family alone
run -6 -b 10000000 D1 U1 T4
run -d 400 -b 10000000 D1 U1 T8		# the clients' timers have run out already
run -b 10000000 D1 U1 T10 H4 F4 O4	# half-closed either way, closed with bytes unacknowledged
run -s D2 U2 T10 I4			# connections that were there before protection began
run -k -b 5000000 D1 T4			# a write that has left but not returned
run -b 0 T200 I300			# many small ones
run -b 0 I10000				# very many: the figures are printed, not judged
exit $failed
