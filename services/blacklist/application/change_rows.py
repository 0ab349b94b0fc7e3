"""BatchChangeRows: rows of ranges, staff or issuers, all of a request as one version."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.blacklist.application.list_ports import Kinds, KindsUnitOfWork
from services.blacklist.domain.errors import RowInvalid, RowUnknown
from services.blacklist.domain.rows import KindHead, ListKind, Row, RowChange, append_rows, check_overlaps, check_rows


class BatchChangeRows:
    """Puts and removes rows.

    Args:
        unit_of_work: Opens a transaction.
        clock: The centre's.
        changed: Is told after a commit that made a version.
    """

    def __init__(
        self, unit_of_work: Callable[[], KindsUnitOfWork], clock: Clock, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._changed = changed

    async def __call__(
        self, kind: ListKind, put: Sequence[Row], removed: Sequence[bytes], request: RequestKey
    ) -> KindHead:
        """Change a list; what changes nothing makes no version.

        Args:
            kind: Not the blacklist.
            put: Rows to put; one with the same key is overwritten.
            removed: Keys to remove.
            request: Repeated, it gets the first answer.

        Raises:
            RowInvalid, PeriodEmpty: A row cannot stand in the list.
            RowUnknown: A row to remove is not there.
            RangeOverlaps: A range overlaps another.
        """
        assert kind is not ListKind.BLACKLIST, "its entries have methods of their own"
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                return await uow.requests.first_answer(request, KindHead)
            check_rows(kind, put)
            gone = set(removed)
            twice = next((index for index, row in enumerate(put) if row.key in gone), None)
            if twice is not None:
                raise RowInvalid(list=kind.name, index=twice, field="put and removed")
            head = await change_rows(uow.kinds, kind, put, gone, self._clock.now())
            await uow.requests.answer(request, head)
            await uow.commit()
        self._changed()
        return head


async def change_rows(kinds: Kinds, kind: ListKind, put: Sequence[Row], removed: set[bytes], at: datetime) -> KindHead:
    """The one way in which these lists change; not committed.

    Args:
        kinds: An open transaction.
        kind: Which list.
        put: Checked rows.
        removed: Keys, none of them put.
        at: The moment of the change.

    Raises:
        RowUnknown: A row to remove is not there.
        RangeOverlaps: A range overlaps another.
    """
    head = await kinds.head_for_update(kind)
    known = {row.key: row for row in await kinds.some(kind, [*(row.key for row in put), *removed])}
    missing = min(removed - known.keys(), default=None)
    if missing is not None:
        raise RowUnknown(list=kind.name, row=missing.hex())
    if kind is ListKind.RANGES and put:
        after = {row.key: row for row in await kinds.rows(kind) if row.key not in removed}
        check_overlaps({**after, **{row.key: row for row in put}}.values())
    fresh = [row for row in put if row != replace(known.get(row.key, row), put_version=0) or row.key not in known]
    changes = [RowChange(row, True, at) for row in fresh] + [RowChange(known[key], False, at) for key in removed]
    if not changes:
        return head
    changes.sort(key=lambda change: change.row.key)
    row_count = head.row_count + sum(row.key not in known for row in fresh) - len(removed)
    head = append_rows(head, changes, row_count, at)
    await kinds.append(head, changes)
    return head
