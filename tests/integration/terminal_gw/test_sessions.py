"""Sessions through a real gateway: the ugly half first."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from citycard.terminal_gw.v1 import command_pb2, device_pb2, events_pb2
from citycard.terminal_gw.v1 import session_service_pb2 as session_pb
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service_pb
from citycard.terminal_gw.v1.session_service_pb2_grpc import SessionServiceStub
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.runtime.refusals import error_info
from tests.integration.terminal_gw.conftest import METRO_COLLECTOR, Gateway, Running, a_chunk_each, until
from tests.unit.terminal_gw.files import a_file, chunks_of

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls

TERMINAL = "citycard://terminal/metro/020100000000"
SECOND = "citycard://terminal/metro/020100000001"


def a_sign_in(number: int = 0, **changed: Any) -> service_pb.SignInRequest:
    values: dict[str, Any] = {"terminal_number": f"0201{number:08d}", "psam_number": f"{number:020d}"}
    ahead = changed.pop("ahead", timedelta(0))
    request = service_pb.SignInRequest(**(values | changed))
    request.clock_time.FromDatetime(datetime.now(UTC) + ahead)
    return request


class Line:
    """A terminal's side of a session."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def say(self, **kind: Any) -> None:
        await self.call.write(session_pb.SessionRequest(**kind))

    async def hello(self, number: int = 0, **changed: Any) -> session_pb.Welcome:
        await self.say(hello=session_pb.Hello(sign_in=a_sign_in(number, **changed)))
        return (await self.hear("welcome")).welcome

    async def hear(self, kind: str, within_s: float = 10.0) -> session_pb.SessionResponse:
        """The next message of a kind; others on the way are passed over."""
        async with asyncio.timeout(within_s):
            while True:
                message = await self.call.read()
                if message is grpc.aio.EOF:
                    raise AssertionError(f"the session ended: {await self.call.code()} {await self.call.details()}")
                if message.WhichOneof("kind") == kind:
                    return message

    async def ended(self, within_s: float = 10.0) -> Any:
        """Why it ended."""
        async with asyncio.timeout(within_s):
            try:
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            except grpc.aio.AioRpcError as error:
                return error_info(error)
            code = await self.call.code()
        if code is grpc.StatusCode.OK:
            return None
        error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), await self.call.trailing_metadata(),
                                     await self.call.details())  # fmt: skip
        return error_info(error)


@asynccontextmanager
async def a_line(gateway: Gateway, as_: str = TERMINAL) -> AsyncIterator[Line]:
    line = Line(gateway.sessions(as_).Session())
    try:
        yield line
    finally:
        line.call.cancel()


@pytest.fixture
async def registered(gateway: Gateway) -> Gateway:
    await gateway.register(3)
    return gateway


async def states(gateway: Gateway) -> dict[str, Any]:
    answer = await gateway.sessions().ListTerminalStates(session_pb.ListTerminalStatesRequest())
    return {one.terminal.removeprefix("terminals/"): one for one in answer.states}


async def issue(gateway: Gateway, as_: str = "citycard://administrator/test", **changed: Any) -> Any:
    values: dict[str, Any] = {
        "request_id": str(uuid.uuid4()),
        "terminals": ["terminals/020100000000"],
        "body": command_pb2.CommandBody(open_gate=command_pb2.OpenGate(seconds=5)),
    }
    return await gateway.sessions(as_).BatchIssueCommands(session_pb.BatchIssueCommandsRequest(**(values | changed)))


async def commands(gateway: Gateway) -> list[Any]:
    return list((await gateway.sessions().ListCommands(session_pb.ListCommandsRequest())).commands)


