"""The Merkle tree over the log's blocks ("Merkle tree"; RFC 6962, section 2.1)."""

import hashlib


def leaf_hash(position, block):
    """A leaf also states where its block lies."""
    digest = hashlib.sha256(b"\x00" + position.to_bytes(8, "little"))
    digest.update(block)
    return digest.digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


class GrowingTree:
    """Takes leaf after leaf and knows the root at any time.  It keeps a root for each power of two in their number."""

    def __init__(self):
        self.n_leaves = 0
        self._roots = []  # of complete subtrees, the largest first

    def add(self, leaf):
        self._roots.append(leaf)
        self.n_leaves += 1
        merges = self.n_leaves
        while merges % 2 == 0:
            right = self._roots.pop()
            self._roots[-1] = node_hash(self._roots[-1], right)
            merges //= 2

    def root(self):
        if not self._roots:
            return hashlib.sha256(b"").digest()
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root
