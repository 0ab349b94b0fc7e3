"""The collector against a gateway of paper that breaks in every way."""

import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from citycard.terminal_gw.v1 import terminal_gw_pb2 as gw
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from edge.collector.collector import Collector, Sender
from edge.collector.spool import Spool
from edge.collector.upload import Uploader, UploadRefused, UploadUnfinished
from libs.clock import CITY_TZ, FixedClock
from libs.records.batch import decode_batch
from libs.records.crc32c import crc32c
from libs.records.otr import Records, new_records, seal
from libs.runtime.refusals import DETAILS_KEY

NOON = datetime(2025, 9, 1, 12, tzinfo=CITY_TZ)


def failure(code: grpc.StatusCode, reason: str = "") -> grpc.aio.AioRpcError:
    trailers = grpc.aio.Metadata()
    if reason:
        detail = AnyMessage()
        detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="citycard.terminal_gw.v1"))
        status = status_pb2.Status(code=code.value[0], details=[detail])
        trailers = grpc.aio.Metadata((DETAILS_KEY, status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details=f"{code.name} {reason}")


class PaperGateway:
    """Takes uploads as the contract says; `breaks` gives, for each attempt, after how many chunks it fails and how."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey) -> None:
        self.public_key = public_key
        self.kept: dict[str, bytearray] = {}
        self.stored: dict[str, bytes] = {}
        self.breaks: list[tuple[int, grpc.aio.AioRpcError]] = []
        self.attempts = 0
        self.offsets: list[int] = []

    async def UploadBatch(
        self,
        messages: AsyncIterator[service.UploadBatchRequest],
        timeout: float,  # noqa: ASYNC109 (gRPC's own)
    ) -> gw.Upload:
        self.attempts += 1
        chunks_left, error = self.breaks.pop(0) if self.breaks else (-1, None)
        start = (await anext(messages)).start
        self.public_key.verify(start.signature, start.sha256, ec.ECDSA(hashes.SHA256()))
        digest = start.sha256.hex()
        if digest in self.stored:
            return gw.Upload(state=gw.UPLOAD_STATE_STORED, already_stored=True, file_name="first")
        kept = self.kept.setdefault(digest, bytearray())
        async for message in messages:
            if chunks_left == 0 and error is not None:
                raise error
            chunks_left -= 1
            assert message.chunk.crc32c == crc32c(message.chunk.data)
            assert message.chunk.offset == len(kept), "a resumed upload begins where the gateway stands"
            self.offsets.append(message.chunk.offset)
            kept += message.chunk.data
        if error is not None:
            raise error
        assert hashlib.sha256(kept).digest() == start.sha256
        self.stored[digest] = bytes(kept)
        return gw.Upload(state=gw.UPLOAD_STATE_STORED, size_bytes=len(kept))

    async def GetUpload(self, request: service.GetUploadRequest) -> gw.Upload:
        digest = request.name.rpartition("/")[2]
        assert request.name == f"participants/metro-1/uploads/{digest}"
        if digest in self.stored:
            return gw.Upload(state=gw.UPLOAD_STATE_STORED, already_stored=True)
        if digest not in self.kept:
            raise failure(grpc.StatusCode.NOT_FOUND, "UPLOAD_UNKNOWN")
        return gw.Upload(state=gw.UPLOAD_STATE_RECEIVING, received_bytes=len(self.kept[digest]))


class Depot:
    """An uploader with its gateway."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self.gateway = PaperGateway(key.public_key())
        self.pauses: list[float] = []
        stub: Any = self.gateway
        self.uploader = Uploader(stub, key, "metro-1", chunk_bytes=1000, attempts_max=4, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def collector(self, folder: Path, records_max: int = 2000) -> Collector:
        stub: Any = self.gateway
        sender = Sender("metro-1", "11015840", "00005840")
        return Collector(sender, Spool(folder), stub, self.uploader, FixedClock(NOON), records_max)


def some_records(count: int, first: int = 1) -> Records:
    records = new_records(count)
    records["device_seq"] = np.arange(first, first + count)
    records["amount_fen"] = 100
    return seal(records)


@pytest.fixture
def depot() -> Depot:
    return Depot()


class TestUploader:
    async def test_a_cut_line_is_resumed_where_the_gateway_stands(self, depot: Depot) -> None:
        depot.gateway.breaks = [(3, failure(grpc.StatusCode.UNAVAILABLE)), (2, failure(grpc.StatusCode.UNAVAILABLE))]
        content = bytes(range(256)) * 40
        receipt = await depot.uploader.send(content, "a.ykt")
        assert receipt.state == gw.UPLOAD_STATE_STORED
        assert depot.gateway.offsets == list(range(0, 10_240, 1000))
        assert len(depot.pauses) == 2

    async def test_a_lost_receipt_does_not_store_twice(self, depot: Depot) -> None:
        content = b"x" * 2500
        await depot.uploader.send(content, "a.ykt")
        depot.gateway.breaks = [(0, failure(grpc.StatusCode.UNAVAILABLE))]
        again = await depot.uploader.send(content, "another name.ykt")
        assert again.already_stored
        assert len(depot.gateway.stored) == 1

    async def test_damage_on_the_way_is_cured_by_sending_again(self, depot: Depot) -> None:
        depot.gateway.breaks = [(1, failure(grpc.StatusCode.DATA_LOSS, "CHUNK_CHECKSUM"))]
        assert (await depot.uploader.send(b"y" * 5000, "a.ykt")).state == gw.UPLOAD_STATE_STORED

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            (grpc.StatusCode.INVALID_ARGUMENT, "UPLOAD_MALFORMED"),
            (grpc.StatusCode.PERMISSION_DENIED, "SIGNATURE_WRONG"),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "UPLOAD_TOO_LARGE"),
        ],
    )
    async def test_a_final_no_is_not_tried_again(self, depot: Depot, code: grpc.StatusCode, reason: str) -> None:
        depot.gateway.breaks = [(0, failure(code, reason))]
        with pytest.raises(UploadRefused) as refused:
            await depot.uploader.send(b"z" * 100, "a.ykt")
        assert refused.value.facts["cause"] == reason
        assert depot.gateway.attempts == 1

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            (grpc.StatusCode.FAILED_PRECONDITION, "UPLOAD_ORDER"),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED"),
            (grpc.StatusCode.DEADLINE_EXCEEDED, ""),
        ],
    )
    async def test_a_busy_gateway_is_tried_again_after_a_pause(
        self, depot: Depot, code: grpc.StatusCode, reason: str
    ) -> None:
        depot.gateway.breaks = [(0, failure(code, reason))]
        await depot.uploader.send(b"z" * 100, "a.ykt")
        assert len(depot.pauses) == 1

    async def test_it_gives_up_after_its_attempts_and_says_what_was_last(self, depot: Depot) -> None:
        depot.gateway.breaks = [(0, failure(grpc.StatusCode.UNAVAILABLE))] * 10
        with pytest.raises(UploadUnfinished) as unfinished:
            await depot.uploader.send(b"z" * 100, "a.ykt")
        assert unfinished.value.facts["cause"] == "UNAVAILABLE"
        assert depot.gateway.attempts == 4
        assert depot.pauses == sorted(depot.pauses) or max(depot.pauses) < 2


