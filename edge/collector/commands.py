"""`citycard collector`: rounds for terminals without a line. What it uses is imported inside: help answers at once."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from citycard.terminal_gw.v1 import terminal_gw_pb2

    from edge.collector.collector import Sender
    from edge.collector.rounds import Report
    from edge.terminal.visited import Visited
    from libs.clock import Clock


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(collector)


def collector(
    home: Annotated[Path, typer.Option("--home", help="Its folder: files that wait, receipts.")],
    participant: Annotated[str, typer.Option("--participant", help="Whose collector it is, such as metro-1.")],
    institution: Annotated[str, typer.Option("--institution", help="Digits of the participant's institution id.")],
    centre: Annotated[str, typer.Option("--centre", help="Digits of the centre's institution id.")],
    gateway: Annotated[str, typer.Option("--gateway", help="HOST:PORT of the gateway.")],
    ca: Annotated[Path, typer.Option("--ca", exists=True, dir_okay=False)],
    cert: Annotated[Path, typer.Option("--cert", exists=True, dir_okay=False)],
    key: Annotated[Path, typer.Option("--key", exists=True, dir_okay=False)],
    socket: Annotated[
        list[Path] | None, typer.Option("--socket", help="Socket of a terminal; may be repeated.")
    ] = None,
    drop: Annotated[
        list[Path] | None, typer.Option("--drop", help="Folder that a terminal filled; may be repeated.", exists=True)
    ] = None,
    period_s: Annotated[
        float | None, typer.Option("--period-s", help="Rounds for ever, so often; one round without it.", min=1)
    ] = None,
    batch_first: Annotated[int, typer.Option("--batch-first", help="First batch number of its block.", min=1)] = 1,
    batch_last: Annotated[int, typer.Option("--batch-last", help="Last one.", max=999_999)] = 999_999,
) -> None:
    """Collect from terminals that have no line (采集): take records, carry lists, packs and time, upload for them.

    A round may be cut anywhere and made again: nothing is lost, nothing counted twice. Exit status: 0 everything is at
    the gateway, 1 something broke off and waits.
    """
    import asyncio

    from citycard.terminal_gw.v1 import terminal_gw_pb2

    from edge.collector.collector import Sender
    from libs.clock import SystemClock
    from libs.errors import DomainError

    carrier = terminal_gw_pb2.CARRIER_COLLECTOR if socket else terminal_gw_pb2.CARRIER_FILE_DROP
    sender = Sender(participant, institution, centre)

    async def work() -> "Report":
        async with _terminals(socket or [], drop or []) as (terminals, broken):
            report = await one_round(
                terminals,
                home,
                sender,
                gateway,
                (ca, cert, key),
                SystemClock(),
                carrier=carrier,
                numbers=(batch_first, batch_last),
            )
            report.failed[:0] = broken
            return report

    try:
        if period_s is None:
            report = asyncio.run(work())
            show_report(report)
            raise typer.Exit(1 if report.failed else 0)
        from edge.collector.rounds import repeat

        asyncio.run(repeat(work, period_s, show_report))
    except DomainError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@contextlib.asynccontextmanager
async def _terminals(
    sockets: Sequence[Path], drops: Sequence[Path]
) -> "AsyncIterator[tuple[list[Visited], list[str]]]":
    """The terminals that can be reached now, and why the others cannot."""
    from edge.terminal.wire import DroppedTerminal, WiredTerminal
    from libs.errors import DomainError

    found: list[Visited] = []
    broken: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        for path in sockets:
            try:
                found.append(await stack.enter_async_context(WiredTerminal.connected(path)))
            except DomainError as error:
                broken.append(f"{path.name}: {error}")
        for folder in drops:
            try:
                found.append(DroppedTerminal(folder))
            except DomainError as error:
                broken.append(f"{folder.name}: {error}")
        yield found, broken


async def one_round(
    terminals: "Sequence[Visited]",
    folder: Path,
    sender: "Sender",
    gateway: str,
    tls: tuple[Path, Path, Path],
    clock: "Clock",
    *,
    carrier: "terminal_gw_pb2.Carrier.ValueType",
    numbers: tuple[int, int] = (1, 999_999),
) -> "Report":
    """One round over a channel of its own.

    Args:
        terminals: To visit.
        folder: Of the spool and the receipts; made when missing.
        sender: Whose records.
        gateway: HOST:PORT.
        tls: Files of CA, certificate and key.
        clock: Of the visitor.
        carrier: How the records travel.
        numbers: First and last batch number.
    """
    from citycard.terminal_gw.v1.collection_service_pb2_grpc import CollectionServiceStub
    from citycard.terminal_gw.v1.parameters_service_pb2_grpc import ParameterServiceStub
    from citycard.terminal_gw.v1.session_service_pb2_grpc import SessionServiceStub
    from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from edge.collector.collector import Collector
    from edge.collector.rounds import Receipts, Rounds
    from edge.collector.spool import Spool
    from edge.collector.upload import Uploader
    from edge.collector.visit import Centre, Visitor
    from libs.runtime.client import TlsFiles, open_channel, services_of_stub

    files = TlsFiles(*tls)
    key = load_pem_private_key(files.key.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey), "certificates of terminals and collectors have P-256 keys"
    stubs = (TerminalGatewayServiceStub, SessionServiceStub, ParameterServiceStub, CollectionServiceStub)
    services = [service for stub in stubs for service in services_of_stub(stub)]
    channel = open_channel(gateway, files, services)
    try:
        centre = Centre.over(channel)
        spool = Spool(folder, *numbers)
        uploader = Uploader(centre.gateway, key, sender.participant, carrier=carrier)
        collector_ = Collector(sender, spool, centre.gateway, uploader, clock)
        rounds = Rounds(Visitor(centre, clock), collector_, spool, Receipts(folder / "receipts.json"))
        return await rounds.make(terminals)
    finally:
        await channel.close()


def show_report(report: "Report") -> None:
    """Tell people what a round did."""
    for visit in report.visits:
        said = ", ".join(visit.done) or "-"
        typer.echo(f"终端 {visit.status.terminal_number} visited: {said}")
        for line in visit.refused:
            typer.echo(f"  未完成 not done: {line}", err=True)
    typer.echo(f"采集 {report.collected} records taken, {report.sent} stored at the gateway")
    for line in report.failed:
        typer.echo(f"中断 broke off: {line}", err=True)
