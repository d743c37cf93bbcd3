"""Times of files, and who sets them."""

import os
import stat
import subprocess
import sys
import time

from checks.harness import check, write, read, drop_caches, ROOT

CLOCK_REALTIME_COARSE = 5  # Python has no name for it


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
    # An access time as old as the ctime is moved again, so the stamps' clock must have moved on.
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) <= os.stat("o").st_ctime_ns:
        pass
    read_all()
    first = os.stat("f").st_atime_ns
    assert first != now - moment
    while time.time_ns() < first + 20000000:
        pass
    read_all()
    assert moved("f", first) == (phase == "strictatime")
