"""The state machine over the fakes: thousands of steps in seconds."""

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from libs.testkit.clock import FakeClock
from services.account.adapters.chart_file import standard_chart
from tests.unit.account.fakes import FakeBooks
from tests.unit.account.machine import LedgerMachine
from tests.unit.account.suites import Ledger


class MachineInMemory(LedgerMachine):
    async def make_ledger(self) -> Ledger:
        books = FakeBooks(standard_chart())
        return Ledger(books, books.chart, FakeClock())

    def teardown(self) -> None:
        self.check_purses()
        super().teardown()


def test_the_ledger_in_memory_is_the_dictionary() -> None:
    run_state_machine_as_test(
        MachineInMemory, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )
