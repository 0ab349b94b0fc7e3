"""Clocks, PSAMs, names, whole files, and what the contract promises."""

from datetime import timedelta
from typing import Any

import pytest
from citycard.terminal_gw.v1 import error_reason_pb2, terminal_gw_pb2, terminal_gw_service_pb2
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import DomainError
from services.terminal_gw.application.inspect_file import inspect_file
from services.terminal_gw.domain import errors
from services.terminal_gw.domain.clock import ClockAction, ClockThresholds
from services.terminal_gw.domain.terminal import Terminal, distinct
from services.terminal_gw.domain.upload import Carrier, UploadKey, UploadState
from tests.unit.terminal_gw.fakes import NOON, a_spec
from tests.unit.terminal_gw.files import a_file, sha256

USUAL = ClockThresholds(timedelta(seconds=2), timedelta(seconds=120))


@pytest.mark.parametrize(
    ("ahead_ms", "action"),
    [
        (0, ClockAction.KEEP),
        (2_000, ClockAction.KEEP),
        (-2_000, ClockAction.KEEP),
        (2_001, ClockAction.SET),
        (-2_001, ClockAction.SET),
        (120_000, ClockAction.SET),
        (120_001, ClockAction.SET_AND_ALARM),
        (-120_001, ClockAction.SET_AND_ALARM),
    ],
)
def test_a_clock_is_judged_by_how_far_it_is_off(ahead_ms: int, action: ClockAction) -> None:
    assert USUAL.decide(NOON + timedelta(milliseconds=ahead_ms), NOON) == (ahead_ms, action)


def test_a_psam_is_good_until_the_instant_of_its_revocation() -> None:
    terminal = Terminal(a_spec(), "metro", NOON).revoke_psam(NOON)
    terminal.must_carry(a_spec().psam_number, NOON - timedelta(microseconds=1))
    with pytest.raises(errors.PsamRevoked):
        terminal.must_carry(a_spec().psam_number, NOON)
    with pytest.raises(errors.PsamMismatch):
        terminal.must_carry("9" * 20, NOON)


def test_a_number_named_twice_is_one_terminal_unless_it_contradicts_itself() -> None:
    assert distinct([a_spec(2), a_spec(1), a_spec(2)]) == [a_spec(1), a_spec(2)]
    with pytest.raises(errors.TerminalExists):
        distinct([a_spec(1), a_spec(1, device_number=9)])


@pytest.mark.parametrize("name", ["", "participants/metro/uploads/", "participants/a b/uploads/" + "0" * 64])
def test_a_name_that_is_no_upload_is_unknown(name: str) -> None:
    with pytest.raises(errors.UploadUnknown):
        UploadKey.parse(name)


def test_a_name_reads_back() -> None:
    key = UploadKey("metro", sha256(b""))
    assert UploadKey.parse(str(key)) == key


def test_a_whole_file_tells_what_its_header_says() -> None:
    data = a_file(3, batch_number=9, amount_fen=100)
    facts, _ = inspect_file(data, sha256(data))
    assert (facts.sender_institution, facts.batch_number, facts.record_count, facts.total_fen) == (
        "11139901FFFFFFFF", 9, 3, 300,
    )  # fmt: skip


@given(st.integers(0, 3 * 128 + 256 - 1), st.integers(0, 7))
def test_any_flipped_bit_is_refused_whether_the_digest_is_told_before_or_after(place: int, bit: int) -> None:
    data = bytearray(a_file(3))
    data[place] ^= 1 << bit
    with pytest.raises(errors.UploadDigest):
        inspect_file(bytes(data), sha256(a_file(3)))
    with pytest.raises(errors.UploadMalformed) as refused:
        inspect_file(bytes(data), sha256(bytes(data)))
    assert refused.value.facts["file_code"] in {"10", "40", "41", "42"}


@given(st.binary(max_size=600))
def test_garbage_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(errors.UploadMalformed):
        inspect_file(data, sha256(data))


def test_every_refusal_is_in_the_contract_and_nothing_more() -> None:
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, DomainError)]
    raised = {one.reason for one in kinds if one.__module__ == errors.__name__}
    promised = {name.removeprefix("ERROR_REASON_") for name, _ in error_reason_pb2.ErrorReason.items()}
    assert raised == promised - {"UNSPECIFIED"}


@pytest.mark.parametrize(
    ("ours", "theirs", "prefix"),
    [
        (UploadState, terminal_gw_pb2.UploadState, "UPLOAD_STATE_"),
        (Carrier, terminal_gw_pb2.Carrier, "CARRIER_"),
        (ClockAction, terminal_gw_service_pb2.ClockAction, "CLOCK_ACTION_"),
    ],
)
def test_numbers_are_those_of_the_contract(ours: Any, theirs: Any, prefix: str) -> None:
    assert {f"{prefix}{one.name}": one.value for one in ours} | {f"{prefix}UNSPECIFIED": 0} == dict(theirs.items())
