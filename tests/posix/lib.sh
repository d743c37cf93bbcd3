# shellcheck shell=bash
# For the scripts of this folder: a fresh volume, its mounts, its end.
#
# volume_begin NAME BUILD-FOLDER makes $work with an empty volume, and takes care that nothing is
# left behind; suite_begin NAME BUILD-FOLDER SUITE PROGRAM also finds a $suite that is built, with
# that program in it.  Needs root, /dev/fuse.

volume_begin() {
	local program
	build=$(cd "$2" && pwd) || exit 2
	for program in "$build/fs/fuse/embassyfs" "$build/tools/embassy"; do
		[ -x "$program" ] || { echo "$1: $program: not built; run ninja first" >&2; exit 2; }
	done
	[ "$(id -u)" = 0 ] || { echo "$1: run it as root" >&2; exit 2; }
	work=$(mktemp -d "${TMPDIR:-/tmp}/embassyfs-$1.XXXXXX") || exit 2
	chmod 755 "$work"
	trap volume_end EXIT
	trap 'exit 130' INT TERM
	mkdir "$work/mnt"
	(umask 077 && head -c 32 /dev/urandom >"$work/key")
	volume_make "$work/vol"
}

suite_begin() {
	suite=$(cd "$3" && pwd) || exit 2
	[ -x "$suite/$4" ] || { echo "$1: $suite: not built there" >&2; exit 2; }
	volume_begin "$1" "$2"
}

volume_make() { "$build/tools/embassy" init "$1" --key-file "$work/key" >/dev/null || exit 2; }

# volume_mount VOLUME FOLDER [OPTIONS]
volume_mount() {
	timeout 120 "$build/fs/fuse/embassyfs" "$1" "$2" \
		-o "key-file=$work/key,allow_other,suid,dev${3:+,$3}" && return
	echo "$1 can't be mounted on $2" >&2
	exit 2
}

# volume_unmount FOLDER: a df(1) of somebody else's may hold any mount for a moment.
volume_unmount() {
	for _ in $(seq 100); do
		umount "$1" 2>/dev/null && return
		sleep 0.05
	done
	umount "$1" && return
	umount -l "$1"
	return 1
}

# What is under $work is unmounted, deepest first.
volume_end() {
	cd / || exit 2
	awk -v w="$work/" 'index($5, w) == 1 {print $5}' /proc/self/mountinfo | sort -r |
		while read -r m; do
			umount "$m" 2>/dev/null || umount -l "$m" 2>/dev/null
		done
	rm -rf --one-file-system "$work"
}

# volume_is_sound VOLUME: not mounted, every byte of it is as it was written.
volume_is_sound() {
	"$build/tools/embassy" check "$1" --key-file "$work/key" --read-data >"$work/check.log" 2>&1 &&
		return
	tail -n 20 "$work/check.log"
	return 1
}
