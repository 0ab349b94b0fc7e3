"""The signed header of a list file, 224 bytes, big-endian [convention].

| off | len | field |
| --- | --- | --- |
| 0 | 4 | ASCII `YKCL` |
| 4 | 1 | format 01 |
| 5 | 1 | purpose: 01 blacklist, 02 number ranges, 03 staff, 04 issuer white list |
| 6 | 1 | form: 01 whole, 02 delta |
| 7 | 1 | zero |
| 8 | 8 | version after this file |
| 16 | 8 | base version; 0 in a whole list |
| 24 | 32 | chain hash of the version |
| 56 | 32 | chain hash of the base version; zero in a whole list |
| 88 | 8 | created, epoch seconds |
| 96 | 4 | entries of the list after this file |
| 100 | 4 | entries of the version that a whole list leaves out, for small terminals; 0 in a complete list |
| 104 | 8 | length of the body |
| 112 | 32 | SHA-256 of the body |
| 144 | 8 | zero |
| 152 | 8 | key id of the signer |
| 160 | 64 | signature over bytes 0-159 |
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from libs.cardlist.errors import Fault, ListRefused
from libs.cardlist.signing import KEY_ID_LENGTH, SIGNATURE_LENGTH, Signer, Verifier

HEADER_LENGTH: Final = 224
MAGIC: Final = b"YKCL"
PURPOSE_OFFSET: Final = 5
FORM_OFFSET: Final = 6
_FORMAT: Final = 1
_LAYOUT: Final = Struct(">4sBBBBQQ32s32sQIIQ32s8x8s")
_SIGNED: Final = HEADER_LENGTH - SIGNATURE_LENGTH
assert _LAYOUT.size == _SIGNED, "the layout must be the header without its signature"
_ZERO: Final = (slice(7, 8), slice(144, 152))
NO_HASH: Final = bytes(32)


class Purpose(IntEnum):
    """What a list is for."""

    BLACKLIST = 1
    RANGES = 2
    STAFF = 3
    ISSUERS = 4


class Form(IntEnum):
    """Whether a file stands alone."""

    WHOLE = 1
    DELTA = 2


@dataclass(frozen=True, slots=True)
class Point:
    """One version of a list.

    Attributes:
        version: From 1; 0 with a hash of zeros is the empty list before any change.
        chain_hash: 32 bytes over the whole history.
    """

    version: int = 0
    chain_hash: bytes = NO_HASH


@dataclass(frozen=True, slots=True)
class Header:
    """A header whose signature is right.

    Attributes:
        purpose: What the list is for.
        form: Whole or delta.
        point: The version after this file.
        base: What a delta applies to; version 0 in a whole list.
        created_s: Epoch seconds.
        count: Entries of the list after this file.
        body_length: Bytes that follow.
        body_digest: SHA-256 of these.
        left_out: Entries of the version that this file leaves out; 0 in a complete list.
    """

    purpose: Purpose
    form: Form
    point: Point
    base: Point
    created_s: int
    count: int
    body_length: int
    body_digest: bytes
    left_out: int = 0

    def pack(self, signer: Signer) -> bytes:
        """224 bytes, signed."""
        message = _LAYOUT.pack(
            MAGIC, _FORMAT, self.purpose, self.form, 0, self.point.version, self.base.version, self.point.chain_hash,
            self.base.chain_hash, self.created_s, self.count, self.left_out, self.body_length, self.body_digest,
            signer.key_id,
        )  # fmt: skip
        return message + signer.sign(message)

    def check_body(self, body: bytes | memoryview) -> None:
        """Hold a body against length and digest.

        Raises:
            ListRefused: LENGTH or DIGEST.
        """
        if len(body) != self.body_length:
            raise ListRefused(Fault.LENGTH, expected=self.body_length, found=len(body))
        if hashlib.sha256(body).digest() != self.body_digest:
            raise ListRefused(Fault.DIGEST)


def read_header(data: bytes, verifier: Verifier, purpose: Purpose, form: Form) -> Header:
    """Read the first 224 bytes; the signature is checked before anything in them is believed.

    Raises:
        ListRefused: LENGTH, MAGIC, FORMAT, SIGNER, SIGNATURE, RESERVED, PURPOSE, FORM or VERSION.
    """
    if len(data) < HEADER_LENGTH:
        raise ListRefused(Fault.LENGTH, expected=HEADER_LENGTH, found=len(data))
    message = data[:_SIGNED]
    (
        magic, written, of_purpose, of_form, _, version, base_version, chain_hash, base_hash, created_s, count,
        left_out, body_length, body_digest, key_id,
    ) = _LAYOUT.unpack(message)  # fmt: skip
    if magic != MAGIC:
        raise ListRefused(Fault.MAGIC, found=magic.hex())
    if written != _FORMAT:
        raise ListRefused(Fault.FORMAT, found=written)
    assert len(key_id) == KEY_ID_LENGTH, "the layout says so"
    verifier.verify(key_id, message, data[_SIGNED:HEADER_LENGTH])
    if any(message[part].strip(b"\0") for part in _ZERO) or (form is Form.DELTA and left_out):
        raise ListRefused(Fault.RESERVED)
    if of_purpose != purpose:
        raise ListRefused(Fault.PURPOSE, expected=int(purpose), found=of_purpose)
    if of_form != form:
        raise ListRefused(Fault.FORM, expected=int(form), found=of_form)
    point, base = Point(version, chain_hash), Point(base_version, base_hash)
    grows = base == Point() if form is Form.WHOLE else base_version < version
    if not version or not grows:
        raise ListRefused(Fault.VERSION, version=version, base_version=base_version)
    return Header(purpose, form, point, base, created_s, count, body_length, body_digest, left_out)
