"""A clearing database of its own, a gateway that keeps uploads in memory, and keys."""

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.soft import SoftKeyStore
from libs.purse.scheme import Scheme
from libs.records import otr
from libs.records.batch import FileType, decode_header, encode_batch
from libs.records.numbers import institution_bytes
from libs.runtime.migrate import upgrade
from libs.testkit.clock import FakeClock
from services.clearing.adapters.remembered import CardMemory
from services.clearing.adapters.spill import WindowSpill
from services.clearing.adapters.sql import ClearingUnitOfWork
from services.clearing.application.close_window import CloseWindow
from services.clearing.application.get_result import GetResult
from services.clearing.application.intake import Reconcile
from services.clearing.application.judge_files import JudgeFiles
from services.clearing.application.ports import WHOLE, Share, Upload
from services.clearing.application.post_set import PostSet
from services.clearing.application.prove import Prove
from services.clearing.application.rejudge import Rejudge
from services.clearing.domain.participant import Participant

CENTRE = "00009901FFFFFFFF"
ACQUIRER = "11139901FFFFFFFF"
ISSUER = "01019901FFFFFFFF"
TAC_MASTER = bytes.fromhex("13579BDF02468ACEFDB97531ECA86420")


@dataclass
class MemoryGateway:
    """Uploads in memory."""

    uploads: dict[tuple[str, bytes], tuple[Upload, bytes]] = field(default_factory=dict)

    def store(self, participant: str, content: bytes, stored_at: datetime) -> Upload:
        sha256 = hashlib.sha256(content).digest()
        if (participant, sha256) not in self.uploads:
            header = decode_header(content)
            upload = Upload(
                participant, sha256, len(self.uploads) + 1, len(content), stored_at,
                institution_bytes(header.sender).hex().upper(), header.batch_number, header.record_count,
                header.total_fen,
            )  # fmt: skip
            self.uploads[participant, sha256] = (upload, content)
        return self.uploads[participant, sha256][0]

    async def read(self, participant: str, sha256: bytes) -> bytes:
        return self.uploads[participant, sha256][1]

    async def uploads_from(self, sequence: int) -> AsyncIterator[Upload]:
        for upload, _ in list(self.uploads.values()):
            if upload.sequence >= sequence:
                yield upload


@dataclass
class Centre:
    """Everything that a test of the clearing service holds in its hand."""

    engine: AsyncEngine
    gateway: MemoryGateway
    clock: FakeClock
    keys: SoftKeyStore
    owner_url: str
    production: bool = True
    set_records_max: int = 20_000
    memory: CardMemory = field(default_factory=lambda: CardMemory(bits=10))

    def unit_of_work(self) -> ClearingUnitOfWork:
        return ClearingUnitOfWork(self.engine, self.clock, self.memory)

    @property
    def post_set(self) -> PostSet:
        return PostSet(self.keys, self.clock, production=self.production)

    @property
    def reconcile(self) -> Reconcile:
        return Reconcile(self.unit_of_work, self.gateway)

    def judge_files(self, share: Share = WHOLE) -> JudgeFiles:
        return JudgeFiles(
            self.unit_of_work,
            self.gateway,
            self.post_set,
            self.keys,
            self.clock,
            set_records_max=self.set_records_max,
            share=share,
        )

    async def judge_all(self) -> None:
        await self.reconcile()
        judge = self.judge_files()
        while (await judge()).files_seen:
            pass

    async def rejudge(self) -> int:
        return await Rejudge(self.unit_of_work, self.post_set, self.clock, set_records_max=self.set_records_max)()

    @property
    def close_window(self) -> CloseWindow:
        return CloseWindow(self.unit_of_work, self.clock, self.reconcile, centre_institution_id=CENTRE)

    @property
    def get_result(self) -> GetResult:
        return GetResult(self.unit_of_work, self.gateway, centre_institution_id=CENTRE)

    @property
    def prove(self) -> Prove:
        return Prove(self.unit_of_work, self.gateway, centre_institution_id=CENTRE, spill=WindowSpill, keys=self.keys)

    def wipe(self) -> None:
        """Forget everything; the owner may do what the service's own role may not."""
        self.gateway.uploads.clear()
        # Behind the back of the process, as no operator may: it would go on believing what it remembers.
        self.memory.clear()
        with psycopg.connect(self.owner_url, autocommit=True) as connection:
            kept = ("alembic_version", "list_state", "counter", "liability_rule")
            query = (
                "SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL(%s)"
            )
            (tables,) = connection.execute(query, (list(kept),)).fetchone() or ("",)
            connection.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
            connection.execute("UPDATE list_state SET version = 0")
            connection.execute(
                "UPDATE counter SET next = CASE WHEN name IN ('gap_file', 'card_registration') THEN 0 ELSE 1 END"
            )

    async def codes(self, upload: Upload) -> list[int]:
        async with self.unit_of_work() as uow:
            file = await uow.files.find(upload.participant, upload.sha256)
        assert file is not None
        return list(file.codes) if file.file_code == 0 else [-file.file_code]

    async def execute(self, statement: str, **values: Any) -> list[Any]:
        async with self.engine.begin() as connection:
            result = await connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []

    async def add_participant(self, name: str, institution: str, operator: int, **facts: Any) -> Participant:
        given: dict[str, Any] = {"cut_off": time(22), "fee_rate_bp": 50, "served": ()} | facts
        async with self.unit_of_work() as uow:
            stored = await uow.participants.add(
                Participant(
                    id=name, number=0, display_name_zh=name, display_name_en=name, institution_id=institution,
                    operator_number=operator, time_zone="Asia/Shanghai", created_at=self.clock.now(), **given,
                )
            )  # fmt: skip
            await uow.commit()
        return stored


def a_batch(records: otr.Records, number: int, *, sender: str = "11139901", at: datetime | None = None) -> bytes:
    return encode_batch(
        FileType.TX, records, sender=sender, receiver="00009901", batch_number=number,
        created=at or datetime(2025, 1, 2, 12, tzinfo=UTC), business_date=date(2025, 1, 2),
    )  # fmt: skip


@pytest.fixture
def keys() -> SoftKeyStore:
    handle = KeyHandle(Scheme.CJ, bytes.fromhex(ISSUER), KeyKind.TAC, 1, 0)
    return SoftKeyStore({handle: TAC_MASTER})


@pytest.fixture(scope="session")
def clearing_urls(database: Callable[[str], Any]) -> Any:
    urls = database("clearing")
    upgrade("clearing", urls.owner)
    return urls


@pytest.fixture
async def centre(clearing_urls: Any, keys: SoftKeyStore) -> AsyncIterator[Centre]:
    url = clearing_urls.application.replace("postgresql://", "postgresql+psycopg://")
    engine = create_async_engine(url)
    clock = FakeClock(datetime(2025, 1, 2, 13, tzinfo=UTC))
    made = Centre(engine, MemoryGateway(), clock, keys, clearing_urls.owner)
    made.wipe()
    try:
        yield made
    finally:
        await engine.dispose()
