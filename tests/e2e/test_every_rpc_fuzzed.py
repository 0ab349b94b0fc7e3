"""Every method of every service, called with what its descriptor allows and with what it does not.

The city runs with a small day behind it. No call may end as INTERNAL or UNKNOWN, no answer may show what is inside, no
service may fall; and when it is over, the books are still right.
"""

import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from buf.validate import validate_pb2
from citycard.common.v1 import types_pb2
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.strategies import SearchStrategy

from city.certificates import Certificates
from city.environment import PlatformState
from city.names import SERVICES
from city.servers import LocalServers
from libs.runtime.contract import rules_of, services_offered
from libs.runtime.identity import Role

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

_BIN = Path(sys.executable).parent
# Calls of one method: few enough for every run; with more, edges that meet are found as well.
EXAMPLES = int(os.environ.get("CITYCARD_FUZZ_EXAMPLES", "15"))
CALLERS = {
    Role.ADMINISTRATOR: "administrator/demo",
    Role.AUDITOR: "auditor/demo",
    Role.SERVICE: "service/clearing",
    Role.PARTICIPANT: "participant/metro-1",
    Role.OUTLET: "outlet/fuzz",
    Role.COLLECTOR: "collector/metro-1/fuzz",
    Role.TERMINAL: "terminal/metro-1/020100000123",
}
LEAKS = re.compile(
    r"Traceback|psycopg|sqlalchemy|SELECT |INSERT |UPDATE |password|/[a-z]+/[a-z]+\.py|0x[0-9a-f]{8,}", re.IGNORECASE
)
WORDS = (
    "",
    " ",
    "\x00",
    "participants/metro-1",
    "participants/bus-1",
    "participants/-",
    "participants/metro-1/statements/20250901",
    "participants/metro-1/windows/99999999",
    "cards/jt-0000000000000000000-0",
    "7d7a4190-6a11-4cfa-9e62-f191c1ab228d",
    "💥𝕊\u202e",
    "'; DROP TABLE entry; --",
    "%s%n{0}",
    "../../etc/passwd",
    "9" * 300,
    "长" * 5000,
)
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (Hypothesis draws moments without a zone)
INTEGERS = (0, 1, -1, 2, 100, 255, 20250901, 2**31 - 1, -(2**31), 2**53, 2**63 - 1, -(2**63))


@dataclass(slots=True)
class City:
    """A running city, and the channels of everybody who calls here."""

    root: Path
    pids: dict[str, int]
    statuses: Counter[str] = field(default_factory=Counter)
    _channels: dict[tuple[str, Role], grpc.Channel] = field(default_factory=dict)

    def channel(self, service: str, role: Role) -> grpc.Channel:
        key = service, role
        if key not in self._channels:
            kind, _, name = CALLERS[role].partition("/")
            port = PlatformState(self.root).known_ports()[service]
            credentials = Certificates(self.root).issue(kind, name).credentials()
            self._channels[key] = grpc.secure_channel(f"127.0.0.1:{port}", credentials)
        return self._channels[key]

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    def running(self) -> dict[str, int]:
        state = PlatformState(self.root)
        return {service: mark.pid for service in SERVICES if (mark := state.service(service))}


def citycard(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_BIN / "citycard", *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def city(new_root: Callable[[str], Path]) -> Iterator[City]:
    root = new_root("fuzz") / "city"
    demo = citycard("demo", "--records", "300", "--seed", "3", "--root", root, "--keep")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    city = City(root, {})
    city.pids = city.running()
    assert set(city.pids) == set(SERVICES)
    yield city
    city.close()
    citycard("down", "--root", root)
    LocalServers(root).destroy()


# What partners implement (citycard.participant.v1) is offered by no service of ours.
METHODS = [
    method
    for service in services_offered()
    if service.full_name.split(".")[1] in SERVICES
    for method in service.methods
]


def names_of(methods: list[MethodDescriptor]) -> list[str]:
    return [method.full_name.removeprefix("citycard.") for method in methods]


@pytest.mark.parametrize("method", METHODS, ids=names_of(METHODS))
def test_a_method_answers_or_refuses_whatever_comes(city: City, method: MethodDescriptor) -> None:
    service = method.full_name.split(".")[1]
    roles = sorted(rules_of(method).roles)
    chance = random.Random(method.full_name)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(requests(method), min_size=1, max_size=3 if method.client_streaming else 1), st.sampled_from(roles))
    def call(contents: list[bytes], role: Role) -> None:
        status, words = ask(city.channel(service, role), method, contents)
        city.statuses[status.name] += 1
        assert status not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (words, role, contents)
        assert not LEAKS.search(words), (words, role, contents)
        # Once more, as a retry would: the second answer is no worse.
        if chance.random() < 0.1:
            again, words = ask(city.channel(service, role), method, contents)
            assert again not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), (words, role, contents)

    call()
    assert city.running() == city.pids


def test_nobody_fell_and_the_books_are_right(city: City, capsys: pytest.CaptureFixture[str]) -> None:
    assert city.running() == city.pids
    with capsys.disabled():
        print(f"\n{city.statuses.total()} calls of {len(METHODS)} methods: {dict(city.statuses.most_common())}")
    assert city.statuses["OK"] > 0
    proof = citycard("prove", "--root", city.root)
    assert proof.returncode == 0, proof.stdout


