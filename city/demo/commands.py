"""The commands `citycard demo` and `citycard prove`; what they use is imported inside them: help answers at once."""

from pathlib import Path
from typing import Annotated

import typer

from city.names import DEFAULT_ROOT, SERVICES

_DEMO_ROOT = DEFAULT_ROOT / "demo"


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command()(demo)
    app.command()(prove)


def demo(
    data: Annotated[
        Path | None,
        typer.Option("--data", help="A day of real records, CSV or CSV.gz; a synthetic day without it.", exists=True),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the city running and say where.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the synthetic city.")] = 1,
    records: Annotated[int, typer.Option("--records", min=100, help="Taps of the synthetic day.")] = 24_000,
    root: Annotated[
        Path, typer.Option("--root", help="Folder of the demo's city; an earlier demo there is removed.")
    ] = _DEMO_ROOT,
) -> None:
    """Run a city: one card's life, then one day of taps, cleared, settled and proven.

    Exit status: 0 all done and proven, 1 something failed or is broken, 2 misused.
    """
    import asyncio

    import grpc
    from rich.console import Console

    from city.demo.registration import NotInTimeError
    from city.demo.run import Options, RootInUseError, failure_text, run
    from city.demo.screen import Screen
    from city.launcher import AlreadyRunning
    from city.processes import ProgramMissing, StartFailed
    from city.simulation.recorded import DataUnusableError
    from libs.errors import DomainError

    # A table of eight columns needs its width, also where nobody's terminal tells one.
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=150)
    try:
        outcome = asyncio.run(run(Options(root.absolute(), seed, records, data, keep), Screen(console)))
    except (RootInUseError, AlreadyRunning, DataUnusableError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except (StartFailed, ProgramMissing, NotInTimeError, DomainError, grpc.aio.AioRpcError) as error:
        typer.echo(f"the demo failed: {failure_text(error)}", err=True)
        typer.echo(f"the services' logs are in {root / 'log'}", err=True)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if outcome.proof.holds else 1)


def prove(
    root: Annotated[
        Path, typer.Option("--root", envvar="CITYCARD_ROOT", help="Folder of a running city; a demo's is var/demo.")
    ] = DEFAULT_ROOT,
    service: Annotated[
        str | None, typer.Option("--service", help=f"Only this one, without the others: {', '.join(SERVICES)}.")
    ] = None,
) -> None:
    """Recompute what must hold, in every service and between them. Reads only.

    Exit status: 0 nothing is broken, 1 something is, 2 the city cannot be asked.
    """
    import asyncio

    import grpc
    from rich.console import Console

    from city.demo.screen import Screen
    from city.names import UnknownService, known_service
    from city.prove import prove_root
    from libs.runtime.refusals import error_info

    try:
        services = SERVICES if service is None else (known_service(service),)
        proof = asyncio.run(prove_root(root, services))
    except (UnknownService, FileNotFoundError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except grpc.aio.AioRpcError as error:
        detail = error_info(error)
        typer.echo(f"a service does not answer: {detail.reason or error.code().name} {detail.message_en}", err=True)
        raise typer.Exit(2) from None
    Screen(Console(highlight=False)).proof(proof)
    raise typer.Exit(0 if proof.holds else 1)
