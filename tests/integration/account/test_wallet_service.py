"""Wallets over the wire: who may call, what is refused with which words, and what a participant sees."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import grpc
import pytest
from citycard.account.v1 import account_service_pb2, wallet_pb2
from citycard.account.v1 import wallet_service_pb2 as pb
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.account.v1.wallet_service_pb2_grpc import WalletServiceStub
from google.protobuf.timestamp_pb2 import Timestamp

from city.postgres import DatabaseUrls
from city.servers import LocalServers
from libs.runtime.refusals import error_info
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server
from services.account.settings import AccountSettings
from services.account.wiring import build_parts
from tests.unit.account.wallet_suites import MINE, OTHER

CARD = "citycard://service/card"
ANNA = "citycard://administrator/anna"
BUS = "citycard://participant/bus"
METRO = "citycard://participant/metro"
DESK = "citycard://outlet/north"
ONLINE = f"wallets/online.{MINE}"
PENDING = f"wallets/pending.{MINE}"


def new() -> str:
    return str(uuid.uuid4())


@pytest.fixture
async def server(books: DatabaseUrls, servers: LocalServers, tmp_path: Path) -> AsyncIterator[RunningServer]:
    own = TestCertificates(tmp_path)
    addresses = {"database_url": books.application, "nats_url": servers.nats_url("account")}
    chosen = a_settings(own, AccountSettings, **addresses, expiry_sweep_s=0.1)
    async with running_server(await build_parts(chosen), chosen, own) as running:
        yield running


def stub(server: RunningServer, as_: str = ANNA) -> Any:
    return WalletServiceStub(server.channel(as_))


async def refusal(call: Awaitable[object]) -> tuple[str, dict[str, str], str]:
    """Status and reason, facts, and the Chinese sentence."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    detail = error_info(refused.value)
    assert detail is not None
    assert detail.message_zh
    assert detail.message_en
    assert "{" not in detail.message_zh + detail.message_en, "every fact of the sentence is there"
    return f"{refused.value.code().name} {detail.reason}", detail.facts, detail.message_zh


async def a_filled_wallet(server: RunningServer, amount_fen: int = 1000) -> None:
    await stub(server, DESK).OpenWallet(pb.OpenWalletRequest(request_id=new(), kind="online", holder=MINE))
    credit = pb.CreditWalletRequest(
        request_id=new(), wallet=ONLINE, amount_fen=amount_fen, source="accounts/1221.north", reference="receipts/1"
    )
    assert (await stub(server).CreditWallet(credit)).journal


async def a_grant(server: RunningServer, **limits: int) -> wallet_pb2.Grant:
    grant = wallet_pb2.Grant(
        name="grants/bus-online",
        grantee="participants/bus",
        action=wallet_pb2.GRANT_ACTION_DEBIT,
        kind="online",
        limits=wallet_pb2.WalletLimits(**limits),
    )
    return await stub(server).SetGrant(pb.SetGrantRequest(request_id=new(), grant=grant))


def a_debit(total_fen: int, request_id: str = "", **more: object) -> pb.DebitWalletsRequest:
    return pb.DebitWalletsRequest(
        request_id=request_id or new(),
        participant="participants/bus",
        purpose="transit",
        total_fen=total_fen,
        tenders=[pb.TenderWish(wallet=ONLINE)],
        reference="rides/1",
        **more,
    )


