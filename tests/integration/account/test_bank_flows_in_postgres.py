"""Bank flows over PostgreSQL: the same suites as the fakes', and the proof over what they leave."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from city.postgres import DatabaseUrls
from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from services.account.adapters.sql_accounts import AccountIds
from services.account.adapters.unit_of_work import AccountUnitOfWork
from services.account.domain.bank_errors import BankLimitExceeded
from services.account.domain.bank_flow import FlowState
from services.account.domain.bank_leg import BankAnswer, BankState, Verb
from tests.unit.account.bank_suites import (
    MONDAY,
    BankSuite,
    Flows,
    FlowSuite,
    MatchSuite,
    TakingBackSuite,
    a_load,
    flows,
)
from tests.unit.account.builders import a_request
from tests.unit.account.suites import Ledger

__all__ = ["flows"]


@pytest.fixture
async def bank_flows(engine: AsyncEngine) -> Flows:
    chart, clock, remembered = standard_chart(), FakeClock(), AccountIds()

    def transaction() -> AccountUnitOfWork:
        return AccountUnitOfWork(engine, chart, clock, remembered)

    return Flows(Ledger(transaction, chart, clock), transaction, clock)


@pytest.fixture(autouse=True)
async def proven(bank_flows: Flows) -> AsyncIterator[None]:
    """After every test the books prove themselves, whatever state its flows were left in."""
    yield
    async with bank_flows.transaction() as uow:
        proof = await uow.proofs.prove(300)
    assert [(line.statement, line.first_broken) for line in proof.lines if line.broken_count] == []


class TestFlowsInPostgres(FlowSuite): ...


class TestTakingBackInPostgres(TakingBackSuite): ...


class TestBanksInPostgres(BankSuite): ...


class TestMatchInPostgres(MatchSuite): ...


# What is changed by hand, and which invariants must say so, naming what.
TAMPERED = [
    ("UPDATE bank_flow SET state = 'VOIDED' WHERE flow_number = 1", {"I6", "I14"}, "bankFlows/"),
    ("UPDATE bank_leg SET amount_fen = 501 WHERE state = 'CAPTURED'", {"I6"}, "booked on 2216"),
    ("UPDATE bank_leg SET state = 'AUTHORISED' WHERE state = 'CAPTURED'", {"I14"}, "0 of 1 operations captured"),
    ("UPDATE bank_leg SET amount_fen = 300 WHERE state = 'PLANNED'", {"I6", "I14"}, "2216: pending"),
    ("UPDATE bank_day SET used_fen = used_fen + 1", {"I6"}, "banks/icbc on 2018-09-03 has used"),
    ("DELETE FROM bank_leg; DELETE FROM bank_flow", {"I6", "I14"}, "0 flows, 2 reservations"),
    (
        "UPDATE reservation SET state = 'VOIDED', resolve_time = now() WHERE state = 'PENDING'",
        {"I14"},
        "its reservation VOIDED",
    ),
]


class TestTampered:
    @pytest.fixture(autouse=True)
    async def proven(self) -> None:
        """These books are broken on purpose."""

    @pytest.mark.parametrize(("change", "invariants", "named"), TAMPERED)
    async def test_what_was_changed_by_hand_is_found_and_named(
        self, flows: Flows, books: DatabaseUrls, change: str, invariants: set[str], named: str
    ) -> None:
        assert (await flows.run(a_load(500))).state is FlowState.POSTED
        await flows.begin(a_load(200))
        with psycopg.connect(books.owner, autocommit=True) as connection:
            connection.execute(change)
        async with flows.transaction() as uow:
            lines = [line for line in (await uow.proofs.prove(300)).lines if line.broken_count]
        assert {line.invariant for line in lines} == invariants
        assert named in " ".join(line.first_broken for line in lines)


async def test_the_services_own_role_cannot_remove_what_banks_were_asked_or_said(books: DatabaseUrls) -> None:
    async with await psycopg.AsyncConnection.connect(books.application, autocommit=True) as connection:
        for table in ("bank", "bank_day", "bank_flow", "bank_leg", "bank_file", "bank_file_line", "bank_break"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(f"DELETE FROM {table}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("UPDATE bank_file_line SET amount_fen = 1")


async def test_a_match_waits_for_flows_that_are_being_stored_and_misses_none(flows: Flows) -> None:
    flow = await flows.run(a_load(500))
    await flows.take_file(flows.icbc.file(MONDAY))
    undoing = await flows.reverse(flow.id, a_request())
    undone = await flows.bring_on(undoing, calls=1)
    async with flows.transaction() as uow:
        found = await uow.bank_flows.get_for_update(undone.id)
        heard = found.heard(0, Verb.REVERSE, BankAnswer(BankState.REVERSED), flows.clock.now(), flows.pace)
        await flows.books.keep(uow, found, heard, flows.clock.now())
        matching = asyncio.create_task(flows.sweep.sweep())
        await asyncio.sleep(0.3)
        assert not matching.done(), "the day is being changed"
        await uow.commit()
    await matching
    await flows.sweep.sweep()
    (difference,) = await flows.breaks()
    assert (difference.our_state, difference.bank_state) == ("REVERSED", "CAPTURED")


async def test_two_beginnings_at_once_do_not_pass_the_limit_of_a_day_together(flows: Flows) -> None:
    await flows.register("icbc", day_limit_fen=1_000)
    begun = await asyncio.gather(*(flows.begin(a_load(300)) for _ in range(6)), return_exceptions=True)
    refused = [one for one in begun if isinstance(one, BankLimitExceeded)]
    assert (len(begun), len(refused)) == (6, 3)


async def test_many_drivers_of_one_flow_end_it_once(flows: Flows) -> None:
    flow = await flows.begin(a_load(500))
    for _ in range(4):
        await asyncio.gather(*(flows.drive.advance(flow.id) for _ in range(5)))
    assert (await flows.get(flow)).state is FlowState.POSTED
    assert flows.icbc.calls == [Verb.AUTHORISE, Verb.CAPTURE]
    assert await flows.balance("2211.holder-1") == 500
