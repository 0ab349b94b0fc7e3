"""The chart of accounts: data (`chart.json`), one line per number of clearing-and-ledger.md, section 8."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from services.account.domain.errors import ChartNumberUnknown

# `{number}` or `{number}.{owner}`, as the contract writes it behind `accounts/`.
_ACCOUNT_NAME = re.compile(r"[0-9]{4}(?:[.][a-z0-9-]{1,60})?")
# `{unit}/{scale}`, `CNY/2`.
_ASSET = re.compile(r"[A-Z][A-Z0-9]{0,9}/[0-9]")


class AccountKind(StrEnum):
    """What an account is in a balance sheet."""

    ASSET = "asset"
    LIABILITY = "liability"
    INCOME = "income"
    EXPENSE = "expense"

    @property
    def grows_by_debits(self) -> bool:
        """Whether debits raise the balance; the other kinds grow by credits."""
        return self in (AccountKind.ASSET, AccountKind.EXPENSE)


class Side(IntEnum):
    """The side of an account that a leg stands on; the numbers are stored and hashed."""

    DEBIT = 1
    CREDIT = 2

    @property
    def other(self) -> "Side":
        """The opposite side."""
        return Side.CREDIT if self is Side.DEBIT else Side.DEBIT


class OwnedBy(StrEnum):
    """Who the owners within a number are: a participant may see only accounts that participants own."""

    CENTRE = "centre"
    OUTLET = "outlet"
    PARTICIPANT = "participant"
    HOLDER = "holder"


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One number of the chart.

    Attributes:
        number: Four digits.
        kind: Asset, liability, income or expense.
        owned_by: Who the owners within the number are.
        name_zh: Name in Chinese.
        name_en: Name in English.
        asset: Unit and scale of its accounts, `CNY/2` for fen.
        floored: Whether its accounts may not fall below zero unless an overdraft was granted.
    """

    number: str
    kind: AccountKind
    owned_by: OwnedBy
    name_zh: str
    name_en: str
    asset: str
    floored: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """The numbers that may be booked on.

    Attributes:
        asset: Unit and scale of the lines that name no other, `CNY/2` is fen.
        assets: Every unit that a line may have, `{unit}/{digits behind the point}`.
        float_number: The number whose legs stand for purses (card float, 2201).
        load_events: Words of events whose credits on the float are written on the card itself; legs of all other
            events correct the book only, and never explain a balance that a card printed.
        lines: By number.
    """

    asset: str
    assets: frozenset[str]
    float_number: str
    load_events: frozenset[str]
    lines: Mapping[str, ChartLine]

    @classmethod
    def from_json(cls, text: str) -> "Chart":
        """Read the chart from its file.

        Raises:
            ValueError: The file is no chart: unknown kind or asset, a number twice, no line for the float.
        """
        data = json.loads(text)
        lines = [
            ChartLine(
                row["number"],
                AccountKind(row["kind"]),
                OwnedBy(row["owner"]),
                row["zh"],
                row["en"],
                row.get("asset", data["asset"]),
                row.get("floored", False),
            )
            for row in data["lines"]
        ]
        by_number = {line.number: line for line in lines}
        if len(by_number) != len(lines) or data["float"] not in by_number:
            raise ValueError("the chart names a number twice, or has no line for the card float")
        assets = frozenset({data["asset"], *data.get("assets", ())})
        for asset in (*assets, *(line.asset for line in lines)):
            if asset not in assets or _ASSET.fullmatch(asset) is None:
                raise ValueError(f"{asset!r} is no asset of the chart")
        return cls(data["asset"], assets, data["float"], frozenset(data["load_events"]), by_number)

    def line(self, account: str) -> ChartLine:
        """The line of an account's number.

        Raises:
            ChartNumberUnknown: The number is not in the chart.
        """
        number = chart_number_of(account)
        if number not in self.lines:
            raise ChartNumberUnknown(chart_number=number)
        return self.lines[number]

    def asset_of(self, account: str) -> str:
        """Unit and scale of an account; of a number outside of the chart, which is refused elsewhere, the default."""
        line = self.lines.get(chart_number_of(account))
        return line.asset if line is not None else self.asset

    def participant_numbers(self) -> list[str]:
        """The numbers whose owners are participants, in order."""
        return sorted(number for number, line in self.lines.items() if line.owned_by is OwnedBy.PARTICIPANT)


def is_account_name(name: str) -> bool:
    """Whether a text has the form of an account's name, `2203.metro-1`; the number may still be unknown."""
    return _ACCOUNT_NAME.fullmatch(name) is not None


def chart_number_of(account: str) -> str:
    """The number within the chart, `2203` of `2203.metro-1`."""
    return account.partition(".")[0]


def owner_of(account: str) -> str:
    """The owner within the number, `metro-1` of `2203.metro-1`; empty for the centre's own accounts."""
    return account.partition(".")[2]
