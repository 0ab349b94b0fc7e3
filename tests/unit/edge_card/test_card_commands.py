"""`citycard card` without a reader: misuse first, then trees, explanations, traces and files of virtual cards."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.main import build
from edge.card import image
from edge.card.explain import Explainer
from edge.card.issue import blank_to_own, new_card
from edge.card.trace import Recorder, TraceMalformed, read
from edge.card.tree import read_tree, to_json
from libs.keystore import demo_keystore
from libs.keystore.dev import LOCAL_CITY_SEED
from libs.purse import inspect, outlet, terminal
from libs.purse.card import CJ, JT, CardKeys, KeyUse, VirtualCard, issue_card
from libs.purse.card.state import OtherKey
from libs.purse.personaliser import CardNotAsWritten, FileContent, personalise_over
from libs.purse.scheme import Scheme
from libs.purse.transceiver import CardGone, CardRefused
from libs.records.numbers import Role, institution_bytes, institution_id

SELECT_JT = "00A4040008A00000063201010500"
BALANCE = "805C000204"
ISSUER = institution_bytes(institution_id(Role.ISSUER, "00", "5840"))
STORE = demo_keystore(LOCAL_CITY_SEED, [(scheme, ISSUER) for scheme in Scheme])


def run(*arguments: str, given: str = "") -> Any:
    return CliRunner().invoke(build(), ["card", *arguments], input=given)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "card.json"
    made = run("personalise", "--out", str(path), "--balance-fen", "12345")
    assert made.exit_code == 0, made.output
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ["personalise"],
        ["personalise", "--out", "x", "--reader", "y"],
        ["personalise", "--out", "x", "--scheme", "m1"],
        ["personalise", "--reader", "y"],
        ["apdu", "xyz", "--card", "CARD"],
        ["inspect", "--card", "no such file"],
    ],
)
def test_misuse_exits_with_two(arguments: list[str], file: Path) -> None:
    assert run(*[str(file) if each == "CARD" else each for each in arguments]).exit_code == 2


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "other"}', '{"format": "citycard virtual card 1"}'])
def test_a_file_that_is_no_card_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(content)
    refused = run("inspect", "--card", str(path))
    assert refused.exit_code == 1
    assert refused.output.startswith("CARD_IMAGE_MALFORMED")


def test_a_made_card_is_a_secret_file(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600


def test_inspect_shows_applications_purses_and_fields_in_two_languages(file: Path) -> None:
    shown = run("inspect", "--card", str(file)).output
    for words in (
        "交通联合 T-Union TUNI",
        "电子钱包 electronic purse EP: 123.45 元 yuan",
        "应用序列号 application serial number: 03105840000000000016",
        "未知 unknown",
    ):
        assert words in shown


def test_inspect_changes_nothing_on_the_card() -> None:
    card = new_card(STORE, "jt", "5840", 1, balance_fen=500).card
    before = card.applications[0].purse, card.applications[0].guard, card.applications[0].contents
    read_tree(card.transmit, card.atr)
    assert (card.applications[0].purse, card.applications[0].guard, card.applications[0].contents) == before


def test_the_tree_is_json_for_programs(file: Path) -> None:
    tree = json.loads(run("inspect", "--card", str(file), "--json").output)
    application = tree["children"][0]
    purse = next(child for child in application["children"] if child["en"] == "electronic purse EP")
    assert (purse["raw"], purse["text"]) == ("00003039", "123.45 元 yuan")


def test_a_log_is_shown_record_by_record() -> None:
    card = new_card(STORE, "cj", "5840", 7, balance_fen=500).card
    view = inspect.select(card, CJ.aid)
    assert view is not None
    from libs.clock import CITY_TZ
    from libs.purse.sam import issue_sam
    from libs.purse.sequence import MemorySequence

    sam = issue_sam(STORE, Scheme.CJ, ISSUER, bytes(6), MemorySequence())
    from datetime import datetime

    at = datetime(2025, 9, 1, 12, tzinfo=CITY_TZ)
    terminal.purchase(card, sam, view, 42, terminal=bytes(6), at=at, journal=lambda _: None)
    shown = json.dumps(to_json(read_tree(card)), ensure_ascii=False)
    assert "0.42 元 yuan" in shown
    assert "06 钱包消费 EP purchase" in shown
    assert "2025-09-01 12:00:00" in shown


def test_a_blocked_application_is_shown_as_blocked() -> None:
    from dataclasses import replace

    from libs.purse.card.state import Block

    card = new_card(STORE, "jt", "5840", 1).card
    one = card.applications[0]
    one.commit(guard=replace(one.guard, block=Block.REVERSIBLE))
    assert "已锁定" in json.dumps(to_json(read_tree(card)), ensure_ascii=False)


def test_apdu_explains_every_byte(file: Path) -> None:
    shown = run("apdu", "--card", str(file), SELECT_JT, BALANCE, "805001020B01000000C899010000000110").output
    for words in (
        "选择 SELECT",
        "9F080101  应用版本 application version",
        "00003039  余额 balance  123.45 元 yuan",
        "000000C8  交易金额 amount  2.00 元 yuan",
        "6C0F  状态字 status word  Le 错误，应为 15 wrong Le, 15 is right",
    ):
        assert words in shown


def shown_bytes(lines: Any) -> bytes:
    return b"".join(line.raw for line in lines)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_every_byte_is_explained_once_whatever_it_is(command: bytes, response: bytes) -> None:
    explainer = Explainer()
    assert shown_bytes(explainer.command(command)) == command
    assert shown_bytes(explainer.response(response)) == response


@given(
    st.sampled_from([0x00, 0x04, 0x80, 0x84]),
    st.sampled_from([0xA4, 0xB0, 0xB2, 0xD6, 0xDC, 0xE2, 0x50, 0x52, 0x54, 0x58, 0x5A, 0x5C, 0x70, 0x72, 0xCA]),
    st.binary(min_size=2, max_size=2),
    st.binary(max_size=60),
    st.binary(min_size=2, max_size=160),
)
def test_known_commands_of_odd_lengths_are_explained_as_well(
    cla: int, ins: int, parameters: bytes, data: bytes, response: bytes
) -> None:
    explainer = Explainer()
    explainer.command(bytes.fromhex(SELECT_JT))
    explainer.response(b"\x90\x00")
    command = bytes((cla, ins)) + parameters + (bytes((len(data),)) + data if data else b"\x00")
    assert shown_bytes(explainer.command(command)) == command
    assert shown_bytes(explainer.response(response)) == response


def test_a_trace_is_written_shown_and_replayed(file: Path, tmp_path: Path) -> None:
    trace = tmp_path / "session"
    assert run("apdu", "--card", str(file), "--trace", str(trace), SELECT_JT, BALANCE).exit_code == 0
    assert [exchange.command.hex().upper() for exchange in read(trace)] == [SELECT_JT, BALANCE]
    assert trace.stat().st_mode & 0o777 == 0o600
    assert "余额 balance" in run("trace", "show", str(trace)).output
    assert run("trace", "replay", str(trace), "--card", str(file)).exit_code == 0


def test_a_replay_that_differs_says_where(file: Path, tmp_path: Path) -> None:
    trace = tmp_path / "session"
    run("apdu", "--card", str(file), "--trace", str(trace), SELECT_JT, BALANCE)
    other = tmp_path / "other.json"
    run("personalise", "--out", str(other), "--balance-fen", "1")
    replayed = run("trace", "replay", str(trace), "--card", str(other))
    assert replayed.exit_code == 3
    assert f"! {BALANCE}\n  000030399000 -> 000000019000" in replayed.output


def test_a_session_is_recorded_from_standard_input(file: Path, tmp_path: Path) -> None:
    trace = tmp_path / "session"
    done = run(
        "trace", "record", str(trace), "--card", str(file), given=f"{SELECT_JT}  # the application\n\n{BALANCE}\n"
    )
    assert done.exit_code == 0
    assert done.output.splitlines()[-1] == "000030399000"
    assert len(read(trace)) == 2


def test_the_command_that_made_the_card_leave_is_in_the_trace(tmp_path: Path) -> None:
    def gone(command: bytes) -> bytes:
        raise CardGone(command="x")

    recorder = Recorder(gone, tmp_path / "session")
    with pytest.raises(CardGone):
        recorder.transmit(b"\x00\x84\x00\x00\x04")
    assert read(tmp_path / "session")[0].response == b""


@pytest.mark.parametrize("line", ["x", "{}", '{"c": "zz", "r": ""}', "[]", "7"])
def test_a_line_that_is_no_exchange_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "session"
    path.write_text(f'{{"c": "00", "r": "9000"}}\n{line}\n')
    with pytest.raises(TraceMalformed) as malformed:
        read(path)
    assert malformed.value.facts["line"] == "2"


@pytest.mark.parametrize("scheme", ["cj", "jt"])
@pytest.mark.parametrize("algorithm_id", [0, 4])
def test_a_card_survives_its_file(tmp_path: Path, scheme: str, algorithm_id: int) -> None:
    card = new_card(STORE, scheme, "5840", 3, algorithm_id=algorithm_id, balance_fen=700).card
    one = card.applications[0]
    inspect.select(card, one.profile.aid)
    outlet.initialise_load(card, 100, terminal=bytes(6))
    card.transmit(bytes.fromhex("0020000003999999"))
    image.save(card, tmp_path / "card")
    again = image.load(tmp_path / "card").applications[0]
    assert (again.profile, again.purse, again.guard, again.contents) == (
        one.profile,
        one.purse,
        one.guard,
        one.contents,
    )
    assert again.keys == one.keys


def test_what_a_command_changed_is_in_the_file_afterwards(file: Path) -> None:
    run("apdu", "--card", str(file), SELECT_JT, "0020000003999999")
    assert image.load(file).applications[0].pin_tries == 2


# A blank card: transport keys, no number.

TRANSPORT = bytes(range(16))


def a_blank(**replaced: Any) -> VirtualCard:
    others = {
        (use, index): OtherKey(TRANSPORT, 10)
        for use, index in (
            (KeyUse.UNLOAD, 1),
            (KeyUse.OVERDRAFT, 1),
            (KeyUse.PIN_RELOAD, 0),
            (KeyUse.PIN_UNBLOCK, 0),
            (KeyUse.EXTERNAL, 0),
            (KeyUse.INTERNAL, 0),
        )
    }
    keys = CardKeys(TRANSPORT, TRANSPORT, TRANSPORT, TRANSPORT, others=others)
    return issue_card(JT, bytes(30), keys)


def test_a_blank_card_becomes_the_card_that_was_meant() -> None:
    issued = new_card(STORE, "jt", "5840", 9)
    blank = a_blank()
    blank_to_own(blank, issued, TRANSPORT)
    one, meant = blank.applications[0], issued.card.applications[0]
    assert one.public == meant.public
    assert {name: key.key for name, key in one.keys.others.items()} == {
        name: key.key for name, key in meant.keys.others.items()
    }
    assert (one.keys.purchase, one.keys.load, one.keys.tac, one.keys.maintenance) == (
        meant.keys.purchase,
        meant.keys.load,
        meant.keys.tac,
        meant.keys.maintenance,
    )
    view = inspect.select(blank, JT.aid)
    assert view is not None
    assert view.identity.text == issued.number


def test_a_wrong_transport_key_writes_nothing() -> None:
    blank = a_blank()
    with pytest.raises(CardRefused) as refused:
        blank_to_own(blank, new_card(STORE, "jt", "5840", 9), bytes(16))
    assert refused.value.status.hex() == "6988"
    assert blank.applications[0].keys.purchase == TRANSPORT


def test_a_card_that_reads_back_otherwise_is_named() -> None:
    blank = a_blank()

    def forgetful(command: bytes) -> bytes:
        answer = blank.transmit(command)
        return bytes(len(answer) - 2) + answer[-2:] if command[1] == 0xB0 else answer

    keys = new_card(STORE, "jt", "5840", 9).keys
    with pytest.raises(CardNotAsWritten):
        personalise_over(forgetful, JT.aid, TRANSPORT, keys, [FileContent(0x15, bytes(range(30)))])
