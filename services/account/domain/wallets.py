"""Wallets: kinds as data (`wallet_kinds.json`), and who holds one (clearing-and-ledger.md, sections 6, 8 and 11).

A wallet is an account of the ledger, `{number of its kind}.{holder}`; this module adds what an account does not know.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from services.account.domain.chart import Chart, OwnedBy
from services.account.domain.purse import PurseKey
from services.account.domain.wallet_control import WalletControl
from services.account.domain.wallet_errors import (
    HolderMismatch,
    PurposeUnknown,
    WalletKindUnknown,
    WalletStateForbids,
)

# A card in one generation of its life, as account names can write it: `jt-03104…-1`.
_CARD = re.compile(r"(cj|jt)-([0-9]{20})-([1-9][0-9]{0,8})")
# A person, under the name by which the participant that enrolled it knows it.
_PERSON = re.compile(r"p-[a-z0-9-]{1,58}")
# What debits do that are no purchase, in the place of a purpose.
MOVE = "move"
CARD_LOAD = "card_load"


class HolderKind(StrEnum):
    """Who holds a wallet."""

    CARD = "card"
    PERSON = "person"
    PARTICIPANT = "participant"

    @classmethod
    def of(cls, holder: str) -> "HolderKind":
        """What a holder is by the form of its name."""
        if _CARD.fullmatch(holder):
            return cls.CARD
        return cls.PERSON if _PERSON.fullmatch(holder) else cls.PARTICIPANT


class LotOrder(StrEnum):
    """Which part of a wallet is taken first."""

    FIFO = "fifo"
    EXPIRY = "expiry"


class Expires(StrEnum):
    """Whether the parts of a wallet end."""

    NEVER = "never"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class WalletKind:
    """One kind of wallet; data.

    Attributes:
        code: Its name, `online`.
        number: Number of the chart under which its accounts stand; no two kinds share one.
        asset: Unit and scale, from the chart.
        holders: Who may hold one.
        name_zh: Name in Chinese.
        name_en: Name in English.
        payee: Number that a debit credits; empty: no participant may debit it.
        payee_named: Whether accounts of the payee's number belong to the participant that debits.
        sources: Numbers from which it may be filled.
        covered_sources: The same, as far as their balance goes.
        purposes: What it may pay; empty: anything.
        lots: Order in which its parts are taken; None: it has none.
        expires: Whether its parts end.
        earmarked: Whether every part names what it may pay.
        moves_to: Kinds into which its holder may move it.
        loads_purse: Event under which it is loaded on the card; empty: never.
        pooled: Whether it bears for many persons: limits are counted for each of them.
        members: Whether other cards may share it.
        presold: Number that keeps the money of passes sold, not yet used; empty: none.
        rides: Numbers for rides taken and carried, of a pass that is shown instead of spent.
    """

    code: str
    number: str
    asset: str
    holders: frozenset[HolderKind]
    name_zh: str
    name_en: str
    payee: str = ""
    payee_named: bool = False
    sources: frozenset[str] = frozenset()
    covered_sources: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()
    lots: LotOrder | None = None
    expires: Expires = Expires.NEVER
    earmarked: bool = False
    moves_to: frozenset[str] = frozenset()
    loads_purse: str = ""
    pooled: bool = False
    members: bool = False
    presold: str = ""
    rides: tuple[str, str] | None = None

    @property
    def control(self) -> WalletControl:
        """What its accounts forbid to other postings."""
        return WalletControl.DEBITS if self.lots is None else WalletControl.ALL

    def account(self, holder: str) -> str:
        """Name of the account of a holder's wallet."""
        return f"{self.number}.{holder}"

    def payee_account(self, participant: str) -> str:
        """Name of the account that a debit by a participant credits."""
        number = self.rides[1] if self.rides else self.payee
        return f"{number}.{participant}" if self.payee_named else number


