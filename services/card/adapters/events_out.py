"""Events of the domain as messages of the contract."""

from collections.abc import Sequence
from datetime import date, datetime

from citycard.card.v1 import events_pb2 as pb
from citycard.common.v1.types_pb2 import Date
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from libs.runtime.outbox import Outbox
from services.card.domain.events import (
    CardEvent,
    CardLossCancelled,
    CardLossReported,
    CardsIssued,
    LoadConfirmed,
    LoadReversed,
)


def timestamp(at: datetime) -> Timestamp:
    """An aware moment as the contract's type."""
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def date_to_pb(day: date) -> Date:
    """A day as the contract's type."""
    return Date(year=day.year, month=day.month, day=day.day)


def _bcd(number: str) -> bytes:
    """The 10 bytes of `jt-…`."""
    return bytes.fromhex(number[3:])


def event_to_pb(event: CardEvent) -> Message:
    """One event as its message."""
    match event:
        case CardsIssued():
            return _cards_issued(event)
        case CardLossReported(number, generation, at):
            return pb.CardLossReported(
                card_number=_bcd(number), generation=generation, report_time=timestamp(at), scheme=number[:2]
            )
        case CardLossCancelled(number, generation, at):
            return pb.CardLossCancelled(
                card_number=_bcd(number), generation=generation, cancel_time=timestamp(at), scheme=number[:2]
            )
        case LoadConfirmed():
            return pb.LoadConfirmed(
                load=event.load,
                card_number=_bcd(event.number),
                generation=event.generation,
                amount_fen=event.amount_fen,
                online_counter=event.online_counter,
                new_balance_fen=event.new_balance_fen,
                load_time=timestamp(event.load_time),
                scheme=event.number[:2],
            )
        case LoadReversed():
            return pb.LoadReversed(
                load=event.load,
                card_number=_bcd(event.number),
                generation=event.generation,
                amount_fen=event.amount_fen,
                reverse_time=timestamp(event.reverse_time),
            )


def _cards_issued(event: CardsIssued) -> pb.CardsIssued:
    return pb.CardsIssued(
        card_numbers=bytes.fromhex("".join([number[3:] for number in event.numbers])),
        generations=event.generations,
        opening_balances_fen=event.opening_balances_fen,
        deposits_fen=event.deposits_fen,
        scheme=event.numbers[0][:2],
        issuer_id=event.issuer_id,
        key_version=event.key_version,
        algorithm_id=event.algorithm_id,
        card_main_type=event.card_main_type,
        product=f"products/{event.product}",
        outlet=f"outlets/{event.outlet}",
        start_date=date_to_pb(event.start_date),
        expiry_date=date_to_pb(event.expiry_date),
        issue_time=timestamp(event.issue_time),
        price_fen=event.price_fen,
    )


class OutboxEvents:
    """`Events` over the outbox of one transaction."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def add(self, events: Sequence[CardEvent]) -> None:
        """Publish if and only if the transaction commits."""
        await self._outbox.add([event_to_pb(event) for event in events])
