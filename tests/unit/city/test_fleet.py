"""The fleet's day: the same from the same seed, consistent to the record, faults where they were drawn."""

import hashlib

import numpy as np
import pytest
from citycard.terminal_gw.v1 import collection_service_pb2, device_pb2
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from city.fleet.check import compare
from city.fleet.lines import SharedLists
from city.fleet.plan import LATE, LOST, VOID, WAVES, FleetDay, bcd_of, make_fleet_day
from city.fleet.run import percentile
from city.keys import ISSUER_ID, city_keys
from edge.terminal.blacklist import FullListNeeded
from libs.purse.bulk import verify_tacs
from libs.purse.scheme import Scheme
from libs.records.numbers import institution_bytes, terminal_bytes
from libs.records.otr import check_format, tac_data, terminal_keys
from tests.unit.edge.test_terminal import NOON, Mode, a_list, number_of


@pytest.fixture(scope="module")
def day() -> FleetDay:
    return make_fleet_day(seed=7, terminal_count=200, record_count=8_000)


def test_the_same_seed_is_the_same_day_to_the_byte(day: FleetDay) -> None:
    again = make_fleet_day(seed=7, terminal_count=200, record_count=8_000)
    assert again.records.tobytes() == day.records.tobytes()
    assert again.holes.tobytes() == day.holes.tobytes()
    assert make_fleet_day(seed=8, terminal_count=200, record_count=8_000).records.tobytes() != day.records.tobytes()


def test_every_record_is_good_and_proves_itself(day: FleetDay) -> None:
    records = day.records
    assert not check_format(records).any()
    assert len(np.unique(terminal_keys(records))) == len(records)
    assert verify_tacs(
        city_keys(), Scheme.JT, institution_bytes(ISSUER_ID), records["card_number"], records["key_version"],
        records["algorithm"], tac_data(records), records["tac"],
    ).all()  # fmt: skip


def test_serials_of_a_terminal_have_no_hole_and_its_time_runs_on(day: FleetDay) -> None:
    for terminal in range(len(day.fleet)):
        part = day.records[day.of(terminal)]
        assert part["device_seq"].tolist() == list(range(1, len(part) + 1))
        assert all(row.tobytes() == terminal_bytes(day.fleet.number(terminal)) for row in part["terminal_number"])
        times = part["time"].copy().view("S7").ravel().tolist()
        assert times == sorted(times)
        assert (np.diff(day.wave[day.of(terminal)].astype(int)) >= 0).all()
    assert set(np.unique(day.wave)) == set(range(WAVES))


def test_balances_and_counters_of_a_card_continue(day: FleetDay) -> None:
    records = day.records
    cards = records["card_number"].copy().view("S10").ravel()
    busiest = max(set(cards.tolist()), key=cards.tolist().count)
    mine = records[cards == busiest]
    mine = mine[np.argsort(mine["card_counter"])]
    assert mine["card_counter"].tolist() == list(range(len(mine)))
    spent = mine["balance_before_fen"][:-1].astype(int) - mine["amount_fen"][:-1].astype(int)
    assert spent.tolist() == mine["balance_before_fen"][1:].tolist()


def test_registers_hold_every_real_record_and_no_void_one(day: FleetDay) -> None:
    counts, totals = day.registers()
    held = day.held_back()
    for terminal in range(len(day.fleet)):
        part = day.of(terminal)
        real = held[part] != 1 + VOID
        assert counts[terminal] == real.sum()
        assert totals[terminal] == day.records["amount_fen"][part][real].sum()


def test_holes_are_of_every_kind_and_the_expected_ones_are_the_lost(day: FleetDay) -> None:
    assert set(day.holes["kind"].tolist()) == {LOST, LATE, VOID}
    held = day.held_back()
    for number, holes in day.expected_holes().items():
        terminal = int(np.flatnonzero(day.fleet.numbers == int(number))[0])
        lost = np.flatnonzero(held[day.of(terminal)] == 1 + LOST) + 1
        assert lost.tolist() == [seq for first, last in sorted(holes) for seq in range(first, last + 1)]


