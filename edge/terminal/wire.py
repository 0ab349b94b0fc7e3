"""The cable between a terminal and a collector: one JSON object a line over a local socket, and a folder for drops.

Both carry the same few requests (`Visited`). A line is at most 1 MiB; bytes travel as base64. Whoever may open the
socket or the folder may collect: they lie where only the operator's staff comes (mode 0600 and 0700).
"""

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from edge.terminal.visited import DayRegister, Status, Visited, write_durably
from libs.errors import DomainError, InvalidInput, Refusal, Unavailable
from libs.records.otr import OTR_LENGTH

LINE_BYTES_MAX: Final = 1 << 20
# Base64 of as many records fits a line with room to spare.
RECORDS_AT_ONCE: Final = 4_000
_SILENT_S: Final = 30.0
_LIST_BYTES_MAX: Final = 700_000


class WireBroken(Unavailable):
    """The other end fell silent or said something that is no message. Fact: `why`."""

    reason = "WIRE_BROKEN"


class TerminalSaidNo(Refusal):
    """The terminal refuses what it was asked. Facts: `cause`, and its own."""

    reason = "TERMINAL_SAID_NO"


class DropMalformed(InvalidInput):
    """A file in a drop folder is not what its name says. Facts: `file`, `why`."""

    reason = "DROP_MALFORMED"


def _packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _status_from(said: dict[str, Any]) -> Status:
    for name in ("clock", "oldest_unsent", "last_record"):
        said[name] = datetime.fromisoformat(said[name]) if said[name] else None
    return Status(**said)


def _register_from(said: dict[str, Any]) -> DayRegister:
    said["business_date"] = date.fromisoformat(said["business_date"])
    said["closed_at"] = datetime.fromisoformat(said["closed_at"])
    return DayRegister(**said)


def _dumped(value: object) -> bytes:
    return json.dumps(value, default=_iso).encode() + b"\n"


def _iso(value: object) -> str:
    assert isinstance(value, date), "messages hold numbers, texts, dates and times"
    return value.isoformat()


