"""What records say by their bytes and the keys alone, before the database is asked: done ahead, in threads."""

import hashlib
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from libs.keystore.port import KeyStore
from libs.purse import bulk
from libs.purse.scheme import Scheme
from libs.records import otr
from services.clearing.domain.judgement import I64, Bools, needs_tac, rows_of

_DIGEST_SIZE = 16
Digests = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Facts of the bytes of some records; columns of equal length.

    Attributes:
        records: (n,) OTR.
        digests: (n,) `V16`, see `digest_rows`.
        times_s: (n,) transaction time, epoch seconds; nonsense where malformed.
        malformed: (n,) acceptance test 1 failed.
        checked: Whether the next two columns are filled.
        key_held: (n,) the key that the record names is held; looked at only where a record needs a TAC.
        tac: (n,) the TAC is right; likewise.
    """

    records: otr.Records
    digests: Digests
    times_s: I64
    malformed: Bools
    checked: bool
    key_held: Bools
    tac: Bools


def prepare(records: otr.Records, keys: KeyStore | None) -> Prepared:
    """Everything that needs no database.

    Args:
        records: (n,) OTR.
        keys: Verifies TACs now; None leaves that for later, because most of the records are expected to be repetitions.
    """
    digests, times_s = digest_rows(records), otr.times_epoch_s(records)
    malformed: Bools = otr.check_format(records) != otr.FormatFault.NONE
    wanted = needs_tac(records) & ~malformed
    held, tac = verify(keys, records, wanted) if keys is not None else (np.zeros(0, np.bool_), np.zeros(0, np.bool_))
    return Prepared(records, digests, times_s, malformed, keys is not None, held, tac)


def joined(parts: list[Prepared]) -> Prepared:
    """Several preparations as one; TACs that were left for later stay so if any part left them."""
    # As bytes, not np.concatenate: it would turn the big-endian fields of the file into native ones.
    records = otr.read_records(b"".join(one.records.tobytes() for one in parts))
    checked = all(one.checked for one in parts)
    none = np.zeros(0, np.bool_)
    return Prepared(
        records,
        np.concatenate([one.digests for one in parts]),
        np.concatenate([one.times_s for one in parts]),
        np.concatenate([one.malformed for one in parts]),
        checked,
        np.concatenate([one.key_held for one in parts]) if checked else none,
        np.concatenate([one.tac for one in parts]) if checked else none,
    )


def digest_rows(records: otr.Records) -> Digests:
    """BLAKE2b of the 128 bytes of each record, 16 bytes, as (n,) `V16`: two records are the same if these are."""
    data = records.tobytes()
    size = otr.OTR_LENGTH
    blake = hashlib.blake2b
    digests = b"".join(
        [blake(data[start : start + size], digest_size=_DIGEST_SIZE).digest() for start in range(0, len(data), size)]
    )
    return np.frombuffer(digests, f"V{_DIGEST_SIZE}")


def verify(keys: KeyStore, records: otr.Records, wanted: Bools) -> tuple[Bools, Bools]:
    """Whether the key that each wanted record names is held, and its TAC is right (purse-crypto.md, section 3)."""
    held, tac = np.zeros(len(records), np.bool_), np.zeros(len(records), np.bool_)
    rows = np.flatnonzero(wanted)
    if not len(rows):
        return held, tac
    of_rows = rows_of(records, rows)
    data = otr.tac_data(of_rows)
    # Whole numbers, not byte strings: sorting those is ten times faster.
    issuers, issuer_of = np.unique(np.ascontiguousarray(of_rows["issuer"]).view(">u8")[:, 0], return_inverse=True)
    jt = of_rows["card_class"] == 0x07
    for place, is_jt in itertools.product(range(len(issuers)), (False, True)):
        chosen = np.flatnonzero((issuer_of == place) & (jt == is_jt))
        if not len(chosen):
            continue
        of_group = rows_of(of_rows, chosen)
        scheme = Scheme.JT if is_jt else Scheme.CJ
        issuer = int(issuers[place]).to_bytes(8, "big")
        versions, algorithms = of_group["key_version"], of_group["algorithm"]
        held[rows[chosen]] = bulk.keys_known(keys, scheme, issuer, versions, algorithms)
        tac[rows[chosen]] = bulk.verify_tacs(
            keys, scheme, issuer, of_group["card_number"], versions, algorithms, data[chosen], of_group["tac"]
        )
    return held, tac
