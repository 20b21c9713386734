#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Programs that know nothing of it do with the preloaded library what they do without: off, and recording
# while somebody drains. Their outputs and exit codes are compared.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
B=${B:-$PWD/build}
HARNESS=$B/tests/preload/harness LIBRARY=$B/librrc-preload.so
work=$(mktemp -d "${TMPDIR:-/tmp}/rrc-unharmed.XXXXXX")
trap 'rm -rf "$work"' EXIT

for f in "$HARNESS" "$LIBRARY"; do
	[[ -e $f ]] || { echo "not ok $f is not built"; exit 1; }
done
failed=0
# compare NAME CMD ARGS…: output of CMD without the library, with it, and recorded.
compare() {
	local name=$1 mode
	shift
	if ! command -v "$1" >/dev/null; then
		echo "ok $name # SKIP $1 is not installed"
		return
	fi
	(cd "$work/plain" && "$@") >"$work/plain.out" 2>"$work/plain.err"
	echo "exit $?" >>"$work/plain.out"
	[[ -s $work/plain.out ]] || { echo "not ok $name: it printed nothing by itself"; failed=1; return; }
	for mode in off record; do
		if [[ $mode == off ]]; then
			(cd "$work/$mode" && LD_PRELOAD=$LIBRARY "$@") >"$work/$mode.out" 2>"$work/$mode.err"
		else
			(cd "$work/$mode" && "$HARNESS" -r "$LIBRARY" "$@") >"$work/$mode.out" 2>"$work/$mode.err"
		fi
		echo "exit $?" >>"$work/$mode.out"
		if [[ $name == *speed* ]]; then # figures differ, what was done does not
			sed -i 's/[0-9.]\+k\?/N/g; s/ \+/ /g' "$work/plain.out" "$work/$mode.out"
		fi
		if diff "$work/plain.out" "$work/$mode.out"; then
			echo "ok unharmed: $name, $mode"
		else
			echo "not ok unharmed: $name, $mode"
			head -n 5 "$work/$mode.err"
			failed=1
		fi
	done
}

mkdir "$work/plain" "$work/off" "$work/record"
cat >"$work/script.sh" <<'SCRIPT'
for i in 1 2 3 4 5 6 7 8; do (echo "in $i" | tr a-z A-Z; exit $i) || echo "exit $?"; done
seq 1 2000 | sort -n -r | head -n 3
x=$(cat /etc/passwd | wc -l); echo "$x lines"
f() { local n=$1; (( n < 2 )) && echo "$n" || echo $(( $(f $((n - 1))) + $(f $((n - 2))) )); }
f 8
trap 'echo caught' USR1; kill -USR1 $$; wait
(ulimit -f 100; echo small >"small.$$"; cat "small.$$")
SCRIPT
cat >"$work/script.py" <<'SCRIPT'
import collections, hashlib, json, queue, re, subprocess, sys, threading, zlib
q, total, lock = queue.Queue(10), [0], threading.Lock()
def work():
    while (item := q.get()) is not None:
        with lock:
            total[0] += item
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]
for i in range(5000): q.put(i)
for _ in threads: q.put(None)
[t.join() for t in threads]
print(total[0], hashlib.sha256(b"x" * 1000000).hexdigest())
print(json.dumps(collections.Counter(re.findall(r"\w", open("/etc/passwd").read())).most_common(3)))
print(subprocess.run(["sh", "-c", "echo from a child; exit 3"], capture_output=True))
print(len(zlib.compress(bytes(range(256)) * 1000)))
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
if __name__ == "__main__":
    print(sum(ThreadPoolExecutor(8).map(lambda x: x * x, range(1000))))
    with ProcessPoolExecutor(2) as p: print(sum(p.map(abs, range(-100, 100))))
    for _ in range(600): threading.Thread(target=lambda: None).start()
    print("threads that came and went")
SCRIPT
cat >"$work/git.sh" <<'SCRIPT'
export GIT_AUTHOR_DATE=@1700000000+0000 GIT_COMMITTER_DATE=@1700000000+0000 GIT_CONFIG_GLOBAL=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
rm -rf repo; git init -q repo; cd repo
for i in 1 2 3 4 5; do seq $i 500 >f$i; git add .; git commit -qm "number $i"; done
git gc -q; git fsck 2>&1; git log --format='%H %s'; git grep -c 42 | sort; git pack-objects --threads=4 --all --stdout -q </dev/null | wc -c
SCRIPT
cat >"$work/build.sh" <<'SCRIPT'
cat >one.c <<C
#include <stdio.h>
int two(int);
int main(void) { printf("%d\n", two(21)); return 0; }
C
echo 'int two(int x) { return x * 2; }' >two.c
gcc -O2 -flto -c one.c two.c && gcc -O2 -flto one.o two.o -o one && ./one
gcc -O2 -S -o - two.c | sha256sum; sha256sum <one.o | cut -c1-8 >/dev/null
"$(gcc -print-prog-name=cc1)" -quiet -O2 two.c -o - 2>/dev/null | sha256sum
SCRIPT

compare 'bash script' bash "$work/script.sh"
compare 'python3 with threads and processes' python3 "$work/script.py"
compare 'git' git --version
compare 'git in a repository' bash "$work/git.sh"
(cd "$work/plain" && bash ../git.sh) >/dev/null 2>&1
for d in off record; do [[ -d $work/$d/repo ]] || cp -r "$work/plain/repo" "$work/$d/"; done
compare 'git with threads' git -C repo grep --threads=4 -c 42
echo 'int two(int x) { return x * 2; }' | tee "$work/plain/two.c" "$work/off/two.c" >"$work/record/two.c"
compare 'gcc build' bash "$work/build.sh"
compare 'compiler alone' "$(gcc -print-prog-name=cc1)" -quiet -O2 two.c -o -
compare 'openssl speed' openssl speed -seconds 1 -bytes 1024 -multi 2 sha256
compare 'openssl speed, one process' openssl speed -seconds 1 -bytes 1024 sha256
exit $failed