async def test_a_participant_pays_itself_by_grant_and_gives_back(server: RunningServer) -> None:
    await a_filled_wallet(server)
    assert (await refusal(stub(server, BUS).DebitWallets(a_debit(300))))[0] == "PERMISSION_DENIED GRANT_MISSING"
    grant = await a_grant(server, per_day_fen=500)
    assert (grant.version.number, grant.version.set_by, grant.share_bp) == (1, ANNA, 10_000)
    request = a_debit(300)
    paid = await stub(server, BUS).DebitWallets(request)
    assert await stub(server, BUS).DebitWallets(request) == paid
    (tender,) = paid.tenders
    assert (tender.payee, tender.grant, tender.grant_version) == ("accounts/2203.bus", "grants/bus-online", 1)
    assert (await refusal(stub(server, METRO).DebitWallets(a_debit(1))))[0] == "PERMISSION_DENIED NOT_YOURS"
    assert (await refusal(stub(server, METRO).GetWalletDebit(pb.GetWalletDebitRequest(name=paid.name))))[0] == (
        "PERMISSION_DENIED NOT_YOURS"
    )
    back = pb.ReverseWalletDebitRequest(request_id=new(), name=paid.name, amount_fen=100)
    assert (await stub(server, BUS).ReverseWalletDebit(back)).tenders[0].reversed_fen == 100
    wallet = await stub(server, DESK).GetWallet(pb.GetWalletRequest(name=ONLINE))
    assert (wallet.balance_fen, wallet.available_fen, wallet.asset) == (800, 800, "CNY/2")
    ended = await stub(server).RevokeGrant(pb.RevokeGrantRequest(request_id=new(), name="grants/bus-online"))
    assert (ended.version.number, ended.version.ended) == (2, True)
    assert (await refusal(stub(server, BUS).DebitWallets(a_debit(1))))[0] == "PERMISSION_DENIED GRANT_MISSING"
    first = await stub(server).ListGrants(pb.ListGrantsRequest(page_size=1, kind="online"))
    rest = await stub(server).ListGrants(
        pb.ListGrantsRequest(page_size=1, kind="online", page_token=first.next_page_token)
    )
    assert [one.version.number for one in (*first.grants, *rest.grants)] == [1, 2]
    assert rest.next_page_token == ""


async def test_a_refusal_names_account_wallet_limit_and_amounts_in_both_languages(server: RunningServer) -> None:
    await a_filled_wallet(server)
    await a_grant(server, per_day_fen=500)
    await stub(server, BUS).DebitWallets(a_debit(300))
    status, facts, words = await refusal(stub(server, BUS).DebitWallets(a_debit(201)))
    assert status == "FAILED_PRECONDITION WALLET_LIMIT_EXCEEDED"
    assert facts == {
        "wallet": f"online.{MINE}",
        "account": f"2211.{MINE}",
        "limit": "grants/bus-online per_day",
        "limit_fen": "500",
        "used_fen": "300",
        "amount_fen": "201",
    }
    assert words == (
        f"钱包 online.{MINE}（账户 2211.{MINE}）超出限额 grants/bus-online per_day：限额 500，已用 300，本次 201"
    )


async def test_a_participant_ends_its_own_holds_and_no_others(server: RunningServer) -> None:
    await a_filled_wallet(server)
    await a_grant(server)
    debit = a_debit(300)
    hold = pb.ReserveWalletsRequest.FromString(debit.SerializeToString())
    held = await stub(server, BUS).ReserveWallets(hold)
    assert held.state == wallet_pb2.WALLET_DEBIT_STATE_HELD
    assert held.reservation == f"reservations/{debit.request_id}"
    commit = pb.CommitWalletDebitRequest(name=held.name, amounts_fen=[200])
    assert (await refusal(stub(server, METRO).CommitWalletDebit(commit)))[0] == "PERMISSION_DENIED NOT_YOURS"
    too_many = pb.CommitWalletDebitRequest(name=held.name, amounts_fen=[200, 1])
    assert (await refusal(stub(server, BUS).CommitWalletDebit(too_many)))[0] == "INVALID_ARGUMENT COMMIT_ABOVE_HELD"
    posted = await stub(server, BUS).CommitWalletDebit(commit)
    assert (posted.tenders[0].released_fen, posted.reservation) == (100, "")
    assert await stub(server, BUS).CommitWalletDebit(commit) == posted
    void = pb.VoidWalletDebitRequest(name=held.name)
    assert (await refusal(stub(server, BUS).VoidWalletDebit(void)))[0] == "FAILED_PRECONDITION RESERVATION_RESOLVED"
    second = await stub(server, BUS).ReserveWallets(pb.ReserveWalletsRequest.FromString(a_debit(1).SerializeToString()))
    void = pb.VoidWalletDebitRequest(name=second.name)
    assert (await stub(server, BUS).VoidWalletDebit(void)).state == wallet_pb2.WALLET_DEBIT_STATE_GIVEN_UP
    # One that was paid at once was never held.
    paid = await stub(server, BUS).DebitWallets(a_debit(1))
    commit = pb.CommitWalletDebitRequest(name=paid.name)
    assert (await refusal(stub(server, BUS).CommitWalletDebit(commit)))[0] == "NOT_FOUND RESERVATION_UNKNOWN"


