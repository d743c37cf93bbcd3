#!/bin/bash
# How a mount ends, and what it rests on meanwhile: its path leads elsewhere, its processes are killed in any order, an
# embassy does not answer.  Nothing that was written is lost by an orderly end, and nothing hangs.
#
# usage: stop.sh [BUILD-DIR] [--memory]		as root; 3 min
#   --memory: also with little memory, shared by daemon and programs; how long that takes depends on the disk
set -uo pipefail

here=$(realpath "$(dirname "$0")")
# shellcheck source=tools/lib.sh
. "$here/../../tools/lib.sh"
memory=''
[ "${!#}" = --memory ] && memory=1 && set -- "${@:1:$#-1}"
build=$(realpath "${1:-$here/../../build}")
embassy=$build/tools/embassy
[ "$(id -u)" = 0 ] || { echo "stop: it mounts; run it as root" >&2; exit 1; }

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-stop.XXXXXX")
mkdir -p "$w/bin" "$w/a/mnt" "$w/other"
mnt=$w/a/mnt
embassyfs=$w/bin/embassyfs # a file of our own, to be replaced
cp "$build/fs/fuse/embassyfs" "$embassyfs"
passed=0 failed=0
bytes=$((4 << 20)) # what a program holds dirty
holder='' server='' keeper='' group=''

cleanup() {
	local m p
	trap - EXIT
	[ -z "$server" ] || kill -CONT "$server" 2>/dev/null
	[ -z "$group" ] || end_group
	# shellcheck disable=SC2046
	kill $(jobs -p) 2>/dev/null
	for _ in 1 2 3; do
		awk -v w="$w/" 'index($5, w) == 1 {print $5}' /proc/self/mountinfo | tac | while read -r m; do
			umount "$m" 2>/dev/null || umount -l "$m"
		done
	done
	for p in $(pids_of "$embassyfs" "$w/"); do
		# shellcheck disable=SC2046
		kill -KILL $(supervisors_of "$p") "$p" 2>/dev/null
	done
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

status() { timeout 30 python3 -c 'import json, sys
print(json.load(open(sys.argv[1] + "/.embassy/status"))[sys.argv[2]])' "$mnt" "$1"; }

daemon() { daemon_of "$mnt"; }
gone() { [ -z "$(daemon)" ]; }
another() { # another PID: a daemon that is not PID serves
	local now
	now=$(daemon)
	[ -n "$now" ] && [ "$now" != "$1" ]
}
child_of() { # child_of PID NAME
	pgrep -P "$1" -x "$2" | head -1
}
supervisor_of() { ps -o ppid= -p "$1" | tr -d ' '; }

mount_it() { # mount_it [OPTIONS]: its words come to ${w}/log
	local i
	"$embassyfs" "$w/vol" "$mnt" -f -o "flush=3600,passphrase-file=$w/pass${1:+,$1}" >>"$w/log" 2>&1 9<&- &
	supervisor=$!
	for i in $(seq 600); do
		grep -qs " $mnt fuse.embassyfs " /proc/mounts && status head >/dev/null 2>&1 && return
		[ -d /proc/$supervisor ] || break
		sleep 0.05
	done
	echo "it does not come up"
	tail -3 "$w/log"
	return 1
}
unmount() { umount "$mnt" && wait_until 60 gone; }

cat >"$w/hold.py" <<'END'
# Writes a file behind a hole and keeps it open, unflushed, until it is killed.
import os, signal, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
n = int(sys.argv[3])
os.ftruncate(fd, n + (64 << 20))
for i in range(0, n, 1 << 20):
    os.pwrite(fd, b"D" * min(n - i, 1 << 20), (1 << 20) + i)
open(sys.argv[2], "w").close()
signal.pause()
END
# hold FILE: by another process.
hold() {
	rm -f "$w/held"
	python3 "$w/hold.py" "$1" "$w/held" $bytes 9<&- &
	holder=$!
	wait_until 20 test -e "$w/held"
}
let_go() { kill -KILL "$holder" && { wait "$holder"; } 2>/dev/null; [ -n "$holder" ]; }
has_all() { # has_all FILE
	local n
	n=$(tr -cd D <"$1" | wc -c)
	[ "$n" = $bytes ] || { echo "$n of $bytes bytes are there"; return 1; }
}
copies_all() { timeout 60 cp --sparse=auto "$1" "$w/copy" && has_all "$w/copy"; }

# Ways in which the mount's path leads elsewhere; each sets $seen, where the mount can still be seen.
away() {
	exec 9<"$mnt"
	seen=$mnt
	case $1 in
	renamed) mv "$w/a" "$w/b" && seen=$w/b/mnt ;;
	moved) mount --make-private "$mnt" && mount --move "$mnt" "$w/other" && seen=$w/other ;;
	bound)
		exec 9<&-
		mount --bind "$mnt" "$w/other" && umount "$mnt" && seen=$w/other
		;;
	covered) mount -t tmpfs cover "$mnt" && seen=/proc/$$/fd/9/. ;;
	buried) mount -t tmpfs cover "$w/a" && seen=/proc/$$/fd/9/. ;;
	detached) umount -l "$mnt" && seen=/proc/$$/fd/9/. ;;
	elsewhere)
		exec 9<&-
		# Mounts of others, which are in its copy too, would live as long as it.
		unshare -m --propagation private bash -c "awk -v w='$w/' 'index(\$5, w) != 1 && / fuse.embassyfs / {print \$5}' \
			/proc/self/mountinfo | xargs -rn1 umount -l 2>/dev/null; exec sleep 1000" &
		keeper=$!
		wait_until 20 bash -c "! [ /proc/self/ns/mnt -ef /proc/$keeper/ns/mnt ]" &&
			umount "$mnt" && seen=/proc/$keeper/root$mnt
		;;
	esac
}
back() {
	exec 9<&-
	[ -z "$keeper" ] || kill -KILL "$keeper"
	keeper=''
	case $1 in
	renamed) mv "$w/b" "$w/a" ;;
	covered) umount "$mnt" ;;
	buried) umount "$w/a" ;;
	esac
	while grep -qs " $mnt fuse.embassyfs " /proc/mounts; do umount -l "$mnt" || return; done
}

