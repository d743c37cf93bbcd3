#!/bin/bash
# A mount whose daemon is killed again and again, and upgraded, while applications use it: none of them notices.
#
# usage: takeover.sh [BUILD-DIR] [SECONDS]		as root; about 50 s more than SECONDS (15)
set -uo pipefail

here=$(realpath "$(dirname "$0")")
# shellcheck source=tools/lib.sh
. "$here/../../tools/lib.sh"
build=$(realpath "${1:-$here/../../build}")
seconds=${2:-15}
embassy=$build/tools/embassy
[ "$(id -u)" = 0 ] || { echo "takeover: it mounts; run it as root" >&2; exit 1; }

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-takeover.XXXXXX")
mnt=$w/mnt
embassyfs=$w/bin/embassyfs # a file of our own, to be replaced
mkdir "$w/bin"
cp "$build/fs/fuse/embassyfs" "$embassyfs"
seed=${SEED:-$RANDOM}
passed=0 failed=0
echo "SEED=$seed"

daemon() { daemon_of "$mnt"; }

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
	# shellcheck disable=SC2086 # nothing, or one word
	"$embassyfs" "$w/vol" "$mnt" ${foreground--f} -o "passphrase-file=$w/pass${1:+,$1}" >>"$w/log" 2>&1 &
	supervisor=$!
	for i in $(seq 300); do
		grep -qs " $mnt fuse.embassyfs " /proc/mounts && status head >/dev/null 2>&1 && return
		sleep 0.05
	done
	echo "it does not come up"
	cat "$w/log"
	return 1
}

# replace FILE: as a package manager would.
replace() { cp "$1" "$w/bin/new" && chmod 755 "$w/bin/new" && mv "$w/bin/new" "$embassyfs"; }

# upgrade CODE PATTERN: the command's exit code and words.
upgrade() {
	local rc
	timeout 60 "$embassy" upgrade "$mnt"
	rc=$?
	[ $rc = "$1" ] && grep -q "$2" "$w/out" || { echo "exit code $rc, expected $1, and '$2'"; return 1; }
}

unmount() { timeout 60 umount "$mnt" && wait_until 20 gone && wait "$supervisor"; }

kill_daemon() {
	local pid
	pid=$(daemon)
	[ -n "$pid" ] && kill -KILL "$pid" && wait_until 20 another "$pid"
}

jobs_all=(append names unlinked locks mapped database past held)
declare -A pids

start_load() {
	rm -f "$w/stop"*
	mkdir "$mnt/load"
	for j in "${jobs_all[@]}"; do
		if [ "$j" = past ] || [ "$j" = held ]; then
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
	[ "$1" = past ] || [ "$1" = held ] && at=$mnt
	timeout 60 python3 "$here/takeover_load.py" "$at" "$w/stop" "$seed" "$1" --after
}

all_run() {
	local j
	for j in "${jobs_all[@]}"; do
		kill -0 "${pids[$j]}" 2>/dev/null || { echo "$j has ended:"; cat "$w/err.$j"; return 1; }
	done
}

mkdir "$mnt"
(umask 077 && echo "correct horse" >"$w/pass")
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
	if [ $((kills % 5)) = 2 ]; then
		pid=$(daemon)
		t "an upgrade" upgrade 0 'version .* goes on where'
		t "another daemon serves" another "$pid"
	fi
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

# Killed when a change was made and not answered, for each kind of change.
t "changes without an answer" timeout 200 python3 "$here/takeover_answers.py" "$mnt" "$w"
t "unmount" unmount
t "mount anew" mount_it
t "they were made once" python3 "$here/takeover_answers.py" "$mnt" "$w" --after

# New programs that are none: one that is no program, one that says yes and then fails.
printf '#!/bin/false\n' >"$w/broken"
cat >"$w/liar" <<'END'
#!/usr/bin/python3
import socket, struct
s = socket.socket(fileno=3)
socket.recv_fds(s, 16, 4)
s.send(struct.pack('4I', 6, 0, 0, 0))
s.recv(16)
END
echo before >"$mnt/before"
pid=$(daemon)
t "replaced" replace "$w/broken"
t "an upgrade to what does not start" upgrade 1 'goes on'
t "leaves the daemon alone" test "$(daemon)" = "$pid"
t "replaced" replace "$w/liar"
t "an upgrade to what fails halfway" upgrade 1 'did not come to serve.*goes on'
t "has the old program serve again" another "$pid"
t "status says why" bash -c "[[ '$(status upgrade_failure)' == *'did not come'* ]]"
t "what was written is there" test "$(cat "$mnt/before")" = before
t "replaced" replace "$build/fs/fuse/embassyfs"
t "an upgrade to a good one" upgrade 0 'goes on where'
t "status says nothing of failures" test "$(status upgrade_failure)" = ''
t "not by others" bash -c "! setpriv --reuid 65534 --clear-groups '$embassy' upgrade '$mnt'"
t "killed after an upgrade" kill_daemon
t "what was written is there" test "$(cat "$mnt/before")" = before

# SIGTERM to the first supervisor comes to the daemon, through all that stand between.
t "asked to end" kill -TERM "$supervisor"
t "it ends" wait_until 20 gone
t "and its supervisor, with 0" wait "$supervisor"
t "it is no mount any more" bash -c "! grep -qs ' $mnt ' /proc/mounts"

# In the background; and a view.
foreground=
for options in '' ro; do
	t "mount in the background ${options:+, $options}" mount_it "$options"
	t "killed" kill_daemon
	pid=$(daemon)
	first=$(ps -o ppid= -p "$pid" | tr -d ' ')
	t "upgraded" upgrade 0 'goes on where'
	t "the first supervisor has ended" wait_until 5 bash -c "[ ! -d /proc/$first ]"
	t "killed again" kill_daemon
	t "what was written is there" test "$(cat "$mnt/before")" = before
	t "unmount" bash -c "umount '$mnt'"
	t "it ends" wait_until 20 gone
done
unset foreground
t "mount again" mount_it

# A kernel that gives no request again: what is under way fails, all else goes on.
t "unmount" unmount
export LD_PRELOAD=$build/tests/e2e/libold_kernel.so
t "mount as on a kernel before 6.9" mount_it
unset LD_PRELOAD
echo open >"$mnt/open"
exec 7<"$mnt/open"
t "changes without an answer fail" timeout 100 python3 "$here/takeover_answers.py" "$mnt" "$w" --no-resend
t "an open file goes on" bash -c 'read -r x <&7 && [ "$x" = open ]'
exec 7<&-
t "it is said why" grep -q 'those under way fail' "$w/log"
t "unmount" unmount
t "mount again" mount_it
t "they were made all the same" python3 "$here/takeover_answers.py" "$mnt" "$w" --after --no-resend

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
t "it is dead" wait_until 5 bash -c "! ls '$mnt' 2>/dev/null"
umount "$mnt"

echo "$kills kills; $passed passed, $failed failed"
[ "$failed" = 0 ]