def ask(channel: grpc.Channel, method: MethodDescriptor, contents: list[bytes]) -> tuple[grpc.StatusCode, str]:
    """Call with raw bytes; the status, and every word of the answer that a caller could read."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    sent: Any = iter(contents) if method.client_streaming else contents[0]
    try:
        answer = getattr(channel, shape)(path)(sent, timeout=3)
        if method.server_streaming:
            for number, _ in enumerate(answer):
                if number > 50:
                    answer.cancel()
                    break
    except grpc.RpcError as error:
        call: Any = error
        trailers = b" ".join(value for _, value in call.trailing_metadata() or () if isinstance(value, bytes))
        return call.code(), f"{call.details()} {trailers.decode('utf-8', 'replace')}"
    return grpc.StatusCode.OK, ""


# --- what is sent ---------------------------------------------------------------------------------------------------


def requests(method: MethodDescriptor) -> SearchStrategy[bytes]:
    """Bytes for a method: messages of its type in three moods, and messages with a byte that is not as it was."""
    kind = message_factory.GetMessageClass(method.input_type)
    good, wild = (messages(kind, 3, wild).map(lambda one: one.SerializeToString()) for wild in (False, True))
    broken = st.builds(damaged, good, st.integers(0, 2**32))
    return st.one_of(good, good, good, wild, wild, broken, st.binary(max_size=200))


def damaged(content: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    if not content:
        return chance.randbytes(chance.randrange(1, 8))
    at = chance.randrange(len(content))
    match chance.randrange(4):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + chance.randbytes(chance.randrange(1, 8)) + content[at:]
        case 2:
            return content + content
        case _:
            return content[:at] + bytes((content[at] ^ (1 << chance.randrange(8)),)) + content[at + 1 :]


CALENDAR: dict[str, SearchStrategy[Any]] = {
    "google.protobuf.Timestamp": st.datetimes().map(lambda at: Timestamp(seconds=int((at - EPOCH).total_seconds()))),
    "citycard.common.v1.Date": st.dates().map(lambda day: types_pb2.Date(year=day.year, month=day.month, day=day.day)),
}


@st.composite
def messages(draw: st.DrawFn, kind: type[Message], depth: int, wild: bool) -> Message:
    """A message, field by field: as the rules of the schema want it, or wild: fields missing, at the edge, beyond."""
    message: Any = kind()
    for one in kind.DESCRIPTOR.fields:
        if wild and draw(st.integers(0, 9)) == 0:
            continue
        if one.containing_oneof is not None and message.WhichOneof(one.containing_oneof.name):
            continue
        count = draw(st.integers(0, 3)) if one.is_repeated else 1
        values = [draw(value_of(one, depth, wild)) for _ in range(count)] if depth or one.message_type is None else []
        for value in values:
            put(message, one, value)
    return kind.FromString(message.SerializeToString())


def put(message: Any, one: FieldDescriptor, value: Any) -> None:
    if one.message_type is not None and one.message_type.GetOptions().map_entry:
        entry: Any = value
        if one.message_type.fields_by_name["value"].message_type is None:
            getattr(message, one.name)[entry.key] = entry.value
    elif one.is_repeated:
        getattr(message, one.name).append(value)
    elif one.message_type is not None:
        getattr(message, one.name).CopyFrom(value)
    else:
        setattr(message, one.name, value)


def value_of(one: FieldDescriptor, depth: int, wild: bool) -> SearchStrategy[Any]:
    if one.message_type is not None:
        if not wild and one.message_type.full_name in CALENDAR:
            return CALENDAR[one.message_type.full_name]
        return messages(message_factory.GetMessageClass(one.message_type), depth - 1, wild)
    if one.enum_type is not None:
        return st.sampled_from([value.number for value in one.enum_type.values])
    rules = one.GetOptions().Extensions[validate_pb2.field]
    if one.is_repeated:
        rules = rules.repeated.items
    match one.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if one.type == FieldDescriptor.TYPE_BYTES:
            size = rules.bytes.len or rules.bytes.min_len
            fit = st.binary(min_size=size, max_size=size or 64)
            return st.one_of(fit, st.binary(max_size=64)) if wild else fit
        case FieldDescriptor.CPPTYPE_STRING:
            fit_text = fitting(rules.string)
            return st.one_of(fit_text, fit_text, st.sampled_from(WORDS)) if wild else fit_text
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return st.floats(width=32)
        case _:
            return whole(one, rules, wild)


def fitting(rules: validate_pb2.StringRules) -> SearchStrategy[str]:
    """Text that keeps the rules of a field."""
    if rules.uuid:
        return st.uuids().map(str)
    if rules.pattern:
        try:
            return st.from_regex(re.compile(rules.pattern.replace("^", r"\A").replace("$", r"\Z"), re.ASCII))
        except (InvalidArgument, re.error):
            return st.sampled_from(WORDS)
    longest = min(rules.max_len or 40, 60)
    return st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=rules.min_len, max_size=longest)


def whole(one: FieldDescriptor, rules: Any, wild: bool) -> SearchStrategy[int]:
    unsigned = one.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
    bits = 32 if one.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 64
    least, most = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    kind = rules.WhichOneof("type")
    own = getattr(rules, kind) if kind else None
    low = next((getattr(own, name) for name in ("gte", "gt") if own is not None and own.HasField(name)), least)
    high = next((getattr(own, name) for name in ("lte", "lt") if own is not None and own.HasField(name)), most)
    edges = [value for value in (*INTEGERS, low, high, low - 1, high + 1) if least <= value <= most]
    within = st.integers(max(low, least), min(high, most)) if low <= high else st.just(0)
    return st.one_of(within, within, st.sampled_from(edges)) if wild else within


def test_the_pool_knows_the_messages_that_are_sent() -> None:
    """The strategies are made of descriptors: at least every request message of the contract must be found."""
    for method in METHODS:
        assert descriptor_pool.Default().FindMessageTypeByName(method.input_type.full_name) is method.input_type
