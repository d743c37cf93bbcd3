"""Copies of a volume with something changed, cut off or missing, as disks, crashes and people do it."""

import os
import shutil

CATALOG = "catalog"


def copy_without_catalog(volume, to):
    """What neither side can then know from the catalog is known to neither."""
    shutil.copytree(volume, to, ignore=lambda folder, names: [CATALOG] if folder == volume else [])


def segments(volume):
    """Paths of the log's files, in order."""
    folder = os.path.join(volume, "log")
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".seg")]


def written_len(path):
    """Bytes of a segment's file without the zeros at its end."""
    with open(path, "rb") as file:
        return len(file.read().rstrip(b"\0"))


def flip_a_bit(volume, random):
    path = random.choice(segments(volume))
    at = random.randrange(written_len(path))
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0] ^ 1 << random.randrange(8)
        file.seek(at)
        file.write(bytes([byte]))
    return f"bit flipped in {os.path.basename(path)}, byte {at}"


def flip_near_the_end(volume, random):
    path = segments(volume)[-1]
    end = written_len(path)
    at = random.randrange(max(0, end - 600), end)
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(random.randbytes(1))
    return f"byte {at} of {end} written anew in {os.path.basename(path)}"


def cut(volume, random):
    path = random.choice(segments(volume))
    at = random.randrange(written_len(path) + 1)
    os.truncate(path, at)
    return f"{os.path.basename(path)} cut at {at}"


def zero_sectors(volume, random):
    path = segments(volume)[-1]
    n_sectors = written_len(path) // 512 + 1
    first = random.randrange(n_sectors)
    with open(path, "r+b") as file:
        end = min(os.path.getsize(path), (first + random.randrange(1, 20)) * 512)
        file.seek(first * 512)
        file.write(bytes(max(0, end - first * 512)))
    return f"zeros from sector {first} on in {os.path.basename(path)}, up to {end}"


def write_garbage_at_the_end(volume, random):
    path = segments(volume)[-1]
    end = written_len(path)
    length = random.choice((1, 12, 100, 511, 512, 513, 2000))
    with open(path, "r+b") as file:
        file.seek(end)
        file.write(random.randbytes(length))
    return f"{length} random bytes behind {end} in {os.path.basename(path)}"


def remove_a_segment(volume, random):
    path = random.choice(segments(volume))
    os.unlink(path)
    return f"{os.path.basename(path)} removed"


def remove_newest_head_and_cut(volume, random):
    newest = os.path.join(volume, "newest-head")
    if os.path.exists(newest):
        os.unlink(newest)
    return "newest-head removed, " + cut(volume, random)


ALL = (flip_a_bit, flip_near_the_end, cut, zero_sectors, write_garbage_at_the_end, remove_a_segment,
       remove_newest_head_and_cut)


def damaged_copy(volume, to, random):
    """What was done to the copy."""
    copy_without_catalog(volume, to)
    return random.choice(ALL)(to, random)
