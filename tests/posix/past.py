#!/usr/bin/env python3
"""Everything that changes a file, tried on files of the past, which stay as they are for everybody.

past.py PAST LIVE, as root.  PAST shows, at some head, a folder that `past.py --make LIVE` filled;
LIVE is a folder of the same mount that can be changed, or "-".
Each is tried as root and as the files' owner, while another has the file open and mapped.
Prints each failure and ends with "N passed, N failed"; exit 1 if any failed.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
import subprocess
import sys
import traceback

OWNER = 65534
TEXT = b"as it was\n" * 1000
REFUSED = {errno.EROFS}
# What the kernel refuses before it asks.
NEVER = REFUSED | {errno.EPERM, errno.EACCES, errno.EXDEV, errno.ENOTTY, errno.EOPNOTSUPP}

libc = ctypes.CDLL(None, use_errno=True)
past, live = sys.argv[1], sys.argv[2]
tries = []


def attempt(fn):
    tries.append(fn)
    return fn


def call(name, *args):
    rc = getattr(libc, name)(*args)
    if rc < 0:
        raise OSError(ctypes.get_errno(), name)
    return rc


class Opened:
    def __init__(self, path, flags):
        self.fd = os.open(path, flags, 0o644)

    def __enter__(self):
        return self.fd

    def __exit__(self, *_):
        os.close(self.fd)


def with_open(flags, fn):
    with Opened(f"{past}/file", flags) as fd:
        fn(fd)


def aligned():
    m = mmap.mmap(-1, 4096)
    m.write(b"x" * 4096)
    return m


# Contents.
@attempt
def write():
    with_open(os.O_RDWR, lambda fd: os.write(fd, b"changed"))


@attempt
def write_only():
    with_open(os.O_WRONLY, lambda fd: os.write(fd, b"changed"))


@attempt
def write_after_read():
    def both(fd):
        assert os.read(fd, 100) == TEXT[:100]
        os.write(fd, b"changed")

    with_open(os.O_RDWR, both)


@attempt
def write_twice():
    def both(fd):
        try:
            os.write(fd, b"changed")
        except OSError:
            os.write(fd, b"changed")
        raise AssertionError("written")

    with_open(os.O_RDWR, both)


@attempt
def pwrite_beyond_the_end():
    with_open(os.O_RDWR, lambda fd: os.pwrite(fd, b"changed", 1 << 20))


@attempt
def writev():
    with_open(os.O_RDWR, lambda fd: os.writev(fd, [b"chan", b"ged"]))


@attempt
def append():
    with_open(os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"changed"))


@attempt
def write_sync():
    with_open(os.O_WRONLY | os.O_SYNC, lambda fd: os.write(fd, b"changed"))


@attempt
def write_direct():
    with_open(os.O_WRONLY | os.O_DIRECT, lambda fd: os.writev(fd, [aligned()]))


@attempt
def write_set_id():
    with Opened(f"{past}/setid", os.O_RDWR) as fd:
        os.write(fd, b"changed")


@attempt
def write_with_capability():
    with Opened(f"{past}/capable", os.O_RDWR) as fd:
        os.write(fd, b"changed")


@attempt
def splice():
    r, w = os.pipe()
    os.write(w, b"changed")
    with_open(os.O_WRONLY, lambda fd: os.splice(r, fd, 7))


@attempt
def sendfile():
    with open("/proc/self/exe", "rb") as f:
        with_open(os.O_WRONLY, lambda fd: os.sendfile(fd, f.fileno(), 0, 4096))


@attempt
def copy_from_past():
    with Opened(f"{past}/other", os.O_RDONLY) as other:
        with_open(os.O_WRONLY, lambda fd: os.copy_file_range(other, fd, 100))


@attempt
def copy_from_live():
    if live == "-":
        raise OSError(errno.EROFS, "nothing to copy from")
    with Opened(f"{live}/other", os.O_RDONLY) as other:
        with_open(os.O_WRONLY, lambda fd: os.copy_file_range(other, fd, 100))


@attempt
def reopened_through_proc():
    with Opened(f"{past}/file", os.O_RDONLY) as fd:
        with Opened(f"/proc/self/fd/{fd}", os.O_RDWR) as again:
            os.write(again, b"changed")


@attempt
def truncate():
    os.truncate(f"{past}/file", 3)


@attempt
def lengthen():
    os.truncate(f"{past}/file", 1 << 20)


@attempt
def ftruncate():
    with_open(os.O_RDWR, lambda fd: os.ftruncate(fd, 3))


@attempt
def open_truncating():
    os.close(os.open(f"{past}/file", os.O_RDWR | os.O_TRUNC))


@attempt
def fallocate():
    with_open(os.O_RDWR, lambda fd: os.posix_fallocate(fd, 0, 1 << 20))


@attempt
def punch_hole():
    def punch(fd):
        call("fallocate", fd, 3, ctypes.c_long(0), ctypes.c_long(4096))

    with_open(os.O_RDWR, punch)


@attempt
def map_shared():
    """Written where nobody else sees it; that it can't be kept is told."""

    def change(fd):
        m = mmap.mmap(fd, 4096)
        assert m[:9] == TEXT[:9]
        m[:7] = b"changed"
        look()
        try:
            m.flush()
        finally:
            look()

    with_open(os.O_RDWR, change)