A_MESSAGE = st.one_of(
    st.builds(
        lambda mode, version: session_pb.SessionRequest(
            heartbeat=session_pb.Heartbeat(mode=mode, blacklist_version=version)
        ),
        st.integers(-1, 12),
        st.integers(-5, 2**63 - 1),
    ),
    st.builds(
        lambda number, code, severity: session_pb.SessionRequest(
            events=session_pb.DeviceEvents(
                events=[session_pb.DeviceEvent(event_seq=number, code=code, severity=severity)]
            )
        ),
        st.integers(-1, 2**63 - 1),
        st.sampled_from(["A", "DOOR_OPENED", "bad", ""]),
        st.integers(0, 5),
    ),
    st.builds(
        lambda name, state: session_pb.SessionRequest(answer=command_pb2.CommandAnswer(command=name, state=state)),
        st.sampled_from(["terminals/020100000000/commands/1", "terminals/020100000000/commands/999999999999999999",
                         "terminals/020100000001/commands/1", "x", ""]),
        st.integers(0, 9),
    ),
    st.builds(
        lambda kind, version: session_pb.SessionRequest(
            packs=session_pb.PackReports(packs=[device_pb2.PackReport(kind=kind, version=version)])
        ),
        st.integers(0, 7),
        st.integers(-1, 2**62),
    ),
)  # fmt: skip


def events(*numbers: int, code: str = "DOOR_OPENED") -> session_pb.DeviceEvents:
    return session_pb.DeviceEvents(events=[session_pb.DeviceEvent(event_seq=one, code=code) for one in numbers])


