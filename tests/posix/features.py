#!/usr/bin/env python3
"""What applications on ext4 take for granted, each tried on a mounted volume.

features.py FOLDER PHASE [CHECK...], as root.  FOLDER is the mount's root.  Phases: live (all that
is fast), slow (a million of things), relatime, strictatime, noatime, nodiratime (mounted so), again
(after an unmount and a new mount, what live left).
Prints each failure and ends with "N passed, N failed"; exit 1 if any failed.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import traceback

libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.restype = libc.readdir64.restype = ctypes.c_void_p
libc.telldir.restype = ctypes.c_long
for name in ("readdir64", "telldir", "closedir"):
    getattr(libc, name).argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]

AT_FDCWD, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH = -100, 0x400, 0x1000
KEEP_SIZE, PUNCH, COLLAPSE, ZERO, INSERT = 1, 2, 8, 16, 32
EXCHANGE = 2
USER = 1000
ROOT = os.path.abspath(sys.argv[1])
checks = []


def check(*phases):
    def add(fn):
        checks.append((phases or ("live",), fn))
        return fn
    return add


def call(fn, *args):
    """A C function; OSError if it returns a negative number."""
    rc = fn(*args)
    if rc < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return rc


def fails(*want):
    """A context that must end with one of these errors."""
    class Fails:
        def __enter__(self):
            return self

        def __exit__(self, kind, e, tb):
            names = [errno.errorcode[w] for w in want]
            assert kind is not None, f"succeeded; {names} was due"
            assert isinstance(e, OSError) and e.errno in want, f"{e!r}; {names} was due"
            return True
    return Fails()


def fallocate(fd, mode, off, length):
    call(libc.fallocate, fd, mode, ctypes.c_long(off), ctypes.c_long(length))


def write(path, data=b"x", mode=0o644):
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, mode)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def as_user(fn, uid=USER, groups=()):
    """Run fn in a child that is an ordinary user; its exception is ours."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = ""
        try:
            os.setgroups(list(groups))
            os.setgid(uid)
            os.setuid(uid)
            fn()
        except BaseException:
            text = traceback.format_exc()
        os.write(w, text.encode()[-60000:])
        os._exit(0)
    os.close(w)
    with os.fdopen(r, "rb") as f:
        text = f.read().decode()
    os.waitpid(pid, 0)
    assert not text, text


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


def status():
    with open(ROOT + "/.embassy/status") as f:
        return json.load(f)


# Contents

@check()
def fallocate_modes():
    f = os.open("f", os.O_CREAT | os.O_RDWR)
    fallocate(f, 0, 0, 100000)
    assert os.fstat(f).st_size == 100000
    fallocate(f, KEEP_SIZE, 0, 1 << 20)
    assert os.fstat(f).st_size == 100000
    data = bytearray(os.urandom(100000))
    os.pwrite(f, data, 0)
    fallocate(f, PUNCH | KEEP_SIZE, 5000, 30001)
    data[5000:35001] = bytes(30001)
    fallocate(f, ZERO | KEEP_SIZE, 40001, 1)
    data[40001] = 0
    fallocate(f, ZERO, 99990, 20)
    data[99990:] = bytes(20)
    assert os.fstat(f).st_size == 100010
    os.fsync(f)
    drop_caches()
    assert os.pread(f, 200000, 0) == bytes(data)
    for mode in (COLLAPSE, INSERT, PUNCH, 0x4000):
        with fails(errno.EOPNOTSUPP, errno.EINVAL):
            fallocate(f, mode, 0, 4096)
    with fails(errno.ENOSPC):
        fallocate(f, 0, 0, 1 << 60)
    with fails(errno.EFBIG):
        fallocate(f, 0, (1 << 63) - 4096, 8192)
    with fails(errno.EINVAL):
        fallocate(f, 0, 0, 0)
    with fails(errno.EBADF):
        fallocate(os.open("f", os.O_RDONLY), 0, 0, 1)


@check()
def seek_data_and_hole():
    f = os.open("f", os.O_CREAT | os.O_RDWR)
    where = (0, 1 << 20, 1 << 32, 1 << 40)
    for off in where:
        os.pwrite(f, b"x" * 4096, off)
    at, found = 0, []
    os.ftruncate(f, 1 << 41)
    while True:  # nothing of it is written back yet
        try:
            at = os.lseek(f, at, os.SEEK_DATA)
        except OSError as e:
            assert e.errno == errno.ENXIO, e
            break
        end = os.lseek(f, at, os.SEEK_HOLE)
        found.append((at, end))
        at = end
    assert found == [(off, off + 4096) for off in where], found
    fallocate(f, PUNCH | KEEP_SIZE, 0, 4096)
    assert os.lseek(f, 0, os.SEEK_DATA) == 1 << 20
    m = mmap.mmap(f, 4096, offset=8192)
    m[0] = 1  # dirty in a mapping only
    assert os.lseek(f, 0, os.SEEK_DATA) == 8192
    assert os.lseek(f, (1 << 41) - 1, os.SEEK_HOLE) == (1 << 41) - 1
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        with fails(errno.ENXIO):
            os.lseek(f, 1 << 41, whence)
    os.unlink("f")
    assert os.lseek(f, 0, os.SEEK_DATA) == 8192


