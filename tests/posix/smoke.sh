#!/bin/bash
# Mounts a fresh volume and uses it: tests/posix/smoke.sh BUILD-FOLDER
# Needs root, /dev/fuse and python3.  Leaves nothing behind.  Last line: "N passed, N failed"; exit 1 if any failed.
set -u

# shellcheck source=tools/lib.sh
. "$(dirname "$0")/../../tools/lib.sh"
build=${1:?usage: smoke.sh BUILD-FOLDER}
build=$(cd "$build" && pwd) || exit 2
embassyfs=$build/fs/fuse/embassyfs
embassy=$build/tools/embassy
for program in "$embassyfs" "$embassy"; do
	[ -x "$program" ] || { echo "smoke: $program: not built; run ninja first" >&2; exit 2; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/embassyfs-smoke.XXXXXX") || exit 2
vol=$work/vol mnt=$work/mnt view=$work/view
passed=0 failed=0
mkdir "$mnt" "$view"
(umask 077 && echo "correct horse" >"$work/pass")
(umask 077 && echo "wrong" >"$work/wrong")
chmod 755 "$work"

# A passing test is silent; a failing one shows its name and what it printed.
t() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAILED %s\n%s\n' "$name" "$out" | head -n 20
	fi
}

# exits CODE TEXT COMMAND...: it ends with CODE and says TEXT on standard error.
exits() {
	local code=$1 text=$2 rc err
	shift 2
	err=$("$@" 2>&1 >/dev/null)
	rc=$?
	[ "$rc" = "$code" ] || { echo "exit code $rc, not $code: $err"; return 1; }
	case $err in *"$text"*) ;; *) echo "says: $err"; return 1 ;; esac
}

# fails ERRNO COMMAND...: the command fails with this error's text.
fails() {
	local text=$1 err
	shift
	err=$(LC_ALL=C "$@" 2>&1) && { echo "succeeded"; return 1; }
	case $err in *"$text"*) ;; *) echo "says: $err"; return 1 ;; esac
}

py() {
	python3 -c "import os, sys, errno, mmap, stat, fcntl, ctypes, time, json
$1" "$mnt" "${@:2}"
}

# Neither daemon nor helper of a mount is left, or will be in a few seconds.
gone() {
	local i left pid
	for i in $(seq 100); do
		left=
		for pid in $(pgrep '^embassyfs'); do
			tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$1" && left=$pid
		done
		[ -z "$left" ] && return 0
		sleep 0.1
	done
	echo "process $left is still there"
	return 1
}

mounted() { grep -qs " $1 fuse.embassyfs " /proc/mounts; }

mount_live() { timeout 60 "$embassyfs" "$vol" "$mnt" -o "passphrase-file=$work/pass${1:+,$1}"; }
mount_view() { timeout 60 "$embassyfs" "$vol" "$view" -o "passphrase-file=$work/pass,$1"; }

unmount() {
	local i
	umount "$1" 2>/dev/null || umount -l "$1" 2>/dev/null
	for i in $(seq 100); do
		mounted "$1" || return 0
		sleep 0.05
	done
	echo "$1 is still mounted"
	return 1
}

