"""Where a day run is, as tables in Chinese and English with bars."""

import asyncio
from datetime import date

import grpc
from citycard.clearing.v1 import day_service_pb2 as pb
from citycard.clearing.v1.day_service_pb2_grpc import DayServiceStub
from citycard.common.v1 import types_pb2
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

STAGES = {
    pb.DAY_STAGE_CLOSE: "关窗 close",
    pb.DAY_STAGE_REPLAY: "复核 replay",
    pb.DAY_STAGE_CARRY: "分摊 carry",
    pb.DAY_STAGE_RESULTS: "结果 results",
    pb.DAY_STAGE_SIGN: "签名 sign",
    pb.DAY_STAGE_INSTRUCT: "付款 instruct",
}
STATES = {
    pb.STAGE_STATE_PENDING: ("未开始 pending", "dim"),
    pb.STAGE_STATE_RUNNING: ("进行中 running", "cyan"),
    pb.STAGE_STATE_WAITING: ("等待 waiting", "yellow"),
    pb.STAGE_STATE_DONE: ("完成 done", "green"),
    pb.STAGE_STATE_SKIPPED: ("跳过 skipped", "dim"),
    pb.STAGE_STATE_FAILED: ("失败 failed", "red"),
}
_BAR_CELLS = 20
_POLL_S = 1.0
DONE, FAILED, WAITING = 0, 1, 3
"""Exit statuses of a watched run."""


async def watch(channel: grpc.aio.Channel, day: date, timeout_s: int, console: Console) -> int:
    """Start a run and show it until it is done or the time is up; the exit status."""
    stub = DayServiceStub(channel)
    operation = await stub.RunDay(pb.RunDayRequest(settlement_date=_to_pb(day)))
    deadline = asyncio.get_running_loop().time() + timeout_s
    run = await get_run(channel, day)
    with Live(stages_table(run), console=console, refresh_per_second=4) as live:
        while not operation.done and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_POLL_S)
            operation = await stub.GetOperation(pb.GetOperationRequest(name=operation.name))
            run = await get_run(channel, day)
            live.update(stages_table(run))
    if not operation.done:
        return WAITING
    return DONE if operation.succeeded else FAILED


async def get_run(channel: grpc.aio.Channel, day: date) -> pb.DayRun:
    """One run with its stages."""
    run: pb.DayRun = await DayServiceStub(channel).GetDayRun(pb.GetDayRunRequest(name=f"dayRuns/{day:%Y%m%d}"))
    return run


async def list_runs(channel: grpc.aio.Channel) -> list[pb.DayRun]:
    """The newest hundred runs."""
    return list((await DayServiceStub(channel).ListDayRuns(pb.ListDayRunsRequest())).runs)


def bar(done: int, total: int) -> str:
    """How far something is: `██████░░░░ 60%`."""
    share = done / total if total else 1.0
    full = int(share * _BAR_CELLS)
    return "█" * full + "░" * (_BAR_CELLS - full) + f" {int(share * 100)}%"


def runs_table(runs: list[pb.DayRun]) -> Table:
    """Runs, one row each."""
    table = Table(title="日终 Day runs")
    for name in (
        "清算日 Day",
        "进度 Progress",
        "参与方 Participants",
        "失败 Failed",
        "等待 Waiting",
        "发起 Requested by",
    ):
        table.add_column(name)
    for one in runs:
        found = one.progress
        table.add_row(
            _iso(found.settlement_date), bar(found.done_count, found.stage_count),
            f"{found.participant_done_count}/{found.participant_count}",
            Text(str(found.failed_count), style="red" if found.failed_count else ""), str(found.waiting_count),
            one.requested_by,
        )  # fmt: skip
    return table


def stages_table(run: pb.DayRun) -> Table:
    """Stages of a run: a bar for each participant, and what its furthest stage says."""
    found = run.progress
    table = Table(
        title=f"日终 Day run {_iso(found.settlement_date)}  {bar(found.done_count, found.stage_count)}",
        show_lines=False,
    )
    for name in ("参与方 Participant", "进度 Progress", "阶段 Stage", "状态 State", "说明 Detail"):
        table.add_column(name)
    by_participant: dict[str, list[pb.StageProgress]] = {}
    for stage in run.stages:
        by_participant.setdefault(stage.participant, []).append(stage)
    passed = (pb.STAGE_STATE_DONE, pb.STAGE_STATE_SKIPPED)
    for participant, stages in by_participant.items():
        done = sum(stage.state in passed for stage in stages)
        for place, stage in enumerate(stages):
            word, style = STATES[stage.state]
            table.add_row(
                participant.removeprefix("participants/") if not place else "",
                bar(done, len(stages)) if not place else "",
                STAGES[stage.stage],
                Text(word, style=style),
                " ".join(filter(None, (stage.reason, stage.detail))),
            )
    return table


def _to_pb(day: date) -> types_pb2.Date:
    return types_pb2.Date(year=day.year, month=day.month, day=day.day)


def _iso(value: types_pb2.Date) -> str:
    return f"{value.year:04d}-{value.month:02d}-{value.day:02d}"
