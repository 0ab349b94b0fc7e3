"""Collectors and terminals' own lines against a centre of paper: cuts, bad receipts, drops, sockets, commands."""

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from citycard.terminal_gw.v1 import (
    collection_service_pb2,
    command_pb2,
    device_pb2,
    parameters_service_pb2,
)
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service
from cryptography.hazmat.primitives.asymmetric import ec

from edge.collector.collector import Collector, Sender
from edge.collector.rounds import Receipts, Report, Rounds, repeat
from edge.collector.spool import BatchNumbersUsedUp, Spool
from edge.collector.visit import Centre, Visitor
from edge.terminal.journal import Registers
from edge.terminal.journal_sqlite import SqliteJournal
from edge.terminal.parameters import ParameterShelf
from edge.terminal.roles import Device, Role, make_role
from edge.terminal.visited import BookDamaged, ClockBackwards, DayBook, OwnTerminal, SteeredClock
from edge.terminal.wire import (
    LINE_BYTES_MAX,
    DropMalformed,
    DroppedTerminal,
    TerminalSaidNo,
    WireBroken,
    WiredTerminal,
    drop_in,
    drop_out,
    listening,
)
from libs.records.batch import decode_batch
from libs.records.crc32c import crc32c
from libs.records.otr import read_records
from tests.unit.edge.test_collector import PaperGateway, Uploader, failure
from tests.unit.edge.test_roles import City, packed
from tests.unit.edge.test_terminal import NOON, a_card, a_list, number_of
from tests.unit.edge.test_terminal import Mode as ListMode


class PaperCentre(PaperGateway):
    """A gateway with the services that a visit needs."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey) -> None:
        super().__init__(public_key)
        self.sign_ins: list[service.SignInRequest] = []
        self.answer = service.SignInResponse()
        self.answer.centre_time.FromDatetime(NOON)
        self.lists: dict[int, tuple[int, bytes]] = {}
        self.list_calls = 0
        self.registers: list[device_pb2.AuditRegister] = []
        self.answers: list[command_pb2.CommandAnswer] = []
        self.packs: dict[str, bytes] = {}
        self.reports: list[device_pb2.PackReport] = []
        self.away = False

    async def SignIn(self, request: service.SignInRequest) -> service.SignInResponse:
        if self.away:
            raise failure(grpc.StatusCode.UNAVAILABLE)
        self.sign_ins.append(request)
        return self.answer

    async def DownloadBlacklist(self, request: Any) -> AsyncIterator[service.DownloadBlacklistResponse]:
        self.list_calls += 1
        version, content = self.lists[request.base_version]
        for start in range(0, len(content), 100):
            yield service.DownloadBlacklistResponse(version=version, data=content[start : start + 100])

    async def ReportRegisters(self, request: Any) -> collection_service_pb2.ReportRegistersResponse:
        self.registers += request.registers
        return collection_service_pb2.ReportRegistersResponse(kept_count=len(request.registers))

    async def AnswerCommand(self, request: Any) -> command_pb2.Command:
        self.answers.append(request.answer)
        return command_pb2.Command()

    async def GetPack(self, request: Any) -> parameters_service_pb2.Pack:
        content = self.packs[request.name]
        return parameters_service_pb2.Pack(
            kind=device_pb2.PACK_KIND_FARES, version=9, sha256=hashlib.sha256(content).digest()
        )

    async def DownloadPack(self, request: Any) -> AsyncIterator[parameters_service_pb2.DownloadPackResponse]:
        content = self.packs[request.name]
        for start in range(0, len(content), 300):
            data = content[start : start + 300]
            yield parameters_service_pb2.DownloadPackResponse(offset=start, data=data, crc32c=crc32c(data))

    async def ReportPacks(self, request: Any) -> parameters_service_pb2.ReportPacksResponse:
        self.reports += request.packs
        return parameters_service_pb2.ReportPacksResponse()

    def stored_records(self) -> list[int]:
        """Device seqs of everything stored, file by file."""
        return [
            int(seq) for content in self.stored.values() for seq in decode_batch(content).records["device_seq"].tolist()
        ]


class Field:
    """A terminal with a journal on a medium, and what collects from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.city = City()
        self.clock = SteeredClock(self.city.clock)
        self.journal = SqliteJournal(folder / "journal.sqlite")
        device = self.city.device(station=5)
        device.terminal.journal = self.journal
        device.clock = self.clock
        device.terminal._clock = self.clock
        self.device: Device = device
        self.own = OwnTerminal(device, self.clock, DayBook(folder / "registers.json"))
        key = ec.generate_private_key(ec.SECP256R1())
        self.centre = PaperCentre(key.public_key())
        self.key = key

    def tap(self, count: int, first: int = 1) -> None:
        for serial in range(first, first + count):
            assert make_role(Role.GATE_ENTRY, self.device).present(a_card(serial).transmit).open

    def rounds(self, **uploading: Any) -> Rounds:
        stub: Any = self.centre

        async def no_sleep(seconds: float) -> None:
            return None

        uploader = Uploader(stub, self.key, "metro-1", sleep=no_sleep, attempts_max=2, **uploading)
        spool = Spool(self.folder / "spool", 100, 199)
        collector = Collector(Sender("metro-1", "11095840", "00005840"), spool, stub, uploader, self.clock, 4)
        visitor = Visitor(Centre(stub, stub, stub, stub), self.clock)
        return Rounds(visitor, collector, spool, Receipts(self.folder / "receipts.json"))


