"""Replay (重放): a business day again from its stored uploads, byte for byte; and what other fares would have made."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np

from libs.fares.columns import evaluate_columns
from libs.keystore.port import KeyStore
from libs.records import otr
from libs.records.batch import FileType, decode_batch
from services.clearing.application.fare_audit import checked_pack
from services.clearing.application.ports import Gateway, UnitOfWork
from services.clearing.application.prepare import digest_rows, verify
from services.clearing.application.statement_forms import name_of
from services.clearing.domain.apportion import apportion
from services.clearing.domain.errors import StatementUnknown
from services.clearing.domain.errors_settlement import ReplayDiffers
from services.clearing.domain.judgement import I64, PAID_CODES, Judgement, needs_tac, rows_of
from services.clearing.domain.late import rest_column
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import Position, PositionKey, positions_of
from services.clearing.domain.statement import FIRST_LINK, Statement, make_statement

_EPOCH = date(1970, 1, 1)
AUDITED_KINDS = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class WindowPart:
    """Records of a window that one upload brought, as its bytes say, with what was stored of them.

    Attributes:
        records: (n,) OTR from the upload.
        codes: (n,) result codes as stored.
        rest_fen: (n,) what of late records is not paid.
        wrong: How many differ from what is stored.
    """

    file: str
    records: otr.Records
    codes: I64
    rest_fen: I64
    wrong: int


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay found; no differences is proof.

    Attributes:
        differences: In words, one for each kind of thing that differs.
    """

    participant: str
    settlement_date: date
    file_count: int
    record_count: int
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WhatIfSum:
    """Fares of a window under another pack, by industry and card type; amounts in fen."""

    industry: int
    card_main_type: int
    record_count: int
    paid_fen: int
    would_fen: int


class ReplayDay:
    """Recomputes a closed window from the stored uploads; reads only."""

    def __init__(
        self, unit_of_work: Callable[[], UnitOfWork], gateway: Gateway, keys: KeyStore, *, centre_institution_id: str
    ) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway
        self._keys = keys
        self._centre = centre_institution_id

    async def __call__(self, participant: str, settlement_date: date) -> Replay:
        """Every record again from its bytes: digest, TAC, positions, shares, statement.

        Raises:
            StatementUnknown: The window is not closed.
            DependencyUnavailable: The gateway does not give an upload.
        """
        async with self._unit_of_work() as uow:
            await uow.proofs.snapshot()
            stands: Statement | None = await uow.windows.statement(participant, settlement_date)
            if stands is None:
                raise StatementUnknown(statement=name_of(participant, settlement_date))
            found: Participant = await uow.participants.find(participant)
            rules = await uow.apportionment.rules()
            ids = {one.number: one.id for one in await uow.participants.all()}
            sums: dict[PositionKey, list[int]] = {}
            wrong = forged = files = records = shared = 0
            async for part in parts_of(uow, self._gateway, found, settlement_date):
                files += 1
                records += len(part.records)
                wrong += part.wrong
                # A grey record that was decided has no TAC of its own: a later one vouched for it.
                wanted = needs_tac(part.records)
                _, right = await asyncio.to_thread(verify, self._keys, part.records, wanted)
                forged += int((wanted & ~right).sum())
                every = np.ones(len(part.records), np.bool_)
                judgement = Judgement(part.codes.astype(np.uint8), every, ~every)
                owner = np.full(len(part.records), found.number, np.int64)
                days = np.full(len(part.records), (settlement_date - _EPOCH).days, np.int64)
                for one in positions_of(part.records, judgement, owner, days, part.rest_fen):
                    of_key = sums.setdefault(one.key, [0, 0, 0])
                    for place, value in enumerate((one.record_count, one.amount_fen, one.list_price_fen)):
                        of_key[place] += value
                made = apportion(part.records, judgement, owner, days, part.rest_fen, rules, ids, every)
                shared += sum(one.amount_fen for one in made.shares if one.party != found.number)
            fee_rate_bp, previous = await uow.signatures.context(found.number, settlement_date, stands.number)
            again = make_statement(
                replace(found, fee_rate_bp=fee_rate_bp),
                settlement_date,
                [Position(key, *values) for key, values in sums.items()],
                number=stands.number,
                centre=self._centre,
                records_digest=await uow.windows.records_digest(found.number, settlement_date),
                previous_link=previous or FIRST_LINK,
                terms=await uow.windows.terms(found.number, settlement_date),
            )
            stored = sum(
                share.amount_fen
                for owner_id, party_id, share in await uow.apportionment.shares(participant, settlement_date)
                if owner_id == participant != party_id
            )
        differences = [
            text
            for differs, text in (
                (wrong, f"{wrong} records differ from their uploads"),
                (forged, f"{forged} records have a wrong TAC"),
                (shared != stored, f"shares of others: {shared} fen replayed, {stored} fen stored"),
                (again != stands, "the statement differs from the stored one"),
            )
            if differs
        ]
        return Replay(participant, settlement_date, files, records, tuple(differences))

    async def must_agree(self, participant: str, settlement_date: date) -> str:
        """The same as the gate of a run: what was replayed, in words.

        Raises:
            ReplayDiffers: Naming the first difference.
        """
        replay = await self(participant, settlement_date)
        if replay.differences:
            raise ReplayDiffers(statement=name_of(participant, settlement_date), difference=replay.differences[0])
        return f"{replay.record_count} records of {replay.file_count} uploads"


