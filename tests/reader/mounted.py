"""What the C programs say of a volume: mounted at a head, the tree as lines like those of stored/listing.py."""

import contextlib
import ctypes
import json
import os
import stat
import subprocess
import time

from stored.listing import TYPE_NAMES, Contents, time_words, value_words

WAIT_S = 60
HOLE_READ_MAX = 16 << 20
RESERVED = ".embassy"  # a mount's own folder in its root; not stored
AT_FDCWD, AT_SYMLINK_NOFOLLOW, STATX_BTIME = -100, 0x100, 0x800


class Statx(ctypes.Structure):
    """What is needed of struct statx of Linux."""
    _fields_ = [("mask", ctypes.c_uint32), ("_head", ctypes.c_uint8 * 76),
                ("btime_s", ctypes.c_int64), ("btime_ns", ctypes.c_uint32), ("_rest", ctypes.c_uint8 * 164)]


libc = ctypes.CDLL(None, use_errno=True)


def birth_of(path):
    """When a file was made; None where the mount does not tell."""
    found = Statx()
    if libc.statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BTIME, ctypes.byref(found)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return time_words(found.btime_s, found.btime_ns) if found.mask & STATX_BTIME else None


def contents_of(path, size):
    """Digest of the bytes, and where SEEK_DATA finds data.  Holes are read too, of huge files a part: they must be zeros."""
    contents = Contents(size)
    with open(path, "rb", buffering=0) as file:
        at = 0
        while at < size:
            try:
                data = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break  # ENXIO: no data up to the end
            check_hole(file, at, data)
            at = os.lseek(file.fileno(), data, os.SEEK_HOLE)
            add_range(file, contents, data, at)
        check_hole(file, at, size)
    return contents.finish()


def check_hole(file, at, end):
    if end - at > HOLE_READ_MAX:
        check_hole(file, at, at + HOLE_READ_MAX // 2)
        at = end - HOLE_READ_MAX // 2
    while at < end:
        piece = os.pread(file.fileno(), min(end - at, 1 << 20), at)
        assert piece and not piece.strip(b"\0"), f"{file.name}: the hole at {at} does not read as zeros"
        at += len(piece)


def add_range(file, contents, at, end):
    while at < end:
        piece = os.pread(file.fileno(), min(end - at, 1 << 20), at)
        assert piece, f"{file.name}: ends at {at}"
        contents.add(at, piece)
        at += len(piece)


def fields_of(path):
    is_root_folder = os.path.ismount(path)
    info = os.lstat(path)
    fields = {
        "inode": info.st_ino,
        "type": TYPE_NAMES[stat.S_IFMT(info.st_mode)],
        "mode": f"{stat.S_IMODE(info.st_mode):04o}",
        "links": info.st_nlink,
        "user": info.st_uid,
        "group": info.st_gid,
        "access": time_words(*divmod(info.st_atime_ns, 1_000_000_000)),
        "modification": time_words(*divmod(info.st_mtime_ns, 1_000_000_000)),
        "change": time_words(*divmod(info.st_ctime_ns, 1_000_000_000)),
        "birth": birth_of(path),
        "xattrs": {name: value_words(os.getxattr(path, name, follow_symlinks=False))
                   for name in os.listxattr(path, follow_symlinks=False)},
    }
    if stat.S_ISREG(info.st_mode):
        fields |= contents_of(path, info.st_size)
    elif stat.S_ISDIR(info.st_mode):
        fields["names"] = [name for name in map(os.fsdecode, os.listdir(path)) if not is_root_folder or name != RESERVED]
    elif stat.S_ISLNK(info.st_mode):
        fields["target"] = os.fsdecode(os.readlink(path))
    elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        fields["device"] = info.st_rdev
    return fields


def lines_of(root):
    """Lines of all paths of a mount, sorted by path."""
    root = os.fsencode(root)
    paths, todo = [b""], [b""]
    while todo:
        folder = todo.pop()
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                if not folder and entry.name == os.fsencode(RESERVED):
                    continue
                paths.append(os.path.join(folder, entry.name))
                if entry.is_dir(follow_symlinks=False):
                    todo.append(paths[-1])
    return [{"path": os.fsdecode(path), **fields_of(os.path.join(root, path))} for path in sorted(paths)]


class Programs:
    """The programs of a build folder."""

    def __init__(self, build):
        self.embassy = os.path.join(build, "tools/embassy")
        self.embassyfs = os.path.join(build, "fs/fuse/embassyfs")
        self.embassyd = os.path.join(build, "server/embassyd")

    def run(self, *arguments):
        """What an embassy command prints; it must succeed."""
        done = subprocess.run([self.embassy, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"embassy {' '.join(arguments)}: exit code {done.returncode}, {done.stderr}"
        return done.stdout

    def json_lines(self, *arguments):
        return [json.loads(text) for text in self.run(*arguments, "--json").splitlines()]

    def check_code(self, volume, *arguments):
        return subprocess.run([self.embassy, "check", volume, *arguments], capture_output=True, check=False).returncode

    def start(self, volume, mount, *options):
        """A daemon in the foreground that nobody starts again; returns once it is mounted."""
        daemon = subprocess.Popen([self.embassyfs, volume, mount, "-f", "-o", ",".join((*options, "nosupervise"))],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.monotonic() + WAIT_S
        while not os.path.ismount(mount):
            if daemon.poll() is not None:
                raise AssertionError(f"embassyfs {volume}: {daemon.stderr.read().decode()}")
            assert time.monotonic() < end, f"embassyfs {volume}: not mounted after {WAIT_S} s"
            time.sleep(0.01)
        return daemon

    @contextlib.contextmanager
    def mounted(self, volume, mount, *options):
        """Unmounted in the end; or killed in the middle, if what is done here kills the daemon."""
        daemon = self.start(volume, mount, *options)
        try:
            yield daemon
        finally:
            if daemon.poll() is None:
                unmounted = subprocess.run(["umount", mount], capture_output=True, check=False)
                if unmounted.returncode != 0:
                    daemon.kill()
            daemon.wait(WAIT_S)
            if os.path.ismount(mount) or daemon.returncode != 0:
                subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
            daemon.stderr.close()

    def lines_at(self, volume, mount, number, key):
        with self.mounted(volume, mount, f"at=head:{number}", *key):
            return lines_of(mount)
