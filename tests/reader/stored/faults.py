"""What a reader says when it refuses what it reads.  "Damaged", "tampered with" and "of a later version" are different."""


class Refused(Exception):
    """The bytes are not what FORMAT.md says; the text tells which, where and why."""
    word = "refused"


class Damaged(Refused):
    """A byte is not what it was when it was written, or something is missing."""
    word = "damaged"


class TamperedWith(Refused):
    """Well formed, but not of this volume or this history, or not signed by whoever may."""
    word = "tampered with"


class LaterVersion(Refused):
    """Something that this version of the format does not know."""
    word = "of a later version"


class CannotOpen(Refused):
    """No key slot opens with this passphrase or key file."""


def require(condition, text, kind=Damaged):
    if not condition:
        raise kind(text)
