"""What every field must keep though no rule of a schema says it."""

from typing import Any

import pytest
from citycard.clearing.v1 import clearing_service_pb2 as pb
from citycard.common.v1.types_pb2 import Date
from google.protobuf.timestamp_pb2 import Timestamp

from libs.runtime.refusals import Malformed
from libs.runtime.validation import check


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(0, -1), (0, 10**9), (253_402_300_800, 0), (-62_135_596_801, 0), (2**62, 0), (-(2**62), 0)],
)
def test_a_moment_outside_of_the_calendar_is_no_moment(seconds: int, nanos: int) -> None:
    refused_at(_limit(effective_time=Timestamp(seconds=seconds, nanos=nanos)), "effective_time")


@pytest.mark.parametrize("moment", [Timestamp(), Timestamp(seconds=1_535_731_200, nanos=999_999_999)])
def test_a_moment_of_the_calendar_passes(moment: Timestamp) -> None:
    check(_limit(effective_time=moment))


@pytest.mark.parametrize(
    ("year", "month", "day"), [(2025, 2, 29), (2025, 13, 1), (0, 1, 1), (2025, 1, 0), (10000, 1, 1), (-1, 1, 1)]
)
def test_a_day_outside_of_the_calendar_is_no_day(year: int, month: int, day: int) -> None:
    date = Date(year=year, month=month, day=day)
    refused_at(
        pb.ListFareDeviationsRequest(participant="participants/metro-1", settlement_date=date), "settlement_date"
    )


def test_a_leap_day_passes() -> None:
    day = Date(year=2024, month=2, day=29)
    check(pb.ListFareDeviationsRequest(participant="participants/metro-1", settlement_date=day))


def _limit(**fields: Any) -> pb.SetIndustryLimitRequest:
    return pb.SetIndustryLimitRequest(amount_limit_fen=100, **fields)


def refused_at(message: Any, field: str) -> None:
    with pytest.raises(Malformed) as refused:
        check(message)
    assert [violation.field for violation in refused.value.violations] == [field]