mkdir -p "$mnt"
(umask 077 && echo "correct horse" >"$w/pass")
"$embassy" init "$w/vol" --passphrase-file "$w/pass" >/dev/null || exit 1
cover_of() { grep -c "^[^ ]* $1 tmpfs " /proc/mounts; }

for way in '' renamed moved bound covered buried detached elsewhere; do
	about="${way:-in place}: "
	t "mount" mount_it
	t "led away" away "$way"
	t "a program writes" hold "$seen/open"
	t "a copy of what is not written back is whole" copies_all "$seen/open"
	t "another is written and closed" bash -c "printf 'D%.0s' {1..65536} >'$seen/closed'"
	pid=$(pids_of "$embassyfs" "$mnt" | head -1)
	let_go
	t "a program writes" hold "$seen/open"
	t "asked to end" kill -TERM "$supervisor"
	t "it ends with 0" timeout 60 tail --pid="$supervisor" -f /dev/null
	[ "$way" != covered ] || t "what lies on top stays" test "$(cover_of "$mnt")" = 1
	[ "$way" != buried ] || t "what lies on top stays" test "$(cover_of "$w/a")" = 1
	t "its processes have ended" wait_until 10 bash -c "! [ -d /proc/${pid:-none} ]"
	let_go
	t "the path leads back" back "$way"
	t "mount" mount_it
	t "what was open is whole" has_all "$mnt/open"
	t "what was closed is whole" test "$(tr -cd D <"$mnt/closed" | wc -c)" = 65536
	t "unmount" unmount
done