class TestRefused:
    async def test_a_session_begins_with_a_hello(self, registered: Gateway) -> None:
        async with a_line(registered) as line:
            await line.say(heartbeat=session_pb.Heartbeat())
            refused = await line.ended()
        assert (refused.reason, refused.facts) == ("SESSION_ORDER", {"expected": "hello", "found": "heartbeat"})
        async with a_line(registered) as line:
            await line.hello()
            await line.say(hello=session_pb.Hello(sign_in=a_sign_in()))
            assert (await line.ended()).reason == "SESSION_ORDER"

    async def test_another_terminal_another_psam_another_machine_and_a_pairing_that_is_over(
        self, gateway: Gateway
    ) -> None:
        await gateway.register(2)
        await gateway.register(1, psam_number="9" * 20, terminal_number="020100000009",
                               pair_until_time=datetime.now(UTC) + timedelta(seconds=1))  # fmt: skip
        ended = "citycard://terminal/metro/020100000009"
        for as_, changed, reason in (
            (TERMINAL, {"number": 1}, "NOT_YOURS"),
            (TERMINAL, {"psam_number": "1".zfill(20)}, "PSAM_MISMATCH"),
            (TERMINAL, {"device_number": 77}, "DEVICE_MISMATCH"),
            (ended, {"terminal_number": "020100000009", "psam_number": "9" * 20}, "PAIRING_NOT_VALID"),
            ("citycard://terminal/metro/020100000099", {"terminal_number": "020100000099"}, "TERMINAL_UNKNOWN"),
        ):
            if as_ == ended:
                await asyncio.sleep(1.0)
            async with a_line(gateway, as_) as line:
                await line.say(hello=session_pb.Hello(sign_in=a_sign_in(changed.pop("number", 0), **changed)))
                assert (await line.ended()).reason == reason

    async def test_a_message_that_breaks_the_schema_or_is_too_large_ends_only_its_own_session(
        self, registered: Gateway
    ) -> None:
        async with a_line(registered) as line, a_line(registered, SECOND) as other:
            await line.hello()
            await other.hello(1)
            await line.say(events=events(1, code="not a code"))
            assert (await line.ended()).reason == "REQUEST_MALFORMED"
            await other.say(
                events=session_pb.DeviceEvents(
                    events=[session_pb.DeviceEvent(event_seq=1 + n, code="LOG", detail="x" * 500) for n in range(200)]
                )
            )
            refused = await other.ended()
            assert (refused.code, refused.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
        async with a_line(registered) as line:
            assert (await line.hello()).event_seq_stored == 0

    async def test_beyond_the_configured_number_a_session_is_refused_by_name(self, running: Running) -> None:
        async with running(sessions_max=2) as gateway:
            await gateway.register(3)
            async with a_line(gateway) as one, a_line(gateway, SECOND) as two:
                await one.hello()
                await two.hello(1)
                async with a_line(gateway, "citycard://terminal/metro/020100000002") as three:
                    refused = await three.ended()
                assert (refused.reason, refused.facts) == ("LIMIT_REACHED", {"limit": "sessions"})
                await one.say(heartbeat=session_pb.Heartbeat())
                await one.hear("pulse")
                two.call.cancel()

                async def there_is_room() -> bool:
                    async with a_line(gateway, "citycard://terminal/metro/020100000002") as three:
                        try:
                            return bool((await three.hello(2)).session_id)
                        except grpc.aio.AioRpcError:
                            return False

                await until(there_is_room)

    async def test_a_terminal_that_says_nothing_is_ended(self, running: Running) -> None:
        async with running(session_heartbeat_s=1) as gateway:
            await gateway.register()
            async with a_line(gateway) as line:
                assert (await line.hello()).heartbeat_s == 1
                closing = await line.hear("closing")
                assert closing.closing.reason == "SESSION_SILENT"
                assert (await line.ended()).reason == "SESSION_SILENT"

    async def test_a_terminal_that_reads_nothing_is_dropped_and_named(self, running: Running) -> None:
        async with running(session_write_timeout_s=1.0) as gateway:
            await gateway.register(2)
            # A device with little memory: what it does not read stays at the gateway.
            channel = grpc.aio.secure_channel(
                gateway.server.address,
                gateway.certificates.of(TERMINAL).credentials(),
                options=[("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)],
            )
            deaf = Line(SessionServiceStub(channel).Session())  # type: ignore[no-untyped-call]  # stubs are untyped
            async with a_line(gateway, SECOND) as other:
                await deaf.hello()
                await other.hello(1)
                body = command_pb2.CommandBody(notice=command_pb2.Notice(text_zh="停" * 200, text_en="s" * 200))
                for _ in range(10):
                    await issue(gateway, body=body)

                async def dropped() -> bool:
                    return not (await states(gateway))["020100000000"].connected

                await until(dropped)
                await other.say(heartbeat=session_pb.Heartbeat())
                await other.hear("pulse")
                assert (await deaf.ended()).reason == "SLOW_READER"
            await channel.close()

    async def test_a_revoked_certificate_ends_session_and_upload_in_the_middle(self, registered: Gateway) -> None:
        certificate = x509.load_pem_x509_certificate(registered.certificates.of(TERMINAL).cert.read_bytes())
        data = a_file(5_000)
        messages = [registered.start(data, TERMINAL), *a_chunk_each(chunks_of(data, 64 * 1024))]
        async with a_line(registered) as line:
            await line.hello()
            upload = registered.stub(TERMINAL).UploadBatch()
            for message in messages[:4]:
                await upload.write(message)
            revoked = await registered.sessions().RevokeCertificate(
                session_pb.RevokeCertificateRequest(fingerprint=certificate.fingerprint(hashes.SHA256()), reason="lost")
            )
            assert revoked.reason == "lost"
            assert (await line.ended()).reason == "CERTIFICATE_REVOKED"

            async def go_on() -> None:
                await upload.write(messages[4])
                await upload

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await go_on()
            assert error_info(refused.value).reason == "CERTIFICATE_REVOKED"
        async with a_line(registered) as line:
            assert (await line.ended()).reason == "CERTIFICATE_REVOKED"
        async with a_line(registered, SECOND) as line:
            await line.hello(1)

    async def test_a_revoked_name_and_a_revoked_psam_end_sessions(self, registered: Gateway) -> None:
        async with a_line(registered) as line, a_line(registered, SECOND) as second:
            await line.hello()
            await second.hello(1)
            await registered.sessions().RevokeCertificate(session_pb.RevokeCertificateRequest(subject=TERMINAL))
            assert (await line.ended()).reason == "CERTIFICATE_REVOKED"
            await registered.stub().RevokePsam(
                service_pb.RevokePsamRequest(request_id=str(uuid.uuid4()), terminal="terminals/020100000001")
            )
            assert (await second.ended()).reason == "PSAM_REVOKED"

    async def test_garbage_on_the_wire_ends_its_own_call_and_nothing_else(self, registered: Gateway) -> None:
        channel = registered.server.channel(TERMINAL)
        async with a_line(registered, SECOND) as other:
            await other.hello(1)
            for size in (1, 100, 60_000, 5 * 1024 * 1024):
                call = channel.stream_stream(
                    "/citycard.terminal_gw.v1.SessionService/Session",
                    request_serializer=lambda data: data,
                    response_deserializer=lambda data: data,
                )()
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await call.write(b"\xff" + os.urandom(size))
                    while await call.read() is not grpc.aio.EOF:
                        pass
                assert await call.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
            await other.say(heartbeat=session_pb.Heartbeat())
            await other.hear("pulse")

    async def test_any_frames_after_the_hello_are_taken_or_refused_by_name(self, registered: Gateway) -> None:
        """Hypothesis makes the frames; each list of them is one session of a real gateway."""
        reasons: set[str] = set()
        examples: list[list[bytes]] = []

        @settings(max_examples=60, deadline=None, database=None)
        @given(st.lists(st.one_of(st.binary(max_size=300), A_MESSAGE.map(lambda one: one.SerializeToString())),
                        min_size=1, max_size=6))  # fmt: skip
        def collect(frames: list[bytes]) -> None:
            examples.append(frames)

        await asyncio.to_thread(collect)
        hello = session_pb.SessionRequest(hello=session_pb.Hello(sign_in=a_sign_in())).SerializeToString()
        channel = registered.server.channel(TERMINAL)
        for frames in examples:
            call = channel.stream_stream(
                "/citycard.terminal_gw.v1.SessionService/Session",
                request_serializer=lambda data: data,
                response_deserializer=session_pb.SessionResponse.FromString,
            )()
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                for frame in [hello, *frames]:
                    await call.write(frame)
                await call.done_writing()
                while await call.read() is not grpc.aio.EOF:
                    pass
            code = await call.code()
            error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), await call.trailing_metadata())
            reasons.add(error_info(error).reason if code is not grpc.StatusCode.OK else "OK")
        assert reasons <= {"OK", "REQUEST_MALFORMED", "SESSION_ORDER", "COMMAND_UNKNOWN"}, reasons
        async with a_line(registered) as line:
            await line.hello()


class TestOne:
    async def test_the_newer_session_wins_and_the_older_is_told(self, registered: Gateway) -> None:
        async with a_line(registered) as older, a_line(registered) as newer:
            first = await older.hello()
            second = await newer.hello()
            assert first.session_id != second.session_id
            assert (await older.hear("closing")).closing.reason == "SESSION_REPLACED"
            refused = await older.ended()
            assert (refused.code, refused.reason) == (grpc.StatusCode.ABORTED, "SESSION_REPLACED")
            await newer.say(heartbeat=session_pb.Heartbeat())
            await newer.hear("pulse")

    async def test_also_when_the_newer_one_reaches_another_gateway(self, running: Running) -> None:
        async with running() as here, running() as there:
            await here.register()
            async with a_line(here) as older:
                await older.hello()
                async with a_line(there) as newer:
                    await newer.hello()
                    assert (await older.ended()).reason == "SESSION_REPLACED"
                    assert (await states(here))["020100000000"].connected

    async def test_hanging_up_is_no_error_and_the_terminal_is_not_connected_any_more(self, registered: Gateway) -> None:
        async with a_line(registered) as line:
            await line.hello()
            assert (await states(registered))["020100000000"].connected
            await line.call.done_writing()
            assert await line.ended() is None

        async def gone() -> bool:
            return not (await states(registered))["020100000000"].connected

        await until(gone)


class TestReports:
    async def test_events_are_stored_once_and_a_new_session_goes_on_behind_them(self, registered: Gateway) -> None:
        async with a_line(registered) as line:
            assert (await line.hello()).event_seq_stored == 0
            await line.say(events=events(1, 2, 3))
            assert (await line.hear("stored")).stored.event_seq == 3
        async with a_line(registered) as line:
            assert (await line.hello()).event_seq_stored == 3
            # An answer that was lost: the same again, with other content for one that is known.
            await line.say(events=events(2, 3, 4, code="FORGED"))
            assert (await line.hear("stored")).stored.event_seq == 4
        page = await registered.sessions().ListDeviceEvents(
            session_pb.ListDeviceEventsRequest(terminal="terminals/020100000000")
        )
        assert [(one.event_seq, one.code) for one in page.events] == [
            (1, "DOOR_OPENED"), (2, "DOOR_OPENED"), (3, "DOOR_OPENED"), (4, "FORGED"),
        ]  # fmt: skip

    async def test_a_heartbeat_changes_what_it_says_and_leaves_the_rest(self, registered: Gateway) -> None:
        oldest = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        async with a_line(registered) as line:
            await line.hello(program_version="v1", blacklist_version=7)
            beat = session_pb.Heartbeat(serials=device_pb2.DeviceSerials(device_seq_last=9, unsent_count=4))
            beat.serials.oldest_unsent_time.FromDatetime(oldest)
            beat.clock_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=90))
            await line.say(heartbeat=beat)
            await line.hear("pulse")
            await line.say(heartbeat=session_pb.Heartbeat(mode=device_pb2.SERVICE_MODE_TRAIN_FAULT))

            async def kept() -> bool:
                return (await states(registered))["020100000000"].mode == device_pb2.SERVICE_MODE_TRAIN_FAULT

            await until(kept)
        state = (await states(registered))["020100000000"]
        assert (state.serials.device_seq_last, state.serials.unsent_count) == (9, 4)
        assert state.serials.oldest_unsent_time.ToDatetime(UTC) == oldest
        assert (state.program_version, state.blacklist_version) == ("v1", 7)
        assert 85_000 < state.clock_ahead_ms < 91_000

    async def test_mode_changes_and_shifts_are_events_and_a_shift_keeps_its_registers(
        self, registered: Gateway
    ) -> None:
        register = device_pb2.AuditRegister(
            business_date={"year": 2026, "month": 1, "day": 2}, device_seq_first=1, device_seq_last=2, record_count=2,
            total_fen=400, running_count=2, running_total_fen=400, shift_number=1,
        )  # fmt: skip
        async with a_line(registered) as line:
            await line.hello()
            change = session_pb.ModeChange(mode=device_pb2.SERVICE_MODE_EMERGENCY, cause="fire")
            shift = session_pb.ShiftChange(shift_number=1, staff_number=7, register=register)
            await line.say(
                events=session_pb.DeviceEvents(
                    events=[
                        session_pb.DeviceEvent(event_seq=1, code="MODE_CHANGED", mode=change),
                        session_pb.DeviceEvent(event_seq=2, code="SHIFT_CHANGED", shift=shift),
                    ]
                )
            )
            await line.hear("stored")
        page = await registered.sessions().ListDeviceEvents(
            session_pb.ListDeviceEventsRequest(terminal="terminals/020100000000", page_size=1)
        )
        assert page.events[0].mode == change
        assert page.next_page_token

    async def test_the_database_being_away_delays_and_loses_nothing(
        self, running: Running, gateway_database: "DatabaseUrls"
    ) -> None:
        async with running(session_flush_s=0.1) as gateway:
            await gateway.register()
            async with a_line(gateway) as line:
                await line.hello()
                # Every connection of the gateway is cut; the next ones work.
                import psycopg

                with psycopg.connect(
                    gateway_database.application.replace("+psycopg", ""), autocommit=True
                ) as connection:
                    await line.say(events=events(1, 2))
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                await line.say(events=events(3))
                while (await line.hear("stored", 20)).stored.event_seq < 3:
                    pass


