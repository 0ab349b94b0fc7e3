"""The newest blacklist version, for sign-ins."""

from collections.abc import Callable

from services.terminal_gw.application.ports import BlacklistSource, UnitOfWork


class FollowBlacklist:
    """Keeps the newest version in a table of the gateway's own: a sign-in must not wait for another service."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], source: BlacklistSource) -> None:
        self._unit_of_work = unit_of_work
        self._source = source

    async def heard(self, uow: UnitOfWork, version: int) -> None:
        """An event told of a version; in a transaction that the caller commits."""
        await uow.sign_ins.raise_blacklist_version(version)

    async def ask(self) -> None:
        """Ask the blacklist itself: a new gateway, or a lost event, must not keep terminals from the list.

        Raises:
            DependencyUnavailable: It does not answer.
        """
        version = await self._source.newest_version()
        async with self._unit_of_work() as uow:
            if version > await uow.sign_ins.blacklist_version():
                await uow.sign_ins.raise_blacklist_version(version)
                await uow.commit()