@attempt
def map_then_protect():
    def change(fd):
        m = mmap.mmap(fd, 4096, prot=mmap.PROT_READ)
        assert m[:9] == TEXT[:9]
        address = address_of(fd)
        call("mprotect", ctypes.c_void_p(address), ctypes.c_size_t(4096), 3)
        ctypes.memset(address, 0x21, 7)
        look()
        call("msync", ctypes.c_void_p(address), ctypes.c_size_t(4096), 4)

    with_open(os.O_RDWR, change)


def address_of(fd):
    ino = os.fstat(fd).st_ino
    with open("/proc/self/maps") as f:
        for line in f:
            if line.split()[4] == str(ino):
                return int(line.split("-")[0], 16)
    raise AssertionError("not mapped")


# Attributes.
@attempt
def utime():
    os.utime(f"{past}/file", (1, 1))


@attempt
def futimens_now():
    with_open(os.O_RDWR, os.utime)


@attempt
def chmod():
    os.chmod(f"{past}/file", 0o666)


@attempt
def fchmod():
    with_open(os.O_RDONLY, lambda fd: os.fchmod(fd, 0o666))


@attempt
def chown():
    os.chown(f"{past}/file", -1, os.getegid())


@attempt
def set_user_attribute():
    os.setxattr(f"{past}/file", "user.other", b"x")


@attempt
def replace_user_attribute():
    os.setxattr(f"{past}/file", "user.test", b"x", os.XATTR_REPLACE)


@attempt
def remove_user_attribute():
    os.removexattr(f"{past}/file", "user.test")


@attempt
def set_capability():
    os.setxattr(f"{past}/file", "security.capability", struct.pack("<5I", 1 << 25, 0, 0, 0, 0))


@attempt
def remove_capability():
    os.removexattr(f"{past}/capable", "security.capability")


@attempt
def set_access_list():
    acl = struct.pack("<I", 2)
    for tag, rights, who in ((1, 6, -1), (2, 6, 1), (4, 4, -1), (16, 6, -1), (32, 4, -1)):
        acl += struct.pack("<HHi", tag, rights, who)
    os.setxattr(f"{past}/file", "system.posix_acl_access", acl)


@attempt
def set_default_list():
    acl = struct.pack("<I", 2)
    for tag in (1, 4, 32):
        acl += struct.pack("<HHi", tag, 7, -1)
    os.setxattr(f"{past}/dir", "system.posix_acl_default", acl)


@attempt
def set_flags():
    def change(fd):
        fcntl.ioctl(fd, 0x40086602, struct.pack("l", 0x20))  # FS_IOC_SETFLAGS: append only

    with_open(os.O_RDONLY, change)


@attempt
def set_extended_flags():
    def change(fd):
        fcntl.ioctl(fd, 0x401C5820, bytes(28))  # FS_IOC_FSSETXATTR

    with_open(os.O_RDONLY, change)


# Names.
@attempt
def create():
    os.close(os.open(f"{past}/dir/new", os.O_CREAT | os.O_WRONLY))


@attempt
def create_unnamed():
    os.close(os.open(f"{past}/dir", os.O_TMPFILE | os.O_WRONLY))


@attempt
def mkdir():
    os.mkdir(f"{past}/dir/new")


@attempt
def mkfifo():
    os.mkfifo(f"{past}/dir/new")


@attempt
def mknod():
    os.mknod(f"{past}/dir/new", stat.S_IFREG | 0o644)


@attempt
def symlink():
    os.symlink("x", f"{past}/dir/new")


@attempt
def link_within():
    os.link(f"{past}/file", f"{past}/dir/new")


@attempt
def link_out():
    os.link(f"{past}/file", f"{live if live != '-' else past}/out")


@attempt
def link_into():
    os.link(f"{live if live != '-' else past}/other", f"{past}/dir/new")


@attempt
def rename_within():
    os.rename(f"{past}/file", f"{past}/dir/new")


@attempt
def rename_out():
    os.rename(f"{past}/file", f"{live if live != '-' else past}/out")


@attempt
def rename_into():
    os.rename(f"{live if live != '-' else past}/other", f"{past}/file")


