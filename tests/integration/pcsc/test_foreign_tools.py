"""Programs that know nothing of us talk to the virtual card over pcscd: opensc-tool and scriptor of Debian.

Card, randoms and commands are those of the session `cmp-session-card` of the vectors: balance, a load with its TAC, a
purchase and a complex purchase with theirs. The expected answers stand in the file.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libs.purse.card import CJ, CardKeys, VirtualCard, issue_card
from libs.purse.readers.pcsc import PcscReader
from libs.purse.readers.port import CardAbsent
from tests.integration.pcsc.conftest import READER, Insert

_VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "vectors.json").read_text())["vectors"]


@pytest.fixture
def session() -> dict[str, Any]:
    found: dict[str, Any] = next(vector for vector in _VECTORS if vector["id"] == "cmp-session-card")
    return found


@pytest.fixture
def card(session: dict[str, Any]) -> VirtualCard:
    given = session["inputs"]["card"]
    randoms: Iterator[bytes] = iter([bytes.fromhex(value) for value in given["random_sequence"]])
    keys = CardKeys(
        purchase=bytes.fromhex(given["dpk"]),
        load=bytes.fromhex(given["dlk"]),
        tac=bytes.fromhex(given["dtk"]),
        maintenance=bytes(range(16)),
    )
    return issue_card(
        CJ,
        bytes.fromhex(given["file_0015"]),
        keys,
        pin=bytes.fromhex(given["pin"]),
        random=lambda _: next(randoms),
    )


def run(*command: str, given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def hex_of(text: str) -> str:
    return "".join(re.findall(r"\b[0-9A-Fa-f]{2}\b", text)).upper()


def test_the_session_is_a_complete_load_and_purchase(session: dict[str, Any]) -> None:
    sent = [exchange["c"][:8] for exchange in session["outputs"]["exchanges"]]
    for step in ("805C0002", "80500002", "80520000", "80500102", "80540100"):
        assert step in sent


def test_opensc_tool_does_the_whole_session(session: dict[str, Any], card: VirtualCard, insert: Insert) -> None:
    insert(card)
    exchanges = session["outputs"]["exchanges"]
    sends = [part for exchange in exchanges for part in ("--send-apdu", exchange["c"])]
    printed = run("opensc-tool", "--reader", READER, "--card-driver", "default", *sends)
    answers = []
    for block in re.split(r"^Sending: ", printed, flags=re.MULTILINE)[1:]:
        received = re.search(r"Received \(SW1=0x(..), SW2=0x(..)\)", block)
        assert received is not None, block
        dump = "\n".join(line[:48] for line in block[received.end() :].splitlines()[1:])
        answers.append(hex_of(dump) + received[1].upper() + received[2].upper())
    assert answers == [exchange["r"] for exchange in exchanges]


def test_scriptor_does_the_whole_session(session: dict[str, Any], card: VirtualCard, insert: Insert) -> None:
    insert(card)
    exchanges = session["outputs"]["exchanges"]
    script = "".join(" ".join(re.findall("..", exchange["c"])) + "\n" for exchange in exchanges)
    printed = run("scriptor", "-r", READER, given=script)
    answers, taking = [], False
    for line in printed.splitlines():
        if line.startswith("< "):
            answers.append("")
        taking = line.startswith("< ") or (taking and not line.startswith((">", "Using", "Trying")))
        if taking:
            answers[-1] += hex_of(line.split(" : ")[0].removeprefix("< "))
    assert answers == [exchange["r"] for exchange in exchanges]


def test_the_same_session_through_pyscard(
    session: dict[str, Any], card: VirtualCard, insert: Insert, reader: PcscReader
) -> None:
    insert(card)
    with reader.connect() as connection:
        for exchange in session["outputs"]["exchanges"]:
            assert connection.transmit(bytes.fromhex(exchange["c"])).hex().upper() == exchange["r"], exchange["note"]


def test_opensc_tool_reads_the_atr(card: VirtualCard, insert: Insert) -> None:
    insert(card)
    assert hex_of(run("opensc-tool", "--reader", READER, "--atr").replace(":", " ")) == VirtualCard.atr.hex().upper()


def test_an_empty_reader_has_no_card(reader: PcscReader) -> None:
    with pytest.raises(CardAbsent):
        reader.connect()
