"""The store in memory passes the suite that PostgreSQL passes."""

import pytest

from services.card.application.ports import OpenUnitOfWork
from tests.unit.card import repository_suites as suites
from tests.unit.card.fakes import FakeDatabase


@pytest.fixture
def unit_of_work() -> OpenUnitOfWork:
    return FakeDatabase()


class TestFakeProducts(suites.ProductRepositorySuite): ...


class TestFakeCards(suites.CardRepositorySuite): ...


class TestFakeStock(suites.StockRepositorySuite): ...


class TestFakeLoads(suites.LoadRepositorySuite): ...


class TestFakeRequests(suites.RequestSuite): ...
