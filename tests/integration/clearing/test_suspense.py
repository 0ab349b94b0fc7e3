"""Suspense, late records and further result files against a real database."""

import uuid
from datetime import date, timedelta

import psycopg
import pytest
from citycard.clearing.v1 import events_pb2

from libs.records import otr
from libs.records.batch import FileType, decode_batch
from libs.runtime.requests import RequestKey
from services.clearing.application.further_results import FurtherResults, MakeFurtherResults
from services.clearing.application.suspense import (
    ApproveSuspenseItem,
    CorrectSuspenseItem,
    DecideSuspenseItem,
    InvestigateSuspenseItem,
    SetLiabilityRule,
    SuspenseReads,
)
from services.clearing.domain.errors_settlement import SamePerson, SuspenseUnknown
from services.clearing.domain.suspense import Condition, Decision, ItemState, LiabilityRule, Shares, SuspenseItem

from .conftest import CENTRE, ISSUER, Centre, a_batch
from .test_results_and_windows import DAY, NOON, a_city, card_number, rides

ANN, BOB = "citycard://administrator/ann", "citycard://administrator/bob"


def a_key(who: str = ANN, digest: bytes = bytes(32)) -> RequestKey:
    return RequestKey(who, "test/Test", str(uuid.uuid4()), digest)


def reads(centre: Centre) -> SuspenseReads:
    return SuspenseReads(centre.unit_of_work, centre.gateway, centre.clock)


async def items(centre: Centre, state: int = 0) -> list[SuspenseItem]:
    return list(await reads(centre).page(None, state, 0, 0, 1000))


async def settle(centre: Centre, item: SuspenseItem, decision: Decision, shares: Shares = Shares()) -> SuspenseItem:  # noqa: B008 (frozen)
    await InvestigateSuspenseItem(centre.unit_of_work, centre.clock)(item.id, "looked", a_key())
    await DecideSuspenseItem(centre.unit_of_work, centre.clock)(item.id, decision, shares, "because", a_key())
    return await ApproveSuspenseItem(centre.unit_of_work, centre.clock)(item.id, a_key(BOB))


async def posted(centre: Centre) -> list[events_pb2.BookPosted]:
    rows = await centre.execute("SELECT payload FROM outbox WHERE subject LIKE '%BookPosted' ORDER BY id")
    return [events_pb2.BookPosted.FromString(bytes(row.payload)) for row in rows]


def together(parts: list[otr.Records]) -> otr.Records:
    """Records one after another, in the layout of the file; NumPy would turn the bytes of numbers round."""
    return otr.read_records(b"".join(part.tobytes() for part in parts))


async def over_limit(centre: Centre) -> None:
    """Three rides of the bus company above a limit, two below."""
    await a_city(centre)
    async with centre.unit_of_work() as uow:
        await uow.participants.set_industry_limit(2, NOON - timedelta(days=10), 500)
        await uow.commit()
    records = together([rides(centre, 3, amount=700), rides(centre, 2, first_seq=10, first_card=10)])
    centre.gateway.store("bus", a_batch(records, 1), NOON)
    await centre.judge_all()


async def broken(centre: Centre) -> list[str]:
    return [f"{line.invariant}: {line.first_broken}" for line in (await centre.prove()).lines
            if line.broken and line.invariant != "I10"]  # fmt: skip


