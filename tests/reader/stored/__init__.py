"""A second reader of EmbassyFS volumes, written from proto/FORMAT.md alone.  It shares no line with the C code.

Each module is one part of that document and quotes the headings that it follows:

    faults        what a reader says when it refuses
    words         how text spells numbers, base64 and times ("Head")
    checksums     CRC-32C and SipHash-2-4
    volume_conf   volume.conf, grants, key slots, keys ("volume.conf and key slots")
    head          signed notes ("Head")
    merkle        "Merkle tree"
    log           segments, blocks, what follows what, where the log ends ("Segment and block")
    sealing       opening sealed blocks ("Sealing")
    tree          nodes and delta records ("Tree node", "Delta records")
    history       the items of each head ("Delta", "Checkpoint")
    namespace     inodes, names, extents ("Items")
    listing       a head's whole tree as lines of JSON, or copied to a folder

The catalog is not read: FORMAT.md says that nothing is true because it says so.
"""
