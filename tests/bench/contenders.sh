# The contenders of compare: one has the folder $work/NAME and is mounted at its mnt.  Sourced by bash.
# shellcheck shell=bash disable=SC2154,SC2034 # shared with compare

built_in=(gocryptfs btrfs embassyfs embassyfs-history embassyfs-replicating embassyfs-apart)
declare -A also=()				# NAME of one that is not in the project: COMMAND
declare -A store_of=() embassyd_of=()		# NAME of one with an embassy: its folder, its process
snapshots_pid='' snapshots_fd=''
snapshots_kept=20

# add_outsider NAME=COMMAND
add_outsider() {
	[[ $1 =~ ^[A-Za-z0-9._-]+=. ]] || usage 2
	[[ " disk ${built_in[*]} " != *" ${1%%=*} "* ]] || die "${1%%=*}: there is one of that name"
	also[${1%%=*}]=${1#*=}
	outsiders+=("${1%%=*}")
}

installed() {
	case $1 in
	gocryptfs) [ -n "$(command -v gocryptfs)" ] ;;
	btrfs) [ -n "$(command -v mkfs.btrfs)" ] ;;
	embassyfs-history) [ "$n_heads" -gt 0 ] ;;
	embassyfs-apart) [ "$(stat -f -c %T /dev/shm)" = tmpfs ] ;;
	esac
}

replicates() { [ -n "${embassyd_of[$1]:-}" ]; }

# outside NAME VERB: one that is not in the project does it.
outside() {
	local command
	read -ra command <<<"${also[$1]}"
	"${command[@]}" "$2" "$work/$1" >"$work/$1.log" 2>&1 || { tail -3 "$work/$1.log" >&2; return 1; }
}

up() {
	local d=$work/$1 options=key-file=$work/key,allow_other
	case $1 in
	disk) ;;
	gocryptfs) gocryptfs -q -allow_other -passfile "$work/pw" "$d/cipher" "$d/mnt" >/dev/null 2>&1 ;;
	btrfs) mount -o loop,compress=zstd "$d/image" "$d/mnt" ;;
	embassyfs | embassyfs-history) "$build/fs/fuse/embassyfs" "$d/vol" "$d/mnt" -o "$options" ;;
	embassyfs-replicating | embassyfs-apart)
		"$build/fs/fuse/embassyfs" "$d/vol" "$d/mnt" -o "$options,embassy=unix:$d/socket" ;;
	*) outside "$1" up ;;
	esac
}

# When it returns, what was written lies in the contender's folder.
down() {
	local pids
	pids=$(daemons_of "$1")
	case $1 in
	disk) ;;
	gocryptfs | btrfs | embassyfs*) umount "$work/$1/mnt" ;;
	*) outside "$1" down ;;
	esac && wait_until 60 ended "$pids"
}

make() {
	mkdir -p "$work/$1/mnt"
	{ make_empty "$1" && up "$1" && make_history "$1"; } || die "$1: can't be set up in $work/$1"
	names+=("$1")
}

make_empty() {
	local d=$work/$1
	case $1 in
	gocryptfs) mkdir "$d/cipher" && gocryptfs -q -init -passfile "$work/pw" "$d/cipher" >/dev/null 2>&1 ;;
	btrfs) truncate -s 16G "$d/image" && mkfs.btrfs -q "$d/image" >/dev/null ;;
	embassyfs | embassyfs-history) init_volume "$d" ;;
	embassyfs-replicating)
		store_of[$1]=$work/store && mkdir "$work/store" && start_embassyd "$1" && init_volume "$d" ;;
	embassyfs-apart)
		store_of[$1]=$(mktemp -d /dev/shm/embassyfs-bench.XXXXXX) && start_embassyd "$1" && init_volume "$d" ;;
	esac
}

make_history() {
	local mnt=$work/$1/mnt
	case $1 in
	btrfs) mkdir "$mnt/.snapshots" ;;
	embassyfs-history) "$load" heads "$mnt" "$n_heads" >/dev/null && rm "$mnt/counter" ;;
	esac
}

init_volume() { "$build/tools/embassy" init "$1/vol" --key-file "$work/key" >/dev/null; }

start_embassyd() { # start_embassyd NAME
	"$build/server/embassyd" --store "${store_of[$1]}" --listen "unix:$work/$1/socket" --insecure \
		>"$work/$1/embassyd.log" 2>&1 &
	embassyd_of[$1]=$!
	wait_until 10 test -S "$work/$1/socket"
}

