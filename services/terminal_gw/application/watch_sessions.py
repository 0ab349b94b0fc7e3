"""What the gateway looks after while terminals are connected: news, commands, who is trusted, whose session it is."""

import asyncio
from collections.abc import Callable
from typing import Final

from libs.clock import Clock
from libs.runtime.logging import get_logger
from services.terminal_gw.application.ports_field import FieldUnitOfWork
from services.terminal_gw.application.sessions import SessionHub
from services.terminal_gw.application.trust import Trust
from services.terminal_gw.domain.errors import CertificateRevoked, PsamRevoked, SessionReplaced
from services.terminal_gw.domain.packs import RolloutStatus

log = get_logger("citycard.terminal_gw.sessions")

_COMMANDS_A_LOOK: Final = 2_000
_BEAT_S: Final = 10.0
# A session whose process did not beat for so long is not connected any more, whatever its row says.
LIVE_S: Final = 30.0


class WatchSessions:
    """Looks, again and again; every look is a handful of statements, however many sessions there are.

    Args:
        unit_of_work: Opens a transaction.
        clock: The centre's clock.
        hub: The sessions.
        trust: Who is trusted.
        instance: Name of this process.
    """

    def __init__(
        self, unit_of_work: Callable[[], FieldUnitOfWork], clock: Clock, hub: SessionHub, trust: Trust, instance: str
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._hub = hub
        self._trust = trust
        self._instance = instance
        self._beaten_at = 0.0

    async def news(self) -> None:
        """Tell of a newer blacklist: a look at one row, often."""
        if len(self._hub):
            async with self._unit_of_work() as uow:
                version = await uow.sign_ins.blacklist_version()
            self._hub.news(version)

    async def commands(self) -> None:
        """Hand pending commands to the terminals that are connected."""
        self._hub.commands_waiting.clear()
        sessions = {session.terminal_number: session for session in self._hub.all() if not session.over}
        if not sessions:
            return
        taken = [None] * _COMMANDS_A_LOOK
        while len(taken) == _COMMANDS_A_LOOK:
            async with self._unit_of_work() as uow:
                found = await uow.commands.take_pending(list(sessions), self._clock.now(), _COMMANDS_A_LOOK)
                if found:
                    await uow.commit()
            for command in found:
                # Should it be over by now: the next sign-in tells the command again.
                sessions[command.terminal_number].tell(command)
            taken = [None] * len(found)

    async def trust(self) -> None:
        """End sessions of who is trusted no longer, and of whom a newer session replaced in another process."""
        await self._trust.refresh()
        now = self._clock.now()
        sessions = self._hub.all()
        self._hub.end_all(
            (one for one in sessions if not self._trust.holds(one.caller, one.fingerprint)),
            lambda _: CertificateRevoked(),
        )
        async with self._unit_of_work() as uow:
            mine = await uow.devices.sessions_of(self._instance) if sessions else set()
            lapsed = await uow.devices.lapsed([one.terminal_number for one in sessions], now) if sessions else set()
            expired = await uow.commands.expire(now)
            failing = list(await uow.packs.failing())
            for number in failing:
                rollout = await uow.packs.rollout_for_update(number)
                await uow.packs.save_rollout(number, rollout.stage, RolloutStatus.PAUSED)
            moment = asyncio.get_running_loop().time()
            beat = bool(sessions) and moment - self._beaten_at >= _BEAT_S
            if beat:
                await uow.devices.beat_sessions(self._instance, now)
            if expired or failing or beat:
                await uow.commit()
                self._beaten_at = moment if beat else self._beaten_at
        for number in failing:
            log.warning("rollout.paused_by_failures", rollout=f"rollouts/{number}")
        self._hub.end_all(
            (one for one in sessions if one.id not in mine),
            lambda one: SessionReplaced(terminal=one.terminal_number),
        )
        self._hub.end_all(
            (one for one in sessions if one.terminal_number in lapsed),
            lambda one: PsamRevoked(psam=one.terminal_number),
        )
