"""Inodes, names, attributes and extents of one head, from its items ("Items").  Every rule stated there is checked."""

import dataclasses
import stat
import struct

from .checksums import siphash24
from .faults import require
from .tree import parse_pointer

INODE, XATTR, SYMLINK, ENTRY, EXTENT, ORPHAN, SNAPSHOT = range(1, 8)
KEY = struct.Struct(">QB")
INODE_BODY = struct.Struct("<IIIIQQQQqIqIqIqIQ")
ENTRY_FIXED = struct.Struct("<QBB")
EXTENT_BODY = struct.Struct("<16sII")
SNAPSHOT_BODY = struct.Struct("<QqB")
ROOT = 1
INODE_NUMBER_END = 1 << 48
XATTR_INLINE_MAX, TARGET_MAX = 1024, 4095
TYPES = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}


@dataclasses.dataclass(frozen=True)
class Inode:
    mode: int
    n_links: int
    user: int
    group: int
    device: int
    size: int
    n_bytes: int
    parent: int
    access: tuple  # (seconds since 1970, nanoseconds)
    modification: tuple
    change: tuple
    birth: tuple

    @property
    def type(self):
        return stat.S_IFMT(self.mode)


@dataclasses.dataclass(frozen=True)
class Entry:
    name: bytes
    number: int
    type: int


@dataclasses.dataclass(frozen=True)
class Extent:
    offset: int
    block: object  # a Pointer
    inside: int
    length: int

    @property
    def end(self):
        return self.offset + self.length


@dataclasses.dataclass(frozen=True)
class Snapshot:
    name: bytes
    head: int
    time_ns: int
    held: bool


class File:
    """All items of one inode number."""

    def __init__(self, number):
        self.number = number
        self.inode = None
        self.xattrs = {}  # bytes, or a Pointer
        self.target = None
        self.entries = []  # in the order of their hashes
        self.extents = []

    def __str__(self):
        return f"inode {self.number}"


