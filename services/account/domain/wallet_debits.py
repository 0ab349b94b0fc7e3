"""Debits of wallets: who bore what, what was given back; kept beside the journals that moved the money."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from services.account.domain.book import Leg
from services.account.domain.chart import Side
from services.account.domain.wallet_errors import DebitNotReversible, ReversalAboveDebit
from services.account.domain.wallet_lots import LotChange
from services.account.domain.wallets import CARD_LOAD, MOVE


class DebitState(StrEnum):
    """Where a debit is; only HELD changes."""

    HELD = "HELD"
    POSTED = "POSTED"
    GIVEN_UP = "GIVEN_UP"


@dataclass(frozen=True, slots=True)
class TenderLot:
    """What a tender took of one lot.

    Attributes:
        lot_id: Which.
        amount_fen: Taken or held.
        released_fen: Of it held, and never posted.
        reversed_fen: Of it posted, and given back.
    """

    lot_id: int
    amount_fen: int
    released_fen: int = 0
    reversed_fen: int = 0

    @property
    def left_fen(self) -> int:
        """What of it still counts."""
        return self.amount_fen - self.released_fen - self.reversed_fen


@dataclass(frozen=True, slots=True)
class Tender:
    """What one wallet bears of a debit.

    Attributes:
        number: From 1, in the order of bearing.
        wallet: Its name.
        account: The account that is debited.
        payee: The account that is credited.
        amount_fen: Decided.
        grant: Name of the grant that decided; empty: none was asked for.
        grant_version: Its version.
        subject: Whose use of the grant this counts for.
        day: City day on which it counts.
        lots: Out of which lots, in the order of taking; empty: the wallet has none.
        released_fen: Of it held, and never posted.
        reversed_fen: Of it posted, and given back.
    """

    number: int
    wallet: str
    account: str
    payee: str
    amount_fen: int
    grant: str
    grant_version: int
    subject: str
    day: date
    lots: tuple[TenderLot, ...] = ()
    released_fen: int = 0
    reversed_fen: int = 0

    @property
    def left_fen(self) -> int:
        """What of it still counts against limits, and may be given back."""
        return self.amount_fen - self.released_fen - self.reversed_fen

    def legs(self, amount_fen: int | None = None) -> tuple[Leg, Leg]:
        """The legs that move it, or a part of it."""
        amount = self.amount_fen if amount_fen is None else amount_fen
        return Leg(self.account, Side.DEBIT, amount), Leg(self.payee, Side.CREDIT, amount)

    def released(self, amount_fen: int) -> "Tender":
        """With this much of it given up before it was posted, of the lots taken last first."""
        lots = _give_back(self.lots, amount_fen, posted=False)
        return replace(self, released_fen=self.released_fen + amount_fen, lots=lots)

    def reversed(self, amount_fen: int) -> "Tender":
        """With this much of it given back after it was posted, to the lots taken last first."""
        lots = _give_back(self.lots, amount_fen, posted=True)
        return replace(self, reversed_fen=self.reversed_fen + amount_fen, lots=lots)


@dataclass(frozen=True, slots=True)
class WalletDebit:
    """One debit over one or more wallets.

    Attributes:
        id: The request id that made it; a held one and its reservation share it.
        state: Where it is.
        participant: Who debited; empty when the holder moved its own value.
        purpose: What for; `move` and `card_load` are no payments.
        member: Which other card or person used the wallets; empty: their own holder.
        reference: What it refers to.
        total_fen: What was to be paid.
        own_pay_fen: What the wallets did not bear.
        create_time: When it was made.
        journal: The journal that posted it; None before.
        tenders: Who bears what.
    """

    id: UUID
    state: DebitState
    participant: str
    purpose: str
    member: str
    reference: str
    total_fen: int
    own_pay_fen: int
    create_time: datetime
    journal: UUID | None
    tenders: tuple[Tender, ...]

    @property
    def is_card_load(self) -> bool:
        """Whether it goes on a card: by way of what is in doubt, so that its reservation has two legs more."""
        return self.purpose == CARD_LOAD

    @property
    def left_fen(self) -> int:
        """What of it was posted or is held, and not given back."""
        return sum(tender.left_fen for tender in self.tenders)

    def posted(self, journal: UUID, amounts_fen: Mapping[str, int]) -> "WalletDebit":
        """The debit after its reservation was committed.

        Args:
            journal: That posted it.
            amounts_fen: What was posted on each account that the tenders debit; the rest is given up.
        """
        tenders = tuple(
            tender.released(tender.amount_fen - amounts_fen.get(tender.account, 0)) for tender in self.tenders
        )
        return replace(self, state=DebitState.POSTED, journal=journal, tenders=tenders)

    def given_up(self) -> "WalletDebit":
        """The debit after its reservation was voided or ran out of time."""
        tenders = tuple(tender.released(tender.amount_fen) for tender in self.tenders)
        return replace(self, state=DebitState.GIVEN_UP, tenders=tenders)

    def check_reversible(self, amount_fen: int) -> int:
        """Let pass a reversal; returns its amount, which is all that is left when 0 is asked for.

        Raises:
            DebitNotReversible: It is not posted, or was no payment.
            ReversalAboveDebit: More is asked for than is left, or nothing is left.
        """
        if self.state is not DebitState.POSTED or self.purpose in (MOVE, CARD_LOAD):
            raise DebitNotReversible(debit=self.id, state=self.state.value, purpose=self.purpose)
        left = self.left_fen
        if not left or amount_fen > left:
            raise ReversalAboveDebit(debit=self.id, left_fen=left, amount_fen=amount_fen)
        return amount_fen or left

    def reversal(self, amount_fen: int) -> tuple["WalletDebit", tuple[Leg, ...]]:
        """Give back an amount that `check_reversible` let pass: the wallet that bore last gets first.

        Returns:
            The debit after it, and the legs that do it.
        """
        tenders, legs, left = list(self.tenders), [], amount_fen
        for place in reversed(range(len(tenders))):
            part = min(left, tenders[place].left_fen)
            if part:
                debit, credit = tenders[place].legs(part)
                legs += [replace(credit, side=Side.DEBIT), replace(debit, side=Side.CREDIT)]
                tenders[place] = tenders[place].reversed(part)
                left -= part
        assert left == 0, "no more is given back than is left"
        return replace(self, tenders=tuple(tenders)), tuple(legs)


def lot_changes(before: WalletDebit | None, after: WalletDebit) -> list[LotChange]:
    """What a debit's step from one state to the next does to its lots, by lot.

    Args:
        before: None when it is new.
        after: The debit as it shall be.
    """
    sums: dict[int, list[int]] = {}
    for debit, sign in ((before, -1), (after, 1)):
        for tender in debit.tenders if debit is not None else ():
            for lot in tender.lots:
                # A held debit holds; in every other state what is left of it was taken.
                both = sums.setdefault(lot.lot_id, [0, 0])
                both[debit is not None and debit.state is DebitState.HELD] += sign * lot.left_fen
    return [LotChange(lot_id, taken, held) for lot_id, (taken, held) in sorted(sums.items()) if taken or held]


def _give_back(lots: Sequence[TenderLot], amount_fen: int, *, posted: bool) -> tuple[TenderLot, ...]:
    """Divide an amount over lots, the one taken last first; a tender without lots has nothing to divide."""
    after, left = list(lots), amount_fen
    for place in reversed(range(len(after))):
        lot = after[place]
        part = min(left, lot.left_fen)
        if posted:
            after[place] = replace(lot, reversed_fen=lot.reversed_fen + part)
        else:
            after[place] = replace(lot, released_fen=lot.released_fen + part)
        left -= part
    assert not after or left == 0, "lots bear exactly what their tender bears"
    return tuple(after)
