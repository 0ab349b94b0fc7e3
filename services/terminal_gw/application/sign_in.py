"""SignIn: who the caller is, what it has, what its clock shows; and what it has to do."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from libs.clock import CITY_TZ, Clock
from libs.errors import DomainError, NotYours, RequestMalformed
from libs.runtime.identity import Identity, Role
from services.terminal_gw.application.acknowledge_lists import BLACKLIST, InForce
from services.terminal_gw.application.ports_field import FieldUnitOfWork, Known, SignInRow, WorkKeys
from services.terminal_gw.domain.clock import ClockAction, ClockThresholds, ClockVerdict
from services.terminal_gw.domain.device import (
    Command,
    FetchBlacklist,
    FetchPack,
    FetchWorkKeys,
    Introduction,
    OutOfService,
    PackOutcome,
    Recollect,
    ReportDay,
    SetClock,
    ToDo,
    WorkKey,
    must_be_paired,
)
from services.terminal_gw.domain.errors import TerminalUnknown
from services.terminal_gw.domain.packs import Rollout, wanted
from services.terminal_gw.domain.serials import Ranges, without

_TOGETHER_MAX: Final = 256
_RANGES_MAX: Final = 1000
_RECOLLECT: Final = "recollect_records"


@dataclass(frozen=True, slots=True)
class SignInAnswer:
    """The answer.

    Attributes:
        centre_time: The centre's clock.
        clock: What to do about the caller's.
        blacklist_version: Newest version heard of.
        business_date: The centre's business day.
        to_do: In the order of doing.
        participant: Owner of the terminal; of a collector its own.
        event_seq: Highest event number stored.
        device_seq_contiguous: Highest device serial up to which nothing is missing; 0 when not known.
    """

    centre_time: datetime
    clock: ClockVerdict
    blacklist_version: int
    business_date: date
    to_do: tuple[ToDo, ...] = ()
    participant: str = ""
    event_seq: int = 0
    device_seq_contiguous: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    caller: Identity
    said: Introduction
    session_id: str
    at: datetime
    answer: asyncio.Future[SignInAnswer]


@dataclass(frozen=True, slots=True)
class _Decided:
    """What one sign-in comes to."""

    waiting: _Waiting
    row: SignInRow
    answer: SignInAnswer
    new_keys: tuple[WorkKey, ...]


class SignIn:
    """Signs in terminals and collectors.

    Whoever comes while one transaction runs waits for the next, which takes them all: after a power cut thousands come
    in the same seconds, and the database is asked a few questions about hundreds.

    Args:
        unit_of_work: Opens a transaction.
        clock: The centre's clock.
        thresholds: How far clocks may be off.
        work_keys: Makes work keys; None: there are none.
        instance: Name of this process, for sessions.
        note_lists: Told, under the caller's name, which list each terminal says is in force; never waits.
    """

    def __init__(
        self,
        unit_of_work: Callable[[], FieldUnitOfWork],
        clock: Clock,
        thresholds: ClockThresholds,
        work_keys: WorkKeys | None = None,
        instance: str = "",
        note_lists: Callable[[str, Sequence[InForce]], None] | None = None,
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self.thresholds = thresholds
        self._work_keys = work_keys
        self._instance = instance
        self._note_lists = note_lists
        self._waiting: list[_Waiting] = []
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, caller: Identity, said: Introduction, session_id: str = "") -> SignInAnswer:
        """Sign in; with a session id the terminal's session is this one from now on.

        Raises:
            RequestMalformed: A terminal does not say its number.
            TerminalUnknown: The terminal is not registered.
            NotYours: The terminal is another's than the caller.
            PsamMismatch: Another PSAM is registered for it.
            PsamRevoked: Its PSAM was revoked.
            DeviceMismatch, PairingNotValid: The PSAM is not paired with this machine now.
        """
        if not said.terminal_number and caller.kind is Role.TERMINAL:
            raise RequestMalformed(field="terminal_number", description="a terminal says its number")
        # Taken before any wait: the caller measures the way there and back around it.
        now = self._clock.now()
        waiting = _Waiting(caller, said, session_id, now, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await waiting.answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                together = self._waiting[:_TOGETHER_MAX]
                del self._waiting[:_TOGETHER_MAX]
                try:
                    await self._sign_in(together)
                except Exception as error:
                    for one in together:
                        if not one.answer.done():
                            one.answer.set_exception(error)
        finally:
            self._working = None

    async def _sign_in(self, together: Sequence[_Waiting]) -> None:
        now = self._clock.now()
        today = business_date(now)
        decided: list[_Decided] = []
        async with self._unit_of_work() as uow:
            known = await uow.devices.known(sorted({one.said.terminal_number for one in together} - {""}), now, today)
            version = await uow.sign_ins.blacklist_version()
            rollouts = await uow.packs.rollouts()
            for one in together:
                try:
                    decided.append(self._decide(one, known, version, today, rollouts))
                except DomainError as refusal:
                    if not one.answer.done():
                        one.answer.set_exception(refusal)
            if decided:
                await self._keep(uow, decided, now)
                await uow.commit()
        self._hand_on_lists(decided)
        for one_decided in decided:
            # Nobody may be waiting any more: the line broke, and the next sign-in is answered anew.
            if not one_decided.waiting.answer.done():
                one_decided.waiting.answer.set_result(one_decided.answer)

    def _hand_on_lists(self, decided: Sequence[_Decided]) -> None:
        """What terminals say is in force goes along to the blacklist, only of those that were let in."""
        if self._note_lists is None:
            return
        for one in decided:
            said = one.row.said
            if said.terminal_number:
                word = InForce(said.terminal_number, BLACKLIST, said.blacklist_version)
                self._note_lists(one.waiting.caller.uri, [word])

    async def _keep(self, uow: FieldUnitOfWork, decided: Sequence[_Decided], now: datetime) -> None:
        await uow.devices.keep_sign_ins([one.row for one in decided])
        await uow.devices.keep_packs(
            [(one.row.said.terminal_number, pack) for one in decided for pack in one.row.said.packs
             if one.row.said.terminal_number], now,
        )  # fmt: skip
        await uow.devices.keep_work_keys(
            [(one.row.said.terminal_number, one.row.said.psam_number, key) for one in decided for key in one.new_keys]
        )
        told = {item.number for one in decided for item in one.answer.to_do if isinstance(item, Command)}
        await uow.commands.mark_sent(sorted(told), now)
        sessions = {one.row.said.terminal_number: one.row.session_id for one in decided if one.row.session_id}
        if sessions:
            await uow.devices.open_sessions(list(sessions.items()), self._instance, now)

    def _decide(
        self, one: _Waiting, known: Mapping[str, Known], version: int, today: date, rollouts: Sequence[Rollout]
    ) -> _Decided:
        caller, said = one.caller, one.said
        serials = said.serials
        verdict = self.thresholds.judge(said.clock_time, one.at, serials.last_record_time if serials else None)
        number = said.terminal_number
        if not number:
            subject = f"collectors/{caller.participant}/{caller.id}"
            row = SignInRow(subject, caller.uri, one.at, verdict.ahead_ms, said)
            to_do: tuple[ToDo, ...] = _about_clock(verdict)
            if version > said.blacklist_version:
                to_do += (FetchBlacklist(version),)
            answer = SignInAnswer(one.at, verdict, version, today, to_do, caller.participant or "")
            return _Decided(one, row, answer, ())
        facts = known.get(number)
        if facts is None:
            raise TerminalUnknown(terminal=number)
        caller.must_own(facts.terminal.participant)
        if caller.kind is Role.TERMINAL and caller.id != number:
            raise NotYours
        facts.terminal.must_carry(said.psam_number, one.at)
        must_be_paired(number, facts.pairing, said.device_number)
        keys, new_keys = self._keys_of(facts, today)
        holes, contiguous = holes_of(facts)
        items: list[ToDo] = [*_about_clock(verdict)]
        if any(key.check_value not in said.check_values for key in keys):
            items.append(FetchWorkKeys())
        items += _packs_to_fetch(facts, said, rollouts)
        if version > said.blacklist_version:
            items.append(FetchBlacklist(version))
        if holes and not any(command.kind == _RECOLLECT for command in facts.commands):
            items.append(Recollect(holes[:_RANGES_MAX]))
        if not facts.day_closed and facts.terminal.register_time < day_start(today):
            items.append(ReportDay(today - timedelta(days=1)))
        items += facts.commands
        row = SignInRow(f"terminals/{number}", caller.uri, one.at, verdict.ahead_ms, said, one.session_id)
        answer = SignInAnswer(one.at, verdict, version, today, tuple(items), facts.terminal.participant,
                              facts.event_seq, contiguous)  # fmt: skip
        return _Decided(one, row, answer, new_keys)

    def _keys_of(self, facts: Known, today: date) -> tuple[tuple[WorkKey, ...], tuple[WorkKey, ...]]:
        """The keys of the day, and those of them that are new."""
        if self._work_keys is None or facts.keys:
            return facts.keys, ()
        made = self._work_keys.make(facts.terminal.spec.psam_number, today, key_expiry(today))
        return made, made


def business_date(now: datetime) -> date:
    """The centre's business day: the city's calendar day."""
    return now.astimezone(CITY_TZ).date()


def day_start(day: date) -> datetime:
    """First instant of a business day, UTC."""
    return datetime.combine(day, time(), CITY_TZ).astimezone(UTC)


def key_expiry(day: date) -> datetime:
    """Work keys of a day hold two hours into the next: a terminal that has no line at midnight goes on."""
    return day_start(day + timedelta(days=1)) + timedelta(hours=2)


def holes_of(facts: Known) -> tuple[Ranges, int]:
    """Device serials missing between what is stored and what registers say, and up to where nothing is missing."""
    lows = [facts.covered[0][0]] if facts.covered else []
    lows += [facts.register_first] if facts.register_first else []
    if not lows:
        return (), 0
    last = max(facts.covered[-1][1] if facts.covered else 0, facts.register_last)
    holes = without((min(lows), last), facts.covered, facts.declared_void)
    return holes, holes[0][0] - 1 if holes else last


def _about_clock(verdict: ClockVerdict) -> tuple[ToDo, ...]:
    if verdict.action is ClockAction.STOP:
        return (OutOfService("CLOCK_STOP"),)
    return () if verdict.set_to is None else (SetClock(verdict.set_to),)


def _packs_to_fetch(facts: Known, said: Introduction, rollouts: Sequence[Rollout]) -> list[ToDo]:
    """Parameters first, the program last: it restarts the device."""
    here = {one.kind: one.version for one in said.packs if one.outcome is not PackOutcome.FAILED}
    # One that waits for its instant need not be fetched again.
    at_hand = {(one.kind, one.version) for one in said.packs if one.outcome is not PackOutcome.FAILED}
    chosen = wanted(facts.place, rollouts, here)
    return [FetchPack(str(chosen[kind])) for kind in sorted(chosen) if (kind, chosen[kind].version) not in at_hand]
