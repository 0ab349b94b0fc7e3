"""Apportionment (清分分摊): whose the fares are and who bears the discounts, by versioned rules, exact to the fen.

Fares are split record by record as columns: the shares of each sum to it (I9). Discounts are summed by clause and
split once per line of the statement, as fees are rounded (clearing-and-ledger.md, sections 4 and 5).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from libs.money import half_up, largest_remainder
from libs.records import otr
from libs.records.codes import Kind
from services.clearing.domain.adjustment import PAYABLE
from services.clearing.domain.errors_settlement import RulesInvalid
from services.clearing.domain.judgement import I64, PAID_CODES, Bools, Judgement
from services.clearing.domain.positions import PostingLine

SELF = "self"
"""The participant whose record it is."""
AUTHORITY = "authority:"
"""Before the name of a public authority: what it owes stands on account 1224."""
_BP = 10_000
_EPOCH = date(1970, 1, 1)
_WEIGHT_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Scope:
    """Which records a clause is about; an empty list is all.

    Attributes:
        participants: Ids.
        operators: Operator numbers.
        industries: Industry codes.
        lines: Line numbers of 6 digits.
        card_types: Card main types.
        transfer: True: only records with the mark of a transfer discount; False: only those without.
    """

    participants: tuple[str, ...] = ()
    operators: tuple[int, ...] = ()
    industries: tuple[int, ...] = ()
    lines: tuple[str, ...] = ()
    card_types: tuple[int, ...] = ()
    transfer: bool | None = None


@dataclass(frozen=True, slots=True)
class Clause:
    """Shares of what the records of a scope amount to.

    Attributes:
        id: Number within the rules, above 0.
        shares: Party and weight; `self`, a participant, or for discounts `authority:<name>`. Where remainders are equal
            the earlier party gets the fen.
    """

    id: int
    text_zh: str
    text_en: str
    scope: Scope
    shares: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class FeeRule:
    """A fee of one class (F74).

    Attributes:
        fee_class: `fare`, `centre`, `one_card` or `service`; of one class the first rule that fits a line counts.
        participant: Who pays; empty for everybody.
        issuer: Only cards of this issuer, 16 hexadecimal digits; empty for all.
        operators: Only these operator numbers; empty for all.
        rate_bp: Hundredths of a percent of the gross, half up once per line.
        per_record_fen: Beside it, for each record.
        payee: Participant that gets it; empty for the centre.
    """

    id: int
    fee_class: str
    participant: str
    issuer: str
    operators: tuple[int, ...]
    rate_bp: int
    per_record_fen: int
    payee: str

    def fits(self, issuer: str, operator: int) -> bool:
        """Whether it is about a line of the payer's statement."""
        return self.issuer in ("", issuer) and (not self.operators or operator in self.operators)

    def of_line(self, gross_fen: int, record_count: int) -> int:
        """The fee of a line in fen."""
        return half_up(gross_fen * self.rate_bp, _BP) + record_count * self.per_record_fen


@dataclass(frozen=True, slots=True)
class Rules:
    """One version of the rules.

    Attributes:
        effective_on: First settlement date that it holds for.
        fares: The first clause that fits a record splits it; without one it is its participant's own.
        discounts: The first clause that fits says who bears list price less amount; without one its participant does.
        fees: Where there are any for a participant, they replace the rate of its registration.
    """

    effective_on: date
    fares: tuple[Clause, ...]
    discounts: tuple[Clause, ...]
    fees: tuple[FeeRule, ...]

    def check(self) -> None:
        """Let pass rules that can be applied to any record.

        Raises:
            RulesInvalid: A number comes twice, weights are no shares, or a party is none.
        """
        for name, clauses in (("fares", self.fares), ("discounts", self.discounts)):
            for clause in clauses:
                where = f"{name} {clause.id}"
                weights = [weight for _, weight in clause.shares]
                parties = [party for party, _ in clause.shares]
                if not weights or min(weights) < 0 or not 0 < sum(weights) <= _WEIGHT_MAX:
                    raise RulesInvalid(where=where, fault="WEIGHTS")
                if len(set(parties)) != len(parties):
                    raise RulesInvalid(where=where, fault="PARTY_TWICE")
                if name == "fares" and any(party.startswith(AUTHORITY) for party in parties):
                    raise RulesInvalid(where=where, fault="AUTHORITY_EARNS_NO_FARE")
            ids = [clause.id for clause in clauses]
            if len(set(ids)) != len(ids) or any(one <= 0 for one in ids):
                raise RulesInvalid(where=name, fault="NUMBER")

    def participants(self) -> set[str]:
        """Participants that the rules name."""
        named = {party for clause in (*self.fares, *self.discounts) for party, _ in clause.shares}
        named |= {one for fee in self.fees for one in (fee.payee, fee.participant)}
        named |= {one for clause in (*self.fares, *self.discounts) for one in clause.scope.participants}
        return {one for one in named if one and one != SELF and not one.startswith(AUTHORITY)}

    def sharers(self) -> set[str]:
        """Participants that may get a share of another's fares."""
        return {party for clause in self.fares for party, _ in clause.shares} - {SELF}


