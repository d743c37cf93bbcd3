#!/bin/bash
# Runs xfstests on fresh volumes: tests/posix/xfstests.sh BUILD-FOLDER SUITE [NUMBER...]
# SUITE is a built copy of xfstests (its users fsgqa and 123456-fsgqa exist); NUMBER is a test of
# generic/, without any: all of the groups auto and quick.  Each has XFSTESTS_LIMIT_S (600) seconds.
#
# xfstests.known lists the tests that may fail, and why.  What was not run is told by reason.
# Results of the suite's own are in $XFSTESTS_RESULTS, if that is set.
# Needs root and /dev/fuse.  Last line: "N passed, N failed"; exit 1 if any failed.
set -u

here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/posix/lib.sh
. "$here/lib.sh"
usage="usage: xfstests.sh BUILD-FOLDER SUITE [NUMBER...]"
suite_begin xfstests "${1:?$usage}" "${2:?$usage}" ltp/fsx
shift 2
volume_make "$work/vol-scratch"
mkdir "$work/scratch" "$work/bin"
limit=${XFSTESTS_LIMIT_S:-600}

# The suite knows the type fuse; it unmounts by source, which is a folder here.
# All mounts of the machine are more than it needs to see, and one of them may hang.
cat >"$work/bin/df" <<END
#!/bin/bash
if [ \$# = 0 ]; then
	mapfile -t all < <(
		awk -v w="$work/" 'index(\$5, w) == 1 {print \$5}' /proc/self/mountinfo)
	set -- "\${all[@]}"
fi
[ \$# -gt 0 ] || exit 0
df -T -P "\$@" | sed 's/ fuse\.embassyfs / fuse /'
END
cat >"$work/bin/umount" <<'END'
#!/bin/bash
args=()
for a in "$@"; do
	m=$(awk -v d="$a" '$1 == d && $3 == "fuse.embassyfs" {m = $2} END {print m}' /proc/mounts)
	args+=("${m:-$a}")
done
for _ in $(seq 20); do
	umount "${args[@]}" 2>/dev/null && exit
	sleep 0.05
done
exec umount "${args[@]}"
END
cat >"$work/bin/mount" <<END
#!/bin/bash
all=("\$@") words=() opts= type=
while [ \$# -gt 0 ]; do
	case \$1 in
	-t) type=\$2; shift ;;
	-o) opts=\$opts,\$2; shift ;;
	-o*) opts=\$opts,\${1#-o} ;;
	-r) opts=\$opts,ro ;;
	-*) ;;
	*) words+=("\$1") ;;
	esac
	shift
done
[ "\$type" = fuse.embassyfs ] || exec mount "\${all[@]}"
exec "$build/fs/fuse/embassyfs" "\${words[@]}" -o "key-file=$work/key,allow_other,suid,dev\$opts"
END
chmod +x "$work"/bin/*
cat >"$work/config" <<END
export TEST_DEV=$work/vol TEST_DIR=$work/mnt SCRATCH_DEV=$work/vol-scratch SCRATCH_MNT=$work/scratch
export FSTYP=fuse FUSE_SUBTYP=.embassyfs RESULT_BASE=${XFSTESTS_RESULTS:-$work/results}
export DF_PROG=$work/bin/df UMOUNT_PROG=$work/bin/umount MOUNT_PROG=$work/bin/mount
END
export HOST_OPTIONS=$work/config
cd "$suite" || exit 2
numbers=("$@")
[ $# -gt 0 ] || mapfile -t numbers < <(
	awk '$1 ~ /^[0-9]+$/ && / (auto|quick)( |$)/ {print $1}' tests/generic/group.list)

passed=0 failed=0 known=0
tell() { # tell NUMBER WORDS: it did not pass
	if grep -qE "^generic/$1 " "$here/xfstests.known"; then
		known=$((known + 1))
	else
		failed=$((failed + 1))
		echo "FAILED generic/$1: $2"
		[ "$2" = "output" ] && sed -n '/output mismatch/,/Run .diff/p' "$work/out" | sed 's/^/    /'
	fi
}

for n in "${numbers[@]}"; do
	mountpoint -q "$work/mnt" || volume_mount "$work/vol" "$work/mnt"
	setsid --wait timeout -k 10 "$limit" ./check "generic/$n" >"$work/out" 2>&1
	rc=$?
	if [ $rc = 124 ] || [ $rc = 137 ]; then
		tell "$n" "not done after $limit s"
		# Whatever it left under way loses its mounts.
		umount -l "$work/scratch" "$work/mnt" 2>/dev/null
	elif grep -q '^Failures:' "$work/out"; then
		tell "$n" output
	elif grep -q '^Not run:' "$work/out"; then
		sed -n 's/.*\[not run\] *//p' "$work/out" >>"$work/notrun"
	elif grep -q '^Passed all 1' "$work/out"; then
		passed=$((passed + 1))
	else
		tell "$n" "$(tail -n 3 "$work/out" | head -n 1)"
	fi
done

cd /
for m in scratch mnt; do
	mountpoint -q "$work/$m" || continue
	volume_unmount "$work/$m" || { echo "FAILED to unmount $m"; failed=$((failed + 1)); }
done
for v in vol vol-scratch; do
	volume_is_sound "$work/$v" || { echo "FAILED $v is not sound"; failed=$((failed + 1)); }
done
if [ -s "$work/notrun" ]; then
	echo "not run, by reason:"
	sed "s#$work/##" "$work/notrun" | sort | uniq -c | sort -rn
fi
[ "$known" = 0 ] || echo "$known known to fail"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
