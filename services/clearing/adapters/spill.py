"""The records of each window, put aside on disk until its statement is recomputed: memory holds one at a time."""

import hashlib
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from services.clearing.application.prove_files import Settled

# The columns and their order are those of `Windows.records_digest`.
_ROW = np.dtype([("terminal_number", ">i8"), ("terminal_seq", ">i8"), ("code", ">i2"), ("digest", "V16")])


class WindowSpill:
    """Files of one proof in a folder of their own, removed at its end. 34 bytes per record of a closed window."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="citycard-prove-")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def add(self, settled: Settled, windows: frozenset[tuple[int, int]]) -> None:
        """Put aside the records of these windows (participant, day), and no others."""
        if not len(settled.participant):
            return
        pairs = (settled.participant << 32) + settled.day
        order = np.argsort(pairs, kind="stable")
        values, begins = np.unique(pairs[order], return_index=True)
        ends = np.append(begins[1:], len(order))
        for value, begin, end in zip(values.tolist(), begins.tolist(), ends.tolist(), strict=True):
            window = (value >> 32, value & 0xFFFFFFFF)
            if window not in windows:
                continue
            of_window = order[begin:end]
            rows = np.empty(len(of_window), _ROW)
            for name in _ROW.names or ():
                rows[name] = getattr(settled, name)[of_window]
            with self._path(window).open("ab") as file:
                file.write(rows.tobytes())

    def digest(self, window: tuple[int, int]) -> bytes:
        """SHA-256 over the ordered records of a window, column by column, 32 bytes (`Windows.records_digest`)."""
        path = self._path(window)
        rows = np.fromfile(path, _ROW) if path.exists() else np.zeros(0, _ROW)
        order = np.lexsort((rows["terminal_seq"].astype(np.int64), rows["terminal_number"].astype(np.int64)))
        total = hashlib.sha256()
        for name in _ROW.names or ():
            total.update(rows[name][order].tobytes())
        return total.digest()

    def _path(self, window: tuple[int, int]) -> Path:
        return Path(self._folder.name) / f"{window[0]}-{window[1]}"
