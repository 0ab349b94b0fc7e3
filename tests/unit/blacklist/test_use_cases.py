"""The use cases over a fake database."""

from datetime import timedelta

import pytest

from libs.errors import RequestIdReused
from libs.records.batch import FileType, decode_batch
from libs.records.errors import BatchRefused
from libs.testkit.clock import FakeClock
from services.blacklist.adapters.events_out import change_to_event
from services.blacklist.application.add_entry import AddEntry
from services.blacklist.application.change_rows import BatchChangeRows
from services.blacklist.application.check_card import CheckCard
from services.blacklist.application.expire import Expire
from services.blacklist.application.get_list_file import GetListFile
from services.blacklist.application.get_version import GetVersion
from services.blacklist.application.known_head import KnownHead
from services.blacklist.application.prove import Prove
from services.blacklist.application.record_loss import RecordLoss
from services.blacklist.application.remove_entry import RemoveEntry
from services.blacklist.application.small_lists import KnownSmallLists
from services.blacklist.domain.chain import Head
from services.blacklist.domain.entry import CardKey, Entry, ListMode, ListReason
from services.blacklist.domain.errors import EntryUnknown, PeriodEmpty, VersionUnknown
from tests.unit.blacklist.fakes import DAY, NOON, FakeDatabase, a_card, a_request

CENTRE = "00130000FFFFFFFF"


class Room:
    """The service without its adapters."""

    def __init__(self) -> None:
        self.database = FakeDatabase()
        self.clock = FakeClock(NOON)
        self.known_head = KnownHead(GetVersion(self.database), age_s_max=0)
        self.copy = FakeCopy()
        self.add_entry = AddEntry(self.database, self.clock, DAY)
        self.remove_entry = RemoveEntry(self.database, self.clock)
        self.record_loss = RecordLoss(self.clock, DAY)
        self.small_lists = KnownSmallLists(self.database, age_s_max=0)
        self.change_rows = BatchChangeRows(self.database, self.clock)
        self.expire = Expire(self.database, self.clock)
        self.check_card = CheckCard(self.database, self.clock, self.known_head, self.copy, self.small_lists)
        self.files = GetListFile(self.database, self.known_head, CENTRE)
        self.prove = Prove(self.database)

    async def lose(self, card: CardKey) -> None:
        async with self.database() as uow:
            await self.record_loss.reported(uow, card, self.clock.now())
            await uow.commit()

    async def find(self, card: CardKey) -> None:
        async with self.database() as uow:
            await self.record_loss.cancelled(uow, card, self.clock.now())
            await uow.commit()


class FakeCopy:
    """A fast copy that says what a test tells it to, at the version it was told for."""

    def __init__(self) -> None:
        self.answers: dict[str, Entry | None] = {}
        self.asked = 0

    async def look(self, card: CardKey, head: Head) -> tuple[Entry | None] | None:
        self.asked += 1
        return (self.answers[head.stamp],) if head.stamp in self.answers else None


@pytest.fixture
def room() -> Room:
    return Room()


async def add(room: Room, serial: int = 1, number: int = 1, reason: ListReason = ListReason.COURT) -> Entry:
    return await room.add_entry(a_card(serial), reason, ListMode.REFUSE, None, a_request(number, f"{serial}{reason}"))


async def test_a_repeated_request_gets_the_first_answer_and_makes_no_version(room: Room) -> None:
    first = await add(room)
    room.clock.advance(hours=1)
    assert await add(room) == first
    assert room.database.state.head.version == 1
    with pytest.raises(RequestIdReused):
        await add(room, serial=2)


async def test_a_refused_removal_leaves_the_request_id_free(room: Room) -> None:
    with pytest.raises(EntryUnknown):
        await room.remove_entry(a_card(), a_request(7))
    await add(room)
    assert not (await room.remove_entry(a_card(), a_request(7))).listed


async def test_an_addition_takes_effect_after_the_usual_delay(room: Room) -> None:
    entry = await add(room)
    assert entry.shown is not None
    assert entry.shown.effective_time == NOON + DAY
    assert (await room.check_card(a_card(), None)).listed is False
    assert (await room.check_card(a_card(), NOON + DAY)).listed is True


async def test_every_change_is_announced_once_and_nothing_else_is(room: Room) -> None:
    await room.lose(a_card())
    await room.lose(a_card())
    room.clock.advance(hours=1)
    await room.find(a_card())
    await room.find(a_card(2))
    assert [(one.version, one.added) for one in room.database.state.announced] == [(1, True), (2, False)]


