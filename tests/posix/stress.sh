#!/bin/bash
# fsx and fsstress on a fresh volume: tests/posix/stress.sh BUILD-FOLDER SUITE [OPERATIONS] [SEED]
# SUITE is a built copy of xfstests.  fsx compares each byte it reads with what it wrote: writes,
# maps, truncates, punches, zeroes and copies ranges of one file, OPERATIONS times (1000000), then a
# tenth of that with direct I/O.  fsstress has four processes do everything at random.  After each,
# the volume is unmounted and every byte of it checked.
# Needs root and /dev/fuse.  Last line: "N passed, N failed"; exit 1 if any failed.
set -u

here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/posix/lib.sh
. "$here/lib.sh"
usage="usage: stress.sh BUILD-FOLDER SUITE [OPERATIONS] [SEED]"
suite_begin stress "${1:?$usage}" "${2:?$usage}" ltp/fsx
operations=${3:-1000000}
seed=${4:-$RANDOM}
echo "seed $seed"
passed=0 failed=0

# stress NAME COMMAND...: on the mounted volume, in a folder of its own.
stress() {
	local name=$1 t0=$SECONDS
	shift
	volume_mount "$work/vol" "$work/mnt"
	mkdir "$work/mnt/$name"
	if "$@" >"$work/out" 2>&1 && volume_unmount "$work/mnt" && volume_is_sound "$work/vol"; then
		passed=$((passed + 1))
		echo "ok     $name, $((SECONDS - t0)) s"
	else
		failed=$((failed + 1))
		echo "FAILED $name"
		tail -n 40 "$work/out"
		umount "$work/mnt" 2>/dev/null
	fi
}

m=$work/mnt
stress fsx "$suite/ltp/fsx" -q -N "$operations" -S "$seed" -l 4194304 -o 131072 "$m/fsx/file"
stress fsx-direct "$suite/ltp/fsx" -q -N $((operations / 10)) -S "$seed" -l 4194304 -o 262144 \
	-Z -R -W -r 512 -w 512 "$m/fsx-direct/file"
stress fsstress "$suite/ltp/fsstress" -d "$m/fsstress" -p 4 -n $((operations / 100)) -s "$seed"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
