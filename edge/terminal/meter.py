"""The meter reader (抄表): frames of DL/T 645 and CJ/T 188 come in, offline records of kind 0A lie in the journal.

Every frame is judged alone: one that is refused is counted by its reason and spoils no other. Answers of one meter
that come together make one read (cumulative and, of a prepaid meter, what is left).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge.terminal.terminal import Terminal
from libs.clock import Clock
from libs.errors import DomainError
from libs.meters.cjt188 import parse_utility
from libs.meters.dlt645 import parse_electricity
from libs.meters.errors import FrameRefused
from libs.meters.reading import Measured, Quantity, measured_electricity, measured_volume
from libs.meters.record import ReaderFacts, combine, to_records
from libs.records.otr import OTR_LENGTH


@dataclass(slots=True)
class ReadOut:
    """What became of some frames.

    Attributes:
        frames: How many came.
        reads: Records made.
        refused: Frames refused, by reason.
        left_over: Right frames that told what is left and never the total: no record is made of them.
        battery_low: Meters that ask for a new battery.
    """

    frames: int = 0
    reads: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    left_over: int = 0
    battery_low: list[str] = field(default_factory=list)


class MeterReader:
    """Reads meters into the journal of a terminal.

    Args:
        terminal: Whose journal and facts; it takes no cards.
        clock: Its clock: when the meter was read.
    """

    def __init__(self, terminal: Terminal, clock: Clock) -> None:
        self._terminal = terminal
        self._clock = clock

    def take(self, frames: Iterable[bytes]) -> ReadOut:
        """Judge frames and keep a record of every meter that told its total.

        Raises:
            JournalFull, JournalFailed: The records that were kept by then stay.
        """
        out = ReadOut()
        found: dict[tuple[int, str], dict[Quantity, Measured]] = {}
        for frame in frames:
            out.frames += 1
            try:
                measured = measure(frame)
            except DomainError as error:
                out.refused[error.reason] += 1
                continue
            if measured.battery_low:
                out.battery_low.append(measured.meter_number)
            meter = found.setdefault((int(measured.utility), measured.meter_number), {})
            # A meter that is asked twice answers twice: the later answer counts.
            meter[measured.quantity] = measured
        for meter in found.values():
            if Quantity.CUMULATIVE not in meter:
                out.left_over += 1
                continue
            self._keep(list(meter.values()))
            out.reads += 1
        return out

    def _keep(self, values: list[Measured]) -> None:
        facts, journal = self._terminal.facts, self._terminal.journal
        read = combine(values, self._clock.now())
        reader = ReaderFacts(
            facts.terminal_number, facts.acquirer_id, facts.accepting_city, facts.operator_number, facts.device_number
        )
        seq = journal.next_seq()
        # No security module stands behind a read: its terminal sequence is that of the device [convention].
        records = to_records([read], reader, first_seq=seq, first_device_seq=seq)
        content = records.tobytes()
        assert len(content) == OTR_LENGTH, "one read is one record"
        journal.finish(content)


def measure(frame: bytes) -> Measured:
    """The value in one frame of either standard.

    In a frame of DL/T 645 a second 68 stands behind the address of 6 bytes. In one of CJ/T 188 an address byte stands
    there, which may be 68 as well: what is no frame of the one standard is tried as one of the other, and refused for
    what is wrong with it by the standard that it looks like.

    Raises:
        FrameRefused, ReadingRefused, TimeInvalid: With the reason.
    """
    body = frame.lstrip(b"\xfe")
    if len(body) > 7 and body[0] == 0x68 and body[7] != 0x68:
        return measured_volume(parse_utility(frame))
    try:
        parsed = parse_electricity(frame)
    except FrameRefused as not_electricity:
        try:
            other = parse_utility(frame)
        except FrameRefused:
            raise not_electricity from None
        return measured_volume(other)
    return measured_electricity(parsed)
