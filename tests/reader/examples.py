"""The examples of FORMAT.md itself, as they stand in the document, and the golden files that it names."""

import base64
import os
import re
import types

from stored import checksums, head, merkle, sealing, tree
from stored.faults import Refused
from stored.log import DATA, Block, Frame, parse_frame
from stored.volume_conf import VolumeConf

VOLUME_ID, POSITION = bytes(range(16)), 201331303  # of the example of "Sealing"


class Document:
    """FORMAT.md; examples are found by the heading above them, and hex by the words behind it."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.text = file.read()

    def section(self, *headings):
        text = self.text
        for heading in headings:
            at = re.search(rf"^(#+) {re.escape(heading)}\n", text, re.M)
            assert at, f"FORMAT.md has no heading {heading!r}"
            rest = text[at.end():]
            end = re.search(rf"^#{{1,{len(at[1])}}} ", rest, re.M)
            text = rest[:end.start()] if end else rest
        return text

    @staticmethod
    def hex_rows(text, first, n_bytes):
        """Bytes from the row that begins with these on, up to a number of bytes; the notes behind them are left out."""
        got = bytearray()
        for row in text[text.index(first):].split("\n"):
            digits = re.match(r" *((?:[0-9a-f]{2} )*[0-9a-f]{2})(?= |$)", row)
            if digits:
                got += bytes.fromhex(digits[1])
            if len(got) >= n_bytes:
                break
        assert len(got) == n_bytes, f"{len(got)} bytes from {first!r} on"
        return bytes(got)

    @staticmethod
    def word_after(text, words):
        return bytes.fromhex(re.search(rf"{re.escape(words)}\s+([0-9a-f]+)", text)[1])


class SimpleSegment(types.SimpleNamespace):
    """A segment without a file.  Ciphers are kept by segment, so that it must have a hash."""
    __hash__ = object.__hash__
    name = "example"

    def place(self, offset):
        return f"byte {offset}"


def in_segment(number, position, data):
    """A segment's bytes in which a block lies alone."""
    return bytes(position - number * (1 << 26)) + data


def check_frame(document, _golden):
    raw = document.hex_rows(document.section("Segment and block", "Block"), "e8 03 00 00  ", 12)
    data = raw + bytes(1000)
    assert checksums.crc32c(b"123456789") == 0xE3069283
    assert parse_frame(in_segment(1, 0x4000074, data), 0x74, 1 << 26) == Frame(1000, DATA, 1)


def check_header(document, _golden):
    text = document.section("Segment and block", "Segment header")
    block = document.hex_rows(text, "68 00 00 00 01", 116)
    assert parse_frame(block, 0, 0xC000000).body_len == 104
    leaf = re.search(r"^`([0-9a-f]{64})`", text, re.M)[1]
    assert merkle.leaf_hash(0xC000000, block).hex() == leaf


def check_sealing(document, _golden):
    text = document.section("Sealing", "Example")
    first, second = text.split("The same with cipher 2")
    for cipher, example in ((1, first), (2, second)):
        stored = bytes.fromhex("".join(re.findall(r"^(?:    whole block +|  +)([0-9a-f]+)(?=$|  )",
                                                  example[example.index("    whole block"):], re.M)))
        segment = SimpleSegment(number=3, start=3 << 26, key_generation=0, cipher=cipher, volume_id=VOLUME_ID,
                                salt=bytes(range(0x80, 0xA0)), data=in_segment(3, POSITION, stored))
        block = Block(POSITION, parse_frame(segment.data, POSITION - segment.start, segment.start), segment)
        assert sealing.open_block(b"thirty-two bytes of a log key...", block) == b"Tallinn"


class Hashable:
    """A block whose segment can be a key of the cache of ciphers."""

    def __init__(self, block):
        self._block = block
        self.segment = HashableSegment(block.segment)

    def __getattr__(self, name):
        return getattr(self._block, name)


class HashableSegment:
    def __init__(self, segment):
        self.__dict__.update(segment.__dict__)