clean_up() {
	mounted "$view" && umount -l "$view"
	mounted "$mnt" && umount -l "$mnt"
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Before anything is mounted

t "help" bash -c "'$embassyfs' --help | grep -q passphrase-file"
t "version" bash -c "'$embassyfs' -V | grep -q '^embassyfs [0-9]'"
t "usage: no arguments" exits 2 "--help" "$embassyfs"
t "usage: unknown option" exits 2 "frobnicate" "$embassyfs" "$vol" "$mnt" -o frobnicate
t "no volume" exits 10 "$vol" "$embassyfs" "$vol" "$mnt" -o "passphrase-file=$work/pass"
t "a folder that is no volume" exits 10 "$work" "$embassyfs" "$work" "$mnt" -o "passphrase-file=$work/pass"
t "init" "$embassy" init "$vol" --passphrase-file "$work/pass"
t "wrong passphrase" exits 12 "" "$embassyfs" "$vol" "$mnt" -o "passphrase-file=$work/wrong"
t "no passphrase file" exits 1 "$work/none" "$embassyfs" "$vol" "$mnt" -o "passphrase-file=$work/none"
t "mount point missing" exits 1 "$work/none" "$embassyfs" "$vol" "$work/none" -o "passphrase-file=$work/pass"
t "mount point is a file" exits 1 "not a folder" "$embassyfs" "$vol" "$work/pass" -o "passphrase-file=$work/pass"
t "nobody listens" exits 30 "127.0.0.1:1" timeout 60 "$embassyfs" \
	"127.0.0.1:1/00000000000000000000000000000000" "$view" -o "at=latest,passphrase-file=$work/pass"
t "unreadable time" exits 2 "noon-ish" "$embassyfs" "$vol" "$view" -o "at=noon-ish,passphrase-file=$work/pass"
t "before the volume began" exits 22 "" "$embassyfs" "$vol" "$view" -o \
	"at=2001-01-01T00:00:00Z,passphrase-file=$work/pass"
t "mount" mount_live
mounted "$mnt" || { echo "smoke: nothing is mounted; giving up" >&2; echo "$passed passed, $((failed + 1)) failed"; exit 1; }
t "locked by the mount" exits 11 "" timeout 60 "$embassyfs" "$vol" "$view" -o "passphrase-file=$work/pass"

# Files

t "write, read, append" bash -c "cd '$mnt' && printf abc >f && printf def >>f && [ \"\$(cat f)\" = abcdef ]"
t "overwrite in the middle" py '
p = sys.argv[1] + "/over"
f = os.open(p, os.O_RDWR | os.O_CREAT)
data = bytearray(os.urandom(1 << 20))
os.write(f, data)
for off, n in ((0, 1), (4095, 2), (131071, 2), (500000, 200000), ((1 << 20) - 1, 5)):
    b = os.urandom(n); os.pwrite(f, b, off); data[off:off+n] = b
os.fsync(f); os.close(f)
open("/proc/sys/vm/drop_caches", "w").write("3")
assert open(p, "rb").read() == bytes(data)'
t "32 MiB, cold" py '
import hashlib
p = sys.argv[1] + "/big"; b = os.urandom(32 << 20)
with open(p, "wb") as f: f.write(b); f.flush(); os.fsync(f.fileno())
open("/proc/sys/vm/drop_caches", "w").write("3")
assert hashlib.sha256(open(p, "rb").read()).digest() == hashlib.sha256(b).digest()'
t "truncate, both ways" py '
p = sys.argv[1] + "/trunc"
open(p, "wb").write(b"x" * 10000)
os.truncate(p, 5000); os.truncate(p, 9000)
assert open(p, "rb").read() == b"x" * 5000 + b"\0" * 4000'
t "O_TRUNC" bash -c "cd '$mnt' && echo long text >tr && : >tr && [ ! -s tr ]"
t "O_EXCL" py '
p = sys.argv[1] + "/excl"
os.close(os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o400))
try: os.open(p, os.O_CREAT | os.O_EXCL); assert False
except FileExistsError: pass'
t "O_APPEND by two" py '
p = sys.argv[1] + "/app"
a = os.open(p, os.O_CREAT | os.O_WRONLY | os.O_APPEND); b = os.open(p, os.O_WRONLY | os.O_APPEND)
for i in range(500): os.write(a, b"aaaa"); os.write(b, b"bbbb")
s = open(p, "rb").read(); assert len(s) == 4000 and s.count(b"aaaa") == 500'
t "O_DIRECT" py '
p = sys.argv[1] + "/direct"
m = mmap.mmap(-1, 65536); m.write(os.urandom(65536))
f = os.open(p, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
assert os.writev(f, [m]) == 65536
r = mmap.mmap(-1, 65536); os.preadv(f, [r], 0); assert r[:] == m[:]'
t "sparse" py '
p = sys.argv[1] + "/sparse"
with open(p, "wb") as f: f.seek(1 << 32); f.write(b"end"); os.fsync(f.fileno())
os.sync(); s = os.stat(p); assert s.st_size == (1 << 32) + 3, s
assert os.stat(p).st_blocks < 1000, s
f = os.open(p, os.O_RDONLY); assert os.pread(f, 10, 1 << 31) == b"\0" * 10; assert os.pread(f, 10, 1 << 32) == b"end"'
t "SEEK_DATA sees what is not written back" py '
p = sys.argv[1] + "/seek"
f = os.open(p, os.O_CREAT | os.O_RDWR); os.write(f, b"x" * 10000)
assert os.lseek(f, 0, os.SEEK_DATA) == 0 and os.lseek(f, 0, os.SEEK_HOLE) == 10000'
t "fallocate and punch" py '
p = sys.argv[1] + "/alloc"
f = os.open(p, os.O_CREAT | os.O_RDWR); os.posix_fallocate(f, 0, 100000)
assert os.fstat(f).st_size == 100000
os.pwrite(f, b"y" * 100000, 0)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.fallocate(f, 3, ctypes.c_long(10000), ctypes.c_long(50000)) == 0, os.strerror(ctypes.get_errno())
s = os.pread(f, 100000, 0)
assert s[:10000] == b"y" * 10000 and s[10000:60000] == b"\0" * 50000 and s[60000:] == b"y" * 40000'
t "copy_file_range" py '
a = sys.argv[1] + "/cfr1"; b = sys.argv[1] + "/cfr2"; data = os.urandom(3000000)
open(a, "wb").write(data)
i = os.open(a, os.O_RDONLY); o = os.open(b, os.O_CREAT | os.O_WRONLY); n = 0
while n < len(data): n += os.copy_file_range(i, o, len(data) - n)
assert open(b, "rb").read() == data'
t "mmap shared" py '
p = sys.argv[1] + "/map"
open(p, "wb").write(b"\0" * 100000); f = os.open(p, os.O_RDWR)
m = mmap.mmap(f, 100000); m[70000:70005] = b"hello"; m.flush(); m.close(); os.close(f)
open("/proc/sys/vm/drop_caches", "w").write("3")
assert open(p, "rb").read()[70000:70005] == b"hello"'
t "unlinked but open" py '
p = sys.argv[1] + "/gone"
f = os.open(p, os.O_CREAT | os.O_RDWR); os.write(f, b"still here"); os.unlink(p)
os.fsync(f); open("/proc/sys/vm/drop_caches", "w").write("3")
assert os.pread(f, 20, 0) == b"still here" and os.fstat(f).st_nlink == 0
os.write(f, b"!"); os.ftruncate(f, 5); assert os.pread(f, 20, 0) == b"still"'
t "renamed over but open" py '
d = sys.argv[1] + "/"
open(d + "ro1", "w").write("one"); open(d + "ro2", "w").write("two")
f = os.open(d + "ro2", os.O_RDONLY); os.rename(d + "ro1", d + "ro2")
open("/proc/sys/vm/drop_caches", "w").write("3")
assert os.pread(f, 9, 0) == b"two" and open(d + "ro2").read() == "one"'
t "O_TMPFILE" py '
d = sys.argv[1]
f = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o640); os.write(f, b"unnamed")
assert os.fstat(f).st_nlink == 0
assert ctypes.CDLL(None).linkat(-100, b"/proc/self/fd/%d" % f, -100, (d + "/named").encode(), 0x400) == 0
assert open(d + "/named").read() == "unnamed" and os.stat(d + "/named").st_nlink == 1
assert stat.S_IMODE(os.stat(d + "/named").st_mode) == 0o640
os.close(os.open(d, os.O_TMPFILE | os.O_RDWR))'
t "fsync, fdatasync, syncfs" py '
p = sys.argv[1] + "/sync"; f = os.open(p, os.O_CREAT | os.O_RDWR)
for i in range(20): os.write(f, b"x"); os.fsync(f) if i % 2 else os.fdatasync(f)
d = os.open(sys.argv[1], os.O_RDONLY); os.fsync(d)
assert ctypes.CDLL(None).syncfs(d) == 0'
t "fsync by eight at once" py '
import threading
def run(i):
    f = os.open(sys.argv[1] + "/sy%d" % i, os.O_CREAT | os.O_RDWR)
    for k in range(50): os.write(f, b"x"); os.fsync(f)
