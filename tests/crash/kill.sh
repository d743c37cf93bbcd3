#!/bin/bash
# embassyfs, embassyd, or both are killed (SIGKILL) at random moments while files are written and replicated; each time
# all is started again, and what it holds is compared with what was said to be durable.
#
#   home      embassy check is sound; every byte is one that it had at the last fsync or after (tests/crash/busy.c)
#   embassy   its newest head is not below the newest that was acknowledged; its log is the home's up to there,
#             byte for byte; embassy check on its folder is sound
#   at last   embassy drain succeeds, and both are sound
#
# usage: kill.sh BUILD-FOLDER [--kills N] [--seed N] [--spoil]
# --spoil changes a byte of the home's log in the middle of the run: it must fail.  Needs root, to mount.
set -u
# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../../tools/lib.sh"

build=$(cd "${1:?usage: kill.sh BUILD-FOLDER [--kills N] [--seed N] [--spoil]}" && pwd) || exit 2
shift
kills=20 seed=$$ spoil=''
while [ $# -gt 0 ]; do
	case $1 in
	--kills) kills=$2; shift 2 ;;
	--seed) seed=$2; shift 2 ;;
	--spoil) spoil=1; shift ;;
	*) echo "kill: $1: no such option" >&2; exit 2 ;;
	esac
done

embassyfs=$build/fs/fuse/embassyfs embassy=$build/tools/embassy embassyd=$build/server/embassyd
busy=$build/tests/crash/busy
work=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-kill.XXXXXX") || exit 2
vol=$work/vol mnt=$work/mnt store=$work/store state=$work/state socket=$work/socket key=$work/key
mkdir "$mnt"
fs_pid='' d_pid='' busy_pid='' acked=0 acked_head=0
RANDOM=$((seed % 32768))
echo "kill: seed $seed, $kills kills"

cleanup() {
	local pid
	for pid in $busy_pid $fs_pid $d_pid; do
		kill -KILL "$pid" 2>/dev/null
	done
	umount -l "$mnt" 2>/dev/null
	wait 2>/dev/null
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# Nobody needs to hear that what was killed is dead.
exec 3>&2 2>/dev/null

fail() {
	echo "kill: FAILED, seed $seed, kill $n: $*" >&3
	tail -5 "$work/fs.log" "$work/d.log" 2>/dev/null | sed 's/^/    /'
	exit 1
}

start_server() {
	rm -f "$socket" "$work/d.log" # what the last one said is not what this one says
	"$embassyd" --store "$store" --listen "unix:$socket" --insecure >"$work/d.log" 2>&1 &
	d_pid=$!
	until grep -q 'listening on' "$work/d.log"; do
		kill -0 $d_pid 2>/dev/null || fail "embassyd does not start"
		sleep 0.02
	done
}

start_home() {
	"$embassyfs" "$vol" "$mnt" -f -o "nosupervise,key-file=$key,embassy=unix:$socket" >"$work/fs.log" 2>&1 &
	fs_pid=$!
	until mountpoint -q "$mnt"; do
		kill -0 $fs_pid 2>/dev/null || fail "embassyfs does not start"
		sleep 0.02
	done
}

# What the embassy has acknowledged, as the mount knows it: the newest number never goes down.
note_acked() {
	local words
	words=$(timeout 10 "$embassy" status "$mnt" --json 2>/dev/null |
		jq -r '.embassies[0] | "\(.acknowledged // 0)"' 2>/dev/null) || return 0
	[[ $words =~ ^[0-9]+$ ]] && [ "$words" -gt "$acked" ] && acked=$words
}

kill_and_wait() {
	local pid=$1
	kill -KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
}

check_sound() { # check_sound FOLDER WHAT
	"$embassy" check "$1" --key-file "$key" --read-data >"$work/check.log" 2>&1 ||
		{ cat "$work/check.log"; fail "$2 is not sound"; }
}

# The embassy's log is the home's, up to where the embassy stands; and that is not below what was acknowledged.
compare_logs() {
	local id end=0 f start len
	id=$(sed -n 's/^id //p' "$vol/volume.conf")
	if [ "$acked" -gt 0 ] || [ -d "$store/$id" ]; then
		end=$("$embassy" status "unix:$socket/$id" --json 2>"$work/status.log" | jq -r .durable_end)
		[[ $end =~ ^[0-9]+$ ]] || fail "the embassy does not say where it stands: $(cat "$work/status.log")"
	fi
	[ "$end" -ge "$acked" ] || fail "the embassy stands at $end, and had acknowledged $acked"
	for f in "$store/$id/log"/*.seg; do
		[ -e "$f" ] || continue
		start=$((16#$(basename "$f" .seg) * 67108864))
		len=$((end - start))
		[ $len -gt "$(stat -c %s "$f")" ] && len=$(stat -c %s "$f")
		[ $len -gt 0 ] || continue
		cmp -s -n $len "$f" "$vol/log/${f##*/}" || fail "segment ${f##*/} differs at the embassy"
	done
}

(umask 077 && head -c 64 /dev/urandom >"$key")
n=0
"$embassy" init "$vol" --key-file "$key" >/dev/null || fail "init"
start_server
start_home

for ((n = 1; n <= kills; n++)); do
	busy_seed=$((seed * 1000 + n))
	"$busy" write "$mnt" "$state" $busy_seed 2>"$work/busy.log" &
	busy_pid=$!
	for ((i = RANDOM % 12; i > 0; i--)); do
		sleep 0.1
		[ $((i % 4)) = 0 ] && note_acked
	done
	sleep "0.0$((RANDOM % 90 + 10))"
	victim=$((RANDOM % 3))
	[ $victim = 0 ] || kill -KILL $d_pid 2>/dev/null
	[ $victim = 1 ] || kill -KILL $fs_pid 2>/dev/null
	if [ $victim = 1 ]; then
		# Nobody at home notices that the embassy is gone.
		sleep 0.2
		kill -0 $busy_pid 2>/dev/null || fail "writing stopped with the embassy: $(cat "$work/busy.log")"
		kill_and_wait $busy_pid
		busy_pid=''
		wait $d_pid 2>/dev/null
		start_server
		compare_logs
		continue
	fi
	wait $busy_pid 2>/dev/null
	busy_pid=''
	wait $fs_pid 2>/dev/null
	umount -l "$mnt"
	if [ $victim = 2 ]; then
		wait $d_pid 2>/dev/null
		start_server
		compare_logs
	fi
	if [ -n "$spoil" ] && [ $n -ge $((kills / 2)) ]; then
		spoil=''
		flip_byte "$vol/log/0000000000000001.seg" 3000 || fail "nothing to spoil"
	fi
	[ $((n % 4)) = 0 ] && check_sound "$vol" "the home"
	start_home
	"$busy" verify "$mnt" "$state" $busy_seed || fail "the home does not hold what was synced"
done

"$embassy" drain "$mnt" --timeout 60 >/dev/null 2>"$work/drain.log" || fail "drain: $(cat "$work/drain.log")"
note_acked
umount "$mnt"
wait $fs_pid
fs_pid=''
compare_logs
kill -TERM $d_pid
wait $d_pid
d_pid=''
check_sound "$vol" "the home"
id=$(sed -n 's/^id //p' "$vol/volume.conf")
check_sound "$store/$id" "the embassy's copy"
echo "kill: $kills kills survived"
