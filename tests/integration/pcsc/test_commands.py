"""`citycard card` against a real pcscd: one process lays the card on the reader, others speak to it."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge.card import image
from edge.card.issue import new_card
from libs.keystore import demo_keystore
from libs.keystore.dev import LOCAL_CITY_SEED
from libs.purse.card import JT, CardKeys, issue_card
from libs.purse.card.state import OtherKey
from libs.purse.readers.pcsc import PcscReader, PcscService
from libs.purse.scheme import Scheme
from libs.records.numbers import Role, institution_bytes, institution_id
from tests.integration.pcsc.conftest import READER, Insert, wait_until_empty

ROOT = Path(__file__).parents[3]
ISSUER = institution_bytes(institution_id(Role.ISSUER, "00", "5840"))
STORE = demo_keystore(LOCAL_CITY_SEED, [(scheme, ISSUER) for scheme in Scheme])
COMMAND = [sys.executable, "-m", "cli.main", "card"]


def citycard(*arguments: str) -> str:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def laid_on(service: PcscService, reader: PcscReader, tmp_path: Path) -> Iterator[Path]:
    """A card that `citycard card virtual` lays on the reader; its file."""
    path = tmp_path / "card.json"
    image.save(new_card(STORE, "jt", "5840", 5, balance_fen=4321).card, path)
    wait_until_empty(service)
    process = subprocess.Popen([*COMMAND, "virtual", "--card", str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert reader.wait_for_card(30)
        yield path
    finally:
        process.terminate()
        assert process.wait(20) == 0
        time.sleep(1)


def test_a_card_run_by_the_command_is_seen_by_ours_and_by_foreign_programs(laid_on: Path) -> None:
    assert "电子钱包 electronic purse EP: 43.21 元 yuan" in citycard("inspect", "--reader", READER)
    shown = citycard("apdu", "--reader", READER, "00A4040008A00000063201010500", "805C000204")
    assert "000010E1  余额 balance  43.21 元 yuan" in shown
    sends = ["--send-apdu", "00A4040008A00000063201010500", "--send-apdu", "805C000204"]
    printed = subprocess.run(
        ["opensc-tool", "--reader", READER, "--card-driver", "default", *sends],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"00 00 10 E1", printed)


def test_what_was_done_to_the_card_is_in_its_file_when_it_is_taken_away(
    service: PcscService, reader: PcscReader, tmp_path: Path
) -> None:
    path = tmp_path / "card.json"
    image.save(new_card(STORE, "jt", "5840", 5).card, path)
    wait_until_empty(service)
    process = subprocess.Popen([*COMMAND, "virtual", "--card", str(path)], stdout=subprocess.DEVNULL, cwd=ROOT)
    try:
        assert reader.wait_for_card(30)
        with reader.connect() as connection:
            connection.transmit(bytes.fromhex("00A4040008A00000063201010500"))
            assert connection.transmit(bytes.fromhex("0020000003999999")).hex() == "63c2"
    finally:
        process.terminate()
        assert process.wait(20) == 0
        time.sleep(1)
    assert image.load(path).applications[0].pin_tries == 2


def test_a_blank_card_on_the_reader_is_personalised(insert: Insert, tmp_path: Path) -> None:
    transport = bytes(range(16))
    meant = new_card(STORE, "jt", "5840", 6)
    others = {name: replace(key, key=transport) for name, key in meant.keys.others.items()}
    assert all(isinstance(key, OtherKey) for key in others.values())
    blank = issue_card(JT, bytes(30), CardKeys(transport, transport, transport, transport, others=others))
    insert(blank)
    (tmp_path / "transport").write_text(transport.hex())
    said = citycard(
        "personalise", "--reader", READER, "--serial", "6", "--transport-key-file", str(tmp_path / "transport")
    )
    assert said.startswith(meant.number)
    assert blank.applications[0].public == meant.card.applications[0].public
    assert blank.applications[0].keys.tac == meant.keys.tac


def test_without_a_card_inspect_says_so_in_one_line(service: PcscService) -> None:
    wait_until_empty(service)
    done = subprocess.run(
        [*COMMAND, "inspect", "--reader", READER], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert done.stderr.startswith("CARD_ABSENT")
