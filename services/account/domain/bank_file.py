"""The daily file of a bank (docs/partners/bank.md, section 4): decoded strictly, whole or not at all, into columns."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from services.account.domain.bank_errors import BankFileMalformed
from services.account.domain.bank_leg import BankState, Direction

# Longer ones are refused before they are looked at, bytes; about half a million operations.
BYTES_MAX = 64 * 1024 * 1024
_HEADER = re.compile(
    r"H,citycard-bank-file,1,(?P<bank>[a-z0-9][a-z0-9-]{0,58}),(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}),"
    r"(?P<revision>[1-9][0-9]{0,5}),(?P<currency>[A-Z]{3})"
)
_DETAIL = re.compile(
    r"D,([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}),(DEBIT|CREDIT),([1-9][0-9]{0,14}),"
    r"(HELD|CAPTURED|REVERSED),([A-Za-z0-9._-]{0,64}),"
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)"
)
_TRAILER = re.compile(r"T,(0|[1-9][0-9]{0,8}),(0|[1-9][0-9]{0,17}),(0|[1-9][0-9]{0,17}),([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class BankFile:
    """A daily file; its lines as columns of equal length, in the order of the file.

    Attributes:
        bank: Participant id that the header says.
        business_date: Whose operations it lists.
        revision: From 1; a higher one takes the place of those before.
        currency: Of all amounts.
        digest: SHA-256 of the whole file, 32 bytes.
        operations: UUIDs as text, each once.
        directions: `DEBIT` or `CREDIT`.
        amounts_fen: Above 0.
        states: `HELD`, `CAPTURED` or `REVERSED`.
        references: The bank's own.
        times: When each operation came to its state.
        debit_total_fen: Sum of the captured debits.
        credit_total_fen: Sum of the captured credits.
    """

    bank: str
    business_date: date
    revision: int
    currency: str
    digest: bytes
    operations: tuple[str, ...]
    directions: tuple[str, ...]
    amounts_fen: tuple[int, ...]
    states: tuple[str, ...]
    references: tuple[str, ...]
    times: tuple[datetime, ...]
    debit_total_fen: int
    credit_total_fen: int

    @classmethod
    def decode(cls, content: bytes) -> "BankFile":
        """Read a file.

        Raises:
            BankFileMalformed: Naming the first line, from 1, that breaks the format, and its mistake; then what of the
                trailer does not fit.
        """
        if len(content) > BYTES_MAX:
            raise BankFileMalformed(line=0, mistake=f"longer than {BYTES_MAX} bytes")
        try:
            text = content.decode("ascii")
        except UnicodeDecodeError as mistake:
            line = content.count(b"\n", 0, mistake.start) + 1
            raise BankFileMalformed(line=line, mistake="a byte that is no ASCII") from None
        if not text.endswith("\n"):
            raise BankFileMalformed(line=text.count("\n") + 1, mistake="the last line has no line end: cut off?")
        lines = text[:-1].split("\n")
        header = _HEADER.fullmatch(lines[0])
        if header is None:
            raise BankFileMalformed(line=1, mistake="no header of version 1")
        business_date = _date(header["date"])
        rows = [_detail(line, number) for number, line in enumerate(lines[1:-1], 2)]
        operations = [row[0] for row in rows]
        _each_once(operations)
        debits, credits_ = (_captured(rows, direction) for direction in Direction)
        body = content[: content.rindex(b"\n", 0, -1) + 1] if len(lines) > 1 else content
        _check_trailer(lines, len(rows), debits, credits_, hashlib.sha256(body).hexdigest())
        return cls(
            bank=header["bank"],
            business_date=business_date,
            revision=int(header["revision"]),
            currency=header["currency"],
            digest=hashlib.sha256(content).digest(),
            operations=tuple(operations),
            directions=tuple(row[1] for row in rows),
            amounts_fen=tuple(row[2] for row in rows),
            states=tuple(row[3] for row in rows),
            references=tuple(row[4] for row in rows),
            times=tuple(row[5] for row in rows),
            debit_total_fen=debits,
            credit_total_fen=credits_,
        )

    def __len__(self) -> int:
        return len(self.operations)


_Row = tuple[str, str, int, str, str, datetime]


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BankFileMalformed(line=1, mistake=f"{text} is no day") from None


def _detail(line: str, number: int) -> _Row:
    found = _DETAIL.fullmatch(line)
    if found is None:
        # A second header, an early trailer, a blank line, a field too many: never skipped, never guessed at.
        raise BankFileMalformed(line=number, mistake="no detail line")
    operation, direction, amount, state, reference, at = found.groups()
    try:
        time = datetime.fromisoformat(at).astimezone(UTC)
    except ValueError:
        raise BankFileMalformed(line=number, mistake=f"{at} is no moment") from None
    return operation, direction, int(amount), state, reference, time


def _each_once(operations: Sequence[str]) -> None:
    if len(set(operations)) == len(operations):
        return
    seen: set[str] = set()
    for number, operation in enumerate(operations, 2):
        if operation in seen:
            raise BankFileMalformed(line=number, mistake=f"operation {operation} stands twice")
        seen.add(operation)


def _captured(rows: Sequence[_Row], direction: Direction) -> int:
    return sum(row[2] for row in rows if row[1] == direction.value and row[3] == BankState.CAPTURED.value)


def _check_trailer(lines: Sequence[str], count: int, debits: int, credits_: int, digest: str) -> None:
    number = len(lines)
    found = _TRAILER.fullmatch(lines[-1]) if number > 1 else None
    if found is None:
        raise BankFileMalformed(line=number, mistake="no trailer: cut off?")
    for name, said, counted in (
        ("lines", found[1], str(count)),
        ("captured debits", found[2], str(debits)),
        ("captured credits", found[3], str(credits_)),
        ("digest", found[4], digest),
    ):
        if said != counted:
            raise BankFileMalformed(line=number, mistake=f"the trailer says {name} {said}, the file has {counted}")
