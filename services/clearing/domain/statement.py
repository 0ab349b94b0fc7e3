"""Statements (结算单): what a closed window says, as a pure function of its positions.

Nothing of the moment of closing enters the bytes: whoever recomputes a statement from the uploads gets the same ones.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from libs.records.batch import FileType, decode_batch, encode_batch
from libs.records.numbers import institution_text
from libs.records.statement import StatementLine, decode_statement, encode_statement
from services.clearing.domain.apportion import AUTHORITY
from services.clearing.domain.fees import fees_of_line
from services.clearing.domain.judgement import ORDER_DEPENDENT_CODES
from services.clearing.domain.participant import Participant
from services.clearing.domain.positions import Position
from services.clearing.domain.terms import Terms, plain_terms

FIRST_LINK = bytes(32)
"""Chain hash before a participant's first statement."""

_CSV_COLUMNS = (
    "settlement_date", "participant", "issuer", "acquirer", "operator", "industry", "kind", "card_main_type", "code",
    "record_count", "list_price_fen", "amount_fen",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of a window in fen. `gross` is what cards paid, before the fee; `list_price` before discounts."""

    record_count: int
    list_price_fen: int
    gross_fen: int
    subsidy_fen: int
    fee_fen: int
    adjustment_fen: int

    @property
    def discount_fen(self) -> int:
        """List prices less what cards paid."""
        return self.list_price_fen - self.gross_fen

    @property
    def net_fen(self) -> int:
        """What the participant receives."""
        return self.gross_fen + self.subsidy_fen - self.fee_fen + self.adjustment_fen


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    Attributes:
        number: Within the participant, from 1.
        totals: Sums over its paid records.
        verdicts: (code, record count, amount in fen) of the records that took their keys, by code, warnings as 00.
        st_file: ST file, bytes.
        csv_file: The same by kind, card type and code, UTF-8.
        records_digest: SHA-256 over the ordered records of the window, 32 bytes.
        sha256: Of the ST file, 32 bytes.
        chain_hash: SHA-256 over the chain hash before, `sha256` and `records_digest`, 32 bytes.
    """

    participant: str
    settlement_date: date
    number: int
    payout_date: date
    totals: Totals
    verdicts: tuple[tuple[int, int, int], ...]
    st_file: bytes
    csv_file: bytes
    records_digest: bytes
    sha256: bytes
    chain_hash: bytes


def make_statement(
    participant: Participant,
    settlement_date: date,
    positions: Sequence[Position],
    *,
    number: int,
    centre: str,
    records_digest: bytes,
    previous_link: bytes,
    terms: Terms | None = None,
) -> Statement:
    """The statement of a window.

    Args:
        participant: Whose window it is, with the fee in force.
        settlement_date: Of the window.
        positions: All of the window, in any order, several rows per key allowed.
        number: Of the statement within the participant.
        centre: Institution id of the centre, 16 hexadecimal digits, the sender of the file.
        records_digest: Over the ordered records.
        previous_link: Chain hash of the participant's statement before, `FIRST_LINK` for the first.
        terms: What else it is made by; without them the plain ones.
    """
    terms = terms or plain_terms(settlement_date)
    taken = [whatever_the_order(position) for position in positions if position.key.taken]
    paid = [position for position in taken if position.key.paid]
    pay_day = terms.payout_date
    lines = []
    keys = {(p.key.issuer, p.key.acquirer, p.key.operator) for p in paid}
    # What no record of the window made stands on the participant's own line with the issuer that it is about.
    mine = (participant.institution_id, participant.operator_number)
    keys |= {(one.issuer, *mine) for one in terms.adjustments}
    for issuer, acquirer, operator in sorted(keys):
        of_line = [p for p in paid if (p.key.issuer, p.key.acquirer, p.key.operator) == (issuer, acquirer, operator)]
        gross, count = sum(p.amount_fen for p in of_line), sum(p.record_count for p in of_line)
        lines.append(
            StatementLine(
                settlement_date=settlement_date,
                issuer=institution_text(bytes.fromhex(issuer)),
                acquirer=institution_text(bytes.fromhex(acquirer)),
                operator=operator,
                industry=0,
                kind=0,
                card_main_type=0,
                count=count,
                gross_fen=gross,
                subsidy_fen=sum(
                    one.amount_fen
                    for one in terms.fundings
                    if one.funder.startswith(AUTHORITY)
                    and (one.issuer, one.acquirer, one.operator) == (issuer, acquirer, operator)
                ),
                fee_fen=sum(fee.amount_fen for fee in fees_of_line(participant, terms, issuer, operator, gross, count)),
                adjustment_fen=sum(
                    one.amount_fen for one in terms.adjustments if (one.issuer, *mine) == (issuer, acquirer, operator)
                ),
                payout_date=pay_day,
                statement_number=number,
            )
        )
    totals = Totals(
        record_count=sum(line.count for line in lines),
        list_price_fen=sum(p.list_price_fen for p in paid),
        gross_fen=sum(line.gross_fen for line in lines),
        subsidy_fen=sum(line.subsidy_fen for line in lines),
        fee_fen=sum(line.fee_fen for line in lines),
        adjustment_fen=sum(line.adjustment_fen for line in lines),
    )
    st_file = encode_batch(
        FileType.ST,
        encode_statement(lines),
        sender=institution_text(bytes.fromhex(centre)),
        receiver=institution_text(bytes.fromhex(participant.institution_id)),
        # Numbered per receiver [convention]: a common count would let one participant's closing change another's bytes.
        batch_number=number,
        created=participant.cut_off_instant(settlement_date),
        business_date=settlement_date,
    )
    sha256 = hashlib.sha256(st_file).digest()
    return Statement(
        participant=participant.id,
        settlement_date=settlement_date,
        number=number,
        payout_date=pay_day,
        totals=totals,
        verdicts=verdicts_of(taken),
        st_file=st_file,
        csv_file=_csv(participant, settlement_date, taken),
        records_digest=records_digest,
        sha256=sha256,
        chain_hash=hashlib.sha256(previous_link + sha256 + records_digest).digest(),
    )


def statement_lines(statement: Statement) -> list[StatementLine]:
    """The lines of a statement, as its ST file says them."""
    return decode_statement(decode_batch(statement.st_file, FileType.ST).records)


def whatever_the_order(position: Position) -> Position:
    """The position under a code that does not depend on the order in which records arrived."""
    if position.key.code not in ORDER_DEPENDENT_CODES:
        return position
    return replace(position, key=replace(position.key, code=0))


def verdicts_of(positions: Iterable[Position]) -> tuple[tuple[int, int, int], ...]:
    """(code, record count, amount in fen), by code."""
    sums: dict[int, list[int]] = {}
    for position in positions:
        total = sums.setdefault(position.key.code, [0, 0])
        total[0] += position.record_count
        total[1] += position.amount_fen
    return tuple((code, count, amount) for code, (count, amount) in sorted(sums.items()))


def _csv(participant: Participant, settlement_date: date, positions: Iterable[Position]) -> bytes:
    sums: dict[tuple[str, str, int, str, int, int, int], list[int]] = {}
    for position in positions:
        key = position.key
        group = (key.issuer, key.acquirer, key.operator, f"{key.industry:04X}", key.kind, key.card_main_type, key.code)
        total = sums.setdefault(group, [0, 0, 0])
        for place, value in enumerate((position.record_count, position.list_price_fen, position.amount_fen)):
            total[place] += value
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for group, total in sorted(sums.items()):
        writer.writerow((settlement_date.isoformat(), participant.id, *group, *total))
    return text.getvalue().encode()
