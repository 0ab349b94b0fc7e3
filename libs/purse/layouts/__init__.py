"""What the bytes of card files mean: city-union (CJ) and T-Union (JT), by field (card-files.md, sections 2-4 and 8)."""

from libs.purse.layouts.fields import As, Field, Layout, Reading, decode
from libs.purse.layouts.tables import (
    BUS_TRIP,
    COMPLEX_RECORD,
    HOLDER_CJ,
    HOLDER_JT,
    ISSUING,
    LAYOUTS,
    LOG,
    MANAGEMENT_JT,
    PUBLIC_CJ,
    PUBLIC_JT,
    TRANSIT_LOG,
    layout_of,
    record_layout,
)

__all__ = [
    "BUS_TRIP",
    "COMPLEX_RECORD",
    "HOLDER_CJ",
    "HOLDER_JT",
    "ISSUING",
    "LAYOUTS",
    "LOG",
    "MANAGEMENT_JT",
    "PUBLIC_CJ",
    "PUBLIC_JT",
    "TRANSIT_LOG",
    "As",
    "Field",
    "Layout",
    "Reading",
    "decode",
    "layout_of",
    "record_layout",
]
