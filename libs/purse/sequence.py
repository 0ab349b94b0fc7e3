"""What a security module keeps over a restart: its transaction number (终端交易序号), and how often it was lied to.

A number is handed out once, for ever (purse-protocol.md, section 4).
"""

import os
from pathlib import Path
from typing import Protocol

from libs.errors import Unavailable

SEQUENCE_MAX = 0xFFFF_FFFF


class SequenceStoreFailed(Unavailable):
    """The number could not be made durable, so it may not be used."""

    reason = "SEQUENCE_STORE_FAILED"


class SequenceStore(Protocol):
    """What hands out terminal transaction numbers: they may be skipped, never repeated, whatever restarts."""

    def take(self) -> int | None:
        """The next number, durable before it is returned; None when all 2**32 are used up.

        Raises:
            SequenceStoreFailed: It could not be written; the module answers 6581.
        """
        ...


class MemorySequence:
    """Numbers of a simulated module that lives as long as this process."""

    __slots__ = ("_next",)

    def __init__(self, first: int = 1) -> None:
        self._next = first

    def take(self) -> int | None:
        """The next number; None when all are used up."""
        if self._next > SEQUENCE_MAX:
            return None
        self._next += 1
        return self._next - 1


class FileSequence:
    """Numbers that survive a restart: a file holds the first number that was never reserved.

    Args:
        path: Text file with one decimal number; absent means a new module.
        first: Where a new module starts.
        reserve: How many numbers one write covers. After a crash the rest of the reserved ones is skipped.
    """

    __slots__ = ("_mark", "_next", "_path", "_reserve")

    def __init__(self, path: Path, first: int = 1, reserve: int = 64) -> None:
        self._path = path
        self._reserve = reserve
        self._mark = read_number(path, first)
        self._next = self._mark

    def take(self) -> int | None:
        """The next number; one write in `reserve` calls."""
        if self._next > SEQUENCE_MAX:
            return None
        if self._next == self._mark:
            self._write(self._next + self._reserve)
        self._next += 1
        return self._next - 1

    def _write(self, mark: int) -> None:
        write_number(self._path, mark)
        self._mark = mark


class FailureCount(Protocol):
    """How many wrong MACs in a row a module has seen."""

    @property
    def count(self) -> int:
        """As last recorded."""
        ...

    def record(self, count: int) -> None:
        """Make a new count durable.

        Raises:
            SequenceStoreFailed: It could not be written.
        """
        ...


class MemoryFailures:
    """The count of a simulated module that lives as long as this process."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def record(self, count: int) -> None:
        """Keep it."""
        self.count = count


class FileFailures:
    """A count that survives a restart; the file is written when the count changes, which is rare."""

    __slots__ = ("_count", "_path")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = read_number(path, 0)

    @property
    def count(self) -> int:
        """As last recorded."""
        return self._count

    def record(self, count: int) -> None:
        """Write it, unless it is the same."""
        if count != self._count:
            write_number(self._path, count)
            self._count = count


def read_number(path: Path, absent: int) -> int:
    """The decimal number in a file, or `absent` when there is no such file.

    Raises:
        SequenceStoreFailed: It cannot be read or holds no number; guessing one could repeat it.
    """
    try:
        return int(path.read_text()) if path.exists() else absent
    except (OSError, ValueError) as error:
        raise SequenceStoreFailed(file=path.name, why="it holds no number") from error


def write_number(path: Path, number: int) -> None:
    """Replace the file by one with this number, durable before it returns.

    Raises:
        SequenceStoreFailed: It could not be written; the old file stands.
    """
    temporary = path.with_suffix(".new")
    try:
        with temporary.open("w") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SequenceStoreFailed(file=path.name, why=error.strerror) from error