async def serve(terminal: Visited, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one collector until it hangs up or says something that is no request."""
    with contextlib.suppress(ConnectionError, TimeoutError, asyncio.IncompleteReadError):
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), _SILENT_S)
            except ValueError:
                # Longer than any request.
                break
            if not line.endswith(b"\n"):
                break
            writer.write(_dumped(await _answer(terminal, line)))
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def listening(terminal: Visited, path: Path) -> AsyncIterator[None]:
    """Offer a terminal to collectors on a local socket for as long as this lasts."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(terminal, reader, writer)

    # What a program that died left there.
    _remove(path)
    server = await asyncio.start_unix_server(one, path, limit=LINE_BYTES_MAX)
    _for_us_only(path)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        _remove(path)


async def _answer(terminal: Visited, line: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(line)
        return {"ok": await _obey(terminal, asked)}
    except DomainError as error:
        return {"refused": error.reason, "facts": error.facts}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return {"refused": "REQUEST_MALFORMED", "facts": {"why": f"{type(error).__name__}: {error}"[:200]}}


async def _obey(terminal: Visited, asked: dict[str, Any]) -> Any:
    match asked["do"]:
        case "status":
            return asdict(await terminal.status())
        case "records":
            first, last = int(asked["first"]), int(asked["last"])
            return _packed(await terminal.records(first, min(last, first + RECORDS_AT_ONCE - 1)))
        case "acknowledge":
            return await terminal.acknowledge(int(asked["device_seq"]))
        case "set_clock":
            to = datetime.fromisoformat(asked["to"])
            if to.tzinfo is None:
                raise ValueError("a time needs its zone")
            return await terminal.set_clock(to)
        case "load_list":
            return await terminal.load_list(base64.b64decode(asked["content"], validate=True))
        case "put_pack":
            return await terminal.put_pack(base64.b64decode(asked["content"], validate=True))
        case "registers":
            return [asdict(one) for one in await terminal.registers()]
        case "set_mode":
            return await terminal.set_mode(str(asked["mode"]), bool(asked["on"]))
        case "lock":
            return await terminal.lock(str(asked["why"]))
        case other:
            raise ValueError(f"{other!r} is no request")


class WiredTerminal:
    """A terminal at the other end of a local socket.

    Args:
        reader: From it.
        writer: To it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, path: Path) -> "AsyncIterator[WiredTerminal]":
        """Plug in.

        Raises:
            WireBroken: Nobody is there.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(path, limit=2 * LINE_BYTES_MAX)
        except OSError as error:
            raise WireBroken(why=error.strerror or str(error)) from error
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def status(self) -> Status:
        """What it says of itself."""
        return _status_from(await self._ask("status"))

    async def records(self, first: int, last: int) -> bytes:
        """Records by device seq, asked for in pieces."""
        parts = []
        for start in range(first, last + 1, RECORDS_AT_ONCE):
            part = base64.b64decode(
                await self._ask("records", first=start, last=min(last, start + RECORDS_AT_ONCE - 1))
            )
            if len(part) % OTR_LENGTH:
                raise WireBroken(why=f"{len(part)} bytes are no whole records")
            parts.append(part)
        return b"".join(parts)

    async def acknowledge(self, device_seq: int) -> None:
        """Everything up to here is stored at the centre."""
        await self._ask("acknowledge", device_seq=device_seq)

    async def set_clock(self, to: datetime) -> None:
        """Set its clock."""
        await self._ask("set_clock", to=to)

    async def load_list(self, content: bytes) -> int:
        """Load a blacklist file; one larger than a line goes by another carrier."""
        if len(content) > _LIST_BYTES_MAX:
            raise WireBroken(why=f"a list of {len(content)} bytes does not fit a message")
        return int(await self._ask("load_list", content=_packed(content)))

    async def put_pack(self, content: bytes) -> int:
        """Take a parameter pack."""
        return int(await self._ask("put_pack", content=_packed(content)))

    async def registers(self) -> Sequence[DayRegister]:
        """Of the closed days."""
        return [_register_from(one) for one in await self._ask("registers")]

    async def set_mode(self, mode: str, on: bool) -> None:
        """Switch a degraded mode."""
        await self._ask("set_mode", mode=mode, on=on)

    async def lock(self, why: str) -> None:
        """Take no card, or take cards again."""
        await self._ask("lock", why=why)

    async def _ask(self, do: str, **said: Any) -> Any:
        try:
            self._writer.write(_dumped({"do": do, **said}))
            await self._writer.drain()
            line = await asyncio.wait_for(self._reader.readline(), _SILENT_S)
            answer = json.loads(line)
        except (OSError, TimeoutError, ValueError) as error:
            raise WireBroken(why=f"{type(error).__name__}: {error}"[:200]) from error
        if not isinstance(answer, dict) or not ("ok" in answer or "refused" in answer):
            raise WireBroken(why="the answer is none")
        if "refused" in answer:
            raise TerminalSaidNo(
                cause=answer["refused"], **{f"its_{key}": value for key, value in answer["facts"].items()}
            )
        return answer["ok"]


_STATUS, _REGISTERS, _RECORDS, _RECEIPT = "status.json", "registers.json", "records.otr", "receipt.json"
_LIST, _PACK, _CLOCK = "list.bin", "pack.json", "clock.json"


async def drop_out(terminal: Visited, folder: Path) -> int:
    """The terminal's side of a drop: all that waits goes into a folder (a card, a USB stick); returns how much."""
    status = await terminal.status()
    records = await terminal.records(status.first_unsent, status.last_seq)
    write_durably(folder / _RECORDS, records)
    write_durably(folder / _REGISTERS, _dumped([asdict(one) for one in await terminal.registers()]))
    # Last: a folder with a status is whole, and the status says what the records must be.
    digest = {"sha256": hashlib.sha256(records).hexdigest()}
    write_durably(folder / _STATUS, _dumped(asdict(status) | {"records": digest}))
    return len(records) // OTR_LENGTH


async def drop_in(terminal: Visited, folder: Path) -> list[str]:
    """The terminal takes what the collector left for it; returns what was taken, and leaves nothing behind.

    Raises:
        DomainError: The terminal refuses something; it stays in the folder, what comes after it too.
    """
    taken = []
    for name in (_RECEIPT, _CLOCK, _LIST, _PACK):
        path = folder / name
        if not path.exists():
            continue
        content = path.read_bytes()
        match name:
            case "receipt.json":
                await terminal.acknowledge(int(_read_json(path)["device_seq"]))
            case "clock.json":
                # The clock that came in a pocket is late by its way: only a clock that is far off is set by it.
                to = datetime.fromisoformat(_read_json(path)["to"])
                if to > (await terminal.status()).clock:
                    await terminal.set_clock(to)
            case "list.bin":
                await terminal.load_list(content)
            case _:
                await terminal.put_pack(content)
        path.unlink()
        taken.append(name)
    return taken


class DroppedTerminal:
    """A terminal known by the folder that it filled: what is told to it is left there for its next visit.

    Args:
        folder: Of one terminal.

    Raises:
        DropMalformed: The folder is not whole, or not what its status says.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        said = _read_json(folder / _STATUS)
        try:
            digest = said.pop("records")["sha256"]
            self._status = _status_from(said)
            self._records = (folder / _RECORDS).read_bytes()
            self._registers = [_register_from(one) for one in json.loads((folder / _REGISTERS).read_bytes())]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DropMalformed(file=_STATUS, why=f"{type(error).__name__}: {error}"[:200]) from error
        if hashlib.sha256(self._records).hexdigest() != digest:
            raise DropMalformed(file=_RECORDS, why="its digest is another")

    async def status(self) -> Status:
        """As it was when it filled the folder."""
        return self._status

    async def records(self, first: int, last: int) -> bytes:
        """Of those in the folder."""
        held = self._status.first_unsent
        return self._records[max(0, first - held) * OTR_LENGTH : max(0, last + 1 - held) * OTR_LENGTH]

    async def acknowledge(self, device_seq: int) -> None:
        """Leave a receipt."""
        write_durably(self._folder / _RECEIPT, _dumped({"device_seq": device_seq}))

    async def set_clock(self, to: datetime) -> None:
        """Leave the time."""
        write_durably(self._folder / _CLOCK, _dumped({"to": to}))

    async def load_list(self, content: bytes) -> int:
        """Leave a list; the version in force is still the old one."""
        write_durably(self._folder / _LIST, content)
        return self._status.blacklist_version

    async def put_pack(self, content: bytes) -> int:
        """Leave a pack; the version in force is still the old one."""
        write_durably(self._folder / _PACK, content)
        return self._status.pack_version

    async def registers(self) -> Sequence[DayRegister]:
        """Of the closed days."""
        return self._registers

    async def set_mode(self, mode: str, on: bool) -> None:
        """A drop is too slow for modes."""
        raise TerminalSaidNo(cause="NOT_BY_DROP")

    async def lock(self, why: str) -> None:
        """Nor for locks."""
        raise TerminalSaidNo(cause="NOT_BY_DROP")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DropMalformed(file=path.name, why=f"{type(error).__name__}: {error}"[:200]) from error
    if not isinstance(said, dict):
        raise DropMalformed(file=path.name, why="it is no object")
    return said


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _for_us_only(path: Path) -> None:
    path.chmod(0o600)
