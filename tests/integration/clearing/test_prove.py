"""A proof finds what was changed behind the service's back, and names the invariant that it breaks."""

from datetime import timedelta

import psycopg
import pytest

from libs.keystore.soft import SoftKeyStore
from services.clearing.adapters.spill import WindowSpill
from services.clearing.application.apportionment import PublishRules
from services.clearing.application.prove import Proof, Prove
from services.clearing.domain.apportion import Rules

from .conftest import CENTRE, Centre, a_batch
from .test_results_and_windows import DAY, NOON, a_city, card_number, rides
from .test_suspense import a_key
from .test_workers import TERMINALS, ride_files


async def a_day(centre: Centre) -> None:
    """Two operators, several files, two late records, a clone that is refused, one window closed; all batches folded.

    Fares are apportioned from that day on. Of the 200 fen of each late record the card ledger covers 150.
    """
    await a_city(centre)
    today = centre.clock.now()
    centre.clock.set(today - timedelta(days=1))
    await PublishRules(centre.unit_of_work, centre.clock)(Rules(DAY, (), (), ()), a_key())
    centre.clock.set(today)
    await centre.execute("UPDATE card SET opening_fen = 150 WHERE number = ANY(:numbers)",
                         numbers=[card_number(40), card_number(41)])  # fmt: skip
    for name, content in ride_files(centre, 6):
        centre.gateway.store(name, content, NOON)
    await centre.judge_all()
    clones = rides(centre, 3, first_seq=9_000, counter=2)
    centre.gateway.store("bus", a_batch(clones, 99, sender=TERMINALS["bus"][3]), NOON)
    late = rides(centre, 2, first_seq=8_000, first_card=40, at="20241215080910")
    centre.gateway.store("bus", a_batch(late, 98, sender=TERMINALS["bus"][3]), NOON)
    await centre.judge_all()
    await centre.close_window("bus", DAY)
    await centre.execute("UPDATE batch SET folded_at = posted_at")


def broken(proof: Proof) -> set[str]:
    return {line.invariant for line in proof.lines if line.broken}


async def test_a_sound_day_is_proven_and_everything_was_looked_at(centre: Centre) -> None:
    await a_day(centre)
    told: list[tuple[int, int]] = []
    proof = await Prove(
        centre.unit_of_work, centre.gateway, centre_institution_id=CENTRE, spill=WindowSpill, keys=centre.keys,
        progress=lambda done, total: told.append((done, total)),
    )()  # fmt: skip
    assert broken(proof) == set()
    checked = {line.statement: line.checked for line in proof.lines}
    assert min(checked.values()) > 0, f"a line that looked at nothing proves nothing: {checked}"
    assert proof.record_count == 6 * 30 + 2 + 3
    assert {line.checked for line in proof.lines if "TAC" in line.statement} == {182}
    assert {line.checked for line in proof.lines if line.invariant == "I4"} == {3}
    assert {line.checked for line in proof.lines if line.invariant in ("I9", "B4")} == {2, 1}
    assert told[-1] == (185, 185)


@pytest.mark.parametrize(
    ("tampering", "invariant"),
    [
        ("UPDATE record SET amount_fen = 1 WHERE terminal_seq = 103", "I2"),
        ("UPDATE record SET card_counter = 60000 WHERE terminal_seq = 103", "I2"),
        ("UPDATE record SET digest = substr(sha256(digest), 1, 16) WHERE terminal_seq = 103", "I2"),
        ("DELETE FROM record WHERE terminal_seq = 103", "I2"),
        ("INSERT INTO record SELECT r.terminal_number, 77777, r.card_id, 50000, r.transaction_s, r.amount_fen, "
         "r.list_price_fen, r.balance_before_fen, 999999, 0, r.participant, r.settlement_date, r.kind, r.code, "
         "r.digest FROM record r WHERE terminal_seq = 103", "I3"),
        ("UPDATE file SET codes = substr(codes, 2) WHERE id = (SELECT min(id) FROM file)", "I2"),
        ("DELETE FROM waiting_record WHERE code = 2", "I4"),
        ("UPDATE waiting_record SET content = set_byte(content, 70, 9) WHERE code = 2", "I4"),
        ("UPDATE batch_line SET amount_fen = amount_fen + 1 WHERE batch_id = (SELECT id FROM batch LIMIT 1)", "I1"),
        ("UPDATE position_delta SET amount_fen = amount_fen + 1 WHERE record_count > 3", "I6"),
        ("UPDATE record SET settlement_date = settlement_date + 1 WHERE terminal_seq = 103", "I12"),
        ("UPDATE record SET code = 21 WHERE terminal_seq = 103", "I12"),
        ("UPDATE statement SET number = 2", "I7"),
        ("UPDATE settlement_window SET closed_at = NULL", "I7"),
        ("DELETE FROM late_rest WHERE terminal_seq = 8001", "I6"),
        ("UPDATE late_rest SET rest_fen = rest_fen + 1 WHERE terminal_seq = 8001", "I12"),
        ("UPDATE fare_share SET amount_fen = amount_fen - 1 WHERE batch_id = (SELECT min(batch_id::text)::uuid FROM "
         "fare_share)", "I9"),
        ("UPDATE suspense_item SET amount_fen = amount_fen + 1 WHERE terminal_seq = 8001", "B4"),
        ("UPDATE batch SET folded_at = NULL WHERE movement_count > 0", "I10"),
        ("DELETE FROM file WHERE id = (SELECT min(id) FROM file)", "I11"),
    ],
)  # fmt: skip
async def test_what_was_changed_breaks_the_invariant_that_protects_it(
    centre: Centre, tampering: str, invariant: str
) -> None:
    await a_day(centre)
    with psycopg.connect(centre.owner_url, autocommit=True) as owner:
        assert owner.execute(tampering.encode()).rowcount > 0
    assert invariant in broken(await centre.prove())


async def test_a_key_index_that_is_gone_breaks_the_proof(centre: Centre) -> None:
    await a_day(centre)
    with psycopg.connect(centre.owner_url, autocommit=True) as owner:
        owner.execute("DROP INDEX record_card_counter")
        try:
            assert "I3" in broken(await centre.prove())
        finally:
            owner.execute("CREATE UNIQUE INDEX record_card_counter ON record (card_id, card_counter)")


async def test_a_record_whose_tac_is_wrong_is_found_even_if_everything_else_agrees(centre: Centre) -> None:
    await a_day(centre)
    centre.keys = SoftKeyStore({handle: bytes(range(16)) for handle in centre.keys.handles()})
    proof = await centre.prove()
    assert broken(proof) == {"I3"}
    assert [line.broken for line in proof.lines if "TAC" in line.statement] == [182]