async def test_the_catalogue_is_read_and_every_kind_can_be_explained(server: RunningServer) -> None:
    catalogue = await stub(server, BUS).ListWalletKinds(pb.ListWalletKindsRequest())
    kinds = {kind.code: kind for kind in catalogue.kinds}
    assert (kinds["points"].asset, kinds["points"].lot_order, kinds["subsidy"].earmarked) == ("POINT/0", "fifo", True)
    assert list(kinds["medical_personal"].moves_to) == []
    assert all(kind.display_name_zh and kind.display_name_en for kind in catalogue.kinds)
    assert {"transit", "inpatient"} <= {purpose.code for purpose in catalogue.purposes}


async def test_points_end_by_themselves(server: RunningServer) -> None:
    points = f"wallets/points.{MINE}"
    await stub(server).OpenWallet(pb.OpenWalletRequest(request_id=new(), kind="points", holder=MINE))
    until = Timestamp()
    until.GetCurrentTime()
    until.FromMilliseconds(until.ToMilliseconds() + 1500)
    credit = pb.CreditWalletRequest(
        request_id=new(), wallet=points, amount_fen=9, source="accounts/3001.mall", valid_until_time=until
    )
    number = (await stub(server).CreditWallet(credit)).lot
    assert (await stub(server).GetWallet(pb.GetWalletRequest(name=points))).available_fen == 9
    async with asyncio.timeout(20):
        while True:
            (lot,) = (await stub(server).ListWalletLots(pb.ListWalletLotsRequest(wallet=points))).lots
            if lot.expired_fen:
                break
            await asyncio.sleep(0.1)
    assert (lot.number, lot.expired_fen, lot.source) == (number, 9, "accounts/3001.mall")
    ledger: Any = AccountServiceStub(server.channel(CARD))
    page = await ledger.ListEntries(account_service_pb2.ListEntriesRequest(account="accounts/3001.mall"))
    assert [entry.event for entry in page.entries] == ["wallet_credit", "lots_expired"]


async def test_sub_cards_roles_and_mandates_are_administered_with_history(server: RunningServer) -> None:
    await a_filled_wallet(server)
    member = wallet_pb2.WalletMember(wallet=ONLINE, member=OTHER, limits=wallet_pb2.WalletLimits(per_transaction_fen=5))
    await stub(server, DESK).SetWalletMember(pb.SetWalletMemberRequest(request_id=new(), wallet_member=member))
    role = wallet_pb2.ParticipantRole(participant="participants/bus", role="roles/carrier")
    await stub(server).SetParticipantRole(pb.SetParticipantRoleRequest(request_id=new(), participant_role=role))
    grant = wallet_pb2.Grant(name="grants/g", grantee="roles/carrier", action="GRANT_ACTION_DEBIT", kind="online")
    await stub(server).SetGrant(pb.SetGrantRequest(request_id=new(), grant=grant))
    assert (await stub(server, BUS).DebitWallets(a_debit(5, member=OTHER))).member == OTHER
    status, facts, _ = await refusal(stub(server, BUS).DebitWallets(a_debit(6, member=OTHER)))
    assert (status, facts["limit"]) == (
        "FAILED_PRECONDITION WALLET_LIMIT_EXCEEDED",
        f"members/{OTHER} per_transaction",
    )
    remove = pb.RemoveWalletMemberRequest(request_id=new(), wallet=ONLINE, member=OTHER)
    assert (await stub(server, DESK).RemoveWalletMember(remove)).version.ended
    versions = (await stub(server, DESK).ListWalletMembers(pb.ListWalletMembersRequest(wallet=ONLINE))).wallet_members
    assert [(one.member, one.version.number, one.version.ended) for one in versions] == [
        (OTHER, 1, False),
        (OTHER, 2, True),
    ]
    end = pb.EndParticipantRoleRequest(request_id=new(), participant="participants/bus", role="roles/carrier")
    assert (await stub(server).EndParticipantRole(end)).version.number == 2
    roles = await stub(server).ListParticipantRoles(pb.ListParticipantRolesRequest(participant="participants/bus"))
    assert len(roles.participant_roles) == 2
    mandate = wallet_pb2.Mandate(
        name="mandates/m1", wallet=ONLINE, source="participants/icbc", threshold_fen=2000, amount_fen=700
    )
    await stub(server, DESK).SetMandate(pb.SetMandateRequest(request_id=new(), mandate=mandate))
    decision = await stub(server).TriggerTopUp(pb.TriggerTopUpRequest(request_id=new(), name="mandates/m1"))
    assert (decision.verdict, decision.balance_fen) == (pb.TOP_UP_VERDICT_DUE, 995)
    answer = pb.ResolveTopUpRequest(name=decision.top_up.name, succeeded=True)
    bank = stub(server, "citycard://participant/icbc")
    assert (await refusal(stub(server, BUS).ResolveTopUp(answer)))[0] == "PERMISSION_DENIED NOT_YOURS"
    assert (await bank.ResolveTopUp(answer)).state == wallet_pb2.TOP_UP_STATE_SUCCEEDED
    assert (await stub(server).GetWallet(pb.GetWalletRequest(name=ONLINE))).balance_fen == 1695
    ended = await stub(server, DESK).EndMandate(pb.EndMandateRequest(request_id=new(), name="mandates/m1"))
    listed = await stub(server, DESK).ListMandates(pb.ListMandatesRequest(wallet=ONLINE))
    assert [one.version.number for one in listed.mandates] == [1, ended.version.number]


