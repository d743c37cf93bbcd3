#!/bin/bash
# A home on a disk that others have filled to the last byte, mounted anew again and again: it mounts, reads, deletes and
# unmounts, all of it durable; writing gets ENOSPC, and goes on by itself when there is room.
#
# usage: full_disk.sh [BUILD-DIR] [--spoil]		as root; --spoil takes the spare away, and must fail
set -uo pipefail

here=$(realpath "$(dirname "$0")")
# shellcheck source=tools/lib.sh
. "$here/../../tools/lib.sh"
build=$here/../../build spoil=''
for arg; do
	case $arg in --spoil) spoil=1 ;; *) build=$arg ;; esac
done
build=$(realpath "$build")
[ "$(id -u)" = 0 ] || die "it mounts; run it as root"

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-full.XXXXXX")
mnt=$w/mnt disk=$w/disk
passed=0 failed=0
mkdir "$mnt" "$disk"

# shellcheck disable=SC2046 # lists of process ids
cleanup() {
	trap - EXIT
	kill_all
	umount -l "$mnt" 2>/dev/null
	umount -l "$disk" 2>/dev/null
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

explain() { tail -n 3 "$w/log" | cut -c -200; }

daemon() { daemon_of "$mnt"; }
gone() { [ -z "$(daemon)" ] && ! mountpoint -q "$mnt"; }

# shellcheck disable=SC2046 # lists of process ids
kill_all() {
	kill -KILL $(supervisors_of $(daemon)) $(daemon) 2>/dev/null
}

mount_it() {
	"$build/fs/fuse/embassyfs" "$disk/vol" "$mnt" -f -o "passphrase-file=$w/pass" >>"$w/log" 2>&1 &
	mounted=$!
	wait_until 20 mountpoint -q "$mnt"
}

# Its exit code tells whether all is durable.
unmount() { timeout 60 umount "$mnt" && wait "$mounted" && wait_until 20 gone; }

# To the last block, as another application on the disk would.
fill() {
	dd if=/dev/zero bs=1M of="$disk/ballast" oflag=append conv=notrunc status=none
	dd if=/dev/zero bs=4k of="$disk/ballast" oflag=append conv=notrunc status=none
	[ "$(stat -f -c %a "$disk")" -le 1 ] || { df "$disk"; return 1; }
} 2>/dev/null

refused() { # a write gets ENOSPC, and says so
	! python3 -c 'import os, sys
f = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(f, os.urandom(300000))
os.fsync(f)' "$mnt/new" 2>"$w/refused" && grep -q 'Errno 28' "$w/refused" && return
	df -k "$disk"
	tail -n 1 "$w/refused"
	return 1
}

# Names, a truncation, and an fsync that makes them durable.
change() { # change ROUND
	rm "$mnt"/d/*"$1" && mv "$mnt/b" "$mnt/c" && mv "$mnt/c" "$mnt/b" && truncate -s "$1" "$mnt/cut" &&
		python3 -c 'import os, sys; os.fsync(os.open(sys.argv[1], os.O_RDONLY))' "$mnt/d"
}

changed() { # changed ROUND: as it left things, and all else is there
	[ "$(stat -c %s "$mnt/cut")" = "$1" ] && ! ls "$mnt"/d/*"$1" 2>/dev/null && [ ! -e "$mnt/c" ] &&
		md5sum --quiet -c "$w/sums" && [ "$(find "$mnt/d" -type f | wc -l)" = $((200 - 20 * (10 - $1))) ]
}

writes() { head -c 1000000 /dev/urandom >"$mnt/new" && sync "$mnt/new"; } 2>/dev/null

# A disk of 200 MB at ${disk}, if this kind can be had here.
make_disk() {
	case $kind in
	tmpfs) mount -t tmpfs -o size=200M none "$disk" ;;
	*)
		truncate -s 200M "$w/image" && "mkfs.$kind" -q -b 4096 -m 0 "$w/image" && mount -o loop "$w/image" "$disk"
		;;
	esac
} 2>/dev/null

status_is() { # status_is WRITABLE REASON
	local text
	text=$(cat "$mnt/.embassy/status") && echo "$text" && grep -q "\"writable\": $1, \"reason\": \"$2" <<<"$text"
}

play() {
	local round
	"$build/tools/embassy" init "$disk/vol" --passphrase-file "$w/pass" >/dev/null
	t "mount" mount_it
	mkdir "$mnt/d"
	for round in $(seq 200); do echo "$round" >"$mnt/d/$round"; done
	head -c 8000000 /dev/urandom >"$mnt/b"
	echo cut >"$mnt/cut"
	md5sum "$mnt/b" >"$w/sums"
	t "unmount" unmount

	for round in 9 8 7 6; do
		[ -z "$spoil" ] || rm -f "$disk/vol/log/spare"
		t "$round: fill" fill
		t "$round: mount" mount_it
		t "$round: read" md5sum --quiet -c "$w/sums"
		t "$round: delete" change "$round"
		t "$round: write" refused
		t "$round: the status says it" status_is false 'the disk is full'
		t "$round: it is as changed" changed "$round"
		if [ "$round" = 7 ]; then
			t "$round: killed" kill_all
			umount -l "$mnt"
			{ wait "$mounted"; } 2>/dev/null
			t "$round: it is gone" wait_until 20 gone
		else
			t "$round: unmount" unmount
		fi
	done
	t "fill" fill
	t "mount" mount_it
	t "it is as changed" changed 6
	t "write" refused
	rm "$disk/ballast"
	t "writing goes on by itself" wait_until 10 writes
	t "the status says it" wait_until 10 status_is true '"'
	t "the log says it" grep -q 'the disk is full and writes are refused' "$w/log"
	t "it is as changed" changed 6
	t "unmount" unmount
	t "the volume is sound" "$build/tools/embassy" check "$disk/vol" --passphrase-file "$w/pass" --read-data
	umount "$disk"
}

(umask 077 && echo "correct horse" >"$w/pass")
: >"$w/log"
for kind in tmpfs ext4; do
	about="$kind: "
	if make_disk; then play; else echo "no $kind here: left out"; fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
