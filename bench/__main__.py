"""`python -m bench [--only NAME]`: measure, print a table, write bench/results.json."""

import argparse
import importlib
import sys
from pathlib import Path

from rich.console import Console

from bench.result import Context, Result, show, write

# Each is a module of this package with `run(context) -> list[Result]`; the shortest first.
BENCHES = (
    "purse", "edge", "card", "idle", "gateway", "intake", "clearing", "prove", "ledger", "cardlist",
)  # fmt: skip
RESULTS = Path(__file__).with_name("results.json")
ROOT = Path("var") / "bench"


def main() -> int:
    """Exit status 1 when a goal is not met: a figure that fell is news."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=BENCHES, help="run just this one")
    only = parser.parse_args().only
    console = Console(highlight=False)
    context = Context(ROOT, lambda text: console.print(f"  {text}", style="dim"))
    results: list[Result] = []
    for name in (only,) if only else BENCHES:
        console.print(f"[bold]{name}[/]")
        results += importlib.import_module(f"bench.{name}").run(context)
    show(results, console)
    write(results, RESULTS)
    return 1 if any(one.met is False for one in results) else 0


if __name__ == "__main__":
    sys.exit(main())