@check()
def seeks_while_written():
    """Many ask at once and others write: nobody waits for ever, nobody is told a hole too many."""
    kids = []
    for i in range(8):
        pid = os.fork()
        if pid == 0:
            f = os.open(f"f{i % 3}", os.O_CREAT | os.O_RDWR)
            ok = True
            for k in range(30):
                off = (k * 8 + i) * 65536
                os.pwrite(f, b"y" * 65536, off)
                ok = ok and os.lseek(f, off, os.SEEK_DATA) == off
            os._exit(0 if ok else 1)
        kids.append(pid)
    assert all(os.waitpid(p, 0)[1] == 0 for p in kids)


@check()
def copy_file_range_shares():
    data = os.urandom(24 << 20)
    write("a", data)
    a = os.open("a", os.O_RDWR)
    os.fsync(a)
    before = status()["log_end"]
    b = os.open("b", os.O_CREAT | os.O_RDWR)
    n = 0
    while n < len(data):
        n += os.copy_file_range(a, b, len(data) - n)
    os.fsync(b)
    grown = status()["log_end"] - before
    assert grown < 256 << 10, f"the log grew by {grown} bytes"
    drop_caches()
    assert read("b") == data
    # The copy is a copy: changes of one are not the other's.
    os.pwrite(a, b"A" * 5000, 1000)
    os.ftruncate(a, 20 << 20)
    os.fsync(a)
    os.unlink("a")
    drop_caches()
    assert read("b") == data


@check()
def copy_file_range_of_any_bytes():
    data = bytearray(os.urandom(1 << 20))
    write("a", data)
    a = os.open("a", os.O_RDWR)
    b = os.open("b", os.O_CREAT | os.O_RDWR)
    # Across files, unaligned, past the target's end; within one file; short at the source's end.
    assert os.copy_file_range(a, b, 300001, 12345, 777777) == 300001
    want = bytes(777777) + bytes(data[12345:312346])
    assert read("b") == want
    assert os.copy_file_range(a, a, 1000, 0, 500000) == 1000
    data[500000:501000] = data[:1000]
    assert read("a") == bytes(data)
    assert os.copy_file_range(a, b, 1 << 20, (1 << 20) - 10, 0) == 10
    assert os.copy_file_range(a, b, 10, 1 << 20, 0) == 0
    assert read("b") == bytes(data[-10:]) + want[10:]
    with fails(errno.EINVAL):
        os.copy_file_range(a, a, 1000, 0, 500)
    with fails(errno.EISDIR):
        os.copy_file_range(os.open(".", os.O_RDONLY), b, 10)
    with fails(errno.EBADF):
        os.copy_file_range(a, os.open("b", os.O_RDONLY), 10)
    # A hole is copied as a hole.
    s = os.open("s", os.O_CREAT | os.O_RDWR)
    os.pwrite(s, b"end", 1 << 30)
    t = os.open("t", os.O_CREAT | os.O_RDWR)
    n = 0
    while n < (1 << 30) + 3:
        n += os.copy_file_range(s, t, (1 << 30) + 3 - n)
    assert os.pread(t, 3, 1 << 30) == b"end" and os.fstat(t).st_blocks < 100
    assert os.lseek(t, 0, os.SEEK_DATA) >= (1 << 30) - 4096


@check()
def copy_file_range_from_the_past():
    write("a", b"then" * 5000)
    os.mkdir(ROOT + "/.embassy/snapshots/cfr")
    try:
        write("a", b"now")
        rel = os.path.relpath(os.getcwd(), ROOT)
        a = os.open(f"{ROOT}/.embassy/snapshots/cfr/{rel}/a", os.O_RDONLY)
        b = os.open("b", os.O_CREAT | os.O_WRONLY)
        n = 0
        while n < 20000:
            n += os.copy_file_range(a, b, 20000 - n)
        assert read("b") == b"then" * 5000
        os.close(a)
    finally:
        os.rmdir(ROOT + "/.embassy/snapshots/cfr")