class Namespace:
    """The files, orphans and snapshots of a State."""

    def __init__(self, state, name_key, below, read_data):
        """read_data(pointer, below, what) gives the content of a DATA block that ends at or below a position."""
        self._name_key, self._below, self._read_data = name_key, below, read_data
        self.files, self.orphans, self.snapshots = {}, set(), []
        for key, value in state.items.items():
            require(len(key) >= KEY.size, f"an item's key of {len(key)} bytes")
            self._take_item(*KEY.unpack_from(key), key[KEY.size:], value)
        self._check(state.totals)

    # Items, one by one

    def _take_item(self, number, kind, rest, value):
        what = f"inode {number}, item of type {kind}"
        require((number == 0) == (kind in (ORPHAN, SNAPSHOT)), f"{what}: an inode number that the type can't have")
        require(number < INODE_NUMBER_END, f"{what}: the number is too large")
        take = {INODE: self._take_inode, XATTR: self._take_xattr, SYMLINK: self._take_symlink, ENTRY: self._take_entries,
                EXTENT: self._take_extent, ORPHAN: self._take_orphan, SNAPSHOT: self._take_snapshot}.get(kind)
        require(take, f"{what}: an unknown type")
        take(self.files.setdefault(number, File(number)) if number else None, rest, value, what)

    def _take_inode(self, file, rest, value, what):
        require(not rest and len(value) == INODE_BODY.size, f"{what}: {len(value)} bytes")
        body = INODE_BODY.unpack(value)
        inode = Inode(*body[:8], *zip(body[8:16:2], body[9:16:2]))
        require(body[16] == 0, f"{what}: its zero is {body[16]}")
        require(inode.type in TYPES, f"{what}: mode {inode.mode:o}")
        for _, nanoseconds in (inode.access, inode.modification, inode.change, inode.birth):
            require(nanoseconds < 1_000_000_000, f"{what}: {nanoseconds} nanoseconds")
        file.inode = inode

    def _take_xattr(self, file, rest, value, what):
        require(1 <= len(rest) <= 255 and value, f"{what}: a name of {len(rest)} bytes, a value of {len(value)}")
        if value[0] == 0:
            require(len(value) - 1 <= XATTR_INLINE_MAX, f"{what}: {len(value) - 1} bytes")
            file.xattrs[rest] = value[1:]
        else:
            require(value[0] == 1 and len(value) == 17, f"{what}: {value[:1].hex()}, {len(value)} bytes")
            file.xattrs[rest] = parse_pointer(value[1:])

    def _take_symlink(self, file, rest, value, what):
        require(not rest and 1 <= len(value) <= TARGET_MAX, f"{what}: {len(value)} bytes")
        file.target = value

    def _take_entries(self, file, rest, value, what):
        require(len(rest) == 8 and value, f"{what}: a key of {len(rest)} bytes, {len(value)} of value")
        at = 0
        while at < len(value):
            require(at + ENTRY_FIXED.size <= len(value), f"{what}: runs past the end")
            number, kind, name_len = ENTRY_FIXED.unpack_from(value, at)
            at += ENTRY_FIXED.size
            name = value[at:at + name_len]
            at += name_len
            require(name_len >= 1 and at <= len(value), f"{what}: runs past the end")
            require(name not in (b".", b"..") and b"/" not in name and b"\0" not in name, f"{what}: name {name!r}")
            require(self._hash(name) == int.from_bytes(rest, "big"), f"{what}: {name!r} is not at its hash")
            file.entries.append(Entry(name, number, kind << 12))

    def _hash(self, name):
        """SipHash shifted right by 2; 0, 1 and 2 become 3, 4 and 5."""
        shifted = siphash24(self._name_key, name) >> 2
        return shifted + 3 if shifted <= 2 else shifted

    def _take_extent(self, file, rest, value, what):
        require(len(rest) == 8 and len(value) == EXTENT_BODY.size, f"{what}: {len(rest)} and {len(value)} bytes")
        pointer, inside, length = EXTENT_BODY.unpack(value)
        extent = Extent(int.from_bytes(rest, "big"), parse_pointer(pointer), inside, length)
        extent.block.check(self._below, what)
        require(length > 0 and inside + length <= extent.block.plain_len, f"{what}: beyond its block's plaintext")
        require(not file.extents or file.extents[-1].end <= extent.offset, f"{what}: extents overlap")
        file.extents.append(extent)

    def _take_orphan(self, _file, rest, value, what):
        require(len(rest) == 8 and not value, f"{what}: {len(rest)} and {len(value)} bytes")
        self.orphans.add(int.from_bytes(rest, "big"))

    def _take_snapshot(self, _file, rest, value, what):
        require(rest and len(value) == SNAPSHOT_BODY.size, f"{what}: {len(rest)} and {len(value)} bytes")
        head, time_ns, held = SNAPSHOT_BODY.unpack(value)
        require(held in (0, 1), f"{what}: held is {held}")
        self.snapshots.append(Snapshot(rest, head, time_ns, bool(held)))

    # What items say of one another

    def _check(self, totals):
        for file in self.files.values():
            require(file.inode, f"{file} has items, but no inode")
            self._check_file(file)
        require(ROOT in self.files and self.files[ROOT].inode.type == stat.S_IFDIR, "there is no root folder")
        self._check_links()
        require(totals.n_inodes == len(self.files), f"{len(self.files)} inodes, stated are {totals.n_inodes}")
        require(totals.next_inode > max(self.files), f"inode {max(self.files)}, but {totals.next_inode} was never used")
        n_bytes = sum(file.inode.n_bytes for file in self.files.values())
        require(totals.n_bytes == n_bytes, f"{n_bytes} bytes in extents, stated are {totals.n_bytes}")

    def _check_file(self, file):
        inode = file.inode
        require(file.extents == [] or inode.type == stat.S_IFREG, f"{file}: extents, but no file")
        require(file.entries == [] or inode.type == stat.S_IFDIR, f"{file}: entries, but no folder")
        require((file.target is not None) == (inode.type == stat.S_IFLNK), f"{file}: a target, but no symbolic link")
        require(inode.n_bytes == sum(extent.length for extent in file.extents), f"{file}: covers other than it states")
        if inode.type == stat.S_IFREG:
            require(not file.extents or file.extents[-1].end <= inode.size, f"{file}: an extent beyond its size")
        else:
            size = len(file.target or b"") or len(file.entries)
            require(inode.size == size, f"{file}: its size is {size}, stated is {inode.size}")
        require((inode.parent != 0) == (inode.type == stat.S_IFDIR), f"{file}: parent {inode.parent}")
        require((inode.n_links == 0) == (file.number in self.orphans), f"{file}: {inode.n_links} links")

    def _check_links(self):
        """Numbers of links and folders' parents, against the entries."""
        n_links = {number: 0 for number in self.files}
        parents = {ROOT: ROOT}
        for folder in self.files.values():
            for entry in folder.entries:
                what = f"{folder}, {entry.name!r}"
                require(entry.number in self.files, f"{what}: there is no inode {entry.number}")
                file = self.files[entry.number]
                require(entry.type == file.inode.type, f"{what}: of another type than {file}")
                n_links[entry.number] += 1
                if entry.type == stat.S_IFDIR:
                    require(entry.number not in parents, f"{what}: a second name of {file}")
                    parents[entry.number] = folder.number
        n_folders = {}
        for number, parent in parents.items():
            if number != ROOT:
                n_folders[parent] = n_folders.get(parent, 0) + 1
        for number, file in self.files.items():
            if number in self.orphans:
                require(n_links[number] == 0, f"{file}: an orphan with a name")
            elif file.inode.type == stat.S_IFDIR:
                require(parents.get(number) == file.inode.parent, f"{file}: its parent is not {file.inode.parent}")
                require(file.inode.n_links == 2 + n_folders.get(number, 0), f"{file}: {file.inode.n_links} links")
            else:
                require(file.inode.n_links == n_links[number], f"{file}: {n_links[number]} names, stated are "
                        f"{file.inode.n_links}")

    # What users see

    def paths(self):
        """(path, file) of every name, the root's path b"" first, sorted by the bytes of the path."""
        found = [(b"", self.files[ROOT])]
        todo = [(b"", self.files[ROOT])]
        while todo:
            path, folder = todo.pop()
            for entry in folder.entries:
                file = self.files[entry.number]
                found.append((path + b"/" + entry.name if path else entry.name, file))
                if entry.type == stat.S_IFDIR:
                    todo.append(found[-1])
        return sorted(found, key=lambda pair: pair[0])

    def xattr(self, file, name):
        value = file.xattrs[name]
        return value if isinstance(value, bytes) else self._read_data(value, self._below, f"{file}, attribute {name!r}")

    def contents(self, file):
        """(offset, bytes) of each piece of a file that an extent covers; all else reads as zeros."""
        for extent in file.extents:
            plain = self._read_data(extent.block, self._below, f"{file}, extent at {extent.offset}")
            yield extent.offset, plain[extent.inside:extent.inside + extent.length]
