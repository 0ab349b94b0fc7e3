"""The terms in force for a window: gathered in the transaction that closes it."""

from datetime import date

from services.clearing.application.ports import UnitOfWork
from services.clearing.domain.apportion import fundings, rules_on
from services.clearing.domain.calendar import CalendarVersion, version_on
from services.clearing.domain.participant import Participant
from services.clearing.domain.terms import Terms


async def calendar_of(uow: UnitOfWork, participant: Participant, settlement_date: date) -> CalendarVersion:
    """The calendar version that holds for a participant's settlement date."""
    calendar = participant.day_rule(settlement_date).calendar
    return version_on(await uow.calendars.versions(calendar) if calendar else (), settlement_date)


async def terms_of(uow: UnitOfWork, participant: Participant, settlement_date: date) -> Terms:
    """What the statement of a window is made by beside its positions."""
    calendar = await calendar_of(uow, participant, settlement_date)
    rules = rules_on(await uow.apportionment.rules(), settlement_date)
    number, institution = participant.number, participant.institution_id
    discounts = await uow.apportionment.discounts(number, settlement_date)
    return Terms(
        payout_date=calendar.working_day_after(settlement_date),
        adjustments=(
            *await uow.adjustments.of_window(number, settlement_date),
            *await uow.apportionment.moves(number, settlement_date, institution),
        ),
        fees=tuple(fee for fee in rules.fees if fee.participant in ("", participant.id)) if rules else (),
        fundings=tuple(fundings(discounts, rules)),
    )
