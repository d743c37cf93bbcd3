#!/bin/bash
# A block server whose disk fails while a home replicates to it: the home is told, in words, the server goes on, and all is
# there once the disk works again.  The recorder fails the server's calls on its store, one of them, or all that write from
# the Nth on, with EIO and with ENOSPC.
#
# usage: server_errors.sh [BUILD-DIR] [--steps N] [--spoil]		as root; --steps: so many places to fail (4);
#	--spoil fails nothing, and must fail
set -uo pipefail

here=$(realpath "$(dirname "$0")")
# shellcheck source=tools/lib.sh
. "$here/../../tools/lib.sh"
build=$here/../../build steps=4 spoil=''
while [ $# -gt 0 ]; do
	case $1 in
	--spoil) spoil=1 ;;
	--steps) steps=$2; shift ;;
	*) build=$1 ;;
	esac
	shift
done
build=$(realpath "$build")
[ "$(id -u)" = 0 ] || die "it mounts; run it as root"
embassy=$build/tools/embassy
recorder=$build/tests/crash/librecorder.so
[ -e "$recorder" ] || die "$recorder: not built; run ninja first"

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-server-errors.XXXXXX")
mnt=$w/mnt
passed=0 failed=0 server_pid='' turn=0
mkdir "$mnt" "$w/store"

cleanup() {
	trap - EXIT
	[ -z "$server_pid" ] || kill -KILL "$server_pid" 2>/dev/null
	# shellcheck disable=SC2046 # lists of process ids
	kill -KILL $(supervisors_of $(daemon_of "$mnt")) $(daemon_of "$mnt") 2>/dev/null
	umount -l "$mnt" 2>/dev/null
	wait 2>/dev/null
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

explain() { tail -n 2 "$w/server.log" | cut -c -200; }

# struct recorder_control: turn, nth, error, how, calls, failed
fail() { # fail NTH ERROR HOW: from now on; NTH 0: no more
	turn=$((turn + 1))
	[ -z "$spoil" ] || set -- 0 0 0
	python3 -c 'import struct, sys
turn, *rest = map(int, sys.argv[2:])
with open(sys.argv[1], "r+b") as f:
    f.seek(8), f.write(struct.pack("<5Q", *rest, 0, 0)), f.flush()
    f.seek(0), f.write(struct.pack("<Q", turn))' "$w/control" "$turn" "$1" "$2" "$3"
}
calls() { od -A n -t u8 -j 32 -N 8 "$w/control" | tr -d ' '; }
was_failed() { [ "$(od -A n -t u8 -j 40 -N 8 "$w/control" | tr -d ' ')" = 1 ]; }

field() { timeout 10 "$embassy" status "$mnt" --json | jq -r "$1"; }
tells() { # tells PATTERN: what the home says of its embassy
	[[ "$(field '.embassies[0].reason')" =~ $1 ]] || { field '.embassies[0]'; return 1; }
}
# The Nth call may take more work than one round; all after it fail as well.
met() {
	local i
	for i in {1..20}; do
		wait_until 1 was_failed && return
		work more
	done
	return 1
}
caught_up() { timeout 40 "$embassy" drain "$mnt" --timeout 30; }

# Enough for several messages, and a head.
work() { head -c 3000000 /dev/urandom >"$mnt/data" && sync "$mnt/data" && echo "$1" >"$mnt/round" && sync "$mnt/round"; }

(umask 077 && head -c 32 /dev/urandom >"$w/key")
head -c 48 /dev/zero >"$w/control"
"$embassy" init "$w/vol" --key-file "$w/key" >/dev/null || exit 1
id=$(sed -n 's/^id //p' "$w/vol/volume.conf")
LD_PRELOAD=$recorder RECORDER_ROOT=$w/store RECORDER_CONTROL=$w/control \
	"$build/server/embassyd" --store "$w/store" --listen 127.0.0.1:0 --insecure >"$w/server.log" 2>&1 &
server_pid=$!
wait_until 10 grep -q listening "$w/server.log" || die "embassyd did not start: $(cat "$w/server.log")"
address=$(sed -n 's/^embassyd: listening on //p' "$w/server.log")
t "mount" "$build/fs/fuse/embassyfs" "$w/vol" "$mnt" -o "key-file=$w/key,embassy=$address"
t "the embassy has the beginning" caught_up

fail 0 0 0
t "a round without errors" work 0
t "reaches the embassy" caught_up
n_calls=$(calls)
t "its calls were seen" test "$n_calls" -gt 5

# recorder_fail: 0 the Nth call only, 1 each from the Nth on that needs room.  errno: 5 EIO, 28 ENOSPC.
while read -r name error how pattern; do
	for i in $(seq "$steps"); do
		nth=$(((i - 1) * (n_calls - 1) / steps + 1))
		what="$name at call $nth of $n_calls"
		fail "$nth" "$error" "$how"
		t "$what: local work goes on" work "$i"
		if [ "$how" = 1 ]; then
			t "$what: it is met" met
			t "$what: the home is told" wait_until 10 tells "$pattern"
			fail 0 0 0
		fi
		t "$what: the embassy catches up" caught_up
		t "$what: nothing is complained of" tells '^$'
		t "$what: it is the same server" kill -0 "$server_pid"
		fail 0 0 0
	done
done <<'END'
EIO 5 0 .
EIO,lasting 5 1 (Input/output|I/O) error
full 28 1 (full|No space)
END

t "unmount" umount "$mnt"
kill -TERM "$server_pid"
t "the server ends" wait "$server_pid"
server_pid=''
t "home is sound" "$embassy" check "$w/vol" --key-file "$w/key" --read-data
t "the embassy is sound" "$embassy" check "$w/store/$id" --key-file "$w/key" --read-data
t "the server said what it met" grep -qE 'I/O error|Input/output error|No space' "$w/server.log"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
