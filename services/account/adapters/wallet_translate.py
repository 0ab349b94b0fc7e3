"""Between the messages of the contract about wallets and the domain."""

from typing import TypeVar
from uuid import UUID

from citycard.account.v1 import wallet_pb2, wallet_service_pb2

from services.account.adapters.translate import account_name, moment, timestamp
from services.account.application.credit_wallet import CreditOrder
from services.account.application.get_wallet import WalletView
from services.account.application.top_ups import TopUpDecision
from services.account.domain.mandates import TopUp
from services.account.domain.wallet_debits import DebitState, WalletDebit
from services.account.domain.wallet_lots import Lot
from services.account.domain.wallet_plan import Purchase, TenderWish
from services.account.domain.wallet_rules import (
    Grant,
    GrantAction,
    Limits,
    Mandate,
    ParticipantRole,
    Rule,
    Version,
    WalletMember,
)
from services.account.domain.wallets import Catalogue, WalletKind

R = TypeVar("R", bound=Rule)
_ALL_BP = 10_000


def bare(name: str) -> str:
    """A name without its collection: `online.p-1` of `wallets/online.p-1`."""
    return name.partition("/")[2]


def uuid_of(name: str) -> UUID:
    """The id of a name whose pattern the contract checked."""
    return UUID(bare(name))


def kinds_to_pb(catalogue: Catalogue) -> wallet_service_pb2.ListWalletKindsResponse:
    """The whole catalogue, by code."""
    return wallet_service_pb2.ListWalletKindsResponse(
        kinds=[_kind(kind) for _, kind in sorted(catalogue.kinds.items())],
        purposes=[
            wallet_pb2.WalletPurpose(code=one.code, display_name_zh=one.name_zh, display_name_en=one.name_en)
            for _, one in sorted(catalogue.purposes.items())
        ],
    )


def _kind(kind: WalletKind) -> wallet_pb2.WalletKind:
    return wallet_pb2.WalletKind(
        code=kind.code,
        display_name_zh=kind.name_zh,
        display_name_en=kind.name_en,
        chart_number=kind.number,
        asset=kind.asset,
        holders=sorted(holder.value for holder in kind.holders),
        purposes=sorted(kind.purposes),
        sources=sorted(kind.sources),
        covered_sources=sorted(kind.covered_sources),
        lot_order=kind.lots.value if kind.lots else "",
        expires=kind.expires.value,
        earmarked=kind.earmarked,
        moves_to=sorted(kind.moves_to),
        loads_purse=bool(kind.loads_purse),
        pooled=kind.pooled,
        members=kind.members,
        shown=kind.rides is not None,
        payable=bool(kind.payee or kind.rides),
    )


def wallet_to_pb(view: WalletView) -> wallet_pb2.Wallet:
    """A wallet with its figures."""
    return wallet_pb2.Wallet(
        name=f"wallets/{view.wallet.name}",
        kind=view.wallet.kind,
        holder=view.wallet.holder,
        state=wallet_pb2.WalletState.Value(f"WALLET_STATE_{view.wallet.state.value}"),
        account=f"accounts/{view.account}",
        purse=f"purses/{view.purse}" if view.purse else "",
        asset=view.kind.asset,
        balance_fen=view.balance_fen,
        held_fen=view.held_fen,
        available_fen=view.available_fen,
        balance_limit_fen=view.limit_fen,
        create_time=timestamp(view.wallet.create_time),
    )


def lot_to_pb(lot: Lot) -> wallet_pb2.WalletLot:
    """A lot."""
    return wallet_pb2.WalletLot(
        number=lot.id,
        wallet=f"wallets/{lot.wallet}",
        amount_fen=lot.amount_fen,
        taken_fen=lot.taken_fen,
        held_fen=lot.held_fen,
        expired_fen=lot.expired_fen,
        purposes=lot.purposes,
        valid_from_time=timestamp(lot.valid_from),
        valid_until_time=timestamp(lot.valid_until),
        source=f"accounts/{lot.source}",
        reference=lot.reference,
        create_time=timestamp(lot.create_time),
    )


def credit_order(request: wallet_service_pb2.CreditWalletRequest) -> CreditOrder:
    """What is to be put in.

    Raises:
        RequestMalformed: A moment is out of range.
    """
    return CreditOrder(
        wallet=bare(request.wallet),
        amount_fen=request.amount_fen,
        source=account_name(request.source),
        reference=request.reference,
        participant=bare(request.participant),
        purposes=tuple(sorted(request.purposes)),
        valid_from=moment(request.valid_from_time) if request.HasField("valid_from_time") else None,
        valid_until=moment(request.valid_until_time) if request.HasField("valid_until_time") else None,
        price_fen=request.price_fen,
        price_account=account_name(request.price_account),
    )


def purchase(
    request: wallet_service_pb2.DebitWalletsRequest | wallet_service_pb2.ReserveWalletsRequest,
) -> tuple[Purchase, list[TenderWish]]:
    """What is to be paid, and out of which wallets."""
    wishes = [TenderWish(bare(wish.wallet), wish.amount_fen, wish.optional) for wish in request.tenders]
    wanted = Purchase(
        request.total_fen, request.purpose, bare(request.participant), request.member, request.allow_own_pay
    )
    return wanted, wishes