class WhatIf:
    """Fares of a window under another fare pack; reads only."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], gateway: Gateway) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway

    async def __call__(self, participant: str, settlement_date: date, document: Mapping[str, Any]) -> list[WhatIfSum]:
        """What the paid rides would have cost, by industry and card type.

        Raises:
            FarePackInvalid, StatementUnknown: In this order.
        """
        pack = checked_pack(document)
        sums: dict[tuple[int, int], list[int]] = {}
        async with self._unit_of_work() as uow:
            await uow.proofs.snapshot()
            if await uow.windows.statement(participant, settlement_date) is None:
                raise StatementUnknown(statement=name_of(participant, settlement_date))
            found = await uow.participants.find(participant)
            async for part in parts_of(uow, self._gateway, found, settlement_date):
                rides = np.isin(part.records["kind"], AUDITED_KINDS) & np.isin(part.codes, PAID_CODES)
                some = rows_of(part.records, np.flatnonzero(rides))
                marks = (some["flags"] & otr.Flag.TRANSFER_DISCOUNT) != 0
                would = evaluate_columns(
                    pack, some["list_price_fen"], some["card_main_type"], marks, some["industry"]
                ).amount_fen
                groups = some["industry"].astype(np.int64) * 256 + some["card_main_type"]
                for group in np.unique(groups).tolist():
                    mine = groups == group
                    total = sums.setdefault(divmod(group, 256), [0, 0, 0])
                    total[0] += int(mine.sum())
                    total[1] += int(some["amount_fen"][mine].astype(np.int64).sum())
                    total[2] += int(would[mine].sum())
        return [WhatIfSum(industry, main, *total) for (industry, main), total in sorted(sums.items())]


async def parts_of(
    uow: UnitOfWork, gateway: Gateway, participant: Participant, settlement_date: date
) -> AsyncIterator[WindowPart]:
    """The records of a window, upload by upload: one upload is in memory at a time."""
    files = await uow.replays.files_of(participant.number, settlement_date)
    rests = await uow.suspense.rests(files[0].id, files[-1].id) if files else {}
    for file in files:
        content = await gateway.read(file.participant, file.sha256)
        batch = await asyncio.to_thread(decode_batch, content, FileType.TX)
        rows = await uow.proofs.records_of(file.id, file.id)
        day = (settlement_date - _EPOCH) // timedelta(days=1)
        rows = rows[(rows["participant"] == participant.number) & (rows["settlement_day"] == day)]
        indexes = rows["file_index"].astype(np.int64)
        records = rows_of(batch.records, indexes)
        digests = await asyncio.to_thread(digest_rows, records)
        same = (
            (digests == rows["digest"])
            & (records["amount_fen"] == rows["amount_fen"])
            & (records["list_price_fen"] == rows["list_price_fen"])
        )
        yield WindowPart(
            file.name, records, rows["code"].astype(np.int64), rest_column(indexes, rests.get(file.id, {})),
            int((~same).sum()),
        )  # fmt: skip
