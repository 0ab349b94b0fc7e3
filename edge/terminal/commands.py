"""`citycard terminal`: a terminal in one of its roles. What it uses is imported inside: help answers at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.terminal.home import Home
    from edge.terminal.roles import Device, Outcome
    from libs.purse.transceiver import Transceiver

ROLES = ("bus", "gate-entry", "gate-exit", "pos", "parking-entry", "parking-exit", "ticket", "inspector", "meter")
_LOCAL_CITY_SEED = "citycard local city"

_Pem = Annotated[Path | None, typer.Option(exists=True, dir_okay=False)]


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(terminal)


def terminal(
    role: Annotated[str, typer.Option("--role", help=f"What it is: {', '.join(ROLES)}.")],
    home: Annotated[
        Path, typer.Option("--home", help="Its folder, with terminal.json in it.", exists=True, file_okay=False)
    ],
    card: Annotated[
        list[Path] | None,
        typer.Option("--card", help="File of a virtual card to tap, in turn; may be repeated.", exists=True),
    ] = None,
    reader: Annotated[
        str | None, typer.Option("--reader", help="Part of a PC/SC reader's name; cards on it are taken.")
    ] = None,
    taps: Annotated[int, typer.Option("--taps", help="Cards to wait for on the reader.", min=1)] = 1,
    amount_fen: Annotated[int, typer.Option("--amount-fen", help="Of a shop: what the clerk keys in.", min=0)] = 0,
    frames: Annotated[
        Path | None,
        typer.Option("--frames", help="Of a meter reader: answers of meters, one in hexadecimal a line.", exists=True),
    ] = None,
    pack: Annotated[
        Path | None, typer.Option("--pack", help="Take this parameter pack first (JSON).", exists=True)
    ] = None,
    card_list: Annotated[
        Path | None, typer.Option("--list", help="Load this blacklist file first.", exists=True)
    ] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="Switch a degraded mode on, such as train_fault.")] = None,
    mode_off: Annotated[str | None, typer.Option("--mode-off", help="Switch a degraded mode off.")] = None,
    close_day: Annotated[bool, typer.Option("--close-day", help="Close the business day with its registers.")] = False,
    drop_in: Annotated[
        Path | None, typer.Option("--drop-in", help="Take what a collector left in this folder.", exists=True)
    ] = None,
    drop_out: Annotated[
        Path | None, typer.Option("--drop-out", help="Leave records for a collector in this folder.", exists=True)
    ] = None,
    socket: Annotated[
        Path | None, typer.Option("--socket", help="Offer the terminal to collectors here until stopped.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option("--gateway", help="HOST:PORT of the gateway: one visit over the terminal's own line.")
    ] = None,
    ca: _Pem = None,
    cert: _Pem = None,
    key: _Pem = None,
    seed: Annotated[
        str, typer.Option("--seed", help="Test keys of its security module; the default is that of a local city.")
    ] = _LOCAL_CITY_SEED,
) -> None:
    """A terminal in one of its roles (终端): takes cards or meter frames, keeps records, hands them over.

    Everything is kept in its folder and survives the loss of power. The steps happen in the order of the options
    above. Exit status: 0 all done and every way free, 1 something failed, 2 misused, 3 a card or a frame was refused.
    """
    import asyncio

    from edge.terminal.home import Home
    from libs.clock import SystemClock
    from libs.errors import DomainError

    if role not in ROLES:
        raise typer.BadParameter(f"one of {', '.join(ROLES)}", param_hint="--role")
    if (role == "meter") != (frames is not None) and (card or reader or frames):
        raise typer.BadParameter("a meter takes --frames, every other role takes cards", param_hint="--role")
    if gateway is not None and not (ca and cert and key):
        raise typer.BadParameter("--gateway needs --ca, --cert and --key", param_hint="--gateway")
    refused = 0
    try:
        opened = Home(home, SystemClock())
        try:
            device = opened.device(_module(opened, seed))
            own = opened.own(device)
            if pack is not None:
                typer.echo(f"参数 parameters {asyncio.run(own.put_pack(pack.read_bytes()))}")
            if card_list is not None:
                typer.echo(f"名单 list {asyncio.run(own.load_list(card_list.read_bytes()))}")
            for word, on in ((mode, True), (mode_off, False)):
                if word is not None:
                    asyncio.run(own.set_mode(_mode(word), on))
            if frames is not None:
                refused += _read_meters(device, frames)
            elif card or reader is not None:
                refused += _take_cards(device, role, amount_fen, card or [], reader, taps)
            if close_day:
                day = own.close_day()
                typer.echo(
                    f"日结 {day.business_date} closed: {day.record_count} records, "
                    f"{day.device_seq_first}-{day.device_seq_last}, {day.total_fen} fen"
                )
            if drop_in is not None:
                from edge.terminal.wire import drop_in as take_drop

                typer.echo(f"取回 taken: {', '.join(asyncio.run(take_drop(own, drop_in))) or '-'}")
            if drop_out is not None:
                from edge.terminal.wire import drop_out as leave_drop

                typer.echo(f"留下 left: {asyncio.run(leave_drop(own, drop_out))} records")
            if gateway is not None:
                assert ca is not None and cert is not None and key is not None, "asked for above"  # noqa: PT018
                refused += 0 if asyncio.run(_own_line(opened, device, gateway, ca, cert, key)) else 1
            if socket is not None:
                _serve(opened, device, socket)
            fill = opened.journal.fill()
            if fill.near_full:
                typer.echo(f"存储将满 storage nearly full: {fill.used} of {fill.records_max} records", err=True)
        finally:
            opened.close()
    except DomainError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(3 if refused else 0)


def _mode(word: str) -> str:
    from edge.terminal.modes import DegradedMode

    known = [one.value for one in DegradedMode]
    if word not in known:
        raise typer.BadParameter(f"one of {', '.join(known)}", param_hint="--mode")
    return word


def _module(home: "Home", seed: str) -> "Transceiver":
    """The security module: test keys, with its transaction number in the folder."""
    from libs.keystore.dev import demo_keystore
    from libs.purse.sam import issue_sam
    from libs.purse.scheme import Scheme
    from libs.purse.sequence import FileFailures, FileSequence
    from libs.records.numbers import institution_bytes

    facts = home.configuration.facts
    issuer = institution_bytes(home.configuration.issuer_id)
    sam = issue_sam(
        demo_keystore(seed, [(Scheme.JT, issuer)]),
        Scheme.JT,
        issuer,
        facts.terminal_packed,
        FileSequence(home.folder / "psam-sequence"),
        number=facts.psam_packed,
        failures=FileFailures(home.folder / "psam-failures"),
    )
    return sam.transmit


def _take_cards(device: "Device", role: str, amount_fen: int, cards: list[Path], reader: str | None, taps: int) -> int:
    """Tap virtual cards in turn, or wait for cards on a reader; returns how many were refused."""
    from edge.card.source import connected
    from edge.terminal.roles import Pos, Role, make_role, mode_lines

    behaviour = make_role(Role(role), device)
    if isinstance(behaviour, Pos):
        behaviour.amount_fen = amount_fen
    for zh, en in mode_lines(device):
        typer.echo(f"{zh} {en}")
    refused = 0
    for path in cards:
        with connected("", path) as connection:
            refused += _show(behaviour.present, connection)
    for _ in range(0 if reader is None else taps):
        _wait_for_card(reader or "")
        with connected(reader or "", None) as connection:
            refused += _show(behaviour.present, connection)
    device.terminal.journal.pending(1)
    return refused


def _show(present: "Callable[[Transceiver], Outcome]", connection: "Transceiver") -> int:
    outcome = present(connection)
    typer.echo(f"{'○' if outcome.open else '×'} {outcome.code}  {outcome.zh}  {outcome.en}")
    return 0 if outcome.open else 1


def _wait_for_card(reader: str) -> None:
    from libs.purse.readers.pcsc import PcscService

    service = PcscService()
    try:
        while not service.reader(reader).wait_for_card(5.0):
            continue
    finally:
        service.close()


def _read_meters(device: "Device", frames: Path) -> int:
    from edge.terminal.meter import MeterReader

    taken: list[bytes] = []
    bad_lines = 0
    for line in frames.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            octets = bytes.fromhex(line)
        except ValueError:
            bad_lines += 1
            continue
        if octets:
            taken.append(octets)
    out = MeterReader(device.terminal, device.clock).take(taken)
    typer.echo(f"抄表 {out.reads} reads of {out.frames} frames")
    for reason, count in sorted(out.refused.items()):
        typer.echo(f"拒收 refused {reason}: {count}")
    if bad_lines:
        typer.echo(f"拒收 refused NOT_HEXADECIMAL: {bad_lines}")
    if out.left_over:
        typer.echo(f"缺累计量 without a total: {out.left_over}")
    for meter in out.battery_low:
        typer.echo(f"电池低 battery low: {meter}")
    return sum(out.refused.values()) + bad_lines + out.left_over


async def _own_line(home: "Home", device: "Device", gateway: str, ca: Path, cert: Path, key: Path) -> bool:
    """One round of the terminal with itself; True when nothing broke off."""
    from citycard.terminal_gw.v1 import terminal_gw_pb2

    from edge.collector.collector import Sender
    from edge.collector.commands import one_round, show_report

    said = home.configuration
    report = await one_round(
        [home.own(device)],
        home.folder / "line",
        Sender(said.participant, said.facts.acquirer_id, said.centre_id),
        gateway,
        (ca, cert, key),
        home.clock,
        carrier=terminal_gw_pb2.CARRIER_LINE,
        numbers=(said.batch_first, said.batch_last),
    )
    show_report(report)
    return not report.failed


def _serve(home: "Home", device: "Device", socket: Path) -> None:
    """Offer the terminal on a socket until a signal comes."""
    import asyncio
    import signal

    from edge.terminal.wire import listening

    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with listening(home.own(device), socket):
            typer.echo(f"等待采集 waiting for collectors at {socket}")
            await stop.wait()

    asyncio.run(until_stopped())
