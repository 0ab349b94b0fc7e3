"""Prove finds every kind of damage: each case breaks one thing behind the service's back."""

from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from libs.testkit.clock import FakeClock
from services.card.adapters.sql_proof import QUESTIONS
from services.card.application.create_product import CreateProduct
from services.card.application.issue_card import IssueCard
from services.card.application.ports import OpenUnitOfWork, Proof
from services.card.application.prove import Prove
from services.card.application.receive_stock import ReceiveStock
from services.card.domain.load import Load
from tests.unit.card.fakes import NOON, FakeChip, a_delivery, a_number, a_product, a_request, an_order
from tests.unit.card.repository_suites import WAIT

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls

SOLD, STOCKED = a_number(0), a_number(1)


@pytest.fixture
async def registry(unit_of_work: OpenUnitOfWork, clock: FakeClock) -> Prove:
    """Two cards, one sold with a reversed and a confirmed load, one in stock."""
    await CreateProduct(unit_of_work, clock)(a_product(), a_request())
    await ReceiveStock(unit_of_work, clock)([SOLD, STOCKED], a_delivery(), a_request())
    await IssueCard(unit_of_work, clock)(SOLD, "north", None, a_request())
    chip = FakeChip()
    async with unit_of_work() as uow:
        for step in range(3):
            order = an_order(card=SOLD, answer_a=chip.initialise())
            load = Load.requested(str(uuid4()), order, 1, NOON + step * WAIT)
            load = load.authorised(mac2=b"MAC2", reservation="r", host_time=NOON, wait=WAIT)
            decided = load.disproven(b"\x93\x02", card_unchanged=False) if step == 0 else load.proven(b"TAC!")
            # The last one is still open.
            await uow.loads.add(decided.settled(NOON + WAIT)[0] if step < 2 else load)
            chip.online_counter += step
        await uow.commit()
    return Prove(unit_of_work)


def _broken(proof: Proof) -> list[str]:
    return [line.statement for line in proof.lines if line.broken_count]


async def test_a_sound_registry_is_proven_with_its_totals(registry: Prove) -> None:
    proof = await registry()
    assert _broken(proof) == []
    assert [line.statement for line in proof.lines] == [question.statement for question in QUESTIONS]
    assert all(line.checked_count for line in proof.lines)
    assert (proof.issued_count, proof.deposit_total_fen, proof.lost_count) == (1, 20_00, 0)
    assert (proof.confirmed_load_total_fen, proof.open_load_total_fen) == (50_00, 50_00)


@pytest.mark.parametrize(
    ("damage", "question"),
    [
        (f"UPDATE card SET state = 'LOST' WHERE number = '{SOLD}'", 0),
        (f"DELETE FROM card_move WHERE number = '{SOLD}' AND verb = 'issue'", 0),
        (f"DELETE FROM card_move WHERE number = '{STOCKED}'", 0),
        ("DELETE FROM load; DELETE FROM card", 0),
        (f"DELETE FROM card_move WHERE number = '{SOLD}' AND verb = 'personalise'", 1),
        ("UPDATE card_move SET verb = 'recycle' WHERE verb = 'issue'", 1),
        ("UPDATE stock_level SET stock_count = stock_count + 1", 2),
        ("DELETE FROM stock_level", 2),
        (f"UPDATE card SET deposit_fen = 1 WHERE number = '{SOLD}'", 3),
        (f"UPDATE card SET deposit_fen = 1 WHERE number = '{STOCKED}'", 3),
        ("UPDATE load SET verdict = 'UNWRITTEN' WHERE state = 'CONFIRMED'", 4),
        ("UPDATE load SET tac = '' WHERE state = 'CONFIRMED'", 4),
        ("UPDATE load SET reservation = '' WHERE state = 'CONFIRMED'", 4),
        (
            "DROP INDEX load_undecided; INSERT INTO load SELECT (json_populate_record(load, "
            "json_build_object('id', gen_random_uuid()))).* FROM load WHERE state = 'AUTHORISED'",
            5,
        ),
        ("UPDATE load SET online_counter = online_counter + 1 WHERE state = 'CONFIRMED'", 6),
        (f"UPDATE card SET opening_fen = 1 WHERE number = '{STOCKED}'", 7),
    ],
)
async def test_damage_is_found_by_its_line(
    registry: Prove, empty_database: "DatabaseUrls", damage: str, question: int
) -> None:
    with psycopg.connect(empty_database.owner) as connection:
        connection.execute(damage)
    try:
        assert QUESTIONS[question].statement in _broken(await registry())
    finally:
        if "DROP INDEX" in damage:
            with psycopg.connect(empty_database.owner) as connection:
                connection.execute("TRUNCATE load")
                connection.execute(
                    "CREATE UNIQUE INDEX load_undecided ON load (card) WHERE verdict IS NULL "
                    "AND state IN ('REQUESTED', 'AUTHORISED', 'UNCERTAIN')"
                )
