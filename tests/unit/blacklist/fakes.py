"""Stand-ins of the blacklist's ports, and builders."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import numpy as np

from libs.errors import RequestIdReused
from libs.runtime.requests import RequestKey
from services.blacklist.application.ports import FoldProof, ListColumns
from services.blacklist.domain.chain import Change, Head
from services.blacklist.domain.entry import CardKey, Entry, ListMode
from services.blacklist.domain.rows import KindHead, ListKind, Row, RowChange

NOON = datetime(2018, 9, 1, 4, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def a_card(serial: int = 1, generation: int = 1, scheme: str = "jt") -> CardKey:
    return CardKey(scheme, ("031" if scheme == "jt" else "000") + f"{serial:017d}", generation)


def a_request(number: int = 1, content: str = "") -> RequestKey:
    return RequestKey("citycard://administrator/test", "Test", f"{number:032x}", content.encode().ljust(32, b"\0"))


@dataclass
class FakeState:
    """What a database would hold."""

    head: Head = field(default_factory=Head)
    entries: dict[CardKey, Entry] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    answers: dict[str, tuple[bytes, Any]] = field(default_factory=dict)
    announced: list[Change] = field(default_factory=list)
    heads: dict[ListKind, KindHead] = field(default_factory=dict)
    rows: dict[tuple[ListKind, bytes], Row] = field(default_factory=dict)
    row_changes: list[tuple[ListKind, RowChange]] = field(default_factory=list)
    kind_versions: list[tuple[KindHead, Sequence[RowChange]]] = field(default_factory=list)

    def copy(self) -> "FakeState":
        return FakeState(
            self.head, dict(self.entries), list(self.changes), dict(self.answers), list(self.announced),
            dict(self.heads), dict(self.rows), list(self.row_changes), list(self.kind_versions),
        )  # fmt: skip


class FakeEntries:
    def __init__(self, state: FakeState) -> None:
        self._state = state

    async def head(self) -> Head:
        return self._state.head

    async def head_for_update(self) -> Head:
        return self._state.head

    async def get(self, card: CardKey) -> Entry:
        return self._state.entries.get(card, Entry(card))

    async def look(self, card: CardKey) -> tuple[Head, Entry]:
        return self._state.head, await self.get(card)

    async def save(self, entry: Entry) -> None:
        self._state.entries[entry.card] = entry

    async def append(self, head: Head, change: Change) -> None:
        assert head.version == self._state.head.version + 1
        self._state.head = head
        self._state.changes.append(change)

    async def list(self, after: CardKey | None, size: int, *, show_removed: bool) -> Sequence[Entry]:
        found = (one for card, one in sorted(self._state.entries.items()) if after is None or card > after)
        return [one for one in found if one.listed or (show_removed and one.changed_version)][:size]

    async def expired(self, at: datetime, size: int) -> Sequence[CardKey]:
        over = [one for one in self._state.entries.values() if one.listed and one.shown and one.shown.until_time]
        return [one.card for one in over if one.shown and one.shown.until_time and one.shown.until_time <= at][:size]

    async def changes_of(self, card: CardKey) -> Sequence[Change]:
        return [change for change in self._state.changes if change.card == card]

    async def full(self) -> tuple[Head, ListColumns]:
        return self._state.head, _columns(self._state, 0)

    async def increment(self, base_version: int) -> tuple[Head, ListColumns]:
        return self._state.head, _columns(self._state, base_version)

    async def changes(self) -> AsyncIterator[Sequence[Change]]:
        for change in self._state.changes:
            yield [change]

    async def prove_fold(self) -> FoldProof:
        newest = {change.card: change for change in self._state.changes}
        listed = [one for one in self._state.entries.values() if one.listed]
        broken = [card for card, change in newest.items() if self._state.entries[card].listed != change.added]
        lost = sum(one.loss_open for one in listed)
        return FoldProof(len(newest), len(broken), str(broken[0]) if broken else "", len(listed), lost)


def _shown_by_number(changes: Sequence[Change]) -> dict[bytes, tuple[int, int, datetime]]:
    """Of each number the newest generation that is listed after these changes."""
    newest = {change.card: change for change in changes}
    listed = sorted((card.generation, card.scheme, card.number) for card, change in newest.items() if change.added)
    shown: dict[bytes, tuple[int, int, datetime]] = {}
    for generation, scheme, number in listed:
        listing = newest[CardKey(scheme, number.hex(), generation)].listing
        shown[number] = (listing.reason, listing.mode, listing.effective_time)
    return {number: what for number, what in shown.items() if what[1] != ListMode.IGNORE}


def _columns(state: FakeState, base_version: int) -> ListColumns:
    now = _shown_by_number(state.changes)
    then = _shown_by_number([change for change in state.changes if change.version <= base_version])
    rows = [(number, 1, *what) for number, what in now.items() if then.get(number) != what]
    for number, (reason, mode, _) in then.items():
        if number not in now:
            at = [change.holds_from for change in state.changes if change.card.number == number][-1]
            rows.append((number, 2, reason, mode, at))
    return ListColumns(
        numbers=np.frombuffer(b"".join(row[0] for row in rows), dtype=np.uint8).reshape(-1, 10),
        actions=np.array([row[1] for row in rows], dtype=np.int16),
        reasons=np.array([row[2] for row in rows], dtype=np.int16),
        modes=np.array([row[3] for row in rows], dtype=np.int16),
        effective_s=np.array([int(row[4].timestamp()) for row in rows], dtype=np.int64),
    )


class FakeKinds:
    def __init__(self, state: FakeState) -> None:
        self._state = state

    async def heads(self) -> Sequence[KindHead]:
        return [self._state.heads.get(kind, KindHead(kind)) for kind in list(ListKind)[1:]]

    async def head_for_update(self, kind: ListKind) -> KindHead:
        return self._state.heads.get(kind, KindHead(kind))

    async def rows(self, kind: ListKind) -> Sequence[Row]:
        return [row for (of, _), row in sorted(self._state.rows.items()) if of is kind]

    async def page(self, kind: ListKind, after: bytes, size: int) -> Sequence[Row]:
        return [row for row in await self.rows(kind) if row.key > after][:size]

    async def some(self, kind: ListKind, keys: Sequence[bytes]) -> Sequence[Row]:
        return [row for row in await self.rows(kind) if row.key in keys]

    async def expired(self, at: datetime, size: int) -> Sequence[tuple[ListKind, bytes]]:
        return [key for key, row in self._state.rows.items() if row.until_time and row.until_time <= at][:size]

    async def history(self, kind: ListKind, key: bytes) -> Sequence[RowChange]:
        return [change for of, change in self._state.row_changes if of is kind and change.row.key == key]

    async def histories_of_ranges(self, number: bytes) -> Sequence[Sequence[RowChange]]:
        spans = {change.row.key: change.row for of, change in self._state.row_changes if of is ListKind.RANGES}
        over = [key for key, row in sorted(spans.items()) if row.first <= number <= row.last]
        return [await self.history(ListKind.RANGES, key) for key in over]

    async def versions(self) -> AsyncIterator[tuple[KindHead, Sequence[RowChange]]]:
        for version in self._state.kind_versions:
            yield version

    async def append(self, head: KindHead, changes: Sequence[RowChange]) -> None:
        assert head.version == (await self.head_for_update(head.kind)).version + 1
        self._state.heads[head.kind] = head
        self._state.kind_versions.append((head, list(changes)))
        for change in changes:
            self._state.row_changes.append((head.kind, change))
            if change.put:
                self._state.rows[head.kind, change.row.key] = replace(change.row, put_version=head.version)
            else:
                del self._state.rows[head.kind, change.row.key]


class FakeFiles:
    async def prove_files(self) -> tuple[int, int, str]:
        return 0, 0, ""


class FakeRequests:
    def __init__(self, state: FakeState) -> None:
        self._state = state

    async def claim(self, key: RequestKey) -> bool:
        known = self._state.answers.get(key.request_id)
        if known is None:
            self._state.answers[key.request_id] = (key.digest, None)
            return True
        if known[0] != key.digest:
            raise RequestIdReused(request_id=key.request_id)
        return False

    async def first_answer(self, key: RequestKey, cls: type[Any]) -> Any:
        answer = self._state.answers[key.request_id][1]
        assert isinstance(answer, cls)
        return answer

    async def answer(self, key: RequestKey, value: object) -> None:
        self._state.answers[key.request_id] = (key.digest, value)


class FakeOutbox:
    def __init__(self, state: FakeState) -> None:
        self._state = state

    async def add(self, changes: Sequence[Change]) -> None:
        self._state.announced.extend(changes)


class FakeDatabase:
    """Makes units of work over one state; what is not committed is forgotten."""

    def __init__(self) -> None:
        self.state = FakeState()

    def __call__(self) -> "FakeUnitOfWork":
        return FakeUnitOfWork(self)


class FakeUnitOfWork:
    def __init__(self, database: FakeDatabase) -> None:
        self._database = database

    async def __aenter__(self) -> Self:
        self._state = self._database.state.copy()
        self.requests = FakeRequests(self._state)
        self.entries = FakeEntries(self._state)
        self.kinds = FakeKinds(self._state)
        self.files = FakeFiles()
        self.announce = FakeOutbox(self._state)
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def commit(self) -> None:
        self._database.state = self._state.copy()
