"""
A volume made by the C programs out of a seed: random changes of every kind that the format stores, in one or more mounts, with
named heads in between.  The seed decides what is done; when heads are made beside those, the clock decides.
"""

import contextlib
import ctypes
import errno
import os
import random
import re
import signal
import stat
import struct
import subprocess

libc = ctypes.CDLL(None, use_errno=True)
PUNCH_HOLE = 3  # FALLOC_FL_KEEP_SIZE too
RENAME_EXCHANGE = 2
AT_FDCWD = -100
FILE_MAX = 12 << 20
PASSPHRASE = b"as long as it is secret"

# Lengths at and beside the bounds of chunks, fine blocks, nodes and inline attributes.
LENGTHS = (0, 1, 100, 4095, 4096, 4097, 16383, 16384, 16385, 20000, 65536, 131071, 131072, 131073, 300000)
XATTR_LENGTHS = (0, 1, 17, 300, 1023, 1024, 1025, 4000, 4097, 16385, 60000, 65536)
ACCESS_ACL = struct.pack("<I" + "HHI" * 5, 2, 1, 6, 0xFFFFFFFF, 2, 4, 1000, 4, 4, 0xFFFFFFFF, 16, 6, 0xFFFFFFFF,
                         32, 0, 0xFFFFFFFF)


