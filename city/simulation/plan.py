"""A day before it happens: cards, terminals and taps as columns."""

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

TAP = np.dtype(
    [
        ("time_s", "i8"),
        ("card", "i4"),
        ("terminal", "i4"),
        ("kind", "u1"),
        ("list_price_fen", "i4"),
        ("amount_fen", "i4"),
        ("discount_rule", "u2"),
        ("transfer", "?"),
    ]
)
"""One tap: epoch seconds, places in the plan's cards and terminals, kind of the record, and the price that is asked."""

Taps = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class CardColumns:
    """The cards of a day.

    Attributes:
        numbers: (n, 10) BCD, all T-Union (JT).
        main_types: (n,) card main type.
        opening_fen: (n,) balance on the chip before the first tap.
    """

    numbers: U8
    main_types: U8
    opening_fen: I64

    def names(self, rows: npt.NDArray[np.intp] | slice = slice(None)) -> list[str]:
        """Resource names, `cards/jt-…`."""
        return [f"cards/jt-{number.tobytes().hex()}" for number in self.numbers[rows]]

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class TerminalColumns:
    """The terminals of a day.

    Attributes:
        numbers: 12 digits each.
        operators: Place of each one's operator in `OPERATORS`.
        lines: Line of each, 0 to 999999.
        stations: Station of each; 0 none.
    """

    numbers: tuple[str, ...]
    operators: U8
    lines: I32
    stations: I32

    def psam_number(self, terminal: int) -> str:
        """20 digits: city, 00, role of a PSAM [convention], terminal number."""
        return f"58400001{self.numbers[terminal]}"

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True)
class DayPlan:
    """Everything that will happen.

    Attributes:
        title_zh: What day this is, for people.
        title_en: The same.
        collected_at: When the collectors come: the city's clock at the upload.
        settlement_date: On which all of it settles.
        valid_from: First day of the cards.
        cards: Who rides.
        terminals: Where.
        taps: In the order of time.
        sent_again: Places in `taps` of records that reach the centre a second time, byte for byte.
    """

    title_zh: str
    title_en: str
    collected_at: datetime
    settlement_date: date
    valid_from: date
    cards: CardColumns
    terminals: TerminalColumns
    taps: Taps
    sent_again: npt.NDArray[np.intp]

    @property
    def operators_of_taps(self) -> U8:
        """Place of each tap's operator in `OPERATORS`."""
        operators: U8 = self.terminals.operators[self.taps["terminal"]]
        return operators

    @property
    def operators(self) -> list[int]:
        """Places in `OPERATORS` of those that have taps, ascending."""
        return [int(one) for one in np.unique(self.operators_of_taps)]
