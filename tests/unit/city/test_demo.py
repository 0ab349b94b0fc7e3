import io
from collections import Counter
from datetime import date
from pathlib import Path

import grpc
import pytest
from citycard.clearing.v1 import clearing_pb2
from rich.console import Console

from city.demo.registration import NotInTimeError, wait_until
from city.demo.run import RootInUseError, clear_root
from city.demo.screen import Screen
from city.demo.settlement import Settlement
from city.prove import Line, Proof
from city.simulation.operators import OPERATORS


def a_settlement() -> Settlement:
    metro, bus = OPERATORS[0], OPERATORS[8]
    return Settlement(
        date(2025, 9, 1),
        (
            (metro, clearing_pb2.Statement(record_count=3, list_price_fen=1000, discount_fen=50, gross_fen=950)),
            (
                bus,
                clearing_pb2.Statement(record_count=2, list_price_fen=400, discount_fen=80, gross_fen=320, fee_fen=2),
            ),
        ),
        {metro: Counter({0: 3}), bus: Counter({0: 2, 1: 1})},
    )


class TestSettlement:
    def test_sums_are_those_of_the_statements(self) -> None:
        day = a_settlement()
        assert (day.record_count, day.list_price_fen, day.discount_fen, day.paid_fen, day.fee_fen) == (
            5, 1400, 130, 1270, 2,
        )  # fmt: skip

    def test_duplicates_are_counted_beside_the_records(self) -> None:
        assert a_settlement().duplicate_count == 1
        assert a_settlement().verdicts == {0: 5, 1: 1}


class TestScreen:
    def shown(self, width: int = 150) -> tuple[Screen, io.StringIO]:
        text = io.StringIO()
        return Screen(Console(file=text, width=width, highlight=False)), text

    def test_the_table_shows_every_operator_and_the_totals(self) -> None:
        screen, text = self.shown()
        screen.settlement(a_settlement())
        output = text.getvalue()
        for part in (
            "地铁一号线 metro-1",
            "巴士集团 bus-group",
            "12.70",
            "00×2 01×1",
            "5 distinct records, 1 duplicate",
        ):
            assert part in output

    def test_a_broken_line_is_named(self) -> None:
        screen, text = self.shown()
        screen.proof(Proof((Line("card", "I5", "all is well", 3, 0), Line("account", "I1", "balanced", 2, 1, "j-7"))))
        assert "j-7" in text.getvalue()
        assert "something is broken" in text.getvalue()
        assert "nothing is broken" not in text.getvalue()

    def test_nothing_is_lost_on_a_narrow_terminal(self) -> None:
        screen, text = self.shown(width=80)
        screen.proof(Proof((Line("card", "I5", "all is well", 3, 0),)))
        assert "nothing is broken" in text.getvalue()


class TestRoot:
    def test_a_folder_that_is_not_a_demo_s_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("years of work")
        with pytest.raises(RootInUseError):
            clear_root(tmp_path)
        assert (tmp_path / "thesis.tex").read_text() == "years of work"

    def test_an_earlier_demo_is_removed(self, tmp_path: Path) -> None:
        root = tmp_path / "demo"
        clear_root(root)
        (root / "collectors").mkdir()
        clear_root(root)
        assert not (root / "collectors").exists()


class TestWaiting:
    async def test_what_does_not_happen_is_named(self) -> None:
        async def never() -> bool:
            return False

        with pytest.raises(NotInTimeError, match="rain"):
            await wait_until(never, "rain", timeout_s=0.02, poll_s=0.01)

    async def test_a_service_that_is_away_for_a_moment_is_waited_for(self) -> None:
        answers = [grpc.StatusCode.UNAVAILABLE, None]

        async def back_soon() -> bool:
            code = answers.pop(0)
            if code is not None:
                raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())
            return True

        await wait_until(back_soon, "a service", timeout_s=1, poll_s=0.01)

    async def test_a_refusal_is_not_waited_away(self) -> None:
        async def refused() -> bool:
            raise grpc.aio.AioRpcError(grpc.StatusCode.PERMISSION_DENIED, grpc.aio.Metadata(), grpc.aio.Metadata())

        with pytest.raises(grpc.aio.AioRpcError):
            await wait_until(refused, "permission", timeout_s=1, poll_s=0.01)
