"""Terminals, sign-ins, the clock and the blacklist's way down, through a real gateway."""

import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from citycard.blacklist.v1 import (
    blacklist_pb2,
    error_reason_pb2,  # noqa: F401 (the texts of the stand-in's refusals)
)
from citycard.blacklist.v1 import blacklist_service_pb2 as blacklist_pb
from citycard.blacklist.v1 import blacklist_service_pb2_grpc as blacklist_grpc
from citycard.blacklist.v1 import events_pb2 as blacklist_events_pb
from citycard.terminal_gw.v1 import events_pb2
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service_pb

from libs.errors import NotFound
from libs.runtime.events import event_headers
from libs.runtime.refusals import error_info
from libs.runtime.server import ServiceParts
from libs.testkit.server import TestCertificates, a_settings, running_server
from services.terminal_gw.settings import TerminalGatewaySettings
from tests.integration.terminal_gw.conftest import BUS_COLLECTOR, METRO_COLLECTOR, Gateway, Running, a_spec, until

if TYPE_CHECKING:
    from city.servers import LocalServers

TERMINAL = "citycard://terminal/metro/020100000000"


async def refusal(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return error_info(refused.value)


async def sign_in(gateway: Gateway, as_: str = TERMINAL, **changed: Any) -> Any:
    ahead = changed.pop("ahead", timedelta(0))
    values: dict[str, Any] = {"terminal_number": "020100000000", "psam_number": "0" * 20, "blacklist_version": 3}
    request = service_pb.SignInRequest(**(values | changed))
    request.clock_time.FromDatetime(datetime.now(UTC) + ahead)
    return await gateway.stub(as_).SignIn(request)


class TestRegistration:
    async def test_a_participant_registers_its_own_only(self, gateway: Gateway) -> None:
        refused = await refusal(gateway.register(as_="citycard://participant/bus"))
        assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_YOURS")
        assert (await gateway.register(as_="citycard://participant/metro")).registered_count == 1

    async def test_all_or_none(self, gateway: Gateway) -> None:
        await gateway.register(3)
        for changed, reason, facts in (
            ({"industry_code": "0002"}, "TERMINAL_EXISTS", {"terminal": "020100000000"}),
            ({"psam_number": "9" * 20}, "TERMINAL_EXISTS", {"terminal": "020100000000"}),
            ({"terminal_number": "029900000000"}, "PSAM_IN_USE", {"psam": "0" * 20, "terminal": "020100000000"}),
        ):
            request = service_pb.BatchRegisterTerminalsRequest(
                request_id=str(uuid.uuid4()),
                participant="participants/metro",
                terminals=[a_spec(50), a_spec(0, **changed)],
            )
            refused = await refusal(gateway.stub().BatchRegisterTerminals(request))
            assert (refused.code, refused.reason) == (grpc.StatusCode.ALREADY_EXISTS, reason)
            assert refused.facts == facts
        page = await gateway.stub().ListTerminals(service_pb.ListTerminalsRequest())
        assert len(page.terminals) == 3
        assert (await refusal(gateway.register(1, "bus"))).reason == "TERMINAL_EXISTS"

    async def test_one_request_that_contradicts_itself(self, gateway: Gateway) -> None:
        for changed, reason in (
            ({"terminal_number": "020100000001"}, "TERMINAL_EXISTS"),
            ({"psam_number": "1".zfill(20)}, "PSAM_IN_USE"),
        ):
            request = service_pb.BatchRegisterTerminalsRequest(
                request_id=str(uuid.uuid4()),
                participant="participants/metro",
                terminals=[a_spec(1), a_spec(2, **changed)],
            )
            assert (await refusal(gateway.stub().BatchRegisterTerminals(request))).reason == reason

    async def test_the_same_facts_again_are_counted_and_a_repeated_request_is_answered_as_first(
        self, gateway: Gateway
    ) -> None:
        request_id = str(uuid.uuid4())
        first = await gateway.register(3, request_id=request_id)
        assert await gateway.register(3, request_id=request_id) == first
        assert (await refusal(gateway.register(4, request_id=request_id))).reason == "REQUEST_ID_REUSED"
        second = await gateway.register(5)
        assert (second.registered_count, second.known_count) == (2, 3)

    async def test_ten_thousand_at_once_are_told_in_events_of_bounded_size(self, gateway: Gateway) -> None:
        heard = await gateway.js.subscribe("citycard.terminal_gw.v1.TerminalsRegistered")
        began = time.perf_counter()
        done = await gateway.register(10_000)
        took_s = time.perf_counter() - began
        assert (done.registered_count, done.known_count) == (10_000, 0)
        numbers: set[str] = set()
        for _ in range(5):
            event = events_pb2.TerminalsRegistered.FromString((await heard.next_msg(timeout=10)).data)
            assert len(event.terminals) == 2_000
            numbers |= {terminal.name for terminal in event.terminals}
        assert len(numbers) == 10_000
        # Alone on the machine it is below a second; this bound only tells a statement per terminal.
        assert took_s < 5

    async def test_a_participant_sees_its_own_only(self, gateway: Gateway) -> None:
        await gateway.register(5)
        await gateway.register(1, "bus", terminal_number="020300000000", psam_number="8" * 20)
        metro = gateway.stub("citycard://participant/metro")
        hidden = service_pb.GetTerminalRequest(name="terminals/020300000000")
        assert (await refusal(metro.GetTerminal(hidden))).reason == "TERMINAL_UNKNOWN"
        assert (await gateway.stub().GetTerminal(hidden)).participant == "participants/bus"
        names, token = [], ""
        while True:
            page = await metro.ListTerminals(service_pb.ListTerminalsRequest(page_size=2, page_token=token))
            names += [terminal.name for terminal in page.terminals]
            token = page.next_page_token
            if not token:
                break
        assert names == [f"terminals/0201{number:08d}" for number in range(5)]
        other = await metro.ListTerminals(service_pb.ListTerminalsRequest(participant="participants/bus"))
        assert len(other.terminals) == 0


class TestSignIn:
    async def test_refusals_come_in_the_order_of_the_contract(self, gateway: Gateway) -> None:
        refused = await refusal(sign_in(gateway, "citycard://terminal/bus/020300000000"))
        assert refused.reason == "TERMINAL_UNKNOWN"
        await gateway.register(2)
        assert (await refusal(sign_in(gateway, BUS_COLLECTOR, psam_number="7" * 20))).reason == "NOT_YOURS"
        another = "citycard://terminal/metro/020100000001"
        assert (await refusal(sign_in(gateway, another))).reason == "NOT_YOURS"
        revoke = service_pb.RevokePsamRequest(request_id=str(uuid.uuid4()), terminal="terminals/020100000000")
        await gateway.stub().RevokePsam(revoke)
        assert (await refusal(sign_in(gateway, psam_number="7" * 20))).reason == "PSAM_MISMATCH"
        refused = await refusal(sign_in(gateway))
        assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PSAM_REVOKED")

    async def test_a_terminal_must_say_its_number_and_everybody_its_clock(self, gateway: Gateway) -> None:
        assert (await refusal(sign_in(gateway, terminal_number=""))).violations[0].field == "terminal_number"
        silent = service_pb.SignInRequest(terminal_number="020100000000")
        refused = await refusal(gateway.stub(TERMINAL).SignIn(silent))
        assert (refused.reason, refused.violations[0].field) == ("REQUEST_MALFORMED", "clock_time")

    @pytest.mark.parametrize(
        ("ahead", "action"),
        [
            (timedelta(0), service_pb.CLOCK_ACTION_KEEP),
            (timedelta(seconds=30), service_pb.CLOCK_ACTION_SET),
            (timedelta(seconds=-30), service_pb.CLOCK_ACTION_SET),
            (timedelta(seconds=-500), service_pb.CLOCK_ACTION_SET_AND_ALARM),
        ],
    )
    async def test_a_clock_is_left_set_or_alarmed(self, gateway: Gateway, ahead: timedelta, action: int) -> None:
        await gateway.register()
        answer = await sign_in(gateway, ahead=ahead)
        assert answer.clock_action == action
        assert abs(answer.clock_ahead_ms - ahead / timedelta(milliseconds=1)) < 1000
        assert abs(answer.centre_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)) < timedelta(seconds=2)
        assert (answer.upload_bytes_max, answer.chunk_bytes_max) == (64 * 1024 * 1024, 1024 * 1024)

    async def test_a_collector_signs_in_for_itself_and_for_its_terminals(self, gateway: Gateway) -> None:
        await gateway.register()
        await sign_in(gateway, METRO_COLLECTOR, terminal_number="", psam_number="")
        request = service_pb.GetTerminalRequest(name="terminals/020100000000")
        assert not (await gateway.stub().GetTerminal(request)).HasField("sign_in_time")
        await sign_in(gateway, METRO_COLLECTOR)
        assert (await gateway.stub().GetTerminal(request)).HasField("sign_in_time")

    async def test_the_centres_clock_is_told(self, gateway: Gateway) -> None:
        answer = await gateway.stub(TERMINAL).GetClock(service_pb.GetClockRequest())
        assert abs(answer.centre_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)) < timedelta(seconds=2)


