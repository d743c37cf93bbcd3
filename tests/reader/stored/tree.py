"""Nodes of a tree, and the records of deltas ("Tree node", "Delta records").  No I/O: bytes in, entries out."""

import struct

from .faults import require
from .head import Pointer

KEY_MAX, VALUE_MAX = 320, 4352
LEVELS_MAX = 12
NODE_LEN = (17, 70216)
PUT, DELETE, DELETE_RANGE = 1, 2, 3
POINTER = struct.Struct("<QII")


def parse_pointer(data):
    return Pointer(*POINTER.unpack(data))


def parse_node(plain, level, position, where):
    """
    The entries of the node at a position: (key, value) of a leaf, which has level 0, else (key, Pointer).  All that a
    reader checks when a node comes in.
    """
    require(NODE_LEN[0] <= len(plain) <= NODE_LEN[1], f"{where}: a node of {len(plain)} bytes")
    its_level, zero, n, zeros = struct.unpack_from("<BBHI", plain)
    require(its_level == level, f"{where}: a node of level {its_level} in the place of level {level}")
    require(zero == 0 and zeros == 0 and n > 0, f"{where}: zeros {zero}, {zeros}; {n} entries")
    at = 8 + 4 * n
    require(at <= len(plain), f"{where}: offsets run past the end")
    entries, before = [], None
    for offset in struct.unpack_from(f"<{n}I", plain, 8):
        require(offset == at, f"{where}: an entry at {offset}, not where the one before ends")
        key, value, at = _key_and_value(plain, at, where)
        require(before is None or before < key, f"{where}: keys do not ascend")
        before = key
        if level > 0:
            require(len(value) == POINTER.size, f"{where}: a pointer of {len(value)} bytes")
            value = parse_pointer(value).check(position, where)
            require(NODE_LEN[0] <= value.plain_len <= NODE_LEN[1], f"{where}: a pointer to no node")
        entries.append((key, value))
    require(at == len(plain), f"{where}: bytes behind the last entry")
    return entries


def _lengths(data, at, n, where):
    require(at + 2 * n <= len(data), f"{where}: runs past the end")
    return (*struct.unpack_from(f"<{n}H", data, at), at + 2 * n)


def _key_and_value(data, at, where):
    key_len, value_len, at = _lengths(data, at, 2, where)
    require(1 <= key_len <= KEY_MAX and value_len <= VALUE_MAX, f"{where}: a key of {key_len}, a value of {value_len}")
    require(at + key_len + value_len <= len(data), f"{where}: runs past the end")
    return data[at:at + key_len], data[at + key_len:at + key_len + value_len], at + key_len + value_len


def apply_records(items, records, where):
    """Apply a delta's records, in the order in which they stand, to a dict from key to value."""
    at = 0
    while at < len(records):
        kind = records[at]
        at += 1
        if kind == PUT:
            key, value, at = _key_and_value(records, at, where)
            items[key] = value
        elif kind == DELETE:
            key_len, at = _lengths(records, at, 1, where)
            require(1 <= key_len <= KEY_MAX and at + key_len <= len(records), f"{where}: a key of {key_len}")
            items.pop(records[at:at + key_len], None)
            at += key_len
        elif kind == DELETE_RANGE:
            from_len, to_len, at = _lengths(records, at, 2, where)
            require(1 <= from_len <= KEY_MAX and 1 <= to_len <= KEY_MAX and at + from_len + to_len <= len(records),
                    f"{where}: keys of {from_len} and {to_len}")
            first, at = records[at:at + from_len], at + from_len
            behind, at = records[at:at + to_len], at + to_len
            require(first < behind, f"{where}: an empty range")
            for key in [key for key in items if first <= key < behind]:
                del items[key]
        else:
            require(False, f"{where}: a record of type {kind}")