class TestCommands:
    async def test_a_connected_terminal_has_it_at_once_and_answers(self, registered: Gateway) -> None:
        async with a_line(registered) as line:
            await line.hello()
            issued = await issue(registered)
            assert issued.command_count == 1
            command = (await line.hear("command", 3)).command
            assert command.body.open_gate.seconds == 5
            for state, detail in ((4, "opened"), (3, "late")):
                answer = command_pb2.CommandAnswer(command=command.name, state=state, detail=detail)
                await line.say(answer=answer)

            async def done() -> bool:
                return [one.state for one in await commands(registered)] == [command_pb2.COMMAND_STATE_DONE]

            await until(done)

    async def test_one_that_was_not_answered_is_sent_again_and_only_to_its_terminal(self, registered: Gateway) -> None:
        await issue(registered)
        async with a_line(registered) as line:
            first = [one.command.name for one in (await line.hello()).sign_in.to_do if one.HasField("command")]
        async with a_line(registered) as line, a_line(registered, SECOND) as second:
            again = [one.command.name for one in (await line.hello()).sign_in.to_do if one.HasField("command")]
            assert first == again == [one.name for one in await commands(registered)]
            assert not [one for one in (await second.hello(1)).sign_in.to_do if one.HasField("command")]
            await second.say(answer=command_pb2.CommandAnswer(command=first[0], state=4))
            assert (await second.ended()).reason == "SESSION_ORDER"
        assert [one.state for one in await commands(registered)] == [command_pb2.COMMAND_STATE_SENT]

    async def test_a_collector_answers_for_a_terminal_without_a_line_and_the_final_state_stands(
        self, registered: Gateway
    ) -> None:
        await issue(registered)
        name = (await commands(registered))[0].name

        async def answer(state: int, as_: str = METRO_COLLECTOR) -> Any:
            request = session_pb.AnswerCommandRequest(answer=command_pb2.CommandAnswer(command=name, state=state))
            return await registered.sessions(as_).AnswerCommand(request)

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await answer(4, "citycard://collector/bus/depot-1")
        assert error_info(refused.value).reason == "NOT_YOURS"
        assert (await answer(3)).state == command_pb2.COMMAND_STATE_RECEIVED
        assert (await answer(5)).state == command_pb2.COMMAND_STATE_FAILED
        assert (await answer(4)).state == command_pb2.COMMAND_STATE_FAILED

    async def test_a_command_expires_or_is_cancelled_once(self, registered: Gateway) -> None:
        await issue(registered, timeout_s=1)
        await issue(registered)
        newest, oldest = await commands(registered)
        cancelled = await registered.sessions().CancelCommand(session_pb.CancelCommandRequest(name=newest.name))
        assert cancelled.state == command_pb2.COMMAND_STATE_CANCELLED

        async def expired() -> bool:
            return (await commands(registered))[1].state == command_pb2.COMMAND_STATE_EXPIRED

        await until(expired)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await registered.sessions().CancelCommand(session_pb.CancelCommandRequest(name=oldest.name))
        assert error_info(refused.value).reason == "COMMAND_CLOSED"

    async def test_a_group_has_it_all_or_none_and_a_participant_only_commands_its_own(
        self, registered: Gateway
    ) -> None:
        assign = session_pb.BatchAssignTerminalsRequest(
            request_id=str(uuid.uuid4()), group="north", terminals=["terminals/020100000000", "terminals/020100000002"]
        )
        assert (await registered.sessions().BatchAssignTerminals(assign)).terminal_count == 2
        assert (await issue(registered, terminals=[], group="north")).command_count == 2
        for as_, changed, reason in (
            ("citycard://participant/bus", {}, "NOT_YOURS"),
            ("citycard://administrator/test", {"terminals": ["terminals/020100000000", "terminals/999999999999"]},
             "TERMINAL_UNKNOWN"),
            ("citycard://administrator/test", {"terminals": []}, "REQUEST_MALFORMED"),
            ("citycard://administrator/test", {"body": command_pb2.CommandBody()}, "REQUEST_MALFORMED"),
        ):  # fmt: skip
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await issue(registered, as_, **changed)
            assert error_info(refused.value).reason == reason
        assert len(await commands(registered)) == 2
        assert (await issue(registered, "citycard://participant/bus", terminals=[], group="north")).command_count == 0

    async def test_a_repeated_request_issues_once(self, registered: Gateway) -> None:
        request_id = str(uuid.uuid4())
        assert await issue(registered, request_id=request_id) == await issue(registered, request_id=request_id)
        assert len(await commands(registered)) == 1


