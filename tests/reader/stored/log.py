"""The log: segments of blocks, walked from the start without a key ("Segment and block")."""

import dataclasses
import mmap
import os
import re
import struct

from . import head as heads
from .checksums import crc32c
from .faults import Damaged, LaterVersion, Refused, TamperedWith, require
from .merkle import GrowingTree, leaf_hash

SEGMENT_LEN = 1 << 26
SEGMENT_NUMBER_MAX = (1 << 38) - 2
SEGMENT_NAME = re.compile(r"[0-9a-f]{16}\.seg")
FRAME_LEN, SECTOR, UNWRITTEN_ZEROS = 12, 512, 8
BLOCKS_BETWEEN_HEADS_MAX = 4194304

SEGMENT, HEAD, DATA, NODE, DELTA, CHECKPOINT = range(1, 7)
KIND_NAMES = {SEGMENT: "SEGMENT", HEAD: "HEAD", DATA: "DATA", NODE: "NODE", DELTA: "DELTA", CHECKPOINT: "CHECKPOINT"}
BODY_LEN = {SEGMENT: (104, 104), HEAD: (1, 8192)}
SEALED_BODY_LEN = (17, 1049600)

COMPRESSED, FINE_CHUNKS = 0x01, 0x02
CHUNK_LEN, FINE_CHUNK_LEN, TAG_LEN = 16384, 4096, 16
FINE_PLAIN_LEN = (4097, 131072)

HEADER = struct.Struct("<8sII16sQQIIQq32s")


class NoBlock(Exception):
    """The bytes at a position are no block; the text says why.  The frame may be whole all the same."""

    def __init__(self, reason, len_of_block=FRAME_LEN):
        super().__init__(reason)
        self.len = len_of_block


class WrongRoot(TamperedWith):
    """A head that was signed over other bytes than lie before it, and is right in all else."""


@dataclasses.dataclass(frozen=True)
class End:
    """Where the walk of a segment ended."""
    offset: int
    reason: str  # None: at the file's end
    kind: type  # of fault, if it is one
    suspect_from: int  # offsets of the bytes that may be at fault
    suspect_to: int


@dataclasses.dataclass(frozen=True)
class Frame:
    body_len: int
    kind: int
    flags: int

    @property
    def chunk_len(self):
        return FINE_CHUNK_LEN if self.flags & FINE_CHUNKS else CHUNK_LEN

    @property
    def plain_len(self):
        """Bytes under the seals: the body without a tag for each chunk begun; None if no plaintext gives this body."""
        whole, rest = divmod(self.body_len, self.chunk_len + TAG_LEN)
        if rest == 0:
            return whole * self.chunk_len
        return whole * self.chunk_len + rest - TAG_LEN if rest > TAG_LEN else None


@dataclasses.dataclass(frozen=True)
class Block:
    position: int
    frame: Frame
    segment: object

    @property
    def end(self):
        return self.position + FRAME_LEN + self.frame.body_len

    @property
    def offset(self):
        return self.position - self.segment.start

    @property
    def stored(self):
        return self.segment.data[self.offset:self.offset + FRAME_LEN + self.frame.body_len]

    @property
    def body(self):
        return self.stored[FRAME_LEN:]

    def __str__(self):
        return f"{KIND_NAMES[self.frame.kind]} block at position {self.position} ({self.segment.place(self.offset)})"


def parse_frame(data, offset, start):
    """The frame of the block that lies at an offset of a segment's file; NoBlock if any rule is broken."""
    raw = data[offset:offset + FRAME_LEN]
    if len(raw) < FRAME_LEN:
        raise NoBlock("the file ends inside a frame")
    body_len, kind, flags, zero, crc = struct.unpack("<IBBHI", raw)
    if crc != crc32c((start + offset).to_bytes(8, "little") + raw[:8]):
        raise NoBlock("a frame's CRC is wrong")
    if kind not in KIND_NAMES or zero != 0:
        raise NoBlock(f"a frame of kind {kind}, its zeros {zero}")
    least, most = BODY_LEN.get(kind, SEALED_BODY_LEN)
    frame = Frame(body_len, kind, flags)
    if not least <= body_len <= most or kind not in BODY_LEN and frame.plain_len is None:
        raise NoBlock(f"a frame of kind {kind} with a body of {body_len} bytes")
    if flags not in (0, COMPRESSED, FINE_CHUNKS) or flags and kind in BODY_LEN or flags & FINE_CHUNKS and (
            kind != DATA or not FINE_PLAIN_LEN[0] <= frame.plain_len <= FINE_PLAIN_LEN[1]):
        raise NoBlock(f"a frame of kind {kind} with flags {flags:#x} and a body of {body_len} bytes")
    if (kind == SEGMENT) != (offset == 0):
        raise NoBlock(f"a block of kind {kind} at offset {offset} of its segment")
    if offset + FRAME_LEN + body_len > SEGMENT_LEN:
        raise NoBlock("a block that leaves its segment")
    if offset + FRAME_LEN + body_len > len(data):
        raise NoBlock("the file ends inside a block", FRAME_LEN + body_len)
    return frame


