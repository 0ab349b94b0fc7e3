"""Settlement (资金结算): instructions to banks, what they return, and the three-way match."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import IntEnum

from services.clearing.domain.errors_settlement import BankFileInvalid

INSTRUCTION_COLUMNS = ("idempotency_key", "payout_date", "direction", "amount_fen", "account", "holder")
RETURN_COLUMNS = ("idempotency_key", "bank_reference", "amount_fen", "status", "booked_on", "note")
SPECIAL_ACCOUNT = "accounts/1002"
_ROWS_MAX = 20_000
_TEXT_MAX = 200


class InstructionState(IntEnum):
    """The numbers of `InstructionState`."""

    CREATED = 1
    SENT = 2
    PARTLY_PAID = 3
    PAID = 4
    REJECTED = 5


class BreakKind(IntEnum):
    """The numbers of `BreakKind`."""

    NOT_INSTRUCTED = 1
    INSTRUCTED_OTHERWISE = 2
    NOT_PAID = 3
    PARTLY_PAID = 4
    OVERPAID = 5
    REJECTED = 6
    UNKNOWN_RETURN = 7


@dataclass(frozen=True, slots=True)
class PaymentAccount:
    """Where a participant is paid: id of the bank, account and holder as the bank writes them."""

    participant: str
    bank: str
    account: str
    holder: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """One amount that a bank is told to move.

    Attributes:
        key: `{participant}-{YYYYMMDD}-{part}`: the bank's idempotency key, the same however often it is sent.
        amount_fen: Above 0: to the participant; below 0: from it.
        paid_fen: Moved so far in that direction.
    """

    key: str
    participant: str
    settlement_date: date
    part: str
    amount_fen: int
    payout_date: date
    account: PaymentAccount
    state: InstructionState
    paid_fen: int
    bank_note: str
    created_at: datetime

    def sent(self) -> "Instruction":
        """The bank has it (again)."""
        return replace(self, state=InstructionState.SENT if not self.paid_fen else InstructionState.PARTLY_PAID)

    def returned(self, row: "BankReturn") -> "Instruction":
        """What the bank says of it; what is paid is never taken back by a later rejection."""
        if not row.paid:
            state = InstructionState.PARTLY_PAID if self.paid_fen else InstructionState.REJECTED
            return replace(self, state=state, bank_note=row.note)
        paid = self.paid_fen + row.amount_fen
        state = InstructionState.PAID if paid >= abs(self.amount_fen) else InstructionState.PARTLY_PAID
        return replace(self, state=state, paid_fen=paid, bank_note=row.note)


@dataclass(frozen=True, slots=True)
class BankReturn:
    """One row of a return file.

    Attributes:
        amount_fen: Moved in the direction of the instruction, above 0; of a rejection, what was refused.
    """

    key: str
    bank_reference: str
    amount_fen: int
    paid: bool
    booked_on: date
    note: str


@dataclass(frozen=True, slots=True)
class Break:
    """Something that does not match."""

    kind: BreakKind
    participant: str
    reference: str
    expected_fen: int
    found_fen: int


def instruction_file(instructions: Iterable[Instruction]) -> bytes:
    """Instructions for a bank as CSV, by key: what is open of each, in fen, with its direction."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(INSTRUCTION_COLUMNS)
    for one in sorted(instructions, key=lambda item: item.key):
        writer.writerow(
            (
                one.key, one.payout_date.isoformat(), "PAY" if one.amount_fen > 0 else "COLLECT",
                abs(one.amount_fen) - one.paid_fen, one.account.account, one.account.holder,
            )
        )  # fmt: skip
    return text.getvalue().encode()


def read_return_file(content: bytes) -> list[BankReturn]:
    """The rows of a bank's return file.

    Raises:
        BankFileInvalid: Names the row (the header is 1) and the fault.
    """
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise BankFileInvalid(row=1, fault="NO_CSV_IN_UTF8") from None
    if not rows or tuple(rows[0]) != RETURN_COLUMNS:
        raise BankFileInvalid(row=1, fault="HEADER")
    if len(rows) > _ROWS_MAX + 1:
        raise BankFileInvalid(row=len(rows), fault="TOO_MANY_ROWS")
    found = [_row(number, values) for number, values in enumerate(rows[1:], 2)]
    references: dict[str, BankReturn] = {}
    for number, row in enumerate(found, 2):
        if references.setdefault(row.bank_reference, row) != row:
            raise BankFileInvalid(row=number, fault="REFERENCE_REUSED")
    return list(references.values())


def _row(number: int, values: Sequence[str]) -> BankReturn:
    if len(values) != len(RETURN_COLUMNS):
        raise BankFileInvalid(row=number, fault="COLUMNS")
    key, reference, amount, status, booked_on, note = (value.strip() for value in values)
    if not key or not reference or max(map(len, (key, reference, note))) > _TEXT_MAX:
        raise BankFileInvalid(row=number, fault="TEXT")
    if not (amount.isascii() and amount.isdigit() and 0 < int(amount) < 2**53):
        raise BankFileInvalid(row=number, fault="AMOUNT")
    if status not in ("PAID", "REJECTED"):
        raise BankFileInvalid(row=number, fault="STATUS")
    try:
        day = date.fromisoformat(booked_on)
    except ValueError:
        raise BankFileInvalid(row=number, fault="DAY") from None
    return BankReturn(key, reference, int(amount), status == "PAID", day, note)


def match(
    nets: Mapping[str, int], instructions: Sequence[Instruction], unknown: Iterable[tuple[str, BankReturn]], today: date
) -> list[Break]:
    """What does not match between statements, instructions and returns of a day.

    Args:
        nets: Net of each statement in fen, by participant.
        instructions: Of the day.
        unknown: Returned payments that nobody instructed, with their bank.
        today: Local day: what is due later is not missing yet.
    """
    breaks = []
    told: dict[str, int] = {}
    for one in instructions:
        told[one.participant] = told.get(one.participant, 0) + one.amount_fen
    for participant in sorted(nets.keys() | told.keys()):
        net, instructed = nets.get(participant, 0), told.get(participant, 0)
        if participant not in told and net:
            breaks.append(Break(BreakKind.NOT_INSTRUCTED, participant, "", net, 0))
        elif net != instructed:
            breaks.append(Break(BreakKind.INSTRUCTED_OTHERWISE, participant, "", net, instructed))
    for one in instructions:
        kind = _unpaid(one, today)
        if kind is not None:
            name = f"instructions/{one.key}"
            breaks.append(Break(kind, one.participant, name, abs(one.amount_fen), one.paid_fen))
    breaks += [Break(BreakKind.UNKNOWN_RETURN, bank, row.bank_reference, 0, row.amount_fen) for bank, row in unknown]
    return breaks


def _unpaid(one: Instruction, today: date) -> BreakKind | None:
    if one.paid_fen > abs(one.amount_fen):
        return BreakKind.OVERPAID
    if one.state is InstructionState.REJECTED:
        return BreakKind.REJECTED
    if one.state is InstructionState.PARTLY_PAID:
        return BreakKind.PARTLY_PAID
    return BreakKind.NOT_PAID if one.state is not InstructionState.PAID and one.payout_date < today else None