@pytest.fixture
def field(tmp_path: Path) -> Field:
    return Field(tmp_path)


class TestRounds:
    async def test_a_round_stores_everything_once_and_frees_the_ring(self, field: Field) -> None:
        field.tap(10)
        report = await field.rounds().make([field.own])
        assert (report.collected, report.sent, report.failed) == (10, 10, [])
        assert field.centre.stored_records() == list(range(1, 11))
        assert field.journal.fill().used == 0
        (said,) = field.centre.sign_ins
        assert (said.serials.device_seq_last, said.serials.unsent_count, said.device_number) == (10, 10, 1)
        assert (await field.rounds().make([field.own])).collected == 0

    async def test_a_centre_that_is_away_loses_nothing_and_doubles_nothing(self, field: Field) -> None:
        field.tap(6)
        field.centre.away = True
        field.centre.breaks = [(0, failure(grpc.StatusCode.UNAVAILABLE))] * 2
        report = await field.rounds().make([field.own])
        assert report.collected == 6
        assert len(report.failed) == 2
        field.tap(3, first=7)
        # The program starts anew: what waits in the spool is not packed again.
        field.centre.away = False
        report = await field.rounds().make([field.own])
        assert (report.collected, report.failed) == (3, [])
        assert field.centre.stored_records() == list(range(1, 10))
        assert field.journal.fill().used == 0

    async def test_a_receipt_that_the_terminal_never_heard_is_brought_at_the_next_visit(self, field: Field) -> None:
        field.tap(5)
        Receipts(field.folder / "receipts.json").raise_to({field.device.terminal.facts.terminal_number: 3})
        report = await field.rounds().make([field.own])
        assert report.collected == 2
        assert field.centre.stored_records() == [4, 5]

    async def test_what_the_centre_wants_again_is_sent_again(self, field: Field) -> None:
        field.tap(5)
        await field.rounds().make([field.own])
        again = field.centre.answer.to_do.add().recollect_records
        again.device_seqs.add(first=2, last=3)
        report = await field.rounds().make([field.own])
        assert report.collected == 2
        assert sorted(field.centre.stored_records()) == [1, 2, 2, 3, 3, 4, 5]
        assert report.visits[0].done == ["again 2-3: 2 records"]

    async def test_serials_that_are_gone_for_ever_are_declared(self, field: Field) -> None:
        field.tap(3)
        await field.rounds().make([field.own])
        field.journal._database.execute("DELETE FROM record WHERE device_seq = 2")
        command = field.centre.answer.to_do.add().command
        command.name = "terminals/000000000001/commands/7"
        command.body.recollect_records.device_seqs.add(first=1, last=3)
        await field.rounds().make([field.own])
        (answer,) = field.centre.answers
        assert answer.state == command_pb2.COMMAND_STATE_DONE
        assert [(one.first, one.last) for one in answer.void_device_seqs] == [(2, 2)]

    async def test_numbers_beyond_the_block_are_refused_by_name(self, field: Field) -> None:
        spool = Spool(field.folder / "small", 5, 5)
        assert spool.next_number() == 5
        (field.folder / "small" / "last-batch-number").write_text("5")
        with pytest.raises(BatchNumbersUsedUp):
            spool.next_number()

    async def test_pauses_grow_with_failures_and_never_march_in_step(self) -> None:
        pauses: list[float] = []
        results = iter([Report(failed=["x"])] * 12 + [Report()])

        async def work() -> Report:
            return next(results)

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 13:
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await repeat(work, 60, lambda report: None, sleep, random.Random(1))
        assert pauses[0] <= 2
        assert all(one <= 300 for one in pauses)
        assert min(pauses[8:12]) >= 150
        assert 30 <= pauses[12] <= 60
        assert len(set(pauses)) == 13


