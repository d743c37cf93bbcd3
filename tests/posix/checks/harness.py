"""What the checks share.  A check runs in a child, as root, in an empty folder of the mount."""

import ctypes
import errno
import json
import os
import sys
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
