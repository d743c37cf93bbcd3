"""volume.conf: a volume's public parameters, who may write it, and slots that hold its key ("volume.conf and key slots")."""

import dataclasses
import hashlib
import re

import nacl.bindings
import nacl.exceptions
import nacl.pwhash
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .faults import CannotOpen, LaterVersion, TamperedWith, require
from .words import base64_bytes, number, signed_number, time_ns

FILE_MAX, LINE_MAX = 262144, 1024
CIPHERS = {"aes-256-gcm": 1, "chacha20-poly1305": 2}
ORDER = ("embassyfs", "id", "authority", "serial", "created", "cipher", "compress", "grant", "slot", "secret", "signature")
# Those that may stand there more than once, and how often.
REPEATED = {"grant": (1, 256), "slot": (0, 32), "secret": (0, 8)}
SEALED_LEN = 72  # 24 of nonce, 16 of tag, 32 of key


def verify_signature(public_key, signature, message):
    """Ed25519 (RFC 8032)."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


def derive(volume_key, context, length):
    """KDF(volume key, 1, context, length): libsodium's crypto_kdf."""
    return hashlib.blake2b(b"", digest_size=length, key=volume_key, salt=(1).to_bytes(8, "little") + bytes(8),
                           person=context + bytes(8)).digest()


@dataclasses.dataclass(frozen=True)
class Keys:
    """What the volume key gives."""
    volume_key: bytes

    @property
    def log_key(self):
        return derive(self.volume_key, b"segments", 32)

    @property
    def name_key(self):
        return derive(self.volume_key, b"dirnames", 16)

    @property
    def wrap_key(self):
        return derive(self.volume_key, b"wrapkeys", 32)


