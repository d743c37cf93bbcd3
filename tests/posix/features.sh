#!/bin/bash
# What applications on ext4 take for granted, tried on a fresh volume, which must be sound at the
# end: tests/posix/features.sh BUILD-FOLDER [--slow]; --slow also makes a million of names and links.
# Needs root, /dev/fuse and python3.  Last line: "N passed, N failed"; exit 1 if any failed.
set -u

here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/posix/lib.sh
. "$here/lib.sh"
volume_begin features "${1:?usage: features.sh BUILD-FOLDER [--slow]}"
mnt=$work/mnt
passed=0 failed=0

count() { # count PASSED FAILED
	passed=$((passed + $1))
	failed=$((failed + $2))
}

# counted NAME PROGRAM ARGUMENT...: one whose last line is "N passed, M failed".
counted() {
	python3 -B "${@:2}" >"$work/out" 2>&1
	sed '$d' "$work/out"
	if [[ $(tail -n 1 "$work/out") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
		count "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
	else
		echo "FAILED $1: $(tail -n 1 "$work/out")"
		count 0 1
	fi
}

# phase NAME [MOUNT-OPTIONS]: mounted so, the checks of the phase.
phase() {
	volume_mount "$work/vol" "$mnt" "${2:-}"
	counted "phase $1" "$here/features.py" "$mnt" "$1"
	volume_unmount "$mnt" || { echo "FAILED phase $1: can't be unmounted"; count 0 1; }
}

phase live
phase again
phase relatime
phase strictatime strictatime
phase noatime noatime
phase nodiratime nodiratime
[ "${2:-}" = --slow ] && phase slow

# The past stays as it is, by whatever name it is reached; no access time makes another head of it.
volume_mount "$work/vol" "$mnt" noatime,history=users
python3 -B "$here/past.py" --make "$mnt/asitwas" && mkdir "$mnt/.embassy/snapshots/asitwas" || count 0 1
counted "past (snapshot)" "$here/past.py" "$mnt/.embassy/snapshots/asitwas/asitwas" "$mnt/asitwas"
counted "past (at)" "$here/past.py" "$mnt/.embassy/at/latest/asitwas" "$mnt/asitwas"
counted "past (ago)" "$here/past.py" "$mnt/.embassy/ago/0s/asitwas" "$mnt/asitwas"
counted "walks" "$here/past_walks.py" "$mnt" first "$work/walks"
volume_unmount "$mnt" || count 0 1
volume_mount "$work/vol" "$mnt" noatime,history=users
counted "walks again" "$here/past_walks.py" "$mnt" again "$work/walks"
volume_unmount "$mnt" || count 0 1
volume_mount "$work/vol" "$mnt" at=latest
counted "past (mounted)" "$here/past.py" "$mnt/asitwas" -
volume_unmount "$mnt" || count 0 1

volume_mount "$work/vol" "$mnt"
if "$build/fs/fuse/embassyfs" "$work/vol" "$mnt" -o remount,ro && ! touch "$mnt/x" 2>/dev/null &&
	"$build/fs/fuse/embassyfs" "$work/vol" "$mnt" -o remount,rw && touch "$mnt/x"; then
	count 1 0
else
	echo "FAILED remount"
	count 0 1
fi
volume_unmount "$mnt" || count 0 1

if volume_is_sound "$work/vol"; then
	count 1 0
else
	echo "FAILED the volume is not sound"
	count 0 1
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