@check()
def o_direct():
    m = mmap.mmap(-1, 1 << 20)
    m.write(os.urandom(1 << 20))
    f = os.open("f", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    assert os.pwritev(f, [m], 4096) == 1 << 20
    r = mmap.mmap(-1, 1 << 20)
    assert os.preadv(f, [r], 4096) == 1 << 20 and r[:] == m[:]
    assert read("f")[4096:] == m[:]
    # Direct writes are seen by buffered readers, and the other way round.
    g = os.open("f", os.O_RDWR)
    os.pwrite(g, b"buffered", 8192)
    s = mmap.mmap(-1, 4096)
    assert os.preadv(f, [s], 8192) == 4096 and s[:8] == b"buffered"
    s[:] = b"d" * 4096
    os.pwritev(f, [s], 8192)
    assert os.pread(g, 4096, 8192) == s[:]


def durable_after(write_one):
    """Whether what a call wrote is durable on its return."""
    before = status()["durable_end"]
    write_one()
    return status()["durable_end"] > before + 100000


@check()
def o_sync_and_o_dsync():
    data = os.urandom(150000)
    for name, flag in (("s", os.O_SYNC), ("d", os.O_DSYNC)):
        f = os.open(name, os.O_CREAT | os.O_WRONLY | flag)
        assert durable_after(lambda: os.write(f, data)), name
    f = os.open("r", os.O_CREAT | os.O_WRONLY)
    assert durable_after(lambda: os.pwritev(f, [data], 0, os.RWF_DSYNC)), "RWF_DSYNC"
    assert durable_after(lambda: os.pwritev(f, [data], 0, os.RWF_SYNC)), "RWF_SYNC"
    os.pwrite(f, data, 0)
    assert durable_after(lambda: os.fdatasync(f)), "fdatasync"


@check()
def o_append_by_many():
    kids = []
    for i in range(4):
        pid = os.fork()
        if pid == 0:
            f = os.open("f", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            for k in range(400):
                os.write(f, b"%d:%05d;" % (i, k))
            os._exit(0)
        kids.append(pid)
    assert all(os.waitpid(p, 0)[1] == 0 for p in kids)
    words = read("f").split(b";")[:-1]
    assert len(words) == 1600, len(words)
    for i in range(4):
        mine = [w for w in words if w.startswith(b"%d:" % i)]
        assert mine == [b"%d:%05d" % (i, k) for k in range(400)]


@check()
def o_tmpfile():
    f = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(f, b"unnamed")
    assert os.fstat(f).st_nlink == 0 and os.listdir(".") == []
    call(libc.linkat, AT_FDCWD, b"/proc/self/fd/%d" % f, AT_FDCWD, b"named", AT_SYMLINK_FOLLOW)
    call(libc.linkat, f, b"", AT_FDCWD, b"again", AT_EMPTY_PATH)
    assert read("named") == b"unnamed" and os.stat("again").st_nlink == 2
    g = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL)
    with fails(errno.ENOENT):
        call(libc.linkat, AT_FDCWD, b"/proc/self/fd/%d" % g, AT_FDCWD, b"never", AT_SYMLINK_FOLLOW)


@check()
def mmap_shared_and_private():
    write("f", bytes(10000))
    f = os.open("f", os.O_RDWR)
    shared = mmap.mmap(f, 10000)
    private = mmap.mmap(f, 10000, flags=mmap.MAP_PRIVATE)
    shared[5:10] = b"hello"
    assert os.pread(f, 5, 5) == b"hello" and private[5:10] == b"hello"
    private[0:4] = b"mine"
    os.pwrite(f, b"wrote", 6000)
    assert shared[6000:6005] == b"wrote" and shared[:4] == bytes(4)
    pid = os.fork()
    if pid == 0:
        shared[100:105] = b"child"
        os._exit(0)
    os.waitpid(pid, 0)
    assert shared[100:105] == b"child"
    shared.flush()
    private.close()
    shared.close()
    drop_caches()
    data = read("f")
    assert data[5:10] == b"hello" and data[100:105] == b"child" and data[:4] == bytes(4)
    # Beyond the end of the file is a signal, not bytes.
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        m = mmap.mmap(f, 10000)
        os.ftruncate(f, 100)
        m[9000]
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGBUS


@check()
def preadv2_and_pwritev2():
    f = os.open("f", os.O_CREAT | os.O_RDWR)
    os.pwritev(f, [b"one", b"two"], 0)
    assert call(libc.pwritev2, f, ctypes.byref(iovec(b"three")), 1, ctypes.c_long(0), 0x10) == 5
    assert read("f") == b"onetwothree"  # RWF_APPEND
    b = bytearray(20)
    assert os.preadv(f, [b], 0, os.RWF_HIPRI) == 11
    try:
        assert os.preadv(f, [b], 0, os.RWF_NOWAIT) == 11
    except OSError as e:
        assert e.errno in (errno.EAGAIN, errno.EOPNOTSUPP), e
    with fails(errno.EOPNOTSUPP):
        os.preadv(f, [b], 0, 0x40000000)


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("len", ctypes.c_size_t)]


def iovec(data):
    return Iovec(data, len(data))


@check()
def sparse_to_8_eib():
    f = os.open("f", os.O_CREAT | os.O_RDWR)
    last = (1 << 63) - 2
    os.ftruncate(f, 1 << 62)
    assert os.fstat(f).st_size == 1 << 62 and os.fstat(f).st_blocks == 0
    os.pwrite(f, b"z", last)
    os.fsync(f)
    drop_caches()
    assert os.fstat(f).st_size == last + 1 and os.pread(f, 1, last) == b"z"
    assert os.pread(f, 4096, 1 << 61) == bytes(4096)
    assert os.fstat(f).st_blocks < 100
    with fails(errno.EINVAL, errno.EFBIG):
        os.pwrite(f, b"zz", last + 1)
    assert os.fstat(f).st_size == last + 1
    with fails(errno.EINVAL):
        os.lseek(f, -1, os.SEEK_SET)


