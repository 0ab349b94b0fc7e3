"""Parameter packs, roll-outs and work keys through a real gateway."""

import hashlib
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from citycard.terminal_gw.v1 import device_pb2
from citycard.terminal_gw.v1 import parameters_service_pb2 as pb
from citycard.terminal_gw.v1 import session_service_pb2 as session_pb

from libs.keystore.dev import create_test_keystore, demo_keystore
from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.sealed import Passphrase
from libs.purse.algorithms import algorithm
from libs.purse.scheme import CardIdentity, Scheme
from libs.records.crc32c import crc32c
from libs.runtime.refusals import error_info
from services.terminal_gw.adapters.work_keys import key_message
from tests.integration.terminal_gw.conftest import METRO_COLLECTOR, Gateway, Running, until
from tests.integration.terminal_gw.test_sessions import TERMINAL, a_line, a_sign_in
from tests.unit.terminal_gw.files import chunks_of

ADMINISTRATOR = "citycard://administrator/test"
DATA = bytes(range(256)) * 3000
ISSUER = bytes.fromhex("01019901ffffffff")


def frames(gateway: Gateway, data: bytes, as_: str, **changed: Any) -> Iterator[pb.PublishPackRequest]:
    digest = hashlib.sha256(data).digest()
    values: dict[str, Any] = {
        "kind": device_pb2.PACK_KIND_FARES, "version": 1, "sha256": digest, "size_bytes": len(data),
        "signature": gateway.sign(changed.get("sha256", digest), as_), "title": "票价",
    }  # fmt: skip
    start = pb.PackStart(**(values | changed))
    start.effect_time.FromDatetime(datetime(2026, 12, 1, tzinfo=UTC))
    yield pb.PublishPackRequest(start=start)
    for offset, piece, crc in chunks_of(data, 200_000):
        yield pb.PublishPackRequest(chunk=pb.PackChunk(offset=offset, data=piece, crc32c=crc))


async def publish(gateway: Gateway, data: bytes = DATA, as_: str = ADMINISTRATOR, **changed: Any) -> Any:
    return await gateway.parameters(as_).PublishPack(frames(gateway, data, as_, **changed))