async def test_what_is_not_paid_is_an_item_and_its_decision_falls_into_the_open_window(centre: Centre) -> None:
    await over_limit(centre)
    first, second, third = await items(centre)
    assert [(one.code, one.debited, one.amount_fen) for one in (first, second, third)] == [(23, True, 700)] * 3
    statement = await centre.close_window("bus", DAY)
    assert (statement.totals.gross_fen, statement.totals.adjustment_fen) == (400, 0)
    centre.clock.advance(timedelta(days=1))
    await InvestigateSuspenseItem(centre.unit_of_work, centre.clock)(first.id, "looked", a_key())
    decide = DecideSuspenseItem(centre.unit_of_work, centre.clock)
    await decide(first.id, Decision.PAY_ACQUIRER, Shares(), "because", a_key())
    with pytest.raises(SamePerson):
        await ApproveSuspenseItem(centre.unit_of_work, centre.clock)(first.id, a_key(ANN))
    approve, key = ApproveSuspenseItem(centre.unit_of_work, centre.clock), a_key(BOB)
    paid = await approve(first.id, key)
    # The answer was lost and asked for again: nothing is posted twice.
    assert await approve(first.id, key) == paid
    await settle(centre, second, Decision.RETURN_TO_HOLDER)
    await settle(centre, third, Decision.SPLIT, Shares(300, 300, 100))
    assert {one.state for one in await items(centre)} == {ItemState.POSTED}
    assert await centre.close_window("bus", DAY) == statement
    later = await centre.close_window("bus", DAY + timedelta(days=1))
    assert (later.totals.gross_fen, later.totals.adjustment_fen, later.totals.net_fen) == (0, 1_000, 1_000)
    assert await broken(centre) == []
    sums: dict[str, int] = {}
    for event in await posted(centre):
        for line in event.lines:
            sums[line.debit_account] = sums.get(line.debit_account, 0) - line.amount_fen
            sums[line.credit_account] = sums.get(line.credit_account, 0) + line.amount_fen
    assert sums == {
        "accounts/2205.bus": -2_100, "accounts/2203.bus": 1_000, "accounts/2206": 1_000, "accounts/6003": 100,
    }  # fmt: skip


async def test_a_decision_is_told_by_a_further_result_file_and_only_once(centre: Centre) -> None:
    await over_limit(centre)
    first, second, _ = await items(centre)
    make = MakeFurtherResults(centre.unit_of_work, centre.clock, centre_institution_id=CENTRE)
    assert await make("bus") == []
    await settle(centre, first, Decision.PAY_ACQUIRER)
    await settle(centre, second, Decision.WRITE_OFF)
    (made,) = await make("bus")
    assert await make("bus") == []
    content = await FurtherResults(centre.unit_of_work).content("bus", made.number)
    batch = decode_batch(content, FileType.RS)
    assert [(int(row["index"]), int(row["code"]), int(row["settled_fen"])) for row in batch.records] == [
        (first.file_index, 0, 700), (second.file_index, 23, 0),
    ]  # fmt: skip
    assert batch.header.extension.original_batch_number == 1
    assert [one.number for one in await FurtherResults(centre.unit_of_work).page("bus", 0, 10)] == [made.number]


async def test_a_memorandum_ends_when_its_record_is_judged(centre: Centre) -> None:
    await a_city(centre, cards=5)
    centre.gateway.store("bus", a_batch(rides(centre, 7), 1), NOON)
    await centre.judge_all()
    assert [(one.code, one.debited) for one in await items(centre)] == [(11, False)] * 2
    async with centre.unit_of_work() as uow:
        await uow.registries.add_cards(
            [card_number(5)], [1], jt=False, issuer_id=ISSUER, issued_s=0, start_day=0, expiry_day=40_000
        )
        await uow.commit()
    assert await centre.rejudge() == 1
    open_ones, done = await items(centre, ItemState.OPEN), await items(centre, ItemState.POSTED)
    assert (len(open_ones), [(one.final_code, one.shares.pay_fen) for one in done]) == (1, [(0, 200)])
    (made,) = await MakeFurtherResults(centre.unit_of_work, centre.clock, centre_institution_id=CENTRE)("bus")
    assert (made.record_count, made.settled_fen) == (1, 200)
    # Nothing was booked for the memoranda themselves.
    assert await posted(centre) == []


async def test_a_corrected_record_pays_another_and_is_kept_as_it_came(centre: Centre) -> None:
    await over_limit(centre)
    item = (await items(centre))[0]
    await InvestigateSuspenseItem(centre.unit_of_work, centre.clock)(item.id, "looked", a_key())
    await CorrectSuspenseItem(centre.unit_of_work, centre.clock)(item.id, "metro", 600, "their terminal", a_key())
    decide = DecideSuspenseItem(centre.unit_of_work, centre.clock)
    await decide(item.id, Decision.SPLIT, Shares(600, 100, 0), "because", a_key())
    done = await ApproveSuspenseItem(centre.unit_of_work, centre.clock)(item.id, a_key(BOB))
    assert (done.participant, done.payee, done.correction.amount_fen if done.correction else 0) == ("bus", "metro", 600)
    statement = await centre.close_window("metro", DAY)
    assert (statement.totals.adjustment_fen, statement.totals.net_fen) == (600, 600)
    story = await reads(centre).story(done, list_late=False)
    assert [one.action for one in story.events] == ["investigated", "corrected", "decided", "posted"]
    assert await broken(centre) == []


