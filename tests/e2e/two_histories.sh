#!/bin/bash
# A home is restored from its backup and goes on: then there are two logs, all of it signed, with the same positions.
# Whatever holds both, no reader is shown a mixture: it sees one of them, or is told.
#
# usage: two_histories.sh [BUILD-DIR]		as root
set -uo pipefail

here=$(realpath "$(dirname "$0")")
# shellcheck source=tools/lib.sh
. "$here/../../tools/lib.sh"
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"
build=$(realpath "${1:-$here/../../build}")
[ "$(id -u)" = 0 ] || die "it mounts; run it as root"
embassyfs=$build/fs/fuse/embassyfs embassy=$build/tools/embassy

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-two.XXXXXX")
home=$w/home far=$w/far
passed=0 failed=0 pids=()
mkdir "$home" "$far"

gone() { [ -z "$(daemon_of "$1")" ]; }
unmount() { umount "$1" 2>/dev/null && wait_until 20 gone "$1"; }
cleanup() {
	trap - EXIT
	umount -l "$home" "$far" 2>/dev/null
	[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
	wait 2>/dev/null
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# serve NAME PROGRAM...: in the background; its address is left in $address.
serve() {
	rm -f "$w/$1.log" # what the last one said is not what this one says
	"${@:2}" >"$w/$1.log" 2>&1 &
	pids+=($!)
	wait_until 10 grep -q 'listening on' "$w/$1.log" || die "$1 did not start: $(cat "$w/$1.log")"
	address=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$w/$1.log" | head -1)
}
serve_store() { serve "$1" "$build/server/embassyd" --store "$w/$1" --listen 127.0.0.1:0 --insecure; }

# live VOLUME: mounted at home and replicated to $address, changed by what is read, unmounted.
live() {
	"$embassyfs" "$1" "$home" -o "key-file=$w/key,embassy=$address" || die "$1 is not mounted"
	while read -r name snapshot text; do
		{ printf '%s' "$text" >"$home/$name" && sync "$home/$name"; } || die "$home/$name"
		"$embassy" snapshot "$home" "$snapshot" >/dev/null || die "no snapshot"
	done
	"$embassy" drain "$home" --timeout 30 >/dev/null || die "not drained"
	unmount "$home" || die "$home stays mounted"
}

# shows TEXT TARGET AT: the file is there with that text.
shows() {
	local got
	"$embassyfs" "$2" "$far" -o "key-file=$w/key,ro,at=$3" || return
	got=$(cat "$far/land")
	unmount "$far"
	echo "$got"
	[ "$got" = "$1" ]
}

# A mount that shows what the other history holds is the failure; $far is left unmounted.
try_mount() { "$embassyfs" "$1" "$far" -o "key-file=$w/key,ro,at=$2" && cat "$far/land"; }
refused() { # refused CODE PATTERN TARGET AT
	expect "$1" "$2" try_mount "$3" "$4"
	! mountpoint -q "$far" || unmount "$far"
}

(umask 077 && head -c 32 /dev/urandom >"$w/key")
"$embassy" init "$w/vol" --compress 0 --key-file "$w/key" >/dev/null || die "no volume"
id=$(sed -n 's/^id //p' "$w/vol/volume.conf")
serve_store store
live "$w/vol" <<<'land before common'
kill "${pids[0]}" && wait "${pids[0]}" 2>/dev/null
pids=()
for which in a b; do
	cp -a "$w/vol" "$w/vol.$which"
	cp -a "$w/store" "$w/store.$which"
done
serve_store store.a
a=$address
live "$w/vol.a" <<<"land parted Anna's"
live "$w/vol.a" <<<'other after aaaa'
serve_store store.b
b=$address
live "$w/vol.b" <<<"land parted Bert's"
live "$w/vol.b" <<<'other after bbbb'

t "the one as it is" shows "Anna's" "$a/$id" latest
t "the other as it is" shows "Bert's" "$b/$id" latest
t "what they have in common" shows common "$b/$id" snapshot:before
serve honest "$build/tests/net/mixer" "$b" "$b" "$b"
t "what passes all on is as honest" shows "Bert's" "$address/$id" latest

serve mixed "$build/tests/net/mixer" "$b" "$a" "$a"
for at in latest snapshot:after; do
	refused 21 "$address: what it sends as the header of segment 0.* is not what head [0-9]* was signed over.*another copy" \
		"$address/$id" $at
done
expect 21 'is not what head [0-9]* was signed over' \
	"$embassy" snapshots "$address/$id" --key-file "$w/key"
serve bytes "$build/tests/net/mixer" "$b" "$a" "$b"
refused 20 'does not verify|not what was written' "$address/$id" latest
serve heads "$build/tests/net/mixer" "$a" "$b" "$b"
refused 21 'is not what head' "$address/$id" latest
serve old "$build/tests/net/mixer" "$b" "$b" none
refused 1 "$address: its embassyd is of an earlier version.*upgrade it" "$address/$id" latest

# The same on a disk: segments of one log in the place of the other's, under its heads.
kill "${pids[@]}" && wait "${pids[@]}" 2>/dev/null
pids=()
segments=("$w/store.b/$id/log/"*.seg)
unset 'segments[-1]' # with the newest head
mixed=0
for seg in "${segments[@]}"; do
	name=$(basename "$seg")
	! cmp -s "$seg" "$w/store.a/$id/log/$name" || continue
	cp -a "$w/store.a/$id/log/$name" "$seg"
	mixed=$((mixed + 1))
done
t "some segment differs" [ $mixed -gt 0 ]
refused 21 'segment 0.*: its header is not what the heads of this log were signed over.*embassy check' "$w/store.b/$id" latest
expect 20 'its Merkle root does not fit' "$embassy" check "$w/store.b/$id" --log-only
serve_store store.b
refused 20 'header of segment 0.* is no longer what was verified|damaged' "$address/$id" latest

echo "$passed passed, $failed failed"
[ $failed = 0 ]
