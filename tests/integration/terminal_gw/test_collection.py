"""Gaps, registers, certificates of completeness and the backlog through a real gateway."""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import psycopg
import pytest
from citycard.common.v1 import types_pb2
from citycard.terminal_gw.v1 import collection_service_pb2 as pb
from citycard.terminal_gw.v1 import command_pb2, device_pb2
from citycard.terminal_gw.v1 import session_service_pb2 as session_pb
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service_pb
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from libs.cardlist.signing import EcdsaVerifier
from libs.clock import CITY_TZ
from libs.runtime.refusals import error_info
from tests.integration.terminal_gw.conftest import BUS_COLLECTOR, METRO_COLLECTOR, Gateway, Running, a_chunk_each
from tests.unit.terminal_gw.files import a_file_of, chunks_of, device_file, device_records

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls

FIRST = "terminals/020100000000"
TODAY = datetime.now(UTC).astimezone(CITY_TZ).date()
DAY = types_pb2.Date(year=TODAY.year, month=TODAY.month, day=TODAY.day)


def a_register(first: int, last: int, **changed: Any) -> device_pb2.AuditRegister:
    count = last - first + 1
    values: dict[str, Any] = {
        "business_date": DAY, "device_seq_first": first, "device_seq_last": last, "record_count": count,
        "total_fen": 200 * count, "running_count": last, "running_total_fen": 200 * last, "day_closed": True,
    }  # fmt: skip
    return device_pb2.AuditRegister(**(values | changed))


async def report(gateway: Gateway, *registers: device_pb2.AuditRegister, as_: str = METRO_COLLECTOR) -> Any:
    request = pb.ReportRegistersRequest(terminal=FIRST, registers=registers)
    return await gateway.collection(as_).ReportRegisters(request)


async def gap(gateway: Gateway, terminal: str = FIRST) -> Any:
    return await gateway.collection().GetGapReport(pb.GetGapReportRequest(terminal=terminal))


async def certificate(gateway: Gateway, terminal: str = FIRST) -> Any:
    request = pb.IssueCompletenessCertificateRequest(terminal=terminal, business_date=DAY)
    return await gateway.collection().IssueCompletenessCertificate(request)


def pairs(ranges: Any) -> list[tuple[int, int]]:
    return [(one.first, one.last) for one in ranges]


@pytest.fixture
async def registered(gateway: Gateway) -> Gateway:
    await gateway.register(3)
    return gateway


async def proven(gateway: Gateway) -> list[int]:
    return [line.broken_count for line in (await gateway.stub().Prove(service_pb.ProveRequest())).lines]