class TestCollector:
    async def test_records_become_files_with_growing_numbers(self, depot: Depot, tmp_path: Path) -> None:
        collector = depot.collector(tmp_path, records_max=10)
        records = some_records(25)
        collector.pack(records)
        receipts = await collector.send_waiting()
        assert len(receipts) == 3
        batches = [decode_batch(content) for content in depot.gateway.stored.values()]
        assert [batch.header.batch_number for batch in batches] == [1, 2, 3]
        assert [batch.header.record_count for batch in batches] == [10, 10, 5]
        assert [batch.header.total_fen for batch in batches] == [1000, 1000, 500]
        assert {batch.header.sender for batch in batches} == {"11015840"}
        assert b"".join(batch.records.tobytes() for batch in batches) == records.tobytes()

    async def test_a_file_leaves_the_spool_with_its_receipt_only(self, depot: Depot, tmp_path: Path) -> None:
        collector = depot.collector(tmp_path)
        collector.pack(some_records(5))
        depot.gateway.breaks = [(0, failure(grpc.StatusCode.UNAVAILABLE))] * 4
        with pytest.raises(UploadUnfinished):
            await collector.send_waiting()
        assert len(list(Spool(tmp_path).waiting())) == 1
        # The collector was switched off; another process finds the file and sends it.
        await depot.collector(tmp_path).send_waiting()
        assert len(depot.gateway.stored) == 1
        assert not list(Spool(tmp_path).waiting())

    async def test_a_number_is_never_used_again_after_a_restart(self, depot: Depot, tmp_path: Path) -> None:
        depot.collector(tmp_path).pack(some_records(1))
        await depot.collector(tmp_path).send_waiting()
        depot.collector(tmp_path).pack(some_records(1, first=2))
        assert [one.number for one in Spool(tmp_path).waiting()] == [2]

    def test_a_crash_between_file_and_number_uses_no_number_twice(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path)
        spool.put("TX_11015840_00005840_20250901_000001.ykt", b"one")
        (tmp_path / "last-batch-number").unlink()
        assert Spool(tmp_path).next_number() == 2

    def test_half_a_file_is_never_seen(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path)
        (tmp_path / "outgoing" / ".TX_11015840_00005840_20250901_000001.ykt.new").write_bytes(b"half")
        assert not list(spool.waiting())
        assert spool.next_number() == 1


def test_the_pause_between_attempts_is_not_the_same_for_all() -> None:
    from edge.collector.upload import _pause_s

    pause: Callable[[int], float] = _pause_s
    assert len({pause(5) for _ in range(10)}) > 1
    assert all(0 < pause(attempt) <= 10 for attempt in range(1, 50))
