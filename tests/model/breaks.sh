#!/bin/bash
# Shows that the model test can fail: breaks.sh MODEL.  Two plain folders behave alike; when one
# of them makes a mistake on purpose, each of several, the difference is found, shrunk to a few
# operations, and shown again by replaying those. Needs root, for operations by several users.
set -u

[ "$(id -u)" = 0 ] || { echo "skipped: not root"; exit 77; }
model=${1:?usage: breaks.sh MODEL}
work=$(mktemp -d "${CRASH_DIR:-${TMPDIR:-/var/tmp}}/embassyfs-breaks.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
mkdir "$work/a" "$work/b"
failed=0

fail() {
	echo "FAIL: $*"
	tail -n 20 "$work/out"
	failed=1
}

run() { timeout 250 "$model" "$work/a" "$work/b" "$@" >"$work/out" 2>&1; }

run --seed 1 --runs 5 || fail "two plain folders differ"
run --seed 1 --ops 300 --threads 3 || fail "two plain folders differ under threads"

# The smallest sequences take up to four operations; how many are left when shrinking gets stuck
# varies with the seed.
at_most=8
for mistake in $("$model" --help | awk '/--break/ {on = 1; next} on && $1 ~ /^[0-9]+$/ {print $1}'); do
	rm -f "$work/script"
	run --seed 1 --ops 600 --runs 200 --break "$mistake" --script "$work/script"
	rc=$?
	[ $rc = 1 ] || { fail "mistake $mistake: exit code $rc"; continue; }
	grep -q '^seed [0-9]*: DIFFERENT' "$work/out" || fail "mistake $mistake: the seed is not told"
	n=$(wc -l <"$work/script")
	[ "$n" -ge 1 ] && [ "$n" -le $at_most ] || fail "mistake $mistake: shrunk to $n operations"
	run --replay "$work/script" --break "$mistake"
	rc=$?
	[ $rc = 1 ] || fail "mistake $mistake: exit code $rc when replayed"
	run --replay "$work/script" || fail "mistake $mistake: its script differs without the mistake"
	echo "mistake $mistake: $n operations"
	n_mistakes=$((${n_mistakes:-0} + 1))
done
[ "${n_mistakes:-0}" -ge 10 ] || fail "only ${n_mistakes:-0} mistakes were tried"
exit $failed
