"""Five kinds of lists: published files, their way to terminals, what comes back. Real server, database and bus."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from citycard.blacklist.v1 import blacklist_pb2 as blacklist_pb
from citycard.blacklist.v1 import blacklist_service_pb2 as blacklist_service_pb
from citycard.blacklist.v1 import events_pb2
from citycard.blacklist.v1 import list_pb2 as pb
from citycard.blacklist.v1 import list_service_pb2 as service_pb
from citycard.blacklist.v1.blacklist_service_pb2_grpc import BlacklistServiceStub
from citycard.blacklist.v1.list_service_pb2_grpc import ListServiceStub
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from libs.cardlist import Action, CardList, EcdsaVerifier, IssuerList, Purpose, RangeList, apply_delta
from libs.runtime.events import connect_nats, ensure_streams
from libs.runtime.refusals import error_info
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server
from services.blacklist.settings import BlacklistSettings
from services.blacklist.wiring import build_parts

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls
    from city.servers import LocalServers

NOW = datetime.now(UTC).replace(microsecond=0)
MILLION = 1_000_003
ISSUER = "01015840FFFFFFFF"


def number_of(serial: int) -> str:
    return f"031{serial:017d}"


@dataclass
class Service:
    server: RunningServer
    settings: BlacklistSettings
    certificates: TestCertificates
    js: Any
    verifier: EcdsaVerifier = field(default_factory=lambda: EcdsaVerifier([]))

    def lists(self, as_: str = "citycard://administrator/test") -> Any:
        return ListServiceStub(self.server.channel(as_))

    def gateway(self) -> Any:
        return self.lists("citycard://service/terminal_gw")

    def entries(self, as_: str = "citycard://administrator/test") -> Any:
        return BlacklistServiceStub(self.server.channel(as_))

    async def add(self, serial: int, generation: int = 1, **more: Any) -> Any:
        request = blacklist_service_pb.AddEntryRequest(
            request_id=str(uuid.uuid4()),
            name=f"entries/jt-{number_of(serial)}.{generation}",
            reason=more.pop("reason", blacklist_pb.LIST_REASON_COUNTERFEIT),
            mode=more.pop("mode", blacklist_pb.LIST_MODE_REFUSE),
        )
        request.effective_time.FromDatetime(more.pop("effective_time", NOW - timedelta(hours=1)))
        if "until_time" in more:
            request.until_time.FromDatetime(more.pop("until_time"))
        return await self.entries().AddEntry(request)

    async def add_many(self, count: int) -> None:
        """Serials a million apart, so that each takes three bytes of a list."""
        slots = asyncio.Semaphore(4)

        async def one(serial: int) -> None:
            async with slots:
                await self.add(serial * MILLION)

        await asyncio.gather(*(one(serial) for serial in range(1, count + 1)))

    async def remove(self, serial: int) -> Any:
        name = f"entries/jt-{number_of(serial)}.1"
        request = blacklist_service_pb.RemoveEntryRequest(request_id=str(uuid.uuid4()), name=name)
        return await self.entries().RemoveEntry(request)

    async def check(self, serial: int, generation: int = 1, at: datetime | None = None, issuer: str = "") -> Any:
        request = blacklist_service_pb.CheckCardRequest(
            card=f"cards/jt-{number_of(serial)}", generation=generation, issuer=issuer
        )
        if at is not None:
            request.time.FromDatetime(at)
        return await self.entries().CheckCard(request)

    async def state(self, kind: Any = pb.LIST_KIND_BLACKLIST) -> Any:
        return (await self.lists().GetLists(service_pb.GetListsRequest())).lists[kind - 1]

    async def published(self, kind: Any = pb.LIST_KIND_BLACKLIST) -> int:
        """Wait until the newest version has files."""
        async with asyncio.timeout(15):
            while True:
                state = await self.state(kind)
                if state.version == state.published_version:
                    return int(state.version)
                await asyncio.sleep(0.05)

    async def fetch(self, kind: Any = pb.LIST_KIND_BLACKLIST, **asked: Any) -> list[Any]:
        call = self.lists("citycard://collector/metro/gate-1").GetArtefact(
            service_pb.GetArtefactRequest(list=kind, **asked)
        )
        return [part async for part in call]

    async def file(self, kind: Any = pb.LIST_KIND_BLACKLIST, **asked: Any) -> bytes:
        return b"".join(part.data for part in await self.fetch(kind, **asked))

    async def held(self) -> CardList:
        return CardList.open(await self.file(), self.verifier)

    async def change(self, kind: Any, put: list[Any] | None = None, remove: list[Any] | None = None) -> Any:
        request = service_pb.BatchChangeRowsRequest(
            request_id=str(uuid.uuid4()), list=kind, put=put or [], remove=remove or []
        )
        return await self.lists().BatchChangeRows(request)


def a_range(first: int, last: int, mode: Any = blacklist_pb.LIST_MODE_REFUSE, **more: datetime) -> pb.ListRow:
    row = pb.ListRow(
        range=pb.NumberRange(
            first_number=number_of(first),
            last_number=number_of(last),
            mode=mode,
            reason=blacklist_pb.LIST_REASON_STOLEN_STOCK,
        )
    )
    row.effective_time.FromDatetime(more.get("effective_time", NOW - timedelta(hours=1)))
    if "until_time" in more:
        row.until_time.FromDatetime(more["until_time"])
    return row


def a_staff_card(serial: int, generation: int = 1) -> pb.ListRow:
    return pb.ListRow(staff=pb.StaffCard(card=f"cards/jt-{number_of(serial)}", generation=generation))


def an_issuer(issuer: str = ISSUER) -> pb.ListRow:
    return pb.ListRow(issuer=pb.AcceptedIssuer(issuer=issuer))


async def refusal(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return error_info(refused.value)


@pytest.fixture
async def make_service(
    servers: "LocalServers", list_database: "DatabaseUrls", tmp_path: Path
) -> AsyncIterator[Callable[..., Any]]:
    certificates = TestCertificates(tmp_path)

    def settings(**more: Any) -> BlacklistSettings:
        defaults: dict[str, Any] = {
            "database_url": list_database.application,
            "nats_url": servers.nats_url(),
            "redis_url": servers.redis_url(),
            "redis_poll_s": 0.1,
            "publish_pause_s": 0.02,
            "publish_poll_s": 0.2,
            "expire_poll_s": 0.1,
        }
        return a_settings(certificates, BlacklistSettings, **(defaults | more))

    nats = await connect_nats(settings())
    js = nats.jetstream()
    await ensure_streams(js)
    for stream in ("citycard_card", "citycard_blacklist", "citycard_clearing"):
        await js.purge_stream(stream)
        for known in await js.consumers_info(stream):
            await js.delete_consumer(stream, known.name)
    running: list[Any] = []

    async def start(**more: Any) -> Service:
        context = running_server(await build_parts(settings(**more)), settings(**more), certificates)
        service = Service(await context.__aenter__(), settings(**more), certificates, js)
        running.append(context)
        signers = (await service.lists().GetLists(service_pb.GetListsRequest())).signers
        keys = [load_der_public_key(signer.public_key) for signer in signers]
        service.verifier = EcdsaVerifier([key for key in keys if isinstance(key, ec.EllipticCurvePublicKey)])
        return service

    yield start
    for context in reversed(running):
        await context.__aexit__(None, None, None)
    await nats.close()


@pytest.fixture
async def service(make_service: Callable[..., Any]) -> Service:
    made: Service = await make_service()
    return made


class TestFiles:
    async def test_a_version_is_published_and_a_terminal_follows_by_deltas(self, service: Service) -> None:
        assert await service.fetch() == []
        await service.add(1)
        await service.published()
        held = await service.held()
        assert held.find(bytes.fromhex(number_of(1)), 1) is not None
        for serial in (2, 3, 4):
            await service.add(serial)
        await service.remove(1)
        version = await service.published()
        parts = await service.fetch(base_version=held.point.version)
        whole = await service.file()
        if parts[0].base_version:
            held = apply_delta(held, b"".join(part.data for part in parts), service.verifier)
        else:
            held = CardList.open(b"".join(part.data for part in parts), service.verifier)
        assert held.data == whole
        assert held.point.version == version
        assert held.find(bytes.fromhex(number_of(1)), 1) is None
        assert await service.fetch(base_version=version) == []

    async def test_a_long_list_is_followed_by_short_deltas_whatever_was_missed(
        self, make_service: Callable[..., Any]
    ) -> None:
        service = await make_service(publish_pause_s=0.5)
        await service.add_many(200)
        await service.published()
        held = {0: await service.held()}
        for step in range(1, 5):
            await service.add(step)
            await service.remove(step * 10 * MILLION)
            await service.published()
            held[step] = await service.held()
        for start, old in held.items():
            if start == 4:
                continue
            parts = await service.fetch(base_version=old.point.version)
            assert parts[0].base_version == old.point.version
            assert parts[0].size_bytes < len(held[4].data)
            made = apply_delta(old, b"".join(part.data for part in parts), service.verifier)
            assert made.data == held[4].data

    async def test_a_broken_download_goes_on_where_it_stopped(self, service: Service) -> None:
        await service.add_many(40)
        version = await service.published()
        (first,) = await service.fetch()
        assert (first.size_bytes, hashlib.sha256(first.data).digest()) == (len(first.data), first.sha256)
        await service.add(7)
        await service.published()
        rest = await service.file(version=version, offset=100)
        assert first.data[:100] + rest == first.data
        assert await service.fetch(version=version, offset=len(first.data)) == []
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.fetch(version=version + 1000)
        assert error_info(refused.value).reason == "ARTEFACT_UNKNOWN"

    async def test_another_process_publishes_the_same_chain_and_finds_the_files(
        self, make_service: Callable[..., Any]
    ) -> None:
        one, two = await make_service(), await make_service()
        await asyncio.gather(*((one, two)[serial % 2].add(serial) for serial in range(12)))
        await one.published()
        await two.published()
        assert await one.file() == await two.file()
        proof = await one.entries().Prove(blacklist_service_pb.ProveRequest())
        assert not [line for line in proof.lines if line.broken_count]

    async def test_a_small_terminal_gets_the_most_dangerous_cards_and_is_told_what_is_missing(
        self, service: Service
    ) -> None:
        await service.add(1, reason=blacklist_pb.LIST_REASON_ARREARS)
        await service.add(2, reason=blacklist_pb.LIST_REASON_COUNTERFEIT)
        await service.add(3, reason=blacklist_pb.LIST_REASON_ARREARS)
        await service.published()

        async def cut() -> set[int]:
            parts = await service.fetch(entry_count_max=2)
            assert (parts[0].left_out_count, parts[0].base_version) == (1, 0)
            held = CardList.open(b"".join(part.data for part in parts), service.verifier)
            assert not held.is_complete
            return {serial for serial in (1, 2, 3) if held.find(bytes.fromhex(number_of(serial)), 1)}

        # The newest report of two equal reasons stays.
        assert await cut() == {2, 3}
        (whole,) = await service.fetch(entry_count_max=1000)
        assert whole.left_out_count == 0
        ranking = pb.ListRanking(reasons=[blacklist_pb.LIST_REASON_ARREARS])
        await service.lists().SetRanking(service_pb.SetRankingRequest(request_id=str(uuid.uuid4()), ranking=ranking))
        assert await service.lists().GetRanking(service_pb.GetRankingRequest()) == ranking
        # A published file does not change; the next version is cut anew.
        assert await cut() == {2, 3}
        await service.add(4, reason=blacklist_pb.LIST_REASON_COURT)
        await service.remove(4)
        await service.published()
        assert await cut() == {1, 3}

    async def test_a_publication_is_announced(self, service: Service) -> None:
        heard = await service.js.subscribe("citycard.blacklist.v1.ListPublished")
        await service.add(1)
        event = events_pb2.ListPublished.FromString((await heard.next_msg(timeout=10)).data)
        assert (event.list, event.version, event.base_version) == (pb.LIST_KIND_BLACKLIST, 1, 0)
        assert event.chain_hash == (await service.state()).chain_hash

    async def test_production_without_a_key_publishes_nothing_and_says_so(
        self, make_service: Callable[..., Any]
    ) -> None:
        service = await make_service(deployment="production")
        await service.add(1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.fetch()
        assert error_info(refused.value).reason == "LIST_UNSIGNED"
        assert not (await service.lists().GetLists(service_pb.GetListsRequest())).signers

    async def test_files_are_dropped_but_a_delta_from_any_version_is_made_again(
        self, make_service: Callable[..., Any]
    ) -> None:
        service = await make_service(file_keep_s=0.2, publish_pause_s=0.5)
        await service.add_many(200)
        version = await service.published()
        held = await service.held()
        await service.add(1)
        await service.published()
        reason = ""
        async with asyncio.timeout(10):
            while not reason:
                await asyncio.sleep(0.1)
                try:
                    await service.fetch(version=version)
                except grpc.aio.AioRpcError as refused:
                    reason = error_info(refused).reason
        assert reason == "ARTEFACT_UNKNOWN"
        made = apply_delta(held, await service.file(base_version=version), service.verifier)
        assert made.data == await service.file()


class TestKinds:
    async def test_all_five_kinds_are_published_as_terminals_read_them(self, service: Service) -> None:
        await service.change(pb.LIST_KIND_RANGES, [a_range(10, 19), a_range(30, 39)])
        await service.change(pb.LIST_KIND_STAFF, [a_staff_card(5, 2)])
        await service.change(pb.LIST_KIND_ISSUERS, [an_issuer()])
        for kind in (pb.LIST_KIND_RANGES, pb.LIST_KIND_STAFF, pb.LIST_KIND_ISSUERS):
            assert await service.published(kind) == 1
        ranges = RangeList(await service.file(pb.LIST_KIND_RANGES), service.verifier)
        found = ranges.find(bytes.fromhex(number_of(35)))
        assert found is not None
        assert (found.action, ranges.find(bytes.fromhex(number_of(20)))) == (Action.REFUSE, None)
        staff = CardList.open(await service.file(pb.LIST_KIND_STAFF), service.verifier, Purpose.STAFF)
        assert staff.find(bytes.fromhex(number_of(5)), 2) is not None
        assert staff.find(bytes.fromhex(number_of(5)), 1) is None
        issuers = IssuerList(await service.file(pb.LIST_KIND_ISSUERS), service.verifier)
        assert issuers.accepts(bytes.fromhex(ISSUER), int(datetime.now(UTC).timestamp()) + 1)

    async def test_rows_are_listed_overwritten_and_removed(self, service: Service) -> None:
        first = await service.change(pb.LIST_KIND_RANGES, [a_range(10, 19), a_range(30, 39)])
        assert (first.version, first.row_count) == (1, 2)
        same = await service.change(pb.LIST_KIND_RANGES, [a_range(10, 19)])
        assert same.version == 1
        other = await service.change(
            pb.LIST_KIND_RANGES, [a_range(10, 19, blacklist_pb.LIST_MODE_LOCK)], [a_range(30, 39)]
        )
        assert (other.version, other.row_count) == (2, 1)
        page = await service.lists().ListRows(service_pb.ListRowsRequest(list=pb.LIST_KIND_RANGES, page_size=1))
        assert [row.range.mode for row in page.rows] == [blacklist_pb.LIST_MODE_LOCK]
        rest = await service.lists().ListRows(
            service_pb.ListRowsRequest(list=pb.LIST_KIND_RANGES, page_size=1, page_token=page.next_page_token)
        )
        assert not rest.rows
        proof = await service.entries().Prove(blacklist_service_pb.ProveRequest())
        assert not [line for line in proof.lines if line.broken_count]

    async def test_what_cannot_stand_in_a_list_is_named_and_changes_nothing(self, service: Service) -> None:
        ranges = pb.LIST_KIND_RANGES
        await service.change(ranges, [a_range(10, 19)])
        assert (await refusal(service.change(ranges, [a_range(19, 25)]))).reason == "RANGE_OVERLAPS"
        assert (await refusal(service.change(ranges, [a_range(40, 50), a_range(45, 60)]))).reason == "RANGE_OVERLAPS"
        assert (await refusal(service.change(ranges, [a_range(50, 40)]))).reason == "ROW_INVALID"
        assert (await refusal(service.change(ranges, [an_issuer()]))).reason == "ROW_INVALID"
        assert (await refusal(service.change(ranges, [a_range(1, 2), a_range(1, 2)]))).reason == "ROW_INVALID"
        assert (await refusal(service.change(ranges, remove=[a_range(1, 2)]))).reason == "ROW_UNKNOWN"
        ended = a_range(60, 61, until_time=NOW - timedelta(hours=2))
        assert (await refusal(service.change(ranges, [ended]))).reason == "PERIOD_EMPTY"
        issuer = await refusal(service.change(pb.LIST_KIND_ISSUERS, [an_issuer("0101FFFFFFFFFFF1")]))
        assert issuer.reason == "ROW_INVALID"
        # All or none.
        assert (await refusal(service.change(ranges, [a_range(70, 71)], [a_range(1, 2)]))).reason == "ROW_UNKNOWN"
        state = await service.state(ranges)
        assert (state.version, state.row_count) == (1, 1)

    async def test_a_repeated_request_gets_its_first_answer(self, service: Service) -> None:
        request = service_pb.BatchChangeRowsRequest(
            request_id=str(uuid.uuid4()), list=pb.LIST_KIND_STAFF, put=[a_staff_card(1)]
        )
        first = await service.lists().BatchChangeRows(request)
        assert await service.lists().BatchChangeRows(request) == first
        assert (await service.state(pb.LIST_KIND_STAFF)).version == 1

    async def test_only_an_administrator_changes_rows_and_only_services_report(self, service: Service) -> None:
        request = service_pb.BatchChangeRowsRequest(request_id=str(uuid.uuid4()), list=pb.LIST_KIND_STAFF)
        as_terminal = service.lists("citycard://terminal/metro/020100000123")
        assert (await refusal(as_terminal.BatchChangeRows(request))).reason == "ROLE_NOT_ALLOWED"
        report = service_pb.ReportHopsRequest(request_id=str(uuid.uuid4()), list=pb.LIST_KIND_BLACKLIST)
        assert (await refusal(as_terminal.ReportHops(report))).reason == "ROLE_NOT_ALLOWED"


async def test_a_proof_finds_what_was_changed_behind_the_lists(service: Service, list_database: "DatabaseUrls") -> None:
    await service.add(1)
    await service.change(pb.LIST_KIND_RANGES, [a_range(10, 19)])
    await service.published()
    await service.published(pb.LIST_KIND_RANGES)

    async def broken() -> list[str]:
        proof = await service.entries().Prove(blacklist_service_pb.ProveRequest())
        return [line.first_broken for line in proof.lines if line.broken_count]

    assert await broken() == []
    owner = create_async_engine(list_database.owner.replace("postgresql://", "postgresql+psycopg://"))
    found = []
    for tampering in (
        "UPDATE artefact SET data = data || '\\x00' WHERE list = 1",
        "UPDATE kind_row SET mode = 1",
        "UPDATE kind_change SET reason = 1",
    ):
        async with owner.begin() as connection:
            await connection.execute(text(tampering))
        found.append(await broken())
    await owner.dispose()
    assert found[0] == ["list 1 version 1"]
    assert sorted(found[1]) == ["RANGES", "list 1 version 1"]
    assert "RANGES version 1" in found[2]


class TestOnlineCheck:
    async def test_a_range_refuses_unless_the_cards_own_entry_says_otherwise(self, service: Service) -> None:
        await service.change(pb.LIST_KIND_RANGES, [a_range(10, 19)])
        await service.add(12, mode=blacklist_pb.LIST_MODE_IGNORE)
        await service.add(13, mode=blacklist_pb.LIST_MODE_LOCK)
        found = [await service.check(serial) for serial in (9, 10, 12, 13, 19, 20)]
        assert [one.listed for one in found] == [False, True, False, True, True, False]
        assert [one.mode for one in found] == [0, 2, 5, 1, 2, 0]
        assert found[2].range.range.first_number == number_of(10)
        # The entry is of one generation; the range is of the number.
        assert (await service.check(12, generation=2)).listed
        await service.change(pb.LIST_KIND_RANGES, remove=[a_range(10, 19)])
        assert [(await service.check(serial)).listed for serial in (10, 13)] == [False, True]
        past = NOW - timedelta(minutes=30)
        assert not (await service.check(9, at=past)).listed

    async def test_a_reissued_card_is_never_blocked_by_its_ancestor(self, service: Service) -> None:
        await service.add(1, generation=1)
        await service.published()
        assert [(await service.check(1, generation)).listed for generation in (1, 2)] == [True, False]
        held = await service.held()
        assert held.find(bytes.fromhex(number_of(1)), 2) is None

    async def test_staff_and_issuers_are_told(self, service: Service) -> None:
        assert (await service.check(1, issuer=ISSUER)).issuer_standing == pb.ISSUER_STANDING_ACCEPTED
        await service.change(pb.LIST_KIND_STAFF, [a_staff_card(1)])
        await service.change(pb.LIST_KIND_ISSUERS, [an_issuer()])
        found = await service.check(1, issuer=ISSUER)
        assert (found.staff, found.issuer_standing) == (True, pb.ISSUER_STANDING_ACCEPTED)
        other = await service.check(2, issuer="01019999FFFFFFFF")
        assert (other.staff, other.issuer_standing) == (False, pb.ISSUER_STANDING_NOT_ACCEPTED)
        assert (await service.check(2)).issuer_standing == pb.ISSUER_STANDING_UNSPECIFIED

    async def test_another_process_knows_of_a_range_at_once_enough(self, make_service: Callable[..., Any]) -> None:
        one, two = await make_service(), await make_service(version_age_s_max=0)
        assert not (await two.check(5)).listed
        await one.change(pb.LIST_KIND_RANGES, [a_range(1, 9)])
        assert (await two.check(5)).listed

    async def test_redis_wiped_in_the_midst_changes_no_answer_about_ranges_and_actions(
        self, service: Service, servers: "LocalServers"
    ) -> None:
        await service.change(pb.LIST_KIND_RANGES, [a_range(10, 19)])
        for serial, mode in ((1, 1), (2, 2), (3, 4), (4, 5)):
            await service.add(serial, mode=mode)

        async def answers() -> list[tuple[bool, int]]:
            found = [await service.check(serial) for serial in (0, 1, 2, 3, 4, 10)]
            return [(one.listed, one.mode) for one in found]

        expected = [(False, 0), (True, 1), (True, 2), (True, 4), (False, 5), (True, 2)]
        assert await answers() == expected
        servers.kill("redis")
        try:
            assert await answers() == expected
        finally:
            servers.restart("redis")
        assert await answers() == expected

    async def test_an_entry_ends_by_itself_and_terminals_learn_of_it(self, service: Service) -> None:
        until = datetime.now(UTC) + timedelta(seconds=1.5)
        entry = await service.add(1, until_time=until)
        assert entry.HasField("until_time")
        await service.change(pb.LIST_KIND_RANGES, [a_range(10, 19, until_time=until)])
        assert [(await service.check(serial)).listed for serial in (1, 12)] == [True, True]
        # Asked about later, it is over already.
        later = until + timedelta(seconds=1)
        assert [(await service.check(serial, at=later)).listed for serial in (1, 12)] == [False, False]
        async with asyncio.timeout(15):
            left = 2
            while left:
                await asyncio.sleep(0.1)
                left = (await service.state()).row_count + (await service.state(pb.LIST_KIND_RANGES)).row_count
        await service.published()
        assert len(await service.held()) == 0
        # The past stays what it was.
        assert (await service.check(1, at=NOW)).listed
        listed = await service.entries().ListEntries(blacklist_service_pb.ListEntriesRequest(show_removed=True))
        assert abs(listed.entries[0].remove_time.ToDatetime(UTC) - until) < timedelta(milliseconds=1)

    async def test_an_end_before_the_beginning_is_refused(self, service: Service) -> None:
        found = await refusal(service.add(1, until_time=NOW - timedelta(days=1)))
        assert found.reason == "PERIOD_EMPTY"
        assert (await service.state()).version == 0


def bcd_column(numbers: list[int], width: int) -> bytes:
    return b"".join(bytes.fromhex(f"{number:0{2 * width}d}") for number in numbers)


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


class TestJourneys:
    async def report(
        self, service: Service, words: Sequence[tuple[int, int, datetime, datetime | None]], **more: Any
    ) -> int:
        """Terminal, version, when it said so, when it got it."""
        request = service_pb.ReportHopsRequest(
            request_id=more.pop("request_id", str(uuid.uuid4())),
            list=pb.LIST_KIND_BLACKLIST,
            terminal_numbers=bcd_column([word[0] for word in words], 6),
            versions=[word[1] for word in words],
            acknowledge_times_ms=[ms(word[2]) for word in words],
            offer_times_ms=[ms(word[3]) if word[3] else 0 for word in words],
            **more,
        )
        return int((await service.gateway().ReportHops(request)).news_count)

    async def delays(self, service: Service) -> dict[int, Any]:
        answer = await service.lists("citycard://participant/metro").GetDelays(service_pb.GetDelaysRequest())
        return {one.hop: one for one in answer.hops}

    async def journey(self, service: Service, serial: int) -> Any:
        request = service_pb.GetEntryJourneyRequest(name=f"entries/jt-{number_of(serial)}.1")
        return await service.lists().GetEntryJourney(request)

    async def test_the_way_of_an_entry_from_report_to_terminals(self, service: Service) -> None:
        await service.add(1)
        await service.published()
        base = datetime.now(UTC)
        # Two terminals are heard of for the first time: that tells nothing about the way of what they had.
        assert await self.report(service, [(100, 1, base, None), (200, 1, base, None)]) == 2
        assert pb.HOP_TOTAL not in await self.delays(service)
        entry = await service.add(2)
        version = await service.published()
        published = (await service.state()).publish_time.ToDatetime(UTC)
        reported = entry.report_time.ToDatetime(UTC)
        fetch, offer = published + timedelta(milliseconds=200), published + timedelta(milliseconds=500)
        first, second = reported + timedelta(seconds=2), reported + timedelta(seconds=10)
        news = await self.report(
            service,
            [(100, version, first, offer), (200, version, second, None)],
            fetched_versions=[version],
            fetch_times_ms=[ms(fetch)],
        )
        assert news == 2
        journey = await self.journey(service, 2)
        assert (journey.version, journey.acknowledge_count, journey.waiting_count) == (version, 2, 0)
        assert journey.report_time == entry.report_time
        assert journey.publish_time.ToDatetime(UTC) == published
        assert abs(journey.fetch_time.ToDatetime(UTC) - fetch) < timedelta(milliseconds=2)
        assert abs(journey.first_offer_time.ToDatetime(UTC) - offer) < timedelta(milliseconds=2)
        assert abs(journey.first_acknowledge_time.ToDatetime(UTC) - first) < timedelta(milliseconds=2)
        assert abs(journey.last_acknowledge_time.ToDatetime(UTC) - second) < timedelta(milliseconds=2)
        # In force since an hour ago, so published late: acquirers bear what they accept from a day's notice on.
        assert journey.liability_time.ToDatetime(UTC) - published == timedelta(hours=23)
        delays = await self.delays(service)
        assert delays[pb.HOP_TOTAL].count == 2
        assert delays[pb.HOP_TOTAL].p50_s == pytest.approx(2, rel=0.03)
        assert delays[pb.HOP_TOTAL].p99_s == pytest.approx(10, rel=0.03)
        assert delays[pb.HOP_OFFERED].p50_s == pytest.approx(0.3, rel=0.05)
        assert delays[pb.HOP_FETCHED].count == 2
        assert delays[pb.HOP_LISTED].count == delays[pb.HOP_PUBLISHED].count == 2

    async def test_a_report_repeated_late_or_about_nothing_counts_once(self, service: Service) -> None:
        for serial in range(1, 6):
            await service.add(serial)
        await service.published()
        now = datetime.now(UTC)
        request_id = str(uuid.uuid4())
        assert await self.report(service, [(1, 2, now, None)], request_id=request_id) == 1
        assert await self.report(service, [(1, 2, now, None)], request_id=request_id) == 1
        # Two moves in one batch, out of order, one of them twice; a version that never was; an older word.
        words = [(1, 5, now, None), (1, 4, now, None), (1, 4, now, None), (1, 999, now, None), (1, 1, now, None)]
        assert await self.report(service, words) == 2
        assert (await self.delays(service))[pb.HOP_TOTAL].count == 3
        assert [(await self.journey(service, serial)).acknowledge_count for serial in (2, 3, 4, 5)] == [0, 1, 1, 1]
        answer = await service.lists().GetDelays(service_pb.GetDelaysRequest())
        assert (answer.terminal_count, answer.current_count, answer.oldest_version) == (1, 1, 5)

    async def test_another_reason_is_no_new_way(self, service: Service) -> None:
        await service.add(1)
        await service.published()
        now = datetime.now(UTC)
        await self.report(service, [(1, 1, now, None)])
        await service.add(1, reason=blacklist_pb.LIST_REASON_COURT)
        await service.published()
        await self.report(service, [(1, 2, now, None)])
        assert pb.HOP_TOTAL not in await self.delays(service)

    async def test_columns_that_do_not_fit_are_named(self, service: Service) -> None:
        def request(**more: Any) -> Any:
            return service_pb.ReportHopsRequest(request_id=str(uuid.uuid4()), list=pb.LIST_KIND_BLACKLIST, **more)

        good = {
            "terminal_numbers": bytes(6), "versions": [1], "offer_times_ms": [0], "acknowledge_times_ms": [5],
        }  # fmt: skip
        await service.gateway().ReportHops(request(**good))
        for field_name, bad in (
            ("terminal_numbers", bytes(5)),
            ("terminal_numbers", b"\xff" * 6),
            ("offer_times_ms", []),
            ("acknowledge_times_ms", [0]),
            ("acknowledge_times_ms", [1 << 62]),
        ):
            found = await refusal(service.gateway().ReportHops(request(**(good | {field_name: bad}))))
            assert (found.reason, found.facts["field"]) == ("REPORT_MALFORMED", field_name)
        found = await refusal(service.gateway().ReportHops(request(fetched_versions=[1])))
        assert found.reason == "REPORT_MALFORMED"

    async def test_an_entry_never_listed_has_no_way(self, service: Service) -> None:
        found = await refusal(self.journey(service, 77))
        assert found.reason == "ENTRY_UNKNOWN"


class TestHits:
    async def report(self, service: Service, met: list[tuple[int, int, int, int]], request_id: str = "") -> int:
        """Serial, generation, outcome, terminal."""
        request = service_pb.ReportHitsRequest(
            request_id=request_id or str(uuid.uuid4()),
            card_numbers=b"".join(bytes.fromhex(number_of(one[0])) for one in met),
            generations=[one[1] for one in met],
            outcomes=bytes(one[2] for one in met),
            times_s=[int(NOW.timestamp()) + place for place in range(len(met))],
            terminal_numbers=bcd_column([one[3] for one in met], 6),
        )
        return int((await service.gateway().ReportHits(request)).listed_count)

    async def test_cards_that_were_met_are_counted_once_per_word(self, service: Service) -> None:
        await service.add(1)
        await service.change(pb.LIST_KIND_RANGES, [a_range(50, 59)])
        request_id = str(uuid.uuid4())
        met = [(1, 1, 1, 7), (1, 1, 2, 8), (1, 1, 2, 9), (2, 0, 3, 9), (55, 0, 2, 9)]
        assert await self.report(service, met, request_id) == 4
        assert await self.report(service, met, request_id) == 4
        hits = (await service.lists().ListHits(service_pb.ListHitsRequest())).hits
        assert [(one.name[-3:], one.locked_count, one.refused_count, one.passed_count) for one in hits] == [
            ("1.1", 1, 2, 0), ("2.0", 0, 0, 1), ("5.0", 0, 1, 0),
        ]  # fmt: skip
        assert hits[0].last_terminal_number == "000000000009"
        await self.report(service, [(1, 1, 1, 3)])
        name = f"entries/jt-{number_of(1)}.1"
        (one,) = (await service.lists().ListHits(service_pb.ListHitsRequest(name=name))).hits
        assert (one.locked_count, one.refused_count) == (2, 2)
        page = await service.lists().ListHits(service_pb.ListHitsRequest(page_size=2))
        rest = await service.lists().ListHits(service_pb.ListHitsRequest(page_size=2, page_token=page.next_page_token))
        assert [len(page.hits), len(rest.hits)] == [2, 1]

    async def test_what_is_no_hit_is_refused_whole(self, service: Service) -> None:
        found = await refusal(self.report(service, [(1, 1, 1, 7), (1, 1, 4, 7)]))
        assert (found.reason, found.facts["field"]) == ("REPORT_MALFORMED", "outcomes")
        never = service_pb.ListHitsRequest(name=f"entries/jt-{number_of(1)}.1")
        assert (await refusal(service.lists().ListHits(never))).reason == "ENTRY_UNKNOWN"
