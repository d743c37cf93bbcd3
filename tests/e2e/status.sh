#!/bin/bash
# What status says is true: bytes are bytes, an embassy that does not answer has not acknowledged anything, and what was
# unsent at an unmount can be seen.
#
# usage: status.sh [BUILD-DIR]		as root
set -uo pipefail

here=$(realpath "$(dirname "$0")")
# shellcheck source=tools/lib.sh
. "$here/../../tools/lib.sh"
build=$(realpath "${1:-$here/../../build}")
[ "$(id -u)" = 0 ] || die "it mounts; run it as root"
embassy=$build/tools/embassy

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-status.XXXXXX")
mnt=$w/mnt
passed=0 failed=0 server_pid=''
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

explain() { tail -n 3 "$w/log"; }

start_server() {
	"$build/server/embassyd" --store "$w/store" --listen "${address:-127.0.0.1:0}" --insecure >"$w/server.log" 2>&1 &
	server_pid=$!
	wait_until 10 grep -q listening "$w/server.log" || die "embassyd did not start: $(cat "$w/server.log")"
	address=$(sed -n 's/^embassyd: listening on //p' "$w/server.log")
}

stop_server() { kill -KILL "$server_pid" && { wait "$server_pid" || true; } && server_pid=''; } 2>/dev/null

mount_it() {
	"$build/fs/fuse/embassyfs" "$w/vol" "$mnt" -f -o "key-file=$w/key,embassy=$address" >>"$w/log" 2>&1 &
	wait_until 20 mountpoint -q "$mnt"
}

gone() { [ -z "$(daemon_of "$mnt")" ]; }
unmount() { umount "$mnt" && wait_until 20 gone; }
remount() { unmount && mount_it; }

field() { timeout 10 "$embassy" status "${2:-$mnt}" --json | jq -r "$1"; }
is() { # is FILTER TEST VALUE [TARGET]
	local value
	value=$(field "$1" "${4:-$mnt}")
	echo "$1 is $value"
	[ "$value" "$2" "$3" ]
}
says() { # says PATTERN [TARGET]
	timeout 10 "$embassy" status "${2:-$mnt}" >"$w/said" && grep -E "$1" "$w/said" || { cat "$w/said"; return 1; }
}
drains() { timeout 60 "$embassy" drain "$mnt" --timeout "${1:-20}"; }
line() { echo "$1" >>"$mnt/lines" && sync "$mnt/lines"; }

stored() { find "$w/vol/log" -name '*.seg' -printf '%s\n' | awk '{n += $1} END {print n}'; }

(umask 077 && head -c 32 /dev/urandom >"$w/key")
"$embassy" init "$w/vol" --key-file "$w/key" >/dev/null || exit 1
address=''
start_server
t "mount" mount_it

# Each mount begins a segment, whose positions are 64 MiB further on; nearly all of them are no bytes.
stop_server
for i in 1 2 3 4; do
	t "a line" line "$i"
	t "mount again" remount
done
t "what is missing is little" is '.embassies[0].lag_bytes' -lt 1000000
t "but something" is '.embassies[0].lag_bytes' -gt 0
t "the log is short" is '.log_bytes' -lt 1000000
t "its end is a position" is '.log_end' -gt 200000000
t "in words too" says '^log +[0-9.]+ KiB'
t "unmount" unmount
t "the log is as long as its files" is '.log_bytes' -eq "$(stored)" "$w/vol"
start_server
t "mount" mount_it
t "the embassy gets it" drains
t "nothing is missing" is '.embassies[0].lag_bytes' -eq 0
stop_server
t "mount again" remount
t "a line" line 5
t "what is missing is little" is '.embassies[0].lag_bytes' -lt 100000
t "unmount" unmount

# An embassy that does not answer has everything no more, whatever it said once.
exits() { # exits CODE COMMAND...
	"${@:2}"
	local rc=$?
	[ $rc = "$1" ] || { echo "exit code $rc"; return 1; }
}
connected() { case $(field '.embassies[0].state') in idle | streaming) ;; *) return 1 ;; esac }
away() { ! connected; }
t "mount without the embassy" mount_it
t "drain, before it is there" exits 30 drains 1
t "unmount" unmount
start_server
t "mount" mount_it
t "drain" drains
stop_server
t "mount again" remount
t "nothing is new, but nobody is there" exits 30 drains 1
t "it is said so" says 'had everything when it last answered'
start_server
t "drain" drains
kill -STOP "$server_pid"
t "nothing is new, but it does not answer" exits 30 drains 2
t "it is said so" wait_until 60 away
t "and why" is '.embassies[0].reason | length' -gt 10
kill -CONT "$server_pid"
t "it answers again" drains 40
kill -STOP "$server_pid"
t "it is found out unasked" wait_until 60 away
kill -CONT "$server_pid"
t "it answers again" drains 40

# An embassy that holds less than it acknowledged gets it again, and that is told until somebody answers.
warning() { field '.embassies[0].warning'; }
warns() { warning | grep -E 'though it had acknowledged head'; }
t "nothing was lost so far" is '.embassies[0].warning | length' -eq 0
stop_server
mv "$w/store" "$w/lost"
mkdir "$w/store"
start_server
t "it gets all again" drains 40
t "status warns" warns
t "in words" says 'warning: on .* it held only head 0,'
t "the log has it" grep -q 'though it had acknowledged head' "$w/log"
t "mount again" remount
t "drained again" drains
t "it still warns" warns
t "another embassy is none" exits 1 "$embassy" drain "$mnt" --accept-loss 127.0.0.1:1
t "it still warns" warns
t "somebody answers" "$embassy" drain "$mnt" --accept-loss "$address"
t "it warns no more" is '.embassies[0].warning | length' -eq 0
t "mount again" remount
t "drained again" drains
t "it warns no more" is '.embassies[0].warning | length' -eq 0
t "unmount" unmount

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
