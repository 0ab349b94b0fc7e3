"""CreateParticipant, RegisterIssuerKey and SetIndustryLimit: the rules that records are judged by, as data."""

from collections.abc import Callable
from datetime import datetime

from citycard.clearing.v1 import events_pb2 as events

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.clearing.application.messages import participant_to_pb
from services.clearing.application.ports import UnitOfWork
from services.clearing.domain.errors import InstitutionInUse, ParticipantExists
from services.clearing.domain.participant import Participant, zone_of


class CreateParticipant:
    """Registers one party."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, wanted: Participant, request: RequestKey) -> Participant:
        """Store it; the same registration again is answered as it stands.

        Raises:
            TimeZoneUnknown, ParticipantExists, InstitutionInUse: In this order.
        """
        zone_of(wanted.time_zone)
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: Participant = await uow.requests.first_answer(request, Participant)
                return first
            known = await uow.participants.find(wanted.id)
            if known is not None:
                if not known.same_facts(wanted):
                    raise ParticipantExists(participant=wanted.id)
                stored: Participant = known
            else:
                holder = await uow.participants.by_institution(wanted.institution_id, wanted.operator_number)
                if holder is not None:
                    raise InstitutionInUse(institution_id=wanted.institution_id, participant=holder.id)
                stored = await uow.participants.add(wanted)
                await uow.outbox.add([events.ParticipantCreated(participant=participant_to_pb(stored))])
            await uow.requests.answer(request, stored)
            await uow.commit()
        return stored


class RegisterIssuerKey:
    """Makes a key version of an own issuer valid for records."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def __call__(self, issuer_id: str, key_version: int, algorithm_id: int) -> None:
        """Registering twice changes nothing."""
        async with self._unit_of_work() as uow:
            await uow.participants.register_issuer_key(issuer_id, key_version, algorithm_id)
            await uow.commit()


class SetIndustryLimit:
    """Sets the amount above which a record gets code 23."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, industry: int, limit_fen: int, effective_at: datetime | None) -> None:
        """Industry -1 is all that have no limit of their own; without an instant the limit holds from now."""
        async with self._unit_of_work() as uow:
            await uow.participants.set_industry_limit(industry, effective_at or self._clock.now(), limit_fen)
            await uow.commit()
