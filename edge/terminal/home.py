"""A terminal's folder: configuration in, journal, packs, list, registers and spool beside it; made whole at the start.

`terminal.json` is written by whoever installs the terminal; everything else is the terminal's own.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from edge.terminal.blacklist import FullListNeeded
from edge.terminal.guard import PassBackGuard
from edge.terminal.journal import RECORDS_MAX
from edge.terminal.journal_sqlite import SqliteJournal
from edge.terminal.lists import TerminalLists, purpose_of
from edge.terminal.modes import DegradedMode, ModeLog, ModePeriod
from edge.terminal.parameters import ParameterShelf, read_parameters
from edge.terminal.record import TerminalFacts
from edge.terminal.roles import Device
from edge.terminal.terminal import Terminal
from edge.terminal.visited import DayBook, OwnTerminal, SteeredClock, write_durably
from libs.cardlist import EcdsaVerifier, Purpose
from libs.cardlist.signing import Verifier
from libs.clock import Clock
from libs.errors import InvalidInput
from libs.fares.errors import RulePackInvalid
from libs.fares.reader import Reader
from libs.purse.transceiver import Transceiver

CONFIGURATION: Final = "terminal.json"
_JOURNAL, _MODES, _BOOK, _PACKS = "journal.sqlite", "modes.json", "registers.json", "packs"
_LISTS: Final = {
    Purpose.BLACKLIST: "list.bin",
    Purpose.RANGES: "list-ranges.bin",
    Purpose.STAFF: "list-staff.bin",
    Purpose.ISSUERS: "list-issuers.bin",
}


class ConfigurationInvalid(InvalidInput):
    """`terminal.json` is missing something, or has something in it that is not known. Facts: `where`, `fault`."""

    reason = "CONFIGURATION_INVALID"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the installer says.

    Attributes:
        facts: What the terminal is.
        participant: Whose it is, `metro-1`.
        issuer_id: Digits of the issuer whose cards it takes, for a security module made of test keys.
        centre_id: Digits of the centre's institution id.
        batch_first: First batch number of its own files.
        batch_last: Last one.
        records_max: Size of the ring.
        list_keys: Public keys (PEM) of the centre that signs compact lists.
    """

    facts: TerminalFacts
    participant: str
    issuer_id: str
    centre_id: str
    batch_first: int
    batch_last: int
    records_max: int
    list_keys: tuple[str, ...]


def read_configuration(content: bytes) -> Configuration:
    """Read `terminal.json`.

    Raises:
        ConfigurationInvalid: With the field named.
    """
    try:
        return _configuration(json.loads(content))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ConfigurationInvalid(where=CONFIGURATION, fault=f"NOT_JSON {error}") from error
    except RulePackInvalid as wrong:
        raise ConfigurationInvalid(**wrong.facts) from wrong


def _configuration(document: Mapping[str, Any]) -> Configuration:
    said = Reader(document, "terminal")

    def digits(field: str, length: int) -> str:
        text = said.text(field)
        if len(text) != length or not (text.isascii() and text.isdecimal()):
            raise said.wrong(field, f"NOT_{length}_DIGITS", text)
        return text

    industry = said.text("industry_code")
    if len(industry) != 4 or any(letter not in "0123456789ABCDEFabcdef" for letter in industry):
        raise said.wrong("industry_code", "NOT_4_HEXADECIMAL_DIGITS", industry)
    facts = TerminalFacts(
        terminal_number=digits("terminal_number", 12),
        psam_number=digits("psam_number", 20),
        acquirer_id=said.text("acquirer_id"),
        accepting_city=digits("accepting_city", 4),
        industry_code=int(industry, 16),
        operator_number=said.integer("operator_number", 0, 0xFFFF_FFFF),
        device_number=said.integer("device_number", 0, 0xFFFF_FFFF),
        line=digits("line", 6) if said.has("line") else "000000",
        station=said.integer("station", 0, 0xFFFF) if said.has("station") else 0,
        direction=said.integer("direction", 0, 1) if said.has("direction") else 0,
    )
    first = said.integer("batch_first", 1, 999_999) if said.has("batch_first") else 1
    made = Configuration(
        facts=facts,
        participant=said.text("participant"),
        issuer_id=said.text("issuer_id"),
        centre_id=said.text("centre_id"),
        batch_first=first,
        batch_last=said.integer("batch_last", first, 999_999) if said.has("batch_last") else 999_999,
        records_max=said.integer("records_max", 1, 1_000_000) if said.has("records_max") else RECORDS_MAX,
        list_keys=tuple(one.text("pem") for one in said.readers("list_keys")) if said.has("list_keys") else (),
    )
    said.finish()
    return made


