"""The reference bank behind the gateway of the account service: real processes, real certificates."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from citycard.participant.v1 import bank_adapter_service_pb2 as pb
from citycard.participant.v1.bank_adapter_service_pb2_grpc import BankAdapterServiceStub

from libs.runtime.client import open_channel
from libs.testkit.server import TestCertificates
from services.account.adapters.bank_client import GrpcBanks
from services.account.domain.bank import Bank
from services.account.domain.bank_errors import BankSilent
from services.account.domain.bank_file import BankFile
from services.account.domain.bank_leg import BankAnswer, BankState, Verb
from tests.integration.account.reference_bank import ReferenceBank
from tests.unit.account.bank_gateway_suite import DAY, START_FEN, BankWorld, GatewaySuite, an_operation

ACCOUNT = "citycard://service/account"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestCertificates:
    return TestCertificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def bank(authority: TestCertificates, tmp_path: Path) -> Iterator[ReferenceBank]:
    reference = ReferenceBank(tmp_path, "icbc", authority.of("citycard://participant/icbc"), {"alice": START_FEN})
    reference.start()
    yield reference
    reference.kill()


@pytest.fixture
async def world(bank: ReferenceBank, authority: TestCertificates) -> AsyncIterator[BankWorld]:
    gateway = GrpcBanks(authority.of(ACCOUNT))
    registered = Bank("icbc", bank.address, call_timeout_s=2.0)
    yield BankWorld(gateway, registered, lambda: bank.accounts()["alice"][0])
    await gateway.close()


class TestReferenceBank(GatewaySuite): ...


async def test_what_was_answered_survives_a_kill(world: BankWorld, bank: ReferenceBank) -> None:
    held, booked = an_operation(100), an_operation(200)
    for verb, leg in ((Verb.AUTHORISE, held), (Verb.AUTHORISE, booked), (Verb.CAPTURE, booked)):
        await world.ask(verb, leg)
    bank.kill()
    bank.start()
    patient = replace(world, bank=replace(world.bank, call_timeout_s=10.0))
    states = [await patient.ask(Verb.QUERY, leg) for leg in (held, booked)]
    assert states == [BankState.HELD, BankState.CAPTURED]
    assert bank.accounts() == {"alice": (START_FEN - 200, 100)}


async def test_a_bank_that_is_away_is_silent_within_its_time_limit(world: BankWorld, bank: ReferenceBank) -> None:
    bank.kill()
    with pytest.raises(BankSilent):
        await world.ask(Verb.QUERY, an_operation())
    with pytest.raises(BankSilent):
        await world.gateway.daily_file(world.bank, DAY)


@pytest.mark.parametrize(("fault", "held_fen"), [("away=1", 0), ("lost=1", 0), ("never=1", 400), ("late=1", 400)])
async def test_a_bank_that_does_not_answer_is_silent_whatever_it_did(
    world: BankWorld, bank: ReferenceBank, fault: str, held_fen: int
) -> None:
    bank.stop()
    bank.start("--faults", fault, "--late-s", "3")
    with pytest.raises(BankSilent):
        await replace(world, bank=replace(world.bank, call_timeout_s=1.0)).ask(Verb.AUTHORISE, an_operation(400))
    assert bank.accounts()["alice"][1] == held_fen


async def test_a_bank_that_contradicts_itself_is_heard_as_it_speaks(world: BankWorld, bank: ReferenceBank) -> None:
    bank.stop()
    bank.start("--faults", "contradict=1")
    answers = [await world.answer(Verb.AUTHORISE, an_operation(10)) for _ in range(8)]
    assert {(answer.state, answer.amount_fen) for answer in answers} == {
        (BankState.HELD, 11),
        (BankState.DECLINED, 10),
    }


async def test_nobody_but_the_platforms_account_service_is_let_in(
    bank: ReferenceBank, authority: TestCertificates
) -> None:
    for name in ("citycard://service/card", "citycard://participant/abc", "citycard://administrator/eve"):
        async with open_channel(bank.address, authority.of(name)) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await BankAdapterServiceStub(channel).GetOperation(pb.GetOperationRequest(operation_id=str(DAY)))
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_server_with_another_certificate_is_told_nothing(authority: TestCertificates, tmp_path: Path) -> None:
    impostor = ReferenceBank(tmp_path, "icbc", authority.of("citycard://participant/abc"), {"alice": START_FEN})
    impostor.start()
    gateway = GrpcBanks(authority.of(ACCOUNT))
    try:
        world = BankWorld(gateway, Bank("icbc", impostor.address), lambda: 0)
        with pytest.raises(BankSilent) as silence:
            await world.ask(Verb.AUTHORISE, an_operation())
        assert silence.value.facts["why"] == "its certificate is another's"
        assert impostor.accounts() == {"alice": (START_FEN, 0)}
    finally:
        await gateway.close()
        impostor.kill()


async def test_an_authority_that_we_do_not_know_is_silence(bank: ReferenceBank, tmp_path: Path) -> None:
    stranger = TestCertificates(tmp_path / "other")
    gateway = GrpcBanks(stranger.of(ACCOUNT))
    with pytest.raises(BankSilent):
        await BankWorld(gateway, Bank("icbc", bank.address), lambda: 0).ask(Verb.QUERY, an_operation())
    await gateway.close()


async def test_a_name_is_not_used_twice_for_different_things(world: BankWorld) -> None:
    leg = an_operation(100)
    await world.ask(Verb.AUTHORISE, leg)
    with pytest.raises(BankSilent) as silence:
        await world.ask(Verb.AUTHORISE, replace(leg, amount_fen=200))
    assert silence.value.facts["why"] == "ALREADY_EXISTS"


async def test_what_nobody_captures_runs_out_by_itself(world: BankWorld, bank: ReferenceBank) -> None:
    leg = an_operation(400)
    await world.ask(Verb.AUTHORISE, leg)
    bank.execute("UPDATE operation SET expire_time = '2001-01-01T00:00:00Z'")
    assert await world.ask(Verb.CAPTURE, leg) is BankState.REVERSED
    assert bank.accounts() == {"alice": (START_FEN, 0)}


async def test_the_daily_file_of_a_day_has_a_new_revision_only_when_it_says_something_new(world: BankWorld) -> None:
    leg = an_operation(100)
    for verb in (Verb.AUTHORISE, Verb.CAPTURE):
        await world.ask(verb, leg)
    first = await world.gateway.daily_file(world.bank, DAY)
    assert await world.gateway.daily_file(world.bank, DAY) == first
    await world.ask(Verb.REVERSE, leg)
    # The next day's file takes up what changed after its own day was told, and from then on it stands there.
    tuesday = BankFile.decode(await world.gateway.daily_file(world.bank, DAY + timedelta(days=1)))
    assert (tuesday.operations, tuesday.states) == ((str(leg.operation),), ("REVERSED",))
    second = BankFile.decode(await world.gateway.daily_file(world.bank, DAY))
    assert (second.revision, second.states) == (2, ("REVERSED",))


async def test_answers_are_the_same_for_the_bank_in_memory_and_this_one(world: BankWorld) -> None:
    answer = await world.answer(Verb.AUTHORISE, an_operation(400))
    assert answer == BankAnswer(BankState.HELD, 400, "BK0000000001")


@pytest.mark.parametrize(
    "arguments", [[], ["--faults", "often=1"], ["--faults", "late=2"], ["--account", "alice"], ["--ca", "nowhere"]]
)
def test_mistaken_arguments_end_with_status_2_and_a_reason(arguments: list[str], tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("")
    given = ["--database", str(tmp_path / "books"), *(f"--{name}={tmp_path / name}" for name in ("ca", "cert", "key"))]
    command = [sys.executable, "-m", "examples.participants.bank", *(given if arguments else []), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "usage:" in done.stderr) == (2, True)