class TestSignIn:
    @pytest.mark.parametrize(
        ("ahead_s", "last_record_ahead_s", "action", "to_do"),
        [
            (0, None, service_pb.CLOCK_ACTION_KEEP, None),
            (30, None, service_pb.CLOCK_ACTION_SET, "set_clock"),
            (-300, None, service_pb.CLOCK_ACTION_SET_AND_ALARM, "set_clock"),
            (30, 20, service_pb.CLOCK_ACTION_WAIT, None),
            (3600, None, service_pb.CLOCK_ACTION_STOP, "out_of_service"),
            (-3600, None, service_pb.CLOCK_ACTION_STOP, "out_of_service"),
        ],
    )
    async def test_the_clock_has_four_thresholds_and_never_goes_back_past_a_record(
        self, registered: Gateway, ahead_s: int, last_record_ahead_s: int | None, action: int, to_do: str | None
    ) -> None:
        serials = device_pb2.DeviceSerials()
        if last_record_ahead_s is not None:
            serials.last_record_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=last_record_ahead_s))
        request = a_sign_in(ahead=timedelta(seconds=ahead_s), serials=serials)
        answer = await registered.stub(TERMINAL).SignIn(request)
        assert answer.clock_action == action
        kinds = [one.WhichOneof("kind") for one in answer.to_do]
        assert ({"set_clock", "out_of_service"} & set(kinds)) == ({to_do} if to_do else set())
        assert (answer.clock_rules.ignore_ms, answer.clock_rules.stop_ms) == (2_000, 600_000)

    async def test_three_hundred_at_once_are_answered_each_with_its_own(self, gateway: Gateway) -> None:
        await gateway.register(300)
        stub = gateway.stub(METRO_COLLECTOR)
        requests = [a_sign_in(number, program_version=f"v{number}") for number in range(300)]
        wrong = a_sign_in(5, psam_number="9" * 20)
        answers = await asyncio.gather(*map(stub.SignIn, [*requests, wrong]), return_exceptions=True)
        assert error_info(answers.pop()).reason == "PSAM_MISMATCH"
        assert all(answer.blacklist_version == 0 for answer in answers)
        page = await gateway.sessions().ListTerminalStates(session_pb.ListTerminalStatesRequest(page_size=1000))
        assert [one.program_version for one in page.states] == [f"v{number}" for number in range(300)]

    async def test_a_new_blacklist_version_reaches_the_connected_within_two_seconds(
        self, registered: Gateway, gateway_database: "DatabaseUrls"
    ) -> None:
        import psycopg

        async with a_line(registered) as line, a_line(registered, SECOND) as second:
            await line.hello()
            await second.hello(1)
            with psycopg.connect(gateway_database.owner.replace("+psycopg", ""), autocommit=True) as connection:
                connection.execute("UPDATE blacklist_head SET version = 42")
            for one in (line, second):
                assert (await one.hear("blacklist", 2)).blacklist.version == 42

    async def test_a_psam_that_moves_to_another_machine_ends_the_pairing_before_and_clearing_hears_of_it(
        self, registered: Gateway
    ) -> None:
        heard = await registered.js.subscribe("citycard.terminal_gw.v1.DevicePaired")
        request = session_pb.PairDeviceRequest(
            request_id=str(uuid.uuid4()), terminal="terminals/020100000000", device_number=77
        )
        answer = await registered.sessions().PairDevice(request)
        assert await registered.sessions().PairDevice(request) == answer
        assert [one.device_number for one in answer.pairings] == [0, 77]
        assert answer.pairings[0].valid_until == answer.pairings[1].valid_from
        event = events_pb2.DevicePaired.FromString((await heard.next_msg(timeout=10)).data)
        assert (event.terminal.device_number, event.terminal.pair_time) == (77, answer.pairings[1].valid_from)
        await registered.stub(TERMINAL).SignIn(a_sign_in(device_number=77))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await registered.stub(TERMINAL).SignIn(a_sign_in(device_number=0))
        assert error_info(refused.value).facts == {"terminal": "020100000000", "expected": "77", "found": "0"}
        terminal = await registered.stub().GetTerminal(service_pb.GetTerminalRequest(name="terminals/020100000000"))
        assert terminal.device_number == 77
        # The facts of the registration are as they were.
        assert (await registered.register(3)).known_count == 3
        request.request_id = str(uuid.uuid4())
        request.valid_from.FromDatetime(datetime(2020, 1, 1, tzinfo=UTC))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await registered.sessions().PairDevice(request)
        assert error_info(refused.value).reason == "PAIRING_OVERLAPS"

    async def test_a_repair_slip_is_opened_and_closed_once(self, registered: Gateway) -> None:
        request = session_pb.OpenRepairRequest(
            request_id=str(uuid.uuid4()), terminal="terminals/020100000000", fault="reader dead"
        )
        slip = await registered.sessions().OpenRepair(request)
        close = session_pb.CloseRepairRequest(name=slip.name, remedy="new reader")
        closed = await registered.sessions().CloseRepair(close)
        close.remedy = "nothing"
        assert await registered.sessions().CloseRepair(close) == closed
        assert not (await registered.sessions().ListRepairs(session_pb.ListRepairsRequest(open_only=True))).repairs
        bus = registered.sessions("citycard://participant/bus")
        assert not (await bus.ListRepairs(session_pb.ListRepairsRequest())).repairs