class Home:
    """A terminal put together from its folder.

    Args:
        folder: With `terminal.json` in it.
        clock: The machine's.

    Raises:
        ConfigurationInvalid, ParametersInvalid, BookDamaged: A file is not what it must be.
        JournalBusy, JournalDamaged, JournalFailed: As the journal says.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        try:
            content = (folder / CONFIGURATION).read_bytes()
        except OSError as error:
            raise ConfigurationInvalid(where=CONFIGURATION, fault=error.strerror or "UNREADABLE") from error
        self.configuration = read_configuration(content)
        self.clock = SteeredClock(clock)
        self.packs = folder / _PACKS
        self.packs.mkdir(exist_ok=True)
        self.shelf = ParameterShelf(
            tuple(read_parameters(path.read_bytes()) for path in self.packs.glob("pack-*.json"))
        )
        self.modes = ModeLog(_read_modes(folder / _MODES))
        self.lists = TerminalLists(_verifier(self.configuration.list_keys))
        for name in _LISTS.values():
            kept = folder / name
            if kept.exists():
                self.lists.load(kept.read_bytes())
        self.blacklist = self.lists.blacklist
        self.book = DayBook(folder / _BOOK)
        self.journal = SqliteJournal(folder / _JOURNAL, self.configuration.records_max)

    def device(self, sam: Transceiver, guard: PassBackGuard | None = None) -> Device:
        """The terminal with its security module."""
        terminal = Terminal(
            self.configuration.facts, sam, self.journal, self.clock, self.blacklist, guard=guard, modes=self.modes,
            lists=self.lists,
        )  # fmt: skip
        return Device(terminal, self.shelf, self.clock)

    def own(self, device: Device) -> "KeptTerminal":
        """The same, to be visited."""
        return KeptTerminal(device, self)

    def keep_modes(self) -> None:
        """Write the log of modes down, without periods that have no effect any more."""
        self.modes.forget(self.clock.now())
        rows = [
            {
                "mode": one.mode.value,
                "start": one.start.isoformat(),
                "end": one.end.isoformat() if one.end else None,
                "stations": sorted(one.stations),
                "after_effect_s": int(one.after_effect.total_seconds()),
            }
            for one in self.modes.periods
        ]
        write_durably(self.folder / _MODES, json.dumps(rows).encode())

    def keep_list(self, content: bytes) -> None:
        """Keep a whole list over a restart. A change is not kept: after a restart the whole list is fetched anew."""
        write_durably(self.folder / _LISTS[purpose_of(content)], content)

    def close(self) -> None:
        """Let go of the journal."""
        self.journal.close()


class KeptTerminal(OwnTerminal):
    """A terminal whose modes and lists survive a restart.

    Args:
        device: In its role.
        home: Its folder.
    """

    def __init__(self, device: Device, home: Home) -> None:
        super().__init__(device, home.clock, home.book, home.packs)
        self._home = home

    async def load_list(self, content: bytes) -> int:
        """Load a list; a whole one is kept."""
        version = await super().load_list(content)
        # An increment alone is no list: only what can be loaded into an empty terminal is kept.
        with contextlib.suppress(FullListNeeded):
            TerminalLists(_verifier(self._home.configuration.list_keys)).load(content)
            self._home.keep_list(content)
        return version

    async def set_mode(self, mode: str, on: bool) -> None:
        """Switch a mode, and write it down."""
        await super().set_mode(mode, on)
        self._home.keep_modes()


def _verifier(pems: tuple[str, ...]) -> Verifier | None:
    if not pems:
        return None
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    keys = []
    for pem in pems:
        try:
            key = load_pem_public_key(pem.encode())
        except ValueError as error:
            raise ConfigurationInvalid(where="terminal.list_keys", fault="NOT_A_KEY") from error
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ConfigurationInvalid(where="terminal.list_keys", fault="NOT_P256")
        keys.append(key)
    return EcdsaVerifier(keys)


def _read_modes(path: Path) -> list[ModePeriod]:
    if not path.exists():
        return []
    try:
        return [
            ModePeriod(
                DegradedMode(row["mode"]),
                datetime.fromisoformat(row["start"]),
                datetime.fromisoformat(row["end"]) if row["end"] else None,
                frozenset(int(station) for station in row["stations"]),
                timedelta(seconds=row["after_effect_s"]),
            )
            for row in json.loads(path.read_bytes())
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigurationInvalid(where=_MODES, fault=f"{type(error).__name__}: {error}") from error
