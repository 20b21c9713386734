#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Protection begins when it can read every connection: not while one waits to be accepted, nor while one has bytes that
# came out of order. Both then go on after a failure.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

need_rrc
need_commands python3
client='' protect=''

clean_up() {
	[[ -z $client ]] || kill "$client" 2>/dev/null
	[[ -z $protect ]] || kill "$protect" 2>/dev/null
	"$LAB" down >/dev/null 2>&1
}

cat > "$WORK/server.py" <<'PY'
# Echoes; a connection that says "wait" is the only one that is served until it says more.
import select, socket
listener = socket.create_server(("", 7000))
busy, conns = None, [listener]
while True:
    for s in select.select([busy] if busy else conns, [], [])[0]:
        if s is listener:
            conns.append(s.accept()[0])
            continue
        data = s.recv(65536)
        if not data:
            conns.remove(s)
        busy = s if data == b"wait" else None
        s.sendall(data)
        if busy:
            break
PY

cat > "$WORK/client.py" <<'PY'
# Does what its input says, a line each, and answers "ok".
import select, socket, struct, sys
host, conns = sys.argv[1], {}

def sequence(s, queue):
    s.setsockopt(socket.IPPROTO_TCP, 20, queue)
    return struct.unpack("I", s.getsockopt(socket.IPPROTO_TCP, 21, 4))[0]

def beyond(s, offset, data):
    """Sends bytes from a later place in the stream on."""
    s.setsockopt(socket.IPPROTO_TCP, 19, 1)
    ack, seq = sequence(s, 1), sequence(s, 2) + offset
    s.setsockopt(socket.IPPROTO_TCP, 19, -1)
    (src, sport), (dst, dport) = s.getsockname(), s.getpeername()
    ends = socket.inet_aton(src) + socket.inet_aton(dst)
    tcp = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xffffffff, ack, 5 << 4, 0x18, 500, 0, 0) + data
    whole = ends + struct.pack("!BBH", 0, 6, len(tcp)) + tcp + b"\0" * (len(tcp) % 2)
    check = sum(struct.unpack("!%dH" % (len(whole) // 2), whole))
    while check >> 16:
        check = (check & 0xffff) + (check >> 16)
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    raw.sendto(tcp[:16] + struct.pack("!H", ~check & 0xffff) + tcp[18:], (dst, 0))

for line in sys.stdin:
    verb, name, *rest = line.split()
    if verb == "open":
        conns[name] = socket.create_connection((host, 7000), 20)
    elif verb == "beyond":
        beyond(conns[name], int(rest[0]), rest[1].encode())
    elif verb == "send":
        conns[name].sendall(rest[0].encode())
    elif verb == "expect":
        want, got = rest[0].encode(), b""
        while len(got) < len(want):
            got += conns[name].recv(len(want) - len(got))
        if got != want:
            print(got, "and not", want)
            continue
    print("ok", flush=True)
PY

tell() { # LINE…: each, until it is done
	local line answer
	for line in "$@"; do
		echo "$line" >&"${CLIENT[1]}"
		read -r -t 30 -u "${CLIENT[0]}" answer || answer='no answer'
		[[ $answer == ok ]] || { echo "$line: $answer"; return 1; }
	done
}

trace() { printf '%s' "/run/$RRC_LAB-lab/ct/srv/trace.jsonl"; }

begin() {
	[[ -z $client ]] || { kill "$client"; wait "$client" 2>/dev/null; }
	"$LAB" down >/dev/null 2>&1
	"$LAB" up && "$LAB" run srv --port 7000 --put "$WORK/server.py:/server.py" -- python3 /server.py || return 1
	coproc CLIENT { exec "$LAB" client -- python3 "$WORK/client.py" "$("$LAB" address srv)"; }
	client=$CLIENT_PID
}

# put_off WHAT: protection is begun, and does not for that; then LINE… happen, it does, and the host fails.
put_off() {
	local what=$1
	shift
	: > "$WORK/protect"
	"$LAB" protect srv > "$WORK/protect" 2>&1 &
	protect=$!
	# The second time it was seen at a moment of its own.
	[[ $(grep -m2 -c "\"event\":\"waiting\".*\"$what\":[1-9]" \
		< <(exec timeout 60 tail -n +1 -s 0.05 --pid=$protect -F "$(trace)" 2>/dev/null)) == 2 ]] ||
		{ echo "protection was not put off"; cat "$WORK/protect" "$(trace)"; return 1; }
	tell "$@" || return 1
	wait $protect || { cat "$WORK/protect"; return 1; }
	protect=
	"$LAB" fail primary srv && "$LAB" wait-live srv
}

unaccepted_case() {
	begin || return 1
	tell 'open one' 'send one wait' 'expect one wait' 'open two' 'send two early' || return 1
	put_off unaccepted 'send one go' 'expect one go' 'expect two early' || return 1
	tell 'send two late' 'expect two late' 'send one late' 'expect one late'
}

gap_case() {
	begin || return 1
	tell 'open one' 'send one a' 'expect one a' 'beyond one 3 def' || return 1
	put_off gaps 'send one abcdef' 'expect one abcdef' || return 1
	tell 'send one ghi' 'expect one ghi'
}

check "connections that wait to be accepted put protection off" unaccepted_case
check "bytes out of order put protection off" gap_case
