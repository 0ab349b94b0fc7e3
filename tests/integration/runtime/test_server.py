"""The chassis over real connections: who gets in, what is refused, how it drains."""

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from libs.errors import NotYours
from libs.runtime.client import Clients, TlsFiles, open_channel, open_channel_sync
from libs.runtime.contract import ContractIncomplete, service_descriptor
from libs.runtime.identity import Context, caller, current_call
from libs.runtime.pki import CertificateAuthority
from libs.runtime.refusals import error_info
from libs.runtime.server import AddressInUse, Chassis, ServiceParts
from libs.runtime.settings import SettingsInvalid
from libs.runtime.telemetry import RPC_SERVER_CALLS, RPC_SERVER_DURATION, RPC_SERVER_REFUSALS, configure_telemetry
from libs.testkit.echo import (
    SERVICE,
    SILENT_SERVICE,
    EarClosed,
    EchoApi,
    EchoRequest,
    EchoResponse,
    EchoSettings,
    EchoStub,
)
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server

PARTICIPANT = "citycard://participant/metro"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def certificates(tmp_path: Path) -> TestCertificates:
    return TestCertificates(tmp_path / "certificates")


async def answer(request: Any, context: Context) -> Any:
    """What the servicer does is said by the text of the request."""
    match request.text:
        case "who":
            return EchoResponse(text=caller(context).uri)
        case "trace":
            return EchoResponse(text=current_call().trace_id)
        case "closed":
            raise EarClosed(ear="left")
        case "yours":
            caller(context).must_own("bus")
        case "defect":
            raise RuntimeError("secret of the house")
        case "database":
            raise psycopg.OperationalError("server closed the connection, password=hunter2")
        case "sleep":
            await asyncio.sleep(30)
        case "slow":
            await asyncio.sleep(1)
        case "remaining":
            return EchoResponse(count=int(context.time_remaining() * 1000))
    return EchoResponse(text=request.text)


@pytest.fixture
async def server(certificates: TestCertificates) -> AsyncIterator[RunningServer]:
    parts = ServiceParts("echo", EchoApi(answer).register, (SERVICE,))
    async with running_server(parts, a_settings(certificates, EchoSettings), certificates) as running:
        yield running