@attempt
def exchange():
    call("renameat2", -100, f"{past}/file".encode(), -100, f"{past}/other".encode(), 2)


@attempt
def unlink():
    os.unlink(f"{past}/file")


@attempt
def rmdir():
    os.rmdir(f"{past}/dir")


def state():
    """All that a newcomer sees."""
    out = []
    for name in ("file", "other", "setid", "capable", "dir"):
        path = f"{past}/{name}"
        st = os.lstat(path)
        out.append((name, st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_nlink, st.st_size,
                    st.st_blocks, st.st_mtime_ns, st.st_ctime_ns))
        out.append([(x, os.getxattr(path, x)) for x in sorted(os.listxattr(path))])
        if name != "dir":
            with open(path, "rb") as f:
                out.append(f.read())
    out.append((sorted(os.listdir(past)), sorted(os.listdir(f"{past}/dir"))))
    return out


# By a process that has the file open, and one that opens it.
def look():
    assert watcher.stdin and watcher.stdout
    watcher.stdin.write(b"look\n")
    watcher.stdin.flush()
    answer = watcher.stdout.readline()
    assert answer == b"same\n", f"others see a change: {answer!r}"


def watch():
    before = state()
    fd = os.open(f"{past}/file", os.O_RDONLY)
    mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    for _ in iter(sys.stdin.buffer.readline, b""):
        same = (state() == before and mapped[:] == TEXT and os.pread(fd, 1 << 20, 0) == TEXT
                and os.fstat(fd).st_size == len(TEXT))
        print("same" if same else "changed", flush=True)


def refused(fn):
    allowed = REFUSED if fn in tries[:tries.index(utime)] else NEVER
    if fn in (map_shared, map_then_protect):
        allowed = allowed | {errno.EIO}
    try:
        fn()
    except OSError as e:
        assert e.errno in allowed, e
    else:
        raise AssertionError("it was done")


def in_child(fn, *args, uid=0):
    pid = os.fork()
    if pid == 0:
        try:
            if uid:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            fn(*args)
        except BaseException:
            traceback.print_exc(limit=5)
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def reading_is_not_disturbed():
    path = f"{past}/file"
    try:
        os.getxattr(path, "security.capability")
        raise AssertionError("a capability that is not there")
    except OSError as e:
        assert e.errno == errno.ENODATA, e
    assert os.listxattr(path) == ["user.test"], os.listxattr(path)
    # Capabilities show where the past is mounted by itself, which is nosuid; not among live files.
    if live == "-":
        assert len(os.getxattr(f"{past}/capable", "security.capability")) == 20
    else:
        assert "security.capability" not in os.listxattr(f"{past}/capable")
    assert subprocess.run([f"{past}/true"]).returncode == 0
    to = "/dev/shm" if os.path.isdir("/dev/shm") else "/tmp"
    to = f"{to}/embassyfs-past-{os.getpid()}"
    try:
        done = subprocess.run(["cp", "-a", past, to], capture_output=True)
        assert done.returncode == 0 and done.stderr == b"", done.stderr
        with open(f"{to}/file", "rb") as f:
            assert f.read() == TEXT
    finally:
        subprocess.run(["rm", "-rf", to])


def make(folder):
    os.makedirs(f"{folder}/dir")
    for name in ("file", "other", "setid", "capable"):
        with open(f"{folder}/{name}", "wb") as f:
            f.write(TEXT)
        os.chown(f"{folder}/{name}", OWNER, OWNER)
    os.setxattr(f"{folder}/file", "user.test", b"value")
    os.chmod(f"{folder}/setid", 0o6755)
    os.setxattr(f"{folder}/capable", "security.capability",
                struct.pack("<5I", 2 << 24, 1, 0, 0, 0))
    os.chown(f"{folder}/dir", OWNER, OWNER)
    os.chown(folder, OWNER, OWNER)
    subprocess.run(["cp", "/bin/true", folder], check=True)
    os.sync()


def main():
    global watcher
    passed = failed = 0
    watcher = subprocess.Popen([sys.executable, __file__, past, "--watch"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for uid in (0, OWNER):
        for fn in tries:
            if in_child(refused, fn, uid=uid) and in_child(look):
                passed += 1
            else:
                print(f"FAILED {fn.__name__} by {uid} in {past}", flush=True)
                failed += 1
    if in_child(reading_is_not_disturbed):
        passed += 1
    else:
        print(f"FAILED reading_is_not_disturbed in {past}", flush=True)
        failed += 1
    watcher.stdin.close()
    watcher.wait()
    print(f"{passed} passed, {failed} failed")
    return failed != 0


watcher = None
if past == "--make":
    make(live)
elif live == "--watch":
    watch()
else:
    sys.exit(main())
