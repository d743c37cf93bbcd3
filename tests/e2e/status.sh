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
	start_embassyd "$w/server.log" "$build/server/embassyd" --store "$w/store" --listen "${address:-127.0.0.1:0}" --insecure
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

# What monitoring reads is well-formed, and a figure of it is VALUE; its labels are of the volume, and of the embassy if any.
monitored() { # monitored NAME VALUE [TARGET]
	local target=${3:-$mnt} labels value
	labels="volume=\"$(sed -n 's/^id //p' "$w/vol/volume.conf")\""
	case $1 in embassyfs_embassy_*) labels+=",embassy=\"$address\"" ;; esac
	timeout 10 "$embassy" status "$target" --openmetrics >"$w/metrics" || return
	value=$("$here/openmetrics.py" "$1{$labels}" <"$w/metrics") || { cat "$w/metrics"; return 1; }
	echo "$1 is $value"
	[ "$value" = "$2" ]
}

# held N: a new file is given an owner, written to and looked at again and again, and none of it reaches the daemon, which
# was sent N bytes before: each such step would else wait for the file to be written back.
held() {
	# It asks itself: a child that is started would close the file too, and the kernel writes it back then.
	/usr/bin/python3 - "$mnt" "$1" <<'PY'
import json, os, sys
mnt, sent = sys.argv[1:]
f = os.open(mnt + "/held", os.O_CREAT | os.O_RDWR)
os.fchown(f, 0, 0)
for _ in range(3):
    os.write(f, b"x" * 100)
    assert os.fstat(f).st_blocks > 0, "it looks like a hole"
with open(mnt + "/.embassy/status") as status: now = json.load(status)["written_bytes"]
assert now == int(sent), "bytes written back: %s" % now
os.fsync(f)
PY
}

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
t "monitoring is told so" monitored embassyfs_embassy_lag_bytes "$(field '.embassies[0].lag_bytes')"
t "and that it can be written" monitored embassyfs_writable 1
t "a time is told as a number too" is '.head | (.time | sub("\\..*"; "Z") | fromdate) - (.time_seconds | floor)' -eq 0
t "what is written is counted" dd if=/dev/zero of="$mnt/thousand" bs=1000 count=1 conv=fsync status=none
t "in bytes" monitored embassyfs_written_bytes_total 1000
t "a new file is written back when that is asked for" held 1000
t "and then it is" monitored embassyfs_written_bytes_total 1300
t "what is there is counted" monitored embassyfs_inodes "$(find "$mnt" -printf '%i\n' | sort -u | wc -l)"
t "and its bytes" monitored embassyfs_file_bytes "$(find "$mnt" -type f -printf '%s\n' | awk '{n += $1} END {print n}')"
t "and how long the syncs took" monitored embassyfs_sync_seconds_count 2
t "unmount" unmount
t "the log is as long as its files" is '.log_bytes' -eq "$(stored)" "$w/vol"
t "monitoring is told so" monitored embassyfs_log_bytes "$(stored)" "$w/vol"
t "nobody was asked" monitored 'embassyfs_embassy_reason' 0 "$w/vol"
start_server
t "mount" mount_it
t "the embassy gets it" drains
t "nothing is missing" is '.embassies[0].lag_bytes' -eq 0
# A head may follow at any time: both figures are of one moment, and sent once the embassy has it.
t "all of it was sent, once" wait_until 10 is '.log_bytes - .embassies[0].sent_bytes' -eq 0
t "over one connection" monitored embassyfs_embassy_connections_total 1
t "monitoring reads all volumes of the server" monitored embassyfs_head_number "$(field .head.number)" "$address"
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

