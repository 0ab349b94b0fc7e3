"""What each stage of the end of day does for one participant; every one of them can be done again."""

from collections.abc import Callable, Mapping
from datetime import date

from libs.clock import Clock
from libs.money import yuan
from services.clearing.application.apportionment import CarryShares
from services.clearing.application.close_window import CloseWindow
from services.clearing.application.day_run import Work
from services.clearing.application.further_results import MakeFurtherResults
from services.clearing.application.ports import UnitOfWork
from services.clearing.application.replay import ReplayDay
from services.clearing.application.settlement import MakeInstructions, participant_of
from services.clearing.application.statement_forms import StatementForms
from services.clearing.domain.day_run import Stage
from services.clearing.domain.errors_settlement import DayNotOver


class DayWork:
    """The stages as work."""

    def __init__(
        self, unit_of_work: Callable[[], UnitOfWork], clock: Clock, *, close: CloseWindow, replay: ReplayDay,
        carry: CarryShares, results: MakeFurtherResults, forms: StatementForms, instruct: MakeInstructions,
    ) -> None:  # fmt: skip
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._close_window = close
        self._replay = replay
        self._carry_shares = carry
        self._make_results = results
        self._forms = forms
        self._make_instructions = instruct

    def stages(self) -> Mapping[Stage, Work]:
        """Work by stage."""
        return {
            Stage.CLOSE: self._close,
            Stage.REPLAY: self._replay.must_agree,
            Stage.CARRY: self._carry,
            Stage.RESULTS: self._results,
            Stage.SIGN: self._sign,
            Stage.INSTRUCT: self._instruct,
        }

    async def _close(self, participant: str, day: date) -> str:
        async with self._unit_of_work() as uow:
            found = await participant_of(uow, participant)
            closed = await uow.windows.statement(participant, day) is not None
        ends_at = found.cut_off_instant(day)
        # A window that somebody closed early is closed: there is nothing to wait for.
        if not closed and self._clock.now() < ends_at:
            raise DayNotOver(participant=participant, ends_at=ends_at.isoformat())
        statement = await self._close_window(participant, day)
        totals = statement.totals
        return f"statement {statement.number}: {totals.record_count} records, net {yuan(totals.net_fen)}"

    async def _carry(self, participant: str, day: date) -> str:
        return f"{yuan(await self._carry_shares(participant, day))} carried"

    async def _results(self, participant: str, _: date) -> str:
        made = await self._make_results(participant)
        return f"{len(made)} files, {sum(one.record_count for one in made)} records"

    async def _sign(self, participant: str, day: date) -> str:
        return f"key {(await self._forms.sign(participant, day)).key_id}"

    async def _instruct(self, participant: str, day: date) -> str:
        made = await self._make_instructions(participant, day)
        return f"{len(made)} instructions, {yuan(sum(one.amount_fen for one in made))}"