class TestToDo:
    async def test_the_list_is_carried_once_for_many_terminals_and_whole_when_the_change_does_not_fit(
        self, field: Field, tmp_path: Path
    ) -> None:
        other = OwnTerminal(field.city.device(), field.clock, DayBook(tmp_path / "other.json"))
        field.centre.answer.blacklist_version = 4
        field.centre.lists = {0: (4, a_list((number_of(1), ListMode.REFUSE, NOON), version=4))}
        await field.rounds().make([field.own, other])
        assert field.centre.list_calls == 1
        assert field.device.terminal.blacklist.version == 4
        field.centre.answer.blacklist_version = 6
        # A change of version 5, which nobody here has.
        field.centre.lists = {
            4: (6, a_list((number_of(2), ListMode.REFUSE, NOON), version=6, base=5)),
            0: (6, a_list((number_of(2), ListMode.REFUSE, NOON), version=6)),
        }
        await field.rounds().make([field.own])
        assert field.device.terminal.blacklist.version == 6

    async def test_a_damaged_list_is_refused_and_the_rest_of_the_visit_goes_on(self, field: Field) -> None:
        field.tap(1)
        field.centre.answer.blacklist_version = 4
        field.centre.lists = {0: (4, a_list((number_of(1), ListMode.REFUSE, NOON), version=4)[:-1])}
        report = await field.rounds().make([field.own])
        assert report.sent == 1
        assert report.visits[0].refused[0].startswith("blacklist: BATCH_REFUSED")

    async def test_a_pack_is_fetched_checked_and_reported_also_when_it_is_bad(self, field: Field) -> None:
        field.device.shelf = ParameterShelf()
        good, bad = "packs/fares.any.all.9", "packs/fares.any.all.10"
        field.centre.packs = {good: packed(version=9), bad: b"{}"}
        for name in (good, bad):
            field.centre.answer.to_do.add().fetch_pack.pack = name
        report = await field.rounds().make([field.own])
        assert field.device.pack().version == 9
        outcomes = [one.outcome for one in field.centre.reports]
        assert outcomes == [device_pb2.PACK_OUTCOME_LOADED, device_pb2.PACK_OUTCOME_FAILED]
        assert "PARAMETERS_INVALID" in report.visits[0].refused[0]

    async def test_a_clock_is_set_but_never_back_past_the_last_record(self, field: Field) -> None:
        field.tap(1)
        field.clock.offset = timedelta(seconds=-90)
        field.centre.answer.to_do.add().set_clock.SetInParent()
        await field.rounds().make([field.own])
        assert field.clock.now() == NOON
        field.city.clock.advance(minutes=10)
        field.tap(1, first=2)
        # The centre's clock still stands at noon: that is ten minutes before the record.
        report = await field.rounds().make([field.own])
        assert report.visits[0].refused[0].startswith("set_clock: CLOCK_BACKWARDS")
        with pytest.raises(ClockBackwards):
            await field.own.set_clock(NOON)

    async def test_commands_are_obeyed_and_answered_and_what_it_cannot_is_said(self, field: Field) -> None:
        todo = field.centre.answer.to_do
        for number, fill in enumerate(
            [
                lambda body: setattr(body.set_mode, "mode", device_pb2.SERVICE_MODE_EMERGENCY),
                lambda body: setattr(body.lock_terminal, "reason", "broken glass"),
                lambda body: body.power_off.SetInParent(),
            ]
        ):
            command = todo.add().command
            command.name = f"terminals/000000000001/commands/{number + 1}"
            fill(command.body)  # type: ignore[no-untyped-call]  # lambdas of a test
        await field.rounds().make([field.own])
        done, failed = command_pb2.COMMAND_STATE_DONE, command_pb2.COMMAND_STATE_FAILED
        assert [one.state for one in field.centre.answers] == [done, done, failed]
        assert "cannot" in field.centre.answers[2].detail
        gate = make_role(Role.GATE_ENTRY, field.device)
        assert gate.present(a_card().transmit).code == "OUT_OF_SERVICE"
        del todo[:]
        todo.add().command.body.unlock_terminal.SetInParent()
        await field.rounds().make([field.own])
        assert gate.present(a_card().transmit).code == "GATES_OPEN"

    async def test_registers_of_closed_days_go_up_after_the_records(self, field: Field) -> None:
        field.tap(3)
        field.own.close_day()
        field.tap(2, first=4)
        field.city.clock.advance(days=1)
        field.own.close_day()
        await field.rounds().make([field.own])
        said = [(one.device_seq_first, one.device_seq_last, one.record_count) for one in field.centre.registers]
        assert said == [(1, 3, 3), (4, 5, 2)]
        assert all(one.day_closed for one in field.centre.registers)


