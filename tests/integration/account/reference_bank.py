"""The reference bank as a process of the test's own: started, killed, started again on the same port and books."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from libs.runtime.client import TlsFiles

START_TIMEOUT_S = 30.0


class ReferenceBank:
    """One bank.

    Args:
        folder: Its database, log and address file.
        participant: Its name.
        tls: Its certificate.
        accounts: What holders have, by token, in fen.
    """

    def __init__(self, folder: Path, participant: str, tls: TlsFiles, accounts: dict[str, int]) -> None:
        self.participant = participant
        self._folder = folder
        self._tls = tls
        self._accounts = accounts
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def database(self) -> Path:
        return self._folder / "bank.sqlite"

    def start(self, *options: str) -> None:
        """Start it with further options, such as `--faults late=0.1`, and wait until it listens."""
        address_file = self._folder / "address"
        address_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "examples.participants.bank", "--bank", self.participant]
        command += ["--database", str(self.database), "--listen", self.address or "127.0.0.1:0"]
        command += ["--ca", str(self._tls.ca), "--cert", str(self._tls.cert), "--key", str(self._tls.key)]
        command += ["--address-file", str(address_file)]
        for token, balance in self._accounts.items():
            command += ["--account", f"{token}={balance}"]
        with (self._folder / "bank.log").open("ab") as log:
            self._process = subprocess.Popen([*command, *options], stdout=log, stderr=log)
        end = time.monotonic() + START_TIMEOUT_S
        while not address_file.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError((self._folder / "bank.log").read_text(encoding="utf-8"))
            time.sleep(0.05)
        self.address = address_file.read_text(encoding="utf-8").strip()

    def kill(self) -> None:
        """Without warning."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """As an operator does; returns the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=20)

    def accounts(self) -> dict[str, tuple[int, int]]:
        """Balance and held amount by token, read from its books."""
        with sqlite3.connect(self.database) as books:
            return {row[0]: (row[1], row[2]) for row in books.execute("SELECT * FROM account")}

    def captured_fen(self) -> int:
        """What it owes the platform: captured debits less captured credits."""
        query = (
            "SELECT coalesce(sum(CASE direction WHEN 'DEBIT' THEN amount_fen ELSE -amount_fen END), 0)"
            " FROM operation WHERE state = 'CAPTURED'"
        )
        with sqlite3.connect(self.database) as books:
            return int(books.execute(query).fetchone()[0])

    def execute(self, statement: str) -> None:
        """Change its books behind its back."""
        with sqlite3.connect(self.database) as books:
            books.execute(statement)