@dataclass(frozen=True, slots=True)
class Purpose:
    """One thing that may be paid; `code` is the word, the others its names."""

    code: str
    name_zh: str
    name_en: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All kinds of wallets and purposes, by code."""

    kinds: Mapping[str, WalletKind]
    purposes: Mapping[str, Purpose]

    @classmethod
    def from_json(cls, text: str, chart: Chart) -> "Catalogue":
        """Read the catalogue from its file.

        Raises:
            ValueError: It is no catalogue: a number, kind or purpose that is not there, or a number of two kinds.
        """
        data = json.loads(text)
        purposes = {row["code"]: Purpose(row["code"], row["zh"], row["en"]) for row in data["purposes"]}
        kinds = {row["code"]: _kind(row, chart) for row in data["kinds"]}
        if len({kind.number for kind in kinds.values()}) != len(data["kinds"]):
            raise ValueError("two kinds of wallets share a number of the chart, or a code")
        for kind in kinds.values():
            numbers = {kind.number, *kind.sources, *kind.covered_sources, *(kind.rides or ())}
            numbers |= {number for number in (kind.payee, kind.presold) if number}
            unknown = numbers - chart.lines.keys() | kind.purposes - purposes.keys() | kind.moves_to - kinds.keys()
            if unknown:
                raise ValueError(f"the kind {kind.code} names {sorted(unknown)}, which is not there")
            if any(kinds[other].asset != kind.asset for other in kind.moves_to):
                raise ValueError(f"the kind {kind.code} moves to a kind of another asset")
        return cls(kinds, purposes)

    def kind(self, code: str) -> WalletKind:
        """One kind.

        Raises:
            WalletKindUnknown: There is none.
        """
        if code not in self.kinds:
            raise WalletKindUnknown(kind=code)
        return self.kinds[code]

    def check_purposes(self, codes: frozenset[str]) -> None:
        """Let pass purposes of the catalogue.

        Raises:
            PurposeUnknown: Naming the first by code that is not in it.
        """
        for code in sorted(codes - self.purposes.keys()):
            raise PurposeUnknown(purpose=code)

    def kind_of(self, wallet: str) -> WalletKind:
        """The kind in a wallet's name.

        Raises:
            WalletKindUnknown: There is none.
        """
        return self.kind(wallet.partition(".")[0])

    def account_of(self, wallet: str) -> str:
        """The account of a wallet.

        Raises:
            WalletKindUnknown: Its name names no kind.
        """
        return self.kind_of(wallet).account(wallet.partition(".")[2])


class WalletState(StrEnum):
    """Where a wallet is: a frozen one takes and gives nothing out, a closed one does neither, for ever."""

    OPEN = "OPEN"
    FROZEN = "FROZEN"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True)
class Wallet:
    """One wallet.

    Attributes:
        kind: Code of its kind.
        holder: `jt-{20 digits}-{generation}`, `p-{person}`, or a participant.
        state: Where it is.
        create_time: When it was opened.
    """

    kind: str
    holder: str
    state: WalletState
    create_time: datetime

    @property
    def name(self) -> str:
        """`online.jt-03104…-1`."""
        return f"{self.kind}.{self.holder}"

    def check_may_give(self, account: str) -> None:
        """Let pass an open wallet.

        Raises:
            WalletStateForbids: It is frozen or closed.
        """
        if self.state is not WalletState.OPEN:
            raise WalletStateForbids(wallet=self.name, account=account, state=self.state.value)

    def check_may_take(self, account: str) -> None:
        """Let pass a wallet that is not closed.

        Raises:
            WalletStateForbids: It is closed.
        """
        if self.state is WalletState.CLOSED:
            raise WalletStateForbids(wallet=self.name, account=account, state=self.state.value)

    def moved(self, state: WalletState, account: str) -> "Wallet":
        """The wallet in another state, itself when it is in it already.

        Raises:
            WalletStateForbids: It is closed: that is for ever.
        """
        if self.state is state:
            return self
        self.check_may_take(account)
        return replace(self, state=state)


def check_holder(kind: WalletKind, holder: str) -> None:
    """Let pass a holder that may have such a wallet.

    Raises:
        HolderMismatch: Wallets of this kind belong to others.
    """
    if HolderKind.of(holder) not in kind.holders:
        holders = ", ".join(sorted(kind.holders))
        raise HolderMismatch(wallet=f"{kind.code}.{holder}", kind=kind.code, holders=holders)


def card_holder(key: PurseKey) -> str:
    """A card as the holder of wallets."""
    return f"{key.scheme}-{key.number}-{key.generation}"


def purse_of(holder: str) -> PurseKey | None:
    """The purse of the card that holds a wallet; None when the holder is no card."""
    found = _CARD.fullmatch(holder)
    return None if found is None else PurseKey.parse(f"{found[1]}-{found[2]}.{found[3]}")


def _kind(row: dict[str, object], chart: Chart) -> WalletKind:
    def words(name: str) -> frozenset[str]:
        value = row.get(name, ())
        assert isinstance(value, list | tuple)
        return frozenset(str(word) for word in value)

    number, rides = str(row["number"]), row.get("rides")
    payee = str(row.get("payee", ""))
    pair = (str(rides["taken"]), str(rides["carried"])) if isinstance(rides, dict) else None
    paid = pair[1] if pair else payee
    return WalletKind(
        code=str(row["code"]),
        number=number,
        asset=chart.asset_of(number),
        holders=frozenset(HolderKind(word) for word in words("holders")),
        name_zh=str(row["zh"]),
        name_en=str(row["en"]),
        payee=payee,
        payee_named=bool(paid) and chart.line(paid).owned_by is OwnedBy.PARTICIPANT,
        sources=words("sources"),
        covered_sources=words("covered_sources"),
        purposes=words("purposes"),
        lots=LotOrder(str(row["lots"])) if "lots" in row else None,
        expires=Expires(str(row.get("expires", "never"))),
        earmarked=bool(row.get("earmarked", False)),
        moves_to=words("moves_to"),
        loads_purse=str(row.get("loads_purse", "")),
        pooled=bool(row.get("pooled", False)),
        members=bool(row.get("members", False)),
        presold=str(row.get("presold", "")),
        rides=pair,
    )
