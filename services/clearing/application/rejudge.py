"""Records that waited for a card, a terminal, a key or the card's next sight are decided when clearing hears of it."""

from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta

import numpy as np

from libs.clock import Clock
from libs.records import otr
from services.clearing.application.ports import StoredFile, UnitOfWork
from services.clearing.application.post_set import PostSet, Slice
from services.clearing.application.prepare import prepare

# Without news of the card a grey record is closed as not debited (record-formats.md, section 4, d).
_GREY_WAITS = timedelta(days=30)


class Rejudge:
    """One round over the records with a provisional code whose reason has gone."""

    def __init__(
        self, unit_of_work: Callable[[], UnitOfWork], post_set: PostSet, clock: Clock, *, set_records_max: int
    ) -> None:
        self._unit_of_work = unit_of_work
        self._post_set = post_set
        self._clock = clock
        self._set_records_max = set_records_max

    async def __call__(self) -> int:
        """Judge them anew by the same tests; they settle on the day of the decision.

        Returns:
            How many were looked at.
        """
        async with self._unit_of_work() as uow:
            now = self._clock.now()
            expired: int = await uow.postings.expire_grey(now - _GREY_WAITS, now)
            waiting = await uow.postings.take_waiting(self._set_records_max, now)
            if not waiting:
                await uow.commit()
                return expired
            participants = {one.id: one for one in await uow.participants.all()}
            by_file: dict[int, list[tuple[int, bytes, bytes]]] = defaultdict(list)
            files: dict[int, StoredFile] = {}
            for file, index, digest, content in waiting:
                files[file.id] = file
                by_file[file.id].append((index, digest, content))
            slices, digests = [], []
            for file_id, rows in sorted(by_file.items()):
                rows.sort()
                records = otr.read_records(b"".join(content for _, _, content in rows))
                indexes = np.array([index for index, _, _ in rows], np.int64)
                slices.append(Slice(files[file_id], prepare(records, None), indexes, self._clock.now()))
                digests.append([digest for _, digest, _ in rows])
            posted = await self._post_set(uow, slices, participants, first=False)
            decided = {
                digest: int(code)
                for of_slice, codes in zip(digests, posted.codes, strict=True)
                for digest, code in zip(of_slice, codes, strict=True)
            }
            await uow.postings.close_waiting(decided, self._clock.now())
            await uow.commit()
        return len(waiting) + expired
