"""The operator's commands of the local city: its processes, databases, dead letters, certificates and staff tokens.

What they use is imported inside them, so that `citycard --help` answers at once.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from city.names import DEFAULT_ROOT, SERVICES, UnknownService, known_service

if TYPE_CHECKING:
    from city.launcher import Platform
    from city.logview import LogView

RootOption = Annotated[
    Path, typer.Option("--root", envvar="CITYCARD_ROOT", help="Folder of this city: data, logs, certificates.")
]
ClockOption = Annotated[
    str | None,
    typer.Option("--clock", help="The time it shall be in the city now, as 2018-09-01T12:00:00+08:00."),
]
ServiceArgument = Annotated[str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.", metavar="SERVICE")]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for command in (up, down, status, serve, migrate, dead_letters, certificate, revoke, staff_token):
        app.command()(command)


def up(
    root: RootOption = DEFAULT_ROOT,
    clock: ClockOption = None,
    only: Annotated[
        str | None, typer.Option("--only", help="Only these services, comma separated; default all.")
    ] = None,
) -> None:
    """Run the platform: servers, databases, migrations, then every service in a process of its own.

    The logs of all services appear here, each line with its service, and lie in ROOT/log. Ctrl-C or SIGTERM stops
    everything in order; a second one does not wait. A service that falls is started again, later each time.

    Exit status: 0 stopped in good order with all services ready, 1 not started or with a service down, 2 misused.
    """
    import asyncio

    from rich.console import Console

    from city.launcher import AlreadyRunning, Platform
    from city.logview import LogView
    from city.processes import ProgramMissing, StartFailed

    moment = _moment(clock)
    services = [_service(name) for name in only.split(",")] if only else list(SERVICES)
    view = LogView(Console(highlight=False), services)
    platform = Platform(root, clock=moment, only=services, narrate=view.say)
    try:
        good = asyncio.run(_run_up(platform, view))
    except (AlreadyRunning, StartFailed, ProgramMissing) as error:
        _fail(str(error))
    raise typer.Exit(0 if good else 1)


async def _run_up(platform: "Platform", view: "LogView") -> bool:
    import asyncio
    import contextlib
    import signal

    stop = asyncio.Event()
    main_task = asyncio.current_task()
    assert main_task is not None  # we run inside asyncio.run
    opened = False

    def asked_to_stop() -> None:
        if stop.is_set():
            view.say("city", "not waiting any longer")
            platform.kill_all()
        elif not opened:
            main_task.cancel()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop)
    for service in platform.services:
        view.follow(service, platform.log(service))

    async def show() -> None:
        while True:
            view.show_new()
            await asyncio.sleep(0.2)

    shower = asyncio.create_task(show(), name="log view")
    try:
        view.say("city", f"starting under {platform.root}")
        async with platform:
            opened = True
            total = sum(platform.memory().values())
            view.say("city", f"all services are ready, {total / 2**20:.0f} MiB in all; Ctrl-C stops the city")
            await stop.wait()
            good = platform.all_ready()
            view.say("city", "stopping")
        view.say("city", "stopped")
        return good
    except asyncio.CancelledError:
        view.say("city", "stopped before it was ready")
        return False
    finally:
        shower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shower
        view.show_new()


def down(root: RootOption = DEFAULT_ROOT) -> None:
    """Stop the platform of a root from another terminal: the launcher, services left over, the servers."""
    import signal

    from city.environment import PlatformState
    from city.launcher import DRAIN_TIMEOUT_S
    from city.processes import stop_process
    from city.servers import LocalServers

    state = PlatformState(root)
    launcher = state.launcher()
    if launcher is not None:
        typer.echo(f"stopping the launcher, process {launcher.pid}")
        # Its services drain first, then the servers write their checkpoints.
        stop_process(launcher, signal.SIGTERM, 2 * DRAIN_TIMEOUT_S)
    for service in reversed(SERVICES):
        mark = state.service(service)
        if mark is not None:
            typer.echo(f"stopping {service}, process {mark.pid}")
            stop_process(mark, signal.SIGTERM, DRAIN_TIMEOUT_S)
            state.record(service, None)
    if root.exists():
        LocalServers(root).stop()
    typer.echo("stopped")


def status(root: RootOption = DEFAULT_ROOT) -> None:
    """Show the processes of a root, their ports and their memory. Exit status 1 when something is down."""
    from rich.console import Console
    from rich.table import Table

    from city.environment import PlatformState
    from city.processes import memory_bytes
    from city.servers import LocalServers
    from libs.clock import CITY_TZ

    state = PlatformState(root)
    table = Table("", "state", "process", "address", "MiB", title=f"City under {root.absolute()}", title_justify="left")
    table.columns[4].justify = "right"
    total, all_run = 0, True
    rows = [(line.name, line.pid, line.port, line.memory_bytes) for line in LocalServers(root).status()]
    ports = state.known_ports()
    for service in SERVICES:
        mark = state.service(service)
        rows.append((service, mark.pid if mark else None, ports.get(service), memory_bytes(mark) if mark else 0))
    for name, pid, port, memory in rows:
        total += memory
        all_run = all_run and pid is not None
        state_text = "[green]runs[/]" if pid else "[red]down[/]"
        address = f"127.0.0.1:{port}" if port else "-"
        table.add_row(name, state_text, str(pid or "-"), address, f"{memory / 2**20:.0f}" if pid else "-")
    table.add_section()
    table.add_row("total", "", "", "", f"{total / 2**20:.0f}")
    console = Console()
    console.print(table)
    offset_s = state.clock_offset_s()
    if offset_s:
        now = datetime.now(UTC) + timedelta(seconds=offset_s)
        console.print(f"In the city it is {now.astimezone(CITY_TZ):%Y-%m-%d %H:%M:%S}.")
    raise typer.Exit(0 if all_run else 1)


def serve(service: ServiceArgument, root: RootOption = DEFAULT_ROOT, clock: ClockOption = None) -> None:
    """Run one service in the foreground, with the environment of a root.

    Servers are started when they do not run, and stay; `citycard down` stops them. With --clock the city gets another
    time; without it, it keeps the one it has. The process becomes the service: its exit status is the service's.
    """
    _become(service, "serve", root, clock)


def migrate(service: ServiceArgument, root: RootOption = DEFAULT_ROOT) -> None:
    """Bring the database of one service to its newest schema; servers are started when needed, and stay."""
    _become(service, "migrate", root, None)


def dead_letters(
    service: ServiceArgument,
    root: RootOption = DEFAULT_ROOT,
    replay: Annotated[
        list[str] | None, typer.Option("--replay", help="Try this event again; may be given several times.")
    ] = None,
    replay_all: Annotated[bool, typer.Option("--replay-all", help="Try all of them again.")] = False,
) -> None:
    """List the events that a service could not digest, one JSON object a line; or have it try some again.

    The running service tries again within seconds; what fails once more stays, with its new reason.
    """
    more = ["--replay-all"] if replay_all else ["--replay", *replay] if replay else []
    _become(service, "dead-letters", root, None, *more)


def certificate(
    kind: Annotated[
        str,
        typer.Argument(help="service, participant, terminal, collector, outlet, administrator or auditor."),
    ],
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Its name; PARTICIPANT/NUMBER for a terminal or a collector.")
    ],
    root: RootOption = DEFAULT_ROOT,
) -> None:
    """Write a development certificate and its key, and print where they are.

    The same name gets the same certificate until it is about to end. The files suit
    `buf curl --cacert ... --cert ... --key ...`.
    """
    from city.certificates import Certificates
    from libs.errors import CallerUnknown

    certificates = Certificates(root)
    try:
        files = certificates.issue(kind, name)
    except CallerUnknown:
        _fail(f"citycard://{kind}/{name} is not the name of a caller", status=2)
    typer.echo(f"--cacert {files.ca} --cert {files.cert} --key {files.key}")


def revoke(
    kind: Annotated[str, typer.Argument(help="participant, terminal, collector, outlet, administrator or auditor.")],
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Its name; PARTICIPANT/NUMBER for a terminal or a collector.")
    ],
    root: RootOption = DEFAULT_ROOT,
) -> None:
    """Take a development certificate back: within seconds no service answers it, and its open streams end."""
    from city.certificates import Certificates
    from libs.errors import CallerUnknown

    try:
        known = Certificates(root).revoke(kind, name)
    except CallerUnknown:
        _fail(f"citycard://{kind}/{name} is not the name of a caller", status=2)
    if not known:
        _fail(f"citycard://{kind}/{name} has no certificate")
    typer.echo(f"citycard://{kind}/{name} 证书已吊销 revoked")


def staff_token(
    staff: Annotated[str, typer.Argument(help="Staff number.")],
    role: Annotated[
        list[str],
        typer.Option("--role", help="clerk, supervisor, maker, checker, accountant, key_custodian; several times."),
    ],
    outlet: Annotated[str | None, typer.Option("--outlet", help="Good at this outlet only.")] = None,
    root: RootOption = DEFAULT_ROOT,
) -> None:
    """Print a staff token of one hour; calls carry it as the header `citycard-staff-token`.

    Suits `buf curl --header "citycard-staff-token: ..."`. In production the city's sign-on system issues tokens.
    """
    from city.certificates import Certificates
    from city.environment import PlatformState

    now = datetime.now(UTC) + timedelta(seconds=PlatformState(root).clock_offset_s())
    try:
        typer.echo(Certificates(root).staff_token(staff, role, now, outlet))
    except ValueError as error:
        _fail(str(error), status=2)


def _become(service: str, verb: str, root: Path, clock: str | None, *more: str) -> NoReturn:
    """Replace this process by a service, so that signals and the exit status are its own."""
    import os
    import sys

    from city.certificates import Certificates
    from city.environment import PlatformState, service_environment
    from city.launcher import service_program
    from city.processes import ProcessMark, ProgramMissing, StartFailed
    from city.servers import LocalServers

    service = _service(service)
    moment = _moment(clock)
    state = PlatformState(root)
    running = state.service(service)
    if verb == "serve" and running is not None:
        _fail(f"{service} runs already, process {running.pid}")
    servers = LocalServers(root)
    try:
        for started in servers.start():
            typer.echo(f"started {started}; `citycard down --root {root}` stops it", err=True)
    except (ProgramMissing, StartFailed) as error:
        _fail(str(error))
    if moment is not None:
        state.set_clock(moment)
    (state.root / "run").mkdir(exist_ok=True)
    environment = service_environment(
        service, state.root, servers, Certificates(root), state.ports(), state.clock_offset_s()
    )
    if verb == "serve":
        if sys.stderr.isatty():
            environment["CITYCARD_LOG_FORMAT"] = "console"
        state.record(service, ProcessMark.of(os.getpid()))
    command = [*service_program(service), verb, *more]
    os.execve(command[0], command, environment)


def _service(name: str) -> str:
    try:
        return known_service(name)
    except UnknownService as error:
        _fail(str(error), status=2)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        _fail(f"--clock {text} is not a time such as 2018-09-01T12:00:00+08:00", status=2)
    if moment.tzinfo is None:
        _fail(f"--clock {text} has no zone; write it as 2018-09-01T12:00:00+08:00", status=2)
    return moment


def _fail(message: str, status: int = 1) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(status)
