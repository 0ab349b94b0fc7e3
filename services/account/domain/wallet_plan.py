"""Who bears how much: the one place where a debit of wallets is decided, from grants, limits, lots and balances."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from libs.errors import DomainError, RequestMalformed
from services.account.domain.accounts import Account
from services.account.domain.wallet_debits import Tender, TenderLot
from services.account.domain.wallet_errors import (
    GrantMissing,
    MemberUnknown,
    PassNotInForce,
    TenderShort,
    WalletAssetMismatch,
    WalletInsufficient,
    WalletLimitExceeded,
    WalletUseForbidden,
)
from services.account.domain.wallet_lots import Lot, take, usable
from services.account.domain.wallet_rules import Grant, Limits, Used, Version, WalletMember
from services.account.domain.wallets import CARD_LOAD, MOVE, Wallet, WalletKind


@dataclass(frozen=True, slots=True)
class TenderWish:
    """What one wallet shall bear.

    Attributes:
        wallet: Its name.
        amount_fen: Exactly this; 0: as much as it may and the purchase needs.
        optional: Whether a wallet that may not be used at all bears nothing, instead of refusing the whole debit.
    """

    wallet: str
    amount_fen: int = 0
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Purchase:
    """What is to be paid.

    Attributes:
        total_fen: The whole, in the unit of the wallets.
        purpose: What for: a code of the catalogue, or `move`, `card_load`.
        participant: Who debits; empty when the holder moves its own value.
        member: Which other card or person uses the wallets; empty: their own holder.
        own_pay: Whether what the wallets do not bear is paid otherwise; else it refuses the debit.
    """

    total_fen: int
    purpose: str
    participant: str
    member: str = ""
    own_pay: bool = False

    @property
    def is_own(self) -> bool:
        """Whether the holder moves its own value: no grant is asked for."""
        return self.purpose in (MOVE, CARD_LOAD)


@dataclass(frozen=True, slots=True)
class Bearer:
    """What is known of one wallet of a debit, read under the lock of its account.

    Attributes:
        kind: Of the wallet.
        wallet: The wallet.
        account: Its account.
        lots: Its lots.
        grant: The grant that decides; None: there is none in force.
        granted: Used under the grant.
        member: The purchase's member as it shares the wallet; None: it does not.
        member_used: Used by the member.
    """

    kind: WalletKind
    wallet: Wallet
    account: Account
    lots: Sequence[Lot] = ()
    grant: Version[Grant] | None = None
    granted: Used = field(default_factory=Used)
    member: Version[WalletMember] | None = None
    member_used: Used = field(default_factory=Used)

    @property
    def free_fen(self) -> int | None:
        """What the account can give; None: no floor."""
        if self.account.overdraft_fen is None:
            return None
        return self.account.balance_fen - self.account.held_fen + self.account.overdraft_fen

    def subject(self, purchase: Purchase) -> str:
        """Whose use of a grant is counted: the person's in a pooled wallet, else the wallet's."""
        return purchase.member if self.kind.pooled else self.wallet.name


@dataclass(frozen=True, slots=True)
class _Room:
    """How much one rule leaves, and how it refuses what is more."""

    fen: int
    refuse: Callable[[int], DomainError]


@dataclass(frozen=True, slots=True)
class Plan:
    """Who bears what: tenders in the order asked for, and what is paid otherwise."""

    tenders: tuple[Tender, ...]
    own_pay_fen: int

    def paid_to(self, account: str) -> "Plan":
        """The same, credited to another account than the kind's own."""
        return Plan(tuple(replace(tender, payee=account) for tender in self.tenders), self.own_pay_fen)


def plan_debit(
    purchase: Purchase, wishes: Sequence[TenderWish], bearers: Sequence[Bearer], now: datetime, day: date
) -> Plan:
    """Decide what every wallet bears, in the order of the wishes.

    Fixed amounts are set aside first; the others fill up in order. Of one wallet the first refusal wins, in the order:
    state, asset, what the kind is for, grant, member, limits of the grant (share, transaction, day, month, year),
    limits of the member, pass, balance. The first wallet that refuses is the answer.

    Args:
        purchase: What is paid.
        wishes: One per wallet, each wallet once.
        bearers: In the same order.
        now: The moment of the decision.
        day: Its day in the city.

    Raises:
        RequestMalformed: Fixed amounts are more than the whole.
        WalletStateForbids, WalletAssetMismatch, WalletUseForbidden, GrantMissing, MemberUnknown, WalletLimitExceeded,
            PassNotInForce, WalletInsufficient: As above.
        TenderShort: All of them together do not bear it.
    """
    fixed = sum(wish.amount_fen for wish in wishes)
    if fixed > purchase.total_fen:
        raise RequestMalformed(field="tenders", description=f"bear {fixed}, more than the whole")
    to_fill = purchase.total_fen - fixed
    if len(wishes) == 1 and not purchase.own_pay and not wishes[0].optional:
        # There is nobody else: what this wallet cannot bear is its own refusal, with its own figures.
        wishes = [TenderWish(wishes[0].wallet, purchase.total_fen)]
    tenders: list[Tender] = []
    for wish, bearer in zip(wishes, bearers, strict=True):
        try:
            _check_may_bear(bearer, purchase, bearers[0])
            amount = _amount(bearer, purchase, wish, to_fill, now)
        except DomainError:
            if not wish.optional:
                raise
            amount = 0
        if amount:
            tenders.append(_tender(len(tenders) + 1, bearer, purchase, amount, now, day))
        to_fill -= 0 if wish.amount_fen else amount
    covered = sum(tender.amount_fen for tender in tenders)
    short = purchase.total_fen - covered
    if short and not purchase.own_pay:
        names = ", ".join(bearer.wallet.name for bearer in bearers)
        raise TenderShort(wallets=names, amount_fen=purchase.total_fen, covered_fen=covered, short_fen=short)
    if not tenders:
        raise TenderShort(
            wallets=", ".join(bearer.wallet.name for bearer in bearers),
            amount_fen=purchase.total_fen,
            covered_fen=0,
            short_fen=short,
        )
    return Plan(tuple(tenders), short)