class TestRevocation:
    async def test_an_earlier_revocation_stands_and_is_told_once(self, gateway: Gateway) -> None:
        await gateway.register()
        heard = await gateway.js.subscribe("citycard.terminal_gw.v1.PsamRevoked")
        noon = datetime(2018, 9, 1, 4, 0, tzinfo=UTC)

        async def revoke(at: datetime) -> datetime:
            request = service_pb.RevokePsamRequest(request_id=str(uuid.uuid4()), terminal="terminals/020100000000")
            request.revoke_time.FromDatetime(at)
            terminal = await gateway.stub().RevokePsam(request)
            return terminal.psam_revoke_time.ToDatetime(tzinfo=UTC)

        assert await revoke(noon) == noon
        assert await revoke(noon + timedelta(days=1)) == noon
        assert await revoke(noon - timedelta(days=1)) == noon - timedelta(days=1)
        events = [events_pb2.PsamRevoked.FromString((await heard.next_msg(timeout=10)).data) for _ in range(2)]
        assert [event.revoke_time.ToDatetime(tzinfo=UTC) for event in events] == [noon, noon - timedelta(days=1)]
        unknown = service_pb.RevokePsamRequest(request_id=str(uuid.uuid4()), terminal="terminals/020199999999")
        assert (await refusal(gateway.stub().RevokePsam(unknown))).reason == "TERMINAL_UNKNOWN"


