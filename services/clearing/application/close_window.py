"""CloseWindow (关窗): lock, sum, statement, event, in one transaction; repeatable byte for byte."""

from collections.abc import Callable
from datetime import date

from citycard.clearing.v1 import events_pb2 as events

from libs.clock import Clock
from services.clearing.application.book import send, subsidy_lines
from services.clearing.application.intake import Reconcile
from services.clearing.application.messages import day, timestamp, window_name
from services.clearing.application.ports import UnitOfWork
from services.clearing.application.terms import terms_of
from services.clearing.domain.errors import ParticipantUnknown, WindowBusy, WindowOrder
from services.clearing.domain.statement import FIRST_LINK, Statement, make_statement


class CloseWindow:
    """Closes one participant's window; nobody else's is looked at."""

    def __init__(
        self, unit_of_work: Callable[[], UnitOfWork], clock: Clock, reconcile: Reconcile, *, centre_institution_id: str
    ) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock
        self._reconcile = reconcile
        self._centre = centre_institution_id

    async def __call__(self, participant: str, settlement_date: date) -> Statement:
        """The statement, made now or long ago.

        Raises:
            ParticipantUnknown, WindowOrder, WindowBusy: As the contract says, in this order.
            DependencyUnavailable: The gateway cannot say whether uploads are missing here.
        """
        async with self._unit_of_work() as uow:
            stands: Statement | None = await uow.windows.statement(participant, settlement_date)
            if stands is not None:
                return stands
            if await uow.participants.find(participant) is None:
                raise ParticipantUnknown(participant=participant)
        # An upload that the gateway acknowledged in time belongs into the window, event or no event.
        await self._reconcile()
        async with self._unit_of_work() as uow:
            found = await uow.participants.find(participant)
            if found is None:
                raise ParticipantUnknown(participant=participant)
            earlier = await uow.windows.earlier_open(found, settlement_date)
            if earlier is not None:
                raise WindowOrder(window=window_name(participant, earlier))
            window = await uow.windows.lock(found, settlement_date)
            if window.closed_at is not None:
                # Another caller closed it while we waited for the lock.
                stands = await uow.windows.statement(participant, settlement_date)
                assert stands is not None, "a closed window has its statement"
                return stands
            accepted = await uow.files.open_stored_at(participant)
            waiting = sum(found.settlement_date(stored_at) <= settlement_date for stored_at in accepted)
            if waiting:
                raise WindowBusy(window=window_name(participant, settlement_date), file_count=waiting)
            last = await uow.windows.last_statement(found.number)
            terms = await terms_of(uow, found, settlement_date)
            statement = make_statement(
                found,
                settlement_date,
                await uow.windows.positions(found.number, settlement_date),
                number=last.number + 1 if last else 1,
                centre=self._centre,
                records_digest=await uow.windows.records_digest(found.number, settlement_date),
                previous_link=last.chain_hash if last else FIRST_LINK,
                terms=terms,
            )
            now = self._clock.now()
            subsidies = subsidy_lines(participant, terms)
            if subsidies:
                await send(uow, "subsidy", window_name(participant, settlement_date), subsidies, now)
            await uow.windows.close(found, statement, terms, now)
            await uow.outbox.add(
                [
                    events.WindowClosed(
                        window=window_name(participant, settlement_date),
                        participant=f"participants/{participant}",
                        settlement_date=day(settlement_date),
                        fee_fen=statement.totals.fee_fen,
                        net_fen=statement.totals.net_fen,
                        sha256=statement.sha256,
                        close_time=timestamp(now),
                    )
                ]
            )
            await uow.commit()
        return statement