ts = [threading.Thread(target=run, args=(i,)) for i in range(8)]
[x.start() for x in ts]; [x.join() for x in ts]
assert all(os.stat(sys.argv[1] + "/sy%d" % i).st_size == 50 for i in range(8))'
t "locks" py '
f = os.open(sys.argv[1] + "/lock", os.O_CREAT | os.O_RDWR); g = os.open(sys.argv[1] + "/lock", os.O_RDWR)
fcntl.flock(f, fcntl.LOCK_EX)
try: fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB); assert False
except BlockingIOError: pass
fcntl.lockf(f, fcntl.LOCK_EX)'
t "ioctl" py '
f = os.open(sys.argv[1] + "/lock", os.O_RDWR)
try: fcntl.ioctl(f, 0x5413, b"12345678"); assert False
except OSError as e: assert e.errno == errno.ENOTTY, e'

# Names

t "folders" bash -c "cd '$mnt' && mkdir -p a/b/c && [ \$(stat -c %h a) = 3 ] && rmdir a/b/c && [ \$(stat -c %h a/b) = 2 ]"
t "rmdir of a full folder" bash -c "cd '$mnt' && mkdir full && touch full/x && ! rmdir full 2>/dev/null"
t "255-byte names" py '
p = sys.argv[1] + "/" + "n" * 255; open(p, "w").write("x"); assert "n" * 255 in os.listdir(sys.argv[1])
for make in (lambda q: open(q, "w"), os.mkdir, lambda q: os.rename(p, q), lambda q: os.stat(q)):
    try: make(p + "n"); assert False
    except OSError as e: assert e.errno == errno.ENAMETOOLONG, e
