"""DayService over gRPC: translate, call one use case, translate back."""

from datetime import UTC, date, datetime

from citycard.clearing.v1 import day_service_pb2 as service
from citycard.clearing.v1.day_service_pb2_grpc import DayServiceServicer

from libs.errors import RequestMalformed
from libs.runtime.identity import Context, caller
from libs.runtime.paging import page_key, page_size, page_token
from services.clearing.adapters.reading import day_of
from services.clearing.application.day_run import DayReads, RunDay
from services.clearing.application.messages import day, timestamp
from services.clearing.domain.day_run import DayRun, StageRow, progress_of


def _day(name: str) -> date:
    try:
        return datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise RequestMalformed(field="name", description="must end in a day YYYYMMDD of the calendar") from None


def _progress(run: DayRun) -> service.DayRunProgress:
    found = progress_of(run.stages)
    return service.DayRunProgress(
        settlement_date=day(run.settlement_date),
        stage_count=found.stages,
        done_count=found.done,
        failed_count=found.failed,
        waiting_count=found.waiting,
        participant_count=found.participants,
        participant_done_count=found.participants_done,
    )


def operation_to_pb(run: DayRun) -> service.Operation:
    """A run as work that goes on."""
    found = progress_of(run.stages)
    return service.Operation(
        name=f"operations/dayRun-{run.settlement_date:%Y%m%d}",
        done=found.finished,
        progress=_progress(run),
        succeeded=found.finished and not found.failed,
    )


def run_to_pb(run: DayRun, *, with_stages: bool) -> service.DayRun:
    """One run."""
    return service.DayRun(
        name=f"dayRuns/{run.settlement_date:%Y%m%d}",
        progress=_progress(run),
        done=progress_of(run.stages).finished,
        requested_by=run.requested_by,
        request_time=timestamp(run.requested_at),
        stages=map(_stage, run.stages) if with_stages else (),
    )


def _stage(row: StageRow) -> service.StageProgress:
    message = service.StageProgress(
        participant=f"participants/{row.participant}",
        stage=service.DayStage.ValueType(row.stage),
        state=service.StageState.ValueType(row.state),
        attempt_count=row.attempts,
        reason=row.reason,
        detail=row.detail,
    )
    if row.started_at is not None:
        message.start_time.CopyFrom(timestamp(row.started_at))
    if row.ended_at is not None:
        message.end_time.CopyFrom(timestamp(row.ended_at))
    return message


class DayApi(DayServiceServicer):
    """The servicer."""

    def __init__(self, run_day: RunDay, reads: DayReads) -> None:
        self._run_day = run_day
        self._reads = reads

    async def RunDay(self, request: service.RunDayRequest, context: Context) -> service.Operation:
        wanted = day_of("settlement_date", request.settlement_date)
        return operation_to_pb(await self._run_day(wanted, caller(context).uri))

    async def GetOperation(self, request: service.GetOperationRequest, context: Context) -> service.Operation:
        return operation_to_pb(await self._reads.run(_day(request.name)))

    async def WaitOperation(self, request: service.WaitOperationRequest, context: Context) -> service.Operation:
        return operation_to_pb(await self._reads.wait(_day(request.name), request.timeout_s))

    async def GetDayRun(self, request: service.GetDayRunRequest, context: Context) -> service.DayRun:
        return run_to_pb(await self._reads.run(_day(request.name)), with_stages=True)

    async def ListDayRuns(self, request: service.ListDayRunsRequest, context: Context) -> service.ListDayRunsResponse:
        after = page_key("ListDayRuns", request.page_token, (str,))
        size = page_size(request.page_size)
        page = await self._reads.page(date.fromisoformat(str(after[0])) if after else None, size)
        token = page_token("ListDayRuns", (page[-1].settlement_date.isoformat(),)) if len(page) == size else ""
        return service.ListDayRunsResponse(
            runs=[run_to_pb(one, with_stages=False) for one in page], next_page_token=token
        )
