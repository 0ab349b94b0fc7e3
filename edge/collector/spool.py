"""Where batch files wait until the gateway has stored them: a folder; a collector may be switched off at any moment."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from libs.errors import Refusal

_FILE = re.compile(r"TX_[0-9A-F]{8}_[0-9A-F]{8}_[0-9]{8}_([0-9]{6})\.ykt")
_NUMBER_FILE = "last-batch-number"
_OUTGOING = "outgoing"


class BatchNumbersUsedUp(Refusal):
    """The last number of this sender's block is used: its institution must give it another. Fact: `last`."""

    reason = "BATCH_NUMBERS_USED_UP"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A batch file that waits.

    Attributes:
        path: Where it lies.
        number: Its batch number.
    """

    path: Path
    number: int


class Spool:
    """The folder of one sender; one collector at a time works on it.

    A batch number is used once and none is skipped (record-formats.md, section 2): the file is durable before its
    number is remembered, and a number that was not remembered is found again in the name of the file.

    Args:
        folder: Made when missing.
        first: First batch number of this sender. Numbers are one row for each institution, so its terminals and
            collectors have blocks of them [convention].
        last: Last one.
    """

    def __init__(self, folder: Path, first: int = 1, last: int = 999_999) -> None:
        self._folder = folder
        self._first = first
        self._last = last
        self._outgoing = folder / _OUTGOING
        self._outgoing.mkdir(parents=True, exist_ok=True)

    def next_number(self) -> int:
        """The batch number that the next file must have, within the block.

        Raises:
            BatchNumbersUsedUp: There is none.
        """
        try:
            last = int((self._folder / _NUMBER_FILE).read_text(encoding="ascii"))
        except FileNotFoundError:
            last = self._first - 1
        found = max([last, *(one.number for one in self.waiting())]) + 1
        if found > self._last:
            raise BatchNumbersUsedUp(last=self._last)
        return found

    def put(self, file_name: str, content: bytes) -> Outgoing:
        """Keep a file durably; from now on its number is used.

        Args:
            file_name: The conventional name (libs.records.batch.file_name); its number must be `next_number`.
            content: The whole file.
        """
        match = _FILE.fullmatch(file_name)
        assert match is not None, "a batch file has its conventional name"
        number = int(match[1])
        assert number == self.next_number(), "batch numbers grow by one"
        path = self._outgoing / file_name
        _write_durably(path, content)
        _write_durably(self._folder / _NUMBER_FILE, b"%d" % number)
        return Outgoing(path, number)

    def waiting(self) -> Iterator[Outgoing]:
        """The files that wait, by batch number; names that are not batch files are left alone."""
        found = ((path, _FILE.fullmatch(path.name)) for path in self._outgoing.iterdir())
        files = [Outgoing(path, int(match[1])) for path, match in found if match is not None]
        yield from sorted(files, key=lambda one: one.number)

    def remove(self, outgoing: Outgoing) -> None:
        """Forget a file that the gateway has acknowledged."""
        outgoing.path.unlink(missing_ok=True)


def _write_durably(path: Path, content: bytes) -> None:
    """Write a file so that after a power cut there is all of it or nothing."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