# Covered, and nobody has anything open.
about='covered, closed: '
t "mount" mount_it
printf 'D%.0s' {1..65536} >"$mnt/closed"
t "covered" mount -t tmpfs cover "$mnt"
t "asked to end" kill -TERM "$supervisor"
t "it ends" timeout 60 tail --pid="$supervisor" -f /dev/null
t "what lies on top stays" test "$(cover_of "$mnt")" = 1
t "that it stays is said" grep -q 'another mount lies on it' "$w/log"
t "uncovered" umount "$mnt"
t "a dead mount is refused, with the way out" bash -c "! '$embassyfs' '$w/vol' '$mnt' -o passphrase-file='$w/pass' 2>'$w/err' &&
	grep -q 'run fusermount3 -u' '$w/err'"
t "which works" fusermount3 -u "$mnt"
t "mount" mount_it
t "all is there" test "$(tr -cd D <"$mnt/closed" | wc -c)" = 65536

# The helper process is killed, in whose absence nothing may be lost.
about='without its helper: '
t "a program writes" hold "$mnt/open"
t "killed" kill -KILL "$(child_of "$(daemon)" embassyfs-sync)"
t "a copy is whole" copies_all "$mnt/open"
t "killed again" kill -KILL "$(child_of "$(daemon)" embassyfs-sync)"
t "asked to end" kill -TERM "$supervisor"
t "it ends" timeout 60 tail --pid="$supervisor" -f /dev/null
let_go
t "mount" mount_it
t "what was open is whole" has_all "$mnt/open"

