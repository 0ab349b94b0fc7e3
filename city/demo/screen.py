"""What the demo shows: a story, bars, the settlement table, the proof."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from city.demo.settlement import Settlement
from city.prove import BETWEEN, Proof
from libs.money import yuan
from libs.records.codes import RESULT_CODES, ResultCode

_HASH_SHOWN = 12


class Bars:
    """Progress bars; one is made the first time it is told a count."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, name: str, done: int, total: int) -> None:
        """Move a bar."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done, total=total)


class Screen:
    """The demo's output.

    Args:
        console: Where it goes.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def heading(self, zh: str, en: str) -> None:
        """The beginning of a part."""
        self.console.print()
        self.console.rule(f"[bold]{zh}[/]  {en}", align="left", style="blue")

    def say(self, zh: str, en: str) -> None:
        """One thing that happened."""
        self.console.print(Text(f"  · {zh}"), Text(f"    {en}", style="dim"), sep="\n", soft_wrap=True)

    def note(self, text: str) -> None:
        """A remark."""
        self.console.print(Text(f"  {text}", style="dim"), soft_wrap=True)

    @contextmanager
    def bars(self) -> Iterator[Bars]:
        """Progress bars for the time of a block."""
        columns = (
            TextColumn("  {task.description:<34}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            yield Bars(progress)

    def settlement(self, settlement: Settlement) -> None:
        """The settlement table: who is owed what."""
        table = Table(
            title=f"清算日 {settlement.settlement_date:%Y-%m-%d}  settlement, amounts in yuan (金额单位：元)",
            title_justify="left",
            show_footer=True,
        )
        table.add_column("营运单位 operator", footer="合计 total", no_wrap=True)
        for heading, footer in (
            ("记录\nrecords", f"{settlement.record_count:,}"),
            ("原价\ngross", yuan(settlement.list_price_fen)),
            ("优惠\ndiscount", yuan(settlement.discount_fen)),
            ("实收\nnet", yuan(settlement.paid_fen)),
            ("手续费\nfee", yuan(settlement.fee_fen)),
        ):
            table.add_column(heading, footer=footer, justify="right", no_wrap=True)
        table.add_column("应答码\nverdicts", footer=_verdicts(settlement.verdicts))
        table.add_column("结算单 SHA-256\nstatement", no_wrap=True)
        for operator, statement in settlement.statements:
            table.add_row(
                f"{operator.zh} {operator.slug}",
                f"{statement.record_count:,}",
                yuan(statement.list_price_fen),
                yuan(statement.discount_fen),
                yuan(statement.gross_fen),
                yuan(statement.fee_fen),
                _verdicts(settlement.verdicts_of[operator]),
                statement.sha256.hex()[:_HASH_SHOWN],
            )
        self.console.print(table)
        meanings = [RESULT_CODES[ResultCode(code)] for code in sorted(settlement.verdicts)]
        self.note("; ".join(f"{meaning.text} {meaning.zh} ({meaning.en})" for meaning in meanings))
        duplicates = settlement.duplicate_count
        self.console.print(
            f"  实收 [bold]{yuan(settlement.paid_fen)}[/] 元，{settlement.record_count:,} 条不重复记录，"
            f"重复 {duplicates} 条（应答码 01）\n"
            f"  net [bold]{yuan(settlement.paid_fen)}[/] yuan over {settlement.record_count:,} distinct records, "
            f"{duplicates} duplicate{'' if duplicates == 1 else 's'} (code 01)",
            highlight=False,
        )

    def proof(self, proof: Proof) -> None:
        """The proof table."""
        table = Table(title="证明 proof", title_justify="left")
        table.add_column("服务\nservice", no_wrap=True)
        table.add_column("不变式\ninvariant", no_wrap=True)
        table.add_column("内容\nstatement")
        table.add_column("已查\nchecked", justify="right", no_wrap=True)
        table.add_column("不符\nbroken", justify="right", no_wrap=True)
        table.add_column("首个不符\nfirst broken")
        last = ""
        for line in proof.lines:
            if last and line.service != last:
                table.add_section()
            name = "各服务之间 between" if line.service == BETWEEN else line.service
            table.add_row(
                name if line.service != last else "",
                line.invariant,
                line.statement,
                f"{line.checked:,}",
                Text(f"{line.broken:,}", style="bold red" if line.broken else "green"),
                line.first_broken,
            )
            last = line.service
        self.console.print(table)
        verdict = (
            "[bold green]全部成立，没有不符[/]  nothing is broken"
            if proof.holds
            else "[bold red]存在不符[/]  something is broken"
        )
        self.console.print(
            f"  {verdict}: {len(proof.lines)} lines, {proof.checked:,} things checked in {proof.seconds:.1f} s",
            highlight=False,
        )
        # Once more on lines of their own: a column of a table cuts names that people want to look for.
        for line in proof.lines:
            if line.broken:
                told = f"  {line.service} {line.invariant}: {line.first_broken}  ({line.broken:,} × {line.statement})"
                self.console.print(Text(told, style="red"), soft_wrap=True)


def _verdicts(counts: Counter[int]) -> str:
    return " ".join(f"{code:02d}×{count:,}" for code, count in sorted(counts.items()))
