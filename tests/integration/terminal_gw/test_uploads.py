"""Uploads through a real gateway into a real database: the ugly half first."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from citycard.terminal_gw.v1 import events_pb2
from citycard.terminal_gw.v1 import terminal_gw_pb2 as pb
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service_pb
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from libs.runtime.refusals import error_info
from tests.integration.terminal_gw.conftest import (
    BUS_COLLECTOR,
    METRO_COLLECTOR,
    Gateway,
    Running,
    a_chunk_each,
    until,
)
from tests.unit.terminal_gw.files import a_file, chunks_of, sha256

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls

KIB = 1024


def name_of(data: bytes, participant: str = "metro") -> str:
    return f"participants/{participant}/uploads/{sha256(data).hex()}"


async def refusal(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return error_info(refused.value)


async def rows(urls: "DatabaseUrls", query: str) -> list[Any]:
    engine = create_async_engine(urls.owner.replace("postgresql://", "postgresql+psycopg://"))
    async with engine.begin() as connection:
        result = await connection.execute(text(query))
        found = list(result) if result.returns_rows else []
    await engine.dispose()
    return found


async def stored(gateway: Gateway, data: bytes, participant: str = "metro") -> Any:
    return await gateway.stub().GetUpload(service_pb.GetUploadRequest(name=name_of(data, participant)))


async def read_back(gateway: Gateway, data: bytes, offset: int = 0) -> bytes:
    request = service_pb.ReadUploadRequest(name=name_of(data), offset=offset)
    parts = [part async for part in gateway.stub().ReadUpload(request)]
    assert all(len(part.data) <= KIB * KIB for part in parts)
    return b"".join(part.data for part in parts)


async def proven(gateway: Gateway) -> Any:
    proof = await gateway.stub().Prove(service_pb.ProveRequest())
    assert [(line.broken_count, line.first_broken) for line in proof.lines] == [(0, "")] * 5
    return proof


class TestRefused:
    async def test_a_signature_of_somebody_else_and_nothing_is_kept(
        self, gateway: Gateway, gateway_database: "DatabaseUrls"
    ) -> None:
        data = a_file()
        forged = gateway.sign(sha256(data), BUS_COLLECTOR)
        assert (await refusal(gateway.send(data, signature=forged))).reason == "SIGNATURE_WRONG"
        assert (await refusal(gateway.send(data, signature=b"\x30" * 70))).reason == "SIGNATURE_WRONG"
        assert await rows(gateway_database, "SELECT 1 FROM upload") == []

    async def test_chunks_without_a_start_and_an_empty_stream(self, gateway: Gateway) -> None:
        stub = gateway.stub(METRO_COLLECTOR)
        assert (await refusal(stub.UploadBatch(iter([])))).facts == {"expected": "start", "found": "end"}
        chunk = a_chunk_each(chunks_of(a_file(), KIB))[0]
        assert (await refusal(stub.UploadBatch(iter([chunk])))).facts == {"expected": "start", "found": "chunk"}

    @pytest.mark.parametrize(
        ("order", "expected", "found"),
        [
            ([1], "0", "1024"),
            ([0, 2], "1024", "2048"),
            ([0, 1, 1], "2048", "1024"),
            ([0, None], "chunk", "start"),
        ],
    )
    async def test_a_hole_a_step_back_and_a_second_start(
        self, gateway: Gateway, order: list[int | None], expected: str, found: str
    ) -> None:
        data = a_file(100)
        start = gateway.start(data, METRO_COLLECTOR)
        chunks = a_chunk_each(chunks_of(data, KIB))
        messages = [start, *(start if place is None else chunks[place] for place in order)]
        refused = await refusal(gateway.stub(METRO_COLLECTOR).UploadBatch(iter(messages)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_ORDER")
        assert refused.facts == {"expected": expected, "found": found}
        # What came in good order is there for the next attempt.
        kept = KIB * len([place for number, place in enumerate(order) if place == number])
        assert (await gateway.send(data, offset=kept)).state == pb.UPLOAD_STATE_STORED

    async def test_more_bytes_than_were_announced(self, gateway: Gateway) -> None:
        data = a_file()
        refused = await refusal(gateway.send(data, size_bytes=len(data) - 1))
        assert (refused.reason, refused.facts["found"]) == ("UPLOAD_ORDER", str(len(data)))

    async def test_a_flipped_bit_in_a_chunk_keeps_what_came_before(self, gateway: Gateway) -> None:
        data = a_file(100)
        messages = [gateway.start(data, METRO_COLLECTOR), *a_chunk_each(chunks_of(data, KIB))]
        messages[4].chunk.data = bytes([messages[4].chunk.data[0] ^ 1]) + messages[4].chunk.data[1:]
        refused = await refusal(gateway.stub(METRO_COLLECTOR).UploadBatch(iter(messages)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.DATA_LOSS, "CHUNK_CHECKSUM")
        assert refused.facts == {"offset": "3072"}
        assert (await stored(gateway, data)).received_bytes == 3072
        assert (await gateway.send(data, offset=3072)).state == pb.UPLOAD_STATE_STORED

    async def test_a_file_of_another_digest_is_removed_and_remembered(
        self, gateway: Gateway, gateway_database: "DatabaseUrls"
    ) -> None:
        data, other = a_file(), a_file(batch_number=2)
        refused = await refusal(gateway.send(data, sha256=sha256(other)))
        assert (refused.code, refused.reason) == (grpc.StatusCode.DATA_LOSS, "UPLOAD_DIGEST")
        assert await rows(gateway_database, "SELECT 1 FROM upload UNION ALL SELECT 1 FROM upload_part") == []
        (row,) = await rows(gateway_database, "SELECT participant, sender, reason FROM refused_upload")
        assert tuple(row) == ("metro", METRO_COLLECTOR, "UPLOAD_DIGEST")

    @pytest.mark.parametrize(
        ("damage", "code"),
        [
            (lambda data: b"X" + data[1:], "10"),
            (lambda data: data[:-128], "10"),
            (lambda data: data[:128] + data[256:], "40"),
            (lambda data: data[:300] + bytes([data[300] ^ 1]) + data[301:], "42"),
            (lambda data: b"\0" * 5000, "10"),
        ],
    )
    async def test_a_file_that_is_no_batch_file_says_how(
        self, running: Running, gateway_database: "DatabaseUrls", damage: Any, code: str
    ) -> None:
        data = damage(a_file(50))
        # Once looked at in memory, once out of the database.
        for group_bytes in (4 * KIB * KIB, KIB):
            async with running(upload_group_bytes=group_bytes) as gateway:
                refused = await refusal(gateway.send(data, chunk_bytes=KIB))
                assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "UPLOAD_MALFORMED")
                assert refused.facts["file_code"] == code
                assert refused.facts["detail"]
                assert (await refusal(stored(gateway, data))).reason == "UPLOAD_UNKNOWN"
        kept = await rows(gateway_database, "SELECT file_code FROM refused_upload")
        assert [row.file_code for row in kept] == [code, code]
        assert await rows(gateway_database, "SELECT 1 FROM upload_part") == []

    async def test_a_file_or_chunk_above_the_limit(self, running: Running) -> None:
        data = a_file(1000)
        async with running(upload_bytes_max=100_000, chunk_bytes_max=2 * KIB) as gateway:
            refused = await refusal(gateway.send(data))
            assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "UPLOAD_TOO_LARGE")
            assert refused.facts == {"size_bytes": str(len(data)), "limit_bytes": "100000"}
            assert (await refusal(gateway.send(a_file(100), chunk_bytes=4 * KIB))).reason == "LIMIT_REACHED"

    async def test_a_participant_may_not_upload(self, gateway: Gateway) -> None:
        assert (await refusal(gateway.send(a_file(), "citycard://participant/metro"))).reason == "ROLE_NOT_ALLOWED"


class TestResumed:
    async def test_a_truncated_stream_goes_on_where_it_ended(self, gateway: Gateway) -> None:
        data = a_file(1000)
        refused = await refusal(gateway.send(data, upto=50_000))
        assert (refused.code, refused.reason) == (grpc.StatusCode.DATA_LOSS, "UPLOAD_TRUNCATED")
        assert refused.facts == {"received_bytes": "50000", "size_bytes": str(len(data))}
        upload = await stored(gateway, data)
        assert (upload.state, upload.received_bytes) == (pb.UPLOAD_STATE_RECEIVING, 50_000)
        # Nobody reads what is not acknowledged.
        assert (await refusal(read_back_call(gateway, data))).reason == "UPLOAD_UNKNOWN"
        receipt = await gateway.send(data, offset=50_000)
        assert (receipt.state, receipt.received_bytes) == (pb.UPLOAD_STATE_STORED, len(data))
        assert await read_back(gateway, data) == data
        await proven(gateway)

    async def test_one_that_begins_anew_instead_is_welcome(self, running: Running) -> None:
        data = a_file(1000)
        for group_bytes in (4 * KIB * KIB, 16 * KIB):
            async with running(upload_group_bytes=group_bytes) as gateway:
                data = a_file(1000, batch_number=group_bytes % 999_983)
                await refusal(gateway.send(data, upto=50_000, chunk_bytes=1000))
                assert (await gateway.send(data, chunk_bytes=1000)).state == pb.UPLOAD_STATE_STORED
                assert await read_back(gateway, data) == data
                await proven(gateway)

    async def test_all_bytes_there_and_no_answer_needs_only_the_start(self, running: Running) -> None:
        data = a_file(100)
        async with running(upload_group_bytes=1) as gateway:
            await refusal(gateway.send(data, upto=len(data) - 1, chunk_bytes=1000))
            await refusal(gateway.send(data, offset=len(data) - 1, size_bytes=len(data) + 1))
        async with running() as gateway:
            await refusal(gateway.send(data, upto=len(data) - 128, chunk_bytes=1000))
            assert (await gateway.send(data, offset=len(data) - 128)).state == pb.UPLOAD_STATE_STORED
            receipt = await gateway.send(data, upto=0)
            assert receipt.already_stored

    async def test_a_line_that_breaks_in_mid_stream_loses_nothing_in_order(self, gateway: Gateway) -> None:
        data = a_file(2000)
        chunks = a_chunk_each(chunks_of(data, 10_000))
        sent = asyncio.Event()

        async def messages() -> AsyncIterator[Any]:
            yield gateway.start(data, METRO_COLLECTOR)
            for chunk in chunks[:7]:
                yield chunk
            sent.set()
            await asyncio.sleep(60)

        call = gateway.stub(METRO_COLLECTOR).UploadBatch(messages())
        await sent.wait()
        await asyncio.sleep(0.3)
        call.cancel()

        async def kept() -> bool:
            try:
                return bool((await stored(gateway, data)).received_bytes == 70_000)
            except grpc.aio.AioRpcError:
                return False

        await until(kept)
        assert (await gateway.send(data, offset=70_000)).state == pb.UPLOAD_STATE_STORED
        assert await read_back(gateway, data) == data

    async def test_a_gateway_that_stops_in_mid_stream_goes_on_after_its_return(self, running: Running) -> None:
        data = a_file(2000)
        chunks = a_chunk_each(chunks_of(data, 10_000))
        async with running(drain_timeout_s=0.2, upload_group_bytes=30_000) as gateway:
            sent = asyncio.Event()

            async def messages() -> AsyncIterator[Any]:
                yield gateway.start(data, METRO_COLLECTOR)
                for chunk in chunks[:8]:
                    yield chunk
                sent.set()
                await asyncio.sleep(60)

            call = asyncio.ensure_future(gateway.stub(METRO_COLLECTOR).UploadBatch(messages()))
            await sent.wait()
            await asyncio.sleep(0.3)
            await gateway.server.chassis.stop()
            with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
                await call
        async with running() as gateway:
            upload = await stored(gateway, data)
            # Whole groups are certain; the rest only if there was time for it.
            assert upload.received_bytes in (60_000, 80_000)
            receipt = await gateway.send(data, offset=upload.received_bytes)
            assert receipt.state == pb.UPLOAD_STATE_STORED
            assert await read_back(gateway, data) == data
            await proven(gateway)

    async def test_a_stream_gone_silent_is_ended_and_its_bytes_kept(self, running: Running) -> None:
        data = a_file(100)

        async with running(upload_idle_timeout_s=0.3) as gateway:

            async def messages() -> AsyncIterator[Any]:
                yield gateway.start(data, METRO_COLLECTOR)
                yield a_chunk_each(chunks_of(data, 5000))[0]
                await asyncio.sleep(60)

            refused = await refusal(gateway.stub(METRO_COLLECTOR).UploadBatch(messages()))
            assert (refused.reason, refused.facts["received_bytes"]) == ("UPLOAD_TRUNCATED", "5000")


async def read_back_call(gateway: Gateway, data: bytes) -> None:
    async for _ in gateway.stub().ReadUpload(service_pb.ReadUploadRequest(name=name_of(data))):
        pass


class TestStored:
    async def test_the_receipt_says_what_was_stored(self, gateway: Gateway) -> None:
        heard = await gateway.js.subscribe("citycard.terminal_gw.v1.UploadStored")
        data = a_file(10, batch_number=77, amount_fen=250)
        receipt = await gateway.send(data)
        assert receipt.name == name_of(data)
        assert (receipt.sequence, receipt.batch_number, receipt.record_count, receipt.total_fen) == (1, 77, 10, 2500)
        assert receipt.sender_institution == "11139901FFFFFFFF"
        assert (receipt.sender, receipt.participant) == (METRO_COLLECTOR, "participants/metro")
        assert (receipt.carrier, receipt.already_stored) == (pb.CARRIER_COLLECTOR, False)
        event = events_pb2.UploadStored.FromString((await heard.next_msg(timeout=10)).data)
        assert event.upload == receipt

    async def test_the_same_file_again_gets_the_first_receipt_whatever_its_name(self, gateway: Gateway) -> None:
        data = a_file(3000)
        first = await gateway.send(data)
        again = await gateway.send(data, file_name="other.ykt", chunk_bytes=KIB)
        assert again.already_stored
        again.already_stored = False
        assert again == first
        assert (await proven(gateway)).stored_count == 1

    async def test_a_name_that_no_database_takes_harms_nobody(self, gateway: Gateway) -> None:
        refused = await refusal(gateway.send(a_file(), file_name="a\0b.ykt"))
        assert (refused.reason, refused.violations[0].field) == ("REQUEST_MALFORMED", "start.file_name")
        receipt = await gateway.send(a_file(), file_name="ab\n.ykt")
        assert (receipt.state, receipt.file_name) == (pb.UPLOAD_STATE_STORED, "ab.ykt")

    async def test_another_participant_cannot_take_the_file_hostage(self, gateway: Gateway) -> None:
        data = a_file()
        await refusal(gateway.send(data, BUS_COLLECTOR, upto=500))
        mine = await gateway.send(data)
        theirs = await gateway.send(data, BUS_COLLECTOR)
        assert [one.already_stored for one in (mine, theirs)] == [False, False]
        assert theirs.name == name_of(data, "bus")
        assert {mine.sequence, theirs.sequence} == {1, 2}
        seen = gateway.stub("citycard://participant/bus")
        assert (
            await refusal(seen.GetUpload(service_pb.GetUploadRequest(name=name_of(data))))
        ).reason == "UPLOAD_UNKNOWN"
        page = await seen.ListUploads(service_pb.ListUploadsRequest())
        assert [upload.name for upload in page.uploads] == [name_of(data, "bus")]

    async def test_two_streams_of_the_same_file_at_once_store_it_once(self, running: Running) -> None:
        data = a_file(4000)
        async with running(upload_group_bytes=20_000) as gateway:

            async def slowly(chunk_bytes: int, pause_s: float) -> AsyncIterator[Any]:
                yield gateway.start(data, METRO_COLLECTOR)
                for chunk in a_chunk_each(chunks_of(data, chunk_bytes)):
                    await asyncio.sleep(pause_s)
                    yield chunk

            stub = gateway.stub(METRO_COLLECTOR)
            receipts = await asyncio.gather(
                stub.UploadBatch(slowly(7_001, 0.004)),
                stub.UploadBatch(slowly(9_973, 0.005)),
                stub.UploadBatch(slowly(64_000, 0.02)),
            )
            assert {receipt.sequence for receipt in receipts} == {1}
            assert sorted(receipt.already_stored for receipt in receipts) == [False, True, True]
            assert await read_back(gateway, data) == data
            assert (await proven(gateway)).stored_count == 1

    async def test_a_wrong_half_of_ones_own_does_not_stop_the_right_file(self, running: Running) -> None:
        data, wrong = a_file(1000), a_file(1000, batch_number=2)
        async with running() as gateway:
            await refusal(gateway.send(wrong, upto=64_000, sha256=sha256(data)))
            # Going on behind bytes that are not those of the file: found at the end, removed.
            assert (await refusal(gateway.send(data, offset=64_000))).reason == "UPLOAD_DIGEST"
            assert (await gateway.send(data)).state == pb.UPLOAD_STATE_STORED
            assert await read_back(gateway, data) == data

    async def test_many_files_at_once_get_positions_without_holes(self, gateway: Gateway) -> None:
        files = [a_file(20, batch_number=number + 1) for number in range(40)]
        await asyncio.gather(*(gateway.send(data) for data in files))
        pages, token = [], ""
        while True:
            page = await gateway.stub().ListUploads(service_pb.ListUploadsRequest(page_size=15, page_token=token))
            pages += page.uploads
            token = page.next_page_token
            if not token:
                break
        assert [upload.sequence for upload in pages] == list(range(1, 41))
        times = [upload.store_time.ToNanoseconds() for upload in pages]
        assert times == sorted(times)
        proof = await proven(gateway)
        assert (proof.stored_count, proof.record_count, proof.total_fen) == (40, 800, 160_000)
        later = await gateway.stub().ListUploads(service_pb.ListUploadsRequest(sequence_min=39))
        assert [upload.sequence for upload in later.uploads] == [39, 40]

    async def test_a_large_file_is_read_in_parts_from_any_offset(self, gateway: Gateway) -> None:
        data = a_file(60_000)
        began = time.perf_counter()
        await gateway.send(data, chunk_bytes=KIB * KIB)
        assert time.perf_counter() - began < 10
        assert await read_back(gateway, data) == data
        assert await read_back(gateway, data, offset=5_000_001) == data[5_000_001:]
        assert await read_back(gateway, data, offset=len(data)) == b""

    async def test_a_proof_finds_a_changed_byte_a_lost_part_and_a_hole(
        self, gateway: Gateway, gateway_database: "DatabaseUrls"
    ) -> None:
        for number in range(3):
            await gateway.send(a_file(20, batch_number=number + 1))

        async def broken() -> list[int]:
            proof = await gateway.stub().Prove(service_pb.ProveRequest())
            return [line.broken_count for line in proof.lines]

        assert await broken() == [0] * 5
        await rows(gateway_database, "UPDATE upload_part SET data = set_byte(data, 300, 1) WHERE upload_id = 1")
        assert await broken() == [1, 0, 0, 0, 0]
        await rows(gateway_database, "DELETE FROM upload_part WHERE upload_id = 2")
        assert await broken() == [2, 1, 0, 0, 0]
        await rows(gateway_database, "UPDATE upload SET total_fen = 1 WHERE id = 3")
        assert await broken() == [2, 2, 0, 0, 0]
        await rows(gateway_database, "DELETE FROM upload WHERE id = 3")
        assert await broken() == [2, 1, 1, 0, 1]

    async def test_streams_above_the_limit_are_turned_away_and_others_go_on(self, running: Running) -> None:
        data = a_file(100)
        async with running(upload_streams_max=1) as gateway:
            waiting, go_on = asyncio.Event(), asyncio.Event()

            async def slowly() -> AsyncIterator[Any]:
                yield gateway.start(data, METRO_COLLECTOR)
                waiting.set()
                await go_on.wait()
                for chunk in a_chunk_each(chunks_of(data, 5000)):
                    yield chunk

            call = asyncio.ensure_future(gateway.stub(METRO_COLLECTOR).UploadBatch(slowly()))
            await waiting.wait()
            await asyncio.sleep(0.2)
            assert (await refusal(gateway.send(a_file(5)))).facts == {"limit": "upload_streams"}
            go_on.set()
            assert (await call).state == pb.UPLOAD_STATE_STORED
            assert (await gateway.send(a_file(5))).state == pb.UPLOAD_STATE_STORED


async def test_abandoned_uploads_are_removed_and_stored_ones_stay(
    running: Running, gateway_database: "DatabaseUrls"
) -> None:
    async with running() as gateway:
        await gateway.send(a_file())
        await refusal(gateway.send(a_file(100, batch_number=2), upto=3000))
    await rows(gateway_database, "UPDATE upload SET touch_time = touch_time - interval '8 days'")
    async with running(housekeeping_s=0.1) as gateway:

        async def gone() -> bool:
            return len(await rows(gateway_database, "SELECT 1 FROM upload")) == 1

        await until(gone)
        assert (await proven(gateway)).stored_count == 1


async def test_only_those_who_may_read_uploads(gateway: Gateway) -> None:
    data = a_file()
    await gateway.send(data)
    request = service_pb.ReadUploadRequest(name=name_of(data))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in gateway.stub("citycard://participant/metro").ReadUpload(request):
            pass
    assert error_info(refused.value).reason == "ROLE_NOT_ALLOWED"
    assert await read_back(gateway, data) == data
