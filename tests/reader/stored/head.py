"""Heads: signed statements of all that lies below them in the log ("Head")."""

import contextlib
import dataclasses
import hashlib
import re

from .faults import Damaged, LaterVersion, TamperedWith, require
from .volume_conf import verify_signature
from .words import base64_bytes, number, time_ns

NOTE_MAX, DELTAS_MAX = 8192, 64
PLAIN_MAX = 1048576
STORED_MIN, STORED_MAX = 29, 1049612
SIGNATURE_LINE = re.compile("\u2014 ([^ ]+) ([^ ]+)")
CONTROL = re.compile("[\x00-\x1f\x7f]")
KEY_ID_LEN, SIGNATURE_LEN = 4, 64


@dataclasses.dataclass(frozen=True)
class Pointer:
    """Where a sealed block lies: position of its frame, bytes in the log, bytes of plaintext."""
    position: int
    stored_len: int
    plain_len: int

    @property
    def end(self):
        return self.position + self.stored_len

    def check(self, below, what):
        """All that can be said of it without the log: lengths within bounds, and that it ends at or below a position."""
        require(STORED_MIN <= self.stored_len <= STORED_MAX and 1 <= self.plain_len <= PLAIN_MAX,
                f"{what}: a pointer to a block of {self.stored_len} bytes, {self.plain_len} of plaintext")
        require(self.end <= below, f"{what}: a pointer to position {self.position}, not below {below}")
        return self


@dataclasses.dataclass(frozen=True)
class Head:
    origin: str
    n_blocks: int
    root: bytes
    number: int
    epoch: int
    time: str
    time_ns: int
    end: int
    parent: int
    checkpoint: object  # a Pointer, or None
    deltas: tuple
    text: bytes  # what is signed
    signatures: tuple  # (name, what the second word says)

    def verify(self, grants):
        """Raises unless the writer of the head's epoch signed it.  Witnesses are not judged."""
        require(self.epoch in grants, f"head {self.number}: epoch {self.epoch} was not granted", TamperedWith)
        public = grants[self.epoch]
        key_id = hashlib.sha256(self.origin.encode() + b"\n\x01" + public).digest()[:KEY_ID_LEN]
        of_writer = [s for s in self._signatures_by(self.origin) if s.startswith(key_id)]
        require(of_writer, f"head {self.number}: not signed by the writer of epoch {self.epoch}", TamperedWith)
        for signature in of_writer:
            require(verify_signature(public, signature[KEY_ID_LEN:], self.text), f"head {self.number}: the signature is wrong",
                    TamperedWith)

    def _signatures_by(self, name):
        """Key ids and signatures in the lines of that name; a line of another form is a witness's."""
        for of, word in self.signatures:
            with contextlib.suppress(Damaged):
                if of == name:
                    yield base64_bytes(word, KEY_ID_LEN + SIGNATURE_LEN, "signature")


def parse(note):
    """The head that a note states; Damaged if it is malformed."""
    require(len(note) <= NOTE_MAX, "a note of more than 8192 bytes")
    try:
        note.decode("utf-8")
    except UnicodeDecodeError:
        raise Damaged("a note that is not UTF-8") from None
    at = note.rfind(b"\n\n")
    require(at >= 0 and note.endswith(b"\n"), "a note without signatures")
    text, signatures = note[:at + 1], note[at + 2:]
    lines = text.decode().split("\n")[:-1]
    require(len(lines) >= 9, "a note with lines missing")

    def value(i, name):
        require(lines[i].startswith(name + " "), f"line {lines[i]!r} in the place of {name!r}")
        return lines[i][len(name) + 1:]

    require(re.fullmatch(r"embassyfs/[0-9a-f]{32}", lines[0]), f"origin {lines[0]!r}")
    time = value(5, "time")
    end = number(value(6, "end"), "end")
    head = Head(origin=lines[0], n_blocks=number(lines[1], "number of blocks"),
                root=base64_bytes(lines[2], 32, "root"), number=number(value(3, "head"), "head"),
                epoch=number(value(4, "epoch"), "epoch"), time=time, time_ns=time_ns(time, "time"), end=end,
                parent=number(value(7, "parent"), "parent"), checkpoint=_pointer(value(8, "checkpoint"), end, True),
                deltas=_deltas(lines[9:], end), text=text, signatures=_signatures(signatures))
    require(head.number >= 1 and head.epoch >= 1 and head.end > 0, "a head, an epoch or an end of 0")
    require(head.parent < head.end and (head.parent == 0) == (head.number == 1), f"parent {head.parent}")
    return head


def _pointer(words, end, may_be_none):
    numbers = [number(word, "pointer") for word in words.split(" ")]
    require(len(numbers) == 3, f"pointer {words!r}")
    if may_be_none and numbers == [0, 0, 0]:
        return None
    return Pointer(*numbers).check(end, "a head")


def _deltas(lines, end):
    deltas = []
    for line in lines:
        name, _, words = line.partition(" ")
        require(name == "delta", f"line {line!r} in a head", LaterVersion)
        delta = _pointer(words, end, False)
        require(not deltas or delta.position >= deltas[-1].end, "deltas that are not in the order of replay")
        deltas.append(delta)
    require(len(deltas) <= DELTAS_MAX, "more than 64 deltas")
    return tuple(deltas)


def _signatures(data):
    signatures = []
    for line in data.decode().split("\n")[:-1]:
        match = SIGNATURE_LINE.fullmatch(line)
        require(match and not CONTROL.search(line), f"signature line {line!r}")
        signatures.append((match[1], match[2]))
    require(signatures, "a note without signatures")
    return tuple(signatures)