os.unlink(p)'
t "hard links" bash -c "cd '$mnt' && echo x >h1 && ln h1 h2 && [ \$(stat -c %h h1) = 2 ] && rm h1 && [ \$(cat h2) = x ] && [ \$(stat -c %h h2) = 1 ]"
t "symbolic links" bash -c "cd '$mnt' && ln -s h2 s && [ \$(readlink s) = h2 ] && [ \$(cat s) = x ]"
t "a symbolic link of 4095 bytes" py '
os.symlink("s" * 4095, sys.argv[1] + "/slong"); assert os.readlink(sys.argv[1] + "/slong") == "s" * 4095'
t "rename" bash -c "cd '$mnt' && mkdir -p r1/in r2 && touch r1/in/f && mv r1/in r2/in && [ -e r2/in/f ] && [ ! -e r1/in ] && [ \$(stat -c %h r1) = 2 ] && [ \$(stat -c %h r2) = 3 ]"
t "rename flags" py '
d = sys.argv[1] + "/"; libc = ctypes.CDLL(None, use_errno=True)
open(d + "x1", "w").write("1"); open(d + "x2", "w").write("2")
def ren(a, b, f): return libc.renameat2(-100, (d + a).encode(), -100, (d + b).encode(), f)
assert ren("x1", "x2", 1) == -1 and ctypes.get_errno() == errno.EEXIST
assert ren("x1", "x2", 2) == 0 and open(d + "x1").read() == "2" and open(d + "x2").read() == "1"
assert ren("x1", "x3", 1) == 0 and not os.path.exists(d + "x1")'
t "special files" bash -c "cd '$mnt' && mkfifo p && mknod c c 1 3 && mknod b b 7 9 && [ -p p ] && [ \"\$(stat -c %t,%T c)\" = 1,3 ] && [ -b b ]"
t "a socket" py 'import socket; s = socket.socket(socket.AF_UNIX); os.chdir(sys.argv[1]); s.bind("sock"); assert stat.S_ISSOCK(os.stat("sock").st_mode)'
t "5000 names, listed cold" py '
d = sys.argv[1] + "/many"; os.mkdir(d)
for i in range(5000): open(d + "/file%d" % i, "w").close()
open("/proc/sys/vm/drop_caches", "w").write("3")
assert sorted(os.listdir(d)) == sorted("file%d" % i for i in range(5000))
for i in range(0, 5000, 2): os.unlink(d + "/file%d" % i)
assert len(os.listdir(d)) == 2500 and os.stat(d).st_nlink == 2
for n in os.scandir(d): assert n.stat().st_size == 0'
t "rm -rf" bash -c "cd '$mnt' && rm -rf many && [ ! -e many ]"

# Attributes

t "chmod, chown, times" py '
p = sys.argv[1] + "/attr"; open(p, "w").close()
os.chmod(p, 0o4751); os.chown(p, 12, 34); os.utime(p, ns=(111222333444, 555666777888)); s = os.stat(p)
assert s.st_uid == 12 and s.st_gid == 34 and s.st_mtime_ns == 555666777888 and s.st_atime_ns == 111222333444
assert stat.S_IMODE(s.st_mode) == 0o751, oct(s.st_mode)'
t "umask" bash -c "cd '$mnt' && umask 027 && touch um && mkdir umd && [ \$(stat -c %a um) = 640 ] && [ \$(stat -c %a umd) = 750 ]"
t "extended attributes" py '
p = sys.argv[1] + "/attr"; big = os.urandom(60000)
os.setxattr(p, "user.a", b"1"); os.setxattr(p, "user.big", big); os.setxattr(p, "trusted.t", b"2"); os.setxattr(p, "user.empty", b"")
assert os.getxattr(p, "user.big") == big and os.getxattr(p, "user.empty") == b""
assert set(os.listxattr(p)) == {"user.a", "user.big", "user.empty", "trusted.t"}
os.removexattr(p, "user.a")
for call, want in ((lambda: os.getxattr(p, "user.a"), errno.ENODATA), (lambda: os.setxattr(p, "user.big", b"", os.XATTR_CREATE), errno.EEXIST),
                   (lambda: os.setxattr(p, "user.no", b"", os.XATTR_REPLACE), errno.ENODATA)):
    try: call(); assert False
    except OSError as e: assert e.errno == want, e'
