#!/bin/bash
# Runs pjdfstest on a fresh volume: tests/posix/pjdfstest.sh BUILD-FOLDER SUITE [DIRECTORY...]
# SUITE is a built copy of https://github.com/pjd/pjdfstest; DIRECTORY one of its tests/.
#
# The suite asks for more where it knows the filesystem; ours passes itself off as ext4, so that all
# is asked that ext4 is asked.  pjdfstest.known lists what may fail, and why.
# Needs root and /dev/fuse.  Last line: "N passed, N failed"; exit 1 if any failed.
set -u

here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/posix/lib.sh
. "$here/lib.sh"
usage="usage: pjdfstest.sh BUILD-FOLDER SUITE [DIRECTORY...]"
suite_begin pjdfstest "${1:?$usage}" "${2:?$usage}" pjdfstest
shift 2

mkdir "$work/bin"
cat >"$work/bin/df" <<END
#!/bin/sh
$(command -v df) "\$@" | sed 's/ fuse\.embassyfs / ext4 /'
END
chmod +x "$work/bin/df"
export PATH=$work/bin:$PATH
umask 022
volume_mount "$work/vol" "$work/mnt"
cd "$work/mnt" || exit 2

passed=0 failed=0 known=0
run() { # run TEST: its numbers, told from its TAP
	local t=$1 name=${1#"$suite/tests/"} planned bad n
	timeout 600 sh "$t" >"$work/out" 2>"$work/err"
	planned=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$work/out" | head -n 1)
	if [ -z "$planned" ]; then
		echo "FAILED $name: no plan; $(tail -n 1 "$work/err")"
		failed=$((failed + 1))
		return
	fi
	for n in $(seq "$planned"); do
		if grep -qE "^ok $n( |\$)|^not ok $n .*# *(TODO|SKIP)" "$work/out"; then
			passed=$((passed + 1))
		elif grep -qE "^$name $n " "$here/pjdfstest.known"; then
			known=$((known + 1))
		else
			failed=$((failed + 1))
			bad=$(grep -E "^not ok $n( |\$)" "$work/out")
			echo "FAILED $name $n: ${bad:-no answer}"
		fi
	done
}

for d in "${@:-}"; do
	while read -r t; do
		run "$t"
	done < <(find "$suite/tests/$d" -name '*.t' | sort)
done

cd /
volume_unmount "$work/mnt" || { echo "FAILED to unmount"; failed=$((failed + 1)); }
volume_is_sound "$work/vol" || { echo "FAILED the volume is not sound"; failed=$((failed + 1)); }
[ "$known" = 0 ] || echo "$known known to fail"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
