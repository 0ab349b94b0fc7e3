"""Uploads become files to be judged: by event, and by comparison with the gateway's own list."""

from collections.abc import Callable

from services.clearing.application.ports import Gateway, UnitOfWork, Upload


class NoteUpload:
    """Remember one upload; knowing it already is normal."""

    async def __call__(self, upload: Upload, uow: UnitOfWork) -> bool:
        """Returns True when it was new. Runs in the caller's transaction."""
        return bool(await uow.files.note(upload))


class Reconcile:
    """Compare with the gateway's list: an event that was lost loses nothing (I10, I11)."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], gateway: Gateway) -> None:
        self._unit_of_work = unit_of_work
        self._gateway = gateway

    async def __call__(self) -> int:
        """Note every upload not known yet; returns how many.

        Raises:
            DependencyUnavailable: The gateway does not answer.
        """
        async with self._unit_of_work() as uow:
            unseen = await uow.files.first_unseen_sequence()
        found = 0
        uploads = [upload async for upload in self._gateway.uploads_from(unseen)]
        if uploads:
            async with self._unit_of_work() as uow:
                for upload in uploads:
                    found += bool(await uow.files.note(upload))
                await uow.commit()
        return found
