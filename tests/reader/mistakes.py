"""Mistakes in the reader, made on purpose: each breaks one rule of FORMAT.md, and a comparison must notice it."""

import contextlib
from unittest import mock

from stored import history, listing, log, namespace, sealing, tree


def _ranges_are_not_deleted():
    real = tree.apply_records

    def apply(items, records, where):
        kept = dict(items)
        real(items, records, where)
        for key, value in kept.items():
            items.setdefault(key, value)
    return mock.patch.object(tree, "apply_records", apply)


def _deltas_backwards():
    real = history.History.state

    def state(self, number):
        turned = [mock.Mock(wraps=head, deltas=head.deltas[::-1], number=head.number, end=head.end,
                            checkpoint=head.checkpoint) for head in self.log.heads]
        with mock.patch.object(self.log, "heads", turned):
            return real(self, number)
    return mock.patch.object(history.History, "state", state)


def _own_deltas_only():
    real = history.History._checkpoint

    def checkpoint(self, head):
        items, totals, _ = real(self, head)
        return items, totals, head.number - 1
    return mock.patch.object(history.History, "_checkpoint", checkpoint)


def _no_checkpoint():
    real = history.History._checkpoint

    def checkpoint(self, head):
        _, totals, heads_from = real(self, head)
        return {}, totals, heads_from
    return mock.patch.object(history.History, "_checkpoint", checkpoint)


def _extents_from_the_start_of_their_block():
    def contents(self, file):
        for extent in file.extents:
            yield extent.offset, self._read_data(extent.block, self._below, "")[:extent.length]
    return mock.patch.object(namespace.Namespace, "contents", contents)


def _long_attributes_are_short():
    return mock.patch.object(namespace.Namespace, "xattr", lambda self, file, name: bytes(repr(file.xattrs[name]), "ascii")
                             if not isinstance(file.xattrs[name], bytes) else file.xattrs[name])


def _folders_in_the_order_of_names():
    real = listing.fields_of

    def fields_of(names, file):
        fields = real(names, file)
        if "names" in fields:
            fields["names"].sort()
        return fields
    return mock.patch.object(listing, "fields_of", fields_of)


def _name_key():
    return mock.patch.object(namespace, "siphash24", lambda key, data: len(data) + 100)


def _coarse_chunks_only():
    return mock.patch.object(log, "FINE_CHUNK_LEN", log.CHUNK_LEN)


def _one_nonce_for_all_chunks():
    real = sealing.chunks
    return mock.patch.object(sealing, "chunks", lambda body, chunk_len: ((0, chunk) for _, chunk in real(body, chunk_len)))


def _holes_are_left_out():
    return mock.patch.object(listing.Contents, "_zeros_up_to", lambda self, offset: None)


ALL = {
    "ranges are not deleted": _ranges_are_not_deleted,
    "deltas are applied backwards": _deltas_backwards,
    "only the head's own deltas are applied": _own_deltas_only,
    "the checkpoint's tree is not read": _no_checkpoint,
    "extents begin where their block does": _extents_from_the_start_of_their_block,
    "a long attribute is its pointer": _long_attributes_are_short,
    "folders are in the order of names": _folders_in_the_order_of_names,
    "names are hashed otherwise": _name_key,
    "fine chunks are not known": _coarse_chunks_only,
    "all chunks have the first one's nonce": _one_nonce_for_all_chunks,
    "holes are left out": _holes_are_left_out,
}


@contextlib.contextmanager
def made(name):
    with ALL[name]():
        yield