# A copy, and a log, that was removed while it was written to is not there, whatever can still be written to its open files.
whole() { "$embassy" check "$w/store/$(field .volume)" --log-only; }
removed_while_open() { rm -r "$w/store/$(field .volume)" && line gone && drains 60; }
made_again() { [ -e "$w/store/$(field .volume)/volume.conf" ]; }
mount_it
t "drained" drains
rm -r "$w/store/$(field .volume)"
t "an embassy's copy that is removed while nothing is sent is missed" wait_until 60 made_again
t "and sent again" drains 60
t "whole" whole
t "the embassy's copy is removed while it is written to" removed_while_open
t "and is there again, whole" whole
t "which is told" warns
t "somebody answers" "$embassy" drain "$mnt" --accept-loss "$address"
cp -r "$w/vol" "$w/vol.saved"
rm "$w"/vol/log/*
t "nothing is durable in files that were removed" exits 1 line gone
t "which is told" wait_until 10 is .writable = false
t "with the reason in the log" grep -q 'which is being written, was removed' "$w/log"
umount -l "$mnt" && wait_until 20 gone
rm -r "$w/vol" && mv "$w/vol.saved" "$w/vol"

# What embassies lack of a volume that is not mounted: told at the unmount, and by the folder, also after a kill, to a
# reader who may not write, and of a volume whose embassy never answered.
told() { tail -n 20 "$w/log" | grep -E "unmounted with [0-9.]+ [KM]iB \\([0-9]+ heads?\\) not yet acknowledged by embassy $address;.*\\[embassy-behind\\]"; }
recorded() { field ".embassies[] | select(.address == \"$address\") | $1" "$w/vol"; }
is_recorded() { # is_recorded FILTER TEST VALUE
	local value
	value=$(recorded "$1")
	echo "$1 is $value"
	[ "$value" "$2" "$3" ]
}
t "mount" mount_it
t "drained" drains
t "the folder says so beside the mount" wait_until 10 is_recorded '.lag_bytes' -eq 0
stop_server
head -c 3000000 /dev/urandom >"$mnt/bytes" && sync "$mnt/bytes"
t "a line" line 6
acknowledged=$(field '.embassies[0].acknowledged_head')
: >"$w/log"
t "unmount" unmount
t "what was unsent is told then" told
t "and afterwards by the folder" says "^embassy +$address: had not acknowledged 2\\.9 MiB \\([0-9]+ heads?\\)" "$w/vol"
t "in bytes" is_recorded '.lag_bytes' -gt 3000000
t "which are not too many" is_recorded '.lag_bytes' -lt 3500000
t "in heads" is_recorded '.lag_heads' -eq $(($(field .head.number "$w/vol") - acknowledged))
t "with what was acknowledged" is_recorded '.acknowledged_head' -eq "$acknowledged"
t "and when" is_recorded '.acknowledged_time | length' -gt 10
t "nobody was asked" is_recorded '.state' = recorded
t "as old as it is" is_recorded '.lag_seconds' -lt 1000
chmod 755 "$w"
cp -r "$w/vol" "$w/shown" && chmod -R a+rX,a-w "$w/shown"
as_reader() { setpriv --reuid 65534 --regid 65534 --clear-groups env TMPDIR=/tmp "$@"; }
install -m 755 "$embassy" "$w/embassy"
t "a reader is told the same" exits 0 bash -c "$(declare -f as_reader); as_reader '$w/embassy' status '$w/shown' --json | jq -e '.embassies_known and .embassies[0].lag_bytes > 3000000'"
rm -rf "$w/shown/catalog"
t "without a catalog it is not known" says 'embassies not known: the catalog is missing' "$w/shown"
t "in JSON too" is .embassies_known = false "$w/shown"
chmod u+w "$w/shown"
t "a catalog made from the log alone" exits 0 "$embassy" check "$w/shown" --log-only
t "does not know it either" says 'embassies not known: the catalog .* was made anew' "$w/shown"
t "nor in JSON" is .embassies_known = false "$w/shown"
rm -rf "$w/shown"
start_server
t "mount" mount_it
t "drained" drains
t "which is noted within a second" wait_until 10 is_recorded '.lag_bytes' -eq 0
stop_server
head -c 2000000 /dev/urandom >"$mnt/bytes" && sync "$mnt/bytes"
# shellcheck disable=SC2046 # lists of process ids
kill -KILL $(supervisors_of $(daemon_of "$mnt")) $(daemon_of "$mnt")
t "killed" wait_until 10 gone
umount -l "$mnt"
t "what was synced and not sent is told after a kill" is_recorded '.lag_bytes' -gt 2000000
t "and is not too much" is_recorded '.lag_bytes' -lt 2500000
start_server
t "mount" mount_it
t "drained" drains
t "unmount" unmount
t "a copy has no embassies" says "^copy +an embassy's" "$w/store/$(field .volume "$w/vol")"
t "in JSON too" is '.embassies | length' -eq 0 "$w/store/$(field .volume "$w/vol")"
stop_server

# One that never answered lacks everything, though nobody ever spoke to it.
t "another volume" "$embassy" init "$w/never" --key-file "$w/key"
mv "$w/vol" "$w/vol.first" && mv "$w/never" "$w/vol"
t "mount" mount_it
t "a line" line 1
t "unmount" unmount
t "it lacks everything" is_recorded '.lag_bytes' -eq "$(field .log_bytes "$w/vol")"
t "every head" is_recorded '.lag_heads' -eq "$(field .head.number "$w/vol")"
t "in words too" says 'acknowledged nothing yet' "$w/vol"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