async def refusal(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return error_info(refused.value)


async def test_nobody_gets_in_without_a_certificate(server: RunningServer, certificates: TestCertificates) -> None:
    ca = certificates.of(PARTICIPANT).ca.read_bytes()
    async with grpc.aio.secure_channel(server.address, grpc.ssl_channel_credentials(ca)) as channel:
        assert (await refusal(EchoStub(channel).Echo(EchoRequest(), timeout=3))).code is grpc.StatusCode.UNAVAILABLE
    async with grpc.aio.insecure_channel(server.address) as channel:
        assert (await refusal(EchoStub(channel).Echo(EchoRequest(), timeout=3))).code is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_authority_is_refused(
    server: RunningServer, certificates: TestCertificates, tmp_path: Path
) -> None:
    stranger = CertificateAuthority.create("other").issue_files(PARTICIPANT, tmp_path / "other")
    tls = TlsFiles(certificates.of(PARTICIPANT).ca, stranger.cert, stranger.key)
    async with open_channel(server.address, tls) as channel:
        assert (await refusal(EchoStub(channel).Echo(EchoRequest(), timeout=3))).code is grpc.StatusCode.UNAVAILABLE


async def test_an_expired_certificate_is_refused(
    server: RunningServer, certificates: TestCertificates, tmp_path: Path
) -> None:
    good = certificates.of(PARTICIPANT)
    cert, key = CertificateAuthority.load(good.ca.parent).issue(PARTICIPANT, days=-1).write(tmp_path, "expired")
    async with open_channel(server.address, TlsFiles(good.ca, cert, key)) as channel:
        assert (await refusal(EchoStub(channel).Echo(EchoRequest(), timeout=3))).code is grpc.StatusCode.UNAVAILABLE


async def test_a_role_that_is_not_declared_is_refused_in_every_call_shape(server: RunningServer) -> None:
    stub = EchoStub(server.channel("citycard://outlet/12"))
    calls = [
        stub.Echo(EchoRequest()),
        stub.Collect(iter([EchoRequest()])),
        anext(aiter(stub.Count(EchoRequest(text="a")))),
        anext(aiter(stub.Talk(iter([EchoRequest(text="a")])))),
    ]
    for call in calls:
        detail = await refusal(call)
        assert (detail.code, detail.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_ALLOWED")
        assert detail.facts["role"] == "outlet"
    assert "outlet" in detail.message_zh


async def test_the_caller_is_who_its_certificate_says(server: RunningServer) -> None:
    for who in (PARTICIPANT, "citycard://administrator/wang", "citycard://service/card"):
        assert (await EchoStub(server.channel(who)).Echo(EchoRequest(text="who"))).text == who


async def test_all_four_call_shapes_answer(server: RunningServer) -> None:
    stub = EchoStub(server.channel(PARTICIPANT))
    texts = [EchoRequest(text="a"), EchoRequest(text="b")]
    assert (await stub.Echo(EchoRequest(text="a"))).text == "a"
    collected = await stub.Collect(iter(texts))
    assert (collected.text, collected.count) == ("ab", 2)
    assert [one.text async for one in stub.Count(EchoRequest(text="xyz"))] == ["x", "y", "z"]
    assert [one.text async for one in stub.Talk(iter(texts))] == ["A", "B"]


@pytest.mark.parametrize("shape", ["unary_unary", "stream_unary", "unary_stream", "stream_stream"])
async def test_bytes_that_are_no_message_are_the_callers_mistake(server: RunningServer, shape: str) -> None:
    name = {"unary_unary": "Echo", "stream_unary": "Collect", "unary_stream": "Count", "stream_stream": "Talk"}[shape]
    call = getattr(server.channel(PARTICIPANT), shape)(f"/{SERVICE}/{name}")
    garbage = b"\xff\xff\xff"
    answer = call(iter([garbage])) if shape.startswith("stream") else call(garbage)
    refused = await refusal(answer if shape.endswith("unary") else answer.read())
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")


async def test_text_with_nul_is_refused_with_its_field(server: RunningServer) -> None:
    request = EchoRequest(parts=[EchoRequest(), EchoRequest(text="a\0b")])
    refused = await refusal(EchoStub(server.channel(PARTICIPANT)).Echo(request))
    assert [violation.field for violation in refused.violations] == ["parts[1].text"]


async def test_a_malformed_request_names_its_fields_and_never_reaches_the_servicer(server: RunningServer) -> None:
    stub = EchoStub(server.channel(PARTICIPANT))
    detail = await refusal(stub.Echo(EchoRequest(text="x" * 21, parts=[EchoRequest(request_id="no")])))
    assert (detail.code, detail.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")
    assert [violation.field for violation in detail.violations] == ["text", "parts[0].request_id"]


async def test_each_message_of_a_stream_is_checked(server: RunningServer) -> None:
    stub = EchoStub(server.channel(PARTICIPANT))
    detail = await refusal(stub.Collect(iter([EchoRequest(text="ok"), EchoRequest(text="x" * 21)])))
    assert (detail.reason, detail.violations[0].field) == ("REQUEST_MALFORMED", "text")


async def test_a_refusal_in_the_middle_of_a_stream_keeps_what_came_before(server: RunningServer) -> None:
    call = EchoStub(server.channel(PARTICIPANT)).Count(EchoRequest(text="ab!c"))
    assert [(await call.read()).text, (await call.read()).text] == ["a", "b"]
    assert (await refusal(call.read())).reason == "EAR_CLOSED"


async def test_refusals_carry_reason_facts_and_text(server: RunningServer) -> None:
    stub = EchoStub(server.channel(PARTICIPANT))
    closed = await refusal(stub.Echo(EchoRequest(text="closed")))
    assert (closed.code, closed.reason, closed.facts) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "EAR_CLOSED",
        {"ear": "left"},
    )
    assert closed.message_zh == "耳朵 left 已关闭"
    yours = await refusal(stub.Echo(EchoRequest(text="yours")))
    assert (yours.code, yours.reason, yours.facts) == (grpc.StatusCode.PERMISSION_DENIED, NotYours.reason, {})


async def test_a_defect_leaks_nothing(server: RunningServer) -> None:
    detail = await refusal(EchoStub(server.channel(PARTICIPANT)).Echo(EchoRequest(text="defect")))
    assert (detail.code, detail.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert len(detail.facts["trace_id"]) == 32
    assert "secret" not in f"{detail.message_en}{detail.message_zh}"


async def test_a_database_that_is_away_is_not_a_defect(server: RunningServer) -> None:
    detail = await refusal(EchoStub(server.channel(PARTICIPANT)).Echo(EchoRequest(text="database")))
    assert (detail.code, detail.reason, detail.facts) == (
        grpc.StatusCode.UNAVAILABLE,
        "DEPENDENCY_UNAVAILABLE",
        {"dependency": "database"},
    )
    assert "hunter2" not in detail.message_en


async def test_a_call_waits_as_long_as_its_method_declares(server: RunningServer) -> None:
    stub = EchoStub(server.channel(PARTICIPANT))
    declared = (await stub.Echo(EchoRequest(text="remaining"))).count
    # The transport rounds deadlines up a little.
    assert 2000 < declared < 3500
    explicit = (await stub.Echo(EchoRequest(text="remaining"), timeout=60)).count
    assert 50_000 < explicit < 61_000
    late = await refusal(stub.Echo(EchoRequest(text="sleep"), timeout=0.2))
    assert late.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_synchronous_client_has_the_same_habits(
    server: RunningServer, certificates: TestCertificates
) -> None:
    tls = certificates.of(PARTICIPANT)

    def call() -> tuple[str, int, str, list[str]]:
        with open_channel_sync(server.address, tls, server.services) as channel:
            stub = EchoStub(channel)
            who = stub.Echo(EchoRequest(text="who")).text
            remaining = stub.Echo(EchoRequest(text="remaining")).count
            streamed = [one.text for one in stub.Count(EchoRequest(text="ab"))]
            assert stub.Collect(iter([EchoRequest(text="q")])).count == 1
            with pytest.raises(grpc.RpcError) as refused:
                stub.Echo(EchoRequest(text="closed"))
            return who, remaining, error_info(refused.value).reason, streamed

    who, remaining, reason, streamed = await asyncio.to_thread(call)
    assert (who, reason, streamed) == (PARTICIPANT, "EAR_CLOSED", ["a", "b"])
    assert 2000 < remaining < 3500


async def test_the_trace_of_the_caller_goes_on(server: RunningServer) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metadata = (("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"),)
    stub = EchoStub(server.channel(PARTICIPANT))
    assert (await stub.Echo(EchoRequest(text="trace"), metadata=metadata)).text == trace_id


async def test_a_message_beyond_the_limit_is_refused(certificates: TestCertificates) -> None:
    parts = ServiceParts("echo", EchoApi().register, (SERVICE,))
    settings = a_settings(certificates, EchoSettings, message_bytes_max=1024)
    async with running_server(parts, settings, certificates) as server:
        stub = EchoStub(server.channel(PARTICIPANT))
        detail = await refusal(stub.Echo(EchoRequest(parts=[EchoRequest(text="x" * 20)] * 100)))
        assert detail.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_server_with_an_open_method_does_not_start(certificates: TestCertificates) -> None:
    parts = ServiceParts("echo", EchoApi().register, (SERVICE, SILENT_SERVICE))
    with pytest.raises(ContractIncomplete, match="Hush"):
        await Chassis(parts, a_settings(certificates, EchoSettings)).start()


async def test_a_registered_method_that_is_not_offered_is_refused_for_everybody(certificates: TestCertificates) -> None:
    parts = ServiceParts("echo", EchoApi().register, ())
    async with running_server(parts, a_settings(certificates, EchoSettings), certificates) as server:
        stub = EchoStub(server.channel("citycard://service/card"))
        assert (await refusal(stub.Echo(EchoRequest()))).reason == "ROLE_NOT_ALLOWED"


async def test_a_taken_port_is_said_and_not_shared(server: RunningServer, certificates: TestCertificates) -> None:
    parts = ServiceParts("echo", EchoApi().register, (SERVICE,))
    chassis = Chassis(parts, a_settings(certificates, EchoSettings, listen_address=server.address))
    with pytest.raises(AddressInUse, match=server.address):
        await chassis.start()
    await chassis.stop()


async def test_clients_find_their_peers_by_name(server: RunningServer, certificates: TestCertificates) -> None:
    settings = a_settings(certificates, EchoSettings, service_addresses={"card": server.address})
    clients = Clients(settings)
    channel = clients.channel("card", [service_descriptor(SERVICE)])
    assert channel is clients.channel("card", [service_descriptor(SERVICE)])
    assert (await EchoStub(channel).Echo(EchoRequest(text="who"))).text == "citycard://service/echo"
    with pytest.raises(SettingsInvalid, match="address of account"):
        clients.channel("account")
    await clients.close()


async def test_repeatable_calls_are_retried_and_others_are_not(certificates: TestCertificates) -> None:
    seen: list[str] = []

    async def flaky(request: Any, context: Context) -> Any:
        seen.append(request.text)
        if len(seen) < 3:
            raise psycopg.OperationalError("away")
        return EchoResponse(text=request.text)

    api = EchoApi(flaky)

    async def refuse(requests: Any, context: Context) -> Any:
        seen.append("collect")
        raise psycopg.OperationalError("away")

    api.collect = refuse  # type: ignore[method-assign]  # one method of the fake answers otherwise
    parts = ServiceParts("echo", api.register, (SERVICE,))
    async with running_server(parts, a_settings(certificates, EchoSettings), certificates) as server:
        stub = EchoStub(server.channel(PARTICIPANT))
        assert (await stub.Echo(EchoRequest(text="a"))).text == "a"
        assert seen == ["a", "a", "a"]
        seen.clear()
        assert (await refusal(stub.Collect(iter([])))).reason == "DEPENDENCY_UNAVAILABLE"
        assert seen == ["collect"]


async def check(channel: Any, name: str) -> Any:
    return (
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=3)
    ).status


async def test_readiness_follows_the_parts_and_liveness_follows_nothing(certificates: TestCertificates) -> None:
    able = asyncio.Event()
    crash = asyncio.Event()

    async def ready() -> None:
        if not able.is_set():
            raise psycopg.OperationalError("away")

    async def loop() -> None:
        await crash.wait()
        raise RuntimeError("loop")

    parts = ServiceParts("echo", EchoApi().register, (SERVICE,), [("loop", loop)], ready)
    settings = a_settings(certificates, EchoSettings, health_address="127.0.0.1:0")
    async with (
        running_server(parts, settings, certificates) as server,
        grpc.aio.insecure_channel(server.chassis.health_address) as plain,
    ):
        for channel in (plain, server.channel(PARTICIPANT)):
            assert [await check(channel, name) for name in ("", "readiness", SERVICE)] == [NOT_SERVING] * 3
            assert await check(channel, "liveness") == SERVING
        able.set()
        await asyncio.sleep(0.3)
        assert [await check(plain, name) for name in ("", "readiness", SERVICE)] == [SERVING] * 3
        crash.set()
        await asyncio.sleep(0.3)
        assert await check(plain, "readiness") == NOT_SERVING
        assert await check(plain, "liveness") == SERVING


async def test_the_plaintext_port_offers_health_and_nothing_else(certificates: TestCertificates) -> None:
    parts = ServiceParts("echo", EchoApi().register, (SERVICE,))
    settings = a_settings(certificates, EchoSettings, health_address="127.0.0.1:0")
    async with (
        running_server(parts, settings, certificates) as server,
        grpc.aio.insecure_channel(server.chassis.health_address) as plain,
    ):
        detail = await refusal(EchoStub(plain).Echo(EchoRequest(), timeout=3))
        assert detail.code is grpc.StatusCode.UNIMPLEMENTED


async def test_reflection_tells_the_contract_to_certificate_holders(
    server: RunningServer, certificates: TestCertificates
) -> None:
    buf = shutil.which("buf", path=str(Path(sys.executable).parent)) or shutil.which("buf")
    if buf is None:
        pytest.skip("buf is not installed")
    tls = certificates.of(PARTICIPANT)

    async def curl(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            buf, "curl", "--protocol", "grpc", "--cacert", str(tls.ca), *arguments,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    who = ("--cert", str(tls.cert), "--key", str(tls.key))
    status, out, err = await curl(*who, "-d", '{"text": "who"}', f"https://{server.address}/{SERVICE}/Echo")
    assert (status, err) == (0, "")
    assert json.loads(out) == {"text": PARTICIPANT}
    status, out, err = await curl("-d", '{"text": "who"}', f"https://{server.address}/{SERVICE}/Echo")
    assert status != 0
    assert out == ""


async def test_draining_lets_calls_end_and_refuses_new_ones(certificates: TestCertificates) -> None:
    order: list[str] = []

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            order.append("loop")

    async def close() -> None:
        order.append("close")

    parts = ServiceParts("echo", EchoApi(answer).register, (SERVICE,), [("loop", loop)], close=close)
    chassis = Chassis(parts, a_settings(certificates, EchoSettings))
    await chassis.start()
    async with open_channel(chassis.address, certificates.of(PARTICIPANT)) as channel:
        flying = asyncio.ensure_future(EchoStub(channel).Echo(EchoRequest(text="slow")))
        await asyncio.sleep(0.3)
        stopping = asyncio.create_task(chassis.stop())
        await asyncio.sleep(0.1)
        assert not chassis.health.serving
        assert order == []
        assert (await flying).text == "slow"
        await stopping
    assert order == ["loop", "close"]


PROGRAM = """
import asyncio, sys
from libs.runtime.program import main
from libs.runtime.server import ServiceParts
from libs.runtime.settings import load_settings
from libs.testkit.echo import SERVICE, EchoApi, EchoResponse, EchoSettings

async def answer(request, context):
    await asyncio.sleep(1)
    return EchoResponse(text=request.text)

async def build(settings):
    return ServiceParts("echo", EchoApi(answer).register, (SERVICE,))

sys.exit(main("echo", lambda: load_settings(EchoSettings), build))
"""


def environment(certificates: TestCertificates, **more: str) -> dict[str, str]:
    tls = certificates.of("citycard://service/echo")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("CITYCARD_")},
        "CITYCARD_TLS_CA_FILE": str(tls.ca),
        "CITYCARD_TLS_CERT_FILE": str(tls.cert),
        "CITYCARD_TLS_KEY_FILE": str(tls.key),
        "CITYCARD_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "CITYCARD_NATS_URL": "nats://127.0.0.1:1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **more,
    }


def content_when_there(path: Path) -> str:
    until = time.monotonic() + 15
    while not path.exists():
        assert time.monotonic() < until, f"{path} does not come"
        time.sleep(0.02)
    return path.read_text().strip()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_sigterm_drains_a_process_and_it_ends_well(certificates: TestCertificates, tmp_path: Path) -> None:
    address_file = tmp_path / "address"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "serve",
        env=environment(certificates, CITYCARD_ADDRESS_FILE=str(address_file)), stderr=subprocess.PIPE,
    )  # fmt: skip
    address = await asyncio.to_thread(content_when_there, address_file)
    async with open_channel(address, certificates.of(PARTICIPANT)) as channel:
        stub = EchoStub(channel)
        assert (await stub.Echo(EchoRequest(text="warm"))).text == "warm"
        memory = resident_bytes(process.pid)
        flying = asyncio.ensure_future(stub.Echo(EchoRequest(text="slow")))
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert (await flying).text == "slow"
    _, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in err.decode().splitlines()]
    assert [event for event in events if event.startswith("server.")] == [
        "server.started",
        "server.draining",
        "server.stopped",
    ]
    assert events.index("server.draining") < len(events) - 1 - events[::-1].index("rpc.answered")
    assert not address_file.exists()
    logging.getLogger(__name__).info("idle memory %d bytes", memory)
    assert memory < 120 * 1024 * 1024


