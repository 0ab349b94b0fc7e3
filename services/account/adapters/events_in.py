"""Events of other services: translate, check that they can be digested, call one use case."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import numpy as np
from citycard.card.v1.events_pb2 import CardsIssued
from citycard.clearing.v1.events_pb2 import BookPosted, RecordsPosted, WindowClosed
from google.protobuf.message import Message

from libs.runtime.consumer import Undigestible
from libs.runtime.events import EventMeta
from services.account.adapters import translate
from services.account.adapters.unit_of_work import AccountUnitOfWork
from services.account.application.charge_window_fee import ChargeWindowFee
from services.account.application.fold_batch import FoldBatch
from services.account.application.open_purses import OpenPurses
from services.account.application.post_book_lines import BookLine, PostBookLines
from services.account.domain.batch import CreditLine, IssuedCards, Movements, PostedBatch
from services.account.domain.chart import Chart
from services.account.domain.columns import KeyColumns
from services.account.domain.errors import FactMalformed
from services.account.domain.purse import SCHEMES

Handler = Callable[[Any, EventMeta, AccountUnitOfWork], Awaitable[None]]


def batch_from_pb(event: RecordsPosted, chart: Chart) -> PostedBatch:
    """Unpack the columns of a batch.

    Raises:
        FactMalformed: No batch id, columns that are none, or a line that debits something else than the float.
    """
    try:
        UUID(event.batch_id)
    except ValueError:
        raise FactMalformed(f"the batch id {event.batch_id!r} is no UUID") from None
    for line in event.lines:
        if line.debit_account != f"accounts/{chart.float_number}":
            raise FactMalformed(f"a line debits {line.debit_account!r}, not the card float")
    schemes = np.frombuffer(event.schemes, dtype=np.uint8)
    movements = Movements(
        keys=KeyColumns.read(schemes, event.card_numbers, np.array(event.generations, dtype=np.int64)),
        counters=np.array(event.counters, dtype=np.int64),
        amounts_fen=np.array(event.amounts_fen, dtype=np.int64),
        balances_before_fen=np.array(event.balances_before_fen, dtype=np.int64),
        times_s=np.array(event.times_s, dtype=np.int64),
    )
    return PostedBatch(
        batch_id=event.batch_id,
        lines=tuple(CreditLine(translate.account_name(line.credit_account), line.amount_fen) for line in event.lines),
        total_fen=event.movement_total_fen,
        movements=movements,
        post_time=translate.moment(event.post_time),
    )


def cards_from_pb(event: CardsIssued) -> IssuedCards:
    """Unpack the columns of issued cards.

    Raises:
        FactMalformed: Columns that are none, or an unknown scheme.
    """
    if event.scheme not in SCHEMES:
        raise FactMalformed(f"the scheme {event.scheme!r} is neither cj nor jt")
    generations = np.array(event.generations, dtype=np.int64)
    schemes = np.full(len(generations), SCHEMES.index(event.scheme), dtype=np.uint8)
    return IssuedCards(
        keys=KeyColumns.read(schemes, event.card_numbers, generations),
        openings_fen=np.array(event.opening_balances_fen, dtype=np.int64),
        deposits_fen=np.array(event.deposits_fen, dtype=np.int64),
        price_fen=event.price_fen,
        outlet=event.outlet.removeprefix("outlets/"),
        issue_time=translate.moment(event.issue_time),
        product=event.product.removeprefix("products/"),
    )


def handlers(
    chart: Chart,
    fold_batch: FoldBatch,
    open_purses: OpenPurses,
    charge_window_fee: ChargeWindowFee,
    post_book_lines: PostBookLines,
) -> dict[type[Message], Handler]:
    """The handlers of the events that this service consumes."""

    async def on_records_posted(event: RecordsPosted, _: EventMeta, uow: AccountUnitOfWork) -> None:
        try:
            await fold_batch(uow, batch_from_pb(event, chart))
        except FactMalformed as mistake:
            raise Undigestible(str(mistake)) from mistake

    async def on_cards_issued(event: CardsIssued, meta: EventMeta, uow: AccountUnitOfWork) -> None:
        try:
            await open_purses(uow, cards_from_pb(event), str(meta.event_id))
        except FactMalformed as mistake:
            raise Undigestible(str(mistake)) from mistake

    async def on_window_closed(event: WindowClosed, _: EventMeta, uow: AccountUnitOfWork) -> None:
        participant = event.participant.removeprefix("participants/")
        try:
            await charge_window_fee(uow, event.window, participant, event.fee_fen, translate.moment(event.close_time))
        except FactMalformed as mistake:
            raise Undigestible(str(mistake)) from mistake

    async def on_book_posted(event: BookPosted, _: EventMeta, uow: AccountUnitOfWork) -> None:
        try:
            lines = [
                BookLine(
                    translate.account_name(one.debit_account),
                    translate.account_name(one.credit_account),
                    one.amount_fen,
                )
                for one in event.lines
            ]
            await post_book_lines(uow, event.event, event.reference, lines, translate.moment(event.post_time))
        except FactMalformed as mistake:
            raise Undigestible(str(mistake)) from mistake

    return {
        RecordsPosted: on_records_posted,
        CardsIssued: on_cards_issued,
        WindowClosed: on_window_closed,
        BookPosted: on_book_posted,
    }