def may_be_unwritten(data, at, end):
    """
    Whether one of the sectors of these bytes can be one that was never written: it, or as much of it as lies there, ends in
    8 zeros, or is all zeros; or in one, if a write may have stopped inside it, as it may in the last.  Behind the file are
    zeros.
    """
    while at < end:
        stop = min(end, at - at % SECTOR + SECTOR)
        tail = data[at:stop].ljust(stop - at, b"\0")[-UNWRITTEN_ZEROS:]
        if not any(tail) or stop == end and tail[-1] == 0:
            return True
        at = stop
    return False


class Segment:
    """One file of the log, and what its header says once the walk has read it."""

    def __init__(self, folder, name):
        self.name = f"log/{name}"
        self.number = int(name[:16], 16)
        self.start = self.number * SEGMENT_LEN
        with open(os.path.join(folder, name), "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""

    def place(self, offset):
        return f"{self.name}, byte {offset}"

    def read_header(self, body):
        (magic, self.version, self.cipher, self.volume_id, number, self.epoch, self.key_generation, zero,
         self.n_blocks_before, self.created_ns, self.salt) = HEADER.unpack(body)
        where = f"{self.name}: the segment's header"
        require(magic == b"EMBSEGM1", f"{where} begins with {magic!r}")
        require(self.version in (1, 2), f"{where} is of version {self.version}", LaterVersion)
        require(number == self.number, f"{where} states number {number}")
        require(zero == 0, f"{where} has {zero} in the place of zero")


class Log:
    """
    A walk over the whole log.  It ends at the log's end, or at the first fault, which is then in .fault; what lies before
    the newest head that was reached is as it was signed in either case.
    """

    def __init__(self, folder, conf):
        self.folder, self.conf = folder, conf
        self.blocks = {}  # by position
        self.heads = []
        self.head_blocks = []
        self.since_head = []  # blocks above the newest head
        self.fault = None
        self.remarks = []
        self._tree = GrowingTree()
        self._epoch = 0
        try:
            self._walk()
            self._check_newest_head()
        except Refused as fault:
            self.fault = fault

    def head(self, number):
        require(1 <= number <= len(self.heads), f"there is no head {number}; the newest is {len(self.heads)}", Refused)
        return self.heads[number - 1]

    def _segments(self):
        folder = os.path.join(self.folder, "log")
        segments = [Segment(folder, name) for name in sorted(os.listdir(folder)) if SEGMENT_NAME.fullmatch(name)]
        for segment in segments:
            require(segment.number <= SEGMENT_NUMBER_MAX, f"{segment.name}: the number is too large")
        return segments

    def _walk(self):
        segments = self._segments()
        for segment in segments:
            end = self._walk_segment(segment)
            require(end.reason is None or segment is segments[-1],
                    f"{end.reason}, and this is not the last segment", end.kind)
        if segments:
            self._judge_end(segments[-1], end)

    def _walk_segment(self, segment):
        """Take its blocks; tells where that ended and, if it did not at the file's end, why."""
        offset = 0
        while offset < len(segment.data):
            try:
                frame = parse_frame(segment.data, offset, segment.start)
                self._take(Block(segment.start + offset, frame, segment))
            except NoBlock as reason:
                return End(offset, f"{segment.place(offset)}: {reason}", Damaged, offset, offset + reason.len)
            except Refused as reason:
                return End(offset, str(reason), type(reason), self._suspect_from(segment, offset, reason),
                           offset + FRAME_LEN + frame.body_len)
            offset += FRAME_LEN + frame.body_len
        return End(offset, None, Damaged, offset, offset)

    def _take(self, block):
        """What follows what: a header or a head must fit the log before it."""
        if block.frame.kind == SEGMENT:
            self._take_header(block)
        if block.frame.kind == HEAD:
            self._take_head(block)
        else:
            self.since_head.append(block)
            require(len(self.since_head) <= BLOCKS_BETWEEN_HEADS_MAX, f"{block}: too many blocks without a head")
        self._tree.add(leaf_hash(block.position, block.stored))
        self.blocks[block.position] = block

    def _take_header(self, block):
        segment = block.segment
        segment.read_header(block.body)
        require(segment.volume_id == self.conf.id, f"{block}: of another volume, {segment.volume_id.hex()}", TamperedWith)
        require(segment.n_blocks_before == self._tree.n_leaves,
                f"{block}: it states {segment.n_blocks_before} blocks before it, and there are {self._tree.n_leaves}: "
                "a segment before it is missing or was changed")
        require(segment.epoch in self.conf.grants, f"{block}: epoch {segment.epoch} was not granted", TamperedWith)
        require(segment.epoch >= self._epoch, f"{block}: epoch {segment.epoch} after {self._epoch}")
        self._epoch = segment.epoch

    def _take_head(self, block):
        try:
            head = heads.parse(block.body)
            require(head.origin == self.conf.origin, f"of {head.origin}", TamperedWith)
            head.verify(self.conf.grants)
        except Refused as fault:
            raise type(fault)(f"{block}: {fault}") from None
        before = self.heads[-1] if self.heads else None

        def says(condition, text):
            require(condition, f"{block}: head {head.number} {text}")

        says(head.number == len(self.heads) + 1, f"follows head {len(self.heads)}")
        says(head.end == block.position, f"says that it lies at {head.end}")
        says(head.parent == (before.end if before else 0), f"says that its parent lies at {head.parent}")
        says(not before or head.time_ns > before.time_ns, "is not later than its parent")
        says(head.epoch == block.segment.epoch, f"is of epoch {head.epoch}, its segment of {block.segment.epoch}")
        says(not before or head.epoch >= before.epoch, f"is of epoch {head.epoch}, its parent of a later one")
        says(head.n_blocks == self._tree.n_leaves,
             f"states {head.n_blocks} blocks below it, and there are {self._tree.n_leaves}")
        require(head.root == self._tree.root(), f"{block}: head {head.number} was signed over other bytes: one has changed "
                f"since, at or behind position {before.end if before else 0}", WrongRoot)
        self.heads.append(head)
        self.head_blocks.append(block)
        self.since_head = []

    # Where the log ends

    def _judge_end(self, segment, end):
        """Rows of FORMAT.md's table, the first that fits.  Returns if the log may end so, else raises."""
        where = end.reason or f"{segment.name}: no block"
        rest = segment.data[end.offset:]
        is_home = not os.path.exists(os.path.join(self.folder, "owner"))
        if is_home and len(segment.data) < SEGMENT_LEN:
            require(not rest and end.offset > 0, f"{where}, in a file that was cut at its last block when it was closed",
                    end.kind)
        if not rest.strip(b"\0"):
            return
        require(may_be_unwritten(segment.data, end.suspect_from, end.suspect_to),
                f"{where}, and no crash leaves such bytes", end.kind)
        behind = self._find_head(segment, end.offset)
        require(not behind, f"{where}, but head {behind and behind.number} lies there or behind it", end.kind)
        self.remarks.append(f"{where}: so a crash leaves it")

    def _suspect_from(self, segment, offset, reason):
        """Where the bytes begin that may be at fault: a head with a wrong root accuses all since the head before it."""
        if not isinstance(reason, WrongRoot) or not self.head_blocks:
            return 0 if isinstance(reason, WrongRoot) else offset
        return max(0, self.head_blocks[-1].end - segment.start)

    def _find_head(self, segment, offset):
        """A head that lies at or behind an offset: a whole block, signed, and stating where it lies.  None if there is none."""
        origin = self.conf.origin.encode() + b"\n"
        at = segment.data.find(origin, offset + FRAME_LEN)
        while at >= 0:
            try:
                frame = parse_frame(segment.data, at - FRAME_LEN, segment.start)
                head = heads.parse(segment.data[at:at + frame.body_len])
                head.verify(self.conf.grants)
                if frame.kind == HEAD and head.end == segment.start + at - FRAME_LEN:
                    return head
            except (NoBlock, Refused):
                pass
            at = segment.data.find(origin, at + 1)
        return None

    def _check_newest_head(self):
        """The note of a head that is known to have been there; what is no such note tells nothing."""
        try:
            with open(os.path.join(self.folder, "newest-head"), "rb") as file:
                known = heads.parse(file.read(heads.NOTE_MAX + 1))
            require(known.origin == self.conf.origin, "of another volume", TamperedWith)
            known.verify(self.conf.grants)
        except (FileNotFoundError, Refused):
            return
        require(known.number <= len(self.heads), f"the log ends with head {len(self.heads)}, but newest-head tells that "
                f"it held head {known.number}, of {known.time}: its end is missing", Damaged)