class Workload:
    """Random changes of the tree under a folder.  Names are numbered, so that none is taken."""

    def __init__(self, root, seed, first_number=0):
        self.root = os.fsencode(root)
        self.random = random.Random(seed)
        self.open_files = []
        self.made = first_number

    # Choosing

    def name(self):
        kind = self.random.randrange(8)
        self.made += 1
        if kind == 0:
            return b"%d-" % self.made + bytes(self.random.choice(b"ab\xff\x80\xc3.- \n") for _ in range(20))
        if kind == 1:
            return (b"%d-" % self.made + b"long" * 64)[:255]
        return b"name %d" % self.made

    def some(self, *types):
        """A path of one of these types, or None."""
        found = []
        for folder, folders, files in os.walk(self.root):
            if folder == self.root:
                folders[:] = [name for name in folders if name != b".embassy"]
            found += [os.path.join(folder, name) for name in sorted(folders + files)]
            folders.sort()
        found = [path for path in found if not types or stat.S_IFMT(os.lstat(path).st_mode) in types]
        return self.random.choice(found) if found else None

    def folder(self):
        return self.some(stat.S_IFDIR) if self.random.random() < 0.8 else None

    def new_path(self):
        return os.path.join(self.folder() or self.root, self.name())

    def bytes(self, length):
        """Bytes that zstd can shorten, bytes that it can't, or both."""
        kind = self.random.randrange(3)
        if kind == 0:
            return self.random.randbytes(length)
        words = (b"land register %d; " % self.random.randrange(1000)) * (length // 16 + 1)
        if kind == 1:
            return words[:length]
        return (self.random.randbytes(length // 2) + words)[:length]

    # Changing

    def make_file(self):
        with open(self.new_path(), "xb") as file:
            file.write(self.bytes(self.random.choice(LENGTHS)))
            if self.random.random() < 0.3:
                file.flush()
                os.fsync(file.fileno())

    def make_big_file(self):
        with open(self.new_path(), "xb") as file:
            for _ in range(self.random.randrange(1, 4)):
                file.write(self.bytes(self.random.randrange(300_000, 1_500_000)))

    def make_folder(self):
        os.mkdir(self.new_path())

    def make_deep_folders(self):
        os.makedirs(os.path.join(self.root, self.name(), *(b"d%d" % i for i in range(self.random.randrange(5, 40)))))

    def make_many_names(self):
        """More than a node holds."""
        folder = self.new_path()
        os.mkdir(folder)
        for i in range(self.random.randrange(100, 500)):
            with open(os.path.join(folder, b"entry %d" % i), "xb") as file:
                if i % 7 == 0:
                    file.write(self.bytes(i))

    def make_sparse_file(self):
        with open(self.new_path(), "xb") as file:
            for _ in range(self.random.randrange(1, 5)):
                file.seek(self.random.randrange(FILE_MAX))
                file.write(self.bytes(self.random.choice(LENGTHS)))
            if self.random.random() < 0.5:
                file.truncate(self.random.randrange(FILE_MAX))

    def make_symlink(self):
        os.symlink(self.bytes(self.random.choice((1, 10, 100, 1024, 4095))).replace(b"\0", b"0"), self.new_path())

    def make_special(self):
        kind = self.random.choice((stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK))
        device = os.makedev(self.random.choice((0, 1, 255, 256, 4095)), self.random.choice((0, 5, 255, 256, 1048575)))
        os.mknod(self.new_path(), kind | 0o600, device if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0)

    def change_file(self):
        path = self.some(stat.S_IFREG)
        if path is None:
            return
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            for _ in range(self.random.randrange(1, 6)):
                file.seek(self.random.randrange(size + 1))
                file.write(self.bytes(self.random.choice(LENGTHS[:10])))

    def truncate_file(self):
        path = self.some(stat.S_IFREG)
        if path is not None:
            os.truncate(path, self.random.randrange(os.path.getsize(path) * 2 + 1))

    def punch_hole(self):
        path = self.some(stat.S_IFREG)
        if path is None:
            return
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            at, length = self.random.randrange(size + 1), self.random.randrange(1, size + 2)
            if libc.fallocate(file.fileno(), PUNCH_HOLE, ctypes.c_long(at), ctypes.c_long(length)) != 0:
                raise OSError(ctypes.get_errno(), "fallocate")

    def copy_range(self):
        """Extents that two files, or two places of one, share."""
        source, target = self.some(stat.S_IFREG), self.some(stat.S_IFREG)
        if source is None or source == target or os.path.getsize(source) == 0:
            return
        size = os.path.getsize(source)
        with open(source, "rb") as from_file, open(target, "r+b") as to_file:
            os.copy_file_range(from_file.fileno(), to_file.fileno(), self.random.randrange(1, size + 1),
                               self.random.randrange(size), self.random.randrange(100_000))

    def append_synced(self):
        """Many flushes between two heads, which the later one lists rolled up."""
        with open(self.new_path(), "xb", buffering=0) as file:
            for _ in range(self.random.randrange(70, 150)):
                file.write(self.bytes(self.random.randrange(1, 300)))
                os.fsync(file.fileno())

    def link(self):
        path = self.some(stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO)
        if path is not None:
            os.link(path, self.new_path(), follow_symlinks=False)

    def rename(self):
        path, to = self.some(), self.new_path()
        if path is None or to.startswith(path + b"/"):
            return
        kind = self.random.randrange(3)
        over = self.some(stat.S_IFREG)
        if kind == 0 and over is not None and not os.path.isdir(path):
            os.rename(path, over)
        elif kind == 1 and over is not None and not over.startswith(path + b"/"):
            if libc.renameat2(AT_FDCWD, path, AT_FDCWD, over, RENAME_EXCHANGE) != 0:
                raise OSError(ctypes.get_errno(), "renameat2")
        else:
            os.rename(path, to)

    def remove(self):
        path = self.some()
        if path is None:
            return
        if os.path.isdir(path) and not os.path.islink(path):
            for folder, folders, files in os.walk(path, topdown=False):
                for name in files:
                    os.unlink(os.path.join(folder, name))
                for name in folders:
                    child = os.path.join(folder, name)
                    (os.unlink if os.path.islink(child) else os.rmdir)(child)
            os.rmdir(path)
        else:
            os.unlink(path)

    def remove_open(self):
        """An orphan, as long as it is open."""
        path = self.some(stat.S_IFREG)
        if path is not None:
            self.open_files.append(os.open(path, os.O_RDWR))
            os.unlink(path)
            os.write(self.open_files[-1], self.bytes(5000))

    def set_attributes(self):
        path = self.some()
        if path is None:
            return
        os.chown(path, self.random.choice((0, 1, 1000, 65534, 4294967294)), self.random.choice((0, 100, 4294967294)),
                 follow_symlinks=False)
        if not os.path.islink(path):
            os.chmod(path, self.random.choice((0o600, 0o644, 0o4755, 0o2711, 0o1777, 0)))
        os.utime(path, ns=tuple(self.random.randrange(-2_000_000_000, 6_000_000_000) * 1_000_000_000
                                + self.random.randrange(1_000_000_000) for _ in range(2)), follow_symlinks=False)

    def set_xattr(self):
        path = self.some(stat.S_IFREG, stat.S_IFDIR)
        if path is None:
            return
        for _ in range(self.random.randrange(1, 4)):
            name = self.random.choice(("user.", "trusted.", "security.")) + self.random.choice(("a", "bc", "n" * 200))
            os.setxattr(path, name, self.bytes(self.random.choice(XATTR_LENGTHS)))
        if self.random.random() < 0.3:
            os.setxattr(path, "system.posix_acl_access", ACCESS_ACL)
        if self.random.random() < 0.2:
            os.removexattr(path, name)

    def set_trusted_xattr_of_link(self):
        path = self.some(stat.S_IFLNK)
        if path is not None:
            os.setxattr(path, "trusted.of-link", self.bytes(self.random.choice(XATTR_LENGTHS)), follow_symlinks=False)

    OPERATIONS = ((make_file, 12), (make_folder, 6), (make_sparse_file, 4), (make_symlink, 4), (make_special, 4),
                  (change_file, 12), (truncate_file, 5), (punch_hole, 4), (copy_range, 4), (link, 6), (rename, 8),
                  (remove, 4), (remove_open, 1), (set_attributes, 8), (set_xattr, 10), (set_trusted_xattr_of_link, 2),
                  (make_big_file, 2), (make_many_names, 1), (make_deep_folders, 1), (append_synced, 1))

    def run(self, n):
        operations, weights = zip(*self.OPERATIONS)
        for operation in self.random.choices(operations, weights, k=n):
            try:
                operation(self)
            except OSError as error:
                # What the tree happens to forbid, such as too long a path or renaming a folder over one that is not empty.
                if error.errno not in (errno.ENAMETOOLONG, errno.EINVAL, errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR,
                                       errno.ENOTDIR, errno.EXDEV):
                    raise

    def close(self):
        for file in self.open_files:
            with contextlib.suppress(OSError):
                os.close(file)
        self.open_files = []


class GeneratedVolume:
    """
    The volume of a seed in a folder of its own, with the files that open it.  One that has a passphrase has a key file too,
    with which the programs open it.
    """

    def __init__(self, programs, folder, seed):
        self.programs, self.folder, self.seed = programs, folder, seed
        self.random = random.Random(seed)
        self.path = os.path.join(folder, "volume")
        self.mount = os.path.join(folder, "mount")
        self.key_path = os.path.join(folder, "key")
        self.passphrase_path = os.path.join(folder, "passphrase")
        self.embassy_path = None  # the folder of an embassy's copy, if it has one
        os.mkdir(self.mount)
        self._write_secret(self.key_path, self.random.randbytes(self.random.choice((32, 33, 5000))))
        self._write_secret(self.passphrase_path, PASSPHRASE + b"\n")
        # Seeds beside each other have all kinds.  Argon2 takes its time.
        self.with_passphrase = seed % 12 == 4
        self.killed = seed % 5 == 2
        self.replicated = seed % 6 == 5

    def _write_secret(self, path, data):
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(data)

    @property
    def mount_key(self):
        """Options of a mount."""
        return (f"key-file={self.key_path}",)

    @property
    def command_key(self):
        """Options of embassy commands."""
        return ("--key-file", self.key_path)

    def __str__(self):
        words = ["passphrase"] * self.with_passphrase + ["killed"] * self.killed + ["replicated"] * self.replicated
        return f"seed {self.seed}" + (f" ({', '.join(words)})" if words else "")

    def make(self):
        r = self.random
        first_key = ("--passphrase-file", self.passphrase_path) if self.with_passphrase else self.command_key
        self.programs.run("init", self.path, *first_key, "--cipher", r.choice(("aes-256-gcm", "chacha20-poly1305")),
                          "--compress", r.choice(("0", "1", "9")))
        if self.with_passphrase:
            self.programs.run("keys", self.path, "add", *first_key, "--new-key-file", self.key_path,
                              "--label", "duty officer")
        n_mounts = r.choice((1, 1, 2, 3))
        with self._embassy() as embassy:
            for i in range(n_mounts):
                self._live(i, i == n_mounts - 1, embassy)

    def _live(self, i, is_last, embassy):
        """One mount: one segment, some heads."""
        r = self.random
        options = [*self.mount_key, f"checkpoint={r.choice((1, 60))}"] + ([f"embassy={embassy}"] if embassy else [])
        with self.programs.mounted(self.path, self.mount, *options) as daemon:
            work = Workload(self.mount, r.random(), i * 1_000_000)
            for j in range(r.randrange(1, 4)):
                work.run(r.randrange(5, 40))
                snapshots = os.path.join(self.mount, ".embassy/snapshots")
                os.mkdir(f"{snapshots}/state {i}.{j}", 0o1755 if r.random() < 0.2 else 0o755)
                if r.random() < 0.2:
                    with contextlib.suppress(PermissionError):
                        os.rmdir(f"{snapshots}/state {i}.{j}")
            if is_last and self.killed:
                work.run(20)
                daemon.send_signal(signal.SIGKILL)
                daemon.wait()
                # Else the mount can't be left.
                subprocess.run(["umount", "-l", self.mount], check=False)
            elif embassy:
                self.programs.run("drain", self.mount, "--timeout", "60")
            work.close()

    @contextlib.contextmanager
    def _embassy(self):
        """The address of a block server that keeps a copy, or None."""
        if not self.replicated:
            yield None
            return
        store = os.path.join(self.folder, "store")
        os.mkdir(store)
        server = subprocess.Popen([self.programs.embassyd, "--store", store, "--listen", "127.0.0.1:0", "--insecure"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            said = server.stdout.readline()
            found = re.search(r"listening on (\S+)", said)
            assert found, f"embassyd: {said}"
            yield found[1]
            names = os.listdir(store)
            self.embassy_path = next(os.path.join(store, name) for name in names
                                     if os.path.exists(os.path.join(store, name, "volume.conf")))
        finally:
            server.terminate()
            server.wait()
            server.stdout.close()