async def test_a_past_instant_is_answered_from_the_history(room: Room) -> None:
    await room.lose(a_card())
    room.clock.advance(days=3)
    await room.find(a_card())
    room.clock.advance(days=1)
    assert (await room.check_card(a_card(), NOON + 2 * DAY)).listed is True
    checked = await room.check_card(a_card(), None)
    assert (checked.listed, checked.entry, checked.version) == (False, None, 2)


async def test_a_copy_of_another_version_is_not_believed(room: Room) -> None:
    await room.lose(a_card())
    room.clock.advance(days=2)
    room.copy.answers[Head().stamp] = None
    assert (await room.check_card(a_card(), None)).listed is True
    room.copy.answers[room.database.state.head.stamp] = None
    assert (await room.check_card(a_card(), None)).listed is False
    assert room.copy.asked == 2


async def test_the_empty_list_has_no_file(room: Room) -> None:
    assert (await room.files.snapshot()).data == b""
    assert (await room.files.delta(0)).data == b""
    with pytest.raises(VersionUnknown):
        await room.files.delta(1)


async def test_a_snapshot_is_a_list_file_of_the_version_and_always_the_same_bytes(room: Room) -> None:
    for serial in (3, 1, 2):
        await room.lose(a_card(serial))
        room.clock.advance(hours=1)
    file = await room.files.snapshot()
    batch = decode_batch(file.data, FileType.BL)
    assert (batch.header.batch_number, batch.header.record_count, file.version) == (3, 3, 3)
    assert batch.header.created == NOON + timedelta(hours=2)
    assert [bytes(number).hex()[-1] for number in batch.records["card_number"]] == ["1", "2", "3"]
    again = GetListFile(room.database, room.known_head, CENTRE)
    assert (await again.snapshot()).data == file.data


async def test_a_delta_turns_the_base_into_the_newest_version(room: Room) -> None:
    await room.lose(a_card(1))
    await room.lose(a_card(2))
    base = room.database.state.head.version
    room.clock.advance(hours=1)
    await room.find(a_card(1))
    await room.lose(a_card(3))
    await room.lose(a_card(4))
    room.clock.advance(hours=1)
    await room.find(a_card(4))
    batch = decode_batch((await room.files.delta(base)).data, FileType.BI)
    rows = [(int(bytes(row["card_number"]).hex()), int(row["action"])) for row in batch.records]
    assert [(serial % 10, action) for serial, action in rows] == [(1, 2), (3, 1)]
    assert batch.header.extension.version == 6
    assert batch.header.extension.base_version == base
    assert (await room.files.delta(6)).data == b""


async def test_of_a_number_issued_again_the_newest_listed_generation_is_in_the_file(room: Room) -> None:
    await add(room, number=1)
    key = a_card(1, generation=2)
    await room.add_entry(key, ListReason.STOLEN_STOCK, ListMode.LOCK, None, a_request(2))
    batch = decode_batch((await room.files.snapshot()).data)
    assert batch.records["reason"].tolist() == [ListReason.STOLEN_STOCK]
    room.clock.advance(hours=1)
    await room.remove_entry(key, a_request(3))
    batch = decode_batch((await room.files.delta(2)).data)
    assert batch.records["action"].tolist() == [1]
    assert batch.records["reason"].tolist() == [ListReason.COURT]


async def test_a_flipped_bit_in_a_list_file_is_noticed(room: Room) -> None:
    await room.lose(a_card())
    data = bytearray((await room.files.snapshot()).data)
    data[130] ^= 1
    with pytest.raises(BatchRefused):
        decode_batch(bytes(data))


async def test_a_proof_counts_and_finds_what_was_changed(room: Room) -> None:
    await room.lose(a_card(1))
    await add(room, serial=2)
    proof = await room.prove()
    assert not any(line.broken_count for line in proof.lines)
    assert (proof.lost_count, proof.version) == (1, 2)
    state = room.database.state
    state.changes[0], state.changes[1] = state.changes[1], state.changes[0]
    broken = (await room.prove()).lines[0]
    assert broken.broken_count
    assert broken.first_broken == "version 2"


