#!/bin/bash
# rsync, tar and cp -a keep everything, to the mount, on it, and back: hard links, symbolic
# links, sparse files, fifos, devices, access lists, extended attributes, odd names and bytes,
# times to the nanosecond.  rsync, asked to compare every byte in both directions, finds nothing
# to do; so does a list of our own, which knows what rsync does not look at.
# shellcheck source=tests/apps/lib.sh
. "$(dirname "$0")/lib.sh"
needs rsync rsync
needs setfacl acl
needs setfattr attr
needs python3 python3

src=$work/src

# A tree with everything; most of its bytes are this machine's own.
make_tree() {
	mkdir "$src" && cd "$src" || return
	mkdir -p plain deep/a/b/c/d/e/f empty sticky sgid
	find /usr/include /usr/share/perl -xdev -type f -size -500k 2>/dev/null | head -n "$(pick 500 10000)" |
		tar -C / -cf - -T - 2>/dev/null | tar -C plain -xf - || return
	chmod 1777 sticky && chmod 2775 sgid && chmod 000 empty
	echo one >link1 && ln link1 link2 && ln link1 deep/a/link3
	ln -s link1 soft && ln -s /nowhere/at/all dangling && ln -s "$(printf '%01000d' 7)" long-target
	ln soft soft2 # a symbolic link with two names
	# A fifo with two names is left out: tar makes it two fifos.
	mkfifo fifo && mkfifo -m 600 fifo2 && mknod null c 1 3 && mknod disk b 7 200
	truncate -s "$(pick 40M 2G)" sparse && printf tail >>sparse && truncate -s "$(pick 60M 3G)" sparse
	dd if=/dev/urandom of=sparse bs=64K seek=400 count=3 conv=notrunc status=none
	truncate -s "$(pick 20M 500M)" all-hole && : >no-bytes
	head -c 5000000 /dev/urandom >random
	python3 - <<'PY' || return
import os
names = [b" ", b"  two  ", b"-rf", b"*", b"new\nline", b"tab\there", b"back\\slash", b"quo'te\"s",
         b"\xff\xfe not utf8", "naïve ☃".encode(),
         b"n" * 255, b"\x01\x1b[0m", b"...", b"~", b"#x#", b"a" + b"\xcc\x81", "á".encode(),
         b"CASE", b"case", b"trailing."]
os.mkdir("odd")
for n in names:
    with open(b"odd/" + n, "wb") as f: f.write(b"name " + n)
    os.mkdir(b"odd/" + n[:250] + b".dir"); open(b"odd/" + n[:250] + b".dir/" + n, "wb").close()
os.mkdir("modes")
for mode in list(range(0, 0o1000, 37)) + [0o4755, 0o2755, 0o6711, 0o1644]:
    f = os.open("modes/%o" % mode, os.O_CREAT | os.O_WRONLY)
    os.chown(f, mode % 7 * 1000, mode % 5 * 100)
    os.fchmod(f, mode)
    os.close(f)
os.mkdir("times")
for i, ns in enumerate((0, 1, 999999999, 123456789, 1 << 31, 1700000000 * 10**9 + 1,
                        4102444800 * 10**9 + 987654321, -10**9 - 5)):
    open("times/%d" % i, "w").close(); os.utime("times/%d" % i, ns=(ns, ns))
    os.symlink("x", "times/l%d" % i); os.utime("times/l%d" % i, ns=(ns, ns), follow_symlinks=False)
os.mkdir("xattrs")
for i, (name, value) in enumerate([("user.empty", b""), ("user.text", b"hello"),
                                   ("user.zeros", bytes(100)), ("user.big", os.urandom(3000)),
                                   ("user." + "n" * 250, b"long"), ("trusted.t", b"\0\1\2"), ("user.\xe9", b"odd")]):
    p = "xattrs/%d" % i
    open(p, "w").close()
    os.setxattr(p, name, value)
    os.setxattr("xattrs", name, value)
p = "xattrs/many"; open(p, "w").close()
for i in range(30): os.setxattr(p, "user.%d" % i, b"v%d" % i)
PY
	mkdir -p acls/d && touch acls/f acls/g && setfacl -m u:12:rw,g:34:r,m::rw acls/f &&
		setfacl -m u:99:--- acls/g && setfacl -d -m u:12:rwx,g::rx,o::- acls/d &&
		touch acls/d/inherits || return
	# Folders last, each with a time of its own.
	find . -depth -type d -print0 | xargs -0 touch -h -d '2019-05-06 07:08:09.123456789'
}