async def test_relay_runs_the_loops_and_answers_no_calls(certificates: TestCertificates, tmp_path: Path) -> None:
    loop = "async def loop():\n    print('looping', end='', flush=True)\n    await asyncio.sleep(60)\n\n"
    program = PROGRAM.replace("(SERVICE,))", '(SERVICE,), [("loop", loop)])')
    program = program.replace("async def build", loop + "async def build")
    address_file = tmp_path / "address"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, "relay",
        env=environment(certificates, CITYCARD_ADDRESS_FILE=str(address_file)),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readexactly(7), 20) == b"looping"
    process.send_signal(signal.SIGTERM)
    _, err = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    started = next(line for line in map(json.loads, err.decode().splitlines()) if line["event"] == "server.started")
    assert started["address"] is None
    assert not address_file.exists()


async def test_calls_and_refusals_are_counted_by_their_declared_names(certificates: TestCertificates) -> None:
    reader = InMemoryMetricReader()
    configure_telemetry("echo", reader=reader)
    parts = ServiceParts("echo", EchoApi(answer).register, (SERVICE,))
    async with running_server(parts, a_settings(certificates, EchoSettings), certificates) as server:
        stub = EchoStub(server.channel(PARTICIPANT))
        await stub.Echo(EchoRequest(text="a"))
        for _ in range(2):
            await refusal(stub.Echo(EchoRequest(text="closed")))
    data = reader.get_metrics_data()
    assert data is not None
    metrics = {one.name: one for one in data.resource_metrics[0].scope_metrics[0].metrics}
    method = f"{SERVICE}/Echo"
    refused = {point.attributes["reason"]: point.value for point in metrics[RPC_SERVER_REFUSALS].data.data_points}
    assert refused == {"EAR_CLOSED": 2}
    calls = {point.attributes["status"]: point.value for point in metrics[RPC_SERVER_CALLS].data.data_points}
    assert calls == {"OK": 1, "FAILED_PRECONDITION": 2}
    (duration,) = metrics[RPC_SERVER_DURATION].data.data_points
    assert (duration.attributes["method"], duration.count) == (method, 3)


async def test_a_process_with_mistaken_settings_says_all_of_them_and_ends(certificates: TestCertificates) -> None:
    wrong = {"CITYCARD_NATS_URL": "", "CITYCARD_LISTEN_ADDRESS": "x", "CITYCARD_DRAIN_TIMEOUT_S": "soon"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, "serve",
        env=environment(certificates, **wrong),
        stderr=subprocess.PIPE,
    )  # fmt: skip
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 2
    for name in ("NATS_URL", "LISTEN_ADDRESS", "DRAIN_TIMEOUT_S"):
        assert f"CITYCARD_{name}: " in err.decode()


async def test_a_taken_port_ends_the_process(certificates: TestCertificates) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, "serve",
            env=environment(certificates, CITYCARD_LISTEN_ADDRESS=address), stderr=subprocess.PIPE,
        )  # fmt: skip
        _, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert f"cannot listen on {address}" in err.decode()