async def refusal(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return error_info(refused.value)


async def download(gateway: Gateway, name: str, offset: int = 0, as_: str = TERMINAL) -> bytes:
    data = bytearray()
    async for part in gateway.parameters(as_).DownloadPack(pb.DownloadPackRequest(name=name, offset=offset)):
        assert part.offset == offset + len(data)
        assert crc32c(part.data) == part.crc32c
        data += part.data
    return bytes(data)


async def start(gateway: Gateway, pack: str, *stages: pb.RolloutStage, **changed: Any) -> Any:
    request = pb.StartRolloutRequest(request_id=str(uuid.uuid4()), pack=pack, stages=stages, **changed)
    return await gateway.parameters().StartRollout(request)


async def wanted(gateway: Gateway, number: int = 0) -> list[str]:
    request = pb.ListWantedPacksRequest(terminal=f"terminals/0201{number:08d}")
    return [one.name for one in (await gateway.parameters().ListWantedPacks(request)).packs]


async def assign(gateway: Gateway, group: str, *numbers: int) -> None:
    await gateway.sessions().BatchAssignTerminals(
        session_pb.BatchAssignTerminalsRequest(
            request_id=str(uuid.uuid4()), group=group, terminals=[f"terminals/0201{one:08d}" for one in numbers]
        )
    )


@pytest.fixture
async def registered(gateway: Gateway) -> Gateway:
    await gateway.register(4)
    return gateway


class TestPublished:
    async def test_a_pack_is_read_from_any_byte_and_its_signature_travels_with_it(self, registered: Gateway) -> None:
        pack = await publish(registered)
        assert pack.name == "packs/fares.any.all.1"
        assert await download(registered, pack.name) == DATA
        for offset in (1, 262_143, 262_144, len(DATA) - 1, len(DATA)):
            assert await download(registered, pack.name, offset) == DATA[offset:]
        assert (await refusal(download(registered, pack.name, len(DATA) + 1))).reason == "PACK_OFFSET"
        assert (await refusal(download(registered, "packs/fares.any.all.2"))).reason == "PACK_UNKNOWN"
        assert await publish(registered) == pack

    async def test_a_version_is_immutable_and_what_is_wrong_is_kept_nowhere(self, registered: Gateway) -> None:
        await publish(registered)
        for changed, reason in (
            ({"version": 2, "sha256": bytes(32)}, "PACK_DIGEST"),
            ({"version": 2, "size_bytes": len(DATA) + 1}, "PACK_DIGEST"),
            ({"version": 2, "size_bytes": len(DATA) - 1}, "PACK_ORDER"),
            ({"version": 2, "signature": b"\x30\x06\x02\x01\x01\x02\x01\x01"}, "SIGNATURE_WRONG"),
            ({"version": 2, "size_bytes": 2**40}, "UPLOAD_TOO_LARGE"),
        ):
            assert (await refusal(publish(registered, **changed))).reason == reason
        assert (await refusal(publish(registered, b"other"))).reason == "PACK_EXISTS"
        page = await registered.parameters().ListPacks(pb.ListPacksRequest())
        assert [one.version for one in page.packs] == [1]
        bad = list(frames(registered, DATA, ADMINISTRATOR, version=3))
        bad[2].chunk.crc32c ^= 1
        assert (await refusal(registered.parameters().PublishPack(iter(bad)))).reason == "CHUNK_CHECKSUM"
        assert (await refusal(registered.parameters().PublishPack(iter(bad[1:])))).reason == "PACK_ORDER"

    async def test_a_participant_publishes_for_itself_only_and_another_does_not_see_it(
        self, registered: Gateway
    ) -> None:
        metro = "citycard://participant/metro"
        assert (await refusal(publish(registered, as_=metro))).reason == "NOT_YOURS"
        pack = await publish(registered, as_=metro, participant="participants/metro")
        assert pack.name == "packs/fares.any.metro.1"
        bus = registered.parameters("citycard://participant/bus")
        assert (await refusal(bus.GetPack(pb.GetPackRequest(name=pack.name)))).reason == "PACK_UNKNOWN"
        request = pb.StartRolloutRequest(request_id=str(uuid.uuid4()), pack=pack.name)
        assert (await refusal(bus.StartRollout(request))).reason == "NOT_YOURS"


class TestRolledOut:
    async def test_stages_pause_and_rollback_say_what_a_terminal_should_have(self, registered: Gateway) -> None:
        await assign(registered, "north", 0)
        await assign(registered, "south", 1, 2)
        old, new = (await publish(registered)).name, (await publish(registered, b"new", version=2)).name
        await start(registered, old)
        stages = pb.RolloutStage(groups=["north"], percent=100), pb.RolloutStage(percent=100)
        rollout = await start(registered, new, *stages)
        assert [await wanted(registered, number) for number in range(2)] == [[new], [old]]
        parameters = registered.parameters()
        await registered.parameters(TERMINAL).ReportPacks(
            pb.ReportPacksRequest(
                terminal="terminals/020100000000",
                packs=[device_pb2.PackReport(kind=device_pb2.PACK_KIND_FARES, version=2)],
            )
        )
        await parameters.AdvanceRollout(pb.AdvanceRolloutRequest(name=rollout.name, stage=2))
        await parameters.AdvanceRollout(pb.AdvanceRolloutRequest(name=rollout.name, stage=2))
        assert await wanted(registered, 1) == [new]
        await parameters.PauseRollout(pb.PauseRolloutRequest(name=rollout.name))
        # Who has it keeps it, the others are not told any more.
        assert [await wanted(registered, number) for number in range(2)] == [[new], [old]]
        counted = await parameters.GetRollout(pb.GetRolloutRequest(name=rollout.name))
        assert (counted.covered_count, counted.in_force_count, counted.state) == (4, 1, pb.ROLLOUT_STATE_PAUSED)
        refused = await refusal(parameters.AdvanceRollout(pb.AdvanceRolloutRequest(name=rollout.name, stage=3)))
        assert refused.reason == "ROLLOUT_STATE"
        await parameters.ResumeRollout(pb.ResumeRolloutRequest(name=rollout.name))
        assert await wanted(registered, 1) == [new]
        for _ in range(2):
            back = await parameters.RollBackRollout(pb.RollBackRolloutRequest(name=rollout.name))
            assert back.state == pb.ROLLOUT_STATE_ROLLED_BACK
        assert [await wanted(registered, number) for number in range(2)] == [[old], [old]]
        assert (
            await refusal(parameters.ResumeRollout(pb.ResumeRolloutRequest(name=rollout.name)))
        ).reason == "ROLLOUT_STATE"

    async def test_a_sign_in_and_a_session_tell_it_and_what_is_in_force_is_shown(self, registered: Gateway) -> None:
        pack = (await publish(registered)).name
        await start(registered, pack)
        answer = await registered.stub(TERMINAL).SignIn(a_sign_in())
        assert pack in [one.fetch_pack.pack for one in answer.to_do]
        has = [device_pb2.PackReport(kind=device_pb2.PACK_KIND_FARES, version=1)]
        answer = await registered.stub(TERMINAL).SignIn(a_sign_in(packs=has))
        assert not any(one.HasField("fetch_pack") for one in answer.to_do)
        newer = (await publish(registered, b"new", version=2)).name
        async with a_line(registered) as line:
            await line.hello(packs=has)
            rollout = await start(registered, newer, failure_count_max=1)
            assert (await line.hear("command")).command.body.fetch_pack.pack == newer
            failed = device_pb2.PackReport(kind=1, version=2, outcome=device_pb2.PACK_OUTCOME_FAILED, detail="crc")
            await line.say(packs=session_pb.PackReports(packs=[failed]))

            async def paused() -> bool:
                found = await registered.parameters().GetRollout(pb.GetRolloutRequest(name=rollout.name))
                return bool((found.state, found.failed_count) == (pb.ROLLOUT_STATE_PAUSED, 1))

            # One failure is as many as this roll-out takes.
            await until(paused)
        states = await registered.sessions().ListTerminalStates(session_pb.ListTerminalStatesRequest())
        shown = [(one.version, one.outcome, one.detail) for one in states.states[0].packs]
        assert shown == [(2, device_pb2.PACK_OUTCOME_FAILED, "crc"), (1, device_pb2.PACK_OUTCOME_IN_FORCE, "")]


class TestWorkKeys:
    async def test_without_a_master_key_there_are_none(self, registered: Gateway) -> None:
        request = session_pb.GetWorkKeysRequest(terminal_number="020100000000", psam_number="0" * 20)
        assert (await refusal(registered.sessions(TERMINAL).GetWorkKeys(request))).reason == "KEYS_NOT_CONFIGURED"

    async def test_a_psam_opens_them_and_they_are_the_same_all_day(self, running: Running, tmp_path: Path) -> None:
        key_file, passphrase_file = tmp_path / "work.keys", tmp_path / "passphrase"
        passphrase_file.write_bytes(b"open sesame")
        create_test_keystore(key_file, Passphrase(b"open sesame"), "seed", [(Scheme.CJ, ISSUER)])
        handle = KeyHandle(Scheme.CJ, ISSUER, KeyKind.MAINTENANCE, 1, 0)
        async with running(
            work_key_file=key_file, work_key_passphrase_file=passphrase_file, work_key_label=handle.label
        ) as gateway:
            await gateway.register(2)
            request = session_pb.GetWorkKeysRequest(terminal_number="020100000001", psam_number="1".zfill(20))
            keys = (await gateway.sessions(METRO_COLLECTOR).GetWorkKeys(request)).keys
            assert (await gateway.sessions(METRO_COLLECTOR).GetWorkKeys(request)).keys == keys
            assert [key.use for key in keys] == [1, 2]
            # What the PSAM does: its own key opens, the check value and the MAC tell that it is right.
            psam = CardIdentity(Scheme.CJ, ISSUER, bytes.fromhex("1".zfill(20)))
            store, cipher = demo_keystore("seed", [(Scheme.CJ, ISSUER)]), algorithm(0)
            for key in keys:
                plain = cipher.decrypt(store.derive(handle, psam), key.wrapped)
                assert plain[0] == 16
                assert cipher.encrypt(plain[1:17], bytes(8))[:3] == key.check_value
                day = date(key.business_date.year, key.business_date.month, key.business_date.day)
                message = key_message(key.use, day, key.expire_time.ToDatetime(UTC), key.check_value, key.wrapped)
                assert cipher.command_mac(store.derive(handle, psam), bytes(8), message) == key.mac
            signed_in = a_sign_in(1)
            kinds = [one.WhichOneof("kind") for one in (await gateway.stub(METRO_COLLECTOR).SignIn(signed_in)).to_do]
            assert "fetch_work_keys" in kinds
            signed_in.work_key_check_values.extend(key.check_value for key in keys)
            kinds = [one.WhichOneof("kind") for one in (await gateway.stub(METRO_COLLECTOR).SignIn(signed_in)).to_do]
            assert "fetch_work_keys" not in kinds
            wrong = session_pb.GetWorkKeysRequest(terminal_number="020100000001", psam_number="2".zfill(20))
            assert (await refusal(gateway.sessions(METRO_COLLECTOR).GetWorkKeys(wrong))).reason == "PSAM_MISMATCH"
