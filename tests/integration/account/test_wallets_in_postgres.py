"""The behaviour of wallets over PostgreSQL: the same suites as the fakes'."""

import pytest

from tests.unit.account.suites import Ledger
from tests.unit.account.wallet_move_suites import MandateSuite, MoveSuite
from tests.unit.account.wallet_suites import (
    CreditSuite,
    DebitSuite,
    GrantSuite,
    HoldSuite,
    LotSuite,
    MemberSuite,
    OpeningSuite,
    TenderSuite,
    Wallets,
)


@pytest.fixture
def wallets(ledger: Ledger) -> Wallets:
    return Wallets(ledger)


class TestOpeningInPostgres(OpeningSuite): ...


class TestCreditsInPostgres(CreditSuite): ...


class TestGrantsInPostgres(GrantSuite): ...


class TestDebitsInPostgres(DebitSuite): ...


class TestLotsInPostgres(LotSuite): ...


class TestHoldsInPostgres(HoldSuite): ...


class TestTendersInPostgres(TenderSuite): ...


class TestMembersInPostgres(MemberSuite): ...


class TestMovesInPostgres(MoveSuite): ...


class TestMandatesInPostgres(MandateSuite): ...
