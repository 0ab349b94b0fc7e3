"""The purse in process: one purchase as a dialogue of card, PSAM and terminal, and TACs as columns."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from bench.result import Context, Result
from bench.workload import NOON, make_workload
from city.keys import CITY_CODE, ISSUER_ID, city_keys
from libs.keystore.port import KeyStore
from libs.purse import bulk, host, terminal
from libs.purse.card import JT, VirtualCard, card_keys, personalise
from libs.purse.inspect import CardView, select
from libs.purse.sam import VirtualSam, issue_sam
from libs.purse.scheme import CardIdentity, Scheme
from libs.purse.sequence import MemorySequence
from libs.records import otr
from libs.records.numbers import card_bytes, institution_bytes, make_jt_number, terminal_bytes

_PURCHASES = 2_000
_RECORDS = 200_000
_FARE_FEN = 1
_PURCHASE_US_MAX = 1000.0
_TIMES_PLAIN_MIN = 3
_TERMINAL = terminal_bytes("990000000001")
_ISSUER = institution_bytes(ISSUER_ID)


def run(context: Context) -> list[Result]:
    """Median of a purchase, and bulk verification beside the plain loop."""
    context.say(f"{_PURCHASES:,} purchases of a virtual card at a virtual terminal")
    purchase_us, cipher_us = _purchases()
    context.say(f"{_RECORDS:,} TACs as columns, and one by one")
    fast, plain = _tacs()
    return [
        Result(
            "purse.purchase",
            purchase_us,
            "µs",
            cipher_us,
            "one session key (3DES of 8 bytes) and one MAC (3DES-CBC of 24 bytes), bare `cryptography`",
            goal=_PURCHASE_US_MAX,
            less_is_better=True,
        ),
        Result(
            "purse.bulk_tac",
            fast,
            "records/s",
            plain,
            "libs.purse.host.check_purchase_tac, one by one",
            goal=_TIMES_PLAIN_MIN * plain,
        ),
    ]


def _purchases() -> tuple[float, float]:
    """Median µs of one purchase and of one bare pair of cipher calls, taken in turns: the machine's moods hit both."""
    keys = city_keys()
    number = card_bytes(make_jt_number(CITY_CODE, 1))[1]
    identity = CardIdentity(Scheme.JT, _ISSUER, number)
    card = personalise(JT, number, card_keys(keys, identity), issuer=_ISSUER)
    application = card.applications[0]
    application.commit(replace(application.purse, balance_fen=_PURCHASES * _FARE_FEN))
    sam = issue_sam(keys, Scheme.JT, _ISSUER, _TERMINAL, MemorySequence())
    view = select(card, JT.aid)
    assert view is not None, "the card was just personalised"
    purchases, pairs = [], []
    for _ in range(_PURCHASES):
        purchases.append(_timed_us(lambda: _purchase(card, sam, view)))
        pairs.append(_timed_us(_bare_pair))
    return statistics.median(purchases), statistics.median(pairs)


def _purchase(card: VirtualCard, sam: VirtualSam, view: CardView) -> None:
    done = terminal.purchase(card, sam, view, _FARE_FEN, terminal=_TERMINAL, at=NOON, journal=lambda purchase: None)
    assert done.sam_agreed, "a purchase that the PSAM does not believe is none"


def _bare_pair() -> None:
    key = bytes(range(24))
    encryptor = Cipher(TripleDES(key), modes.ECB()).encryptor()
    encryptor.update(bytes(8))
    encryptor = Cipher(TripleDES(key), modes.CBC(bytes(8))).encryptor()
    encryptor.update(bytes(24))


def _timed_us(act: Callable[[], None]) -> float:
    began = time.perf_counter_ns()
    act()
    return (time.perf_counter_ns() - began) / 1000


def _tacs() -> tuple[float, float]:
    """Records per second as columns and one by one, over the same records; both must find all of them right."""
    keys = city_keys()
    records = make_workload(_RECORDS).records
    # One record in a hundred signs wrong, so that an answer that is always yes is found out.
    wrong = np.arange(0, _RECORDS, 100)
    records["tac"][wrong, 0] ^= 0xFF
    began = time.perf_counter()
    right = bulk.verify_tacs(
        keys, Scheme.JT, _ISSUER, records["card_number"], records["key_version"], records["algorithm"],
        otr.tac_data(records), records["tac"],
    )  # fmt: skip
    fast_s = time.perf_counter() - began
    began = time.perf_counter()
    found = _one_by_one(keys, records)
    plain_s = time.perf_counter() - began
    assert int(right.sum()) == found == _RECORDS - len(wrong), "both ways tell the wrong ones from the right ones"
    return _RECORDS / fast_s, _RECORDS / plain_s


def _one_by_one(keys: KeyStore, records: otr.Records) -> int:
    """How many TACs are right, asked one by one; the fields are taken out of the columns at once, to be fair."""
    rows = zip(
        (bytes(number) for number in records["card_number"]),
        records["amount_fen"].tolist(),
        records["tti"].tolist(),
        (bytes(number) for number in records["terminal_number"]),
        records["terminal_seq"].tolist(),
        (bytes(stamp) for stamp in records["time"]),
        (bytes(tac) for tac in records["tac"]),
        records["key_version"].tolist(),
        records["algorithm"].tolist(),
        strict=True,
    )
    right = 0
    for number, amount_fen, tti, terminal_number, sequence, stamp, tac, key_version, algorithm_id in rows:
        try:
            host.check_purchase_tac(
                keys,
                CardIdentity(Scheme.JT, _ISSUER, number),
                key_version=key_version,
                algorithm_id=algorithm_id,
                amount_fen=amount_fen,
                tti=tti,
                terminal=terminal_number,
                sequence=sequence,
                stamp=stamp,
                tac=tac,
            )
        except host.TacWrong:
            continue
        right += 1
    return right
