"""Answers of claims, page tokens, validation paths, service config, logs, supervision."""

import asyncio
import datetime as dt
import enum
import io
import json
import logging
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import CallerUnknown, PageTokenInvalid, RequestMalformed
from libs.runtime.background import Supervisor
from libs.runtime.client import service_config
from libs.runtime.contract import ContractIncomplete, required_rules, service_descriptor
from libs.runtime.events import EventMeta, event_headers, service_of
from libs.runtime.logging import configure_logging, masked
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.pki import CertificateAuthority
from libs.runtime.refusals import Malformed
from libs.runtime.requests import decode_answer, encode_answer, request_key
from libs.runtime.validation import check
from libs.testkit.calls import calling
from libs.testkit.echo import SERVICE, SILENT_SERVICE, EchoRequest, EchoResponse

UUID = "7d7a4190-6a11-4cfa-9e62-f191c1ab228d"
NO_CONTEXT: Any = None


class State(enum.Enum):
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Purse:
    mac: bytes
    at: dt.datetime
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Card:
    purse: Purse
    state: State
    day: dt.date
    holder: str | None
    waits: dt.timedelta
    id: uuid.UUID


@given(st.binary(max_size=40), st.datetimes(timezones=st.just(dt.UTC)), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_an_answer_is_read_back_as_it_was_given(mac: bytes, at: dt.datetime, steps: list[int]) -> None:
    card = Card(Purse(mac, at, tuple(steps)), State.LOST, at.date(), None, dt.timedelta(seconds=3), uuid.UUID(UUID))
    assert decode_answer(encode_answer(card), Card) == card


@pytest.mark.parametrize("value", [b"\xff\x00", 7, "读", None, True])
def test_plain_values_are_answers_too(value: object) -> None:
    assert decode_answer(encode_answer(value), type(value)) == value


def test_a_message_is_an_answer_too() -> None:
    assert decode_answer(encode_answer(EchoResponse(text="a", count=2)), EchoResponse) == EchoResponse(
        text="a", count=2
    )


def test_a_container_is_read_with_its_element_type() -> None:
    cards = (Purse(b"\x80", dt.datetime(2018, 9, 1, tzinfo=dt.UTC), (1,)),)
    assert decode_answer(encode_answer(cards), tuple[Purse, ...]) == cards


def test_a_request_without_an_id_cannot_be_repeated_and_is_refused() -> None:
    with calling(), pytest.raises(RequestMalformed) as refused:
        request_key(EchoRequest(text="a"), NO_CONTEXT)
    assert refused.value.facts["field"] == "request_id"


def test_the_key_tells_callers_methods_and_contents_apart() -> None:
    with calling("citycard://outlet/1", "p.S/A"):
        first = request_key(EchoRequest(text="a", request_id=UUID.upper()), NO_CONTEXT)
        again = request_key(EchoRequest(text="a", request_id=UUID.upper()), NO_CONTEXT)
        other = request_key(EchoRequest(text="b", request_id=UUID.upper()), NO_CONTEXT)
    with calling("citycard://outlet/2", "p.S/A"):
        stranger = request_key(EchoRequest(text="a", request_id=UUID.upper()), NO_CONTEXT)
    assert first == again
    assert (first.caller, first.method, first.request_id, len(first.digest)) == (
        "citycard://outlet/1",
        "p.S/A",
        UUID,
        32,
    )
    assert len({first, other, stranger}) == 3


@given(st.text(max_size=80))
def test_garbage_is_no_page_token(garbage: str) -> None:
    if garbage:
        with pytest.raises(PageTokenInvalid):
            page_key("ListCards", garbage, (str,))


@given(st.tuples(st.text(max_size=50), st.integers()))
def test_a_token_is_understood_by_its_own_list_only(key: tuple[str, int]) -> None:
    token = page_token("ListCards", key)
    assert page_key("ListCards", token, (str, int)) == key
    for name, kinds in (("ListHolders", (str, int)), ("ListCards", (str,)), ("ListCards", (int, int))):
        with pytest.raises(PageTokenInvalid):
            page_key(name, token, kinds)


def test_the_first_page_has_no_key_and_sizes_are_bounded() -> None:
    assert page_key("ListCards", "", (str,)) is None
    assert [page_size(asked) for asked in (-1, 0, 7, 10**9)] == [100, 100, 7, 1000]


def test_broken_fields_are_named_by_their_path() -> None:
    message = EchoRequest(text="x" * 21, parts=[EchoRequest(), EchoRequest(request_id="no")])
    with pytest.raises(Malformed) as refused:
        check(message)
    assert [violation.field for violation in refused.value.violations] == ["text", "parts[1].request_id"]
    check(EchoRequest(text="ok", request_id=UUID))


def test_a_method_without_roles_stops_the_start() -> None:
    with pytest.raises(ContractIncomplete, match=r"SilentService/Hush"):
        required_rules((SERVICE, SILENT_SERVICE))
    with pytest.raises(ContractIncomplete, match="not a service"):
        required_rules(("citycard.echo.v1.Nobody",))


def test_only_repeatable_methods_are_retried() -> None:
    config = json.loads(service_config([service_descriptor(SERVICE)]))
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    assert [method["name"] for method in config["methodConfig"]] == [[{"service": SERVICE, "method": "Echo"}]]


def test_headers_of_an_event_are_read_back() -> None:
    event_id, at = uuid.uuid4(), dt.datetime(2018, 9, 1, 4, 0, 0, 5, tzinfo=dt.UTC)
    headers = event_headers(event_id, "citycard.echo.v1.Said", "echo", at, "00-a-b-01")
    meta = EventMeta.read("citycard.echo.v1.Said", headers, 2)
    assert (meta.event_id, meta.occurred_at, meta.source) == (event_id, at, "citycard://service/echo")
    for broken in ({}, {**headers, "ce-id": "x"}, {**headers, "ce-time": "yesterday"}):
        with pytest.raises(ValueError):
            EventMeta.read("citycard.echo.v1.Said", broken, 1)


def test_subjects_name_their_service() -> None:
    assert service_of("citycard.terminal_gw.v1.UploadStored") == "terminal_gw"
    for wrong in ("citycard.card", "other.card.v1.X"):
        with pytest.raises(ValueError, match="subject"):
            service_of(wrong)


def test_a_card_number_is_masked_in_logs() -> None:
    assert masked("jt-03104530000000000424") == "jt-…0424"
    assert masked("03104530000000000424") == "…0424"
    assert masked("123") == "…"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_key_and_no_card_number_reaches_the_log(monkeypatch: pytest.MonkeyPatch, log_format: str) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)

    def fails() -> None:
        session_key = "0123-this-is-a-key"
        raise ValueError(f"Key (card)=(jt-03104530000000000424) already exists, {len(session_key)}")

    try:
        configure_logging("echo", log_format=log_format)
        try:
            fails()
        except ValueError:
            structlog.get_logger("t").exception("rpc.defect", terminal="020100000123")
            logging.getLogger("library").exception("rpc.defect")
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers = []
    text = written.getvalue()
    assert text.count("ValueError") >= 2
    assert "this-is-a-key" not in text
    assert "03104530000000000424" not in text
    assert "jt-…0424" in text
    assert "020100000123" in text


