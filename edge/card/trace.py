"""Sessions with a card as files, replayed and compared: a JSON object per exchange, `{"c": hex, "r": hex, "us": int}`.

A trace holds whatever was said to the card, the PIN among it: it is as confidential as the session was.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from libs.errors import InvalidInput
from libs.purse.transceiver import CardGone, Transceiver


class TraceMalformed(InvalidInput):
    """A line of a trace is none. Facts: `file`, `line`."""

    reason = "TRACE_MALFORMED"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One exchange.

    Attributes:
        command: As sent.
        response: As received; empty when the card left.
        elapsed_us: Between the two, in microseconds.
    """

    command: bytes
    response: bytes
    elapsed_us: int = 0


class Recorder:
    """A `Transceiver` that writes down what passes through, each exchange before the next command is sent."""

    def __init__(self, card: Transceiver, path: Path) -> None:
        self._card = card
        self._path = path
        # Nobody else on this machine needs to read what was said to a card.
        path.touch(mode=0o600)
        path.write_text("")

    def transmit(self, command: bytes) -> bytes:
        """One exchange, recorded; also the command that made the card leave."""
        began = time.perf_counter_ns()
        try:
            response = self._card(command)
        except CardGone:
            self._write(command, b"", began)
            raise
        self._write(command, response, began)
        return response

    __call__ = transmit

    def _write(self, command: bytes, response: bytes, began: int) -> None:
        elapsed_us = (time.perf_counter_ns() - began) // 1000
        line = {"c": command.hex().upper(), "r": response.hex().upper(), "us": elapsed_us}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def read(path: Path) -> list[Exchange]:
    """The exchanges of a file.

    Raises:
        TraceMalformed: A line is no exchange.
    """
    exchanges = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            said = json.loads(line)
            exchange = Exchange(bytes.fromhex(said["c"]), bytes.fromhex(said["r"]), int(said.get("us", 0)))
        except (ValueError, KeyError, TypeError) as error:
            raise TraceMalformed(file=path.name, line=number) from error
        exchanges.append(exchange)
    return exchanges


def replay(card: Transceiver, exchanges: list[Exchange]) -> Iterator[tuple[Exchange, bytes]]:
    """Send the same commands again; yields what was recorded beside what the card answers now.

    Answers with randoms, counters or MACs differ from one session to the next, and what depends on them fails: what is
    the same is as telling as what is not.

    Raises:
        CardGone: The card left.
    """
    for exchange in exchanges:
        yield exchange, card(exchange.command)
