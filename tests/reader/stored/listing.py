"""A head's whole tree as lines, one dict of JSON's types for each path, or copied to a folder."""

import errno
import hashlib
import os
import stat

TYPE_NAMES = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFCHR: "character device",
              stat.S_IFBLK: "block device", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}
ZEROS = bytes(1 << 20)
HUGE = 64 << 20


def time_words(seconds, nanoseconds):
    return f"{seconds}+{nanoseconds:09d}"


def value_words(value):
    """A short attribute as it is, a long one by its hash."""
    return value.hex() if len(value) <= 40 else f"{len(value)} bytes, SHA-256 {hashlib.sha256(value).hexdigest()}"


class Contents:
    """
    Digests the bytes of a file of some size and notes where data lies.  Pieces come in ascending order; what is between them
    is zeros, which are left out of the digest of a huge file.
    """

    def __init__(self, size):
        self._size = size
        self._digest = hashlib.sha256()
        self._at = 0
        self._data = []  # [offset, end] of each run of data

    def add(self, offset, piece):
        self._zeros_up_to(offset)
        self._digest.update(piece)
        self._at = offset + len(piece)
        if self._data and self._data[-1][1] == offset:
            self._data[-1][1] = self._at
        else:
            self._data.append([offset, self._at])

    def _zeros_up_to(self, offset):
        while self._at < offset and self._size <= HUGE:
            n = min(offset - self._at, len(ZEROS))
            self._digest.update(ZEROS[:n])
            self._at += n

    def finish(self):
        self._zeros_up_to(self._size)
        name = "sha256" if self._size <= HUGE else "sha256 without holes"
        return {"size": self._size, name: self._digest.hexdigest(), "data": self._data}


def fields_of(namespace, file):
    """What is compared of a file, whatever its names."""
    inode = file.inode
    fields = {
        "inode": file.number,
        "type": TYPE_NAMES[inode.type],
        "mode": f"{stat.S_IMODE(inode.mode):04o}",
        "links": inode.n_links,
        "user": inode.user,
        "group": inode.group,
        "access": time_words(*inode.access),
        "modification": time_words(*inode.modification),
        "change": time_words(*inode.change),
        "birth": time_words(*inode.birth),
        "xattrs": {os.fsdecode(name): value_words(namespace.xattr(file, name)) for name in file.xattrs},
    }
    if inode.type == stat.S_IFREG:
        contents = Contents(inode.size)
        for offset, piece in namespace.contents(file):
            contents.add(offset, piece)
        fields |= contents.finish()
    elif inode.type == stat.S_IFDIR:
        fields["names"] = [os.fsdecode(entry.name) for entry in file.entries]
    elif inode.type == stat.S_IFLNK:
        fields["target"] = os.fsdecode(file.target)
    elif inode.type in (stat.S_IFCHR, stat.S_IFBLK):
        fields["device"] = inode.device
    return fields


def lines_of(namespace):
    """
    Lines of all paths, sorted by the bytes of the path; the root's is empty.  Bytes that are not UTF-8 become lone
    surrogates, as in os.fsdecode().
    """
    known = {}
    for path, file in namespace.paths():
        if file.number not in known:
            known[file.number] = fields_of(namespace, file)
        yield {"path": os.fsdecode(path), **known[file.number]}


# Copying to a folder


def extract(namespace, folder):
    """
    Copy the tree into a folder that is not there yet.  Owners and devices need root.  Returns (path, name of the attribute)
    of those that the file system there can't hold.
    """
    folder = os.fsencode(folder)
    first_path = {}  # by inode number
    for path, file in namespace.paths():
        to = os.path.join(folder, path) if path else folder
        if file.number in first_path:
            os.link(first_path[file.number], to, follow_symlinks=False)
        else:
            first_path[file.number] = to
            _make(namespace, file, to)
    # Backwards, so that a folder's times and mode are set when all that it holds is there.
    return [(os.path.relpath(to, folder), name) for number, to in reversed(first_path.items())
            for name in _set_attributes(namespace, namespace.files[number], to)]


def _make(namespace, file, to):
    inode = file.inode
    if inode.type == stat.S_IFDIR:
        os.mkdir(to, 0o700)
    elif inode.type == stat.S_IFLNK:
        os.symlink(file.target, to)
    elif inode.type != stat.S_IFREG:
        os.mknod(to, inode.type | 0o600, inode.device)
    else:
        with open(to, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
            for offset, piece in namespace.contents(file):
                out.seek(offset)
                out.write(piece)
            out.truncate(inode.size)


def _set_attributes(namespace, file, to):
    """Yields the names of extended attributes that can't be set."""
    inode = file.inode
    os.chown(to, inode.user, inode.group, follow_symlinks=False)
    if inode.type != stat.S_IFLNK:
        os.chmod(to, stat.S_IMODE(inode.mode))
    for name in file.xattrs:
        value = namespace.xattr(file, name)
        try:
            os.setxattr(to, name, value, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.E2BIG, errno.ERANGE, errno.EOPNOTSUPP):
                raise
            yield name
    times = [seconds * 1_000_000_000 + nanoseconds for seconds, nanoseconds in (inode.access, inode.modification)]
    os.utime(to, ns=tuple(times), follow_symlinks=False)
