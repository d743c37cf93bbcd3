#!/bin/bash
# Replication over a bad network: whatever happens between home and embassy, local work goes on, nothing is lost,
# doubled or reordered, and the embassy catches up.
#
# usage: net.sh BUILD [--long]
#   --long   also what takes minutes: connections that die unnoticed, and an outage with a backlog of BACKLOG_MIB (8192)
#            during which the home is killed twice
#
# Needs root (it mounts).  Last line: "N passed, N failed".
set -uo pipefail

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../../tools/lib.sh"

usage() { sed -n '5,7s/^# //p' "$0"; exit "$1"; }

build='' long=0
while [ $# -gt 0 ]; do
	case $1 in
	--long) long=1; shift ;;
	-h | --help) usage 0 ;;
	-*) usage 2 ;;
	*) build=$1; shift ;;
	esac
done
[ -n "$build" ] || usage 2
build=$(cd "$build" && pwd) || exit 2
embassyfs=$build/fs/fuse/embassyfs embassy=$build/tools/embassy embassyd=$build/server/embassyd
proxy=$build/tests/net/proxy
for p in "$embassyfs" "$embassy" "$embassyd" "$proxy"; do
	[ -x "$p" ] || { echo "net: $p: not built; run ninja first" >&2; exit 2; }
done

w=$(mktemp -d "${TMPDIR:-/tmp}/embassyfs-net.XXXXXX") || exit 2
mnt=$w/mnt vol=$w/vol
mkdir "$mnt" "$w/store"
(umask 077 && head -c 32 /dev/urandom >"$w/key")
passed=0 failed=0 server_pid='' proxy_pid=''
seed=${SEED:-$(date +%s)}
RANDOM=$((seed % 32768))
echo "seed $seed"

# --- what runs --------------------------------------------------------------------------------------------------

start_server() {
	start_embassyd "$w/server.log" "$embassyd" --store "$w/store" --listen "127.0.0.1:${server_port:-0}" --insecure
	server_port=${address##*:}
}

# A line to the proxy; its answer is left in $answer.
ask() {
	echo "$*" >&"${link[1]}"
	read -r answer <&"${link[0]}"
}

mount_it() { "$embassyfs" "$vol" "$mnt" -o "nosupervise,key-file=$w/key,allow_other,embassy=127.0.0.1:$proxy_port"; }

cleanup() {
	umount "$mnt" 2>/dev/null || umount -l "$mnt" 2>/dev/null
	[ -n "$proxy_pid" ] && kill "$proxy_pid" 2>/dev/null
	[ -n "$server_pid" ] && kill "$server_pid" 2>/dev/null && wait "$server_pid" 2>/dev/null
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# --- what must hold ---------------------------------------------------------------------------------------------

explain() { "$embassy" status "$mnt"; }

field() { "$embassy" status "$mnt" --json | jq -r "$1"; }
state() { field '.embassies[0].state'; }
state_is() { [ "$(state)" = "$1" ]; }

# Files that are synced one by one: were anything of it to wait for the embassy, it would not end while the link is dead.
local_work() {
	local i
	mkdir -p "$mnt/$1"
	for i in $(seq 20); do
		head -c $((RANDOM * 8)) /dev/urandom >"$mnt/$1/$i"
		sync "$mnt/$1/$i" || return 1
	done
}

bulk() { head -c "$2" /dev/urandom >"$mnt/$1" && sync "$mnt/$1"; }

caught_up() { "$embassy" drain "$mnt" --timeout "${1:-60}"; }

# The embassy's segments are what home's are, byte for byte.
same_bytes() {
	local copy f
	copy=$(echo "$w"/store/*/volume.conf)
	copy=${copy%/*}/log
	for f in "$copy"/*; do
		cmp -n "$(stat -c %s "$f")" "$f" "$vol/log/${f##*/}" || return 1
	done
	[ "$(field '.embassies[0].lag_bytes')" = 0 ]
}

settle() {
	t "$1: the embassy catches up" caught_up "${2:-60}"
	t "$1: its bytes are home's" same_bytes
}

"$embassy" init "$vol" --key-file "$w/key" >/dev/null || exit 1
start_server
coproc link { exec "$proxy" 0 "$server_port"; }
proxy_pid=$link_PID
read -r _ proxy_port <&"${link[0]}"

ask stall
t "a link that takes connections and passes nothing on: the mount comes up" mount_it
t "black hole: local work goes on" local_work hole
t "black hole: status says that it is not connected" state_is connecting
ask go
settle "black hole"

for i in 1 2 3 4 5; do
	ask reset-after $((RANDOM * 200 + 1))
	t "reset $i in the middle of a message: local work goes on" bulk reset 8000000
	settle "reset $i"
done
ask bytes
# What is under way at a reset is sent again; more than that would be starting over.
t "resets: nothing is sent over from the start (${answer} bytes)" [ "$answer" -lt 120000000 ]

ask stall
t "stall: local work goes on" local_work stall
ask go
settle "stall"

bulk dup 4000000
ask duplicate
t "a connection doubled: local work goes on" local_work dup2
settle "a connection doubled"

ask slow
t "a reader of one byte at a time: local work goes on" local_work slow
ask go
settle "slow reader"

ask refuse
ask reset
t "refused: local work goes on" local_work refused
t "refused: status says so" wait_until 20 state_is connecting
t "refused: and why" sh -c "'$embassy' status '$mnt' --json | jq -re '.embassies[0].reason' | grep -q 'no server listens'"
ask accept
settle "refused"

kill -KILL "$server_pid"
wait "$server_pid" 2>/dev/null
t "server killed: local work goes on" local_work killed
start_server
settle "server killed"

ask delay 40
ask rate 12500000
t0=$(date +%s%N)
t "100 Mbit/s, 80 ms there and back: local work goes on" bulk thin 40000000
settle "thin link" 120
t1=$(date +%s%N)
echo "thin link: 40 MB in $(((t1 - t0) / 1000000)) ms, $((40000 * 100 * 1000 / 12500 / ((t1 - t0) / 1000000))) % of the link"
ask delay 0
ask rate 0

if [ $long = 1 ]; then
	bulk half 4000000
	ask half-open
	t "connections that die unnoticed: local work goes on" local_work half2
	settle "half-open" 300

	backlog=${BACKLOG_MIB:-8192}
	ask refuse
	ask reset
	for part in 1 2 3; do
		t "outage, part $part: local writes go on" bulk "backlog$part" $((backlog * 1048576 / 3))
		[ $part = 3 ] && break
		kill -KILL "$(daemon_of "$mnt")"
		umount -l "$mnt"
		t "outage: home was killed and is mounted again" mount_it
	done
	echo "backlog $(($(field '.embassies[0].lag_bytes') / 1048576)) MiB"
	t0=$SECONDS
	ask accept
	settle "outage" 1200
	echo "caught up in $((SECONDS - t0)) s"
	awk '/VmHWM/ {printf "daemon: %.0f MiB at most\n", $2 / 1024}' "/proc/$(daemon_of "$mnt")/status"
	awk '/VmHWM/ {printf "embassyd: %.0f MiB at most\n", $2 / 1024}' "/proc/$server_pid/status"
fi

t "home unmounts" umount "$mnt"
kill "$server_pid"
wait "$server_pid" 2>/dev/null
server_pid=''
t "the embassy's copy is sound" "$embassy" check "$(dirname "$w"/store/*/volume.conf)" --read-data --key-file "$w/key"
t "home's volume is sound" "$embassy" check "$vol" --read-data --key-file "$w/key"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
