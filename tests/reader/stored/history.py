"""The items of each head: a checkpoint's tree, and the deltas laid over it ("Delta", "Checkpoint")."""

import dataclasses
import struct

from . import tree
from .faults import require
from .log import CHECKPOINT, DATA, DELTA, KIND_NAMES, NODE
from .sealing import open_block

DELTA_HEADER = struct.Struct("<IIQQQQQ")
CHECKPOINT_BODY = struct.Struct("<IIQQQQQQIIQ")


@dataclasses.dataclass(frozen=True)
class Totals:
    """What a delta or a checkpoint states of the whole namespace."""
    next_inode: int
    n_inodes: int
    n_bytes: int


@dataclasses.dataclass(frozen=True)
class State:
    """A head's namespace: all items by key, in ascending order, and what the newest delta or checkpoint states."""
    items: dict
    totals: Totals


class History:
    """Reads sealed blocks of a walked log."""

    def __init__(self, log, keys):
        self.log = log
        self.name_key = keys.name_key
        self._log_key = keys.log_key
        self._nodes = {}  # the entries of nodes by position; older trees share them with newer ones
        self._deltas = {}
        self.n_rolled_up = self.n_inner_nodes = 0  # of those read

    def read(self, pointer, kind, below, what):
        """The content of the block that a pointer leads to, which must end at or below a position."""
        pointer.check(below, what)
        block = self.log.blocks.get(pointer.position)
        require(block, f"{what} points to position {pointer.position}, where no block begins")
        require(block.frame.kind == kind and block.end == pointer.end, f"{what} points to a {KIND_NAMES[kind]} block of "
                f"{pointer.stored_len} bytes, and there lies the {block} of {block.end - block.position}")
        content = open_block(self._log_key, block)
        require(len(content) == pointer.plain_len, f"{block}: {len(content)} bytes, of which {what} says that they are "
                f"{pointer.plain_len}")
        return content

    def read_data(self, pointer, below, what):
        return self.read(pointer, DATA, below, what)

    def seal_is_whole(self, block):
        """Whether a sealed block opens: to find which one was changed, where a head tells only that one was."""
        try:
            open_block(self._log_key, block)
            return True
        except Exception:
            return False

    def state(self, number):
        """The state of a head: the tree of its checkpoint, then the deltas that heads behind "from" up to it list."""
        head = self.log.head(number)
        items, totals, heads_from = {}, Totals(2, 0, 0), 0
        if head.checkpoint:
            items, totals, heads_from = self._checkpoint(head)
        for later in self.log.heads[heads_from:number]:
            for pointer in later.deltas:
                totals = self._apply_delta(items, pointer, later)
        return State(dict(sorted(items.items())), totals)

    def _checkpoint(self, head):
        what = f"the checkpoint of head {head.number}"
        (version, height, _flushes, heads_from, next_inode, n_inodes, n_bytes, root_position, root_stored, root_plain,
         zero) = CHECKPOINT_BODY.unpack(self._sized(self.read(head.checkpoint, CHECKPOINT, head.end, what), what))
        require(version == 1 and zero == 0, f"{what}: version {version}, zero {zero}")
        require(height <= tree.LEVELS_MAX and heads_from <= head.number, f"{what}: height {height}, from {heads_from}")
        items = {}
        if height == 0:
            require(root_position == 0, f"{what}: an empty tree with a root")
        else:
            root = tree.Pointer(root_position, root_stored, root_plain)
            items.update(self._node(root, height - 1, head.checkpoint.position, what))
        return items, Totals(next_inode, n_inodes, n_bytes), heads_from

    def _sized(self, body, what):
        require(len(body) == CHECKPOINT_BODY.size, f"{what}: {len(body)} bytes")
        return body

    def _node(self, pointer, level, below, what):
        """All items at and under a node, in ascending order."""
        where = f"{what}, node at {pointer.position}"
        if pointer.position not in self._nodes:
            plain = self.read(pointer, NODE, below, where)
            self._nodes[pointer.position] = tree.parse_node(plain, level, pointer.position, where)
            self.n_inner_nodes += level > 0
        entries = self._nodes[pointer.position]
        if level == 0:
            yield from entries
            return
        for i, (key, child) in enumerate(entries):
            behind = entries[i + 1][0] if i + 1 < len(entries) else None
            for item in self._node(child, level - 1, pointer.position, what):
                require(key <= item[0] and (behind is None or item[0] < behind), f"{where}: a child's key is out of place")
                yield item

    def _apply_delta(self, items, pointer, head):
        what = f"a delta of head {head.number}"
        if pointer.position not in self._deltas:
            self._deltas[pointer.position] = self.read(pointer, DELTA, head.end, what)
        plain = self._deltas[pointer.position]
        require(len(plain) >= DELTA_HEADER.size, f"{what}: {len(plain)} bytes")
        version, zero, first, last, next_inode, n_inodes, n_bytes = DELTA_HEADER.unpack_from(plain)
        require(version == 1 and zero == 0 and 1 <= first <= last, f"{what}: version {version}, flushes {first} to {last}")
        self.n_rolled_up += first < last
        tree.apply_records(items, plain[DELTA_HEADER.size:], f"{what}, at position {pointer.position}")
        return Totals(next_inode, n_inodes, n_bytes)
