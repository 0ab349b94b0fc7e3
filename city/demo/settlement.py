"""The day's end: every operator's window closed, its statement, and the sums over all."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import grpc
from citycard.clearing.v1 import clearing_pb2, clearing_service_pb2
from citycard.clearing.v1.clearing_service_pb2_grpc import ClearingServiceStub

from city.demo.collection import list_files
from city.demo.platform import Callers
from city.demo.registration import NotInTimeError
from city.simulation.operators import Operator
from libs.records.codes import ResultCode
from libs.runtime.refusals import error_info

_BUSY_TRIES = 50
_BUSY_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Settlement:
    """The statements of a day.

    Attributes:
        settlement_date: Of all of them.
        statements: By operator, in the order of operators.
        verdicts_of: Records by result code, by operator, over all its files: duplicates take no place in a statement.
    """

    settlement_date: date
    statements: tuple[tuple[Operator, clearing_pb2.Statement], ...]
    verdicts_of: Mapping[Operator, Counter[int]]

    @property
    def record_count(self) -> int:
        """Records in the statements."""
        return sum(statement.record_count for _, statement in self.statements)

    @property
    def list_price_fen(self) -> int:
        """Gross: what the rides cost before discounts."""
        return sum(statement.list_price_fen for _, statement in self.statements)

    @property
    def discount_fen(self) -> int:
        """Discounts given."""
        return sum(statement.discount_fen for _, statement in self.statements)

    @property
    def paid_fen(self) -> int:
        """Net of discounts: what the cards paid."""
        return sum(statement.gross_fen for _, statement in self.statements)

    @property
    def fee_fen(self) -> int:
        """Fees of the centre."""
        return sum(statement.fee_fen for _, statement in self.statements)

    @property
    def verdicts(self) -> Counter[int]:
        """Records by result code."""
        total: Counter[int] = Counter()
        for counts in self.verdicts_of.values():
            total.update(counts)
        return total

    @property
    def duplicate_count(self) -> int:
        """Records that came a second time, byte for byte."""
        return self.verdicts[int(ResultCode.DUPLICATE)]


async def close_windows(callers: Callers, operators: Sequence[Operator], day: date) -> Settlement:
    """Close the window of each operator; closing again answers the statements that stand.

    Raises:
        NotInTimeError: Files of a window are not judged in time.
    """
    statements = await asyncio.gather(*(_close(callers, operator, day) for operator in operators))
    verdicts: dict[Operator, Counter[int]] = {operator: Counter() for operator in operators}
    by_name = {operator.participant: operator for operator in operators}
    for file in await list_files(callers):
        if file.participant in by_name:
            verdicts[by_name[file.participant]].update({one.code: one.record_count for one in file.verdicts})
    return Settlement(day, tuple(zip(operators, statements, strict=True)), verdicts)


async def _close(callers: Callers, operator: Operator, day: date) -> clearing_pb2.Statement:
    clearing = callers.stub(ClearingServiceStub, "clearing")
    request = clearing_service_pb2.CloseWindowRequest(name=f"{operator.participant}/windows/{day:%Y%m%d}")
    for _ in range(_BUSY_TRIES):
        try:
            return await clearing.CloseWindow(request)
        except grpc.aio.AioRpcError as error:
            if error_info(error).reason != "WINDOW_BUSY":
                raise
        await asyncio.sleep(_BUSY_PAUSE_S)
    raise NotInTimeError(f"the window of {operator.slug} stays busy")
