"""`citycard day run|status|show` and `citycard statement fetch|verify`; what they use is imported inside them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from city.names import DEFAULT_ROOT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import date

    import grpc

T = TypeVar("T")
RootOption = Annotated[Path, typer.Option("--root", envvar="CITYCARD_ROOT", help="Folder of the city.")]
DayArgument = Annotated[str, typer.Argument(metavar="DAY", help="Settlement date, YYYY-MM-DD.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    day = typer.Typer(help="The end of day (日终): run it, see where it is.", no_args_is_help=True)
    day.command("run")(run)
    day.command("status")(status)
    day.command("show")(show)
    app.add_typer(day, name="day")
    statement = typer.Typer(help="Statements (结算单): fetch them as files, verify them offline.", no_args_is_help=True)
    statement.command("fetch")(fetch)
    statement.command("verify")(verify)
    app.add_typer(statement, name="statement")


def run(
    day: DayArgument,
    root: RootOption = DEFAULT_ROOT,
    timeout_s: Annotated[int, typer.Option("--timeout", min=1, help="How long to watch, in seconds.")] = 600,
) -> None:
    """Run the end of a settlement date, or what failed in it again, and watch it.

    Exit status: 0 done, 1 something failed, 2 misused, 3 still waiting when the time was up (the run goes on).
    """
    import asyncio

    from rich.console import Console

    from city.day.watch import watch

    console = Console(highlight=False)
    raise typer.Exit(asyncio.run(_called(root, lambda channel: watch(channel, _day(day), timeout_s, console))))


def status(root: RootOption = DEFAULT_ROOT) -> None:
    """List the runs, the newest day first. Exit status: 0 none failed, 1 one has, 2 misused."""
    import asyncio

    from rich.console import Console

    from city.day.watch import list_runs, runs_table

    runs = asyncio.run(_called(root, list_runs))
    Console(highlight=False).print(runs_table(runs))
    raise typer.Exit(1 if any(one.progress.failed_count for one in runs) else 0)


def show(day: DayArgument, root: RootOption = DEFAULT_ROOT) -> None:
    """Show every stage of every participant of a day. Exit status: 0 none failed, 1 one has, 2 misused."""
    import asyncio

    from rich.console import Console

    from city.day.watch import get_run, stages_table

    found = asyncio.run(_called(root, lambda channel: get_run(channel, _day(day))))
    Console(highlight=False).print(stages_table(found))
    raise typer.Exit(1 if found.progress.failed_count else 0)


def fetch(
    participant: Annotated[str, typer.Argument(help="Id of the participant.")],
    day: DayArgument,
    folder: Annotated[Path, typer.Option("--to", help="Folder for the files; made when missing.")],
    root: RootOption = DEFAULT_ROOT,
) -> None:
    """Write a signed statement, its files for machines and people, and the public key into a folder."""
    import asyncio

    from city.day.statements import fetch_statement

    for file in asyncio.run(_called(root, lambda channel: fetch_statement(channel, participant, _day(day), folder))):
        typer.echo(str(file))


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder with fetched statements.", exists=True, file_okay=False)],
    key: Annotated[
        Path | None, typer.Option("--key", help="The centre's public key, PEM; default: signing-key.pem beside them.")
    ] = None,
) -> None:
    """Verify every signed statement of a folder offline: signatures, sums, files, chains.

    The key that lies beside the statements proves only that they fit each other; take one that you got another way.
    Exit status: 0 all good, 1 something is wrong, 2 nothing to verify or no key.
    """
    from city.day.statements import verify_folder

    try:
        count, findings = verify_folder(folder, key or folder / "signing-key.pem")
    except (OSError, ValueError) as error:
        _fail(f"the key cannot be read: {error}")
    if not count:
        _fail(f"there is no *.signed.pb in {folder}")
    for one in findings:
        typer.echo(f"{one.fault}\t{one.name}")
    typer.echo(f"{count} statements, {len(findings)} faults")
    raise typer.Exit(1 if findings else 0)


async def _called(root: Path, work: "Callable[[grpc.aio.Channel], Awaitable[T]]") -> "T":
    """Do something with clearing as the operating staff."""
    import grpc

    from city.certificates import Certificates
    from city.environment import PlatformState
    from libs.runtime.client import open_channel
    from libs.runtime.refusals import error_info

    port = PlatformState(root).known_ports().get("clearing")
    if port is None:
        _fail(f"no city was ever started under {root}")
    channel = open_channel(f"127.0.0.1:{port}", Certificates(root).issue("administrator", "day"))
    try:
        return await work(channel)
    except grpc.aio.AioRpcError as error:
        info = error_info(error)
        _fail(f"{info.reason if info else error.code().name}: {error.details()}")
    finally:
        await channel.close()


def _day(text: str) -> "date":
    from datetime import date

    try:
        return date.fromisoformat(text)
    except ValueError:
        _fail(f"{text} is not a day such as 2025-01-02")


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
