"""What the office says of devices, and reads of them: pairings, places, states, events, work keys, repair slips."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from libs.clock import Clock
from libs.runtime.identity import Identity
from libs.runtime.requests import RequestKey
from services.terminal_gw.application.commands import must_be, must_own_all
from services.terminal_gw.application.ports_field import Beat, FieldUnitOfWork, WorkKeys
from services.terminal_gw.application.sign_in import business_date, key_expiry
from services.terminal_gw.application.watch_sessions import LIVE_S
from services.terminal_gw.domain.device import (
    DeviceEvent,
    DeviceSerials,
    Pairing,
    Repair,
    TerminalState,
    WorkKey,
    must_be_paired,
)
from services.terminal_gw.domain.errors import KeysNotConfigured, PairingOverlaps, TerminalUnknown

MaySee = Callable[[str], bool]


class Devices:
    """The use cases of the office.

    Args:
        unit_of_work: Opens a transaction.
        clock: The centre's clock.
        work_keys: Makes work keys; None: there are none.
    """

    def __init__(
        self, unit_of_work: Callable[[], FieldUnitOfWork], clock: Clock, work_keys: WorkKeys | None = None
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._work_keys = work_keys

    async def pair(
        self,
        caller: Identity,
        number: str,
        device: int,
        period: tuple[datetime | None, datetime | None],
        request: RequestKey,
    ) -> Sequence[Pairing]:
        """Say which machine a PSAM sits in; returns all pairings, oldest first.

        Args:
            caller: Who says so.
            number: Terminal number.
            device: The machine.
            period: Its begin, None for now; its end, None while open.
            request: The claim.

        Raises:
            TerminalUnknown, NotYours: The terminal.
            PairingOverlaps: It ends before it begins, or does not begin after every other.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, tuple[Pairing, ...])
            await must_own_all(uow, caller, [number])
            known = await uow.devices.pairings(number)
            new = Pairing(device, period[0] or self._clock.now(), period[1])
            if new.valid_until is not None and new.valid_until <= new.valid_from:
                raise PairingOverlaps(terminal=number)
            if known and known[-1].valid_from >= new.valid_from:
                raise PairingOverlaps(terminal=number)
            ended = None
            if known and (known[-1].valid_until is None or known[-1].valid_until > new.valid_from):
                ended = replace(known[-1], valid_until=new.valid_from)
            await uow.devices.save_pairing(number, ended, new)
            terminal = (await uow.devices.known([number], self._clock.now(), business_date(self._clock.now())))[number]
            await uow.announce.device_paired(terminal.terminal, new)
            answer = (*known[:-1], *([ended or known[-1]] if known else ()), new)
            await uow.requests.answer(request, answer)
            await uow.commit()
        return answer

    async def assign(
        self, caller: Identity, numbers: Sequence[str], kind: int | None, group: str | None, point: str | None
    ) -> int:
        """Say where terminals stand; returns how many.

        Raises:
            TerminalUnknown, NotYours: One of them; nothing is changed.
        """
        distinct = sorted(set(numbers))
        async with self._unit_of_work() as uow:
            await must_own_all(uow, caller, distinct)
            await uow.devices.assign(distinct, kind, group, point)
            await uow.commit()
        return len(distinct)

    async def states(self, participant: str | None, point: str, after: str, size: int) -> Sequence[TerminalState]:
        """What terminals last said, by number."""
        async with self._unit_of_work() as uow:
            since = self._clock.now() - timedelta(seconds=LIVE_S)
            return await uow.devices.states(participant, point, after, size, since)

    async def events(self, number: str, may_see: MaySee, after: int, size: int) -> Sequence[DeviceEvent]:
        """Events of a terminal, by number.

        Raises:
            TerminalUnknown: There is none that the caller may see.
        """
        async with self._unit_of_work() as uow:
            owner = (await uow.devices.owners([number])).get(number)
            if owner is None or not may_see(owner):
                raise TerminalUnknown(terminal=number)
            return await uow.devices.events(number, after, size)

    async def sign_out(self, caller: Identity, number: str, serials: DeviceSerials | None) -> datetime:
        """Keep what a terminal says at its last; returns the centre's time.

        Raises:
            TerminalUnknown, NotYours: The terminal.
        """
        now = self._clock.now()
        if number:
            async with self._unit_of_work() as uow:
                await must_own_all(uow, caller, [number])
                must_be(caller, number)
                await uow.devices.beat([Beat(number, now, None, 0, 0, serials)])
                await uow.commit()
        return now

    async def work_keys(self, caller: Identity, number: str, psam_number: str) -> Sequence[WorkKey]:
        """The work keys of the day, made at the first call.

        Raises:
            TerminalUnknown, NotYours, PsamMismatch, PsamRevoked, PairingNotValid: As SignIn.
            KeysNotConfigured: There is no master key.
        """
        now = self._clock.now()
        today = business_date(now)
        async with self._unit_of_work() as uow:
            await must_own_all(uow, caller, [number])
            must_be(caller, number)
            known = (await uow.devices.known([number], now, today))[number]
            known.terminal.must_carry(psam_number, now)
            must_be_paired(number, known.pairing, None)
            if known.keys:
                return known.keys
            if self._work_keys is None:
                raise KeysNotConfigured
            made = self._work_keys.make(psam_number, today, key_expiry(today))
            await uow.devices.keep_work_keys([(number, psam_number, key) for key in made])
            # Read again: another call may have been first, and there is one key of a use and day.
            keys = await uow.devices.work_keys(number, today)
            await uow.commit()
        return keys

    async def open_repair(self, caller: Identity, number: str, fault: str, request: RequestKey) -> Repair:
        """Open a slip.

        Raises:
            TerminalUnknown, NotYours: The terminal.
        """
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, Repair)
            await must_own_all(uow, caller, [number])
            repair = await uow.devices.open_repair(number, fault, caller.uri, self._clock.now())
            await uow.requests.answer(request, repair)
            await uow.commit()
        return repair

    async def close_repair(self, caller: Identity, terminal: str, number: int, remedy: str) -> Repair:
        """Close a slip; the first closing stands.

        Raises:
            RepairUnknown, TerminalUnknown, NotYours: There is none of the caller's.
        """
        async with self._unit_of_work() as uow:
            await must_own_all(uow, caller, [terminal])
            repair = await uow.devices.close_repair(terminal, number, remedy, self._clock.now())
            await uow.commit()
        return repair

    async def repairs(self, participant: str | None, before: int, size: int, *, open_only: bool) -> Sequence[Repair]:
        """Slips, newest first."""
        async with self._unit_of_work() as uow:
            return await uow.devices.repairs(participant, before, size, open_only=open_only)
