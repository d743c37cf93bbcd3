#!/bin/bash
# Two clones' quickstarts beside each other: neither touches what the other has.
#
# usage: quickstart.sh [BUILD-DIR]
set -uo pipefail
# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../../tools/lib.sh"

build=$(realpath "${1:-$(dirname "$0")/../../build}")
tools=$(realpath "$(dirname "$0")/../../tools")
need_root

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-quickstart.XXXXXX")
passed=0 failed=0
export EMBASSYFS_QUICKSTART=$w/state EMBASSYFS_MOUNT=$w/mnt EMBASSYFS_PORT=$((20000 + $$ % 20000))

# shellcheck disable=SC2046 # lists of process ids
cleanup() {
	local c m
	trap - EXIT
	for c in "$w"/clone-*; do
		"$c/tools/quickstart" --stop >/dev/null 2>&1
	done
	awk -v w="$w/" 'index($2, w) == 1 {print $2}' /proc/mounts | while read -r m; do
		umount "$m" 2>/dev/null || umount -l "$m"
	done
	for c in "$w"/clone-*; do
		kill -KILL $(pids_of "$c/build/server/embassyd" "$w/") 2>/dev/null
	done
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# A clone that is built: ninja finds nothing to do in it.
for c in a b; do
	mkdir -p "$w/clone-$c/tools" "$w/clone-$c/build/tools" "$w/clone-$c/build/fs/fuse" "$w/clone-$c/build/server"
	cp "$tools/quickstart" "$tools/lib.sh" "$w/clone-$c/tools/"
	for f in tools/embassy fs/fuse/embassyfs server/embassyd; do
		cp "$build/$f" "$w/clone-$c/build/$f"
	done
	echo 'build all: phony' >"$w/clone-$c/build/build.ninja"
done
a=$w/clone-a/tools/quickstart b=$w/clone-b/tools/quickstart

a_lives() {
	[ "$(cat "$w/mnt/letter")" = hello ] && echo again >"$w/mnt/again" &&
		cmp "$w/a.port" "$w/state/run/port" && cmp -n "$(stat -c %s "$w/a.log")" "$w/a.log" "$w/state/run/embassyd.log" &&
		[ -n "$(pids_of "$w/clone-a/build/server/embassyd" "$w/state/store")" ]
}
says() { # says PATTERN COMMAND...
	if ! "${@:2}" >"$w/said" 2>&1 || ! grep -qE -- "$1" "$w/said"; then
		cat "$w/said"
		return 1
	fi
}
other_is_left() { [ "$(cat "$w/foreign/mine")" = kept ]; }

t "the first starts" "$a"
echo hello >"$w/mnt/letter"
cp "$w/state/run/port" "$w/a.port"
cp "$w/state/run/embassyd.log" "$w/a.log"
t "a stop of what never started says so, and whose the rest is" says "left alone: $w/state, of the clone $w/clone-a" "$b" --stop
t "it left the first alone" a_lives
t "the second starts, and passes over what the first has" says "$w/state is not this clone's .$w/clone-a.; passed over" "$b"
t "it left the first alone, too" a_lives
t "the second has a mount of its own" test -e "$w/mnt-2/.embassy/status"
t "which is not the first's" test ! -e "$w/mnt-2/letter"
t "started again, the second finds what it has" says "mounted already, at $w/mnt-2" "$b"
t "the second stops" says "left alone: $w/state, of the clone $w/clone-a" "$b" --stop
t "its things are gone" test ! -e "$w/state-2" -a ! -e "$w/mnt-2"
t "the first goes on" a_lives
mkdir "$w/foreign" && echo kept >"$w/foreign/mine"
t "a folder that is no quickstart's is not stopped" env EMBASSYFS_QUICKSTART="$w/foreign" "$b" --stop
t "nor removed" other_is_left
t "the first stops" "$a" --stop
t "and its things are gone" test ! -e "$w/state" -a ! -e "$w/mnt"

# Two of one clone at once, beside one of another: the second finds what the first has started.
together() {
	local pid failed=0 pids=()
	for c in "$a" "$a" "$b"; do
		"$c" >"$w/said.${#pids[@]}" 2>&1 &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do wait "$pid" || failed=$((failed + 1)); done
	[ $failed = 0 ] || { tail -n 5 "$w"/said.?; return 1; }
}
servers() { [ "$(pids_of "$w/clone-$1/build/server/embassyd" "$w/" | wc -l)" = 1 ]; }
mounts() { [ "$(awk -v w="$w/" '$3 == "fuse.embassyfs" && index($2, w) == 1' /proc/mounts | wc -l)" = 2 ]; }
t "several at once start" together
t "one server of the first" servers a
t "one server of the second" servers b
t "a mount of each" mounts
t "the first stops" "$a" --stop
t "the second stops" "$b" --stop

echo "$passed passed, $failed failed"
[ $failed = 0 ]