# The processes that serve a contender's mount: who has /dev/fuse open and names the folder, and their children.
daemons_of() {
	local pid found=''
	for pid in $(find /proc/[0-9]*/fd -lname /dev/fuse 2>/dev/null | cut -d/ -f3 | sort -u); do
		[[ $(tr '\0' ' ' <"/proc/$pid/cmdline") != *"$work/$1"[/\ ]* ]] || found+=" $pid"
	done 2>/dev/null
	[ -z "$found" ] || ps -eo pid=,ppid= | awk -v found="$found" '
		BEGIN { split(found, list); for (i in list) serves[list[i]] }
		{ parent[$1] = $2 }
		END {
			for (pid in parent)
				for (p = pid; p in parent; p = parent[p])
					if (p in serves) { print pid; break }
		}'
}

ended() { # ended PIDS: what waits to be reaped has.
	local pid
	for pid in $1; do ! grep -qs '^State:[[:space:]]*[^XZ[:space:]]' "/proc/$pid/status" || return 1; done
}

# --- while its workloads run ------------------------------------------------------------------------------------

# A snapshot each second, until its input has ended.  A line to read would not do: what comes as the time is up is lost.
snapshots() {
	local all
	while :; do
		btrfs subvolume snapshot -r "$1" "$1/.snapshots/$EPOCHREALTIME"
		all=("$1"/.snapshots/*)
		[ ${#all[@]} -le $snapshots_kept ] || btrfs subvolume delete "${all[@]:0:${#all[@]}-snapshots_kept}"
		read -rt 1
		[ $? -gt 128 ] || return
	done
}

begin() {
	[ "$name" = btrfs ] || return 0
	coproc snapshots_run { snapshots "$work/btrfs/mnt"; } >/dev/null 2>&1
	snapshots_pid=$! snapshots_fd=${snapshots_run[1]}
}

pause() {
	[ -n "$snapshots_pid" ] || return 0
	exec {snapshots_fd}>&-
	wait "$snapshots_pid" 2>/dev/null
	snapshots_pid=''
}

# Nothing of the group is left, but in histories that keep all.
end() {
	pause
	[ "$name" = btrfs ] || return 0
	btrfs subvolume delete "$work"/btrfs/mnt/.snapshots/* >/dev/null
	# The first wakes the one who deletes, who else sleeps for 30 s.
	btrfs filesystem sync "$work/btrfs/mnt" && btrfs subvolume sync "$work/btrfs/mnt" >/dev/null
}

# All that was written is on the disk, and at the embassy.
settle() {
	sync -f "$work/$name/mnt"
	! replicates "$name" ||
		"$build/tools/embassy" drain "$work/$name/mnt" --timeout 600 >/dev/null ||
		die "$name: the embassy falls behind"
	sync -f "$work"
}

# Nothing that was read or written is in memory any more.
cold() {
	pause
	settle
	again
	echo 3 >/proc/sys/vm/drop_caches
	begin
}

# again [COMMAND]: mounted anew; the command runs before it is mounted, unless it is from outside.
again() {
	if [ -n "${also[$name]+outside}" ]; then
		outside "$name" cold && "${1:-true}"
	else
		down "$name" && "${1:-true}" && up "$name"
	fi || die "$name: can't be mounted again"
}

# Set $stored to the bytes that it takes on the disk.  A volume that is mounted has space set aside.
find_stored() {
	pause
	settle
	if [ "$name" = btrfs ]; then
		stored=$(btrfs filesystem usage -b "$work/btrfs/mnt" 2>/dev/null | awk '/^ *Used:/ {print $2}')
	else
		again folder_size
	fi
	begin
}

folder_size() { stored=$(du -xs -B1 "$work/$name" | cut -f1); }

# --- the end ----------------------------------------------------------------------------------------------------

no_process() { ! pgrep -f "$work/" >/dev/null; }

mounts() { awk -v w="$work/" 'index($5, w) == 1 {print $5}' /proc/self/mountinfo; }

cleanup() {
	local pid n m
	trap '' INT TERM HUP
	pause
	for pid in "$work"/*/mnt/pgbench/pg/postmaster.pid; do
		[ -e "$pid" ] && pid=$(head -1 "$pid") && kill -QUIT "$pid" && wait_until 10 ended "$pid"
	done
	for n in "${!also[@]}"; do
		! mountpoint -q "$work/$n/mnt" || outside "$n" down
	done
	mounts | while read -r m; do umount "$m" 2>/dev/null || umount -l "$m"; done
	for pid in "${embassyd_of[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
	wait_until 60 no_process || echo "compare: still running: $(pgrep -f "$work/" | xargs)" >&2
	rm -rf --one-file-system "$work" "${store_of[@]}"
}
