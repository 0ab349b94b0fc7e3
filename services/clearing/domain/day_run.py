"""The end of day (日终): stages of each participant, in order, each by itself (clearing-and-ledger.md, section 3)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum


class Stage(IntEnum):
    """The numbers of `DayStage`; each waits for the one before it of the same participant, and for nobody else's."""

    CLOSE = 1
    REPLAY = 2
    CARRY = 3
    RESULTS = 4
    SIGN = 5
    INSTRUCT = 6


class StageState(IntEnum):
    """The numbers of `StageState`."""

    PENDING = 1
    RUNNING = 2
    WAITING = 3
    DONE = 4
    SKIPPED = 5
    FAILED = 6


PASSED = (StageState.DONE, StageState.SKIPPED)


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage of one participant."""

    participant: str
    stage: Stage
    state: StageState
    attempts: int = 0
    reason: str = ""
    detail: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: stages, and participants whose day is done."""

    stages: int
    done: int
    failed: int
    waiting: int
    participants: int
    participants_done: int

    @property
    def finished(self) -> bool:
        """Whether nothing more happens by itself: what is left waits for a stage that failed."""
        return self.done + self.failed + self._blocked == self.stages

    _blocked: int = 0


@dataclass(frozen=True, slots=True)
class DayRun:
    """The run of one settlement date."""

    settlement_date: date
    requested_by: str
    requested_at: datetime
    stages: tuple[StageRow, ...]


def progress_of(stages: Iterable[StageRow]) -> Progress:
    """Count the stages of a run."""
    by_participant: dict[str, list[StageRow]] = {}
    for row in stages:
        by_participant.setdefault(row.participant, []).append(row)
    every = [row for rows in by_participant.values() for row in rows]
    blocked = 0
    for rows in by_participant.values():
        failed = [row.stage for row in rows if row.state is StageState.FAILED]
        if failed:
            blocked += sum(row.stage > min(failed) and row.state not in (*PASSED, StageState.FAILED) for row in rows)
    return Progress(
        stages=len(every),
        done=sum(row.state in PASSED for row in every),
        failed=sum(row.state is StageState.FAILED for row in every),
        waiting=sum(row.state is StageState.WAITING for row in every),
        participants=len(by_participant),
        participants_done=sum(all(row.state in PASSED for row in rows) for rows in by_participant.values()),
        _blocked=blocked,
    )


def next_stages(stages: Sequence[StageRow]) -> list[StageRow]:
    """What may be tried now: of each participant the first stage that has not passed, if it neither failed nor runs."""
    found: dict[str, StageRow] = {}
    for row in sorted(stages, key=lambda one: (one.participant, one.stage)):
        if row.state not in PASSED:
            found.setdefault(row.participant, row)
    return [row for row in found.values() if row.state in (StageState.PENDING, StageState.WAITING)]
