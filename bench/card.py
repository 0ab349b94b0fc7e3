"""The card at its reader, and a million TACs of cards, keys and algorithms all mixed, against the plain loop."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bench.result import Context, Result
from bench.workload import NOON
from libs.keystore import demo_keystore
from libs.keystore.soft import SoftKeyStore
from libs.purse import bulk, host, inspect, terminal
from libs.purse.card import JT, VirtualCard, application, card_keys, public_data
from libs.purse.readers.vpcd import VirtualInsertion
from libs.purse.sam import VirtualSam, issue_sam
from libs.purse.scheme import CardIdentity, Scheme
from libs.purse.sequence import MemorySequence
from libs.purse.transceiver import Transceiver
from libs.records.numbers import Role, card_bytes, institution_bytes, institution_id, make_jt_number, terminal_bytes
from tools.devices import CannotInstall, running_pcscd

_ISSUER = institution_bytes(institution_id(Role.ISSUER, "00", "5840"))
_TERMINAL = terminal_bytes("990000000001")
_TAPS = 500
_RECORDS, _CARDS = 1_000_000, 200_000
_FARE_FEN = 1
_TAP_MS_MAX = 5.0
_TIMES_PLAIN_MIN = 3

Bytes2D = npt.NDArray[np.uint8]


def run(context: Context) -> list[Result]:
    """Taps over pcscd, and the mixed million."""
    context.say(f"{_TAPS} purchases over pcscd and its virtual reader")
    try:
        results = [_over_pcscd()]
    except CannotInstall as reason:
        context.say(f"left out: {reason}")
        results = []
    context.say(f"{_RECORDS:,} TACs of {_CARDS:,} cards: 3DES and SM4, two key versions, 1 % wrong")
    return [*results, _mixed_million()]


def _over_pcscd() -> Result:
    from libs.purse.readers.pcsc import PcscService

    store = demo_keystore("bench", [(Scheme.JT, _ISSUER)])
    card, view, sam = _card(store)
    with running_pcscd(), VirtualInsertion(card):
        reader = PcscService().reader("Virtual PCD 00 00")
        if not reader.wait_for_card(10):
            raise CannotInstall("pcscd does not see the virtual card")
        taps, bare = [], []
        with reader.connect() as connection:
            inspect.select(connection, JT.aid)
            balance = bytes.fromhex("805C000204")
            for _ in range(_TAPS):
                taps.append(_timed_ms(lambda: _purchase(connection, sam, view)))
                # A purchase exchanges two commands with the card.
                bare.append(_timed_ms(lambda: (connection.transmit(balance), connection.transmit(balance))))
    return Result(
        "card.purchase_over_pcscd",
        statistics.median(taps),
        "ms",
        statistics.median(bare),
        "two bare GET BALANCE over the same connection",
        goal=_TAP_MS_MAX,
        less_is_better=True,
    )


def _card(store: SoftKeyStore) -> tuple[VirtualCard, inspect.CardView, VirtualSam]:
    number = card_bytes(make_jt_number("5840", 1))[1]
    identity = CardIdentity(Scheme.JT, _ISSUER, number)
    one = application(JT, public_data(Scheme.JT, number, _ISSUER), card_keys(store, identity))
    one.commit(type(one.purse)(balance_fen=_TAPS * _FARE_FEN))
    card = VirtualCard([one])
    view = inspect.select(card, JT.aid)
    assert view is not None, "the card was just made"
    return card, view, issue_sam(store, Scheme.JT, _ISSUER, _TERMINAL, MemorySequence())


def _purchase(card: Transceiver, sam: VirtualSam, view: inspect.CardView) -> None:
    done = terminal.purchase(card, sam, view, _FARE_FEN, terminal=_TERMINAL, at=NOON, journal=lambda _: None)
    assert done.sam_agreed, "a purchase that the PSAM does not believe is none"


def _timed_ms(act: Callable[[], object]) -> float:
    began = time.perf_counter_ns()
    act()
    return (time.perf_counter_ns() - began) / 1_000_000


def _mixed_million() -> Result:
    """Random records whose TACs are made by the plain way as well, so that both must find the same ones wrong."""
    store = demo_keystore("bench", [(Scheme.CJ, _ISSUER)], versions=(1, 2))
    rng = np.random.default_rng(20250901)
    serials = rng.choice(100_000_000, _CARDS, replace=False)
    digits = np.array([f"00009901{serial:012d}" for serial in serials], "S20")
    of = rng.integers(0, _CARDS, _RECORDS)
    numbers = np.frombuffer(bytes.fromhex(b"".join(digits.tolist()).decode()), np.uint8).reshape(-1, 10)[of]
    versions = rng.integers(1, 3, _CARDS, np.uint8)[of]
    algorithms = rng.choice(np.array([0, 4], np.uint8), _CARDS)[of]
    data = _tac_data(rng)
    tacs = bulk.bulk_tac(store, Scheme.CJ, _ISSUER, numbers, versions, algorithms, data)
    wrong = rng.choice(_RECORDS, _RECORDS // 100, replace=False)
    tacs[wrong, rng.integers(0, 4, len(wrong))] ^= rng.integers(1, 256, len(wrong), np.uint8)

    began = time.perf_counter()
    right = bulk.verify_tacs(store, Scheme.CJ, _ISSUER, numbers, versions, algorithms, data, tacs)
    fast = _RECORDS / (time.perf_counter() - began)
    began = time.perf_counter()
    plainly_right = _one_by_one(store, numbers, versions, algorithms, data, tacs)
    plain = _RECORDS / (time.perf_counter() - began)
    assert np.array_equal(right, plainly_right), "both ways judge every record alike"
    assert np.array_equal(np.flatnonzero(~right), np.sort(wrong)), "and find exactly the wrong ones"
    return Result(
        "card.bulk_tac_mixed",
        fast,
        "records/s",
        plain,
        "libs.purse.host.check_purchase_tac, one by one",
        goal=_TIMES_PLAIN_MIN * plain,
    )


def _tac_data(rng: np.random.Generator) -> Bytes2D:
    """22 bytes a record: amount, TTI 06 or 09, terminal, terminal seq, date and time."""
    data = np.zeros((_RECORDS, 22), np.uint8)
    data[:, 2:4] = rng.integers(0, 256, (_RECORDS, 2), np.uint8)
    data[:, 4] = rng.choice(np.array([6, 9], np.uint8), _RECORDS)
    data[:, 5:11] = np.frombuffer(_TERMINAL, np.uint8)
    data[:, 11:15] = np.arange(_RECORDS, dtype=">u4").view(np.uint8).reshape(-1, 4)
    data[:, 15:] = np.frombuffer(bytes.fromhex("20250901120000"), np.uint8)
    return data


def _one_by_one(
    store: SoftKeyStore, numbers: Bytes2D, versions: Bytes2D, algorithms: Bytes2D, data: Bytes2D, tacs: Bytes2D
) -> npt.NDArray[np.bool_]:
    """The plain loop; fields are taken out of the columns by slices of one byte string, to be fair."""
    number_bytes, data_bytes, tac_bytes = numbers.tobytes(), data.tobytes(), tacs.tobytes()
    found = np.zeros(_RECORDS, np.bool_)
    for row, (version, algorithm_id) in enumerate(zip(versions.tolist(), algorithms.tolist(), strict=True)):
        said = data_bytes[22 * row : 22 * row + 22]
        try:
            host.check_purchase_tac(
                store,
                CardIdentity(Scheme.CJ, _ISSUER, number_bytes[10 * row : 10 * row + 10]),
                key_version=version,
                algorithm_id=algorithm_id,
                amount_fen=int.from_bytes(said[:4], "big"),
                tti=said[4],
                terminal=said[5:11],
                sequence=int.from_bytes(said[11:15], "big"),
                stamp=said[15:],
                tac=tac_bytes[4 * row : 4 * row + 4],
            )
        except host.TacWrong:
            continue
        found[row] = True
    return found