class TestGaps:
    async def test_what_is_missing_between_files_is_named_and_closed_by_the_file_that_holds_it(
        self, registered: Gateway
    ) -> None:
        receipt = await registered.send(device_file(range(1, 11), 1))
        assert (receipt.terminal_count, receipt.device_seq_first, receipt.device_seq_last) == (1, 1, 10)
        await registered.send(device_file([*range(14, 21), 25], 3))
        report = await gap(registered)
        assert pairs(report.missing_device_seqs) == [(11, 13), (21, 24)]
        assert (report.missing_device_count, report.device_seq_last, report.device_seq_contiguous) == (7, 25, 10)
        assert pairs(report.missing_terminal_seqs) == [(11, 13), (21, 24)]
        page = await registered.collection().ListGapReports(pb.ListGapReportsRequest())
        assert [one.terminal for one in page.reports] == [FIRST]
        missing = await registered.collection().ListMissingFiles(pb.ListMissingFilesRequest())
        assert [(one.sender, pairs(one.missing_batch_numbers)) for one in missing.senders] == [
            (METRO_COLLECTOR, [(2, 2)])
        ]
        # Another carrier, records that were there among them.
        await registered.send(device_file(range(9, 27), 2), carrier=3)
        assert (await gap(registered)).missing_device_count == 0
        assert (await gap(registered)).device_seq_contiguous == 26
        assert not (await registered.collection().ListMissingFiles(pb.ListMissingFilesRequest())).senders
        assert await proven(registered) == [0] * 5

    async def test_records_that_are_none_and_records_of_another_participant_close_no_gap(
        self, registered: Gateway
    ) -> None:
        await registered.send(device_file([1, 2, 5]))
        broken = device_records([3, 4])
        broken["crc"] ^= 1
        await registered.send(a_file_of(broken, 2))
        await registered.send(device_file([3, 4], 3), BUS_COLLECTOR)
        assert pairs((await gap(registered)).missing_device_seqs) == [(3, 4)]
        hidden = pb.GetGapReportRequest(terminal=FIRST)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await registered.collection(BUS_COLLECTOR).GetGapReport(hidden)
        assert error_info(refused.value).reason == "TERMINAL_UNKNOWN"

    async def test_a_terminal_is_asked_once_until_it_answered_and_declares_what_never_was(
        self, registered: Gateway
    ) -> None:
        await registered.send(device_file([1, 2, 6, 9]))
        recollect = registered.collection().RecollectGaps
        assert (await recollect(pb.RecollectGapsRequest())).command_count == 1
        again = await recollect(pb.RecollectGapsRequest())
        assert (again.command_count, again.open_count) == (0, 1)
        request = service_pb.SignInRequest(terminal_number="020100000000", psam_number="0" * 20)
        request.clock_time.FromDatetime(datetime.now(UTC))
        to_do = (await registered.stub(METRO_COLLECTOR).SignIn(request)).to_do
        command = next(one.command for one in to_do if one.HasField("command"))
        assert pairs(command.body.recollect_records.device_seqs) == [(3, 5), (7, 8)]
        assert not any(one.HasField("recollect_records") for one in to_do)
        await registered.send(device_file([7, 8], 2))
        answer = command_pb2.CommandAnswer(
            command=command.name, state=4, void_device_seqs=[device_pb2.SerialRange(first=3, last=5)]
        )
        await registered.sessions(METRO_COLLECTOR).AnswerCommand(session_pb.AnswerCommandRequest(answer=answer))
        report = await gap(registered)
        assert (report.missing_device_count, pairs(report.void_device_seqs)) == (0, [(3, 5)])
        assert (await recollect(pb.RecollectGapsRequest())).command_count == 0

    async def test_a_sign_in_names_the_gaps_that_no_command_names_yet(self, registered: Gateway) -> None:
        await registered.send(device_file([1, 4]))
        request = service_pb.SignInRequest(terminal_number="020100000000", psam_number="0" * 20)
        request.clock_time.FromDatetime(datetime.now(UTC))
        answer = await registered.stub(METRO_COLLECTOR).SignIn(request)
        asked = next(one.recollect_records for one in answer.to_do if one.HasField("recollect_records"))
        assert (pairs(asked.device_seqs), answer.device_seq_contiguous) == ([(2, 3)], 1)

    async def test_a_proof_finds_coverage_that_no_upload_holds(
        self, registered: Gateway, gateway_database: "DatabaseUrls"
    ) -> None:
        await registered.send(device_file([1, 4]))
        with psycopg.connect(gateway_database.owner.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("UPDATE serial_coverage SET covered = '{[1,5)}' WHERE kind = 1")
            assert await proven(registered) == [0, 0, 0, 0, 1]
            connection.execute("UPDATE upload_serials SET device_seqs = '{[1,5)}'")
            assert await proven(registered) == [0, 0, 0, 1, 0]

    async def test_uploads_of_the_version_before_are_looked_at_after_the_start(
        self, running: Running, gateway_database: "DatabaseUrls"
    ) -> None:
        async with running() as gateway:
            await gateway.register()
            await gateway.send(device_file([1, 2, 5]))
            await gateway.send(device_file([7], 2))
            before = await gap(gateway)
        with psycopg.connect(gateway_database.owner.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("DELETE FROM upload_serials")
            connection.execute("DELETE FROM serial_coverage")
            connection.execute("UPDATE upload SET terminal_count = NULL")
        async with running() as gateway:

            async def looked_at() -> bool:
                return bool(await gap(gateway) == before)

            from tests.integration.terminal_gw.conftest import until

            await until(looked_at)
            assert await proven(gateway) == [0] * 5


class TestRegisters:
    async def test_the_same_again_is_counted_and_another_of_the_same_serials_is_refused(
        self, registered: Gateway
    ) -> None:
        first = a_register(1, 10, shift_number=1, day_closed=False)
        assert (await report(registered, first)).kept_count == 1
        again = await report(registered, first, a_register(11, 20, shift_number=2))
        assert (again.kept_count, again.known_count) == (1, 1)
        for wrong in (
            a_register(1, 10, shift_number=1, day_closed=False, total_fen=1),
            a_register(15, 25, shift_number=3),
            a_register(3, 4, shift_number=9),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await report(registered, a_register(21, 30, shift_number=7), wrong)
            assert error_info(refused.value).reason == "REGISTER_CONFLICT"
        # All or none: the good one beside the bad was not kept.
        assert (await report(registered, a_register(21, 30, shift_number=7))).kept_count == 1

    @pytest.mark.parametrize(
        ("changed", "field"),
        [
            ({"device_seq_last": 3}, "device_seq_last"),
            ({"record_count": 7}, "record_count"),
            ({"record_count": 0}, "total_fen"),
            ({"running_count": 1}, "running_count"),
            ({"running_total_fen": 1}, "running_total_fen"),
        ],
    )
    async def test_one_that_contradicts_itself_is_refused(
        self, registered: Gateway, changed: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await report(registered, a_register(5, 10, **changed))
        assert (error_info(refused.value).reason, error_info(refused.value).facts) == (
            "REGISTER_MALFORMED", {"field": field},
        )  # fmt: skip

    async def test_of_another_participant_or_terminal_none_is_taken(self, registered: Gateway) -> None:
        for as_ in (BUS_COLLECTOR, "citycard://terminal/metro/020100000001"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await report(registered, a_register(1, 2), as_=as_)
            assert error_info(refused.value).reason == "NOT_YOURS"


class TestCertificates:
    async def test_a_complete_day_says_so_and_the_signature_holds(self, registered: Gateway) -> None:
        await registered.send(device_file(range(1, 21)))
        await report(registered, a_register(1, 20))
        one = await certificate(registered)
        assert one.verdict == pb.COMPLETENESS_VERDICT_COMPLETE
        assert (one.record_count, one.total_fen, one.missing_count) == (20, 4_000, 0)
        assert (one.device_seqs.first, one.device_seqs.last, one.revision) == (1, 20, 1)
        key = serialization.load_pem_private_key(registered.settings.tls_key_file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        EcdsaVerifier([key.public_key()]).verify(one.key_id, one.content, one.signature)
        assert await certificate(registered) == one

    async def test_the_holes_are_listed_exactly_and_close_in_a_new_revision(self, registered: Gateway) -> None:
        await registered.send(device_file([1, 2, 3, 7, 8]))
        await report(registered, a_register(1, 10))
        holes = await certificate(registered)
        assert holes.verdict == pb.COMPLETENESS_VERDICT_HOLES
        assert (pairs(holes.missing_device_seqs), holes.missing_count) == ([(4, 6), (9, 10)], 5)
        # Twice the same records, in two files: each counts once.
        await registered.send(device_file(range(3, 11), 2))
        closed = await certificate(registered)
        assert (closed.verdict, closed.revision) == (pb.COMPLETENESS_VERDICT_COMPLETE, 2)
        assert (closed.record_count, closed.total_fen) == (10, 2_000)
        get = registered.collection().GetCompletenessCertificate
        day = f"{FIRST}/days/{TODAY:%Y%m%d}"
        assert await get(pb.GetCompletenessCertificateRequest(name=f"{day}/revisions/1")) == holes
        assert await get(pb.GetCompletenessCertificateRequest(name=day)) == closed

    async def test_a_day_whose_end_nobody_said_is_open(self, registered: Gateway) -> None:
        await registered.send(device_file([1, 2, 5]))
        one = await certificate(registered)
        assert (one.verdict, pairs(one.missing_device_seqs)) == (pb.COMPLETENESS_VERDICT_OPEN, [(3, 4)])
        await report(registered, a_register(1, 5, day_closed=False))
        assert (await certificate(registered)).verdict == pb.COMPLETENESS_VERDICT_OPEN

    async def test_totals_running_totals_contents_and_what_lies_between_registers_must_fit(
        self, registered: Gateway
    ) -> None:
        await registered.send(device_file(range(1, 6)))
        await report(registered, a_register(1, 5, total_fen=999, running_total_fen=999))
        one = await certificate(registered)
        assert one.verdict == pb.COMPLETENESS_VERDICT_DIFFERENT
        assert b"differs total-fen\n" in one.content
        await registered.send(device_file([5], 2, amount_fen=300))
        assert b"differs content 1\n" in (await certificate(registered)).content

    async def test_all_terminals_of_a_day_get_one_and_an_empty_day_is_complete(self, registered: Gateway) -> None:
        await registered.send(device_file(range(1, 4)))
        await report(registered, a_register(1, 3))
        await registered.send(device_file([1, 3], 2, terminal="020100000001", device=1))
        second = pb.ReportRegistersRequest(
            terminal="terminals/020100000001", registers=[a_register(1, 3, device_number=1)]
        )
        await registered.collection(METRO_COLLECTOR).ReportRegisters(second)
        empty = a_register(1, 0, device_number=2, record_count=0, total_fen=0, running_count=0, running_total_fen=0)
        third = pb.ReportRegistersRequest(terminal="terminals/020100000002", registers=[empty])
        await registered.collection(METRO_COLLECTOR).ReportRegisters(third)
        request = pb.BatchIssueCompletenessCertificatesRequest(business_date=DAY)
        issue = registered.collection().BatchIssueCompletenessCertificates
        tally = await issue(request)
        assert (tally.complete_count, tally.holes_count, tally.issued_count) == (2, 1, 3)
        assert (await issue(request)).issued_count == 0
        listed = await registered.collection().ListCompletenessCertificates(
            pb.ListCompletenessCertificatesRequest(business_date=DAY, incomplete_only=True)
        )
        assert [(one.terminal, pairs(one.missing_device_seqs)) for one in listed.certificates] == [
            ("terminals/020100000001", [(2, 2)])
        ]
        bus = registered.collection("citycard://participant/bus")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await bus.BatchIssueCompletenessCertificates(request)
        assert error_info(refused.value).reason == "NOT_YOURS"
        assert not (
            await bus.ListCompletenessCertificates(pb.ListCompletenessCertificatesRequest(business_date=DAY))
        ).certificates

    async def test_a_day_goes_on_where_the_day_before_ended(self, registered: Gateway) -> None:
        yesterday = TODAY - timedelta(days=1)
        before = types_pb2.Date(year=yesterday.year, month=yesterday.month, day=yesterday.day)
        await report(registered, a_register(1, 5, business_date=before))
        await report(registered, a_register(8, 10))
        await registered.send(device_file([1, 2, 3, 4, 5, 8, 9, 10]))
        one = await certificate(registered)
        assert (one.verdict, pairs(one.missing_device_seqs)) == (pb.COMPLETENESS_VERDICT_HOLES, [(6, 7)])


async def test_the_backlog_board_tells_per_collection_point_what_waits_and_who_is_silent(
    registered: Gateway,
) -> None:
    assign = session_pb.BatchAssignTerminalsRequest(
        request_id=str(uuid.uuid4()), terminals=[FIRST, "terminals/020100000001"], collection_point="depot-3"
    )
    await registered.sessions().BatchAssignTerminals(assign)
    request = service_pb.SignInRequest(terminal_number="020100000000", psam_number="0" * 20)
    request.clock_time.FromDatetime(datetime.now(UTC))
    request.serials.unsent_count = 12
    request.serials.oldest_unsent_time.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    await registered.stub(METRO_COLLECTOR).SignIn(request)
    await registered.send(device_file([1, 2, 5]))
    lines = (await registered.collection().ListBacklog(pb.ListBacklogRequest())).lines
    assert [(one.collection_point, one.terminal_count, one.silent_count) for one in lines] == [
        ("depot-3", 2, 1), ("", 1, 1),
    ]  # fmt: skip
    assert (lines[0].unsent_count, lines[0].missing_count) == (12, 2)
    assert lines[0].oldest_unsent_time.ToDatetime(UTC).date() == date(2026, 1, 2)
    assert not lines[0].HasField("oldest_contact_time")


async def test_garbage_in_an_upload_is_refused_by_name(registered: Gateway) -> None:
    data = device_file([1])
    call = registered.server.channel(METRO_COLLECTOR).stream_unary(
        "/citycard.terminal_gw.v1.TerminalGatewayService/UploadBatch",
        request_serializer=lambda message: message,
        response_deserializer=lambda message: message,
    )
    frames = [registered.start(data, METRO_COLLECTOR), *a_chunk_each(chunks_of(data, 100))]
    for garbage in (b"\xff" * 1000, b"\x0a\xff\xff\xff\xff\x0f"):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(iter([frames[0].SerializeToString(), frames[1].SerializeToString(), garbage]))
        assert error_info(refused.value).reason == "REQUEST_MALFORMED"
    assert (await registered.send(data)).terminal_count == 1