def _check_may_bear(bearer: Bearer, purchase: Purchase, first: Bearer) -> None:
    kind, wallet, account = bearer.kind, bearer.wallet.name, bearer.account.name
    bearer.wallet.check_may_give(account)
    if kind.asset != first.kind.asset:
        raise WalletAssetMismatch(wallet=wallet, account=account, asset=kind.asset, other_asset=first.kind.asset)
    if not purchase.is_own:
        payable = bool(kind.payee or kind.rides)
        if not payable or (kind.purposes and purchase.purpose not in kind.purposes):
            raise WalletUseForbidden(wallet=wallet, account=account, kind=kind.code, use=purchase.purpose)
        if bearer.grant is None:
            raise GrantMissing(
                participant=purchase.participant,
                wallet=wallet,
                account=account,
                action="debit",
                purpose=purchase.purpose,
            )
    # A holder needs nobody's leave for its own wallet; a pooled one is nobody's own.
    shared = not kind.pooled and purchase.member not in ("", bearer.wallet.holder)
    if (kind.pooled and not purchase.member) or (shared and bearer.member is None):
        raise MemberUnknown(wallet=wallet, account=account, member=purchase.member)


def _amount(bearer: Bearer, purchase: Purchase, wish: TenderWish, to_fill_fen: int, now: datetime) -> int:
    """What the wallet bears: the wish, or as much as every rule lets it."""
    rooms = _rooms(bearer, purchase, now)
    if wish.amount_fen:
        for room in rooms:
            if room.fen < wish.amount_fen:
                raise room.refuse(wish.amount_fen)
        return wish.amount_fen
    return max(0, min(to_fill_fen, *(room.fen for room in rooms)))


def _rooms(bearer: Bearer, purchase: Purchase, now: datetime) -> list[_Room]:
    """Every rule about amounts, in the order in which they refuse; the balance is always the last."""
    rooms: list[_Room] = []
    if bearer.grant is not None:
        grant = bearer.grant.rule
        share = grant.share_fen(purchase.total_fen)
        if share < purchase.total_fen:
            rooms.append(_Room(share, _limit(bearer, f"grants/{grant.name} share", share, 0)))
        rooms += _limit_rooms(bearer, f"grants/{grant.name}", grant.limits, bearer.granted)
    if bearer.member is not None:
        rooms += _limit_rooms(
            bearer, f"members/{bearer.member.rule.member}", bearer.member.rule.limits, bearer.member_used
        )
    return [*rooms, _balance_room(bearer, purchase, now)]


def _limit_rooms(bearer: Bearer, whose: str, limits: Limits, used: Used) -> list[_Room]:
    rows = (
        ("per_transaction", limits.per_transaction_fen, 0),
        ("per_day", limits.per_day_fen, used.day_fen),
        ("per_month", limits.per_month_fen, used.month_fen),
        ("per_year", limits.per_year_fen, used.year_fen),
    )
    return [
        _Room(limit - taken, _limit(bearer, f"{whose} {name}", limit, taken)) for name, limit, taken in rows if limit
    ]


def _limit(bearer: Bearer, name: str, limit_fen: int, used_fen: int) -> Callable[[int], DomainError]:
    return lambda amount_fen: WalletLimitExceeded(
        wallet=bearer.wallet.name,
        account=bearer.account.name,
        limit=name,
        limit_fen=limit_fen,
        used_fen=used_fen,
        amount_fen=amount_fen,
    )


def _balance_room(bearer: Bearer, purchase: Purchase, now: datetime) -> _Room:
    kind, account = bearer.kind, bearer.account
    room = bearer.free_fen
    if kind.lots is not None:
        lots = usable(bearer.lots, kind.lots, purchase.purpose, now)
        if kind.rides is not None:
            # A pass is shown, not spent: one that is in force bears any number of rides.
            return _Room(
                purchase.total_fen if lots else 0,
                lambda _: PassNotInForce(wallet=bearer.wallet.name, account=account.name, purpose=purchase.purpose),
            )
        in_lots = sum(lot.free_fen for lot in lots)
        room = in_lots if room is None else min(room, in_lots)
    available = purchase.total_fen if room is None else room
    return _Room(
        available,
        lambda amount_fen: WalletInsufficient(
            wallet=bearer.wallet.name,
            account=account.name,
            balance_fen=account.balance_fen,
            held_fen=account.held_fen,
            available_fen=max(available, 0),
            amount_fen=amount_fen,
        ),
    )


def _tender(number: int, bearer: Bearer, purchase: Purchase, amount_fen: int, now: datetime, day: date) -> Tender:
    kind = bearer.kind
    spends = kind.lots is not None and kind.rides is None
    parts = take(usable(bearer.lots, kind.lots, purchase.purpose, now), amount_fen) if spends and kind.lots else ()
    return Tender(
        number=number,
        wallet=bearer.wallet.name,
        account=f"{kind.rides[0]}.{bearer.wallet.holder}" if kind.rides else bearer.account.name,
        payee=kind.payee_account(purchase.participant),
        amount_fen=amount_fen,
        grant=bearer.grant.rule.name if bearer.grant is not None else "",
        grant_version=bearer.grant.number if bearer.grant is not None else 0,
        subject=bearer.subject(purchase),
        day=day,
        lots=tuple(TenderLot(lot, part) for lot, part in parts),
    )