def debit_to_pb(debit: WalletDebit) -> wallet_pb2.WalletDebit:
    """A debit with its tenders."""
    held = debit.state is not DebitState.POSTED
    return wallet_pb2.WalletDebit(
        name=f"walletDebits/{debit.id}",
        state=wallet_pb2.WalletDebitState.Value(f"WALLET_DEBIT_STATE_{debit.state.value}"),
        participant=f"participants/{debit.participant}" if debit.participant else "",
        purpose=debit.purpose,
        member=debit.member,
        reference=debit.reference,
        total_fen=debit.total_fen,
        own_pay_fen=debit.own_pay_fen,
        tenders=[
            wallet_pb2.WalletTender(
                number=tender.number,
                wallet=f"wallets/{tender.wallet}",
                account=f"accounts/{tender.account}",
                payee=f"accounts/{tender.payee}",
                amount_fen=tender.amount_fen,
                released_fen=tender.released_fen,
                reversed_fen=tender.reversed_fen,
                grant=f"grants/{tender.grant}" if tender.grant else "",
                grant_version=tender.grant_version,
            )
            for tender in debit.tenders
        ],
        journal=f"journals/{debit.journal}" if debit.journal else "",
        reservation=f"reservations/{debit.id}" if held else "",
        create_time=timestamp(debit.create_time),
    )


def limits(message: wallet_pb2.WalletLimits) -> Limits:
    """Limits; unset ones are 0."""
    return Limits(message.per_transaction_fen, message.per_day_fen, message.per_month_fen, message.per_year_fen)


def _limits_to_pb(found: Limits) -> wallet_pb2.WalletLimits:
    return wallet_pb2.WalletLimits(
        per_transaction_fen=found.per_transaction_fen,
        per_day_fen=found.per_day_fen,
        per_month_fen=found.per_month_fen,
        per_year_fen=found.per_year_fen,
    )


def _version(version: Version[R]) -> wallet_pb2.RuleVersion:
    return wallet_pb2.RuleVersion(
        number=version.number,
        effective_time=timestamp(version.effective_time),
        until_time=timestamp(version.until_time),
        record_time=timestamp(version.record_time),
        set_by=version.set_by,
        ended=version.ended,
    )


def grant(message: wallet_pb2.Grant) -> Grant:
    """A grant."""
    return Grant(
        bare(message.name),
        message.grantee,
        GrantAction.CREDIT if message.action == wallet_pb2.GRANT_ACTION_CREDIT else GrantAction.DEBIT,
        message.kind,
        bare(message.wallet),
        tuple(sorted(message.purposes)),
        limits(message.limits),
        message.share_bp or _ALL_BP,
        message.deductible_fen,
    )


def grant_to_pb(version: Version[Grant]) -> wallet_pb2.Grant:
    """A version of a grant."""
    rule = version.rule
    return wallet_pb2.Grant(
        name=f"grants/{rule.name}",
        grantee=rule.grantee,
        action=wallet_pb2.GrantAction.Value(f"GRANT_ACTION_{rule.action.name}"),
        kind=rule.kind,
        wallet=f"wallets/{rule.wallet}" if rule.wallet else "",
        purposes=rule.purposes,
        limits=_limits_to_pb(rule.limits),
        share_bp=rule.share_bp,
        deductible_fen=rule.deductible_fen,
        version=_version(version),
    )


def role(message: wallet_pb2.ParticipantRole) -> ParticipantRole:
    """A role of a participant."""
    return ParticipantRole(bare(message.participant), bare(message.role))


def role_to_pb(version: Version[ParticipantRole]) -> wallet_pb2.ParticipantRole:
    """A version of a role."""
    return wallet_pb2.ParticipantRole(
        participant=f"participants/{version.rule.participant}",
        role=f"roles/{version.rule.role}",
        version=_version(version),
    )


def member(message: wallet_pb2.WalletMember) -> WalletMember:
    """A member of a wallet."""
    return WalletMember(bare(message.wallet), message.member, limits(message.limits))


def member_to_pb(version: Version[WalletMember]) -> wallet_pb2.WalletMember:
    """A version of a member."""
    return wallet_pb2.WalletMember(
        wallet=f"wallets/{version.rule.wallet}",
        member=version.rule.member,
        limits=_limits_to_pb(version.rule.limits),
        version=_version(version),
    )


def mandate(message: wallet_pb2.Mandate) -> Mandate:
    """A mandate."""
    return Mandate(
        bare(message.name),
        bare(message.wallet),
        message.source,
        message.threshold_fen,
        message.amount_fen,
        message.day_cap_fen,
        message.failures_max,
        message.retry_after_s,
    )


def mandate_to_pb(version: Version[Mandate]) -> wallet_pb2.Mandate:
    """A version of a mandate."""
    rule = version.rule
    return wallet_pb2.Mandate(
        name=f"mandates/{rule.name}",
        wallet=f"wallets/{rule.wallet}",
        source=rule.source,
        threshold_fen=rule.threshold_fen,
        amount_fen=rule.amount_fen,
        day_cap_fen=rule.day_cap_fen,
        failures_max=rule.failures_max,
        retry_after_s=rule.retry_after_s,
        version=_version(version),
    )


def top_up_to_pb(top_up: TopUp) -> wallet_pb2.TopUp:
    """A top-up."""
    return wallet_pb2.TopUp(
        name=f"topUps/{top_up.id}",
        mandate=f"mandates/{top_up.mandate}",
        wallet=f"wallets/{top_up.wallet}",
        source=top_up.source,
        amount_fen=top_up.amount_fen,
        state=wallet_pb2.TopUpState.Value(f"TOP_UP_STATE_{top_up.state.value}"),
        note=top_up.note,
        create_time=timestamp(top_up.create_time),
        resolve_time=timestamp(top_up.resolve_time),
    )


def decision_to_pb(decision: TopUpDecision) -> wallet_service_pb2.TriggerTopUpResponse:
    """What a mandate said."""
    return wallet_service_pb2.TriggerTopUpResponse(
        verdict=wallet_service_pb2.TopUpVerdict.Value(f"TOP_UP_VERDICT_{decision.verdict.value}"),
        balance_fen=decision.balance_fen,
        top_up=top_up_to_pb(decision.top_up) if decision.top_up else None,
    )
