"""Every certificate of completeness against what was injected, to the serial; and its signature."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from citycard.terminal_gw.v1 import collection_service_pb2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509 import load_pem_x509_certificate

from city.fleet.plan import LOST, FleetDay


@dataclass(slots=True)
class Comparison:
    """What a comparison found.

    Attributes:
        complete: Certificates that rightly say complete.
        holes: Certificates that list exactly the injected holes.
        wrong: All others, one line each.
    """

    complete: int = 0
    holes: int = 0
    wrong: list[str] = field(default_factory=list)


def compare(
    day: FleetDay,
    certificates: "Mapping[str, collection_service_pb2.CompletenessCertificate]",
    key: ec.EllipticCurvePublicKey,
) -> Comparison:
    """Compare the certificates of a day with what the day injected.

    Args:
        day: The fleet's day.
        certificates: The newest ones, by terminal number.
        key: Of the gateway.
    """
    fleet, found = day.fleet, Comparison()
    counts, totals = day.registers()
    expected = {number: sorted(holes) for number, holes in day.expected_holes().items()}
    lost = day.held_back() == 1 + LOST
    for row in range(len(fleet)):
        number = fleet.number(row)
        one = certificates.get(number)
        if one is None:
            found.wrong.append(f"{number}: no certificate")
            continue
        holes = [(hole.first, hole.last) for hole in one.missing_device_seqs]
        wanted = expected.get(number, [])
        verdict = collection_service_pb2.CompletenessVerdict.Name(one.verdict).rpartition("_")[2]
        part = day.of(row)
        gone = day.records[part][lost[part]]
        stored = (int(counts[row]) - len(gone), int(totals[row]) - int(gone["amount_fen"].sum(dtype=np.int64)))
        if (verdict, holes) != ("HOLES" if wanted else "COMPLETE", wanted):
            found.wrong.append(f"{number}: {verdict} {holes}, injected {wanted}")
        elif (one.record_count, one.total_fen) != stored:
            found.wrong.append(f"{number}: {one.record_count} records, {one.total_fen} fen stored, not {stored}")
        elif not _signed(key, one):
            found.wrong.append(f"{number}: the signature is not the gateway's")
        elif wanted:
            found.holes += 1
        else:
            found.complete += 1
    known = {fleet.number(row) for row in range(len(fleet))}
    found.wrong += [f"{number}: a certificate of no terminal of ours" for number in sorted(set(certificates) - known)]
    return found


def signing_key(certificate: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of a PEM certificate of the gateway."""
    key = load_pem_x509_certificate(certificate).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey), "services have P-256 keys"
    return key


def _signed(key: ec.EllipticCurvePublicKey, one: "collection_service_pb2.CompletenessCertificate") -> bool:
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if len(one.signature) != 64 or hashlib.sha256(spki).digest()[:8] != one.key_id:
        return False
    halves = int.from_bytes(one.signature[:32], "big"), int.from_bytes(one.signature[32:], "big")
    try:
        key.verify(utils.encode_dss_signature(*halves), one.content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
