"""`citycard demo-edge`: a seeded day of a fleet. What the command uses is imported inside it: help answers at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from city.names import DEFAULT_ROOT

if TYPE_CHECKING:
    from city.demo.screen import Screen
    from city.fleet.run import Outcome


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(name="demo-edge")(demo_edge)


def demo_edge(
    seed: Annotated[int, typer.Option("--seed", help="Of the day.", min=0)] = 1,
    terminals: Annotated[int, typer.Option("--terminals", help="How many.", min=13, max=20_000)] = 1_000,
    records: Annotated[int, typer.Option("--records", help="Of all of them together.", min=13)] = 150_000,
    root: Annotated[
        Path, typer.Option("--root", help="Folder of its city; an earlier demo there is removed.")
    ] = DEFAULT_ROOT / "demo-edge",
) -> None:
    """A day of a fleet with faults: is everything here, and if not, exactly what is missing (终端机群的一天).

    Lines break, clocks drift, batteries are pulled, files and records come twice, programs are old, records are lost.
    At the end the certificate of every terminal must say complete, or list exactly the holes that were injected.

    Exit status: 0 every certificate is right, 1 one is not or something failed, 2 misused.
    """
    import asyncio

    import grpc
    from rich.console import Console

    from city.demo.run import RootInUseError, clear_root
    from city.demo.screen import Screen
    from city.fleet.run import Options, failure_text, run
    from city.launcher import AlreadyRunning
    from city.processes import ProgramMissing, StartFailed
    from libs.errors import DomainError

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=150)
    screen = Screen(console)
    if records < terminals:
        raise typer.BadParameter("at least one for each terminal", param_hint="--records")
    try:
        clear_root(root.absolute())
        outcome = asyncio.run(run(Options(root.absolute(), seed, terminals, records), screen.say))
    except (RootInUseError, AlreadyRunning) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    except (StartFailed, ProgramMissing, DomainError, grpc.aio.AioRpcError, TimeoutError) as error:
        typer.echo(f"the demo failed: {failure_text(error)}", err=True)
        typer.echo(f"the services' logs are in {root / 'log'}", err=True)
        raise typer.Exit(1) from None
    _show(screen, outcome)
    raise typer.Exit(1 if outcome.wrong else 0)


def _show(screen: "Screen", outcome: "Outcome") -> None:
    from city.fleet.run import percentile

    screen.heading("现场发生了什么", "what happened in the field")
    for name, count in sorted(outcome.seen.counts.items()):
        screen.note(f"{count:>8,}  {name}")
    screen.heading("黑名单时延", "blacklist delay, from the report to the list in force")
    for zh, en, delays in (
        ("在线终端获知", "connected terminals were told", outcome.told_s),
        ("在线终端生效", "connected terminals had it in force", outcome.delays_s),
        ("由采集器携带", "carried by collectors", outcome.carried_s),
    ):
        if delays:
            shares = ", ".join(f"p{share:g} {percentile(delays, share / 100):.2f} s" for share in (50, 90, 99, 99.9))
            screen.say(f"{zh}：{len(delays):,} 次，{shares}", f"{en}: {len(delays):,} times, {shares}")
    screen.heading("内存", "memory, most at any time")
    screen.note(", ".join(f"{name} {used:,.0f} MiB" for name, used in sorted(outcome.peak_mib.items())))
    screen.heading("完整性证明", "certificates of completeness")
    screen.say(
        f"{outcome.complete} 份完整，{outcome.holes} 份所列缺口与注入完全一致，{len(outcome.wrong)} 处不符",
        f"{outcome.complete} complete, {outcome.holes} list exactly the injected holes, {len(outcome.wrong)} differ",
    )
    for line in outcome.wrong[:20]:
        screen.note(f"× {line}")
    screen.note(
        f"{outcome.seconds:.0f} s in all; sign-in storm {outcome.storm_s:.1f} s, uploads {outcome.upload_s:.1f} s"
    )
