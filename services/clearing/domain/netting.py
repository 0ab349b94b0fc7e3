"""Netting (轧差): what the lines of a day come to for everybody, and how it is paid (clearing-and-ledger.md, 4)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from libs.records.statement import StatementLine

CENTRE = "centre"


class Model(IntEnum):
    """How a participant is settled; the numbers of `SettlementModel`."""

    NET = 1
    GROSS = 2
    BILATERAL = 3


@dataclass(frozen=True, slots=True)
class Net:
    """What a party receives (above 0) or owes (below 0), in fen."""

    party: str
    as_acquirer_fen: int
    as_issuer_fen: int

    @property
    def net_fen(self) -> int:
        """Both roles."""
        return self.as_acquirer_fen + self.as_issuer_fen


def netting(lines: Iterable[StatementLine], subsidies: Iterable[tuple[str, int]] = ()) -> list[Net]:
    """Nets of all parties with the centre; they sum to zero.

    Acquirers get gross + subsidy - fee + adjustment, issuers owe gross + adjustment, the centre gets the fees, and
    authorities owe the subsidies.

    Args:
        lines: Of all statements of a day.
        subsidies: Authority and amount in fen, of all statements of the day.
    """
    acquirers: dict[str, int] = {}
    issuers: dict[str, int] = {}
    for line in lines:
        acquirers[line.acquirer] = acquirers.get(line.acquirer, 0) + line.net_fen
        issuers[line.issuer] = issuers.get(line.issuer, 0) - line.gross_fen - line.adjustment_fen
        acquirers[CENTRE] = acquirers.get(CENTRE, 0) + line.fee_fen
    for authority, amount in subsidies:
        issuers[authority] = issuers.get(authority, 0) - amount
    return [Net(one, acquirers.get(one, 0), issuers.get(one, 0)) for one in sorted(acquirers.keys() | issuers.keys())]


@dataclass(frozen=True, slots=True)
class Order:
    """One amount that is to be paid.

    Attributes:
        part: `net`, `gross`, `fee` or the digits of an issuer: with participant and day it names the order.
        amount_fen: Above 0: the participant is paid; below 0: it pays.
    """

    part: str
    amount_fen: int


def orders(model: Model, lines: Sequence[StatementLine]) -> list[Order]:
    """What is to be paid for a statement; whatever the model, the amounts sum to its net. Nothing is no order."""
    if model is Model.NET:
        made = [Order("net", sum(line.net_fen for line in lines))]
    elif model is Model.GROSS:
        gets = sum(line.gross_fen + line.subsidy_fen + line.adjustment_fen for line in lines)
        made = [Order("gross", gets), Order("fee", -sum(line.fee_fen for line in lines))]
    else:
        by_issuer: dict[str, int] = {}
        for line in lines:
            by_issuer[line.issuer] = by_issuer.get(line.issuer, 0) + line.net_fen
        made = [Order(issuer, amount) for issuer, amount in sorted(by_issuer.items())]
    return [one for one in made if one.amount_fen]