# Names, kinds, modes, owners, times, links with who shares them, targets, devices, contents,
# access lists, attributes.
list() {
	(
		cd "$1" && python3 - <<'PY'
import os, hashlib, stat
first = {}
for d, dirs, files in os.walk(b"."):
    dirs.sort()
    for n in [b"."] * (d == b".") + sorted(dirs + files):
        p = os.path.join(d, n); s = os.lstat(p)
        size = s.st_size if not stat.S_ISDIR(s.st_mode) else 0
        print(p, oct(s.st_mode), s.st_nlink, s.st_uid, s.st_gid, s.st_mtime_ns, size, s.st_rdev,
              end=" ")
        if s.st_nlink > 1 and not stat.S_ISDIR(s.st_mode):
            print("same as", first.setdefault(s.st_ino, p), end=" ")
        if stat.S_ISLNK(s.st_mode): print("->", os.readlink(p), end=" ")
        if stat.S_ISREG(s.st_mode):
            h = hashlib.sha256()
            with open(p, "rb") as f:
                for piece in iter(lambda: f.read(1 << 20), b""): h.update(piece)
            print(h.hexdigest(), end=" ")
        if not stat.S_ISLNK(s.st_mode):
            print(sorted((a, os.getxattr(p, a)) for a in os.listxattr(p)), end="")
        print()
PY
	) >"$2"
}

nothing_to_do() { # nothing_to_do A B: rsync finds no difference, whichever way
	local out
	out=$(rsync -aHAXSn --checksum --delete -i "$1/" "$2/" &&
		rsync -aHAXSn --checksum --delete -i "$2/" "$1/") || return
	[ -z "$out" ] || { echo "$out" | head -20; return 1; }
}

same() { # same TREE: as the source
	list "$1" "$work/found.list" && diff "$work/src.list" "$work/found.list" &&
		nothing_to_do "$src" "$1"
}

through_tar() {
	tar -C "$1" --xattrs --xattrs-include='*' --acls --format=posix -S -cf - . |
		tar -C "$2" --xattrs --xattrs-include='*' --acls -xpf -
}

# Holes must stay holes in what the copy takes up.
sparse() {
	local kib
	kib=$(du -k "$1/sparse" "$1/all-hole" | awk '{n += $1} END {print n}')
	[ "$kib" -lt 4096 ] || { echo "$kib KiB are allocated"; return 1; }
}

copy() { # copy WORDS TO COMMAND...
	local words=$1 to=$2
	shift 2
	mkdir "$to"
	check "$words" "$@" && check "$words: nothing differs" same "$to"
}

check "a tree with everything" make_tree || give_up "no tree"
cd "$work" || exit
check "which is listed" list "$src" "$work/src.list"
copy "rsync to the mount" "$mnt/rsync" rsync -aHAXS "$src/" "$mnt/rsync/"
check "rsync to the mount: holes are kept" sparse "$mnt/rsync"
copy "cp -a to the mount" "$mnt/cp" cp -a --sparse=always "$src/." "$mnt/cp/"
check "cp -a to the mount: holes are kept" sparse "$mnt/cp"
copy "tar to the mount" "$mnt/tar" through_tar "$src" "$mnt/tar"
copy "cp -a on the mount" "$mnt/cp2" cp -a "$mnt/rsync/." "$mnt/cp2/"
check "remounted" remount_it
for tree in rsync cp tar cp2; do
	check "$tree: nothing differs, read cold" same "$mnt/$tree"
done
copy "rsync back" "$work/back-rsync" rsync -aHAXS "$mnt/cp/" "$work/back-rsync/"
rm -rf "$work/back-rsync"
copy "tar back" "$work/back-tar" through_tar "$mnt/rsync" "$work/back-tar"
rm -rf "$work/back-tar"
copy "cp -a back" "$work/back-cp" cp -a "$mnt/tar/." "$work/back-cp/"

overwrite() { # overwrite FILE: eight bytes of it, so that its size and times do not tell
	touch -r "$1" "$work/time"
	dd if=/dev/zero of="$1" bs=1 seek=100000 count=8 conv=notrunc && touch -r "$work/time" "$1"
}

notices() { # notices COMMAND...: a change that the comparison must see
	"$@" && ! same "$mnt/cp"
}
check "the comparison sees changed bytes" notices overwrite "$mnt/cp/random"
check "everything can be removed" bash -c "rm -rf '$mnt'/* && [ -z \"\$(ls -A '$mnt')\" ]"
conclude
