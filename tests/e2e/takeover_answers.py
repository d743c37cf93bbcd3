#!/usr/bin/env python3
"""Each operation whose change was made and that was not answered: takeover_answers.py MOUNT SCRATCH

gdb kills the daemon when it has noted a change, so the change is made, the caller waits, and the
next daemon is given the request again.  It must answer as the first would have.  Prints how many
daemons died so, and ends with 0 if no caller noticed.  With --after it only looks at what was done,
for a mount made anew, since this one's kernel believes the answers.  With --no-resend the kernel
gives nothing again, and each caller must get EIO.
"""

import ctypes
import errno
import os
import subprocess
import sys
import time

mnt, scratch = sys.argv[1:3]
libc = ctypes.CDLL(None, use_errno=True)
kills = 0


def daemon():
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/comm') as comm, open(f'/proc/{pid}/cmdline', 'rb') as line:
                if comm.read() == 'embassyfs\n' and mnt.encode() in line.read().split(b'\0'):
                    return int(pid)
        except OSError:
            pass
    return None


def attach(pid, ready):
    return subprocess.Popen(
        ['gdb', '-q', '-nx', '-batch', '-p', str(pid), '-ex', 'handle SIGUSR1 nostop noprint',
         '-ex', 'break note_change', '-ex', f'shell touch {ready}', '-ex', 'continue',
         '-ex', 'finish', '-ex', 'kill'],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_after_change():
    """Have the daemon die once a thread has made a change, before it answers."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pid = daemon()
        if pid is None:
            time.sleep(0.02)
            continue
        ready = f'{scratch}/ready.{pid}'
        debugger = attach(pid, ready)
        while debugger.poll() is None and time.monotonic() < end:
            if os.path.exists(ready):
                return pid, debugger
            time.sleep(0.02)
        # A helper that has not yet got its own name, say: look again.
    sys.exit('gdb does not attach')


def renameat2(a, b, flags):
    if libc.renameat2(-100, a.encode(), -100, b.encode(), flags) != 0:
        raise OSError(ctypes.get_errno(), f'renameat2 {a} {b}')


def touch(path, text='x'):
    with open(path, 'w') as f:
        f.write(text)


def read(path):
    with open(path) as f:
        return f.read()


def tmpfile(path):
    fd = os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b'tmp')
    os.lseek(fd, 0, 0)
    assert os.read(fd, 9) == b'tmp'
    os.close(fd)


def make_excl(path):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def snapshot(path):
    os.mkdir(f'{mnt}/.embassy/snapshots/{os.path.basename(path)}')


def remove_snapshot(path):
    os.rmdir(f'{mnt}/.embassy/snapshots/{os.path.basename(path)}')


def snapshot_is(path, there):
    return (os.path.basename(path) in os.listdir(f'{mnt}/.embassy/snapshots')) == there


# name: what comes before, what is done, what is true after
operations = {
    'mkdir': (lambda p: None, os.mkdir, os.path.isdir),
    'mkdir with a default list': (
        lambda p: subprocess.run(['setfacl', '-d', '-m', 'u:7:rwx', mnt], check=True), os.mkdir,
        lambda p: (b'\x07\0\0\0' in os.getxattr(p, 'system.posix_acl_default') and
                   subprocess.run(['setfacl', '-k', mnt], check=True))),
    'create': (lambda p: None, make_excl, os.path.isfile),
    'symlink': (lambda p: None, lambda p: os.symlink('to', p), lambda p: os.readlink(p) == 'to'),
    'link': (touch, lambda p: os.link(p, p + '.b'), lambda p: os.stat(p).st_nlink == 2),
    'unlink': (touch, os.unlink, lambda p: not os.path.exists(p)),
    'rmdir': (os.mkdir, os.rmdir, lambda p: not os.path.exists(p)),
    'rename': (touch, lambda p: os.rename(p, p + '.b'),
               lambda p: not os.path.exists(p) and read(p + '.b') == 'x'),
    'rename over another': (
        lambda p: (touch(p, 'new'), touch(p + '.b', 'old')), lambda p: os.rename(p, p + '.b'),
        lambda p: not os.path.exists(p) and read(p + '.b') == 'new'),
    'exchange': (lambda p: (touch(p, 'a'), touch(p + '.b', 'b')),
                 lambda p: renameat2(p, p + '.b', 2),
                 lambda p: read(p) == 'b' and read(p + '.b') == 'a'),
    'a file without a name': (lambda p: None, tmpfile, lambda p: True),
    'setxattr': (touch, lambda p: os.setxattr(p, 'user.a', b'1', os.XATTR_CREATE),
                 lambda p: os.getxattr(p, 'user.a') == b'1'),
    'removexattr': (lambda p: (touch(p), os.setxattr(p, 'user.a', b'1')),
                    lambda p: os.removexattr(p, 'user.a'), lambda p: os.listxattr(p) == []),
    'truncate': (touch, lambda p: os.truncate(p, 5), lambda p: read(p) == 'x\0\0\0\0'),
    'snapshot': (lambda p: None, snapshot, lambda p: snapshot_is(p, True)),
    'removing a snapshot': (snapshot, remove_snapshot, lambda p: snapshot_is(p, False)),
}

no_resend = '--no-resend' in sys.argv
if no_resend:
    operations = {name: operations[name] for name in ('mkdir', 'unlink', 'rename', 'setxattr')}
bad = 0
for number, (name, (before, act, after)) in enumerate(operations.items()):
    path = f'{mnt}/{"e" if no_resend else "o"}{number}'
    if '--after' in sys.argv:
        if not after(path):
            print(f'{name}: not what it should be')
            bad += 1
        continue
    before(path)
    subprocess.run(['sync', '-f', mnt], check=True)
    began = time.monotonic()
    pid, debugger = kill_after_change()
    failure = None
    try:
        act(path)
    except OSError as e:
        failure = e
    if daemon() == pid:
        failure = failure or 'the daemon was not killed'
    else:
        kills += 1
    debugger.terminate()
    debugger.wait()
    if no_resend:
        if not isinstance(failure, OSError) or failure.errno != errno.EIO:
            print(f'{name}: {failure or "success"}, not EIO')
            bad += 1
    elif failure or not after(path):
        print(f'{name}: {failure or "not what it should be"}')
        bad += 1
    # Ten deaths in ten seconds would be taken for a crash loop.
    time.sleep(max(0, began + 1.1 - time.monotonic()))
print(f'{kills} kills between a change and its answer')
sys.exit(bad != 0)
