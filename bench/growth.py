"""How clearing's speed changes as records pile up: `python -m bench.growth` draws `bench/growth.svg`.

Not part of `make bench`: the whole curve, 1 to 10 million, takes the better part of an hour on a shared machine.
`--to 10` says how many millions; every point is measured on real uploads, judged by clearing alone.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from rich.console import Console
from sqlalchemy.ext.asyncio import create_async_engine

from bench.clearing import register
from bench.cpu import cpu_times
from bench.prove import ROUND, TAPS, FolderGateway, server_pid, store_round
from bench.workload import make_workload
from city.keys import city_keys
from city.servers import LocalServers
from libs.clock import SystemClock
from libs.runtime.migrate import upgrade
from services.clearing.adapters.remembered import CardMemory
from services.clearing.adapters.sql import ClearingUnitOfWork
from services.clearing.application.intake import Reconcile
from services.clearing.application.judge_files import JudgeFiles
from services.clearing.application.post_set import PostSet

PICTURE = Path(__file__).with_name("growth.svg")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 720, 400, 70, 50, 40, 20


@dataclass(frozen=True, slots=True)
class Point:
    """One million more.

    Attributes:
        present: Records present at its end.
        rate: Records per second of this million.
        client_us: CPU of this process, microseconds per record.
        server_us: CPU of PostgreSQL likewise.
        record_bytes: Table and indexes, per record present.
        resident_mib: Of this process, workload included.
        load: Of the machine at the end, one minute's average: whoever reads a rate must know it.
    """

    present: int
    rate: float
    client_us: float
    server_us: float
    record_bytes: float
    resident_mib: float
    load: float


async def measure(root: Path, millions: int, console: Console) -> list[Point]:
    """Judge million after million."""
    LocalServers(root).destroy()
    servers = LocalServers(root)
    try:
        with servers, tempfile.TemporaryDirectory(dir=root) as folder:
            urls = servers.fresh_database("clearing")
            upgrade("clearing", urls.owner)
            engine = create_async_engine(urls.application.replace("postgresql://", "postgresql+psycopg://"))
            clock, memory, gateway = SystemClock(), CardMemory(), FolderGateway(Path(folder))

            def unit_of_work() -> ClearingUnitOfWork:
                return ClearingUnitOfWork(engine, clock, memory)

            workload = make_workload(ROUND, TAPS)
            await register(unit_of_work(), workload)
            post_set = PostSet(city_keys(), clock, production=False)
            judge = JudgeFiles(unit_of_work, gateway, post_set, city_keys(), clock, set_records_max=20_000)
            reconcile, pid = Reconcile(unit_of_work, gateway), server_pid(servers)
            points = []
            for turn in range(millions):
                await asyncio.to_thread(store_round, gateway, workload, turn)
                used, began = cpu_times(pid), time.perf_counter()
                await reconcile()
                while (await judge()).files_seen:
                    pass
                seconds, used = time.perf_counter() - began, cpu_times(pid) - used
                with psycopg.connect(urls.owner) as connection:
                    row = connection.execute("SELECT pg_total_relation_size('record'), count(*) FROM record").fetchone()
                assert row is not None, "an aggregate gives one row"
                assert row[1] == (turn + 1) * ROUND, "every record took its keys"
                client_us, server_us = used.per_record_us(ROUND)
                resident = psutil.Process().memory_info().rss / 2**20
                points.append(
                    Point(row[1], ROUND / seconds, client_us, server_us, row[0] / row[1], resident, os.getloadavg()[0])
                )
                console.print(f"  {points[-1]}", style="dim", highlight=False)
            await engine.dispose()
            return points
    finally:
        LocalServers(root).destroy()


def picture(points: list[Point]) -> str:
    """Records per second, and CPU microseconds per record, over millions present, as SVG."""
    rate_top = max(point.rate for point in points) * 1.1
    cpu_top = max(point.client_us + point.server_us for point in points) * 1.1
    right = max(points[-1].present / 1e6, 2)

    def x(point: Point) -> float:
        return _LEFT + (point.present / 1e6 - 1) / (right - 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float, top: float) -> float:
        return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _BOTTOM - _TOP)

    def line(values: list[float], top: float, colour: str) -> str:
        places = " ".join(f"{x(point):.1f},{y(value, top):.1f}" for point, value in zip(points, values, strict=True))
        return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>'

    marks = [
        f'<text x="{x(point):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{point.present // ROUND}</text>'
        f'<text x="{x(point):.1f}" y="{y(point.rate, rate_top) - 8:.1f}" text-anchor="middle" fill="#0b5394">'
        f"{point.rate / 1000:.0f}k</text>"
        f'<text x="{x(point):.1f}" y="{y(point.client_us + point.server_us, cpu_top) + 16:.1f}" text-anchor="middle" '
        f'fill="#b45f06">{point.client_us + point.server_us:.0f}</text>'
        for point in points
    ]
    loads = f"{min(point.load for point in points):.1f} to {max(point.load for point in points):.1f}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" '
            'font-size="12">',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            f'<text x="{_LEFT}" y="20">Clearing alone: <tspan fill="#0b5394">records/s</tspan> and '
            '<tspan fill="#b45f06">CPU µs per record, clearing and PostgreSQL</tspan>, '
            f"by million (load {loads})</text>",
            f'<path d="M{_LEFT},{_TOP} V{_HEIGHT - _BOTTOM} H{_WIDTH - _RIGHT}" fill="none" stroke="black"/>',
            line([point.rate for point in points], rate_top, "#0b5394"),
            line([point.client_us + point.server_us for point in points], cpu_top, "#b45f06"),
            *marks,
            f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 10}" text-anchor="middle">million records present; '
            f"{points[-1].record_bytes:.0f} bytes per record, process {points[0].resident_mib:.0f} to "
            f"{points[-1].resident_mib:.0f} MiB</text>",
            "</svg>",
            "",
        ]
    )


def main() -> int:
    """Measure and draw."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--to", type=int, default=2, help="millions of records, at least 2 (2)")
    parser.add_argument("--root", type=Path, default=Path("var") / "bench-growth")
    chosen = parser.parse_args()
    points = asyncio.run(measure(chosen.root, max(chosen.to, 2), Console()))
    PICTURE.write_text(picture(points), encoding="utf-8")
    sys.stdout.write(f"{PICTURE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
