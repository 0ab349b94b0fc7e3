"""A collector's round: from terminal to terminal, then to the gateway, then the receipts back.

Records are durable in the spool before the gateway is called, receipts before a file leaves the spool. A round that is
cut anywhere is made again: what was packed is not packed twice, what was stored is acknowledged at the next visit.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import numpy as np

from edge.collector.collector import Collector
from edge.collector.spool import Outgoing, Spool
from edge.collector.upload import UploadRefused, UploadUnfinished
from edge.collector.visit import Visit, Visitor
from edge.terminal.visited import Visited, write_durably
from edge.terminal.wire import WireBroken
from libs.errors import DomainError
from libs.records.batch import decode_batch
from libs.records.otr import Records, read_records, terminal_numbers
from libs.runtime.refusals import error_info

PAUSE_FIRST_S: Final = 1.0
PAUSE_LAST_S: Final = 300.0


@dataclass(slots=True)
class Report:
    """What a round did.

    Attributes:
        visits: Of every terminal that answered.
        collected: Records taken from terminals.
        sent: Records that the gateway has stored.
        failed: What broke off, with its reason.
    """

    visits: list[Visit] = field(default_factory=list)
    collected: int = 0
    sent: int = 0
    failed: list[str] = field(default_factory=list)


class Receipts:
    """Per terminal, up to which device seq the gateway has everything that was packed; survives a restart.

    Args:
        path: Of a JSON file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seqs: dict[str, int] = json.loads(path.read_bytes()) if path.exists() else {}

    def of(self, terminal_number: str) -> int:
        """0 when nothing of it was ever stored."""
        return self._seqs.get(terminal_number, 0)

    def raise_to(self, seqs: dict[str, int]) -> None:
        """Remember durably; a lower number changes nothing."""
        risen = {number: seq for number, seq in seqs.items() if seq > self.of(number)}
        if risen:
            self._seqs |= risen
            write_durably(self._path, json.dumps(self._seqs).encode())


class Rounds:
    """The rounds of one sender: a collector with many terminals, or a terminal with itself.

    Args:
        visitor: Signs in and does what the centre wants.
        collector: Packs and sends.
        spool: Its spool.
        receipts: What is stored.
    """

    def __init__(self, visitor: Visitor, collector: Collector, spool: Spool, receipts: Receipts) -> None:
        self._visitor = visitor
        self._collector = collector
        self._spool = spool
        self._receipts = receipts
        self._packed: dict[str, int] = {}
        for outgoing in spool.waiting():
            self._note_packed(_last_seqs(_records_of(outgoing)))

    async def make(self, terminals: Iterable[Visited]) -> Report:
        """One round. A terminal that breaks off is left for the next one; the others are not kept waiting by it."""
        report = Report()
        self._visitor.forget_lists()
        visited: list[tuple[Visited, str]] = []
        for terminal in terminals:
            try:
                visit = await self._take(terminal, report)
            except WireBroken as broken:
                report.failed.append(str(broken))
            except DomainError as error:
                report.failed.append(str(error))
            except grpc.aio.AioRpcError as error:
                # The centre is away, or will not have this terminal. Its records are taken all the same.
                report.failed.append(f"sign-in: {error_info(error).reason or error.code().name}")
                await self._take_blind(terminal, report)
            else:
                visited.append((terminal, visit.status.terminal_number))
        await self._send(report)
        for terminal, number in visited:
            await self._acknowledge(terminal, number, report)
        return report

    async def _take(self, terminal: Visited, report: Report) -> Visit:
        status = await terminal.status()
        # What an earlier round has brought to the gateway.
        if self._receipts.of(status.terminal_number) >= status.first_unsent:
            await terminal.acknowledge(self._receipts.of(status.terminal_number))
        visit = await self._visitor.visit(terminal)
        report.visits.append(visit)
        await self._pull(terminal, report)
        for first, last in visit.again:
            again = read_records(await terminal.records(first, last))
            if len(again):
                self._collector.pack(again)
                report.collected += len(again)
                visit.done.append(f"again {first}-{last}: {len(again)} records")
        return visit

    async def _take_blind(self, terminal: Visited, report: Report) -> None:
        try:
            await self._pull(terminal, report)
        except DomainError as error:
            report.failed.append(str(error))

    async def _pull(self, terminal: Visited, report: Report) -> None:
        status = await terminal.status()
        number = status.terminal_number
        # What was taken before is not taken again: from a stick nobody acknowledges anything before its next visit.
        first = max(status.first_unsent, self._packed.get(number, 0) + 1, self._receipts.of(number) + 1)
        if first > status.last_seq:
            return
        records = read_records(await terminal.records(first, status.last_seq))
        if not len(records):
            return
        self._collector.pack(records)
        self._note_packed({number: int(records["device_seq"][-1])})
        report.collected += len(records)

    async def _send(self, report: Report) -> None:
        def on_stored(outgoing: Outgoing) -> None:
            records = _records_of(outgoing)
            self._receipts.raise_to(_last_seqs(records))
            report.sent += len(records)

        try:
            await self._collector.send_waiting(on_stored=on_stored)
        except (UploadRefused, UploadUnfinished) as error:
            report.failed.append(str(error))

    async def _acknowledge(self, terminal: Visited, number: str, report: Report) -> None:
        stored = self._receipts.of(number)
        if not stored:
            return
        try:
            await terminal.acknowledge(stored)
            await self._visitor.report_registers(terminal)
        except DomainError as error:
            report.failed.append(str(error))
        except grpc.aio.AioRpcError as error:
            report.failed.append(f"registers: {error_info(error).reason or error.code().name}")

    def _note_packed(self, seqs: dict[str, int]) -> None:
        for number, seq in seqs.items():
            self._packed[number] = max(seq, self._packed.get(number, 0))


async def repeat(
    work: Callable[[], Awaitable[Report]],
    period_s: float,
    on_report: Callable[[Report], None],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    draw: random.Random | None = None,
) -> None:
    """Rounds for ever: at their period while they succeed, then later and later, each time partly by chance.

    Args:
        work: One round.
        period_s: Between rounds that succeed.
        on_report: Told each one.
        sleep: Tests put their own in place.
        draw: Chance, so that ten thousand terminals do not march in step.
    """
    chance = draw or random.Random()  # noqa: S311 (spreads load, protects nothing)
    failures = 0
    while True:
        report = await work()
        on_report(report)
        failures = failures + 1 if report.failed else 0
        longest = min(PAUSE_FIRST_S * 2**failures, PAUSE_LAST_S) if failures else period_s
        await sleep(longest * chance.uniform(0.5, 1.0))


def _records_of(outgoing: Outgoing) -> Records:
    """The records in a file of the spool."""
    records: Records = decode_batch(outgoing.path.read_bytes()).records
    return records


def _last_seqs(records: Records) -> dict[str, int]:
    """The highest device seq of every terminal."""
    numbers, places = np.unique(terminal_numbers(records), return_inverse=True)
    highest = np.zeros(len(numbers), np.int64)
    np.maximum.at(highest, places, records["device_seq"].astype(np.int64))
    return {f"{number:012d}": int(seq) for number, seq in zip(numbers.tolist(), highest, strict=True)}