class VersionUnknown(NotFound):
    """What the real blacklist refuses with."""

    reason = "VERSION_UNKNOWN"


class FakeBlacklist(blacklist_grpc.BlacklistServiceServicer):
    """A blacklist that knows version 7 and deltas from 5 on."""

    async def GetVersion(self, request: Any, context: Any) -> Any:
        return blacklist_pb2.ListVersion(version=7)

    async def GetSnapshot(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for part in (b"who", b"le"):
            yield blacklist_pb.ListFilePart(version=7, data=part)

    async def GetDelta(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if request.base_version < 5:
            raise VersionUnknown(version=request.base_version)
        if request.base_version < 7:
            yield blacklist_pb.ListFilePart(version=7, data=b"delta")


async def download(gateway: Gateway, base_version: int) -> bytes:
    request = service_pb.DownloadBlacklistRequest(base_version=base_version)
    parts = [part async for part in gateway.stub(TERMINAL).DownloadBlacklist(request)]
    assert {part.version for part in parts} <= {7}
    return b"".join(part.data for part in parts)


async def test_the_list_comes_down_as_delta_or_whole_and_its_version_is_asked_for(
    running: Running, tmp_path: Path
) -> None:
    certificates = TestCertificates(tmp_path)
    settings = a_settings(certificates, TerminalGatewaySettings)
    parts = ServiceParts(
        name="blacklist",
        register=lambda server: blacklist_grpc.add_BlacklistServiceServicer_to_server(FakeBlacklist(), server),
        service_names=("citycard.blacklist.v1.BlacklistService",),
    )
    async with (
        running_server(parts, settings, certificates) as blacklist,
        running(service_addresses={"blacklist": blacklist.address}) as gateway,
    ):
        assert await download(gateway, 0) == b"whole"
        assert await download(gateway, 6) == b"delta"
        assert await download(gateway, 7) == b""
        assert await download(gateway, 2) == b"whole"
        await gateway.register()

        async def asked() -> bool:
            return bool((await sign_in(gateway)).blacklist_version == 7)

        await until(asked)


async def test_without_a_blacklist_sign_in_goes_on_and_downloads_say_who_is_away(
    gateway: Gateway, servers: "LocalServers"
) -> None:
    await gateway.register()
    assert (await sign_in(gateway)).blacklist_version == 0
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await download(gateway, 0)
    detail = error_info(refused.value)
    assert (detail.reason, detail.facts) == ("DEPENDENCY_UNAVAILABLE", {"dependency": "blacklist"})


async def test_versions_heard_in_any_order_leave_the_newest(gateway: Gateway) -> None:
    await gateway.register()
    for version in (4, 9, 8):
        event = blacklist_events_pb.BlacklistChanged(version=version)
        subject = event.DESCRIPTOR.full_name
        headers = event_headers(uuid.uuid4(), subject, "blacklist", datetime.now(UTC), "")
        await gateway.js.publish(subject, event.SerializeToString(), headers=headers)

    async def heard() -> bool:
        return bool((await sign_in(gateway)).blacklist_version == 9)

    await until(heard)