def rules_on(versions: Sequence[Rules], day: date) -> Rules | None:
    """The version in force for a settlement date."""
    begun = [one for one in versions if one.effective_on <= day]
    return max(begun, key=lambda one: one.effective_on) if begun else None


@dataclass(frozen=True, slots=True)
class Share:
    """What of the fares of some records belongs to a party: sums over a set.

    Attributes:
        owner: Surrogate of the participant whose records they are.
        owner_day: Their settlement date.
        party: Surrogate of whom it belongs to.
        clause: Number of the clause; 0 for none.
        line: 6 digits.
        record_count: Records, told with the first party of a clause only, so that counts sum to the records.
        party_day: Window that it fell into; None: the owner's own.
    """

    owner: int
    owner_day: date
    party: int
    clause: int
    operator: int
    industry: int
    line: str
    record_count: int
    amount_fen: int
    party_day: date | None = None


@dataclass(frozen=True, slots=True)
class Discount:
    """Discounts of some records that one clause says who bears: sums over a set."""

    owner: int
    owner_day: date
    clause: int
    issuer: str
    acquirer: str
    operator: int
    record_count: int
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Apportioned:
    """A set, apportioned."""

    shares: tuple[Share, ...] = ()
    discounts: tuple[Discount, ...] = ()


def split_columns(amount_fen: I64, weights: Sequence[int]) -> I64:
    """Every amount split by the same weights, (n, k): each row is `libs.money.largest_remainder` of it.

    Args:
        amount_fen: (n,) 0 or more, below 2^40.
        weights: k weights, 0 or more, one above.
    """
    parts = np.array(weights, np.int64)
    whole = int(parts.sum())
    exact = amount_fen[:, None] * parts
    shares = exact // whole
    left = amount_fen - shares.sum(axis=1)
    # A fen each to the largest remainders, the earlier first among equal ones.
    order = np.argsort(-(exact % whole), axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    given: I64 = shares + (rank < left[:, None])
    return given


def paid_mask(records: otr.Records, judgement: Judgement) -> Bools:
    """Whom fares are made of: taken, paid, and not a refund debit, which pays the holder."""
    kind = records["kind"]
    money = ((kind >= Kind.PURCHASE) & (kind <= Kind.CORRECTION)) | (kind == Kind.PASS_USED) | (kind == Kind.GREY)
    mask: Bools = judgement.takes & np.isin(judgement.codes, PAID_CODES) & money
    return mask


def apportion(
    records: otr.Records, judgement: Judgement, participant: I64, settlement_day: I64, rest_fen: I64 | None,
    versions: Sequence[Rules], ids: Mapping[int, str], asked: Bools,
) -> Apportioned:  # fmt: skip
    """Split the fares of a set and sum its discounts.

    Args:
        records: (n,) OTR.
        judgement: Their verdicts.
        participant: (n,) surrogate of whose record it is.
        settlement_day: (n,) days since 1970.
        rest_fen: (n,) what of late records is not paid, or None.
        versions: All versions of the rules.
        ids: Id of every participant by its surrogate.
        asked: (n,) which records to look at.
    """
    paid = paid_mask(records, judgement) & asked
    amount = records["amount_fen"].astype(np.int64)
    if rest_fen is not None:
        amount = amount - rest_fen
    discount = np.maximum(records["list_price_fen"].astype(np.int64) - records["amount_fen"], 0)
    numbers = {name: number for number, name in ids.items()}
    shares: list[Share] = []
    discounts: list[Discount] = []
    for day in np.unique(settlement_day[paid]).tolist():
        on = _EPOCH + timedelta(days=day)
        rules = rules_on(versions, on)
        if rules is None:
            continue
        today = paid & (settlement_day == day)
        for clause, rows in _by_clause(rules.fares, records, participant, today, ids, rest=True):
            shares += _shares(records, participant, amount, rows, clause, on, numbers)
        given = today & (discount > 0)
        for clause, rows in _by_clause(rules.discounts, records, participant, given, ids, rest=False):
            assert clause is not None, "without a clause the participant bears it, and nothing is to be summed"
            discounts += _discounts(records, participant, discount, rows, clause, on)
    made = Apportioned(tuple(shares), tuple(discounts))
    covered = paid & np.isin(settlement_day, [(one.owner_day - _EPOCH).days for one in shares])
    # Invariant I9, where the money moves: what does not add up is never committed.
    assert sum(one.amount_fen for one in shares) == int(amount[covered].sum()), "shares sum to the fares"
    assert sum(one.record_count for one in shares) == int(covered.sum()), "every fare is apportioned once"
    return made


def moved(lines: Iterable[PostingLine], shares: Sequence[Share], ids: Mapping[int, str]) -> list[PostingLine]:
    """Lines of the book of a set with every share on the account of whom it belongs to; the total stays."""
    lines = list(lines)
    if all(one.party == one.owner for one in shares):
        return lines
    sums: dict[tuple[str, str], list[int]] = {}
    for line in lines:
        total = sums.setdefault((line.debit_account, line.credit_account), [0, 0])
        total[0] += line.amount_fen
        total[1] += line.record_count
    (source,) = {debit for debit, _ in sums}
    for one in shares:
        if one.party != one.owner:
            sums.setdefault((source, f"{PAYABLE}.{ids[one.owner]}"), [0, 0])[0] -= one.amount_fen
            sums.setdefault((source, f"{PAYABLE}.{ids[one.party]}"), [0, 0])[0] += one.amount_fen
    assert all(amount >= 0 for amount, _ in sums.values()), "nobody gives away more than it takes"
    return [
        PostingLine(debit, credit, amount, count) for (debit, credit), (amount, count) in sorted(sums.items()) if amount
    ]


@dataclass(frozen=True, slots=True)
class Funding:
    """What a funder pays of the discounts of one line of a statement.

    Attributes:
        clause: Number of the clause.
        funder: A participant, or `authority:<name>`.
        discount_fen: The whole discount of the line under the clause.
        amount_fen: The funder's part.
    """

    clause: int
    funder: str
    issuer: str
    acquirer: str
    operator: int
    discount_fen: int
    amount_fen: int


def fundings(discounts: Iterable[Discount], rules: Rules | None) -> list[Funding]:
    """Split the discounts of a window once per line and clause; what nobody else bears is left out."""
    if rules is None:
        return []
    clauses = {clause.id: clause for clause in rules.discounts}
    sums: dict[tuple[int, str, str, int], int] = {}
    for one in discounts:
        key = (one.clause, one.issuer, one.acquirer, one.operator)
        sums[key] = sums.get(key, 0) + one.amount_fen
    made = []
    for (number, issuer, acquirer, operator), total in sorted(sums.items()):
        parties = clauses[number].shares
        for (party, _), amount in zip(
            parties, largest_remainder(total, [weight for _, weight in parties]), strict=True
        ):
            if amount and party != SELF:
                made.append(Funding(number, party, issuer, acquirer, operator, total, amount))
    return made


def _by_clause(
    clauses: Sequence[Clause], records: otr.Records, participant: I64, open_rows: Bools, ids: Mapping[int, str], *,
    rest: bool,
) -> list[tuple[Clause | None, npt.NDArray[np.intp]]]:  # fmt: skip
    """Rows of each clause that fits any, the first that fits; with `rest` also those that none fits, under None."""
    left = open_rows.copy()
    found: list[tuple[Clause | None, npt.NDArray[np.intp]]] = []
    for clause in clauses:
        fits = left & _fits(clause.scope, records, participant, ids)
        if fits.any():
            found.append((clause, np.flatnonzero(fits)))
            left &= ~fits
    if rest and left.any():
        found.append((None, np.flatnonzero(left)))
    return found


def _fits(scope: Scope, records: otr.Records, participant: I64, ids: Mapping[int, str]) -> Bools:
    fits = np.ones(len(records), np.bool_)
    if scope.participants:
        fits &= np.isin(participant, [number for number, name in ids.items() if name in scope.participants])
    for name, wanted in (
        ("operator", scope.operators), ("industry", scope.industries), ("card_main_type", scope.card_types),
    ):  # fmt: skip
        if wanted:
            fits &= np.isin(records[name], wanted)
    if scope.lines:
        wanted_lines = [int(one, 16) for one in scope.lines]
        fits &= np.isin(_line_numbers(records), wanted_lines)
    if scope.transfer is not None:
        fits &= ((records["flags"] & otr.Flag.TRANSFER_DISCOUNT) != 0) == scope.transfer
    return fits


def _line_numbers(records: otr.Records) -> I64:
    """The three bytes of each line as one number: its digits read as hexadecimal ones."""
    line = records["line"].astype(np.int64)
    numbers: I64 = (line[:, 0] << 16) | (line[:, 1] << 8) | line[:, 2]
    return numbers


def _groups(columns: Mapping[str, npt.NDArray[np.generic]]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First row of each group of equal columns, and the group of each row."""
    # Column by column into one number: sorting rows of several columns takes fifteen times as long.
    key: I64 = np.zeros(len(next(iter(columns.values()))), np.int64)
    for column in columns.values():
        values, place = np.unique(column.astype(np.int64), return_inverse=True)
        _, key = np.unique(key * len(values) + place, return_inverse=True)
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    return first, group


def _shares(
    records: otr.Records, participant: I64, amount: I64, rows: npt.NDArray[np.intp], clause: Clause | None, on: date,
    numbers: Mapping[str, int],
) -> list[Share]:  # fmt: skip
    some = records[rows]
    lines = _line_numbers(some)
    owner, operator, industry = participant[rows], some["operator"], some["industry"]
    first, group = _groups({"owner": owner, "operator": operator, "industry": industry, "line": lines})
    parties = clause.shares if clause else ((SELF, 1),)
    split = split_columns(amount[rows], [weight for _, weight in parties])
    counts = np.bincount(group, minlength=len(first))
    made = []
    for place, (party, _) in enumerate(parties):
        sums = np.zeros(len(first), np.int64)
        np.add.at(sums, group, split[:, place])
        made += [
            Share(
                owner=int(owner[row]), owner_day=on, party=int(owner[row]) if party == SELF else numbers[party],
                clause=clause.id if clause else 0, operator=int(operator[row]), industry=int(industry[row]),
                line=f"{int(lines[row]):06X}", record_count=int(counts[index]) if place == 0 else 0,
                amount_fen=int(sums[index]),
            )
            for index, row in enumerate(first)
        ]  # fmt: skip
    return [one for one in made if one.record_count or one.amount_fen]


def _discounts(
    records: otr.Records, participant: I64, discount: I64, rows: npt.NDArray[np.intp], clause: Clause, on: date
) -> list[Discount]:
    some = records[rows]
    issuer, acquirer = (np.ascontiguousarray(some[name]).view(">i8")[:, 0] for name in ("issuer", "acquirer"))
    owner, operator = participant[rows], some["operator"]
    first, group = _groups({"owner": owner, "issuer": issuer, "acquirer": acquirer, "operator": operator})
    counts, sums = np.bincount(group, minlength=len(first)), np.zeros(len(first), np.int64)
    np.add.at(sums, group, discount[rows])
    return [
        Discount(
            owner=int(owner[row]), owner_day=on, clause=clause.id, issuer=some["issuer"][row].tobytes().hex().upper(),
            acquirer=some["acquirer"][row].tobytes().hex().upper(), operator=int(operator[row]),
            record_count=int(counts[index]), amount_fen=int(sums[index]),
        )
        for index, row in enumerate(first)
    ]  # fmt: skip
