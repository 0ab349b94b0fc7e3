"""Between the messages of the contract and the domain."""

from datetime import UTC, datetime
from uuid import UUID

from citycard.account.v1 import account_pb2, account_service_pb2
from citycard.common.v1 import types_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from libs.errors import RequestMalformed
from services.account.domain.accounts import Account
from services.account.domain.bank_flow import FLOW_EVENTS, UNDO_EVENTS
from services.account.domain.book import EVENT_AHEAD_MAX, Entry, Journal, Leg, Posting, TimeAxis
from services.account.domain.chart import AccountKind, Chart, ChartLine, Side
from services.account.domain.errors import JournalUnknown, ReservationUnknown
from services.account.domain.folding import ItemKind, PurseItem
from services.account.domain.proof import Proof
from services.account.domain.purse import Purse, PurseKey
from services.account.domain.reservation import Reservation

_KINDS = {
    AccountKind.ASSET: account_pb2.ACCOUNT_KIND_ASSET,
    AccountKind.LIABILITY: account_pb2.ACCOUNT_KIND_LIABILITY,
    AccountKind.INCOME: account_pb2.ACCOUNT_KIND_INCOME,
    AccountKind.EXPENSE: account_pb2.ACCOUNT_KIND_EXPENSE,
}
_SIDES = {Side.DEBIT: account_pb2.SIDE_DEBIT, Side.CREDIT: account_pb2.SIDE_CREDIT}


def moment(timestamp: Timestamp) -> datetime:
    """A moment of the contract, to the microsecond.

    Raises:
        RequestMalformed: Outside of the years 1 to 9999.
    """
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise RequestMalformed(field="event_time", description="is out of range") from None


def timestamp(at: datetime | None) -> Timestamp | None:
    """A moment as the contract writes it; None stays unset."""
    if at is None:
        return None
    written = Timestamp()
    written.FromDatetime(at)
    return written


def account_name(name: str) -> str:
    """`accounts/2203.metro-1` without its collection."""
    return name.removeprefix("accounts/")


def purse_key(name: str) -> PurseKey:
    """The key in `purses/jt-….1`."""
    return PurseKey.parse(name.removeprefix("purses/"))


def reservation_id(name: str) -> UUID:
    """The id in `reservations/{uuid}`.

    Raises:
        ReservationUnknown: No UUID, so nothing has that name.
    """
    text = name.removeprefix("reservations/")
    try:
        return UUID(text)
    except ValueError:
        raise ReservationUnknown(reservation=text) from None


def journal_id(name: str) -> UUID:
    """The id in `journals/{uuid}`.

    Raises:
        JournalUnknown: No UUID, so nothing has that name.
    """
    text = name.removeprefix("journals/")
    try:
        return UUID(text)
    except ValueError:
        raise JournalUnknown(journal=text) from None


def journal_or_place(name: str) -> UUID | int:
    """The id in `journals/{uuid}`, or the place in `journals/{sequence}`."""
    text = name.removeprefix("journals/")
    return int(text) if text.isdecimal() and len(text) < 20 else journal_id(name)


def time_axis(axis: int) -> TimeAxis:
    """Which time decides; posting time unless the caller says otherwise."""
    return TimeAxis.EVENT_TIME if axis == account_service_pb2.TIME_AXIS_EVENT_TIME else TimeAxis.POST_TIME


def item_kind(kind: int) -> ItemKind | None:
    """The kind of a filter; None for all."""
    return ItemKind(kind) if kind else None


def posting(message: account_service_pb2.Posting, now: datetime) -> Posting:
    """What is to be posted or held; its legs passed the rules of the schema.

    Raises:
        RequestMalformed: It says it happened more than a day after now, or that it is a bank flow's.
    """
    if message.event in FLOW_EVENTS | UNDO_EVENTS:
        raise RequestMalformed(field="event", description="is kept for bank flows")
    legs = tuple(
        Leg(
            account_name(leg.account),
            Side(leg.side),
            leg.amount_fen,
            purse_key(leg.purse) if leg.purse else None,
        )
        for leg in message.legs
    )
    event_time = moment(message.event_time) if message.HasField("event_time") else now
    if event_time > now + EVENT_AHEAD_MAX:
        raise RequestMalformed(field="event_time", description="is more than a day ahead")
    return Posting(message.event, message.reference, legs, event_time)


def account_to_pb(account: Account, chart: Chart) -> account_pb2.Account:
    """An account with the texts of its chart line."""
    line = chart.line(account.name)
    return account_pb2.Account(
        name=f"accounts/{account.name}",
        chart_number=account.chart_number,
        owner=account.owner,
        kind=_KINDS[account.kind],
        display_name_zh=line.name_zh,
        display_name_en=line.name_en,
        asset=account.asset,
        debits_fen=account.debits_fen,
        credits_fen=account.credits_fen,
        pending_debits_fen=account.pending_debits_fen,
        pending_credits_fen=account.pending_credits_fen,
        balance_fen=account.balance_fen,
        balance_limit_fen=account.balance_limit_fen,
        create_time=timestamp(account.create_time),
        overdraft_fen=account.overdraft_fen,
    )


