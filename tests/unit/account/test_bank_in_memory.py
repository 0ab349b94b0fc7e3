"""The bank in memory keeps the contract that the reference bank keeps."""

import pytest

from services.account.domain.bank import Bank
from tests.unit.account.bank_fakes import FakeBank, FakeGateway
from tests.unit.account.bank_gateway_suite import START_FEN, BankWorld, GatewaySuite


@pytest.fixture
def world() -> BankWorld:
    bank = FakeBank("icbc", {"alice": START_FEN})
    return BankWorld(FakeGateway(bank), Bank("icbc", "bank:7443"), lambda: bank.balances["alice"])


class TestBankInMemory(GatewaySuite): ...