class TestBook:
    def test_a_day_is_closed_once_and_remembered(self, tmp_path: Path) -> None:
        book = DayBook(tmp_path / "book.json")
        first = book.close(date(2025, 9, 1), Registers(7, 1400), NOON)
        assert book.close(date(2025, 9, 1), Registers(9, 1800), NOON) == first
        again = DayBook(tmp_path / "book.json")
        second = again.close(date(2025, 9, 2), Registers(9, 1800), NOON)
        assert (second.device_seq_first, second.device_seq_last, second.total_fen, second.record_count) == (
            8,
            9,
            400,
            2,
        )
        assert again.close(date(2025, 9, 3), Registers(9, 1800), NOON).record_count == 0

    @pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'[{"business_date": "no"}]', b"\xff\xfe"])
    def test_a_damaged_book_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "book.json").write_bytes(content)
        with pytest.raises(BookDamaged):
            DayBook(tmp_path / "book.json")


class TestSocket:
    async def test_a_collector_does_over_a_socket_all_that_a_line_does(self, field: Field) -> None:
        field.tap(9)
        field.own.close_day()
        path = field.folder / "terminal.sock"
        async with listening(field.own, path), WiredTerminal.connected(path) as wired:
            assert path.stat().st_mode & 0o777 == 0o600
            report = await field.rounds().make([wired])
            assert (report.collected, report.sent, report.failed) == (9, 9, [])
            assert field.journal.fill().used == 0
            assert (await wired.status()) == (await field.own.status())
            assert await wired.put_pack(packed(version=12)) == 12
            assert list(await wired.registers()) == list(await field.own.registers())
            with pytest.raises(TerminalSaidNo) as refused:
                await wired.set_clock(datetime(2020, 1, 1, tzinfo=UTC))
            assert refused.value.facts["cause"] == "CLOCK_BACKWARDS"
            with pytest.raises(TerminalSaidNo):
                await wired.set_mode("no such mode", on=True)
            with pytest.raises(TerminalSaidNo):
                await wired.load_list(b"no list")
        assert not path.exists()
        with pytest.raises(WireBroken):
            async with WiredTerminal.connected(path):
                pass

    @pytest.mark.parametrize(
        "line",
        [b"{}\n", b"[]\n", b"\xff\xff\n", b'{"do": "fly"}\n', b'{"do": "records", "first": "x", "last": 1}\n',
         b'{"do": "set_clock", "to": "2025-09-01T00:00:00"}\n', b'{"do": "load_list", "content": "***"}\n',
         b'{"do": "lock"}\n', b"[" * 5000 + b"\n"],
    )  # fmt: skip
    async def test_what_is_no_request_is_refused_and_the_line_stays_open(self, field: Field, line: bytes) -> None:
        path = field.folder / "terminal.sock"
        async with listening(field.own, path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(line)
            assert json.loads(await reader.readline())["refused"]
            writer.write(b'{"do": "status"}\n')
            assert json.loads(await reader.readline())["ok"]["last_seq"] == 0
            writer.close()

    async def test_a_line_without_end_is_hung_up_on_and_others_are_served(self, field: Field) -> None:
        path = field.folder / "terminal.sock"
        async with listening(field.own, path):
            reader, writer = await asyncio.open_unix_connection(path)
            with pytest.raises((ConnectionError, AssertionError)):  # noqa: PT012 (either end may notice first)
                for _ in range(4):
                    writer.write(b"x" * LINE_BYTES_MAX)
                    await writer.drain()
                assert await reader.read(1)
            writer.close()
            async with WiredTerminal.connected(path) as wired:
                assert (await wired.status()).last_seq == 0


class TestDrop:
    async def test_a_drop_carries_records_up_and_receipt_list_and_time_down(self, field: Field, tmp_path: Path) -> None:
        stick = tmp_path / "stick"
        stick.mkdir()
        field.tap(5)
        field.own.close_day()
        assert await drop_out(field.own, stick) == 5
        field.centre.answer.blacklist_version = 4
        field.centre.lists = {0: (4, a_list((number_of(1), ListMode.REFUSE, NOON), version=4))}
        report = await field.rounds().make([DroppedTerminal(stick)])
        assert (report.sent, report.failed) == (5, [])
        assert len(field.centre.registers) == 1
        field.tap(1, first=6)
        assert await drop_in(field.own, stick) == ["receipt.json", "list.bin"]
        assert field.journal.fill().used == 1
        assert field.device.terminal.blacklist.version == 4
        assert await drop_in(field.own, stick) == []
        # The same stick again, not filled anew: nothing is sent twice.
        assert (await field.rounds().make([DroppedTerminal(stick)])).collected == 0

    @pytest.mark.parametrize("name", ["status.json", "records.otr", "registers.json"])
    async def test_a_stick_that_was_pulled_too_early_is_refused_by_name(
        self, field: Field, tmp_path: Path, name: str
    ) -> None:
        stick = tmp_path / "stick"
        stick.mkdir()
        field.tap(3)
        await drop_out(field.own, stick)
        content = (stick / name).read_bytes()
        for damaged in (content[: len(content) // 2], None):
            if damaged is None:
                (stick / name).unlink()
            else:
                (stick / name).write_bytes(damaged)
            with pytest.raises(DropMalformed):
                DroppedTerminal(stick)

    async def test_a_folder_of_another_thing_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "status.json").write_text("[]")
        with pytest.raises(DropMalformed):
            DroppedTerminal(tmp_path)


async def test_a_torn_debit_waits_for_its_card_and_is_collected_when_it_has_waited_enough(field: Field) -> None:
    from libs.purse.terminal import Torn
    from tests.unit.edge.test_terminal import TornCard, costs

    with pytest.raises(Torn):
        field.device.terminal.pay(TornCard(a_card(), acts=True).transmit, costs(200))
    assert await field.own.records(1, 9) == b""
    field.city.clock.advance(minutes=11)
    (record,) = read_records(await field.own.records(1, 9))
    assert record["kind"] == 8
