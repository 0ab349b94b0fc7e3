"""What a bench hands back, how people see it, and what the next run compares with."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Result:
    """One measured figure.

    Attributes:
        name: `bench.figure`, kept for ever, so that runs can be compared.
        value: What was measured.
        unit: Of value and baseline.
        baseline: The same figure of the bare thing, measured in the same run; None where there is none.
        baseline_name: What the bare thing is, for people.
        goal: What the value must reach; None where nothing is promised.
        less_is_better: The goal is a ceiling, not a floor.
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    baseline_name: str = ""
    goal: float | None = None
    less_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """Value over baseline."""
        return self.value / self.baseline if self.baseline else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.less_is_better else self.value >= self.goal


@dataclass(frozen=True, slots=True)
class Context:
    """What a bench may use.

    Attributes:
        root: Folder of a city that belongs to benches alone; emptied before and after.
        say: Tells people what is going on.
    """

    root: Path
    say: Callable[[str], None]


def write(results: Sequence[Result], path: Path) -> None:
    """Write the results of this run, and of no other: a list of name, value, unit, baseline, ratio."""
    rows = [
        {"name": one.name, "value": one.value, "unit": one.unit, "baseline": one.baseline, "ratio": one.ratio}
        for one in results
    ]
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def show(results: Sequence[Result], console: Console) -> None:
    """The table for people."""
    table = Table(title="bench", title_justify="left")
    table.add_column("figure", no_wrap=True)
    for heading in ("value", "baseline", "ratio", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("met")
    for one in results:
        sign = "≤" if one.less_is_better else "≥"
        met = {None: "", True: "[green]yes[/]", False: "[bold red]no[/]"}[one.met]
        table.add_row(
            one.name,
            f"{_number(one.value)} {one.unit}",
            "" if one.baseline is None else _number(one.baseline),
            "" if one.ratio is None else f"{one.ratio:.2f}",
            "" if one.goal is None else f"{sign} {_number(one.goal)}",
            met,
        )
    console.print(table)
    for what in dict.fromkeys(one.baseline_name for one in results if one.baseline_name):
        names = ", ".join(one.name for one in results if one.baseline_name == what)
        console.print(f"  baseline of {names}: {what}", style="dim", soft_wrap=True)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.1f}"
