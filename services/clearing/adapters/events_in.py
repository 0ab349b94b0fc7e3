"""Events of the other services: registries are kept, uploads are noted, folded batches are ticked off."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Any

from citycard.account.v1 import events_pb2 as account
from citycard.blacklist.v1 import events_pb2 as blacklist
from citycard.card.v1 import events_pb2 as card
from citycard.common.v1 import types_pb2
from citycard.terminal_gw.v1 import events_pb2 as terminal_gw
from google.protobuf.message import Message

from libs.records.numbers import psam_bytes
from libs.runtime.consumer import Undigestible
from libs.runtime.events import EventMeta
from services.clearing.adapters.gateway import upload_of
from services.clearing.adapters.postings import local_day
from services.clearing.adapters.sql import ClearingUnitOfWork
from services.clearing.application.intake import NoteUpload
from services.clearing.application.messages import instant

Handler = Callable[[Any, EventMeta, ClearingUnitOfWork], Awaitable[None]]
_NUMBER = 10


def _day(value: types_pb2.Date) -> int:
    return local_day(date(value.year, value.month, value.day))


async def _cards_issued(event: card.CardsIssued, meta: EventMeta, uow: ClearingUnitOfWork) -> None:
    packed = event.card_numbers
    if len(packed) != _NUMBER * len(event.generations):
        raise Undigestible(f"{len(packed)} bytes of numbers for {len(event.generations)} cards")
    await uow.registries.add_cards(
        [packed[start : start + _NUMBER] for start in range(0, len(packed), _NUMBER)],
        event.generations,
        jt=event.scheme == "jt",
        issuer_id=event.issuer_id,
        issued_s=event.issue_time.seconds,
        start_day=_day(event.start_date),
        expiry_day=_day(event.expiry_date),
        openings_fen=event.opening_balances_fen,
    )


async def _load_confirmed(event: card.LoadConfirmed, meta: EventMeta, uow: ClearingUnitOfWork) -> None:
    await uow.registries.add_load(
        event.load,
        event.card_number,
        event.generation,
        jt=event.scheme == "jt",
        load_s=event.load_time.seconds,
        amount_fen=event.amount_fen,
    )


async def _terminals_registered(
    event: terminal_gw.TerminalsRegistered, meta: EventMeta, uow: ClearingUnitOfWork
) -> None:
    if not event.terminals:
        return
    await uow.registries.add_terminals(
        [
            (
                int(one.name.removeprefix("terminals/")),
                one.participant.removeprefix("participants/"),
                psam_bytes(one.psam_number),
            )
            for one in event.terminals
        ]
    )


async def _psam_revoked(event: terminal_gw.PsamRevoked, meta: EventMeta, uow: ClearingUnitOfWork) -> None:
    await uow.registries.revoke_psam(psam_bytes(event.psam_number), event.revoke_time.seconds)


async def _blacklist_changed(event: blacklist.BlacklistChanged, meta: EventMeta, uow: ClearingUnitOfWork) -> None:
    at, jt = event.effective_time.seconds, event.scheme == "jt"
    number, generation, version = event.card_number, event.generation, event.version
    if event.added:
        await uow.registries.list_card(number, generation, jt=jt, version=version, effective_s=at)
    else:
        await uow.registries.unlist_card(number, generation, jt=jt, version=version, removed_s=at)


async def _batch_folded(event: account.BatchFolded, meta: EventMeta, uow: ClearingUnitOfWork) -> None:
    try:
        batch_id = uuid.UUID(event.batch_id)
    except ValueError:
        raise Undigestible(f"{event.batch_id!r} is no batch id") from None
    await uow.registries.mark_folded(batch_id, instant(event.fold_time))


def handlers(note_upload: NoteUpload, wake: Callable[[], None]) -> Mapping[type[Message], Handler]:
    """What clearing does with each event.

    Args:
        note_upload: Remembers an upload.
        wake: Tells the judging loop that there may be work.
    """

    async def upload_stored(event: terminal_gw.UploadStored, meta: EventMeta, uow: ClearingUnitOfWork) -> None:
        await note_upload(upload_of(event.upload), uow)
        wake()

    return {
        card.CardsIssued: _cards_issued,
        card.LoadConfirmed: _load_confirmed,
        terminal_gw.TerminalsRegistered: _terminals_registered,
        terminal_gw.PsamRevoked: _psam_revoked,
        terminal_gw.UploadStored: upload_stored,
        blacklist.BlacklistChanged: _blacklist_changed,
        account.BatchFolded: _batch_folded,
    }