async def test_the_known_head_is_asked_once_while_it_is_fresh() -> None:
    now, asked = [0.0], [0]

    async def read() -> Head:
        asked[0] += 1
        return Head(asked[0])

    known = KnownHead(read, 1.0, lambda: now[0])
    assert [(await known.newest()).version for _ in range(3)] == [1, 1, 1]
    now[0] = 1.5
    assert (await known.newest()).version == 2
    known.tell(Head(9))
    assert (await known.newest()).version == 9


async def test_a_slow_question_does_not_hide_a_change_of_this_process() -> None:
    now = [0.0]

    async def read() -> Head:
        now[0] += 1
        known.tell(Head(5))
        return Head(4)

    known = KnownHead(read, 0, lambda: now[0])
    assert (await known.newest()).version == 5


async def test_a_card_to_be_ignored_is_let_through_announced_as_free_and_locked_when_lost(room: Room) -> None:
    ignore = await room.add_entry(a_card(), ListReason.COURT, ListMode.IGNORE, NOON, a_request(1))
    assert ignore.listed
    checked = await room.check_card(a_card(), None)
    assert (checked.listed, checked.mode) == (False, ListMode.IGNORE)
    assert not change_to_event(room.database.state.announced[0]).added
    assert (await room.files.snapshot()).version == 1
    assert len(decode_batch((await room.files.snapshot()).data, FileType.BL).records) == 0
    room.clock.advance(DAY)
    await room.lose(a_card())
    lost = (await room.check_card(a_card(), room.clock.now() + DAY)).entry
    assert lost is not None
    assert lost.shown is not None
    assert (lost.shown.reason, lost.shown.mode) == (ListReason.LOST, ListMode.LOCK)
    # The report back taken, nothing is left of the decision: the card is off the list.
    room.clock.advance(DAY)
    await room.find(a_card())
    assert (await room.check_card(a_card(), None)).entry is None


async def test_an_entry_ends_and_a_loss_has_no_end(room: Room) -> None:
    until = NOON + 2 * DAY
    await room.add_entry(a_card(1), ListReason.COURT, ListMode.REFUSE, NOON, a_request(1), until)
    await room.add_entry(a_card(2), ListReason.COURT, ListMode.REFUSE, NOON, a_request(2), until)
    await room.lose(a_card(2))
    assert await room.expire() == 0
    assert (await room.check_card(a_card(1), until - DAY)).listed
    assert not (await room.check_card(a_card(1), until)).listed
    room.clock.advance(3 * DAY)
    assert await room.expire() == 1
    assert await room.expire() == 0
    assert room.database.state.announced[-1].holds_from == until
    assert [(await room.check_card(a_card(serial), None)).listed for serial in (1, 2)] == [False, True]
    assert (await room.check_card(a_card(1), NOON + DAY)).listed
    with pytest.raises(PeriodEmpty):
        await room.add_entry(a_card(3), ListReason.COURT, ListMode.REFUSE, NOON, a_request(3), NOON)


async def test_refused_at_the_exit_only_is_refused_at_both_ends_in_a_file_that_knows_two_modes(room: Room) -> None:
    await room.add_entry(a_card(), ListReason.ARREARS, ListMode.REFUSE_AT_EXIT, NOON, a_request(1))
    assert decode_batch((await room.files.snapshot()).data, FileType.BL).records["mode"].tolist() == [ListMode.REFUSE]
    checked = await room.check_card(a_card(), None)
    assert (checked.listed, checked.mode) == (True, ListMode.REFUSE_AT_EXIT)


async def test_what_was_said_at_an_instant_is_told_after_it_changed(room: Room) -> None:
    await room.add_entry(a_card(), ListReason.COURT, ListMode.LOCK, NOON, a_request(1))
    room.clock.advance(DAY)
    await room.add_entry(a_card(), ListReason.COURT, ListMode.IGNORE, NOON, a_request(2))
    room.clock.advance(DAY)
    await room.remove_entry(a_card(), a_request(3))
    room.clock.advance(DAY)
    said = [(await room.check_card(a_card(), NOON + days * DAY / 2)).mode for days in range(6)]
    assert said == [ListMode.LOCK, ListMode.LOCK, ListMode.IGNORE, ListMode.IGNORE, None, None]


async def test_a_number_of_the_other_scheme_can_never_be_listed() -> None:
    for name in ("cj-" + "031" + "0" * 17 + ".1", "jt-" + "0" * 20 + ".1"):
        with pytest.raises(EntryUnknown):
            CardKey.parse(name)
