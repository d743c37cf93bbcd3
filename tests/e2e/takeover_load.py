#!/usr/bin/env python3
"""Applications that notice nothing: takeover_load.py FOLDER STOP-FILE SEED JOB

Runs one job in FOLDER until STOP-FILE exists, compares every result with a model in memory, and
ends with 0 and the number of operations if none was other than it should be.  What a job leaves is
checked once more by "JOB --after", after the volume was mounted anew.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import sqlite3
import subprocess
import sys
import time

folder, stop_file, seed, job = sys.argv[1:5]
after = '--after' in sys.argv
libc = ctypes.CDLL(None, use_errno=True)
rng = random.Random(int(seed) * 1000 + sum(job.encode()))
here = os.path.join(folder, job)
notes = stop_file + '.' + job  # what is to be there afterwards; not on the mount


def stopped():
    return os.path.exists(stop_file)


def need(ok, *what):
    if not ok:
        raise AssertionError(' '.join(str(w) for w in what))


def read_file(path):
    with open(path, 'rb') as f:
        return f.read()


def link_open(fd, path):
    at_fdcwd, follow = -100, 0x400
    rc = libc.linkat(at_fdcwd, b'/proc/self/fd/%d' % fd, at_fdcwd, path.encode(), follow)
    need(rc == 0, 'linkat', path, os.strerror(ctypes.get_errno()))


def refused(code, call, *args, **kw):
    try:
        call(*args, **kw)
    except OSError as e:
        need(e.errno == code, call.__name__, args, 'failed with', e, 'not', errno.errorcode[code])
        return
    need(False, call.__name__, args, 'succeeded, should fail with', errno.errorcode[code])


def append():
    """Numbered records; some are synced."""
    n = 0
    with open(here, 'wb', buffering=0) as f:
        while not stopped():
            n += 1
            f.write(b'%09d ' % n + b'x' * (n % 4000) + b'\n')
            if n % 200 == 0:
                os.fsync(f.fileno())
            if n > 100000:
                os.ftruncate(f.fileno(), 0)
                f.seek(0)
                n = 0
    return n


def append_after(n):
    want = b''.join(b'%09d ' % i + b'x' * (i % 4000) + b'\n' for i in range(1, n + 1))
    need(read_file(here) == want, 'the records differ')


def names():
    """A tree that changes all the time: what is there, and every error, is known beforehand."""
    os.mkdir(here)
    tree = {}  # name: 'd' or contents
    n = 0
    while not stopped():
        n += 1
        a, b = (os.path.join(here, 'n%d' % rng.randrange(40)) for _ in range(2))
        what = rng.randrange(9)
        if what == 0:
            if a in tree:
                refused(errno.EEXIST, os.mkdir, a)
            else:
                os.mkdir(a)
                tree[a] = 'd'
        elif what in (1, 2):
            text = '%d' % n
            if a in tree:
                refused(errno.EEXIST, os.open, a, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            else:
                fd = os.open(a, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
                os.write(fd, text.encode())
                os.close(fd)
                tree[a] = text
        elif what == 3:
            if a not in tree:
                refused(errno.ENOENT, os.unlink, a)
            elif tree[a] == 'd':
                os.rmdir(a)
                del tree[a]
            else:
                os.unlink(a)
                del tree[a]
        elif what == 4:
            if a not in tree:
                refused(errno.ENOENT, os.rename, a, b)
            elif a != b and not (b in tree and (tree[a] == 'd') != (tree[b] == 'd')):
                os.rename(a, b)
                tree[b] = tree.pop(a)
        elif what == 5:
            if a in tree and tree[a] != 'd' and b not in tree:
                os.link(a, b)
                need(os.stat(b).st_nlink >= 2, 'a link is none')
                os.unlink(b)
        elif what == 6:
            if b not in tree:
                os.symlink('to/' + str(n), b)
                need(os.readlink(b) == 'to/' + str(n), 'a symbolic link differs')
                os.unlink(b)
        elif what == 7:
            if a in tree and tree[a] != 'd':
                os.setxattr(a, 'user.x', b'1', os.XATTR_CREATE)
                need(os.getxattr(a, 'user.x') == b'1', 'an attribute differs')
                os.removexattr(a, 'user.x')
        elif b not in tree:
            fd = os.open(here, os.O_TMPFILE | os.O_RDWR, 0o600)
            os.write(fd, b'tmp')
            link_open(fd, b)
            os.close(fd)
            tree[b] = 'tmp'
        if n % 500 == 0:
            names_after(tree)
    return tree


def names_after(tree):
    need(sorted(os.path.join(here, e) for e in os.listdir(here)) == sorted(tree), 'names differ')
    for path, is_ in tree.items():
        need(os.path.isdir(path) if is_ == 'd' else read_file(path).decode() == is_, path, 'differs')


def unlinked():
    """A file that is open and has no name."""
    fd = os.open(here, os.O_CREAT | os.O_RDWR, 0o600)
    os.unlink(here)
    shadow = bytearray(1 << 20)
    os.ftruncate(fd, len(shadow))
    n = 0
    while not stopped():
        n += 1
        off, data = rng.randrange(len(shadow) - 9000), rng.randbytes(rng.randrange(1, 9000))
        os.pwrite(fd, data, off)
        shadow[off:off + len(data)] = data
        off = rng.randrange(len(shadow) - 20000)
        if n % 40 == 0:  # not from the kernel's memory
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        need(os.pread(fd, 20000, off) == shadow[off:off + 20000], 'bytes of an unlinked file differ')
    need(os.fstat(fd).st_nlink == 0, 'it has a name')
    return None


def unlinked_after(_):
    need(not os.path.exists(here), 'an unlinked file is back')


TRY = '''
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    sys.exit("flock is gone")
except BlockingIOError:
    pass
try:
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 100)
    sys.exit("fcntl lock is gone")
except BlockingIOError:
    pass
fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 200)
'''


def locks():
    """Locks that were taken once hold."""
    n = 0
    fd = os.open(here, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    fcntl.lockf(fd, fcntl.LOCK_EX, 50, 90)
    while not stopped():
        n += 1
        r = subprocess.run([sys.executable, '-c', TRY, here], capture_output=True, text=True)
        need(r.returncode == 0, r.stderr)
        time.sleep(0.1)
    return None


def locks_after(_):
    pass


def mapped():
    """Stores into shared memory."""
    size = 1 << 20
    fd = os.open(here, os.O_CREAT | os.O_RDWR, 0o600)
    os.ftruncate(fd, size)
    m = mmap.mmap(fd, size)
    shadow = bytearray(size)
    n = 0
    while not stopped():
        n += 1
        off, data = rng.randrange(size - 5000), rng.randbytes(rng.randrange(1, 5000))
        m[off:off + len(data)] = data
        shadow[off:off + len(data)] = data
        if n % 100 == 0:
            m.flush()
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            need(bytes(m) == shadow, 'mapped bytes differ')
        if n % 10 == 0:
            time.sleep(0.01)
    return shadow.hex()


def mapped_after(want):
    need(read_file(here) == bytes.fromhex(want), 'mapped bytes differ')


def database():
    """SQLite, with its journal, locks and fsyncs."""
    os.mkdir(here)
    db = sqlite3.connect(os.path.join(here, 'db'), isolation_level=None)
    db.execute('pragma journal_mode=%s' % rng.choice(['delete', 'wal', 'truncate']))
    db.execute('create table t (n integer primary key, v text)')
    n = 0
    while not stopped():
        db.execute('begin')
        for _ in range(rng.randrange(1, 20)):
            n += 1
            db.execute('insert into t values (?, ?)', (n, 'v%d' % n))
        db.execute('commit')
        need(db.execute('select count(*) from t').fetchone()[0] == n, 'rows are missing')
    db.close()
    return n


def database_after(n):
    db = sqlite3.connect(os.path.join(here, 'db'))
    need(db.execute('pragma integrity_check').fetchone()[0] == 'ok', 'the database is damaged')
    need(db.execute('select count(*), max(n) from t').fetchone() == (n, n), 'rows are missing')


def past():
    """A folder of the past that is open keeps its contents."""
    top = os.path.join(folder, '.embassy/snapshots')
    n = 0
    while not stopped():
        n += 1
        with open(here, 'w') as f:
            f.write(str(n))
        os.mkdir(os.path.join(top, 's%d' % n))
        fd = os.open(os.path.join(top, 's%d' % n), os.O_RDONLY)
        for _ in range(10):
            inside = os.open(job, os.O_RDONLY, dir_fd=fd)
            need(os.read(inside, 100) == str(n).encode(), 'the past differs')
            os.close(inside)
            time.sleep(0.05)
        os.close(fd)
    return n


def past_after(n):
    for i in range(1, n + 1):
        path = os.path.join(folder, '.embassy/snapshots', 's%d' % i, job)
        need(read_file(path) == str(i).encode(), 'the past differs')


def held():
    """Files of the past that stay open are read on, by time and by age; folders of it are listed."""
    want = rng.randbytes(3000000)
    with open(here, 'wb') as f:
        f.write(want)
        f.flush()
        os.fsync(f.fileno())
    os.mkdir(os.path.join(folder, '.embassy/snapshots', job))
    with open(os.path.join(folder, '.embassy/status')) as f:
        time_of = json.load(f)['head']['time']
    os.unlink(here)
    dirs = [os.open(os.path.join(folder, '.embassy', d), os.O_RDONLY)
            for d in ('at/' + time_of, 'snapshots/' + job)]
    files = [os.open(job, os.O_RDONLY, dir_fd=d) for d in dirs]
    n = 0
    while not stopped():
        for d, fd in zip(dirs, files):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # so that the daemon is asked
            at = rng.randrange(len(want))
            need(os.pread(fd, 300000, at) == want[at:at + 300000], 'the past differs at', at)
            need(job in os.listdir(d), 'the folder has lost', job)
            n += 1
    return n


def held_after(n):
    need(n > 10, 'too few reads')
    refused(errno.ENOENT, os.stat, here)
    need(len(read_file(os.path.join(folder, '.embassy/snapshots', job, job))) == 3000000, 'held')


try:
    if after:
        with open(notes) as f:
            globals()[job + '_after'](json.load(f))
    else:
        result = globals()[job]()
        with open(notes, 'w') as f:
            json.dump(result, f)
except (OSError, AssertionError, sqlite3.Error) as e:
    sys.exit('%s: %s: %s' % (job, type(e).__name__, e))