def balance_to_pb(account: Account, at: datetime) -> account_pb2.Balance:
    """The sums of an account at a moment."""
    return account_pb2.Balance(
        account=f"accounts/{account.name}",
        asset=account.asset,
        debits_fen=account.debits_fen,
        credits_fen=account.credits_fen,
        balance_fen=account.balance_fen,
        as_of_time=timestamp(at),
    )


def chart_line_to_pb(line: ChartLine) -> account_pb2.ChartLine:
    """A line of the chart."""
    return account_pb2.ChartLine(
        number=line.number,
        kind=_KINDS[line.kind],
        display_name_zh=line.name_zh,
        display_name_en=line.name_en,
        asset=line.asset,
        owned_by=line.owned_by.value,
        floored=line.floored,
    )


def leg_to_pb(leg: Leg) -> account_pb2.Leg:
    """A leg."""
    return account_pb2.Leg(
        account=f"accounts/{leg.account}", side=_SIDES[leg.side], amount_fen=leg.amount_fen, purse=_purse_name(leg)
    )


def journal_to_pb(journal: Journal) -> account_pb2.Journal:
    """A posted journal."""
    return account_pb2.Journal(
        name=f"journals/{journal.id}",
        event=journal.posting.event,
        reference=journal.posting.reference,
        legs=[leg_to_pb(leg) for leg in journal.posting.legs],
        event_time=timestamp(journal.posting.event_time),
        post_time=timestamp(journal.post_time),
        sequence=journal.sequence,
        participant=journal.posting.participant,
        purpose=journal.posting.purpose,
        member=journal.posting.member,
    )


def reservation_to_pb(reservation: Reservation) -> account_pb2.Reservation:
    """A reservation."""
    return account_pb2.Reservation(
        name=f"reservations/{reservation.id}",
        state=account_pb2.ReservationState.Value(f"RESERVATION_STATE_{reservation.state.value}"),
        legs=[leg_to_pb(leg) for leg in reservation.posting.legs],
        event=reservation.posting.event,
        reference=reservation.posting.reference,
        expire_time=timestamp(reservation.expire_time),
        journal=f"journals/{reservation.journal}" if reservation.journal else "",
        create_time=timestamp(reservation.create_time),
        partial=reservation.partial,
    )


def entry_to_pb(entry: Entry, kind: AccountKind) -> account_pb2.Entry:
    """A line of an account of a kind."""
    balance = None
    if entry.debits_after_fen is not None and entry.credits_after_fen is not None:
        balance = entry.debits_after_fen - entry.credits_after_fen
        balance = balance if kind.grows_by_debits else -balance
    return account_pb2.Entry(
        journal=f"journals/{entry.journal}",
        event=entry.event,
        reference=entry.reference,
        side=_SIDES[entry.leg.side],
        amount_fen=entry.leg.amount_fen,
        purse=_purse_name(entry.leg),
        event_time=timestamp(entry.event_time),
        sequence=entry.sequence,
        leg_number=entry.leg_number,
        post_time=timestamp(entry.post_time),
        balance_fen=balance,
    )


def purse_to_pb(purse: Purse) -> account_pb2.Purse:
    """A purse."""
    return account_pb2.Purse(
        name=f"purses/{purse.key.name}",
        balance_fen=purse.balance_fen,
        opening_fen=purse.opening_fen,
        loads_fen=purse.loads_fen,
        debits_fen=purse.debits_fen,
        counter_max=purse.counter_max,
        counter_count=purse.counter_count,
        printed_balance_fen=purse.printed_balance_fen,
        last_time=timestamp(purse.last_time),
        gap_open=purse.gap_open,
        pending_loads_fen=purse.pending_loads_fen,
        repeats_fen=purse.repeats_fen,
    )


def item_to_pb(item: PurseItem) -> account_pb2.PurseItem:
    """What does not add up."""
    outcome = f"PURSE_ITEM_OUTCOME_{item.outcome.value if item.outcome else 'UNSPECIFIED'}"
    return account_pb2.PurseItem(
        name=f"purseItems/{item.id}",
        purse=f"purses/{item.key.name}",
        kind=account_pb2.PurseItemKind.Value(f"PURSE_ITEM_KIND_{item.kind.name}"),
        counter_from=item.counter_from,
        counter_to=item.counter_to,
        amount_fen=item.amount_fen,
        open_time=timestamp(item.open_time),
        close_time=timestamp(item.close_time),
        outcome=account_pb2.PurseItemOutcome.Value(outcome),
        note=item.note,
    )


def proof_to_pb(proof: Proof) -> account_service_pb2.ProveResponse:
    """A proof."""
    return account_service_pb2.ProveResponse(
        lines=[
            types_pb2.ProofLine(
                invariant=line.invariant,
                statement=line.statement,
                checked_count=line.checked_count,
                broken_count=line.broken_count,
                first_broken=line.first_broken,
            )
            for line in proof.lines
        ],
        totals=[
            account_service_pb2.AccountTotal(
                account=f"accounts/{total.account}", debits_fen=total.debits_fen, credits_fen=total.credits_fen
            )
            for total in proof.totals
        ],
        purse_total_fen=proof.purse_total_fen,
        purse_count=proof.purse_count,
        pending_total_fen=proof.pending_total_fen,
        movement_count=proof.movement_count,
        movement_total_fen=proof.movement_total_fen,
        batch_count=proof.batch_count,
    )


def _purse_name(leg: Leg) -> str:
    return f"purses/{leg.purse.name}" if leg.purse else ""