@check()
def size_limit():
    def child():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
        f = os.open("f", os.O_CREAT | os.O_WRONLY)
        assert os.write(f, b"x" * 12000) == 10000
        with fails(errno.EFBIG):
            os.write(f, b"x")
        with fails(errno.EFBIG):
            os.ftruncate(f, 10001)
        with fails(errno.EFBIG):
            fallocate(f, 0, 0, 10001)
    os.chmod(".", 0o777)
    as_user(child)


# Locks

def lock_struct(kind, start, length, pid=0):
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, pid)


def in_child(fn):
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if fn() else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


def refused(fn):
    try:
        fn()
    except OSError as e:
        return e.errno in (errno.EAGAIN, errno.EACCES)
    return False


@check()
def record_locks():
    write("f", bytes(100))
    f = os.open("f", os.O_RDWR)
    fcntl.fcntl(f, fcntl.F_SETLK, lock_struct(fcntl.F_WRLCK, 10, 10))

    def other():
        g = os.open("f", os.O_RDWR)
        ask = fcntl.fcntl(g, fcntl.F_GETLK, lock_struct(fcntl.F_WRLCK, 0, 100))
        kind, _, start, length, owner = struct.unpack("hhqqi4x", ask)
        fcntl.fcntl(g, fcntl.F_SETLK, lock_struct(fcntl.F_WRLCK, 20, 10))
        assert (kind, start, length, owner) == (fcntl.F_WRLCK, 10, 10, os.getppid())
        return refused(lambda: fcntl.fcntl(g, fcntl.F_SETLK, lock_struct(fcntl.F_RDLCK, 15, 1)))
    assert in_child(other)
    fcntl.fcntl(f, fcntl.F_SETLK, lock_struct(fcntl.F_UNLCK, 10, 10))
    assert in_child(lambda: fcntl.fcntl(os.open("f", os.O_RDWR), fcntl.F_SETLK,
                                        lock_struct(fcntl.F_WRLCK, 15, 1)) is not None)


@check()
def ofd_locks():
    write("f", bytes(100))
    f, g = os.open("f", os.O_RDWR), os.open("f", os.O_RDWR)
    set_lock = 37
    fcntl.fcntl(f, set_lock, lock_struct(fcntl.F_WRLCK, 0, 50))
    assert refused(lambda: fcntl.fcntl(g, set_lock, lock_struct(fcntl.F_RDLCK, 49, 10)))
    fcntl.fcntl(g, set_lock, lock_struct(fcntl.F_RDLCK, 50, 10))
    os.close(os.open("f", os.O_RDWR))  # which would drop a record lock
    assert refused(lambda: fcntl.fcntl(g, set_lock, lock_struct(fcntl.F_RDLCK, 49, 1)))
    os.close(f)
    fcntl.fcntl(g, set_lock, lock_struct(fcntl.F_WRLCK, 0, 100))


@check()
def flock_locks():
    write("f")
    f, g = os.open("f", os.O_RDWR), os.open("f", os.O_RDWR)
    fcntl.flock(f, fcntl.LOCK_SH)
    fcntl.flock(g, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert refused(lambda: fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB))
    os.close(f)
    fcntl.flock(g, fcntl.LOCK_EX | fcntl.LOCK_NB)


# Who may do what

def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


NONE = 0xffffffff
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"


@check()
def acls_are_enforced():
    os.chmod(".", 0o755)
    write("f", b"secret", 0o600)
    with open("f") as f:
        def may(uid, mode):
            def attempt():
                os.close(os.open("f", mode))
            try:
                as_user(attempt, uid)
                return True
            except AssertionError as e:
                assert "PermissionError" in str(e), e
                return False
        assert not may(USER, os.O_RDONLY)
        os.setxattr("f", ACCESS, acl((1, 6, NONE), (2, 6, USER), (4, 0, NONE), (16, 4, NONE),
                                     (32, 0, NONE)))
        assert may(USER, os.O_RDONLY)
        assert not may(USER, os.O_RDWR)  # the mask
        assert not may(USER + 1, os.O_RDONLY)
        assert stat.S_IMODE(os.stat("f").st_mode) == 0o640
        os.chmod("f", 0o660)
        assert may(USER, os.O_RDWR)
        with fails(errno.EINVAL):
            os.setxattr("f", ACCESS, acl((1, 6, NONE), (2, 6, USER)))
    # A default list decides what is made.
    os.mkdir("d")
    os.setxattr("d", DEFAULT, acl((1, 7, NONE), (2, 7, USER), (4, 5, NONE), (16, 7, NONE),
                                  (32, 0, NONE)))
    os.umask(0o077)
    write("d/in", mode=0o660)
    os.mkdir("d/sub")
    os.umask(0o022)
    assert os.getxattr("d/sub", DEFAULT) == os.getxattr("d", DEFAULT)
    as_user(lambda: os.listdir("d/sub"))
    with fails(errno.EACCES):
        try:
            as_user(lambda: os.listdir("d/sub"), USER + 1)
        except AssertionError as e:
            assert "PermissionError" in str(e), e
            raise OSError(errno.EACCES, "")


@check()
def xattrs():
    write("f")
    os.symlink("f", "l")
    big = os.urandom(65536)
    for name in ("user.big", "trusted.big", "security.big"):
        os.setxattr("f", name, big)
    drop_caches()
    for name in ("user.big", "trusted.big", "security.big"):
        assert os.getxattr("f", name) == big
    assert set(os.listxattr("f")) == {"user.big", "trusted.big", "security.big"}
    with fails(errno.E2BIG):
        os.setxattr("f", "user.more", big + b"x")
    with fails(errno.EPERM):
        os.setxattr("l", "user.no", b"", follow_symlinks=False)
    os.setxattr("l", "trusted.yes", b"1", follow_symlinks=False)
    assert os.listxattr("l", follow_symlinks=False) == ["trusted.yes"]
    with fails(errno.EOPNOTSUPP):
        os.setxattr("f", "nosuch.namespace", b"")
    with fails(errno.ENODATA):
        os.removexattr("f", "user.none")
    os.setxattr("f", "user." + "n" * 250, b"1")
    with fails(errno.ERANGE):
        os.setxattr("f", "user." + "n" * 251, b"1")
    os.chmod("f", 0o666)
    os.chmod(".", 0o777)

    def ordinary():
        assert "trusted.big" not in os.listxattr("f") and "user.big" in os.listxattr("f")
        os.setxattr("f", "user.mine", b"2")
        with fails(errno.EPERM):
            os.setxattr("f", "trusted.no", b"")
        with fails(errno.ENODATA):
            os.getxattr("f", "trusted.big")
    as_user(ordinary)
    for i in range(200):
        os.setxattr("f", f"user.many{i}", b"v%d" % i)
    assert len(os.listxattr("f")) == 205


@check()
def setgid_folder():
    os.mkdir("d")
    os.chown("d", USER, 4321)
    os.chmod("d", 0o2777)
    write("d/f")
    os.mkdir("d/sub")
    assert os.stat("d/f").st_gid == 4321
    assert os.stat("d/sub").st_gid == 4321 and os.stat("d/sub").st_mode & stat.S_ISGID

    def child():  # who is not of the group gets no setgid program of it
        os.umask(0)
        os.close(os.open("d/prog", os.O_CREAT | os.O_WRONLY, 0o2775))
        assert stat.S_IMODE(os.stat("d/prog").st_mode) == 0o775, oct(os.stat("d/prog").st_mode)
    as_user(child)


@check()
def sticky_folder():
    os.mkdir("d")
    os.chmod("d", 0o1777)
    write("d/f", mode=0o666)

    def child():
        with fails(errno.EPERM):
            os.unlink("d/f")
        with fails(errno.EPERM):
            os.rename("d/f", "d/g")
        write("d/own", mode=0o666)
        os.unlink("d/own")
    os.chmod(".", 0o755)
    as_user(child)


@check()
def set_id_bits_go():
    os.chmod(".", 0o777)
    page = mmap.mmap(-1, 4096)
    changes = {
        "write": lambda: os.pwrite(os.open("f", os.O_WRONLY), b"y", 0),
        "direct write": lambda: os.pwritev(os.open("f", os.O_WRONLY | os.O_DIRECT), [page], 0),
        "truncate": lambda: os.truncate("f", 5),
        "fallocate": lambda: fallocate(os.open("f", os.O_WRONLY), 0, 0, 20000),
        "punch": lambda: fallocate(os.open("f", os.O_WRONLY), PUNCH | KEEP_SIZE, 0, 4096),
        "copy": lambda: os.copy_file_range(os.open("g", os.O_RDONLY), os.open("f", os.O_WRONLY),
                                           100),
    }
    write("g", b"g" * 8192)

    def mode():  # and nothing else of it: the kernel answers from what it knows
        return int(subprocess.check_output(["stat", "-c", "%a", "f"]), 8)
    for name, change in changes.items():
        for bits, gid, groups, kept in ((0o6777, 0, (), 0o777), (0o6666, 0, (), 0o666),
                                        (0o6666, 77, (77,), 0o2666), (0o2676, 77, (77,), 0o676)):
            write("f", b"x" * 8192)
            os.chown("f", 0, gid)
            os.chmod("f", bits)
            assert mode() == bits
            as_user(change, groups=groups)
            assert mode() == kept, f"{name}: {oct(bits)} became {oct(mode())}"
            os.chmod("f", bits)
            change()  # root may
            assert mode() == bits, f"{name} by root: {oct(bits)} became {oct(mode())}"
    write("f", b"x", 0o6777)
    os.chown("f", 12, 34)
    assert stat.S_IMODE(os.stat("f").st_mode) == 0o777


