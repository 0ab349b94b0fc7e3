"""Who may do what with wallets, as data with history: grants, roles of participants, members, mandates.

Every rule has versions. At a moment the version with the highest number among those that have begun is the one that
counts; when it was ended, or its time is over, the rule is not in force. A version never begins before it is made, so
what was decided once by the rules in force stays explainable for ever.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar


class RuleKind(StrEnum):
    """What is ruled."""

    GRANT = "grant"
    ROLE = "role"
    MEMBER = "member"
    MANDATE = "mandate"


class GrantAction(StrEnum):
    """What a grant permits."""

    DEBIT = "debit"
    CREDIT = "credit"


@dataclass(frozen=True, slots=True)
class Limits:
    """Most that may be taken, in the unit of the wallet; 0: no limit. Days, months and years are the city's."""

    per_transaction_fen: int = 0
    per_day_fen: int = 0
    per_month_fen: int = 0
    per_year_fen: int = 0


@dataclass(frozen=True, slots=True)
class Used:
    """What was taken already today, this month and this year: posted or held, and not given back."""

    day_fen: int = 0
    month_fen: int = 0
    year_fen: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """Lets participants debit or credit wallets.

    Attributes:
        name: Behind `grants/`.
        grantee: `participants/{participant}` or `roles/{role}`.
        action: What it permits.
        kind: Code of the kind of wallets.
        wallet: Only this wallet; empty: all of the kind.
        purposes: Only these, in order; empty: all that the kind permits.
        limits: Counted per wallet, in pooled wallets per person, over all debits under this grant.
        share_bp: Most that the wallet may bear of a purchase above `deductible_fen`, in hundredths of a percent.
        deductible_fen: What it does not bear of any purchase (起付线).
    """

    name: str
    grantee: str
    action: GrantAction
    kind: str
    wallet: str = ""
    purposes: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    share_bp: int = 10_000
    deductible_fen: int = 0

    def share_fen(self, total_fen: int) -> int:
        """Most that the wallet bears of a purchase; fractions of a fen fall to the payer."""
        return max(total_fen - self.deductible_fen, 0) * self.share_bp // 10_000


@dataclass(frozen=True, slots=True)
class ParticipantRole:
    """Says that a participant is a hospital, a bus company, …, as grants to roles mean it."""

    participant: str
    role: str


@dataclass(frozen=True, slots=True)
class WalletMember:
    """Lets another card or person use a wallet: a sub-card (附属卡) of its main card.

    Attributes:
        wallet: The shared wallet.
        member: The holder that shares it.
        limits: Of this member alone.
    """

    wallet: str
    member: str
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Mandate:
    """The holder's order to top up by itself (自动充值).

    Attributes:
        name: Behind `mandates/`.
        wallet: What is topped up: an online account, or a purse, whose value then waits for the card.
        source: `wallets/{wallet}`, moved at once, or `participants/{bank}`, which is asked.
        threshold_fen: A balance below it is topped up.
        amount_fen: By this much.
        day_cap_fen: Most per city day; 0: no cap.
        failures_max: So many failures in a row suspend it, until it is made anew; 0: never.
        retry_after_s: So long after a failure nothing is tried, seconds.
    """

    name: str
    wallet: str
    source: str
    threshold_fen: int
    amount_fen: int
    day_cap_fen: int = 0
    failures_max: int = 3
    retry_after_s: int = 3600


Rule: TypeAlias = Grant | ParticipantRole | WalletMember | Mandate
R = TypeVar("R", bound=Rule)


@dataclass(frozen=True, slots=True)
class Version(Generic[R]):
    """One version of a rule.

    Attributes:
        rule: What it says.
        number: From 1, without gaps.
        effective_time: From when on.
        until_time: Not from then on; None: until a later version.
        record_time: When it was made.
        set_by: Who made it.
        ended: Whether this version ends the rule.
    """

    rule: R
    number: int
    effective_time: datetime
    until_time: datetime | None
    record_time: datetime
    set_by: str
    ended: bool = False

    def in_force(self, at: datetime) -> bool:
        """Whether it lets pass at a moment, being the version that counts then."""
        return not self.ended and (self.until_time is None or at < self.until_time)


def rule_name(rule: Rule) -> str:
    """Name of a rule among those of its kind."""
    if isinstance(rule, ParticipantRole):
        return f"{rule.participant}.{rule.role}"
    if isinstance(rule, WalletMember):
        return f"{rule.wallet}/{rule.member}"
    return rule.name


def rule_scope(rule: Rule) -> str:
    """What a rule is looked up by: kind of wallet, participant, or wallet."""
    if isinstance(rule, Grant):
        return rule.kind
    return rule.participant if isinstance(rule, ParticipantRole) else rule.wallet


def choose_grant(
    grants: Iterable[Version[Grant]],
    action: GrantAction,
    wallet: str,
    purposes: frozenset[str],
    participant: str,
    roles: frozenset[str],
) -> Version[Grant] | None:
    """The one grant that decides: the closest to the case, and of equally close ones the first by name.

    A grant for the wallet itself is closer than one for all of its kind; then one for the participant than one for its
    role; then one for named purposes than one for all.

    Args:
        grants: Those in force for the kind of the wallet.
        action: What is wanted.
        wallet: Of which wallet.
        purposes: What for: of a debit one, of a credit all that it may pay; empty for what may pay anything.
        participant: By whom.
        roles: What the participant is.
    """
    grantees = {f"participants/{participant}"} | {f"roles/{role}" for role in roles}
    fitting = [
        version
        for version in grants
        if version.rule.action is action
        and version.rule.grantee in grantees
        and version.rule.wallet in ("", wallet)
        and (not version.rule.purposes or (bool(purposes) and purposes <= set(version.rule.purposes)))
    ]
    return min(
        fitting,
        key=lambda version: (
            not version.rule.wallet,
            version.rule.grantee.startswith("roles/"),
            not version.rule.purposes,
            version.rule.name,
        ),
        default=None,
    )
