"""PostgreSQL passes the suite that the store in memory passes, and keeps what only a database can keep."""

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
from cryptography.exceptions import InvalidTag
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from libs.testkit.clock import FakeClock
from services.card.adapters.holder_cipher import HolderCipher
from services.card.application.batch_issue_cards import BatchIssueCards
from services.card.application.create_product import CreateProduct
from services.card.application.issue_card import IssueCard
from services.card.application.ports import OpenUnitOfWork
from services.card.application.receive_stock import ReceiveStock
from services.card.domain.errors import CardExists, CardStateForbids
from services.card.domain.holder import Holder
from services.card.domain.load import Load
from tests.unit.card import repository_suites as suites
from tests.unit.card.fakes import NOON, NUMBER, a_delivery, a_number, a_product, a_request, an_order

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls


class TestPostgresProducts(suites.ProductRepositorySuite): ...


class TestPostgresCards(suites.CardRepositorySuite): ...


class TestPostgresStock(suites.StockRepositorySuite): ...


class TestPostgresLoads(suites.LoadRepositorySuite): ...


class TestPostgresRequests(suites.RequestSuite): ...


async def test_the_database_itself_refuses_a_second_undecided_load(unit_of_work: OpenUnitOfWork) -> None:
    await suites.an_active_card(unit_of_work)
    async with unit_of_work() as uow:
        await uow.loads.add(Load.requested(str(uuid4()), an_order(), 1, NOON))
        with pytest.raises(IntegrityError, match="load_undecided"):
            await uow.loads.add(Load.requested(str(uuid4()), an_order(), 1, NOON))


async def test_moves_are_never_changed_by_the_service(
    unit_of_work: OpenUnitOfWork, empty_database: "DatabaseUrls"
) -> None:
    await suites.stocked(unit_of_work, 1)
    for wish in ("UPDATE card_move SET verb = 'issue'", "DELETE FROM card_move", "DELETE FROM product"):
        with (
            psycopg.connect(empty_database.application) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(wish)


async def test_a_copy_of_the_holders_names_nobody(unit_of_work: OpenUnitOfWork, empty_database: "DatabaseUrls") -> None:
    card = await suites.an_active_card(unit_of_work)
    async with unit_of_work() as uow:
        await uow.holders.put(card, Holder("王小明", "00", "440301199001011234"))
        await uow.commit()
    with psycopg.connect(empty_database.application) as connection:
        row = connection.execute("SELECT sealed FROM holder").fetchone()
    assert row is not None
    assert b"440301" not in row[0]
    assert "王".encode() not in row[0]
    cipher = HolderCipher(bytes(range(32)))
    assert cipher.open(row[0], card.purse).certificate_number == "440301199001011234"
    for other_cipher, purse in ((cipher, f"{NUMBER}.2"), (HolderCipher(bytes(32)), card.purse)):
        with pytest.raises(InvalidTag):
            other_cipher.open(row[0], purse)


async def test_two_counters_sell_one_card_once(unit_of_work: OpenUnitOfWork, clock: FakeClock) -> None:
    await CreateProduct(unit_of_work, clock)(a_product(), a_request())
    await ReceiveStock(unit_of_work, clock)([NUMBER], a_delivery(), a_request())
    issue = IssueCard(unit_of_work, clock)
    answers = await asyncio.gather(
        *(issue(NUMBER, "north", None, a_request()) for _ in range(4)), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Card", *3 * [CardStateForbids.__name__]]


async def test_one_request_sent_four_times_at_once_has_one_effect(
    unit_of_work: OpenUnitOfWork, clock: FakeClock
) -> None:
    await CreateProduct(unit_of_work, clock)(a_product(), a_request())
    receive, request = ReceiveStock(unit_of_work, clock), a_request()
    levels = await asyncio.gather(*(receive([NUMBER], a_delivery(), request) for _ in range(4)))
    assert {level.stock_count for level in levels} == {1}


async def test_two_deliveries_with_a_card_in_common_do_not_deadlock(
    unit_of_work: OpenUnitOfWork, clock: FakeClock
) -> None:
    await CreateProduct(unit_of_work, clock)(a_product(), a_request())
    receive = ReceiveStock(unit_of_work, clock)
    upward = [a_number(serial) for serial in range(500)]
    answers = await asyncio.gather(
        receive(upward, a_delivery(), a_request()),
        receive(upward[::-1], a_delivery(), a_request()),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in answers) == [CardExists.__name__, "StockLevel"]


async def test_ten_thousand_cards_are_issued_in_about_a_second_and_prove_themselves(
    unit_of_work: OpenUnitOfWork, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    await CreateProduct(unit_of_work, clock)(a_product(deposit_fen=0, price_fen=15_00), a_request())
    numbers = [a_number(serial) for serial in range(10_000)]
    began = time.perf_counter()
    await ReceiveStock(unit_of_work, clock)(numbers, a_delivery(), a_request())
    received = time.perf_counter()
    await BatchIssueCards(unit_of_work, clock)(numbers, [20_00], "north", a_request())
    issued = time.perf_counter()
    async with unit_of_work() as uow:
        proof = await uow.proofs.recompute()
    proved = time.perf_counter()
    with capsys.disabled():
        print(f"\n  10,000 cards: stock {received - began:.2f} s, issue {issued - received:.2f} s, ", end="")
        print(f"prove {proved - issued:.2f} s ", end="")
    # Generous: shared machines are slow. A statement per card takes ten times as long even on a good day.
    assert issued - received < 4
    assert [line for line in proof.lines if line.broken_count] == []
    assert (proof.issued_count, proof.opening_balance_total_fen) == (10_000, 200_000_00)
    async with unit_of_work() as uow:
        connection = uow.connection  # type: ignore[attr-defined]
        rows = list(await connection.execute(text("SELECT octet_length(payload) AS size FROM outbox ORDER BY id")))
    assert len(rows) == 2
    assert all(row.size < 200_000 for row in rows)
