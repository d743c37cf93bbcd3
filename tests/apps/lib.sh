# What the tests of applications share: a fresh volume, mounted; one line for each check; and at
# the end the volume is unmounted and found sound.  Sourced by the scripts beside it, which are
# called as NAME.sh BUILD-FOLDER [--full].
# shellcheck shell=bash disable=SC2034 # used by those who source it

# shellcheck source=tools/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/lib.sh"
app=$(basename "$0" .sh)
[ $# -ge 1 ] && [ $# -le 2 ] && [ "${2:---full}" = --full ] || {
	echo "usage: $app.sh BUILD-FOLDER [--full]" >&2
	exit 2
}
build=$(cd "$1" && pwd) || exit 2
full=${2:+1}
embassyfs=$build/fs/fuse/embassyfs
embassy=$build/tools/embassy
for program in "$embassyfs" "$embassy"; do
	[ -x "$program" ] || { echo "$app: $program: not built; run ninja first" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "$app: it mounts; run it as root" >&2; exit 2; }

# needs PROGRAM PACKAGE: without it there is nothing to test, which is said and is exit code 77.
needs() {
	command -v "$1" >/dev/null && return
	echo "skipped: $app: $1 is missing; apt-get install $2"
	exit 77
}

# pick SMALL FULL: a size, by the scale asked for.
pick() {
	if [ -n "$full" ]; then echo "$2"; else echo "$1"; fi
}

passed=0 failed=0
started=$SECONDS
work=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-$app.XXXXXX") || exit 2
chmod 755 "$work"
vol=$work/vol mnt=$work/mnt
mkdir "$mnt"
(umask 077 && head -c 24 /dev/urandom | base64 >"$work/pass")

# Processes with $1 in an argument, ourselves excepted.  Without a fork, since there may be many
# processes.
pids_with() {
	local dir argv
	for dir in /proc/[0-9]*; do
		[ "${dir#/proc/}" = $$ ] && continue
		mapfile -d '' -t argv 2>/dev/null <"$dir/cmdline" || continue
		[[ " ${argv[*]}" == *"$1"* ]] && echo "${dir#/proc/}"
	done 2>/dev/null
}

# Those that serve the mount: the daemon, by the name embassyfs, and its helper, whose name goes on.
servers() { # servers PATTERN: of the name
	local pid
	for pid in $(pids_with "$mnt"); do
		# shellcheck disable=SC2053 # a pattern
		[[ $(cat "/proc/$pid/comm" 2>/dev/null) == $1 ]] && echo "$pid"
	done
}
daemon_pid() { servers embassyfs; }
no_daemon() { [ -z "$(servers 'embassyfs*')" ]; }

# wait_lines N FILE PID: until the process has written so many; false if it ends before.
wait_lines() {
	while [ "$(wc -l <"$2")" -lt "$1" ]; do
		kill -0 "$3" 2>/dev/null || return
		sleep 0.05
	done
}

# Whatever a script starts has the work folder in an argument, or ends with what does.
# shellcheck disable=SC2046 # a list of process ids
clean_up() {
	kill -KILL $(pids_with "$work/") 2>/dev/null
	mounted && { umount "$mnt" 2>/dev/null || umount -l "$mnt"; }
	rm -rf --one-file-system "$work"
}

finish() {
	local code=$?
	trap - EXIT
	kill "$guard" 2>/dev/null
	if [ $code != 0 ] && [ -n "${EMBASSYFS_KEEP:-}" ]; then
		echo "$app: $work is kept for a look, with all that runs on it" >&2
	else
		clean_up
	fi
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# If the script is killed outright, its guard takes down what it left.
(
	trap '' INT HUP
	trap - EXIT
	while kill -0 $$ 2>/dev/null; do sleep 1; done
	clean_up
) >/dev/null 2>&1 &
guard=$!

say() { printf '%4d s  %s\n' $((SECONDS - started)) "$*"; }

# check WORDS COMMAND...: run it; one line either way.
check() {
	local words=$1
	shift
	if "$@" >"$work/out" 2>&1; then
		passed=$((passed + 1))
		say "ok    $words"
	else
		failed=$((failed + 1))
		say "FAIL  $words"
		head -n "${lines_max:-20}" "$work/out" | sed 's/^/            /'
		tail -n 20 "$work/log" | sed 's/^/   daemon:  /'
		return 1
	fi
}

give_up() {
	echo "$app: cannot go on: $*" >&2
	echo "$passed passed, $((failed + 1)) failed"
	exit 1
}

mounted() { grep -qs " $mnt fuse.embassyfs " /proc/mounts; }
not_mounted() { ! mounted; }

# The daemon stays in the foreground, so that what it has to say is in a log and is shown beside a check that fails.
mount_it() {
	local pid end=$((SECONDS + 60))
	"$embassyfs" "$vol" "$mnt" -f -o "nosupervise,allow_other,passphrase-file=$work/pass" >>"$work/log" 2>&1 &
	pid=$!
	until mounted; do
		if ! kill -0 "$pid" 2>/dev/null || [ $SECONDS -ge $end ]; then
			kill -KILL "$pid" 2>/dev/null
			tail -n 3 "$work/log"
			return 1
		fi
		sleep 0.05
	done
	disown "$pid"
}

# Until nobody serves the volume any more, so that it can be checked or mounted again.
unmount_it() {
	umount "$mnt" || { ps -ef | grep -F "$work"; return 1; }
	wait_until 30 not_mounted && wait_until 60 no_daemon
}

# None of the processes executes any more: each is stopped, gone, or in a call and stopped when that returns.
frozen() { # frozen PID...
	local pid line
	for pid in "$@"; do
		line=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
		[[ ${line##*) } == [TDZ]* ]] || return
	done
}

# kill_mount [PID...]: the power fails, and takes these processes too: what nobody synced may be gone, the rest must not.
# They are stopped; the caller ends them.  One that went on could sync a folder by its path, be told by the folder that lies
# under the mount that all is well, and tell us so: SQLite does after it has removed its journal.
kill_mount() {
	local pid
	if [ $# -gt 0 ]; then
		kill -STOP "$@"
		wait_until 30 frozen "$@" || { echo "processes do not stop"; return 1; }
	fi
	pid=$(daemon_pid)
	[ -n "$pid" ] || { echo "nobody serves $mnt"; return 1; }
	kill -KILL "$pid"
	wait_until 30 no_daemon || { echo "the mount's processes do not end"; return 1; }
	if mounted; then umount -l "$mnt"; fi
	mount_it
}

# remount: everything cached is gone afterwards.
remount_it() { unmount_it && mount_it; }

sound() {
	"$embassy" check "$vol" --read-data --passphrase-file "$work/pass" && return
	echo "embassy check: exit code $?"
	return 1
}

# The end of every script: also in view of what came before, is the volume sound?
conclude() {
	check "unmounted" unmount_it || give_up "the mount is busy"
	check "embassy check --read-data: the volume is sound" sound
	echo "$passed passed, $failed failed"
	[ $failed = 0 ]
	exit
}

"$embassy" init "$vol" --passphrase-file "$work/pass" >/dev/null || exit 2
mount_it || exit 2
say "$app: on a fresh volume$(pick '' ', in full')"
