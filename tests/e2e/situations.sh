#!/bin/bash
# shellcheck disable=SC2086 # lists of words
# Each command in each situation that it may be given: its exit code, and what it says.  The table is below.
#
# usage: situations.sh [BUILD-DIR]	as root; --show prints what is said instead of judging it
set -uo pipefail
# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../../tools/lib.sh"

show=no
[ "${1:-}" = --show ] && show=yes && shift
build=$(realpath "${1:-$(dirname "$0")/../../build}")
embassyfs=$build/fs/fuse/embassyfs
[ "$(id -u)" = 0 ] || die "it mounts; run it as root"

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-situations.XXXXXX")
passed=0 failed=0 server_pid=''

cleanup() {
	local m
	trap - EXIT
	awk -v w="$w/" 'index($5, w) == 1 {print $5}' /proc/self/mountinfo | while read -r m; do
		umount "$m" 2>/dev/null || umount -l "$m"
	done
	[ -z "$server_pid" ] || kill -KILL "$server_pid" 2>/dev/null
	wait 2>/dev/null
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# The program and a key where another user can read them.
chmod 711 "$w"
install -m 755 "$build/tools/embassy" "$w/embassy"
(umask 077 && head -c 32 /dev/urandom >"$w/key")
install -m 600 -o 65534 -g 65534 "$w/key" "$w/key.other"
mkdir -m 1777 "$w/tmp"
root=("$w/embassy")
other=(env TMPDIR="$w/tmp" setpriv --reuid 65534 --regid 65534 --clear-groups "$w/embassy")

"$w/embassy" init "$w/vol" --key-file "$w/key" >/dev/null || die "no volume"
for v in closed shared open dead nosuper unreadable; do cp -r "$w/vol" "$w/$v.vol"; done
chmod 700 "$w/unreadable.vol"
chmod -R a+rX "$w/vol" "$w/shared.vol" "$w/open.vol"
mkdir "$w/store" "$w/plain" "$w/closed" "$w/shared" "$w/open" "$w/dead" "$w/view" "$w/nosuper"
"$build/server/embassyd" --store "$w/store" --listen "unix:$w/sock" --insecure >"$w/server.log" 2>&1 &
server_pid=$!
wait_until 10 grep -q listening "$w/server.log" || die "no server"
go() { "$embassyfs" "$w/$1" "$w/$2" -o "key-file=$w/key${3:+,$3}" || die "$2 is not mounted"; }
go closed.vol closed "embassy=unix:$w/sock"
go shared.vol shared allow_other
go open.vol open allow_other,history=users
go vol view allow_other,ro
go nosuper.vol nosuper nosupervise
go dead.vol dead nosupervise
"$w/embassy" drain "$w/closed" --timeout 60 >/dev/null || die "not drained"
for m in closed shared open; do "$w/embassy" snapshot "$w/$m" kept --hold >/dev/null || die "no snapshot"; done
# shellcheck disable=SC2046 # a list of process ids
kill -KILL $(daemon_of "$w/dead")
dead() { ! stat "$w/dead" >/dev/null 2>&1; }
wait_until 10 dead || die "it lives"
id=$(sed -n 's/^id //p' "$w/vol/volume.conf")
ln -s "$w/store/$id" "$w/copy"
chmod -R a+rX "$w/store"

# COMMAND ARGUMENT...: @ stands for what it is about.
declare -A commands=(
	[status]='status @' [drain]='drain @ --timeout 60' [accept]='drain @ --accept-loss unix:/none'
	[snapshot]='snapshot @ new-USER' [hold]='hold @ kept' [release]='release @ kept' [upgrade]='upgrade @'
	[snapshots]='snapshots @' [heads]='heads @' [check]='check @ --log-only' [list]='keys @ list'
	[add]="keys @ add --key-file KEY --new-key-file KEY" [init]="init @ --key-file KEY"
)

# row USER SITUATION CODE PATTERN COMMAND...
row() {
	local user=$1 about=$2 code=$3 pattern=$4 out rc c line key=$w/key
	shift 4
	[ "$user" = root ] || key=$w/key.other
	for c in "$@"; do
		line=${commands[$c]//KEY/$key}
		line=${line//USER/$user}
		# shellcheck disable=SC2086 # words
		if [ "$user" = root ]; then
			out=$("${root[@]}" ${line//@/$w/$about} 2>&1 </dev/null)
		else
			out=$("${other[@]}" ${line//@/$w/$about} 2>&1 </dev/null)
		fi
		rc=$?
		if [ $show = yes ]; then
			printf '%-5s %-14s %-9s %3d  %s\n' "$user" "$about" "$c" $rc "$(tail -1 <<<"${out//$w/}")"
		elif [ $rc = "$code" ] && grep -qE -- "$pattern" <<<"$out"; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
			echo "FAIL: $user: $c of $about: exit code $rc, expected $code; output, which must match '$pattern':"
			head -5 <<<"$out" | sed 's/^/  | /'
		fi
	done
}

on_mounts='status drain accept snapshot hold release upgrade'
reading='snapshots heads'
on_folders='check list add'
owner_only='only root and the user who mounted it'
not_yours='this user may not look into it; only its owner may'

# A live mount, for who may do everything.
row root closed 0 . status drain snapshot hold release upgrade snapshots heads
row root closed 1 'has no embassy unix:/none; see' accept
row root shared 1 'has no embassy; mount it with' drain
row root closed 10 'it is a mount point; give the folder of the volume' $on_folders init
row root closed 1 'there is a snapshot .new-root. already' snapshot

# Another user: not let in; let in, but not to .embassy; to .embassy too.
row other closed 13 "$not_yours" $on_mounts $reading $on_folders init
row other shared 13 "its .embassy is open only to root and the user who mounted it" $on_mounts $reading
row other shared 10 'it is a mount point; give the folder of the volume' $on_folders init
row other open 0 . status snapshots
row other open 13 "$owner_only may do this" drain accept snapshot hold release upgrade

# A view.
row root view 0 . status upgrade heads
row root view 1 'a view of the past' drain accept snapshot hold release snapshots
row root view 10 'it is a mount point; give the folder of the volume' $on_folders init
row other view 13 'its .embassy is open only to root' $on_mounts $reading

# A mount whose daemon has gone; for another user it is as closed as it was.
row root dead 1 "daemon has gone; unmount it with 'fusermount3 -u" $on_mounts $reading $on_folders init
row other dead 13 "$not_yours" $on_mounts $reading $on_folders init

# A mount without a supervisor.
row root nosuper 0 . status snapshot heads
row root nosuper 1 'it has no supervisor .*; unmount and mount instead' upgrade

# A folder in which nothing is mounted, and one that is not there.
for u in root other; do
	row $u plain 10 "no EmbassyFS is mounted there; mount one with 'embassyfs VOLUME" drain accept snapshot hold release upgrade
	row $u plain 10 "neither a mount point .* nor a volume's folder" status $reading
	row $u plain 10 'no volume here' $on_folders
	row $u none 10 'No such file or directory; give the mount point' drain accept snapshot hold release upgrade
	row $u none 10 'no such folder, and not of the form' status $reading
	row $u none 10 'no volume here' $on_folders
	row $u none/where 1 'the folder it is to lie in does not exist' init
done

# A volume that is not mounted.
row root vol 0 . status heads check list add
row root vol 10 "it is a volume's folder; give the mount point" drain accept snapshot hold release upgrade
row root vol 1 'no passphrase: there is no terminal to ask on' snapshots
row root vol 1 'the folder is not empty; give a new one' init
row other vol 13 "$not_yours" status $reading $on_folders

# An embassy's copy, which everybody here may read.
for u in root other; do
	row $u copy 0 . status heads check list
	row $u copy 10 "it is a volume's folder; give the mount point" drain accept snapshot hold release upgrade
	row $u copy 13 "an embassy's copy .* change the keys there" add
	row $u copy 1 'the folder is not empty; give a new one' init
done

# A folder that this user may not read.
row other unreadable.vol 13 "$not_yours" $on_mounts $reading $on_folders init

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
