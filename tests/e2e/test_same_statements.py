"""However the files come, whatever falls on the way: the same statements, byte for byte.

On the real records where they lie beside the project, else on a synthetic day.
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from citycard.clearing.v1 import clearing_pb2, clearing_service_pb2
from citycard.clearing.v1.clearing_service_pb2_grpc import ClearingServiceStub
from citycard.terminal_gw.v1 import terminal_gw_pb2
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as gateway_pb2
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from city.demo import registration
from city.demo.collection import (
    Watchers,
    deliver,
    list_files,
    open_collector,
    private_key,
    spool_folder,
    wait_until_folded,
    wait_until_judged,
)
from city.demo.platform import Callers, DemoPlatform
from city.demo.run import prove_platform
from city.demo.settlement import Settlement, close_windows
from city.prove import Proof
from city.simulation.operators import OPERATORS, Operator
from city.simulation.play import PlayedDay
from edge.collector.spool import Spool
from edge.collector.upload import Uploader
from libs.clock import FixedClock
from libs.records.batch import decode_batch
from libs.records.codes import Kind, ResultCode
from libs.records.crc32c import crc32c
from libs.records.otr import Flag
from libs.runtime.refusals import error_info
from tests.e2e.conftest import DATA_BESIDE, real_data

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]

_CHUNK = 4 * 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """What stands after a day."""

    settlement: Settlement
    proof: Proof
    records: list[clearing_pb2.Record]
    uploads: list[bytes]


@pytest.fixture(scope="module")
def day(request: pytest.FixtureRequest) -> PlayedDay:
    played: PlayedDay = request.getfixturevalue("real_day" if real_data() else "small_day")
    return played


@pytest.fixture(scope="module")
def straight(day: PlayedDay, new_root: Callable[[str], Path]) -> Ended:
    """The day as it should be."""
    return asyncio.run(_straight(day, new_root("straight")))


@pytest.fixture(scope="module")
def rough(day: PlayedDay, new_root: Callable[[str], Path]) -> "Rough":
    """The same day with everything that may happen on the way."""
    return asyncio.run(_rough(day, new_root("rough")))


async def _straight(day: PlayedDay, root: Path) -> Ended:
    plan = day.plan
    platform = DemoPlatform(root, clock=plan.collected_at)
    async with platform, Callers(platform) as callers:
        await registration.register_day(callers, plan)
        operators = [OPERATORS[place] for place in plan.operators]
        clock = FixedClock(plan.collected_at)
        sent = await deliver(
            callers,
            {operator: open_collector(platform, callers, operator, clock) for operator in operators},
            {OPERATORS[place]: day.records_of(place) for place in plan.operators},
            Watchers(),
        )
        settlement = await close_windows(callers, operators, plan.settlement_date)
        proof = await prove_platform(platform)
        records = [record for operator in operators async for record in _records(callers, operator)]
        uploads = [await _read(callers, receipt.name) for receipt in sent.receipts]
    return Ended(settlement, proof, records, uploads)


async def _records(callers: Callers, operator: Operator) -> AsyncIterator[clearing_pb2.Record]:
    clearing = callers.stub(ClearingServiceStub, "clearing")
    token = ""
    while True:
        page = await clearing.ListRecords(
            clearing_service_pb2.ListRecordsRequest(participant=operator.participant, page_size=1000, page_token=token)
        )
        for record in page.records:
            yield record
        token = page.next_page_token
        if not token:
            return


async def _read(callers: Callers, name: str) -> bytes:
    gateway = callers.stub(TerminalGatewayServiceStub, "terminal_gw")
    parts = [part.data async for part in gateway.ReadUpload(gateway_pb2.ReadUploadRequest(name=name))]
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Rough:
    """What came of the rough day: refusals by what was wrong, receipts by what was repeated."""

    settlement: Settlement
    proof: Proof
    refusals: dict[str, str]
    repeated: terminal_gw_pb2.Upload
    renamed: terminal_gw_pb2.Upload
    judged_at_kill: int
    stored_count: int
    file_count: int


class _Depot:
    """One operator's hand at the gateway, without the care that the collector takes."""

    def __init__(self, platform: DemoPlatform, callers: Callers, operator: Operator) -> None:
        caller = f"collector/{operator.slug}/depot-1"
        self._key = private_key(platform, caller)
        self.gateway: Any = callers.stub(TerminalGatewayServiceStub, "terminal_gw", caller)
        self.uploader = Uploader(self.gateway, self._key, operator.slug)

    def start(self, content: bytes, digest: bytes | None = None) -> gateway_pb2.UploadBatchRequest:
        sha256 = digest or _sha256(content)
        start = gateway_pb2.UploadStart(
            sha256=sha256,
            size_bytes=len(content),
            file_name="rough.ykt",
            carrier=terminal_gw_pb2.CARRIER_COLLECTOR,
            signature=self._key.sign(sha256, ec.ECDSA(hashes.SHA256())),
        )
        return gateway_pb2.UploadBatchRequest(start=start)

    async def refused(self, *messages: gateway_pb2.UploadBatchRequest) -> str:
        """The reason for which the gateway refuses these messages."""

        async def stream() -> AsyncIterator[gateway_pb2.UploadBatchRequest]:
            for message in messages:
                yield message

        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.gateway.UploadBatch(stream(), timeout=30)
        return error_info(error.value).reason


