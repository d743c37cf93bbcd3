"""Names, folders and links."""

import ctypes
import errno
import os
import time

from checks.harness import call, check, fails, write, read, drop_caches, libc, AT_FDCWD, EXCHANGE


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
