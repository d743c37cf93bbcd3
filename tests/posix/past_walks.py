#!/usr/bin/env python3
"""What a walk through the past relies on: numbers of files, handles on folders, one state.

past_walks.py MOUNT first|again STATE-FILE, as root.  "first" takes two snapshots of one folder and
notes what it sees; "again", after an unmount and a mount, comes to them in another order.
Ends with "N passed, N failed"; exit 1 if any failed.
"""

import ctypes
import errno
import json
import os
import subprocess
import sys
import tempfile
import time

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
passed = failed = 0


def check(what, ok):
    global passed, failed
    passed += ok
    failed += not ok
    if not ok:
        print(f"FAILED {what}")


def number(path):
    n = os.lstat(path).st_ino
    with os.scandir(os.path.dirname(path)) as entries:
        listed = [e.inode() for e in entries if e.name == os.path.basename(path)]
    check(f"{path} is listed with its number", listed == [n])
    return n


def handle(path):
    buf = ctypes.create_string_buffer(8 + 128)
    ctypes.cast(buf, ctypes.POINTER(ctypes.c_uint))[0] = 128
    at = ctypes.c_int()
    if libc.name_to_handle_at(AT_FDCWD, path.encode(), buf, ctypes.byref(at), 0) < 0:
        raise OSError(ctypes.get_errno(), path)
    return buf.raw


def open_handle(mount, raw):
    """The folder's name list, or the error."""
    at = os.open(mount, os.O_RDONLY)
    fd = libc.open_by_handle_at(at, ctypes.create_string_buffer(raw, len(raw)), os.O_RDONLY)
    error = ctypes.get_errno()
    os.close(at)
    if fd < 0:
        return error
    names = os.listdir(fd)
    os.close(fd)
    return names


def stays_and_others_move(mount, name):
    """Looked up again at once, a name that moves leads to the same state; another process sees the
    newest.  Tried again where this took as long as a walk may pause."""
    counter, seen = f"{mount}/numbers/counter", f"{mount}/.embassy/{name}/numbers/counter"
    top = os.open(f"{mount}/.embassy", os.O_RDONLY)
    for attempt in range(100):
        for n in (0, 1):
            with open(counter, "w") as f:
                f.write(f"{attempt} {n}")
            os.fsync(top)
            if n == 0:
                time.sleep(1.1)  # ends the walk of the attempt before
                began = time.monotonic()
                with open(seen) as f:
                    before = f.read()
        with open(seen) as f:
            after = f.read()
        if time.monotonic() - began < 1:
            break
    else:
        return False
    os.close(top)
    other = subprocess.run(["cat", seen], capture_output=True, text=True).stdout
    return (before, after, other) == (f"{attempt} 0", f"{attempt} 0", f"{attempt} 1")


def first(mount, state):
    folder, snapshots = f"{mount}/numbers", f"{mount}/.embassy/snapshots"
    os.mkdir(folder)
    os.mkdir(f"{folder}/inner")
    for n in "12":
        with open(f"{folder}/inner/file", "w") as f:
            f.write(n)
        with open(f"{folder}/inner/only{n}", "w"):
            pass
        os.link(f"{folder}/inner/file", f"{folder}/inner/link{n}")
        os.mkdir(f"{snapshots}/numbers{n}")
        os.unlink(f"{folder}/inner/only{n}")
    inner = [f"{snapshots}/numbers{n}/numbers/inner" for n in "12"]
    numbers = [number(f"{folder}/file") for folder in inner]
    check("two states have two numbers", numbers[0] != numbers[1])
    check("names of one file have one number",
          [os.lstat(f"{inner[0]}/link1").st_ino, os.lstat(f"{inner[1]}/link2").st_ino] == numbers)
    check("a handle leads back", "only1" in open_handle(mount, handle(inner[0])))
    for n in "12":
        number(f"{snapshots}/numbers{n}")
    with open(state, "w") as f:
        json.dump({"numbers": numbers, "handle": handle(inner[0]).hex()}, f)
    for name in ("ago/0s", "at/latest"):
        check(f"a walk in {name} stays in one state", stays_and_others_move(mount, name))
    # Two snapshots in one archive: no file of one is taken for the other's.
    names = ["numbers1/numbers", "numbers2/numbers"]
    archive = subprocess.run(["tar", "-C", snapshots, "-c", *names], capture_output=True,
                             check=True).stdout
    with tempfile.TemporaryDirectory() as to:
        subprocess.run(["tar", "-C", to, "-x"], input=archive, check=True)
        for n in "12":
            with open(f"{to}/numbers{n}/numbers/inner/file") as f:
                check(f"the archive has state {n}", f.read() == n)


def again(mount, state):
    with open(state) as f:
        kept = json.load(f)
    inner = [f"{mount}/.embassy/snapshots/numbers{n}/numbers/inner" for n in "12"]
    # Others come first, and have the places that these had.
    present = [f"{mount}/.embassy/snapshots/others{i}" for i in range(32)]
    for path in present:
        os.mkdir(path)
    found = open_handle(mount, bytes.fromhex(kept["handle"]))
    check(f"a handle of another mount leads nowhere else ({found})", found == errno.ESTALE)
    for path in present:
        os.rmdir(path)
    numbers = [number(f"{folder}/file") for folder in reversed(inner)]
    check("numbers stay", numbers[::-1] == kept["numbers"])


{"first": first, "again": again}[sys.argv[2]](sys.argv[1], sys.argv[3])
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0)
