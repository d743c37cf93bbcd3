"""The rest of the system: df, inotify, exec, mounts, errors, handles."""

import ctypes
import errno
import fcntl
import os
import shutil
import socket
import struct
import subprocess

from checks.harness import (
    call, check, fails, fallocate, write, read, drop_caches, libc, AT_FDCWD, ROOT)


@check()
def statfs():
    s = os.statvfs(".")
    assert s.f_bsize == 4096 and s.f_namemax == 255
    assert 0 < s.f_bavail < s.f_bfree <= s.f_blocks and 0 < s.f_ffree < s.f_files
    used = s.f_blocks - s.f_bfree
    write("f", os.urandom(8 << 20))
    os.sync()
    t = os.statvfs(".")
    grown = (t.f_blocks - t.f_bfree - used) * 4096
    assert 7 << 20 < grown < 10 << 20, grown
    # What is offered can be had.
    fallocate(os.open("g", os.O_CREAT | os.O_WRONLY), 0, 0, os.statvfs(".").f_bavail * 4096)
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


@check()
def status_can_not_be_written():
    path = ROOT + "/.embassy/status"
    f = os.open(path, os.O_RDWR)
    text = os.read(f, 1 << 16)
    with fails(errno.EROFS):
        os.pwrite(f, b"x", 0)
    with fails(errno.EROFS):
        os.ftruncate(f, 0)
    with fails(errno.EROFS):
        os.utime(path)
    with fails(errno.EROFS):
        os.chmod(path, 0o600)
    assert os.pread(f, 1 << 16, 0) == text
