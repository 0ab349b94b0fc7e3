"""The proof covers wallets and finds what was changed by hand; the service itself cannot change what was decided."""

import psycopg
import pytest

from city.postgres import DatabaseUrls
from services.account.adapters.sql_wallet_proof import WALLET_CHECKS
from services.account.domain.proof import Proof
from tests.unit.account.builders import a_request, issued
from tests.unit.account.suites import Ledger
from tests.unit.account.wallet_move_suites import PENDING
from tests.unit.account.wallet_suites import CARD, MINE, ONLINE, POINTS, Wallets

STATEMENTS = {statement for _, statement, _ in WALLET_CHECKS}


async def live(wallets: Wallets) -> None:
    """A day of wallets: lots that are paid, held, given back and end; a load on the card; a pass."""
    await wallets.ledger.issue(issued(CARD, opening_fen=100))
    await wallets.fill(POINTS, 40, days=1)
    await wallets.fill(POINTS, 60, days=400)
    await wallets.grant("points")
    await wallets.grant("online")
    await wallets.grant("period_pass")
    paid = await wallets.pay(50, POINTS, purpose="retail")
    await wallets.give_back(paid.id, 15)
    await wallets.pay(5, POINTS, purpose="retail", hold=True)
    parted = await wallets.pay(5, POINTS, purpose="retail", hold=True)
    await wallets.ledger.commit_reservation(parted.id, (2, 2))
    voided = await wallets.pay(5, POINTS, purpose="retail", hold=True)
    await wallets.ledger.void_reservation(voided.id)
    await wallets.fill(ONLINE, 500)
    await wallets.move_value(ONLINE, PENDING, 200, "", a_request())
    load = await wallets.reserve_card_load(PENDING, CARD, 150, "", None, a_request())
    await wallets.ledger.commit_reservation(load.id)
    await wallets.fill(f"period_pass.{MINE}", 1, days=2)
    await wallets.pay(1, f"period_pass.{MINE}")
    wallets.clock.advance(days=1)
    await wallets.expire_lots.sweep()


async def prove(ledger: Ledger) -> Proof:
    async with ledger.transaction() as uow:
        return await uow.proofs.prove(300)


async def test_a_day_of_wallets_is_proven(ledger: Ledger) -> None:
    await live(Wallets(ledger))
    proof = await prove(ledger)
    assert [line for line in proof.lines if line.broken_count] == []
    looked_at = {line.statement: line.checked_count for line in proof.lines if line.statement in STATEMENTS}
    assert len(looked_at) == len(WALLET_CHECKS)
    assert all(looked_at.values())


# What is changed, how many statements about wallets must say so, and what the first broken thing must name.
TAMPERED = [
    ("UPDATE wallet_lot SET amount_fen = amount_fen + 1 WHERE lot_id = 2", 1, f"wallets/{POINTS}"),
    ("UPDATE wallet_lot SET taken_fen = taken_fen - 1 WHERE lot_id = 1", 2, "lot 1"),
    ("UPDATE wallet_lot SET held_fen = 0", 2, "lot 1"),
    ("UPDATE account SET wallet = 0 WHERE name LIKE '3002.%'", 1, f"wallets/{POINTS}"),
    ("DELETE FROM wallet_tender_lot WHERE lot_id = 1 AND number = 1 AND place = 1", 2, "lot 1"),
    ("UPDATE wallet_tender SET reversed_fen = 14 WHERE reversed_fen = 15", 2, "given back 14"),
    ("UPDATE wallet_tender SET amount_fen = 301 WHERE amount_fen = 150", 2, "posted 301"),
    ("UPDATE wallet_debit SET state = 'GIVEN_UP' WHERE state = 'HELD'", 2, "is GIVEN_UP"),
    ("DELETE FROM reservation_leg; DELETE FROM reservation WHERE state = 'PENDING'", 1, "not there"),
]


@pytest.mark.parametrize(("statement", "broken_count", "named"), TAMPERED, ids=[row[0][:60] for row in TAMPERED])
async def test_a_row_of_a_wallet_changed_by_hand_is_found_and_named(
    ledger: Ledger, books: DatabaseUrls, statement: str, broken_count: int, named: str
) -> None:
    await live(Wallets(ledger))
    with psycopg.connect(books.owner, autocommit=True) as connection:
        connection.execute(statement)
    proof = await prove(ledger)
    broken = {line.statement: line.first_broken for line in proof.lines if line.broken_count}
    assert len(broken.keys() & STATEMENTS) == broken_count, broken
    assert any(named in first for first in broken.values()), broken


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("wallet_rule", "name"),
        ("wallet_lot", "amount_fen"),
        ("wallet_debit", "total_fen"),
        ("wallet_tender", "amount_fen"),
        ("wallet_tender_lot", "amount_fen"),
        ("top_up", "amount_fen"),
        ("wallet", "holder"),
    ],
)
@pytest.mark.parametrize("verb", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}", "TRUNCATE {0} CASCADE"])
def test_the_service_itself_may_not_change_what_was_decided(
    books: DatabaseUrls, table: str, column: str, verb: str
) -> None:
    with psycopg.connect(books.application) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(verb.format(table, column))
