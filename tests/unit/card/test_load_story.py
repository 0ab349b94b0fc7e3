"""Any story of loads, cuts and outages ends with the ledger and the chip agreeing to the fen."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from libs.errors import DependencyUnavailable
from services.card.domain.errors import BalanceOverLimit, LoadStateForbids
from services.card.domain.load import Load, LoadState
from tests.unit.card.fakes import Killed, a_request, an_order
from tests.unit.card.world import CONFIRM_WAIT, REQUEST_WAIT, LoadWorld

AMOUNTS = st.sampled_from([10_00, 20_00, 50_00])


class LoadStory(RuleBasedStateMachine):
    """An honest outlet with a bad line: everything may fail, nobody lies."""

    def __init__(self) -> None:
        super().__init__()
        self.world = LoadWorld()
        self.current: Load | None = None
        self.tac: bytes | None = None
        self.sent = False

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return asyncio.run(work)
        except (DependencyUnavailable, Killed):
            return None

    @rule(amount_fen=AMOUNTS, tries=st.integers(1, 3))
    def order(self, amount_fen: int, tries: int) -> None:
        """The outlet initialises the card and asks, several times with one request id when the line is bad."""
        order = an_order(amount_fen=amount_fen, answer_a=self.world.chip.initialise())
        request = a_request(order)
        self.current, self.tac, self.sent = None, None, False
        for _ in range(tries):
            # The card is full, or the sweep was faster than the retry.
            with suppress(BalanceOverLimit, LoadStateForbids):
                self.current = self._do(self.world.authorise(order, request))
            self._mend()
            if self.current is not None:
                break

    @precondition(lambda self: self.current is not None and not self.sent)
    @rule(heard=st.booleans())
    def credit(self, heard: bool) -> None:
        """The card takes the load; its answer may get lost."""
        assert self.current is not None
        self.sent = True
        tac = self.world.chip.credit(self.current)
        assert tac is not None, "an honest outlet uses a MAC2 in the session that it was made for"
        self.tac = tac if heard else None

    @precondition(lambda self: self.tac is not None)
    @rule()
    def confirm(self) -> None:
        assert self.current is not None
        assert self.tac is not None
        self._do(self.world.confirm(self.current.id, self.tac, None))
        self._mend()

    @precondition(lambda self: self.current is not None and not self.sent)
    @rule()
    def reverse(self) -> None:
        """The card left before it was sent anything: read again, it is unchanged, and the session is over."""
        assert self.current is not None
        self._do(self.world.reverse(self.current.id, b"", True, None))
        self._mend()
        self.current = None

    @rule()
    def outage(self) -> None:
        self.world.ledger.away = True

    @rule(call=st.sampled_from(["reserve", "commit", "void"]), late=st.booleans())
    def die_at_the_ledger(self, call: str, late: bool) -> None:
        (self.world.ledger.kill_after if late else self.world.ledger.kill_before).add(call)

    @rule(ahead=st.integers(1, 2), late=st.booleans())
    def die_at_a_commit(self, ahead: int, late: bool) -> None:
        database = self.world.database
        (database.kill_after if late else database.kill_before).add(database.commits + ahead)

    @rule(wait=st.sampled_from([REQUEST_WAIT, CONFIRM_WAIT]))
    def time_passes(self, wait: Any) -> None:
        self.world.clock.advance(wait)
        self._do(self.world.sweep())
        self._mend()

    def _mend(self) -> None:
        world = self.world
        world.ledger.away = False
        for kills in (world.database.kill_before, world.database.kill_after):
            kills.clear()
        world.ledger.kill_before.clear()
        world.ledger.kill_after.clear()

    @invariant()
    def the_money_on_the_card_is_booked_or_still_held(self) -> None:
        ledger = self.world.ledger
        assert ledger.total("committed") <= self.world.chip.balance_fen
        assert self.world.chip.balance_fen <= ledger.total("committed") + ledger.total("pending")

    def teardown(self) -> None:
        """The card is seen once more, and time passes: everything is decided."""
        self._mend()
        world = self.world
        world.chip.balance_fen, kept_fen = 0, world.chip.balance_fen
        last = self._do(world.ask(10_00))
        world.clock.advance(CONFIRM_WAIT)
        for _ in range(3):
            self._do(world.sweep())
        assert last is not None
        for load in world.loads:
            if load.id != last.id:
                assert load.is_final, load
                booked = world.ledger.reservations.get(load.id, ("none", 0))[0]
                held = {LoadState.CONFIRMED: ("committed",), LoadState.REVERSED: ("voided",)}
                assert booked in held.get(load.state, ("voided", "none"))
        assert world.ledger.total("committed") == kept_fen
        assert world.ledger.total("pending") == 10_00
        told = [event.load for event in world.events]  # type: ignore[attr-defined]
        assert len(told) == len(set(told))


TestLoadStory = LoadStory.TestCase
TestLoadStory.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
