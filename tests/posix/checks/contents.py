"""What files hold: allocation, holes, shared extents, direct and synchronous I/O, maps."""

import ctypes
import errno
import mmap
import os
import struct
import subprocess
import threading
import time
import resource
import signal

from checks.harness import (
    call, check, fails, fallocate, write, read, as_user, drop_caches, status, libc, AT_FDCWD,
    AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, KEEP_SIZE, PUNCH, COLLAPSE, ZERO, INSERT, ROOT)


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
        for off in (1 << 41, -1, -(1 << 63)):
            with fails(errno.ENXIO):
                os.lseek(f, off, whence)
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
def copies_and_holes_beside_a_map():
    """What is stored through a map stays, whatever becomes of the rest of its page meanwhile."""
    pages = 16
    write("from", b"x" * 4096)
    write("to", bytes(pages * 4096))
    source, target = os.open("from", os.O_RDONLY), os.open("to", os.O_RDWR)
    os.fsync(source)
    stop = threading.Event()
    lost = []

    def store():
        with mmap.mmap(target, pages * 4096) as m:
            last = [0] * pages
            n = 0
            while not stop.is_set():
                for p in range(pages):
                    n += 1
                    if struct.unpack_from("<I", m, p * 4096 + 64)[0] != last[p]:
                        lost.append(last[p])
                    last[p] = n
                    struct.pack_into("<I", m, p * 4096 + 64, n)

    storing = threading.Thread(target=store)
    storing.start()
    try:
        for i in range(1000):
            at = i % pages * 4096 + 2048
            if i % 4 == 3:
                fallocate(target, PUNCH | KEEP_SIZE, at, 2048)
            else:
                assert os.copy_file_range(source, target, 2048 - i % 3, 0, at) > 0
    finally:
        stop.set()
        storing.join()
    assert not lost, f"{len(lost)} stores of a map were lost"


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


def archived(path):
    """What GNU tar -S keeps of a file: it believes a file without blocks to be one hole."""
    subprocess.check_call(["tar", "-S", "-cf", "a.tar", path])
    out = subprocess.check_output(["tar", "-xOf", "a.tar", path])
    os.unlink("a.tar")
    return out


def wait_for_blocks(path, wanted):
    """The kernel is told some time after it wrote back."""
    for _ in range(400):
        if os.stat(path).st_blocks == wanted:
            return
        time.sleep(0.025)
    raise AssertionError(f"{path}: {os.stat(path).st_blocks} blocks, {wanted} were due")


@check()
def blocks_of_an_open_file():
    data = os.urandom(4 << 20)
    for asked in (False, True):
        f = os.open("f", os.O_CREAT | os.O_RDWR)
        if asked:  # the kernel keeps the answer
            os.fstat(f)
        os.write(f, data)
        assert os.fstat(f).st_blocks > 0 and archived("f") == data
        os.fsync(f)
        assert os.fstat(f).st_blocks == len(data) // 512
        os.write(f, data)
        os.sync()
        wait_for_blocks("f", 2 * len(data) // 512)
        os.ftruncate(f, 0)
        assert os.fstat(f).st_blocks == 0
        os.pwrite(f, data, 0)
        assert os.fstat(f).st_blocks > 0 and archived("f") == data
        os.close(f)
        assert os.stat("f").st_blocks == len(data) // 512
        os.unlink("f")
    os.close(os.open("empty", os.O_CREAT | os.O_RDWR))
    assert os.stat("empty").st_blocks == 0


def written_back(f):
    libc.sync_file_range(f, ctypes.c_int64(0), ctypes.c_int64(0), 7)


@check()
def blocks_of_what_is_dirty():
    """Nothing is stored any more, and more is to come."""
    f = os.open("again", os.O_CREAT | os.O_RDWR)
    for _ in range(2):  # the kernel is told of the write-back a while later, when it is about another one
        os.ftruncate(f, 0)
        os.pwrite(f, b"a" * 5000, 0)
        written_back(f)
    os.ftruncate(f, 0)
    os.pwrite(f, b"b" * 5000, 0)
    time.sleep(0.5)
    assert os.fstat(f).st_blocks > 0 and archived("again") == b"b" * 5000
    f = os.open("cut", os.O_CREAT | os.O_RDWR)
    os.pwrite(f, b"a" * 4096, 4096)
    written_back(f)
    os.pwrite(f, b"b" * 4096, 0)
    os.ftruncate(f, 4096)
    assert os.fstat(f).st_blocks > 0 and archived("cut") == b"b" * 4096
    # Emptied, written back and looked at in between, by several names or owners: what comes then is no hole either.
    for i in range(20):
        f = os.open(f"emptied{i}", os.O_CREAT | os.O_RDWR)
        if i % 2:
            os.fchown(f, 0, 0)
        else:
            os.pwrite(f, b"a" * 4096, 0)
            os.ftruncate(f, 0)
        os.close(os.dup(f))
        os.stat(f"emptied{i}")
        os.pwrite(f, b"b" * 4096, 0)
        assert os.stat(f"emptied{i}").st_blocks > 0 and archived(f"emptied{i}") == b"b" * 4096, i
        os.close(f)
    f = os.open("punched", os.O_CREAT | os.O_RDWR)
    os.pwrite(f, b"a" * 4096, 0)
    written_back(f)
    os.pwrite(f, b"b" * 4096, 4096)
    fallocate(f, 3, 0, 4096)
    assert os.fstat(f).st_blocks > 0 and archived("punched") == bytes(4096) + b"b" * 4096


@check()
def blocks_of_a_map():
    data = os.urandom(1 << 20)
    for read in (False, True):
        f = os.open("f", os.O_CREAT | os.O_RDWR)
        os.ftruncate(f, 4 << 20)
        assert os.fstat(f).st_blocks == 0
        m = mmap.mmap(f, 4 << 20)
        if read:  # all pages are there when it is written to
            assert m[:] == bytes(4 << 20) and os.fstat(f).st_blocks == 0
        os.close(f)
        m[1 << 20:2 << 20] = data
        assert os.stat("f").st_blocks > 0
        assert archived("f") == bytes(1 << 20) + data + bytes(2 << 20)
        os.sync()
        wait_for_blocks("f", len(data) // 512)
        m.close()
        os.unlink("f")
