"""The stream of an upload over a fake database: order, limits, memory, resuming."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.errors import LimitReached
from libs.testkit.clock import FakeClock
from services.terminal_gw.application.store_upload import StoreUpload
from services.terminal_gw.application.upload_batch import Chunk, UploadBatch, UploadLimits
from services.terminal_gw.domain import errors
from services.terminal_gw.domain.upload import Start, Upload, UploadState
from tests.unit.terminal_gw.fakes import BAD, FakeDatabase, FakeSignatures, FakeUploads, a_start
from tests.unit.terminal_gw.files import a_file, chunks_of

LIMITS = UploadLimits(
    file_bytes_max=1_000_000,
    chunk_bytes_max=100_000,
    streams_max=10,
    group_bytes=4_000,
    buffer_bytes_max=100_000,
    flush_s=100.0,
    idle_timeout_s=5.0,
)


class Room:
    """Uploads over a fake database."""

    def __init__(self, **limits: Any) -> None:
        self.database = FakeDatabase()
        self.now_s = 0.0
        store = StoreUpload(self.database, FakeClock(), finishing_max=1)
        self.upload = UploadBatch(store, FakeSignatures(), replace(LIMITS, **limits), lambda: self.now_s)

    async def send(self, *messages: Start | Chunk) -> Upload:
        async def stream() -> AsyncIterator[Start | Chunk]:
            for message in messages:
                yield message

        return await self.upload(stream())

    def received(self) -> list[int]:
        return [one.received_bytes for one in self.database.state.uploads.values()]


def pieces(data: bytes, chunk_bytes: int = 1_000, offset: int = 0) -> Sequence[Chunk]:
    return [Chunk(*one) for one in chunks_of(data, chunk_bytes, offset)]


async def test_a_wrong_signature_is_found_before_any_byte_is_taken() -> None:
    room, data = Room(), a_file(100)
    with pytest.raises(errors.SignatureWrong):
        await room.send(a_start(data, signature=BAD), *pieces(data))
    assert room.database.state.uploads == {}


async def test_size_is_refused_before_the_signature_is_looked_at() -> None:
    with pytest.raises(errors.UploadTooLarge):
        await Room().send(a_start(b"", size_bytes=1_000_001, signature=BAD))


async def test_a_small_file_is_one_transaction() -> None:
    room, data = Room(group_bytes=100_000), a_file(100)
    upload = await room.send(a_start(data), *pieces(data))
    assert (upload.state, room.database.commits) == (UploadState.STORED, 1)
    assert room.database.state.told == [upload]


async def test_a_large_file_is_kept_group_by_group() -> None:
    room, data = Room(), a_file(100)
    upload = await room.send(a_start(data), *pieces(data))
    assert upload.state is UploadState.STORED
    assert room.database.commits == len(data) // 4_000 + 2
    assert list(room.database.state.data.values()) == [data]


async def test_bytes_do_not_wait_longer_than_they_may() -> None:
    room, data = Room(group_bytes=100_000, flush_s=2.0), a_file(100)

    async def stream() -> AsyncIterator[Start | Chunk]:
        yield a_start(data)
        for chunk in pieces(data)[:4]:
            yield chunk
            room.now_s += 1.0
        assert room.received() == [4_000]

    with pytest.raises(errors.UploadTruncated):
        await room.upload(stream())


async def test_all_streams_together_hold_no_more_than_they_may() -> None:
    room = Room(group_bytes=1_000_000, buffer_bytes_max=6_000)
    files = [a_file(100, batch_number=number + 1) for number in range(5)]
    held: list[int] = []

    async def stream(data: bytes) -> AsyncIterator[Start | Chunk]:
        yield a_start(data)
        for chunk in pieces(data):
            await asyncio.sleep(0)
            held.append(room.upload._buffers.byte_count)
            yield chunk

    await asyncio.gather(*(room.upload(stream(data)) for data in files))
    assert max(held) <= 7_000
    assert room.upload._buffers.byte_count == 0
    assert sorted(room.database.state.data.values()) == sorted(files)


async def test_memory_and_places_are_free_again_after_any_end() -> None:
    room, data = Room(streams_max=1), a_file(100)
    broken = replace(pieces(data)[2], crc32c=1)
    for messages, refusal in (
        ([], errors.UploadOrder),
        ([a_start(data, signature=BAD)], errors.SignatureWrong),
        ([a_start(data), *pieces(data)[:2], broken], errors.ChunkChecksum),
        ([a_start(data), *pieces(data)[:3]], errors.UploadTruncated),
        ([a_start(data), Chunk(0, bytes(100_001), 0)], errors.UploadOrder),
        ([a_start(a_file(1000)), Chunk(0, bytes(100_001), 0)], LimitReached),
    ):
        with pytest.raises(refusal):
            await room.send(*messages)
        assert (room.upload._stream_count, room.upload._buffers.byte_count) == (0, 0)
    assert (await room.send(a_start(data), *pieces(data))).state is UploadState.STORED


async def test_a_cancelled_stream_keeps_what_came() -> None:
    room, data = Room(), a_file(100)
    taken = asyncio.Event()

    async def stream() -> AsyncIterator[Start | Chunk]:
        yield a_start(data)
        for chunk in pieces(data)[:2]:
            yield chunk
        taken.set()
        await asyncio.sleep(100)

    task = asyncio.create_task(room.upload(stream()))
    await taken.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert room.received() == [2_000]


async def test_a_start_with_another_size_begins_anew() -> None:
    room, data = Room(), a_file(100)
    with pytest.raises(errors.UploadTruncated):
        await room.send(a_start(data, size_bytes=len(data) + 500), *pieces(data)[:6])
    with pytest.raises(errors.UploadOrder) as refused:
        await room.send(a_start(data), *pieces(data, offset=6_000))
    assert refused.value.facts == {"expected": "0", "found": "6000"}
    assert (await room.send(a_start(data), *pieces(data))).state is UploadState.STORED
    assert list(room.database.state.data.values()) == [data]


async def test_a_refused_file_leaves_nothing_but_a_note() -> None:
    room, data = Room(), b"\0" * 20_000
    with pytest.raises(errors.UploadMalformed):
        await room.send(a_start(data), *pieces(data))
    assert (room.database.state.uploads, room.database.state.data, room.database.state.told) == ({}, {}, [])
    assert [reason for _, reason in room.database.state.refused] == ["UPLOAD_MALFORMED"]


async def test_files_that_end_together_are_stored_together_and_each_gets_its_receipt() -> None:
    room = Room(group_bytes=1_000_000, streams_max=30)
    files = [a_file(10, batch_number=number % 20 + 1) for number in range(25)]
    uploads = await asyncio.gather(*(room.send(a_start(data), *pieces(data)) for data in files))
    assert sorted({upload.sequence for upload in uploads}) == list(range(1, 21))
    assert sum(upload.already_stored for upload in uploads) == 5
    assert all(upload.key == a_start(data).key for upload, data in zip(uploads, files, strict=True))
    assert room.database.commits < 10


async def test_one_that_cannot_be_stored_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(group_bytes=1_000_000)
    files = [a_file(10, batch_number=number + 1) for number in range(8)]
    store = FakeUploads.store

    async def poisoned(self: FakeUploads, upload_id: int, start: Start, *others: Any) -> Upload:
        if start.key == a_start(files[3]).key:
            raise ValueError("a defect of ours")
        return await store(self, upload_id, start, *others)

    monkeypatch.setattr(FakeUploads, "store", poisoned)
    sent = (room.send(a_start(data), *pieces(data)) for data in files)
    ends = await asyncio.gather(*sent, return_exceptions=True)
    assert [isinstance(end, ValueError) for end in ends] == [number == 3 for number in range(8)]
    assert sorted(end.sequence for end in ends if isinstance(end, Upload)) == list(range(1, 8))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9_000), st.integers(300, 5_000), st.integers(0, 40)), max_size=8))
async def test_any_history_of_broken_attempts_ends_in_the_same_file(attempts: list[tuple[int, int, int]]) -> None:
    """Attempts begin at or before what is there, in chunks of any size, and break off anywhere."""
    room, data = Room(), a_file(60)
    for back, chunk_bytes, count in attempts:
        there = max(room.received(), default=0)
        chunks = pieces(data, chunk_bytes, max(0, there - back))[:count]
        told = None
        try:
            await room.send(a_start(data), *chunks)
        except errors.UploadTruncated as truncated:
            told = int(truncated.facts["received_bytes"])
        assert max(room.received(), default=0) >= there
        assert told in (None, max(room.received(), default=0))
    there = max(room.received(), default=0)
    upload = await room.send(a_start(data), *pieces(data, 777, there))
    assert (upload.state, upload.sequence) == (UploadState.STORED, 1)
    assert list(room.database.state.data.values()) == [data]
    assert len(room.database.state.told) == 1
