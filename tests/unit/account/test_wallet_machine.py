"""The state machine of wallets over the fakes."""

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from tests.unit.account.fakes import FakeBooks
from tests.unit.account.suites import Ledger
from tests.unit.account.wallet_machine import WalletMachine
from tests.unit.account.wallet_suites import Wallets


class MachineInMemory(WalletMachine):
    async def make_wallets(self) -> Wallets:
        books = FakeBooks(standard_chart())
        return Wallets(Ledger(books, books.chart, FakeClock()))


def test_wallets_in_memory_are_the_dictionary() -> None:
    run_state_machine_as_test(
        MachineInMemory, settings=settings(max_examples=10, stateful_step_count=20, deadline=None)
    )
