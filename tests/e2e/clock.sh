#!/bin/bash
# The wall clocks of the home and of the embassy jump back and forth, by hours and by years, each on its own: heads stay in
# order, the past is found by time, by age and by name, lag is told as it is, replication goes on, and the embassy's copy is
# mounted as of each time that was noted.
#
# usage: clock.sh [BUILD-DIR] [--spoil]		as root; --spoil has the steady clocks jump as well, and must fail
set -uo pipefail

here=$(realpath "$(dirname "$0")")
# shellcheck source=tools/lib.sh
. "$here/../../tools/lib.sh"
build=$here/../../build spoil=()
for arg; do
	case $arg in --spoil) spoil=(CLOCK_SHIFT_ALL=1) ;; *) build=$arg ;; esac
done
build=$(realpath "$build")
[ "$(id -u)" = 0 ] || die "it mounts; run it as root"
embassy=$build/tools/embassy
shift_library=$build/tests/e2e/libshift.so
[ -e "$shift_library" ] || die "$shift_library: not built; run ninja first"

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-clock.XXXXXX")
mnt=$w/mnt far=$w/far
passed=0 failed=0 server_pid=''
mkdir "$mnt" "$far" "$w/store"

cleanup() {
	trap - EXIT
	[ -z "$server_pid" ] || kill -KILL "$server_pid" 2>/dev/null
	# shellcheck disable=SC2046 # lists of process ids
	kill -KILL $(supervisors_of $(daemon_of "$mnt")) $(daemon_of "$mnt") 2>/dev/null
	umount -l "$mnt" 2>/dev/null
	umount -l "$far" 2>/dev/null
	wait 2>/dev/null
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

set_clock() { # set_clock WHOSE SECONDS: so much from what it is
	python3 -c 'import struct, sys
with open(sys.argv[1], "r+b") as f: f.write(struct.pack("<q", int(sys.argv[2]) * 10**9))' "$w/$1.clock" "$2"
}

# with_clock WHOSE COMMAND...: becomes it; call it in a process of its own
with_clock() { exec env "${spoil[@]}" LD_PRELOAD="$shift_library" CLOCK_SHIFT="$w/$1.clock" "${@:2}"; }

start_server() {
	start_embassyd "$w/server.log" with_clock server "$build/server/embassyd" --store "$w/store" --listen 127.0.0.1:0 --insecure
}

mount_it() (
	with_clock home "$build/fs/fuse/embassyfs" "$w/vol" "$mnt" -o "key-file=$w/key,embassy=$address"
)

gone() { [ -z "$(daemon_of "$mnt")" ]; }

field() { timeout 10 "$embassy" status "$mnt" --json | jq -r "$1"; }

# Each state is one word in a file, written and made a snapshot, whose head's time is noted.
declare -A noted
state() { # state NAME
	echo "$1" >"$mnt/state" && sync "$mnt/state" && timeout 20 "$embassy" snapshot "$mnt" "$1" &&
		noted[$1]=$(field .head.time)
}

says() { [ "$(timeout 10 cat "$1")" = "$2" ]; }
ago_is() { says "$mnt/.embassy/ago/1s/state" "$1"; }

# Not negative, and no longer than this test takes; while something is missing, not nothing.
lag_is_sane() { # lag_is_sane [MIN]
	local lag
	lag=$(field '.embassies[0].lag_seconds')
	echo "lag: $lag s"
	awk -v lag="$lag" -v min="${1:-0}" 'BEGIN {exit !(lag ~ /^[0-9]/ && lag >= min && lag < 120)}'
}

heads_are_in_order() { "$embassy" heads "$1" --json | grep -o '"time": "[^"]*"' | LC_ALL=C sort -u -c; }

lagging() { [ "$(field '.embassies[0].lag_bytes')" -gt 0 ]; }

caught_up() { timeout 30 "$embassy" drain "$mnt" --timeout 20; }

past_is_right() {
	local name
	for name in "${!noted[@]}"; do
		says "$mnt/.embassy/at/${noted[$name]}/state" "$name" &&
			says "$mnt/.embassy/snapshots/$name/state" "$name" ||
			{ echo "$name, of ${noted[$name]}"; return 1; }
	done
}

(umask 077 && head -c 32 /dev/urandom >"$w/key")
head -c 8 /dev/zero >"$w/home.clock"
head -c 8 /dev/zero >"$w/server.clock"
"$embassy" init "$w/vol" --key-file "$w/key" >/dev/null || exit 1
id=$(sed -n 's/^id //p' "$w/vol/volume.conf")
start_server
t "mount" mount_it
t "the first state" state first
t "the embassy has it" caught_up

years=$((365 * 86400)) hours=3600
home=(0 $((2 * hours)) $((-3 * hours)) $((10 * years)) 0 $((-20 * years)) $((hours / 2)))
server=(0 $((-5 * hours)) $((7 * years)) $((-9 * years)) $((20 * years)) 0 $((3 * hours)))
for i in "${!home[@]}"; do
	what="home ${home[i]} s, embassy ${server[i]} s"
	# With something under way, which the embassy has not acknowledged.
	kill -STOP "$server_pid"
	t "$what: a state before" state "before$i"
	t "$what: lagging" wait_until 5 lagging
	set_clock home "${home[i]}"
	set_clock server "${server[i]}"
	t "$what: lag" lag_is_sane 0.001
	t "$what: a state" state "s$i"
	t "$what: lag" lag_is_sane 0.001
	kill -CONT "$server_pid"
	t "$what: the embassy catches up" caught_up
	t "$what: lag" lag_is_sane
	# A second of the heads' time is at most two, whatever the wall clock says.
	t "$what: it is found by its age" wait_until 6 ago_is "s$i"
	t "$what: the next state" state "next$i"
	t "$what: which has no such age yet" ago_is "s$i"
	if [ $((i % 3)) = 2 ]; then
		t "$what: unmount" umount "$mnt"
		t "$what: it ends" wait_until 20 gone
		t "$what: mount again" mount_it
		t "$what: a state of the new mount" state "new$i"
	fi
	t "$what: heads are in order" heads_are_in_order "$mnt"
	t "$what: the past is right" past_is_right
done
t "the embassy has all" caught_up
t "unmount" umount "$mnt"
t "it ends" wait_until 20 gone

# The home is lost.
mv "$w/vol" "$w/lost"
t "the embassy's heads are in order" heads_are_in_order "$address/$id"
for name in first "${!noted[@]}"; do
	t "the embassy as of ${noted[$name]:-nothing noted}" "$build/fs/fuse/embassyfs" "$address/$id" "$far" \
		-o "at=${noted[$name]:-none},key-file=$w/key"
	t "it is $name" says "$far/state" "$name"
	umount "$far" 2>/dev/null
done
kill -TERM "$server_pid"
t "the server ends" wait "$server_pid"
server_pid=''
t "home is sound" "$embassy" check "$w/lost" --key-file "$w/key" --read-data
t "the embassy is sound" "$embassy" check "$w/store/$id" --key-file "$w/key" --read-data

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
