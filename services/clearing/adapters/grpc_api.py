"""ClearingService over gRPC: translate, call one use case, translate back."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from citycard.clearing.v1 import clearing_pb2 as pb
from citycard.clearing.v1 import clearing_service_pb2 as service
from citycard.clearing.v1 import error_reason_pb2  # noqa: F401 (the chassis finds the texts of our reasons in it)
from citycard.clearing.v1.clearing_service_pb2_grpc import ClearingServiceServicer
from citycard.common.v1 import types_pb2
from google.protobuf.message import Message

from libs.clock import Clock
from libs.errors import RequestMalformed
from libs.runtime.identity import Context, Identity, Role, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.clearing.adapters.audit_messages import (
    deviation_sum_to_pb,
    deviation_to_pb,
    explanation_to_pb,
    gap_to_pb,
    pack_to_pb,
)
from services.clearing.application.close_window import CloseWindow
from services.clearing.application.fare_audit import FareAudit, PublishFarePack
from services.clearing.application.find_gaps import FindGaps, ListGaps
from services.clearing.application.get_result import GetResult
from services.clearing.application.messages import (
    file_to_pb,
    instant,
    participant_to_pb,
    record_to_pb,
    statement_to_pb,
    window_to_pb,
)
from services.clearing.application.participants import CreateParticipant, RegisterIssuerKey, SetIndustryLimit
from services.clearing.application.prove import Prove
from services.clearing.application.queries import Queries
from services.clearing.domain.participant import CUT_OFF_DEFAULT, FEE_RATE_BP_DEFAULT, TIME_ZONE_DEFAULT, Participant

_PART = 64 * 1024
_ALL_INDUSTRIES = -1


@dataclass(frozen=True, slots=True)
class UseCases:
    """Everything that the API calls."""

    create_participant: CreateParticipant
    register_issuer_key: RegisterIssuerKey
    set_industry_limit: SetIndustryLimit
    queries: Queries
    get_result: GetResult
    publish_fare_pack: PublishFarePack
    fare_audit: FareAudit
    find_gaps: FindGaps
    list_gaps: ListGaps
    close_window: CloseWindow
    prove: Prove
    clock: Clock


def _id(name: str) -> str:
    return name.split("/")[1]


def _dated(name: str) -> tuple[str, date]:
    """Participant and day of `participants/{p}/windows/{YYYYMMDD}`.

    Raises:
        RequestMalformed: The digits are no day of the calendar.
    """
    _, participant, _, digits = name.split("/")
    try:
        return participant, datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise RequestMalformed(field="name", description="must end in a day YYYYMMDD of the calendar") from None


def _digest(name: str) -> tuple[str, bytes]:
    _, participant, _, digest = name.split("/")
    return participant, bytes.fromhex(digest)


def _scope(identity: Identity, asked: str) -> str | None:
    """The participant that a list is narrowed to; None for all.

    Raises:
        NotYours: A participant asks for another's rows.
    """
    wanted = asked.removeprefix("participants/")
    if identity.kind in (Role.PARTICIPANT, Role.COLLECTOR) and not wanted:
        return identity.participant
    if wanted:
        identity.must_own(wanted)
    return wanted or None


def _optional_day(message: Message, value: types_pb2.Date) -> date | None:
    if not message.HasField("settlement_date"):
        return None
    try:
        return date(value.year, value.month, value.day)
    except ValueError:
        raise RequestMalformed(field="settlement_date", description="must be a day of the calendar") from None


class ClearingApi(ClearingServiceServicer):
    """The servicer."""

    def __init__(self, use_cases: UseCases) -> None:
        self._do = use_cases

    async def CreateParticipant(self, request: service.CreateParticipantRequest, context: Context) -> pb.Participant:
        wanted = Participant(
            id=_id(request.name),
            number=0,
            display_name_zh=request.display_name_zh,
            display_name_en=request.display_name_en,
            institution_id=request.institution_id,
            operator_number=request.operator_number,
            cut_off=time.fromisoformat(request.cut_off) if request.cut_off else CUT_OFF_DEFAULT,
            time_zone=request.time_zone or TIME_ZONE_DEFAULT,
            fee_rate_bp=request.fee_rate_bp if request.HasField("fee_rate_bp") else FEE_RATE_BP_DEFAULT,
            served=tuple(request.served_institution_ids),
            created_at=self._do.clock.now(),
        )
        return participant_to_pb(await self._do.create_participant(wanted, request_key(request, context)))

    async def GetParticipant(self, request: service.GetParticipantRequest, context: Context) -> pb.Participant:
        caller(context).must_own(_id(request.name))
        return participant_to_pb(await self._do.queries.participant(_id(request.name)))

    async def ListParticipants(
        self, request: service.ListParticipantsRequest, context: Context
    ) -> service.ListParticipantsResponse:
        after = page_key("ListParticipants", request.page_token, (str,))
        size = page_size(request.page_size)
        page = await self._do.queries.participants(str(after[0]) if after else None, size)
        token = page_token("ListParticipants", (page[-1].id,)) if len(page) == size else ""
        return service.ListParticipantsResponse(participants=map(participant_to_pb, page), next_page_token=token)

    async def RegisterIssuerKey(self, request: service.RegisterIssuerKeyRequest, context: Context) -> pb.IssuerKey:
        key = request.issuer_key
        await self._do.register_issuer_key(key.issuer_id, key.key_version, key.algorithm_id)
        return key

    async def SetIndustryLimit(
        self, request: service.SetIndustryLimitRequest, context: Context
    ) -> service.SetIndustryLimitResponse:
        industry = int(request.industry_code, 16) if request.industry_code else _ALL_INDUSTRIES
        effective = instant(request.effective_time) if request.HasField("effective_time") else None
        await self._do.set_industry_limit(industry, request.amount_limit_fen, effective)
        return service.SetIndustryLimitResponse()

    async def GetRegistryState(
        self, request: service.GetRegistryStateRequest, context: Context
    ) -> service.RegistryState:
        counts = await self._do.queries.registry_counts()
        return service.RegistryState(
            card_count=counts.cards,
            terminal_count=counts.terminals,
            blacklist_version=counts.blacklist_version,
            open_file_count=counts.open_files,
            open_record_count=counts.open_records,
            unfolded_batch_count=counts.unfolded_batches,
        )

    async def GetFile(self, request: service.GetFileRequest, context: Context) -> pb.File:
        participant, sha256 = _digest(request.name)
        caller(context).must_own(participant)
        return file_to_pb(*await self._do.queries.file(participant, sha256))

    async def ListFiles(self, request: service.ListFilesRequest, context: Context) -> service.ListFilesResponse:
        participant = _scope(caller(context), request.participant)
        after = page_key("ListFiles", request.page_token, (str, int))
        size = page_size(request.page_size)
        key = (str(after[0]), int(after[1] or 0)) if after else None
        page = await self._do.queries.files(participant, request.state, key, size)
        full = len(page) == size
        token = page_token("ListFiles", (page[-1][0].stored_at.isoformat(), page[-1][0].id)) if full else ""
        return service.ListFilesResponse(files=[file_to_pb(*one) for one in page], next_page_token=token)

    async def GetResult(self, request: service.GetResultRequest, context: Context) -> AsyncIterator[service.FilePart]:
        participant, sha256 = _digest(request.name)
        caller(context).must_own(participant)
        content = await self._do.get_result(participant, sha256)
        for start in range(0, len(content), _PART):
            yield service.FilePart(data=content[start : start + _PART])

    async def GetRecord(self, request: service.GetRecordRequest, context: Context) -> pb.Record:
        terminal, _, seq = request.name.removeprefix("records/").partition("-")
        record = await self._do.queries.record(int(terminal), int(seq))
        caller(context).must_own(record.participant)
        return record_to_pb(record)

    async def ListRecords(self, request: service.ListRecordsRequest, context: Context) -> service.ListRecordsResponse:
        participant = _id(request.participant)
        caller(context).must_own(participant)
        day = _optional_day(request, request.settlement_date)
        after = page_key("ListRecords", request.page_token, (int, int))
        size = page_size(request.page_size)
        key = (int(after[0] or 0), int(after[1] or 0)) if after else None
        page = await self._do.queries.records(participant, day, request.codes, key, size)
        full = len(page) == size
        token = page_token("ListRecords", (page[-1].terminal_number, page[-1].terminal_seq)) if full else ""
        return service.ListRecordsResponse(records=map(record_to_pb, page), next_page_token=token)

    async def GetWindow(self, request: service.GetWindowRequest, context: Context) -> pb.Window:
        participant, day = _dated(request.name)
        caller(context).must_own(participant)
        return window_to_pb(*await self._do.queries.window(participant, day))

    async def ListWindows(self, request: service.ListWindowsRequest, context: Context) -> service.ListWindowsResponse:
        participant = _scope(caller(context), request.participant)
        after = page_key("ListWindows", request.page_token, (str, str))
        size = page_size(request.page_size)
        key = (str(after[0]), str(after[1])) if after else None
        page = await self._do.queries.windows(participant, request.state, key, size)
        last = page[-1][0] if len(page) == size else None
        token = page_token("ListWindows", (last.participant, last.settlement_date.isoformat())) if last else ""
        return service.ListWindowsResponse(windows=[window_to_pb(*one) for one in page], next_page_token=token)

    async def CloseWindow(self, request: service.CloseWindowRequest, context: Context) -> pb.Statement:
        return statement_to_pb(await self._do.close_window(*_dated(request.name)))

    async def GetStatement(self, request: service.GetStatementRequest, context: Context) -> pb.Statement:
        participant, day = _dated(request.name)
        caller(context).must_own(participant)
        return statement_to_pb(await self._do.queries.statement(participant, day))

    async def ListStatements(
        self, request: service.ListStatementsRequest, context: Context
    ) -> service.ListStatementsResponse:
        participant = _scope(caller(context), request.participant)
        after = page_key("ListStatements", request.page_token, (str, str))
        size = page_size(request.page_size)
        key = (str(after[0]), str(after[1])) if after else None
        page = await self._do.queries.statements(participant, key, size)
        last = page[-1] if len(page) == size else None
        token = page_token("ListStatements", (last.participant, last.settlement_date.isoformat())) if last else ""
        return service.ListStatementsResponse(statements=map(statement_to_pb, page), next_page_token=token)

    async def PublishFarePack(self, request: service.PublishFarePackRequest, context: Context) -> pb.FarePack:
        try:
            document = json.loads(request.document_json)
        except ValueError:
            raise RequestMalformed(field="document_json", description="must be a JSON document") from None
        effective = instant(request.effective_time) if request.HasField("effective_time") else self._do.clock.now()
        participant = request.participant.removeprefix("participants/")
        key = request_key(request, context)
        return pack_to_pb(await self._do.publish_fare_pack(participant, document, effective, key))

    async def ListFareDeviations(
        self, request: service.ListFareDeviationsRequest, context: Context
    ) -> service.ListFareDeviationsResponse:
        participant = _id(request.participant)
        caller(context).must_own(participant)
        day = _optional_day(request, request.settlement_date)
        after = page_key("ListFareDeviations", request.page_token, (int, int))
        size = page_size(request.page_size)
        key = (int(after[0] or 0), int(after[1] or 0)) if after else None
        page = await self._do.fare_audit.deviations(participant, day, request.kind, key, size)
        full = len(page) == size
        last = (page[-1].terminal_number, page[-1].terminal_seq) if full else ()
        token = page_token("ListFareDeviations", last) if full else ""
        return service.ListFareDeviationsResponse(deviations=map(deviation_to_pb, page), next_page_token=token)

    async def SumFareDeviations(
        self, request: service.SumFareDeviationsRequest, context: Context
    ) -> service.SumFareDeviationsResponse:
        participant = _id(request.participant)
        caller(context).must_own(participant)
        by = service.FareDeviationGroup.Name(request.group).removeprefix("FARE_DEVIATION_GROUP_").lower()
        sums = await self._do.fare_audit.sums(participant, _optional_day(request, request.settlement_date), by)
        return service.SumFareDeviationsResponse(sums=map(deviation_sum_to_pb, sums))

    async def ExplainCharge(
        self, request: service.ExplainChargeRequest, context: Context
    ) -> service.ExplainChargeResponse:
        terminal, _, seq = request.record.removeprefix("records/").partition("-")
        explanation = await self._do.fare_audit.explain(int(terminal), int(seq))
        caller(context).must_own(explanation.record.participant)
        return explanation_to_pb(explanation)

    async def FindGaps(self, request: service.FindGapsRequest, context: Context) -> service.FindGapsResponse:
        found = await self._do.find_gaps()
        return service.FindGapsResponse(opened_count=found.opened, ended_count=found.ended)

    async def ListGaps(self, request: service.ListGapsRequest, context: Context) -> service.ListGapsResponse:
        participant = _scope(caller(context), request.participant)
        after = page_key("ListGaps", request.page_token, (int,))
        size = page_size(request.page_size)
        page = await self._do.list_gaps(
            participant, request.kind, open_only=request.open_only, after=int(after[0] or 0) if after else 0, size=size
        )
        token = page_token("ListGaps", (page[-1].id,)) if len(page) == size else ""
        return service.ListGapsResponse(gaps=map(gap_to_pb, page), next_page_token=token)

    async def Prove(self, request: service.ProveRequest, context: Context) -> service.ProveResponse:
        proof = await self._do.prove()
        return service.ProveResponse(
            lines=[
                types_pb2.ProofLine(
                    invariant=line.invariant,
                    statement=line.statement,
                    checked_count=line.checked,
                    broken_count=line.broken,
                    first_broken=line.first_broken,
                )
                for line in proof.lines
            ],
            file_count=proof.file_count,
            record_count=proof.record_count,
            movement_count=proof.movement_count,
            movement_total_fen=proof.movement_total_fen,
            batch_count=proof.batch_count,
            ledger_totals=[
                service.LedgerTotal(account=account, debits_fen=debits_fen, credits_fen=credits_fen)
                for account, debits_fen, credits_fen in proof.ledger
            ],
        )