t "setuid goes when an unprivileged user writes" py '
p = sys.argv[1] + "/suid"; open(p, "w").write("x"); os.chmod(p, 0o6777)
pid = os.fork()
if pid == 0:
    os.setgid(1000); os.setuid(1000)
    f = os.open(p, os.O_WRONLY) if os.access(p, os.W_OK) else -1
    os._exit(0 if f >= 0 and os.write(f, b"y") == 1 else 9)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert code in (0, 9)
if code == 0: assert stat.S_IMODE(os.stat(p).st_mode) == 0o777, oct(os.stat(p).st_mode)'
if command -v setfacl >/dev/null; then
	t "ACL: list and mode in step" bash -c "cd '$mnt' && touch acl && chmod 640 acl && setfacl -m u:12:rw acl && [ \$(stat -c %a acl) = 660 ] && chmod 600 acl && getfacl -cn acl | grep -q '^mask::---' && getfacl -cn acl | grep -q '^user:12:rw-'"
	t "ACL: a minimal list is only the mode" bash -c "cd '$mnt' && setfacl -b acl && setfacl -m g::r acl && [ \$(stat -c %a acl) = 640 ] && ! ls -l acl | grep -q '^[^ ]*+'"
	t "ACL: inherited" bash -c "cd '$mnt' && mkdir acld && setfacl -d -m u:12:rwx,g::rx,o::- acld && (umask 077; touch acld/f; mkdir acld/d; mkdir acld/d/e) && getfacl -cn acld/f | grep -q '^user:12:rwx.*#effective:rw-' && [ \$(stat -c %a acld/f) = 660 ] && [ \$(stat -c %a acld/d/e) = 770 ] && getfacl -cn acld/d/e | grep -q '^default:user:12:rwx'"
fi
t "df" bash -c "[ \$(df --output=avail '$mnt' | tail -1) -gt 1000 ] && [ \$(df --output=iused '$mnt' | tail -1) -gt 10 ]"

# .embassy

