"""Numbers, base64 and times as volume.conf and heads spell them: one spelling each, any other is refused ("Head")."""

import base64
import binascii
import datetime
import re

from .faults import Damaged, require

EPOCH = datetime.datetime(1970, 1, 1)
NS_PER_S = 1_000_000_000


def number(word, what):
    """Decimal without a sign or leading zeros, below 2^64."""
    require(re.fullmatch(r"0|[1-9][0-9]{0,19}", word) and int(word) < 1 << 64, f"{what}: {word!r} is not a number")
    return int(word)


def signed_number(word, what):
    return -number(word[1:], what) if re.match(r"-[1-9]", word) else number(word, what)


def base64_bytes(word, length, what):
    """RFC 4648 section 4, padded, unused bits zero."""
    try:
        value = base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Damaged(f"{what}: not base64: {error}") from None
    require(base64.b64encode(value).decode() == word, f"{what}: base64 in another spelling")
    require(len(value) == length, f"{what}: {len(value)} bytes instead of {length}")
    return value


def time_ns(word, what):
    """YYYY-MM-DDTHH:MM:SS.fffffffffZ in nanoseconds since 1970; they fit 64 bits with a sign."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", word, re.ASCII)
    require(match, f"{what}: {word!r} is not a time")
    try:
        moment = datetime.datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        raise Damaged(f"{what}: {word!r} is not a time") from None
    whole = moment - EPOCH
    ns = (whole.days * 86400 + whole.seconds) * NS_PER_S + int(match[2])
    require(-(1 << 63) <= ns < 1 << 63, f"{what}: {word!r} is out of range")
    return ns


def time_text(ns):
    """The same the other way."""
    moment = EPOCH + datetime.timedelta(seconds=ns // NS_PER_S)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % NS_PER_S:09d}Z"