async def test_a_late_record_is_paid_as_far_as_the_card_ledger_covers_it(centre: Centre) -> None:
    await a_city(centre, cards=3)
    async with centre.unit_of_work() as uow:
        # Card 0 never had more than 150 fen, card 1 has plenty, nothing is known of what card 2 was issued with.
        for index, opening in ((20, 150), (21, 9_000)):
            await uow.registries.add_cards(
                [card_number(index)], [1], jt=False, issuer_id=ISSUER, issued_s=0, start_day=0, expiry_day=40_000,
                openings_fen=[opening],
            )  # fmt: skip
        await uow.commit()
    late = rides(centre, 2, first_card=20, at="20241215080910")
    unknown = rides(centre, 1, first_card=2, first_seq=50, at="20241215080910")
    upload = centre.gateway.store("bus", a_batch(together([late, unknown]), 1), NOON)
    await centre.judge_all()
    assert await centre.codes(upload) == [26, 26, 26]
    (item,) = await items(centre)
    assert (item.code, item.amount_fen, item.debited) == (26, 50, True)
    result = decode_batch(await centre.get_result("bus", upload.sha256), FileType.RS)
    assert result.records["settled_fen"].tolist() == [150, 200, 200]
    await settle(centre, item, Decision.PAY_ACQUIRER)
    statement = await centre.close_window("bus", DAY)
    assert (statement.totals.record_count, statement.totals.gross_fen, statement.totals.adjustment_fen) == (3, 550, 50)
    assert statement.verdicts == ((26, 3, 550), (27, 0, 50))
    assert await broken(centre) == []


async def test_open_items_are_counted_by_age_and_equal_what_stands_on_the_suspense_account(centre: Centre) -> None:
    await over_limit(centre)
    centre.clock.advance(timedelta(days=91))
    (age,) = await reads(centre).ages("bus")
    assert (age.days_above, age.item_count, age.amount_fen) == (90, 3, 2_100)
    assert await reads(centre).ages("metro") == []
    rows = await centre.execute(
        "SELECT sum(amount_fen) AS n FROM batch_line WHERE credit_account = 'accounts/2205.bus'"
    )
    async with centre.unit_of_work() as uow:
        assert await uow.suspense.debited_sums() == {"bus": int(rows[0].n)}


async def test_who_bears_a_listed_card_depends_on_the_list_that_the_terminal_had(centre: Centre) -> None:
    await a_city(centre)
    async with centre.unit_of_work() as uow:
        await uow.registries.list_card(card_number(0), 1, jt=False, version=7, effective_s=1)
        await uow.registries.list_card(card_number(1), 1, jt=False, version=9, effective_s=1)
        await uow.commit()
    records = rides(centre, 2)
    records["blacklist_version"] = 8
    centre.gateway.store("bus", a_batch(otr.seal(records), 1), NOON)
    await centre.judge_all()
    held, behind = await items(centre)
    look = reads(centre)
    advice = [(await look.story(one, list_late=late)).advice for one, late in
              ((held, False), (behind, False), (behind, True))]  # fmt: skip
    assert [(one.condition, one.decision) for one in advice if one] == [
        (Condition.LIST_HELD, Decision.WRITE_OFF), (Condition.LIST_PUBLISHED, Decision.WRITE_OFF),
        (Condition.LIST_LATE, Decision.PAY_ACQUIRER),
    ]  # fmt: skip
    rule = LiabilityRule(20, Condition.LIST_PUBLISHED, Decision.SPLIT, "各半", "half each")
    with psycopg.connect(centre.owner_url, autocommit=True) as owner:
        try:
            await SetLiabilityRule(centre.unit_of_work)(rule)
            assert rule in await look.rules()
        finally:
            owner.execute("DELETE FROM liability_rule WHERE decision = 3")


async def test_an_unknown_item_is_refused_by_name(centre: Centre) -> None:
    with pytest.raises(SuspenseUnknown):
        await InvestigateSuspenseItem(centre.unit_of_work, centre.clock)(4711, "looked", a_key())
    assert date(2025, 1, 2) == DAY