# Times

@check()
def times():
    write("f")
    for s in (-(1 << 33) + 7, -1, 0, (1 << 31), (1 << 33) + 3, (1 << 34)):
        for ns in (0, 1, 999999999):
            want = s * 10 ** 9 + ns
            os.utime("f", ns=(want, want + 1))
            st = os.stat("f")
            assert (st.st_atime_ns, st.st_mtime_ns) == (want, want + 1), (s, ns, st)
    want = -123456789012345678
    os.utime("f", ns=(want, want))
    drop_caches()
    assert os.stat("f").st_mtime_ns == want
    before = os.stat("f").st_ctime_ns
    os.chmod("f", 0o600)
    assert os.stat("f").st_ctime_ns >= before > 10 ** 18


@check()
def birth_times():
    def born(path):
        return float(subprocess.check_output(["stat", "-c", "%.9W", path]))
    before = time.time()
    write("f")
    born_at = born("f")
    assert before - 1 < born_at < time.time() + 1, born_at
    os.utime("f", ns=(0, 0))
    write("f", b"more")
    os.rename("f", "g")
    drop_caches()
    assert born("g") == born_at
    os.mkdir("d")
    assert born("d") >= born_at
    assert born(ROOT + "/.embassy") == 0 and born(ROOT) > 0
    os.mknod("null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert subprocess.check_output(["stat", "-c", "%t:%T %W", "null"]).startswith(b"1:3 1")


@check()
def times_go_forward():
    """What comes later is never older, whether the kernel or the volume gave it its time."""
    last = 0
    for i in range(300):
        os.close(os.open(f"f{i}", os.O_CREAT | os.O_WRONLY))
        made = os.stat(f"f{i}").st_mtime_ns
        with open(f"f{i}", "wb") as f:
            f.write(b"x")
        written = os.stat(f"f{i}").st_mtime_ns
        assert last <= made <= written, (i, last, made, written)
        last = written


@check("relatime", "strictatime", "noatime", "nodiratime")
def access_times():
    phase = sys.argv[2]
    moment = 10 ** 9
    os.mkdir("d")
    write("f", b"x" * 10000)
    write("o", b"x" * 10000)
    os.symlink("f", "l")

    def read_all():
        drop_caches()
        read("f")
        os.listdir("d")
        os.readlink("l")
        os.close(os.open("o", os.O_RDONLY))
        f = os.open("o", os.O_RDONLY | os.O_NOATIME)
        os.read(f, 100)
        os.close(f)

    def set_times(atime, mtime):
        for name in ("f", "d", "l", "o"):
            os.utime(name, ns=(atime, mtime), follow_symlinks=False)

    def moved(name, was):
        return os.stat(name, follow_symlinks=False).st_atime_ns != was
    now = time.time_ns()
    old, recent = now - 3 * 86400 * moment, now + 600 * moment
    set_times(old, old - moment)  # a day old, and its ctime is newer
    read_all()
    for name in ("f", "d", "l"):
        due = phase != "noatime" and (name != "d" or phase != "nodiratime")
        assert moved(name, old) == due, name
    assert not moved("o", old)
    set_times(recent, old)  # newer than all else
    read_all()
    assert not moved("f", recent)  # neither policy turns it back
    if phase == "noatime":
        return
    set_times(now - moment, now - 2 * moment)  # ctime is newer
    read_all()
    first = os.stat("f").st_atime_ns
    assert first != now - moment
    while time.time_ns() < first + 20000000:
        pass
    read_all()
    assert moved("f", first) == (phase == "strictatime")


# Names

@check()
def names_of_any_bytes():
    names = set()
    for b in range(1, 256):
        if b != ord("/"):
            names.add(bytes([b]) + (b"" if b != ord(".") else b"x"))
            names.add(bytes([b]) * 255)
    for n in names:
        os.close(os.open(n, os.O_CREAT | os.O_WRONLY))
    drop_caches()
    assert set(os.listdir(b".")) == names
    for n in names:
        assert os.stat(n).st_size == 0
    with fails(errno.ENAMETOOLONG):
        os.open("n" * 256, os.O_CREAT)
    for n in names:
        os.unlink(n)


def entries(d):
    """(name, cookie after it) of each entry."""
    while True:
        e = libc.readdir64(d)
        if not e:
            return
        name = ctypes.string_at(e + 19).decode()
        yield name, libc.telldir(d)


def telldir_in(n, step):
    os.mkdir("d")
    for i in range(n):
        os.close(os.open(f"d/keep{i}", os.O_CREAT | os.O_WRONLY))
    d = libc.opendir(b"d")
    seen, cookies, changes = [], [], 0
    for k, (name, cookie) in enumerate(entries(d)):
        if name.startswith("keep"):
            seen.append(name)
        if k % step == 0:
            os.close(os.open(f"d/new{k}", os.O_CREAT | os.O_WRONLY))
            if changes > 3:
                os.unlink(f"d/new{k - 3 * step}")
            changes += 1
            cookies.append((cookie, len(seen)))
    assert changes > 5
    assert len(seen) == n and len(set(seen)) == n, (len(seen), len(set(seen)))
    # From any cookie on come the same names, whatever came and went.
    for cookie, at in cookies[:: max(1, len(cookies) // 8)]:
        libc.seekdir(d, cookie)
        got = []
        for name, _ in entries(d):
            if name.startswith("keep"):
                got.append(name)
            if len(got) == 500:
                break
        assert got == seen[at:at + 500], (cookie, at)
    libc.closedir(d)
    drop_caches()
    assert sum(1 for x in os.scandir("d") if x.name.startswith("keep")) == n


@check()
def telldir_under_change():
    telldir_in(3000, 100)


@check("slow")
def telldir_in_a_million():
    telldir_in(1000000, 10000)


def hard_links(n):
    write("f")
    os.mkdir("d")
    for i in range(n):
        try:
            os.link("f", f"d/{i}")
        except OSError as e:
            assert e.errno == errno.EMLINK, e
            return
    assert os.stat("f").st_nlink == n + 1
    os.unlink("f")
    drop_caches()
    assert os.stat("d/0").st_nlink == n and read(f"d/{n - 1}") == b"x"


@check()
def hard_links_of_one_file():
    hard_links(2000)


@check("slow")
def a_million_hard_links():
    hard_links(1000000)


@check()
def rename_exchange():
    os.mkdir("d")
    write("d/in", b"inside")
    write("f", b"file")
    links = os.stat(".").st_nlink
    call(libc.renameat2, AT_FDCWD, b"d", AT_FDCWD, b"f", EXCHANGE)
    assert read("d") == b"file" and read("f/in") == b"inside" and os.stat(".").st_nlink == links
    os.mkdir("e")
    call(libc.renameat2, AT_FDCWD, b"f", AT_FDCWD, b"e", EXCHANGE)
    assert read("e/in") == b"inside" and os.listdir("f") == []
    with fails(errno.EINVAL):
        call(libc.renameat2, AT_FDCWD, b"e", AT_FDCWD, b"e/in", EXCHANGE)
    with fails(errno.ENOENT):
        call(libc.renameat2, AT_FDCWD, b"e", AT_FDCWD, b"none", EXCHANGE)
    with fails(errno.EINVAL):
        call(libc.renameat2, AT_FDCWD, b"e", AT_FDCWD, b"g", EXCHANGE | 1)


@check()
def rename_sets_ctime():
    write("f")
    os.utime("f", ns=(0, 0))
    before = os.stat("f").st_ctime_ns
    while time.clock_gettime_ns(time.CLOCK_REALTIME) < before + 20000000:
        pass
    os.rename("f", "g")
    assert os.stat("g").st_ctime_ns > before and os.stat("g").st_mtime_ns == 0


# The rest of the system

@check()
def statfs():
    s = os.statvfs(".")
    assert s.f_bsize == 4096 and s.f_namemax == 255
    assert 0 < s.f_bavail <= s.f_bfree <= s.f_blocks and 0 < s.f_ffree < s.f_files
    used = s.f_blocks - s.f_bfree
    write("f", os.urandom(8 << 20))
    os.sync()
    t = os.statvfs(".")
    grown = (t.f_blocks - t.f_bfree - used) * 4096
    assert 7 << 20 < grown < 10 << 20, grown
    subprocess.run(["df", "-k", "."], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["df", "-i", "."], check=True, stdout=subprocess.DEVNULL)


@check()
def inotify():
    fd = call(libc.inotify_init1, os.O_NONBLOCK)
    call(libc.inotify_add_watch, fd, b".", 0xfff)
    write("f", b"x")
    os.rename("f", "g")
    os.unlink("g")
    data, seen = os.read(fd, 65536), []
    while data:
        _, mask, _, n = struct.unpack_from("iIII", data)
        seen.append((mask & 0xfff, data[16:16 + n].rstrip(b"\0").decode()))
        data = data[16 + n:]
    for event in ((0x100, "f"), (0x2, "f"), (0x8, "f"), (0x40, "f"), (0x80, "g"), (0x200, "g")):
        assert event in seen, (event, seen)
    os.close(fd)


@check()
def exec_of_programs():
    shutil.copy2(shutil.which("sleep"), "prog")
    p = subprocess.Popen(["./prog", "60"])
    try:
        with fails(errno.ETXTBSY):
            os.open("prog", os.O_WRONLY)
        assert os.readlink(f"/proc/{p.pid}/exe") == os.path.realpath("prog")
    finally:
        p.kill()
        p.wait()
    write("script", b"#!/bin/sh\nexit 7\n", 0o755)
    assert subprocess.run(["./script"]).returncode == 7
    os.chmod("script", 0o644)
    with fails(errno.EACCES):
        os.execv("./script", ["script"])


@check()
def sockets_and_pipes():
    s = socket.socket(socket.AF_UNIX)
    s.bind("sock")
    s.listen(1)
    c = socket.socket(socket.AF_UNIX)
    c.connect("sock")
    s.accept()[0].send(b"hi")
    assert c.recv(2) == b"hi"
    os.mkfifo("pipe")
    r = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    w = os.open("pipe", os.O_WRONLY)
    os.write(w, b"hi")
    assert os.read(r, 2) == b"hi"


@check()
def bind_mounts_and_namespaces():
    os.mkdir("from")
    os.mkdir("to")
    write("from/f", b"bound")
    script = """set -e
mount --bind from to
[ "$(cat to/f)" = bound ]
echo more >to/g
mount -o remount,bind,ro to
! touch to/h 2>/dev/null
umount to
"""
    subprocess.run(["unshare", "-m", "sh", "-c", script], check=True)
    assert os.listdir("to") == [] and read("from/g") == b"more\n"
    with fails(errno.EXDEV):
        os.rename("from/f", "/proc/f")


@check()
def errors_as_on_ext4():
    """What can't be done says so in the words that applications wait for."""
    f = os.open("f", os.O_CREAT | os.O_RDWR)
    for request in (0x40049409, 0xc020660b):  # FICLONE, FS_IOC_FIEMAP
        with fails(errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL):
            fcntl.ioctl(f, request, bytes(32) if request != 0x40049409 else f)
    for request in (0x80086601, 0x5413):  # FS_IOC_GETFLAGS, TIOCGWINSZ
        with fails(errno.ENOTTY):
            fcntl.ioctl(f, request, bytes(8))
    with fails(errno.EINVAL):
        call(libc.swapon, b"f", 0)
    with fails(errno.ENOTDIR):
        os.open("f/x", os.O_RDONLY)
    with fails(errno.EISDIR):
        os.open(".", os.O_WRONLY)
    with fails(errno.ENXIO):
        os.mkfifo("p")
        os.open("p", os.O_WRONLY | os.O_NONBLOCK)
    os.symlink("l", "l")
    with fails(errno.ELOOP):
        os.open("l", os.O_RDONLY)
    with fails(errno.EINVAL):
        os.truncate("f", -1)
    with fails(errno.EPERM):
        os.mkdir("d")
        os.link("d", "e")
    with fails(errno.EBUSY, errno.EXDEV):
        os.rmdir(ROOT)


class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]


def handle_of(path):
    h, mount_id = Handle(128, 0), ctypes.c_int()
    call(libc.name_to_handle_at, AT_FDCWD, path.encode(), ctypes.byref(h),
         ctypes.byref(mount_id), 0)
    return h


def open_handle(h, flags=os.O_RDONLY):
    root = os.open(ROOT, os.O_RDONLY)
    try:
        return call(libc.open_by_handle_at, root, ctypes.byref(h), flags)
    finally:
        os.close(root)


@check()
def handles():
    write("f", b"by handle")
    os.mkdir("d")
    f, d = handle_of("f"), handle_of("d")

    def says():
        fd = open_handle(f)
        try:
            return os.read(fd, 20)
        finally:
            os.close(fd)
    assert says() == b"by handle"
    drop_caches()
    assert says() == b"by handle"
    os.rename("f", "d/g")
    drop_caches()
    assert says() == b"by handle"
    fd = open_handle(d, os.O_RDONLY | os.O_DIRECTORY)
    assert os.listdir(fd) == ["g"]
    os.close(fd)
    os.unlink("d/g")
    drop_caches()
    with fails(errno.ESTALE):
        open_handle(f)
    # For the next mount.
    write(ROOT + "/kept", b"kept")
    os.makedirs(ROOT + "/kept.d/deep")
    with open(ROOT + "/kept.handles", "wb") as out:
        for path in ("/kept", "/kept.d/deep"):
            out.write(bytes(handle_of(ROOT + path)))


@check("again")
def handles_after_a_remount():
    data = read(ROOT + "/kept.handles")
    f, d = (Handle.from_buffer_copy(data, i * ctypes.sizeof(Handle)) for i in range(2))
    fd = open_handle(d, os.O_RDONLY | os.O_DIRECTORY)
    assert os.readlink(f"/proc/self/fd/{fd}") == ROOT + "/kept.d/deep"
    assert os.read(open_handle(f), 20) == b"kept"


def main():
    phase = sys.argv[2]
    passed = failed = 0
    for phases, fn in checks:
        if phase not in phases or (len(sys.argv) > 3 and fn.__name__ not in sys.argv[3:]):
            continue
        folder = f"{ROOT}/{phase}-{fn.__name__}"
        os.mkdir(folder)
        os.chdir(folder)
        pid = os.fork()
        if pid == 0:
            try:
                fn()
            except BaseException:
                print(f"FAILED {fn.__name__} ({phase})", flush=True)
                traceback.print_exc(limit=4)
                os._exit(1)
            os._exit(0)
        if os.waitpid(pid, 0)[1] == 0:
            passed += 1
        else:
            failed += 1
        os.chdir("/")
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