async def test_what_waits_for_cards_is_a_list_and_a_frozen_wallet_says_so(server: RunningServer) -> None:
    await a_filled_wallet(server)
    move = pb.MoveValueRequest(request_id=new(), source=ONLINE, target=PENDING, amount_fen=400)
    await stub(server, DESK).MoveValue(move)
    page = await stub(server, DESK).ListWallets(pb.ListWalletsRequest(kind="pending", filled=True))
    assert [(wallet.name, wallet.available_fen) for wallet in page.wallets] == [(PENDING, 400)]
    load = pb.ReserveCardLoadRequest(
        request_id=new(), wallet=PENDING, purse=f"purses/{MINE.rpartition('-')[0]}.1", reference="loads/1"
    )
    assert (await refusal(stub(server, CARD).ReserveCardLoad(load)))[0] == "NOT_FOUND PURSE_UNKNOWN"
    frozen = await stub(server).FreezeWallet(pb.FreezeWalletRequest(request_id=new(), name=ONLINE))
    assert frozen.state == wallet_pb2.WALLET_STATE_FROZEN
    move = pb.MoveValueRequest(request_id=new(), source=ONLINE, target=PENDING, amount_fen=1)
    status, _, words = await refusal(stub(server, DESK).MoveValue(move))
    assert status == "FAILED_PRECONDITION WALLET_STATE_FORBIDS"
    assert "FROZEN" in words
    await stub(server).UnfreezeWallet(pb.UnfreezeWalletRequest(request_id=new(), name=ONLINE))
    close = pb.CloseWalletRequest(request_id=new(), name=ONLINE)
    assert (await refusal(stub(server).CloseWallet(close)))[0] == "FAILED_PRECONDITION WALLET_NOT_EMPTY"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("participant", "bus"),
        ("participant", "participants/Bus"),
        ("purpose", ""),
        ("total_fen", 0),
        ("total_fen", -5),
        ("total_fen", 10**16),
        ("member", "Ä"),
    ],
)
async def test_malformed_debits_are_refused_with_the_field(server: RunningServer, field: str, value: Any) -> None:
    request = a_debit(1)
    setattr(request, field, value)
    assert (await refusal(stub(server).DebitWallets(request)))[0] == "INVALID_ARGUMENT REQUEST_MALFORMED"
    request = a_debit(1)
    request.tenders.append(pb.TenderWish(wallet=ONLINE))
    await a_filled_wallet(server)
    assert (await refusal(stub(server).DebitWallets(request)))[0] == "INVALID_ARGUMENT REQUEST_MALFORMED"


async def test_eight_debits_through_one_server_never_pass_the_limit(server: RunningServer) -> None:
    await a_filled_wallet(server)
    await a_grant(server, per_day_fen=500)
    outcomes = await asyncio.gather(
        *(stub(server, BUS).DebitWallets(a_debit(100)) for _ in range(8)), return_exceptions=True
    )
    assert sum(not isinstance(one, BaseException) for one in outcomes) == 5
