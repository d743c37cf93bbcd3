#!/usr/bin/python3 -B
"""
Reads EmbassyFS volumes by proto/FORMAT.md alone.  It writes nothing to a volume and needs none of its programs.

A volume's folder, at home or at an embassy, and what to do with it:

    check           walk the log; with a key also open every block, and read every head
    heads           the heads, one line of JSON each
    snapshots       the named heads that the newest head knows
    list [HEAD]     the tree at a head (by default the newest): one line of JSON for each path
    extract HEAD FOLDER    copy that tree to a folder, which is made

Exit codes: 0; 1 if the volume is damaged or was tampered with; 2 for a wrong call or no key that opens; 3 if the file
system that it was extracted to can't hold an attribute.
"""

import argparse
import json
import os
import sys

from stored import faults, listing, words
from stored.history import History
from stored.log import HEAD, KIND_NAMES, SEGMENT, Log
from stored.namespace import Namespace
from stored.volume_conf import VolumeConf


class Volume:
    """A volume's folder, its log walked."""

    def __init__(self, folder):
        with open(os.path.join(folder, "volume.conf"), "rb") as file:
            try:
                self.conf = VolumeConf(file.read())
            except faults.Refused as fault:
                raise type(fault)(f"volume.conf: {fault}") from None
        self.log = Log(folder, self.conf)
        self.keys = self.history = None

    def unlock(self, passphrase=None, key_file=None):
        self.use(self.conf.open(passphrase, key_file))

    def use(self, keys):
        self.keys = keys
        self.history = History(self.log, keys)

    def namespace(self, number):
        """The tree at a head."""
        try:
            return Namespace(self.history.state(number), self.history.name_key, self.log.head(number).end,
                             self.history.read_data)
        except faults.Refused as fault:
            raise type(fault)(f"head {number}: {fault}") from None

    def log_faults(self):
        """What is wrong with the log: at most one fault, and the blocks that have it, as far as seals tell."""
        log = self.log
        if log.fault:
            yield log.fault
            yield from (faults.Damaged(f"the seal of the {block} is broken") for block in log.since_head
                        if self.history and block.frame.kind not in (SEGMENT, HEAD) and not self.history.seal_is_whole(block))

    def tree_faults(self):
        """What is wrong with heads' trees, if anything."""
        for head in self.log.heads:
            try:
                for _ in listing.lines_of(self.namespace(head.number)):
                    pass
            except faults.Refused as fault:
                yield fault


def credential(arguments):
    """The bytes of a passphrase (a file's first line) or of a key file."""
    if arguments.passphrase_file:
        with open(arguments.passphrase_file, "rb") as file:
            return {"passphrase": file.readline().rstrip(b"\n")}
    if arguments.key_file:
        with open(arguments.key_file, "rb") as file:
            return {"key_file": file.read()}
    return None


def check(volume, _arguments):
    log = volume.log
    kinds = [block.frame.kind for block in log.blocks.values()]
    print(f"{len(log.blocks)} blocks, {len(log.heads)} heads; "
          + ", ".join(f"{kinds.count(kind)} {KIND_NAMES[kind]}" for kind in sorted(set(kinds))))
    for remark in log.remarks:
        print(remark)
    wrong = list(volume.log_faults())
    if volume.history and not wrong:
        wrong = list(volume.tree_faults())
    for fault in wrong:
        print(f"{fault.word}: {fault}")
    return 1 if wrong else 0


def heads(volume, _arguments):
    for head in volume.log.heads:
        print(json.dumps({"head": head.number, "time": head.time, "epoch": head.epoch, "position": head.end,
                          "blocks": head.n_blocks, "root": head.root.hex()}))


def snapshots(volume, _arguments):
    for found in volume.namespace(len(volume.log.heads)).snapshots:
        print(json.dumps({"name": os.fsdecode(found.name), "head": found.head, "time": words.time_text(found.time_ns),
                          "held": found.held}))


def list_head(volume, arguments):
    for line in listing.lines_of(volume.namespace(arguments.head or len(volume.log.heads))):
        print(json.dumps(line, sort_keys=True))


def extract(volume, arguments):
    lost = listing.extract(volume.namespace(arguments.head), arguments.folder)
    for path, name in lost:
        print(f"{os.fsdecode(path)}: {os.fsdecode(name)} can't be set there", file=sys.stderr)
    return 3 if lost else 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volume")
    parser.add_argument("--passphrase-file", metavar="FILE", help="its first line is the passphrase")
    parser.add_argument("--key-file", metavar="FILE")
    parser.add_argument("--partial", action="store_true", help="read what lies before a fault of the log")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run in (("check", check), ("heads", heads), ("snapshots", snapshots), ("list", list_head), ("extract", extract)):
        command = commands.add_parser(name)
        command.set_defaults(run=run, needs_key=run not in (check, heads), reads=run is not check)
        if run in (list_head, extract):
            command.add_argument("head", type=int, **({"nargs": "?"} if run is list_head else {}))
        if run is extract:
            command.add_argument("folder")
    return parser, parser.parse_args()


def main():
    parser, arguments = parse_arguments()
    key = credential(arguments)
    if arguments.needs_key and not key:
        parser.error("this needs --passphrase-file or --key-file")
    try:
        volume = Volume(arguments.volume)
        if key:
            volume.unlock(**key)
        if arguments.reads and volume.log.fault and not arguments.partial:
            raise volume.log.fault
        return arguments.run(volume, arguments) or 0
    except faults.CannotOpen as fault:
        print(f"{arguments.volume}: {fault}", file=sys.stderr)
        return 2
    except faults.Refused as fault:
        print(f"{arguments.volume}: {fault.word}: {fault}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
