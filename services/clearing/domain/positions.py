"""What a set of judged records means in money: position deltas, lines of the book, movements of cards."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from libs.records import otr
from libs.records.codes import Kind
from services.clearing.domain.judgement import PAID_CODES, TAKING_CODES, Judgement, rows_of
from services.clearing.domain.late import REST_CODE

CARD_FLOAT = "accounts/2201"
PAYABLE_TO_HOLDERS = "accounts/2206"
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, order=True)
class PositionKey:
    """What records are summed by (clearing-and-ledger.md, section 3).

    Attributes:
        participant: Surrogate of the participant that is paid.
        settlement_date: Day it settles on.
        issuer: 16 hexadecimal digits.
        acquirer: 16 hexadecimal digits.
        operator: Operator number.
        industry: Industry code.
        kind: Business kind.
        card_main_type: Main type of the cards.
        code: Result code.
    """

    participant: int
    settlement_date: date
    issuer: str
    acquirer: str
    operator: int
    industry: int
    kind: int
    card_main_type: int
    code: int

    @property
    def taken(self) -> bool:
        """Whether records of this key took their keys; the others are only counted."""
        return self.code in TAKING_CODES and self.kind in MONEY_KINDS

    @property
    def paid(self) -> bool:
        """Whether the participant is paid for them. A refund debit pays the holder, not the operator."""
        return self.taken and self.code in PAID_CODES and self.kind != Kind.REFUND_DEBIT


@dataclass(frozen=True, slots=True)
class Position:
    """Sums of one key.

    Attributes:
        record_count: Records.
        amount_fen: What the cards paid.
        list_price_fen: Before discounts.
    """

    key: PositionKey
    record_count: int
    amount_fen: int
    list_price_fen: int


@dataclass(frozen=True, slots=True)
class PostingLine:
    """One pair of accounts of the book and what moves between them, in fen."""

    debit_account: str
    credit_account: str
    amount_fen: int
    record_count: int


# A grey record takes keys only once it is decided that the card was debited: then it is a purchase like others.
MONEY_KINDS = frozenset(
    (Kind.PURCHASE, Kind.ENTRY, Kind.EXIT, Kind.CORRECTION, Kind.REFUND_DEBIT, Kind.PASS_USED, Kind.GREY)
)


def positions_of(
    records: otr.Records,
    judgement: Judgement,
    participant: npt.NDArray[np.int64],
    settlement_day: npt.NDArray[np.int64],
    rest_fen: npt.NDArray[np.int64] | None = None,
) -> list[Position]:
    """Sums of every verdict of a set, also of records that took nothing: counts in = counts out.

    Args:
        records: (n,) OTR.
        judgement: Their verdicts.
        participant: (n,) surrogate of the participant that the record counts for.
        settlement_day: (n,) day on which it settles, days since 1970.
        rest_fen: (n,) what of a late record is not paid: summed under REST_CODE, with no record of its own.
    """
    paid_fen = records["amount_fen"].astype(np.int64)
    if rest_fen is not None and rest_fen.any():
        rests = _rests_of(records, judgement, participant, settlement_day, rest_fen)
        paid_fen = paid_fen - rest_fen
    else:
        rests = []
    return _sums_of(records, judgement.codes, participant, settlement_day, paid_fen) + rests


def _rests_of(
    records: otr.Records,
    judgement: Judgement,
    participant: npt.NDArray[np.int64],
    settlement_day: npt.NDArray[np.int64],
    rest_fen: npt.NDArray[np.int64],
) -> list[Position]:
    rows = np.flatnonzero(rest_fen)
    codes = np.full(len(rows), REST_CODE, np.uint8)
    sums = _sums_of(rows_of(records, rows), codes, participant[rows], settlement_day[rows], rest_fen[rows])
    return [replace(one, record_count=0, list_price_fen=0) for one in sums]


def _sums_of(
    records: otr.Records,
    codes: npt.NDArray[np.uint8],
    participant: npt.NDArray[np.int64],
    settlement_day: npt.NDArray[np.int64],
    amount_fen: npt.NDArray[np.int64],
) -> list[Position]:
    fields = np.zeros(
        len(records),
        dtype=[
            ("participant", "i8"), ("day", "i8"), ("code", "u1"), ("kind", "u1"), ("card_main_type", "u1"),
            ("industry", "u2"), ("operator", "u4"), ("issuer", "V8"), ("acquirer", "V8"),
        ],
    )  # fmt: skip
    fields["participant"] = participant
    fields["day"] = settlement_day
    fields["code"] = codes
    for name in ("kind", "card_main_type", "industry", "operator"):
        fields[name] = records[name]
    for name in ("issuer", "acquirer"):
        fields[name] = np.ascontiguousarray(records[name]).view("V8")[:, 0]
    packed = np.ascontiguousarray(fields).view(f"V{fields.dtype.itemsize}")
    _, first, group = np.unique(packed, return_index=True, return_inverse=True)
    groups = len(first)
    counts = np.bincount(group, minlength=groups)
    # Sums stay in integers: bincount with weights would go through floating point.
    amounts, prices = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    np.add.at(amounts, group, amount_fen)
    np.add.at(prices, group, records["list_price_fen"].astype(np.int64))
    return [
        Position(
            PositionKey(
                participant=int(row["participant"]),
                settlement_date=_EPOCH + timedelta(days=int(row["day"])),
                issuer=row["issuer"].tobytes().hex().upper(),
                acquirer=row["acquirer"].tobytes().hex().upper(),
                operator=int(row["operator"]),
                industry=int(row["industry"]),
                kind=int(row["kind"]),
                card_main_type=int(row["card_main_type"]),
                code=int(row["code"]),
            ),
            int(counts[index]),
            int(amounts[index]),
            int(prices[index]),
        )
        for index, row in enumerate(fields[first])
    ]


def posting_lines(positions: Iterable[Position], names: Mapping[int, str]) -> list[PostingLine]:
    """Lines of the book for a set (clearing-and-ledger.md, section 9): card float to whom it goes.

    Args:
        positions: Of the set.
        names: Id of each participant by its surrogate.
    """
    sums: dict[str, list[int]] = {}
    for position in positions:
        key = position.key
        if not key.taken:
            continue
        if key.code not in PAID_CODES:
            account = f"accounts/2205.{names[key.participant]}"
        elif key.kind == Kind.REFUND_DEBIT:
            account = PAYABLE_TO_HOLDERS
        else:
            account = f"accounts/2203.{names[key.participant]}"
        total = sums.setdefault(account, [0, 0])
        total[0] += position.amount_fen
        total[1] += position.record_count
    return [
        PostingLine(CARD_FLOAT, account, amount, count) for account, (amount, count) in sorted(sums.items()) if amount
    ]
