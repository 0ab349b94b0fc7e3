"""Losses as the card service tells them, and cards of the list that clearing saw in records."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
from citycard.card.v1 import events_pb2 as card_events_pb
from citycard.clearing.v1 import events_pb2 as clearing_events_pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from libs.runtime.consumer import Undigestible
from libs.runtime.events import EventMeta
from services.blacklist.adapters.sql import BlacklistUnitOfWork
from services.blacklist.adapters.times import moment
from services.blacklist.application.list_ports import Met
from services.blacklist.application.record_loss import RecordLoss
from services.blacklist.application.report import check_met
from services.blacklist.domain.entry import CardKey
from services.blacklist.domain.errors import EntryUnknown, ReportMalformed

Handler = Callable[[Any, EventMeta, BlacklistUnitOfWork], Awaitable[None]]


def handlers(record_loss: RecordLoss) -> Mapping[type[Message], Handler]:
    """What is done on each event; the consumer commits."""

    async def on_reported(event: card_events_pb.CardLossReported, meta: EventMeta, uow: BlacklistUnitOfWork) -> None:
        card = _card(event.scheme, event.card_number, event.generation)
        await record_loss.reported(uow, card, _time(event, "report_time", event.report_time))

    async def on_cancelled(event: card_events_pb.CardLossCancelled, meta: EventMeta, uow: BlacklistUnitOfWork) -> None:
        card = _card(event.scheme, event.card_number, event.generation)
        await record_loss.cancelled(uow, card, _time(event, "cancel_time", event.cancel_time))

    async def on_met(event: clearing_events_pb.ListedCardsMet, meta: EventMeta, uow: BlacklistUnitOfWork) -> None:
        met = Met(
            event.card_numbers,
            np.array(event.generations, dtype=np.int64),
            np.frombuffer(event.outcomes, dtype=np.uint8).astype(np.int64),
            np.array(event.times_s, dtype=np.int64),
            event.terminal_numbers,
        )
        try:
            check_met(met)
        except ReportMalformed as malformed:
            raise Undigestible(f"{malformed.facts['field']}: {malformed.facts['expected']}") from None
        if len(met.generations):
            await uow.journeys.met(met)

    return {
        card_events_pb.CardLossReported: on_reported,
        card_events_pb.CardLossCancelled: on_cancelled,
        clearing_events_pb.ListedCardsMet: on_met,
    }


def _card(scheme: str, number: bytes, generation: int) -> CardKey:
    try:
        return CardKey.parse(f"{scheme}-{number.hex()}.{generation}")
    except EntryUnknown:
        # Not repeated in the reason: it may be most of a card number.
        raise Undigestible("scheme, card number or generation is none") from None


def _time(event: Message, name: str, value: Timestamp) -> Any:
    if not event.HasField(name):
        raise Undigestible(f"{name} is missing")
    return moment(value)
