"""Opening sealed blocks ("Sealing")."""

import functools
import hashlib

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from .faults import LaterVersion, require
from .log import COMPRESSED, FRAME_LEN, TAG_LEN

CIPHERS = {1: AESGCM, 2: ChaCha20Poly1305}


@functools.lru_cache(maxsize=256)
def segment_cipher(log_key, segment):
    """The cipher under the key of a segment's blocks."""
    require(segment.cipher in CIPHERS, f"{segment.name}: the segment's header names cipher {segment.cipher}", LaterVersion)
    require(segment.key_generation == 0, f"{segment.name}: key generation {segment.key_generation}", LaterVersion)
    key = hashlib.blake2b(
        b"embassyfs segment" + segment.volume_id + segment.number.to_bytes(8, "little")
        + segment.key_generation.to_bytes(4, "little") + segment.cipher.to_bytes(4, "little") + segment.salt,
        digest_size=32, key=log_key).digest()
    return CIPHERS[segment.cipher](key)


def chunks(body, chunk_len):
    """(number, ciphertext and tag) of each chunk of a block's body."""
    step = chunk_len + TAG_LEN
    return ((i // step, body[i:i + step]) for i in range(0, len(body), step))


def open_block(log_key, block):
    """A block's content.  Damaged if a tag does not verify, or if it does not decompress."""
    frame = block.frame
    cipher = segment_cipher(log_key, block.segment)
    associated = block.segment.volume_id + block.position.to_bytes(8, "little") + block.stored[:FRAME_LEN - 4]
    plain = []
    for number, chunk in chunks(block.body, frame.chunk_len):
        nonce = (block.position + number).to_bytes(8, "little") + bytes(4)
        try:
            plain.append(cipher.decrypt(nonce, chunk, associated))
        except InvalidTag:
            require(False, f"{block}: the seal of chunk {number} is broken")
    content = b"".join(plain)
    return decompress(content, block) if frame.flags & COMPRESSED else content


def decompress(frame, block):
    """The content of a single zstd frame that states its content's size."""
    size = zstandard.frame_content_size(frame)
    require(size >= 0, f"{block}: a zstd frame that does not state its size")
    require(size <= 1 << 20, f"{block}: a zstd frame of {size} bytes")
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        content = decompressor.decompress(frame)
    except zstandard.ZstdError as error:
        require(False, f"{block}: {error}")
    require(len(content) == size and not decompressor.unused_data, f"{block}: not one zstd frame, whole")
    return content
