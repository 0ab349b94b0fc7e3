"""Errors become statuses, and statuses are read back."""

from typing import Any

import grpc
import nats.errors
import psycopg
import pytest
import sqlalchemy.exc
from citycard.common.v1 import types_pb2
from google.rpc import error_details_pb2

from libs import errors
from libs.runtime.contract import reason_text
from libs.runtime.refusals import (
    Answer,
    FieldViolation,
    Malformed,
    answer_to,
    answer_to_defect,
    dependency_of,
    error_info,
    status_code,
)
from libs.testkit.echo import EarClosed, EarUnknown


class Failed(grpc.RpcError):
    """What a client raises, made of an answer."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def code(self) -> grpc.StatusCode:
        return self.answer.code

    def details(self) -> str:
        return str(self.answer.status.message)

    def trailing_metadata(self) -> Any:
        return (("other", "x"), *self.answer.trailers)


def test_an_error_of_no_kind_is_a_mistake_of_ours() -> None:
    class Loose(errors.DomainError):
        reason = "LOOSE"

    with pytest.raises(TypeError, match="of no kind"):
        status_code(Loose())


def test_a_refusal_travels_with_reason_facts_and_both_languages() -> None:
    detail = error_info(Failed(answer_to(EarClosed(ear="left"), "echo")))
    assert detail.code is grpc.StatusCode.FAILED_PRECONDITION
    assert (detail.reason, detail.domain, detail.facts) == ("EAR_CLOSED", "citycard.echo.v1", {"ear": "left"})
    assert detail.message_en == "The ear left is closed."
    assert detail.message_zh == "耳朵 left 已关闭"


def test_a_common_reason_names_the_common_domain_whoever_answers() -> None:
    detail = error_info(Failed(answer_to(errors.RequestIdReused(request_id="r1"), "echo")))
    assert (detail.code, detail.domain) == (grpc.StatusCode.ALREADY_EXISTS, "citycard.common.v1")
    assert "r1" in detail.message_zh
    limit = error_info(Failed(answer_to(errors.LimitReached(limit="pages"), "echo")))
    assert (limit.code, limit.domain) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "citycard.common.v1")


def test_an_undeclared_reason_is_told_in_plain() -> None:
    detail = error_info(Failed(answer_to(EarUnknown(ear="third"), "echo")))
    assert (detail.code, detail.reason, detail.domain) == (
        grpc.StatusCode.NOT_FOUND,
        "EAR_UNKNOWN",
        "citycard.echo.v1",
    )
    assert "third" in detail.message_en
    assert detail.message_zh == ""


def test_a_fact_is_text_and_never_a_template() -> None:
    detail = error_info(Failed(answer_to(EarClosed(ear="{ear.__class__} {0}"), "echo")))
    assert detail.message_en == "The ear {ear.__class__} {0} is closed."


def test_a_missing_fact_does_not_break_the_answer() -> None:
    assert error_info(Failed(answer_to(EarClosed(), "echo"))).message_en == "The ear ? is closed."


def test_broken_fields_are_named_and_bounded() -> None:
    many = [FieldViolation(f"items[{i}].name", "x" * 5000) for i in range(500)]
    answer = answer_to(Malformed(many), "echo")
    detail = error_info(Failed(answer))
    assert detail.code is grpc.StatusCode.INVALID_ARGUMENT
    assert detail.violations[0].field == "items[0].name"
    # Trailers of more than 8 KiB would replace our answer by one of the transport.
    assert len(answer.status.SerializeToString()) < 7000


def test_a_defect_tells_nothing_but_its_trace() -> None:
    detail = error_info(Failed(answer_to_defect("abc123")))
    assert (detail.code, detail.reason, detail.facts) == (grpc.StatusCode.INTERNAL, "INTERNAL", {"trace_id": "abc123"})


def test_a_failure_without_details_is_still_readable() -> None:
    bare = answer_to_defect("x")
    bare.status.Clear()
    detail = error_info(Failed(Answer(grpc.StatusCode.UNAVAILABLE, "", bare.status)))
    assert (detail.code, detail.reason) == (grpc.StatusCode.UNAVAILABLE, "")


@pytest.mark.parametrize(
    ("error", "dependency"),
    [
        (psycopg.OperationalError("gone"), "database"),
        (psycopg.errors.DeadlockDetected("deadlock"), "database"),
        (sqlalchemy.exc.OperationalError("select", {}, Exception("gone")), "database"),
        (sqlalchemy.exc.TimeoutError("pool"), "database"),
        (nats.errors.TimeoutError(), "events"),
        (nats.errors.ConnectionClosedError(), "events"),
        (Failed(answer_to(errors.DependencyUnavailable(dependency="x"), "echo")), "service"),
        (Failed(answer_to(EarClosed(ear="left"), "echo")), None),
        (psycopg.errors.UniqueViolation("twice"), None),
        (TimeoutError(), None),
        (ValueError(), None),
    ],
)
def test_only_what_may_succeed_later_counts_as_a_missing_dependency(error: Exception, dependency: str | None) -> None:
    assert dependency_of(error) == dependency


def test_every_common_error_has_its_text_in_the_contract() -> None:
    for name in types_pb2.ErrorReason.DESCRIPTOR.values_by_name:
        reason = name.removeprefix("ERROR_REASON_")
        if reason != "UNSPECIFIED":
            text = reason_text("common", reason)
            assert text is not None
            assert text.zh
            assert text.en
    concrete = [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.DomainError) and one.reason
    ]
    assert len(concrete) == 14
    assert all(reason_text("common", one.reason) for one in concrete)


def test_the_details_are_the_well_known_types() -> None:
    status = answer_to(EarClosed(ear="left"), "echo").status
    assert [holder.type_url.rpartition("/")[2] for holder in status.details] == [
        error_details_pb2.ErrorInfo.DESCRIPTOR.full_name,
        error_details_pb2.LocalizedMessage.DESCRIPTOR.full_name,
    ]
