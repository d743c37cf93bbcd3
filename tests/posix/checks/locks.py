"""Locks, of records, of open files and of whole files."""

import errno
import fcntl
import os
import struct
import traceback

from checks.harness import check, write


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