# SIGTERM, then SIGKILL, as systemd does it: first before the daemon could do anything, then while what is dirty is on its
# way, which is caught soon enough in one of some trials.
about='killed in the end: '
killed_in_the_end() { # killed_in_the_end PID: it has no thread left, the end comes, and nothing was lost
	wait_until 20 bash -c "! grep -qs '^State:.D' /proc/$1/task/*/status" || { echo "it hangs"; return 1; }
	timeout 60 tail --pid="$supervisor" -f /dev/null || { echo "the end does not come"; return 1; }
	let_go
	! grep -qs " $mnt " /proc/mounts || { echo "it is mounted still"; return 1; }
	mount_it && has_all "$mnt/open"
}
t "a program writes" hold "$mnt/open"
pid=$(daemon)
kill -STOP "$pid"
t "the daemon is stopped" wait_until 20 grep -q '^State:.T' "/proc/$pid/status"
t "the supervisor is asked to end" kill -TERM "$supervisor"
t "which asks the daemon" wait_until 20 grep -q '^ShdPnd:.*4...$' "/proc/$pid/status"
kill -KILL "$pid"
t "before it could" killed_in_the_end "$pid"
bytes=$((256 << 20)) caught=
for trial in 1 2 3 4 5 6; do
	t "a program writes" hold "$mnt/open"
	pid=$(daemon)
	kill -TERM "$pid"
	# Whoever waits for the mount, of the daemon's threads and its helper.
	for _ in $(seq 2000); do
		grep -qs '^State:.D' "/proc/$pid"/task/*/status "/proc/$(child_of "$pid" embassyfs-sync)/status" &&
			caught=$trial && break
		[ -d "/proc/$pid" ] || break
	done
	kill -KILL "$pid" 2>/dev/null
	t "in the middle" killed_in_the_end "$pid"
	[ -z "$caught" ] || break
done
t "it was caught in the middle" test -n "$caught"
bytes=$((4 << 20))

# In use by programs that write and ask where data is, for which somebody has to wait until it is written back: what
# waits when nobody serves the mount any more must not keep its processes from ending.
about='asked for holes in the end: '
cat >"$w/seek.py" <<'END'
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, 1 << 30)
n = 0
while True:
    n += 1
    os.pwrite(fd, b"D" * (256 << 10), (n % 100) << 20)
    os.lseek(fd, 0, os.SEEK_DATA)
    if n == 20:
        open(sys.argv[2], "w").close()
END
seekers=()
seek() {
	rm -f "$w"/seeking.*
	for i in 1 2 3; do
		python3 "$w/seek.py" "$mnt/seek$i" "$w/seeking.$i" 2>/dev/null 9<&- &
		seekers+=($!)
	done
	t "programs write and ask" wait_until 60 test -e "$w/seeking.1" -a -e "$w/seeking.2" -a -e "$w/seeking.3"
}
seek_no_more() {
	kill -KILL "${seekers[@]}" 2>/dev/null
	{ wait "${seekers[@]}"; } 2>/dev/null
	seekers=()
}
for trial in 1 2; do
	seek
	pid=$(daemon)
	t "asked to end" kill -TERM "$pid"
	t "it ends" timeout 60 tail --pid="$supervisor" -f /dev/null
	t "so has the daemon" test ! -d "/proc/$pid"
	seek_no_more
	t "mount" mount_it
done
t "what they wrote goes" rm -f "$mnt"/seek[123]

# The supervisor is killed; before and after the daemon.
about='the supervisor killed: '
echo before >"$mnt/before"
for round in 1 2; do
	pid=$(daemon)
	first=$(supervisor_of "$pid")
	t "killed" kill -KILL "$first"
	t "the daemon serves on" test "$(cat "$mnt/before")" = before
	t "it gets another" wait_until 20 bash -c "[ -n \"\$(pgrep -P $pid -x embassyfs-super)\" ] && grep -q '\"supervised\": true' '$mnt/.embassy/status'"
	t "the daemon is the same" test "$(daemon)" = "$pid"
	t "killed" kill -KILL "$pid"
	t "another serves" wait_until 20 another "$pid"
	t "what was written is there" test "$(cat "$mnt/before")" = before
done
t "both are told" bash -c "grep -q 'its supervisor has gone' '$w/log' && grep -q 'it has a new supervisor' '$w/log'"
pid=$(daemon)
t "killed" kill -KILL "$(supervisor_of "$pid")"
t "it gets another" wait_until 20 bash -c "[ -n \"\$(pgrep -P $pid -x embassyfs-super)\" ] && grep -q '\"supervised\": true' '$mnt/.embassy/status'"
t "upgraded by the new one" timeout 60 "$embassy" upgrade "$mnt"
t "another serves" another "$pid"

# No process but the supervisor has the keys' page mapped.
about='keys: '
keys_mapped() { grep -c 'memfd:embassyfs keys' "/proc/$1/maps"; }
pid=$(daemon)
t "the supervisor maps them" test "$(keys_mapped "$(supervisor_of "$pid")")" = 1
t "the daemon does not" test "$(keys_mapped "$pid")" = 0
t "nor the helper that a successor forked" test "$(keys_mapped "$(child_of "$pid" embassyfs-sync)")" = 0
t "unmount" unmount
t "mount" mount_it
t "nor the first one's" test "$(keys_mapped "$(child_of "$(daemon)" embassyfs-sync)")" = 0

# SIGTERM while an upgrade is under way: before the new program has said that it can, and after the daemon was killed.
about='an end amid an upgrade: '
cat >"$w/slow" <<END
#!/bin/bash
touch '$w/started'
while ! [ -e '$w/go' ]; do sleep 0.05; done
exec '$build/fs/fuse/embassyfs' "\$@"
END
cat >"$w/liar" <<END
#!/usr/bin/python3
import os, socket, struct, time
s = socket.socket(fileno=3)
socket.recv_fds(s, 64, 8)
s.send(struct.pack('4I', 6, 0, 0, 0))
s.recv(16)
open('$w/started', 'w').close()
while not os.path.exists('$w/go'): time.sleep(0.05)
END
for program in slow liar; do
	rm -f "$w/started" "$w/go"
	chmod 755 "$w/$program"
	mv "$w/$program" "$embassyfs"
	timeout 60 "$embassy" upgrade "$mnt" >/dev/null 2>&1 &
	t "half done" wait_until 20 test -e "$w/started"
	t "asked to end" kill -TERM "$supervisor"
	touch "$w/go"
	t "it ends" timeout 60 tail --pid="$supervisor" -f /dev/null
	t "it is no mount any more" bash -c "! grep -qs ' $mnt ' /proc/mounts"
	cp "$build/fs/fuse/embassyfs" "$w/bin/new"
	mv "$w/bin/new" "$embassyfs"
	t "mount" mount_it
done

# A new program that ends instead of serving, when the daemon is dead already, and its helper waits for the mount: what was
# there goes on.
about='an upgrade that comes to nothing: '
cat >"$w/liar" <<END
#!/usr/bin/python3
import os, socket, struct
s = socket.socket(fileno=3)
socket.recv_fds(s, 64, 8)
s.send(struct.pack('4I', 6, 0, 0, 0))
s.recv(16)
END
chmod 755 "$w/liar"
for trial in 1 2; do
	seek
	cp "$w/liar" "$w/bin/new" && mv "$w/bin/new" "$embassyfs"
	t "it fails" bash -c "! timeout 60 '$embassy' upgrade '$mnt' 2>/dev/null"
	cp "$build/fs/fuse/embassyfs" "$w/bin/new" && mv "$w/bin/new" "$embassyfs"
	t "the mount is served" timeout 30 cat "$mnt/before"
	seek_no_more
done

# The volume's folder goes elsewhere, or something is mounted over it: a successor finds it.
about='the volume led away: '
pid=$(daemon)
t "renamed" mv "$w/vol" "$w/vol2"
t "killed" kill -KILL "$pid"
t "another serves" wait_until 20 another "$pid"
t "what was written is there" test "$(cat "$mnt/before")" = before
t "renamed back" mv "$w/vol2" "$w/vol"
pid=$(daemon)
t "the mount is bound over it" mount --bind "$mnt" "$w/vol"
t "killed" kill -KILL "$pid"
t "another serves" wait_until 20 another "$pid"
t "what was written is there" timeout 30 cat "$mnt/before"
t "unbound" umount "$w/vol"

# Where it can't be mounted, and what is said.
about='refused: '
refused() { # refused VOLUME MOUNT WORDS
	! timeout 60 "$embassyfs" "$1" "$2" -o "passphrase-file=$w/pass" 2>"$w/err" && grep -q "$3" "$w/err" ||
		{ cat "$w/err"; return 1; }
}
t "a live mount" refused "$w/vol" "$mnt" 'mounted there already'
t "unmount" unmount
t "the volume itself" refused "$w/vol" "$w/vol" "the volume's own folder"
mkdir -p "$w/above/below" "$w/full" "$w/link"
t "moved" mv "$w/vol" "$w/above/below/vol"
t "a folder above it" refused "$w/above/below/vol" "$w/above" "the volume's own folder"
rmdir "$w/link"
ln -s above/below "$w/link"
t "by another name" refused "$w/above/below/vol" "$w/link" "the volume's own folder"
t "moved back" mv "$w/above/below/vol" "$w/vol"
touch "$w/full/file"
t "a folder that is not empty" refused "$w/vol" "$w/full" 'not empty.*-o nonempty'
t "a file" refused "$w/vol" "$w/full/file" 'not a folder'
t "unless it is asked for" "$embassyfs" "$w/vol" "$w/full" -o "nonempty,passphrase-file=$w/pass"
t "unmount" umount "$w/full"

# An embassy is stopped in the middle of data: closing does not wait for it, nor does the next mount.
about='a stopped embassy: '
start_embassyd "$w/server.log" "$build/server/embassyd" --store "$w/store" --listen 127.0.0.1:0 --insecure
server=$server_pid port=${address##*:}
t "mount" mount_it "embassy=127.0.0.1:$port"
acknowledged() { python3 -c 'import json, sys
sys.exit(json.load(open(sys.argv[1] + "/.embassy/status"))["embassies"][0]["acknowledged"] == 0)' "$mnt"; }
t "a head is there" wait_until 60 acknowledged
t "stopped" kill -STOP "$server"
t "more is written than a connection holds" dd if=/dev/urandom of="$mnt/large" bs=1M count=96 conv=fsync
# Bytes that the kernel has for it, which it does not take.
stuck() { awk -v port="$(printf ':%04X' "$port")" '$3 ~ port "$" && $5 !~ /^00000000/ {n = 1} END {exit !n}' /proc/net/tcp /proc/net/tcp6; }
t "some are under way, and stay so" bash -c "$(declare -f stuck wait_until); port=$port; wait_until 60 stuck && sleep 1 && stuck"
pid=$(daemon)
t "unmount" umount "$mnt"
t "mounted again at once" mount_it
t "the former daemon has ended" bash -c "! [ -d /proc/$pid ]"
t "it is said why" grep -q 'it takes nothing' "$w/log"

# Killed while it closes, which takes a while with such an embassy, and watched by a supervisor that is not its parent: the
# volume is closed by another.
about='killed while it closes: '
pid=$(daemon)
t "the supervisor is killed" kill -KILL "$(supervisor_of "$pid")"
t "it gets another" wait_until 20 bash -c "[ -n \"\$(pgrep -P $pid -x embassyfs-super)\" ] && grep -q '\"supervised\": true' '$mnt/.embassy/status'"
super=$(pgrep -P "$pid" -x embassyfs-super)
t "more is written than a connection holds" dd if=/dev/urandom of="$mnt/large" bs=1M count=96 conv=fsync
t "some are under way, and stay so" bash -c "$(declare -f stuck wait_until); port=$port; wait_until 60 stuck && sleep 1 && stuck"
sleep 0.$(((2000 - 10#$(date +%3N)) % 1000 / 100)) # heads are made at the end of a second
printf 'D%.0s' {1..65536} >"$mnt/last"
t "unmount" umount "$mnt"
t "it serves no more" wait_until 20 bash -c "! ls -l /proc/$pid/fd 2>/dev/null | grep -q /dev/fuse"
t "killed" kill -KILL "$pid"
t "its supervisor ends" timeout 60 tail --pid="$super" -f /dev/null
kill -CONT "$server"
t "mount" mount_it
t "what was written last is there" test "$(tr -cd D <"$mnt/last" | wc -c)" = 65536
t "unmount" unmount

# Daemon and programs share a small limit of memory: a daemon that needed memory there in order to write would wait for
# what only it can write.
about='little memory: '
start_group() {
	if [ -d /sys/fs/cgroup/memory ]; then
		group=/sys/fs/cgroup/memory/embassyfs-stop.$$ limit=memory.limit_in_bytes
	else
		group=/sys/fs/cgroup/embassyfs-stop.$$ limit=memory.max
	fi
	mkdir "$group" 2>/dev/null && [ -w "$group/$limit" ]
}
end_group() {
	local p
	[ -w "$group/$limit" ] && echo $((4 << 30)) >"$group/$limit"
	while read -r p; do echo "$p" >"${group%/*}/cgroup.procs"; done <"$group/cgroup.procs" 2>/dev/null
	rmdir "$group" 2>/dev/null
}
within() { # within COMMAND...: in the group
	(echo $BASHPID >"$group/cgroup.procs" && exec "$@")
}
if [ -z "$memory" ]; then
	group=''
elif start_group; then
	t "limited" bash -c "echo $((300 << 20)) >'$group/$limit'"
	# shellcheck disable=SC2016
	t "mount" within "$embassyfs" "$w/vol" "$mnt" -o "memory=64M,passphrase-file=$w/pass"
	within timeout 150 dd if=/dev/urandom of="$mnt/one" bs=1M count=400 2>/dev/null &
	one=$!
	t "two programs write more than twice as much" within timeout 150 dd if=/dev/urandom of="$mnt/two" bs=1M count=400
	t "both" wait $one
	t "unlimited" bash -c "echo $((4 << 30)) >'$group/$limit'"
	t "unmount" unmount
	end_group
	group=''
else
	group=''
	echo "no group with a limit of memory can be made here: not tried"
fi

about=''
t "the volume is sound" "$embassy" check "$w/vol" --passphrase-file "$w/pass"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