def test_a_log_line_is_one_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    try:
        configure_logging("echo", log_level="info")
        log = structlog.get_logger("t")
        log.debug("hidden")
        log.info("card.loss_reported", card=masked("jt-03104530000000000424"), 名="值")
        log.error("rpc.defect", exc_info=ValueError("no\nluck"))
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["card.loss_reported", "rpc.defect"]
    assert lines[0]["card"] == "jt-…0424"
    assert (lines[0]["service"], lines[0]["level"], lines[0]["名"]) == ("echo", "info", "值")
    assert "ValueError" in json.dumps(lines[1])


async def test_a_crashing_loop_comes_back_and_is_named_meanwhile() -> None:
    starts: list[str] = []

    async def flaky() -> None:
        starts.append("flaky")
        if len(starts) < 3:
            raise RuntimeError("no")
        await asyncio.Event().wait()

    async def steady() -> None:
        await asyncio.Event().wait()

    supervisor = Supervisor([("flaky", flaky), ("steady", steady)], backoff_s=0.05, settled_s=0.1)
    supervisor.start()
    await asyncio.sleep(0.02)
    assert supervisor.failing == {"flaky"}
    await asyncio.sleep(0.6)
    assert len(starts) == 3
    assert not supervisor.failing
    await supervisor.stop()


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    authority = CertificateAuthority.load_or_create(tmp_path)
    files = authority.issue_files("citycard://terminal/metro/1", tmp_path)
    assert files.cert.name == "terminal-metro-1.crt"
    for key in (tmp_path / "ca.key", files.key):
        assert key.stat().st_mode & 0o777 == 0o600
    assert CertificateAuthority.load_or_create(tmp_path).certificate == files.ca.read_bytes()
    with pytest.raises(CallerUnknown):
        authority.issue("citycard://king/arthur")


async def test_a_loop_that_swallows_its_cancellation_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.runtime.background._CANCEL_AGAIN_S", 0.02)
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 2:
                    raise

    supervisor = Supervisor([("stubborn", stubborn)])
    supervisor.start()
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await supervisor.stop()
    assert swallowed == 3
