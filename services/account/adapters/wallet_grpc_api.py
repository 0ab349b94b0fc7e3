"""The calls about wallets: translate, call one use case, translate back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from citycard.account.v1 import wallet_pb2
from citycard.account.v1 import wallet_service_pb2 as pb
from citycard.account.v1.wallet_service_pb2_grpc import WalletServiceServicer

from libs.runtime.identity import Context, Role, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.account.adapters import translate
from services.account.adapters import wallet_translate as to
from services.account.application.change_wallet_state import ChangeWalletState
from services.account.application.credit_wallet import CreditWallet
from services.account.application.debit_wallets import DebitWallets
from services.account.application.get_wallet import GetWallet, ListWalletLots, ListWallets
from services.account.application.get_wallet_debit import GetWalletDebit
from services.account.application.move_value import MoveValue
from services.account.application.open_wallet import OpenWallet
from services.account.application.reserve_card_load import ReserveCardLoad
from services.account.application.reverse_wallet_debit import ReverseWalletDebit
from services.account.application.set_wallet_rule import EndWalletRule, ListWalletRules, SetWalletRule
from services.account.application.settle_wallet_debit import CommitWalletDebit, VoidWalletDebit
from services.account.application.top_ups import ResolveTopUp, TriggerTopUp
from services.account.domain.wallet_rules import (
    Grant,
    Mandate,
    ParticipantRole,
    Rule,
    Version,
    WalletMember,
    rule_name,
)
from services.account.domain.wallets import Catalogue, WalletState

R = TypeVar("R", bound=Rule)
M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class WalletUseCases:
    """What the API calls, one per RPC or per verb of a rule."""

    open_wallet: OpenWallet
    get_wallet: GetWallet
    list_wallets: ListWallets
    list_lots: ListWalletLots
    change_state: ChangeWalletState
    credit_wallet: CreditWallet
    debit_wallets: DebitWallets
    commit_debit: CommitWalletDebit
    void_debit: VoidWalletDebit
    reverse_debit: ReverseWalletDebit
    get_debit: GetWalletDebit
    set_grant: SetWalletRule[Grant]
    end_grant: EndWalletRule[Grant]
    list_grants: ListWalletRules[Grant]
    set_role: SetWalletRule[ParticipantRole]
    end_role: EndWalletRule[ParticipantRole]
    list_roles: ListWalletRules[ParticipantRole]
    set_member: SetWalletRule[WalletMember]
    end_member: EndWalletRule[WalletMember]
    list_members: ListWalletRules[WalletMember]
    move_value: MoveValue
    reserve_card_load: ReserveCardLoad
    set_mandate: SetWalletRule[Mandate]
    end_mandate: EndWalletRule[Mandate]
    list_mandates: ListWalletRules[Mandate]
    trigger_top_up: TriggerTopUp
    resolve_top_up: ResolveTopUp


class WalletApi(WalletServiceServicer):
    """citycard.account.v1.WalletService."""

    def __init__(self, use_cases: WalletUseCases, catalogue: Catalogue) -> None:
        self._do = use_cases
        self._catalogue = catalogue

    async def ListWalletKinds(self, request: pb.ListWalletKindsRequest, context: Context) -> pb.ListWalletKindsResponse:
        """The catalogue."""
        return to.kinds_to_pb(self._catalogue)

    async def OpenWallet(self, request: pb.OpenWalletRequest, context: Context) -> wallet_pb2.Wallet:
        """Open a wallet."""
        wallet = await self._do.open_wallet(
            request.kind, request.holder, request.balance_limit_fen, request_key(request, context)
        )
        return to.wallet_to_pb(await self._do.get_wallet(wallet.name))

    async def GetWallet(self, request: pb.GetWalletRequest, context: Context) -> wallet_pb2.Wallet:
        """One wallet."""
        return to.wallet_to_pb(await self._do.get_wallet(to.bare(request.name)))

    async def ListWallets(self, request: pb.ListWalletsRequest, context: Context) -> pb.ListWalletsResponse:
        """A page of wallets."""
        size = page_size(request.page_size)
        listed = f"ListWallets?{request.holder}&{request.kind}&{request.filled}"
        key = page_key(listed, request.page_token, (str, str))
        after = (str(key[0]), str(key[1])) if key else ("", "")
        found = await self._do.list_wallets(after, size + 1, request.kind, request.holder, filled=request.filled)
        page = found[:size]
        last = (page[-1].wallet.holder, page[-1].wallet.kind) if len(found) > size else None
        return pb.ListWalletsResponse(
            wallets=[to.wallet_to_pb(view) for view in page],
            next_page_token=page_token(listed, last) if last else "",
        )

    async def ListWalletLots(self, request: pb.ListWalletLotsRequest, context: Context) -> pb.ListWalletLotsResponse:
        """A page of lots."""
        size = page_size(request.page_size)
        listed = f"ListWalletLots?{request.wallet}"
        key = page_key(listed, request.page_token, (int,))
        found = await self._do.list_lots(to.bare(request.wallet), int(key[0] or 0) if key else 0, size + 1)
        page = found[:size]
        return pb.ListWalletLotsResponse(
            lots=[to.lot_to_pb(lot) for lot in page],
            next_page_token=page_token(listed, (page[-1].id,)) if len(found) > size else "",
        )

    async def FreezeWallet(self, request: pb.FreezeWalletRequest, context: Context) -> wallet_pb2.Wallet:
        """Freeze a wallet."""
        return await self._change(request, WalletState.FROZEN, context)

    async def UnfreezeWallet(self, request: pb.UnfreezeWalletRequest, context: Context) -> wallet_pb2.Wallet:
        """Let it give again."""
        return await self._change(request, WalletState.OPEN, context)

    async def CloseWallet(self, request: pb.CloseWalletRequest, context: Context) -> wallet_pb2.Wallet:
        """Close a wallet."""
        return await self._change(request, WalletState.CLOSED, context)

    async def CreditWallet(self, request: pb.CreditWalletRequest, context: Context) -> pb.CreditWalletResponse:
        """Put something in."""
        identity = caller(context)
        if identity.kind is Role.PARTICIPANT:
            identity.must_own(to.bare(request.participant))
        credit = await self._do.credit_wallet(to.credit_order(request), request_key(request, context))
        return pb.CreditWalletResponse(journal=f"journals/{credit.journal}", lot=credit.lot)

    async def DebitWallets(self, request: pb.DebitWalletsRequest, context: Context) -> wallet_pb2.WalletDebit:
        """Pay out of wallets."""
        caller(context).must_own(to.bare(request.participant))
        purchase, wishes = to.purchase(request)
        debit = await self._do.debit_wallets(purchase, wishes, request.reference, request_key(request, context))
        return to.debit_to_pb(debit)

    async def ReserveWallets(self, request: pb.ReserveWalletsRequest, context: Context) -> wallet_pb2.WalletDebit:
        """Hold what would be paid."""
        caller(context).must_own(to.bare(request.participant))
        purchase, wishes = to.purchase(request)
        expires = translate.moment(request.expire_time) if request.HasField("expire_time") else None
        debit = await self._do.debit_wallets.reserve(
            purchase, wishes, request.reference, expires, request_key(request, context)
        )
        return to.debit_to_pb(debit)

    async def CommitWalletDebit(self, request: pb.CommitWalletDebitRequest, context: Context) -> wallet_pb2.WalletDebit:
        """Post what was held."""
        debit = await self._do.commit_debit(to.uuid_of(request.name), request.amounts_fen, _only(context))
        return to.debit_to_pb(debit)

    async def VoidWalletDebit(self, request: pb.VoidWalletDebitRequest, context: Context) -> wallet_pb2.WalletDebit:
        """Give up what was held."""
        return to.debit_to_pb(await self._do.void_debit(to.uuid_of(request.name), _only(context)))

    async def ReverseWalletDebit(
        self, request: pb.ReverseWalletDebitRequest, context: Context
    ) -> wallet_pb2.WalletDebit:
        """Give back what was paid."""
        debit = await self._do.reverse_debit(
            to.uuid_of(request.name), request.amount_fen, _only(context), request_key(request, context)
        )
        return to.debit_to_pb(debit)

    async def GetWalletDebit(self, request: pb.GetWalletDebitRequest, context: Context) -> wallet_pb2.WalletDebit:
        """One debit."""
        return to.debit_to_pb(await self._do.get_debit(to.uuid_of(request.name), _only(context)))

    async def SetGrant(self, request: pb.SetGrantRequest, context: Context) -> wallet_pb2.Grant:
        """Add a version of a grant."""
        return to.grant_to_pb(await _set(self._do.set_grant, to.grant(request.grant), request, context))

    async def RevokeGrant(self, request: pb.RevokeGrantRequest, context: Context) -> wallet_pb2.Grant:
        """End a grant."""
        return to.grant_to_pb(await _end(self._do.end_grant, to.bare(request.name), request, context))

    async def ListGrants(self, request: pb.ListGrantsRequest, context: Context) -> pb.ListGrantsResponse:
        """A page of versions of grants."""
        found, token = await _page(self._do.list_grants, request, request.kind, to.bare(request.name), to.grant_to_pb)
        return pb.ListGrantsResponse(grants=found, next_page_token=token)

    async def SetParticipantRole(
        self, request: pb.SetParticipantRoleRequest, context: Context
    ) -> wallet_pb2.ParticipantRole:
        """Add a version of a role."""
        return to.role_to_pb(await _set(self._do.set_role, to.role(request.participant_role), request, context))

    async def EndParticipantRole(
        self, request: pb.EndParticipantRoleRequest, context: Context
    ) -> wallet_pb2.ParticipantRole:
        """End a role."""
        name = rule_name(ParticipantRole(to.bare(request.participant), to.bare(request.role)))
        return to.role_to_pb(await _end(self._do.end_role, name, request, context))

    async def ListParticipantRoles(
        self, request: pb.ListParticipantRolesRequest, context: Context
    ) -> pb.ListParticipantRolesResponse:
        """A page of versions of roles."""
        found, token = await _page(self._do.list_roles, request, to.bare(request.participant), "", to.role_to_pb)
        return pb.ListParticipantRolesResponse(participant_roles=found, next_page_token=token)

    async def SetWalletMember(self, request: pb.SetWalletMemberRequest, context: Context) -> wallet_pb2.WalletMember:
        """Add a version of a member."""
        return to.member_to_pb(await _set(self._do.set_member, to.member(request.wallet_member), request, context))

    async def RemoveWalletMember(
        self, request: pb.RemoveWalletMemberRequest, context: Context
    ) -> wallet_pb2.WalletMember:
        """Take a member off."""
        name = rule_name(WalletMember(to.bare(request.wallet), request.member))
        return to.member_to_pb(await _end(self._do.end_member, name, request, context))

    async def ListWalletMembers(
        self, request: pb.ListWalletMembersRequest, context: Context
    ) -> pb.ListWalletMembersResponse:
        """A page of versions of members."""
        found, token = await _page(self._do.list_members, request, to.bare(request.wallet), "", to.member_to_pb)
        return pb.ListWalletMembersResponse(wallet_members=found, next_page_token=token)

    async def MoveValue(self, request: pb.MoveValueRequest, context: Context) -> wallet_pb2.WalletDebit:
        """Move value between wallets."""
        debit = await self._do.move_value(
            to.bare(request.source),
            to.bare(request.target),
            request.amount_fen,
            request.reference,
            request_key(request, context),
        )
        return to.debit_to_pb(debit)

    async def ReserveCardLoad(self, request: pb.ReserveCardLoadRequest, context: Context) -> wallet_pb2.WalletDebit:
        """Hold value for a card."""
        debit = await self._do.reserve_card_load(
            to.bare(request.wallet),
            translate.purse_key(request.purse),
            request.amount_fen,
            request.reference,
            translate.moment(request.expire_time) if request.HasField("expire_time") else None,
            request_key(request, context),
        )
        return to.debit_to_pb(debit)

    async def SetMandate(self, request: pb.SetMandateRequest, context: Context) -> wallet_pb2.Mandate:
        """Add a version of a mandate."""
        return to.mandate_to_pb(await _set(self._do.set_mandate, to.mandate(request.mandate), request, context))

    async def EndMandate(self, request: pb.EndMandateRequest, context: Context) -> wallet_pb2.Mandate:
        """End a mandate."""
        return to.mandate_to_pb(await _end(self._do.end_mandate, to.bare(request.name), request, context))

    async def ListMandates(self, request: pb.ListMandatesRequest, context: Context) -> pb.ListMandatesResponse:
        """A page of versions of mandates."""
        found, token = await _page(self._do.list_mandates, request, to.bare(request.wallet), "", to.mandate_to_pb)
        return pb.ListMandatesResponse(mandates=found, next_page_token=token)

    async def TriggerTopUp(self, request: pb.TriggerTopUpRequest, context: Context) -> pb.TriggerTopUpResponse:
        """Ask a mandate."""
        observed = request.observed_balance_fen if request.HasField("observed_balance_fen") else None
        decision = await self._do.trigger_top_up(to.bare(request.name), observed, request_key(request, context))
        return to.decision_to_pb(decision)

    async def ResolveTopUp(self, request: pb.ResolveTopUpRequest, context: Context) -> wallet_pb2.TopUp:
        """Note what the bank answered."""
        top_up = await self._do.resolve_top_up(
            to.uuid_of(request.name), _only(context), succeeded=request.succeeded, note=request.note
        )
        return to.top_up_to_pb(top_up)

    async def _change(
        self,
        request: pb.FreezeWalletRequest | pb.UnfreezeWalletRequest | pb.CloseWalletRequest,
        state: WalletState,
        context: Context,
    ) -> wallet_pb2.Wallet:
        wallet = await self._do.change_state(to.bare(request.name), state, request_key(request, context))
        return to.wallet_to_pb(await self._do.get_wallet(wallet.name))


def _only(context: Context) -> str | None:
    """Whose things the caller may touch: a participant its own, all others everybody's."""
    identity = caller(context)
    return identity.participant if identity.kind is Role.PARTICIPANT else None


async def _set(use_case: SetWalletRule[R], rule: R, request: Any, context: Context) -> Version[R]:
    def given(name: str) -> datetime | None:
        return translate.moment(getattr(request, name)) if request.HasField(name) else None

    effective, until = given("effective_time"), given("until_time")
    return await use_case(rule, effective, until, caller(context).uri, request_key(request, context))


async def _end(use_case: EndWalletRule[R], name: str, request: Any, context: Context) -> Version[R]:
    return await use_case(name, caller(context).uri, request_key(request, context))


async def _page(
    use_case: ListWalletRules[R], request: Any, scope: str, name: str, write: Callable[[Version[R]], M]
) -> tuple[Sequence[M], str]:
    size = page_size(request.page_size)
    listed = f"{type(request).__name__}?{scope}&{name}"
    key = page_key(listed, request.page_token, (str, int))
    after = (str(key[0]), int(key[1] or 0)) if key else ("", 0)
    found = await use_case(after, size + 1, scope, name)
    page = found[:size]
    last = (rule_name(page[-1].rule), page[-1].number) if len(found) > size else None
    return [write(version) for version in page], page_token(listed, last) if last else ""