def test_too_small_a_fleet_is_refused() -> None:
    with pytest.raises(ValueError, match="terminals at least"):
        make_fleet_day(1, 5, 100)
    with pytest.raises(ValueError, match="a record for each"):
        make_fleet_day(1, 100, 50)


def test_digits_are_packed() -> None:
    assert bcd_of(np.array([0, 12, 123_456]), 3).tolist() == [[0, 0, 0], [0, 0, 0x12], [0x12, 0x34, 0x56]]


def test_lists_are_parsed_once_and_two_contents_of_one_version_are_noticed() -> None:
    lists = SharedLists()
    whole = a_list((number_of(1), Mode.REFUSE, NOON), version=4)
    change = a_list((number_of(2), Mode.REFUSE, NOON), version=5, base=4)
    assert lists.load(0, 4, whole) == 4
    assert lists.load(4, 5, change) == 5
    assert lists.load(0, 4, whole) == 4
    with pytest.raises(AssertionError, match="two files"):
        lists.load(0, 4, change)
    with pytest.raises(FullListNeeded):
        lists.load(3, 6, a_list((number_of(2), Mode.REFUSE, NOON), version=6, base=3))


def test_percentiles_of_few_and_of_none() -> None:
    assert percentile([], 0.99) == 0.0
    assert [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 3.0, 4.0, 4.0]


KEY = ec.derive_private_key(271_828, ec.SECP256R1())


def certificates(day: FleetDay) -> dict[str, collection_service_pb2.CompletenessCertificate]:
    """What a gateway that has done everything right would say."""
    spki = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    counts, totals = day.registers()
    lost, expected = day.held_back() == 1 + LOST, day.expected_holes()
    made = {}
    for row in range(len(day.fleet)):
        number, part = day.fleet.number(row), day.of(row)
        gone = day.records[part][lost[part]]
        holes = sorted(expected.get(number, []))
        content = f"terminal {number}".encode()
        signature = utils.decode_dss_signature(KEY.sign(content, ec.ECDSA(hashes.SHA256())))
        made[number] = collection_service_pb2.CompletenessCertificate(
            terminal=f"terminals/{number}",
            content=content,
            signature=b"".join(half.to_bytes(32, "big") for half in signature),
            key_id=hashlib.sha256(spki).digest()[:8],
            verdict=2 if holes else 1,
            missing_device_seqs=[device_pb2.SerialRange(first=first, last=last) for first, last in holes],
            record_count=int(counts[row]) - len(gone),
            total_fen=int(totals[row]) - int(gone["amount_fen"].sum(dtype=np.int64)),
        )
    return made


def test_right_certificates_are_found_right_and_every_kind_of_wrong_one_wrong(day: FleetDay) -> None:
    good = compare(day, certificates(day), KEY.public_key())
    assert (good.complete + good.holes, good.wrong) == (len(day.fleet), [])
    assert good.holes == len(day.expected_holes()) > 0
    with_holes, whole = next(iter(day.expected_holes())), day.fleet.number(0)
    assert whole not in day.expected_holes()
    for number, spoil in (
        (whole, lambda one: one.missing_device_seqs.add(first=1, last=1)),
        (whole, lambda one: setattr(one, "verdict", 4)),
        (whole, lambda one: setattr(one, "record_count", one.record_count + 1)),
        (whole, lambda one: setattr(one, "total_fen", one.total_fen - 1)),
        (whole, lambda one: setattr(one, "signature", bytes(64))),
        (whole, lambda one: setattr(one, "content", one.content + b"!")),
        (with_holes, lambda one: one.ClearField("missing_device_seqs")),
        (with_holes, lambda one: setattr(one, "verdict", 1)),
    ):
        spoilt = certificates(day)
        spoil(spoilt[number])  # type: ignore[no-untyped-call]  # lambdas of a test
        (line,) = compare(day, spoilt, KEY.public_key()).wrong
        assert line.startswith(number)
    missing = certificates(day)
    missing["999999999999"] = missing.pop(whole)
    assert len(compare(day, missing, KEY.public_key()).wrong) == 2
