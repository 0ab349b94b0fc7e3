"""Is a terminal's day complete: registers against what is stored, and the certificate that says so (README.md)."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum
from itertools import pairwise

from services.terminal_gw.domain.errors import RegisterMalformed
from services.terminal_gw.domain.serials import Ranges, count_of, without


@dataclass(frozen=True, slots=True)
class Register:
    """Running totals of a device over a range of serials; the fields of `citycard.terminal_gw.v1.AuditRegister`."""

    business_date: date
    device_number: int
    device_seq_first: int
    device_seq_last: int
    record_count: int
    total_fen: int
    running_count: int
    running_total_fen: int
    shift_number: int = 0
    staff_number: int = 0
    close_time: datetime | None = None
    day_closed: bool = False

    def check(self) -> None:
        """Let pass a register that does not contradict itself.

        Raises:
            RegisterMalformed: Naming the field.
        """
        serials = self.device_seq_last - self.device_seq_first + 1
        if serials < 0:
            raise RegisterMalformed(field="device_seq_last")
        if self.record_count > serials:
            raise RegisterMalformed(field="record_count")
        if not self.record_count and self.total_fen:
            raise RegisterMalformed(field="total_fen")
        if self.running_count < self.record_count:
            raise RegisterMalformed(field="running_count")
        if self.running_total_fen < self.total_fen:
            raise RegisterMalformed(field="running_total_fen")


class Verdict(IntEnum):
    """The numbers of `citycard.terminal_gw.v1.CompletenessVerdict`."""

    COMPLETE = 1
    HOLES = 2
    DIFFERENT = 3
    OPEN = 4


@dataclass(frozen=True, slots=True)
class Stored:
    """What the stored uploads hold of a day, each record once.

    Attributes:
        record_count: Records.
        total_fen: Sum of their amounts.
        conflict_count: Serials that came with two contents; the first counts.
        files: SHA-256 of the uploads that brought a record first, in the order of storing.
    """

    record_count: int = 0
    total_fen: int = 0
    conflict_count: int = 0
    files: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class DayFacts:
    """What is known of a terminal's day.

    Attributes:
        terminal_number: 12 digits.
        participant: Its owner.
        psam_number: 20 digits.
        device_number: The machine.
        business_date: The day.
        registers: Of the day, by their serials.
        before: The last register before the day's first serial; None when there is none.
        covered: Device serials stored.
        declared_void: Device serials that the terminal declared void.
        other_devices: Machines of registers of this terminal and day that are not `device_number`.
    """

    terminal_number: str
    participant: str
    psam_number: str
    device_number: int
    business_date: date
    registers: tuple[Register, ...]
    before: Register | None
    covered: Ranges
    declared_void: Ranges
    other_devices: tuple[int, ...] = ()

    @property
    def serials(self) -> tuple[int, int] | None:
        """First and last serial of the day; None without a register. An empty day ends before it begins."""
        if not self.registers:
            return None
        first = min(one.device_seq_first for one in self.registers)
        last = max(one.device_seq_last for one in self.registers)
        if self.before is not None:
            # What lies between two registers was reported by nobody: it belongs to the later day.
            first = min(first, self.before.device_seq_last + 1)
        return first, last

    @property
    def closed(self) -> bool:
        """Whether the registers say where the day ended."""
        return any(one.day_closed for one in self.registers)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of completeness.

    Attributes:
        facts: Of what.
        stored: What is stored.
        verdict: What it says.
        missing: Device serials missing, exactly.
        content: The bytes that are signed.
    """

    facts: DayFacts
    stored: Stored
    verdict: Verdict
    missing: Ranges
    content: bytes


def certify(facts: DayFacts, stored: Stored) -> Certificate:
    """Decide what a certificate says, and write it: the same facts give the same bytes."""
    serials = facts.serials
    # Without registers: the holes between the lowest and the highest serial that is stored.
    known = serials or ((facts.covered[0][0], facts.covered[-1][1]) if facts.covered else (1, 0))
    missing = without(known, facts.covered, facts.declared_void)
    findings = _findings(facts, stored)
    if not facts.closed:
        verdict = Verdict.OPEN
    elif missing:
        verdict = Verdict.HOLES
    else:
        verdict = Verdict.DIFFERENT if findings else Verdict.COMPLETE
    lines = [
        "citycard completeness certificate 1",
        f"terminal {facts.terminal_number}",
        f"participant {facts.participant}",
        f"psam {facts.psam_number}",
        f"device {facts.device_number}",
        f"business-date {facts.business_date.isoformat()}",
        f"serials {serials[0]} {serials[1]}" if serials else "serials none",
        f"registers {len(facts.registers)} count {sum(one.record_count for one in facts.registers)}"
        f" total-fen {sum(one.total_fen for one in facts.registers)} closed {'yes' if facts.closed else 'no'}",
        f"stored count {stored.record_count} total-fen {stored.total_fen}",
        f"files {len(stored.files)} chain {chain(stored.files).hex()}",
        *(f"void {first} {last}" for first, last in _within(facts.declared_void, known)),
        *(f"hole {first} {last}" for first, last in missing),
        *findings,
        f"missing {count_of(missing)}",
        f"verdict {verdict.name.lower()}",
    ]
    return Certificate(facts, stored, verdict, missing, ("\n".join(lines) + "\n").encode())


def chain(digests: Iterable[bytes]) -> bytes:
    """SHA-256 over one digest after the other, each with the chain before it, 32 bytes; zeros for none."""
    state = bytes(32)
    for digest in digests:
        state = hashlib.sha256(state + digest).digest()
    return state


def _findings(facts: DayFacts, stored: Stored) -> list[str]:
    """What does not fit although no serial need be missing, one line each."""
    registers = sorted(facts.registers, key=lambda one: (one.device_seq_first, one.device_seq_last))
    found: list[str] = []
    if registers:
        if stored.record_count != sum(one.record_count for one in registers):
            found.append("differs count")
        if stored.total_fen != sum(one.total_fen for one in registers):
            found.append("differs total-fen")
        found += _running([facts.before, *registers] if facts.before else registers)
    found += [f"differs device {number}" for number in facts.other_devices]
    if stored.conflict_count:
        found.append(f"differs content {stored.conflict_count}")
    return found


def _running(registers: Sequence[Register]) -> list[str]:
    return [
        f"differs running {later.device_seq_first}"
        for earlier, later in pairwise(registers)
        if earlier.device_seq_last + 1 == later.device_seq_first
        and (
            earlier.running_count + later.record_count,
            earlier.running_total_fen + later.total_fen,
        )
        != (later.running_count, later.running_total_fen)
    ]


def _within(ranges: Ranges, whole: tuple[int, int]) -> Ranges:
    clipped = ((max(first, whole[0]), min(last, whole[1])) for first, last in ranges)
    return tuple((first, last) for first, last in clipped if first <= last)