def check_head(document, golden):
    text = document.section("Head")
    note = re.search(r"((?:^(?:    .*)?\n)+)", text[text.index("    embassyfs/"):], re.M)[1]
    note = re.sub(r"^    ", "", note, flags=re.M).strip("\n").encode() + b"\n"
    assert note == golden("head.note"), "FORMAT.md has another note than tests/golden/head.note"
    found = head.parse(note)
    public = re.search(r"public key ((?:[0-9a-f]{8}\s+)+[0-9a-f]{8})", text)[1]
    found.verify({2: bytes.fromhex("".join(public.split()))})
    key_id = re.search(r"key id ([0-9a-f]{8})", text)[1]
    assert base64.b64decode(found.signatures[0][1])[:4].hex() == key_id
    assert found.number == 7 and len(found.deltas) == 2
    for broken in (note.replace(b"head 7", b"head 07"), note.replace(b"\n\n", b"\nwitness 1\n\n"), note[:-1], note + note):
        try:
            head.parse(broken)
        except Refused:
            continue
        raise AssertionError(f"taken for a head: {broken}")


def check_merkle(document, _golden):
    text = document.section("Merkle tree")
    inputs = [b""] + [bytes.fromhex(word) for word in re.findall(r"`([0-9a-f]+)`", text[text.index("nothing, `00`"):])[:7]]
    grown = merkle.GrowingTree()
    rows = re.findall(r"^\| (\d) \| `([0-9a-f]{64})` \|", text, re.M)
    assert len(rows) == 9
    for n, root in rows:
        assert grown.root().hex() == root, f"root of {n}"
        if int(n) < len(inputs):
            grown.add(merkle.hashlib.sha256(b"\x00" + inputs[int(n)]).digest())


def check_volume_conf(document, golden):
    text = document.section("volume.conf and key slots")
    whole = re.sub(r"^    ", "", text[text.index("    embassyfs volume 1"):text.index("\n\nEach line ends")], flags=re.M)
    assert whole.encode() + b"\n" == golden("volume.conf"), "FORMAT.md has another file than tests/golden/volume.conf"
    conf = VolumeConf(golden("volume.conf"))
    wanted = dict(line.split(" ") for line in golden("volume.keys").decode().splitlines())
    for key in ({"passphrase": b"correct horse battery staple"}, {"key_file": golden("volume.keyfile")}):
        keys = conf.open(**key)
        seeds = conf.open_secrets(keys)
        found = {"log_key": keys.log_key, "name_key": keys.name_key, "writer_seed": seeds["writer"],
                 "authority_seed": seeds["authority"]}
        assert {name: value.hex() for name, value in found.items()} == wanted
    data = golden("volume.conf")
    for at in range(0, len(data), 7):
        try:
            VolumeConf(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        except Refused:
            continue
        raise AssertionError(f"volume.conf is taken with byte {at} changed")


def check_nodes(document, _golden):
    text = document.section("Tree node", "Example")
    leaf = document.hex_rows(text, "00 00 02 00", 31)
    assert tree.parse_node(leaf, 0, 1000, "leaf") == [(b"a", b"1"), (b"bc", b"two")]
    inner = document.hex_rows(text, "01 00 02 00", 58)
    children = [(b"a", tree.Pointer(64, 60, 32)), (b"m", tree.Pointer(128, 60, 32))]
    assert tree.parse_node(inner, 1, 1000, "inner node") == children


def check_records(document, _golden):
    records = document.hex_rows(document.section("Delta records", "Example"), "03 01 00 02", 30)
    items = {b"ab": b"", b"b": b"1", b"bc": b"2", b"bz": b"3", b"cat": b"4"}
    tree.apply_records(items, records, "example")
    assert items == {b"ab": b"one", b"b": b"", b"bz": b"3"}


def check_siphash(_document, _golden):
    """Of SipHash's paper: key 00 to 0f, input 00 to 0e."""
    assert checksums.siphash24(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5


CHECKS = {"a frame": check_frame, "a segment's header": check_header, "sealed blocks": check_sealing, "a head": check_head,
          "Merkle roots": check_merkle, "volume.conf": check_volume_conf, "nodes": check_nodes,
          "delta records": check_records, "SipHash-2-4": check_siphash}


def checks(root):
    """(name, function that asserts) of each; the root is the repository's."""
    document = Document(os.path.join(root, "proto/FORMAT.md"))

    def golden(name):
        with open(os.path.join(root, "tests/golden", name), "rb") as file:
            return file.read()

    return [(f"FORMAT.md's example of {name}", lambda run=run: run(document, golden)) for name, run in CHECKS.items()]
