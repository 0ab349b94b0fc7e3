"""Signed statements: what a partner verifies offline, with nothing but the centre's public key.

The chain proves that no statement was left out or replaced between two that somebody holds; the signature proves who
made it (docs/architecture.md, I7 and I12).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from citycard.clearing.v1 import statement_service_pb2 as pb
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from google.protobuf.message import DecodeError

SIGNED_TEXT = b"citycard statement v1\n"
FIRST_LINK = bytes(32)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a statement: `SIGNATURE`, `KEY`, `DOCUMENT`, `ST_FILE`, `CSV_FILE`, `CHAIN`, `SUMS`."""

    name: str
    fault: str


def key_id(public_key: Ed25519PublicKey) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(public_key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def read_public_key(pem: bytes) -> Ed25519PublicKey:
    """An Ed25519 public key from PEM.

    Raises:
        ValueError: It is something else.
    """
    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("the key is no Ed25519 public key")  # noqa: TRY004 (the content is wrong, not its type)
    return key


def verify(
    signed: pb.SignedStatement,
    public_key: Ed25519PublicKey,
    st_file: bytes | None = None,
    csv_file: bytes | None = None,
) -> tuple[pb.StatementDocument | None, list[Finding]]:
    """Verify one statement: signature, sums, and the files that are given beside it.

    Returns:
        The document, None where it cannot be read, and everything that is wrong; nothing is good.
    """
    document = pb.StatementDocument()
    try:
        document.ParseFromString(signed.document)
    except DecodeError:
        return None, [Finding("", "DOCUMENT")]
    faults = []
    if signed.key_id != key_id(public_key):
        faults.append("KEY")
    try:
        public_key.verify(signed.signature, SIGNED_TEXT + signed.document)
    except InvalidSignature:
        faults.append("SIGNATURE")
    if st_file is not None and hashlib.sha256(st_file).digest() != document.st_sha256:
        faults.append("ST_FILE")
    if csv_file is not None and hashlib.sha256(csv_file).digest() != document.csv_sha256:
        faults.append("CSV_FILE")
    link = hashlib.sha256(document.previous_chain_hash + document.st_sha256 + document.records_digest).digest()
    if link != document.chain_hash:
        faults.append("CHAIN")
    if not _sums_are_right(document):
        faults.append("SUMS")
    return document, [Finding(document.name, fault) for fault in faults]


def verify_chain(documents: Iterable[pb.StatementDocument]) -> list[Finding]:
    """Verify that statements of one participant follow each other without a gap, in the order of their numbers."""
    findings = []
    before: pb.StatementDocument | None = None
    for document in sorted(documents, key=lambda one: one.statement_number):
        first = document.statement_number == 1
        expected = FIRST_LINK if first else before.chain_hash if before else document.previous_chain_hash
        follows = before is None or document.statement_number == before.statement_number + 1
        if document.previous_chain_hash != expected or not follows:
            findings.append(Finding(document.name, "CHAIN"))
        before = document
    return findings


def _sums_are_right(document: pb.StatementDocument) -> bool:
    for line in document.lines:
        fees = sum(fee.amount_fen for fee in line.fees)
        if line.net_fen != line.gross_fen + line.subsidy_fen - fees + line.adjustment_fen:
            return False
    totals = (
        (document.gross_fen, sum(line.gross_fen for line in document.lines)),
        (document.subsidy_fen, sum(line.subsidy_fen for line in document.lines)),
        (document.fee_fen, sum(fee.amount_fen for line in document.lines for fee in line.fees)),
        (document.adjustment_fen, sum(one.amount_fen for one in document.adjustments)),
        (document.net_fen, sum(line.net_fen for line in document.lines)),
        (document.record_count, sum(line.record_count for line in document.lines)),
    )
    return all(left == right for left, right in totals)