t "hidden" bash -c "[ -d '$mnt/.embassy' ] && ! ls -a '$mnt' | grep -q embassy"
t "can't be made or removed" bash -c "! mkdir '$mnt/.embassy' 2>/dev/null && ! rmdir '$mnt/.embassy' 2>/dev/null && ! mv '$mnt/.embassy' '$mnt/y' 2>/dev/null && ! mv '$mnt/f' '$mnt/.embassy' 2>/dev/null || [ -e '$mnt/f' ]"
t "status" py '
s = json.load(open(sys.argv[1] + "/.embassy/status")); assert s["mode"] == "live" and s["embassies"] == [] and s["head"]["number"] > 0, s'
t "status is fresh" py '
p = sys.argv[1] + "/.embassy/status"; d = os.open(sys.argv[1] + "/.embassy", os.O_RDONLY)
a = json.load(open(p)); open(sys.argv[1] + "/fresh", "w").write("x"); os.fsync(d); b = json.load(open(p))
assert b["head"]["number"] > a["head"]["number"] and b["durable_end"] >= b["head"]["end"], (a, b)'
t "many readers of status" bash -c "for i in \$(seq 200); do cat '$mnt/.embassy/status' >/dev/null || exit 1; done"
echo old >"$mnt/story"
mkdir -p "$mnt/tree/sub"; echo deep >"$mnt/tree/sub/file"
t "snapshot" mkdir "$mnt/.embassy/snapshots/s1"
sleep 1.1
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
sleep 1.1
echo new >"$mnt/story"; rm -r "$mnt/tree"
t "snapshots are listed" bash -c "[ \"\$(ls '$mnt/.embassy/snapshots')\" = s1 ]"
t "a snapshot shows what was" bash -c "cd '$mnt/.embassy/snapshots/s1' && [ \$(cat story) = old ] && [ \$(cat tree/sub/file) = deep ] && ls -lR . >/dev/null"
t "at" bash -c "cd '$mnt/.embassy/at/$now' && [ \$(cat story) = old ] && [ \$(cat tree/sub/file) = deep ]"
t "at a snapshot" bash -c "[ \$(cat '$mnt/.embassy/at/snapshot:s1/story') = old ]"
t "at head:2" test -d "$mnt/.embassy/at/head:2"
t "ago" bash -c "sleep 2; [ \$(cat '$mnt/.embassy/ago/1s/story') = new ]"
t "ago moves" py '
p = sys.argv[1]; old = os.stat(p + "/.embassy/ago/1s").st_ino; open(p + "/moves", "w").write("x"); d = os.open(p + "/.embassy", os.O_RDONLY)
os.fsync(d); time.sleep(2.2); assert open(p + "/.embassy/ago/1s/moves").read() == "x"'
t "two names of one head" bash -c "cd '$mnt/.embassy' && for i in 1 2 3; do [ \$(cat snapshots/s1/story) = old ] && [ \$(cat at/snapshot:s1/story) = old ] || exit 1; done"
t "the past can't be changed" fails "Read-only" touch "$mnt/.embassy/snapshots/s1/x"
t "nor removed from" fails "Read-only" rm "$mnt/.embassy/snapshots/s1/story"
t "nor truncated" fails "Read-only" truncate -s 0 "$mnt/.embassy/snapshots/s1/story"
t "nor linked from" bash -c "! ln '$mnt/.embassy/snapshots/s1/story' '$mnt/lnk' 2>/dev/null"
t "copied back" bash -c "cp -a '$mnt/.embassy/snapshots/s1/tree' '$mnt/tree' && [ \$(cat '$mnt/tree/sub/file') = deep ]"
t "unreadable time" fails "No such file" ls "$mnt/.embassy/at/noonish"
t "too early" fails "No such file" ls "$mnt/.embassy/at/2001-01-01T00:00:00Z"
t "no such snapshot" fails "No such file" ls "$mnt/.embassy/snapshots/none"
t "snapshot exists" fails "File exists" mkdir "$mnt/.embassy/snapshots/s1"
t "only a snapshot can be made there" fails "Read-only" mkdir "$mnt/.embassy/at/x"
t "snapshot removed" bash -c "rmdir '$mnt/.embassy/snapshots/s1' && [ ! -e '$mnt/.embassy/snapshots/s1' ]"
t "and taken again" bash -c "mkdir '$mnt/.embassy/snapshots/s1' && [ \$(cat '$mnt/.embassy/snapshots/s1/story') = new ]"
t "held snapshot" py 'os.mkdir(sys.argv[1] + "/.embassy/snapshots/held", 0o1755)'
t "can't be removed" fails "not permitted" rmdir "$mnt/.embassy/snapshots/held"

# Other mounts of the same volume, and the same volume again

t "a view beside the live mount" mount_view ro
t "says where it stands" bash -c "umount '$view' && timeout 60 '$embassyfs' '$vol' '$view' -o passphrase-file='$work/pass',at=snapshot:s1 2>&1 | grep -q 'at head [0-9]* of 2'"
t "shows it" bash -c "[ \$(cat '$view/story') = new ]"
t "is read-only" fails "Read-only" touch "$view/x"
t "SEEK_HOLE in a view" python3 -c "
import os
f = os.open('$view/sparse', os.O_RDONLY); assert os.lseek(f, 0, os.SEEK_DATA) > 1000000"
t "status of a view" python3 -c "
import json; s = json.load(open('$view/.embassy/status')); assert s['mode'] == 'view', s"
t "unmount the view" unmount "$view"
sums() { (cd "$1" && find . -type f ! -name 'sparse' -print0 | sort -z | xargs -0 sha256sum); }
before=$(sums "$mnt")
t "unmount" unmount "$mnt"
t "mount again" mount_live "flush=1,noatime,nosupervise"
t "everything is still there" test "$before" = "$(sums "$mnt")"
echo durable >"$mnt/durable"
sync "$mnt/durable"
t "killed" kill -KILL "$(daemon_of "$mnt")"
t "its helper ends too" gone "$mnt"
t "unmount what was killed" unmount "$mnt"
t "mount after that" mount_live
t "nothing synced is lost" bash -c "[ \$(cat '$mnt/durable') = durable ]"
exec 9>"$mnt/late"
echo late >&9
t "in use: SIGTERM" kill -TERM "$(daemon_of "$mnt")"
t "it ends" gone "$mnt"
t "and is no mount any more" bash -c "! grep -qs ' $mnt fuse.embassyfs ' /proc/mounts"
exec 9>&-
t "mount once more" mount_live
t "and what was written is there" bash -c "[ \$(cat '$mnt/late') = late ]"
t "unmount at last" unmount "$mnt"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
