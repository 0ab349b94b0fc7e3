"""What is ordered of banks, and the flow that it becomes: which way each operation goes, and what the books hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.account.domain.bank import Bank
from services.account.domain.bank_flow import BankFlow, FlowKind, FlowState
from services.account.domain.bank_leg import BankLeg, Direction
from services.account.domain.book import Leg, Posting
from services.account.domain.chart import Side
from services.account.domain.purse import PurseKey

# Payable to holders: a load onto a card waits here until the card comes (待补登).
PENDING_CREDITS = "2206"
# The bank keeps what it authorised at least so long beyond our patience: we may be away, and must still be able to ask.
HOLD_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class BankAccount:
    """A holder's account with a bank: the bank's participant id, and the account as the bank knows it."""

    bank: str
    token: str


@dataclass(frozen=True, slots=True)
class FlowOrder:
    """What is ordered.

    Attributes:
        kind: Of the flow.
        amount_fen: Above 0.
        accounts: One; two for a transfer, the source first.
        account: The other side in the books: `2211.{holder}`, `2203.{merchant}`, `1221.{outlet}`; empty for a transfer
            and for a load onto a card.
        purse: The card that a load waits for; None otherwise.
    """

    kind: FlowKind
    amount_fen: int
    accounts: tuple[BankAccount, ...]
    account: str = ""
    purse: PurseKey | None = None

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Which way each operation moves money, seen from the holder."""
        if self.kind is FlowKind.TRANSFER:
            return (Direction.DEBIT, Direction.CREDIT)
        return (Direction.CREDIT,) if self.kind is FlowKind.UNLOAD else (Direction.DEBIT,)

    def flow(self, flow_id: UUID, banks: Mapping[str, Bank], operations: Sequence[UUID], now: datetime) -> BankFlow:
        """The flow, before anybody was asked.

        Args:
            flow_id: The request that began it.
            banks: By participant id.
            operations: A new name for each of its operations.
            now: When it begins.
        """
        legs = tuple(
            BankLeg(
                bank=account.bank,
                direction=direction,
                operation=operation,
                account_token=account.token,
                amount_fen=self.amount_fen,
                business_date=banks[account.bank].business_date(now),
            )
            for account, direction, operation in zip(self.accounts, self.directions, operations, strict=True)
        )
        patience = min(banks[account.bank].patience_s for account in self.accounts)
        return BankFlow(
            id=flow_id,
            kind=self.kind,
            posting=self._posting(flow_id, banks, legs, now),
            state=FlowState.AUTHORISING,
            legs=legs,
            create_time=now,
            deadline=now + timedelta(seconds=patience),
            next_time=now,
            purse=self.purse,
        )

    def _posting(self, flow_id: UUID, banks: Mapping[str, Bank], legs: Sequence[BankLeg], now: datetime) -> Posting:
        # What a bank takes from a holder it owes us: a debit of its account with us.
        sides = {Direction.DEBIT: Side.DEBIT, Direction.CREDIT: Side.CREDIT}
        booked = [Leg(banks[leg.bank].account, sides[leg.direction], leg.amount_fen) for leg in legs]
        if self.kind is not FlowKind.TRANSFER:
            booked.append(Leg(self.account or PENDING_CREDITS, booked[0].side.other, self.amount_fen))
        return Posting(self.kind.event, f"bankFlows/{flow_id}", tuple(booked), now)