def _sha256(content: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(content)
    return digest.finalize()


def _chunks(content: bytes, *, crc_of: bytes | None = None) -> list[gateway_pb2.UploadBatchRequest]:
    """The chunks of a file; with `crc_of` their checksums are those of other bytes."""
    summed = crc_of or content
    return [
        gateway_pb2.UploadBatchRequest(
            chunk=gateway_pb2.UploadChunk(
                offset=begin,
                data=content[begin : begin + _CHUNK],
                crc32c=crc32c(summed[begin : begin + _CHUNK]),
            )
        )
        for begin in range(0, len(content), _CHUNK)
    ]


async def _rough(day: PlayedDay, root: Path) -> Rough:
    plan = day.plan
    platform = DemoPlatform(root, clock=plan.collected_at)
    async with platform, Callers(platform) as callers:
        await registration.register_day(callers, plan)
        operators = [OPERATORS[place] for place in plan.operators]
        clock = FixedClock(plan.collected_at)
        files: list[tuple[Operator, bytes, str]] = []
        for place in plan.operators:
            operator = OPERATORS[place]
            # Other files than on the straight day: another size, so that no boundary is the same.
            open_collector(platform, callers, operator, clock, 700).pack(day.records_of(place))
            for outgoing in Spool(spool_folder(root, operator)).waiting():
                files.append((operator, outgoing.path.read_bytes(), outgoing.path.name))
        random.Random(99).shuffle(files)
        depots = {operator: _Depot(platform, callers, operator) for operator in operators}
        receipts: list[terminal_gw_pb2.Upload] = []

        first, content, name = files[0]
        depot = depots[first]
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 0x04
        cut = content[:-300]
        refusals = {
            "a flipped bit on the way": await depot.refused(
                depot.start(content), *_chunks(bytes(flipped), crc_of=content)
            ),
            "a flipped bit before the sender looked": await depot.refused(
                depot.start(bytes(flipped)), *_chunks(bytes(flipped))
            ),
            "the line broke": await depot.refused(depot.start(content), *_chunks(content)[:1]),
            "half a file": await depot.refused(depot.start(cut), *_chunks(cut)),
            "other bytes than announced": await depot.refused(
                depot.start(bytes(flipped), _sha256(content)), *_chunks(bytes(flipped))
            ),
        }

        half = len(files) // 2
        for operator, content, name in files[:half]:
            receipts.append(await depots[operator].uploader.send(content, name))
        # Half of the day is there and clearing is at work upon it.
        judged_at_kill = await _some_judged(callers)
        await platform.kill("clearing")
        for operator, content, name in files[half : half + 3]:
            receipts.append(await depots[operator].uploader.send(content, name))
        first, content, name = files[0]
        repeated = await depots[first].uploader.send(content, name)
        renamed = await depots[first].uploader.send(content, "TX_00000000_00000000_19990101_000001.ykt")
        restarting = asyncio.create_task(platform.start("clearing"))
        for operator, content, name in files[half + 3 :]:
            receipts.append(await depots[operator].uploader.send(content, name))
        await restarting
        await wait_until_judged(callers, receipts)
        await wait_until_folded(callers)
        settlement = await close_windows(callers, operators, plan.settlement_date)
        proof = await prove_platform(platform)
        return Rough(
            settlement,
            proof,
            refusals,
            repeated,
            renamed,
            judged_at_kill=judged_at_kill,
            stored_count=len({receipt.name for receipt in receipts}),
            file_count=len(await list_files(callers)),
        )


async def _some_judged(callers: Callers) -> int:
    """How many files are judged, as soon as there is one."""
    found = 0

    async def one() -> bool:
        nonlocal found
        found = sum(file.state == clearing_pb2.FILE_STATE_JUDGED for file in await list_files(callers))
        return found > 0

    await registration.wait_until(one, "the first verdicts", poll_s=0.02)
    return found


class TestRoughDay:
    def test_the_statements_are_the_same_byte_for_byte(self, straight: Ended, rough: Rough) -> None:
        assert len(straight.settlement.statements) == len(rough.settlement.statements)
        for (operator, expected), (_, found) in zip(
            straight.settlement.statements, rough.settlement.statements, strict=True
        ):
            assert found.st_file == expected.st_file, operator.slug
            assert found.csv_file == expected.csv_file, operator.slug
            assert found.records_digest == expected.records_digest, operator.slug
            assert found.chain_hash == expected.chain_hash, operator.slug
            assert found == expected, operator.slug

    def test_clearing_was_killed_in_the_middle_of_the_day(self, rough: Rough) -> None:
        assert 1 <= rough.judged_at_kill < rough.stored_count

    def test_damaged_files_are_refused_each_for_its_own_reason(self, rough: Rough) -> None:
        assert rough.refusals == {
            "a flipped bit on the way": "CHUNK_CHECKSUM",
            "a flipped bit before the sender looked": "UPLOAD_MALFORMED",
            "the line broke": "UPLOAD_TRUNCATED",
            "half a file": "UPLOAD_MALFORMED",
            "other bytes than announced": "UPLOAD_DIGEST",
        }

    def test_a_file_sent_twice_or_under_another_name_is_stored_once(self, rough: Rough) -> None:
        assert rough.repeated.already_stored
        assert rough.renamed.already_stored
        assert rough.renamed.file_name == rough.repeated.file_name
        assert rough.file_count == rough.stored_count

    def test_duplicates_are_the_same_on_both_days(self, straight: Ended, rough: Rough, day: PlayedDay) -> None:
        assert straight.settlement.duplicate_count == rough.settlement.duplicate_count == len(day.plan.sent_again)

    def test_both_days_are_proven(self, straight: Ended, rough: Rough) -> None:
        assert [line for line in (*straight.proof.lines, *rough.proof.lines) if line.broken] == []


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    path = real_data()
    assert path is not None, "only tests that are skipped without real records ask for this"
    totals: dict[str, Any] = json.loads(path.with_name("expected_totals.json").read_text(encoding="utf-8"))
    return totals


@pytest.mark.skipif(real_data() is None, reason=f"no real records: {DATA_BESIDE} is absent, CITYCARD_DATA is not set")
class TestRealRecords:
    def test_the_city_s_totals_are_those_of_the_oracle(self, straight: Ended, expected: dict[str, Any]) -> None:
        settlement = straight.settlement
        found = {
            "records_distinct": settlement.record_count,
            "gross_fen": settlement.list_price_fen,
            "net_fen": settlement.paid_fen,
            "discount_fen": settlement.discount_fen,
            "cards": len({record.card for record in straight.records}),
            "terminals": len({record.name.partition("-")[0] for record in straight.records}),
            "duplicate_rows": settlement.duplicate_count,
            "rows_in_file": settlement.record_count + settlement.duplicate_count,
        }
        assert found == {name: expected[name] for name in found}

    def test_every_figure_by_company_and_type_is_that_of_the_oracle(
        self, straight: Ended, expected: dict[str, Any]
    ) -> None:
        types = {Kind.ENTRY: "地铁入站", Kind.EXIT: "地铁出站", Kind.PURCHASE: "巴士"}
        companies = {operator.participant: operator.zh for operator in OPERATORS}
        groups: dict[tuple[str, str], list[clearing_pb2.Record]] = defaultdict(list)
        for record in straight.records:
            groups[companies[record.participant], types[Kind(record.kind)]].append(record)
        marked = self.transfers_marked(straight.uploads)
        found = [
            {
                "company_name": company,
                "deal_type": type_,
                "records": len(records),
                "gross_fen": sum(record.list_price_fen for record in records),
                "net_fen": sum(record.amount_fen for record in records),
                "transfer_marked": marked.get((company, type_), 0),
                "cards": len({record.card for record in records}),
                "terminals": len({record.name.partition("-")[0] for record in records}),
            }
            for (company, type_), records in groups.items()
        ]
        key = ("company_name", "deal_type")
        assert sorted(found, key=lambda row: [row[one] for one in key]) == sorted(
            expected["by_company_type"], key=lambda row: [row[one] for one in key]
        )

    def transfers_marked(self, uploads: list[bytes]) -> dict[tuple[str, str], int]:
        """Marked transfers of the distinct records, as they stand in the stored uploads."""
        records = np.concatenate([decode_batch(content).records for content in uploads])
        _, first = np.unique(np.ascontiguousarray(records).view("V128"), return_index=True)
        distinct = records[first]
        marked = distinct[(distinct["flags"] & Flag.TRANSFER_DISCOUNT) != 0]
        names = {operator.number: operator.zh for operator in OPERATORS}
        types = {Kind.EXIT: "地铁出站", Kind.PURCHASE: "巴士"}
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for operator, kind in zip(marked["operator"].tolist(), marked["kind"].tolist(), strict=True):
            counts[names[operator], types[Kind(kind)]] += 1
        return counts

    def test_no_record_is_anything_but_accepted(self, straight: Ended) -> None:
        assert {record.code for record in straight.records} <= {
            ResultCode.ACCEPTED,
            ResultCode.ACCEPTED_COUNTER_GAP,
            ResultCode.ACCEPTED_BALANCE_JUMP,
        }
