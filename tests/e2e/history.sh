#!/bin/bash
# Who may see the past: what was closed to a user, or removed, stays closed in views, old programs have no privileges
# there and old devices do not open.
#
# usage: history.sh [BUILD-DIR]		as root
set -uo pipefail

here=$(realpath "$(dirname "$0")")
# shellcheck source=tools/lib.sh
. "$here/../../tools/lib.sh"
build=$(realpath "${1:-$here/../../build}")
[ "$(id -u)" = 0 ] || die "it mounts; run it as root"

w=$(mktemp -d "${TMPDIR:-/var/tmp}/embassyfs-history.XXXXXX")
mnt=$w/mnt
passed=0 failed=0
mkdir "$mnt"
chmod 755 "$w"

cleanup() {
	trap - EXIT
	umount "$mnt" 2>/dev/null || umount -l "$mnt" 2>/dev/null
	rm -rf --one-file-system "$w"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

explain() { tail -n 3 "$w/log"; }
mount_it() { "$build/fs/fuse/embassyfs" "$w/vol" "$mnt" -o "passphrase-file=$w/pass,allow_other,suid,dev$1" 2>>"$w/log"; }
gone() { [ -z "$(daemon_of "$mnt")" ]; }
remount() { umount "$mnt" && wait_until 20 gone && mount_it "$1"; }
as() { setpriv --reuid="$1" --regid="$1" --clear-groups "${@:2}"; }
reads() { [ "$(as "$1" cat "$2" 2>/dev/null)" = secret ]; }
refused() { ! as "$1" cat "$2" >"$w/said" 2>&1 && grep -q 'Permission denied' "$w/said"; }
no_device() { ! head -c 1 "$1" >"$w/said" 2>&1 && grep -q 'No such device' "$w/said"; }
no_list() { ! getfacl -n "$1" >"$w/said" 2>&1 && grep -q 'Permission denied' "$w/said"; }

(umask 077; echo 'correct horse' >"$w/pass")
"$build/tools/embassy" init "$w/vol" --passphrase-file "$w/pass" >/dev/null || die "init"
mount_it '' || die "mount: $(cat "$w/log")"
cd "$mnt" || exit 1
chmod 755 .
for f in open closed removed given listed gets; do
	echo secret >$f
	chmod 644 $f
done
setfacl -m u:1001:rw listed
cp "$(command -v id)" program
setcap cap_net_raw+ep program
chmod 6755 program
mknod zero c 1 5
chmod 666 zero
mkdir .embassy/snapshots/then
chmod 600 closed zero
rm removed
chown 1001:1001 given
chmod 600 given
setfacl -m u:1002:- gets
cd /
past=$mnt/.embassy/snapshots/then

t "the owner of the mount reads the past" reads 0 "$past/closed"
t "nobody else does" refused 1001 "$past/open"
t "nor what status says" refused 1001 "$mnt/.embassy/status"
t "set-id bits of the past are not shown" [ "$(stat -c %a "$past/program")" = 755 ]
t "nor capabilities" [ -z "$(getcap "$past/program")" ]
t "the present has them" [ "$(stat -c %a "$mnt/program")" = 6755 ]
t "a device of the past does not open" no_device "$past/zero"

t "mount with history=users" remount ,history=users
t "what is open then and now is read" reads 1001 "$past/open"
t "what was closed since is not" refused 1001 "$past/closed"
t "nor what was removed" refused 1001 "$past/removed"
t "but by root" reads 0 "$past/removed"
t "what was given to a user was not his then alone" refused 1001 "$past/given"
t "an access list then is not trusted" refused 1001 "$past/listed"
t "and not told" no_list "$past/listed"
t "an access list now counts" refused 1002 "$past/gets"
t "a program's owner is not lent" [ "$(as 1001 "$past/program" -u)" = 1001 ]
chmod 600 "$mnt/open"
t "what is closed while its past is in use is closed there" refused 1001 "$past/open"
chmod 644 "$mnt/open"
t "and opened again" reads 1001 "$past/open"

# shellcheck disable=SC2016 # the inner shell's
setpriv --reuid=1001 --regid=1001 --clear-groups bash -c 'while ((n < 64)) && : {fd}<"$1"; do n=$((n + 1)); done; echo "$n" >&3; exec sleep 30' - \
	"$mnt/.embassy/status" 3>"$w/held" 2>/dev/null &
holder=$!
t "a user holds as many as he can" wait_until 10 test -s "$w/held"
t "which are not all" [ "$(cat "$w/held")" -le 16 ]
t "others read it nevertheless" as 1002 cat "$mnt/.embassy/status"
{ kill $holder && wait $holder; } 2>/dev/null

# Names of snapshots: text without control characters, and listings of any of them end.
for name in $'a\nb' $'a\eb' $'a\x7fb' $'a\xc2\x9bb' $'a\xffb' $'a\xc0\xafb' $'a\xed\xa0\x80b'; do
	t "a name that breaks tables is refused" bash -c '! mkdir "$1" 2>/dev/null' - "$mnt/.embassy/snapshots/$name"
done
t "mkdir of a name in UTF-8" mkdir "$mnt/.embassy/snapshots/Südtirol €𝄞"
t "each is listed once, and none skipped while they are removed" python3 - "$mnt/.embassy/snapshots" <<-'PY'
	import itertools, os, sys
	names = [f"{i:03}".ljust(255, "n") for i in range(130)]
	for name in names:
	    os.mkdir(os.path.join(sys.argv[1], name))
	listed = [e.name for e in itertools.islice(os.scandir(sys.argv[1]), 1000)]
	assert sorted(listed) == sorted(names + ["then", "Südtirol €𝄞"]), len(listed)
	removed = 0
	for e in itertools.islice(os.scandir(sys.argv[1]), 1000):
	    if e.name in names:
	        os.rmdir(e.path)
	        removed += 1
	assert removed == len(names), removed
	PY

t "mount the past itself" remount ",at=snapshot:then"
t "it is nosuid and nodev" bash -c "findmnt -n -o OPTIONS '$mnt' | grep nosuid | grep -q nodev"
t "and shows everything as it was" [ "$(stat -c '%a %t,%T' "$mnt/program" "$mnt/zero" | tr '\n' ' ')" = "6755 0,0 666 1,5 " ]

changes() { "$build/fs/fuse/embassyfs" "$w/vol" "$mnt" -o "remount,$1" 2>"$w/said"; }
not_writable() { ! changes rw,dev,suid && grep -q 'a view of the past stays read-only' "$w/said"; }
harmless() { findmnt -n -o OPTIONS "$mnt" | grep -w ro | grep -w nosuid | grep -qw nodev; }
t "it is not made writable" not_writable
t "it is changed" changes ro,dev,suid,noexec
t "and stays nosuid and nodev" harmless
# A copy is of one state also where the daemon can't see who makes it.
t "unmount" umount "$mnt"
wait_until 20 gone
unshare -pf "$build/fs/fuse/embassyfs" "$w/vol" "$mnt" -f -o "passphrase-file=$w/pass" 2>>"$w/log" &
wait_until 20 mountpoint -q "$mnt"
one_state() {
	python3 - "$mnt" <<-'PY'
		import os, sys, time
		def write(n):
		    with open(sys.argv[1] + "/state", "w") as f:
		        f.write(str(n))
		        f.flush()
		        os.fsync(f.fileno())
		write(0)
		time.sleep(3)
		seen = set()
		for n in range(1, 12):
		    write(n)
		    seen.add(open(sys.argv[1] + "/.embassy/ago/1s/state").read())
		    time.sleep(0.3)
		print(seen)
		sys.exit(len(seen) != 1)
	PY
}
t "one state for a process of another namespace" one_state
t "unmount" umount "$mnt"
wait_until 20 gone

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