class VolumeConf:
    """A volume.conf whose id, grants and signature are verified: that needs no secret."""

    def __init__(self, data):
        lines = self._lines(data)
        require(lines["embassyfs"] == ["volume 1"], f"version {lines['embassyfs'][0]!r}", LaterVersion)
        self.authority = base64_bytes(lines["authority"][0], 32, "authority")
        self.id = self._id(lines["id"][0])
        self.serial = number(lines["serial"][0], "serial")
        require(self.serial >= 1, "serial: 0")
        self.created = time_ns(lines["created"][0], "created")
        require(lines["cipher"][0] in CIPHERS, f"cipher {lines['cipher'][0]!r}", LaterVersion)
        self.cipher = CIPHERS[lines["cipher"][0]]
        self.compress = signed_number(lines["compress"][0], "compress")
        require(-100 <= self.compress <= 22, f"compress {self.compress}")
        self.grants = self._grants(lines["grant"])
        self.slots, self.secrets = lines["slot"], lines["secret"]
        for slot in self.slots:
            self._parse_slot(slot)
        self._check_signature(data, lines["signature"][0])

    @property
    def origin(self):
        return f"embassyfs/{self.id.hex()}"

    def _lines(self, data):
        """The values of each kind of line, which come in one order."""
        require(len(data) <= FILE_MAX and data.endswith(b"\n"), "not whole lines, or too long")
        text = data.decode("utf-8", "surrogateescape")  # a label is free text
        lines = {name: [] for name in ORDER}
        at = 0
        for line in text[:-1].split("\n"):
            require(len(line.encode("utf-8", "surrogateescape")) <= LINE_MAX, "a line of more than 1024 bytes")
            require(not re.search(r"[\x00-\x1f\x7f]", line), "a control character")
            name, space, value = line.partition(" ")
            require(name in lines, f"unknown line {line!r}", LaterVersion)
            require(space and ORDER.index(name) >= at, f"line {line!r} in the wrong place")
            at = ORDER.index(name)
            lines[name].append(value)
        for name, values in lines.items():
            least, most = REPEATED.get(name, (1, 1))
            require(least <= len(values) <= most, f"{len(values)} lines {name!r}")
        return lines

    def _id(self, word):
        require(re.fullmatch(r"[0-9a-f]{32}", word), f"id {word!r}")
        want = hashlib.sha256(self.authority).digest()[:16]
        require(bytes.fromhex(word) == want, "the id is not that of the authority's key", TamperedWith)
        return want

    def _grants(self, values):
        """The public key of each epoch's writer."""
        grants = {}
        for value in values:
            words = value.split(" ")
            require(len(words) == 3, f"grant {value!r}")
            epoch = number(words[0], "grant's epoch")
            public = base64_bytes(words[1], 32, "grant's public key")
            signature = base64_bytes(words[2], 64, "grant's signature")
            require(epoch > max(grants, default=0), "grants' epochs do not ascend from 1")
            message = b"embassyfs grant" + self.id + epoch.to_bytes(8, "little") + public
            require(verify_signature(self.authority, signature, message),
                    f"the grant of epoch {epoch} is not signed by the authority", TamperedWith)
            grants[epoch] = public
        return grants

    def _check_signature(self, data, word):
        signature = base64_bytes(word, 64, "signature")
        signed = data[:data.rindex(b"signature ")]
        require(verify_signature(self.authority, signature, signed), "not signed by the authority", TamperedWith)

    # Key slots

    def _parse_slot(self, slot):
        """(kind, parameters, sealed key, text up to SEALED); None for a slot of another kind, which is left alone."""
        words = slot.split(" ")
        n_parameters = {"passphrase": 4, "keyfile": 1}.get(words[0])
        if n_parameters is None:
            return None
        require(len(words) >= n_parameters + 2, f"slot {slot!r}")
        label = " ".join(words[n_parameters + 2:])
        require(len(label.encode("utf-8", "surrogateescape")) <= 64, "a slot's label is too long")
        sealed = base64_bytes(words[n_parameters + 1], SEALED_LEN, "slot")
        bound = " ".join(words[:n_parameters + 1]) + " "
        if words[0] == "keyfile":
            return words[0], (base64_bytes(words[1], 32, "slot's salt"),), sealed, bound
        require(words[1] == "argon2id", f"slot {words[1]!r}", LaterVersion)
        passes, memory = number(words[2], "OPSLIMIT"), number(words[3], "MEMLIMIT")
        require(1 <= passes <= 64 and 8192 <= memory <= 4294967296, f"slot's limits {passes} and {memory}")
        return words[0], (passes, memory, base64_bytes(words[4], 16, "slot's salt")), sealed, bound

    def open(self, passphrase=None, key_file=None):
        """The volume's keys, by the first slot that the passphrase or the key file's bytes open."""
        for slot in self.slots:
            parsed = self._parse_slot(slot)
            if parsed is None:
                continue
            kind, parameters, sealed, bound = parsed
            if kind == "keyfile" and key_file is not None:
                slot_key = hashlib.blake2b(key_file, digest_size=32, key=parameters[0]).digest()
            elif kind == "passphrase" and passphrase is not None:
                passes, memory, salt = parameters
                slot_key = nacl.pwhash.argon2id.kdf(32, passphrase, salt, opslimit=passes, memlimit=memory)
            else:
                continue
            bound_to = f"embassyfs slot {self.id.hex()} {bound}".encode()
            try:
                return Keys(nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                    sealed[24:], bound_to, sealed[:24], slot_key))
            except nacl.exceptions.CryptoError:
                continue
        raise CannotOpen("no key slot opens with this")

    # Secrets

    def open_secrets(self, keys):
        """The seeds of the newest epoch's writer and of the authority, as far as the file has them."""
        newest = max(self.grants)
        seeds = {}
        for secret in self.secrets:
            words = secret.split(" ")
            if words[0] == "authority":
                name, public, sealed = "authority", self.authority, words[1]
            elif words[0] == "writer" and number(words[1], "secret's epoch") == newest:
                name, public, sealed = "writer", self.grants[newest], words[2]
            else:
                continue
            sealed = base64_bytes(sealed, SEALED_LEN, "secret")
            try:
                seed = nacl.bindings.crypto_secretbox_open(sealed[24:], sealed[:24], keys.wrap_key)
            except nacl.exceptions.CryptoError:
                raise TamperedWith(f"the {name}'s secret does not open") from None
            require(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(
                Encoding.Raw, PublicFormat.Raw) == public, f"the {name}'s secret is of another key", TamperedWith)
            seeds[name] = seed
        return seeds
