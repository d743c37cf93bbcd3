#!/bin/bash
# A mount whose daemon is killed again and again, and upgraded, while applications use it: none of them notices.
#
# usage: takeover.sh [BUILD-DIR] [SECONDS]		as root; about 20 s more than SECONDS (25)
set -uo pipefail

here=$(realpath "$(dirname "$0")")
build=$(realpath "${1:-$here/../../build}")
seconds=${2:-25}
embassy=$build/tools/embassy
embassyfs=$build/fs/fuse/embassyfs
[ "$(id -u)" = 0 ] || { echo "takeover: it mounts; run it as root" >&2; exit 1; }

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-takeover.XXXXXX")
mnt=$w/mnt
seed=${SEED:-$RANDOM}
passed=0 failed=0
echo "SEED=$seed"

# The process that serves the mount: its supervisor goes by another name and command line.
daemon() {
	local pid
	for pid in $(pgrep -x embassyfs); do
		tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$mnt" && echo "$pid"
	done | head -1
}

cleanup() {
	local sup=${supervisor:-}
	trap - EXIT
	touch "$w/stop"
	# shellcheck disable=SC2046
	kill $(jobs -p) 2>/dev/null
	umount "$mnt" 2>/dev/null || umount -l "$mnt" 2>/dev/null
	wait 2>/dev/null
	[ -n "$sup" ] && [ "$(cat "/proc/$sup/comm" 2>/dev/null)" = embassyfs-super ] && kill -KILL "$sup"
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

t() { # t NAME COMMAND...: silent if it passes
	local name=$1
	shift
	if "$@" >"$w/out" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED $name"
		head -n 20 "$w/out"
	fi
}

within() { # within SECONDS COMMAND...: it succeeds in that time
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.02
	done
}

# status FILTER: a member of the mount's status.
status() { timeout 30 python3 -c 'import json, sys
print(json.load(open(sys.argv[1] + "/.embassy/status"))[sys.argv[2]])' "$mnt" "$1"; }

another() { # another PID: a daemon that is not PID serves
	local now
	now=$(daemon)
	[ -n "$now" ] && [ "$now" != "$1" ]
}

gone() { [ -z "$(daemon)" ]; }

# What the supervisor says comes to ${w}/log.
mount_it() {
	local i
	"$embassyfs" "$w/vol" "$mnt" -f -o "passphrase-file=$w/pass${1:+,$1}" >>"$w/log" 2>&1 &
	supervisor=$!
	for i in $(seq 300); do
		grep -qs " $mnt fuse.embassyfs " /proc/mounts && status head >/dev/null 2>&1 && return
		sleep 0.05
	done
	echo "it does not come up"
	cat "$w/log"
	return 1
}

unmount() { timeout 60 umount "$mnt" && within 20 gone && wait "$supervisor"; }

kill_daemon() {
	local pid
	pid=$(daemon)
	[ -n "$pid" ] && kill -KILL "$pid" && within 20 another "$pid"
}

jobs_all=(append names unlinked locks mapped database past)
declare -A pids

start_load() {
	rm -f "$w/stop"*
	mkdir "$mnt/load"
	for j in "${jobs_all[@]}"; do
		if [ "$j" = past ]; then
			python3 "$here/takeover_load.py" "$mnt" "$w/stop" "$seed" "$j" 2>"$w/err.$j" &
		else
			python3 "$here/takeover_load.py" "$mnt/load" "$w/stop" "$seed" "$j" 2>"$w/err.$j" &
		fi
		pids[$j]=$!
	done
}

# job_ended JOB: it noticed nothing.
job_ended() { wait "${pids[$1]}" || { cat "$w/err.$1"; return 1; }; }

job_after() {
	local at=$mnt/load
	[ "$1" = past ] && at=$mnt
	timeout 60 python3 "$here/takeover_load.py" "$at" "$w/stop" "$seed" "$1" --after
}

all_run() {
	local j
	for j in "${jobs_all[@]}"; do
		kill -0 "${pids[$j]}" 2>/dev/null || { echo "$j has ended:"; cat "$w/err.$j"; return 1; }
	done
}

mkdir "$mnt"
echo "correct horse" >"$w/pass"
"$embassy" init "$w/vol" --passphrase-file "$w/pass" >/dev/null || exit 1

t "mount" mount_it
t "the supervisor is another process" bash -c "[ '$(daemon)' != '$supervisor' ] && [ -d /proc/$supervisor ]"
t "it says so of itself" grep -qa '^embassyfs: supervisor' "/proc/$supervisor/cmdline"
t "and does not name the mount" bash -c "! grep -qaF '$mnt' /proc/$supervisor/cmdline"
t "it has one thread" bash -c "[ \$(ls /proc/$supervisor/task | wc -l) = 1 ]"

# Killed again and again, at random moments, under load.
start_load
sleep 1
kills=0
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
	t "the daemon is killed, another serves" kill_daemon
	kills=$((kills + 1))
	sleep "$(awk -v r=$RANDOM 'BEGIN {printf "%.3f", 0.7 + r / 32768}')"
	all_run >/dev/null || break
done
t "no application noticed" all_run
touch "$w/stop"
for j in "${jobs_all[@]}"; do
	t "job $j" job_ended "$j"
done
for j in "${jobs_all[@]}"; do
	t "what $j left" job_after "$j"
done
t "status counts takeovers" test "$(status takeovers)" -ge "$kills"
t "and says when the last was" bash -c "[[ '$(status takeover_time)' == 20* ]]"
t "a write, a kill at once, an unmount at once" bash -c "echo last >'$mnt/last' && kill -KILL $(daemon)"
t "unmount" unmount
t "the volume is sound" "$embassy" check "$w/vol" --passphrase-file "$w/pass" --read-data
t "mount again" mount_it
for j in "${jobs_all[@]}"; do
	t "what $j left, mounted anew" job_after "$j"
done
t "the last write" test "$(cat "$mnt/last")" = last

# A crash loop ends, with words.
crash_loop() {
	local i pid
	for i in $(seq 400); do
		pid=$(daemon)
		[ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null
		[ -d "/proc/$supervisor" ] || return 0
		sleep 0.03
	done
	echo "the supervisor goes on"
	return 1
}
t "a crash loop is given up" crash_loop
t "with a message" grep -q 'giving up' "$w/log"
t "the mount is gone then" bash -c "! ls '$mnt' 2>/dev/null"
umount "$mnt"
t "what was durable is there" mount_it
t "still" test "$(cat "$mnt/last")" = last

# Without a supervisor the mount dies with its daemon.
t "unmount" unmount
t "mount without a supervisor" mount_it nosupervise
t "is one process" test "$(daemon)" = "$supervisor"
t "killed" kill -KILL "$supervisor"
t "it is dead" within 5 bash -c "! ls '$mnt' 2>/dev/null"
umount "$mnt"

echo "$kills kills; $passed passed, $failed failed"
[ "$failed" = 0 ]
