"""Builds what concerns wallets; a part of the wiring."""

from dataclasses import dataclass
from uuid import uuid4

from libs.clock import Clock
from services.account.adapters.wallet_grpc_api import WalletApi, WalletUseCases
from services.account.adapters.wallet_kinds_file import standard_catalogue
from services.account.application.change_wallet_state import ChangeWalletState
from services.account.application.commit_reservation import CommitReservation
from services.account.application.credit_wallet import CreditWallet
from services.account.application.debit_wallets import DebitWallets
from services.account.application.expire_lots import ExpireLots
from services.account.application.get_wallet import GetWallet, ListWalletLots, ListWallets
from services.account.application.get_wallet_debit import GetWalletDebit
from services.account.application.move_value import MoveValue
from services.account.application.open_wallet import OpenWallet
from services.account.application.ports import Transaction
from services.account.application.reserve_card_load import ReserveCardLoad
from services.account.application.reverse_wallet_debit import ReverseWalletDebit
from services.account.application.set_wallet_rule import EndWalletRule, ListWalletRules, SetWalletRule
from services.account.application.settle_wallet_debit import CommitWalletDebit, VoidWalletDebit
from services.account.application.top_ups import ResolveTopUp, TriggerTopUp
from services.account.application.void_reservation import VoidReservation
from services.account.domain.chart import Chart
from services.account.domain.wallet_rules import Grant, Mandate, ParticipantRole, WalletMember


@dataclass(frozen=True, slots=True)
class WalletParts:
    """What the service runs for wallets."""

    api: WalletApi
    expire_lots: ExpireLots


def build_wallets(
    transaction: Transaction,
    chart: Chart,
    clock: Clock,
    commit_reservation: CommitReservation,
    void_reservation: VoidReservation,
    sweep_s: float,
) -> WalletParts:
    """Hand the use cases what they need."""
    catalogue = standard_catalogue(chart)
    use_cases = WalletUseCases(
        open_wallet=OpenWallet(transaction, catalogue, clock),
        get_wallet=GetWallet(transaction, catalogue, clock),
        list_wallets=ListWallets(transaction, catalogue, clock),
        list_lots=ListWalletLots(transaction, catalogue),
        change_state=ChangeWalletState(transaction, catalogue, clock),
        credit_wallet=CreditWallet(transaction, chart, catalogue, clock, uuid4),
        debit_wallets=DebitWallets(transaction, chart, catalogue, clock, uuid4),
        commit_debit=CommitWalletDebit(transaction, commit_reservation),
        void_debit=VoidWalletDebit(transaction, void_reservation),
        reverse_debit=ReverseWalletDebit(transaction, chart, catalogue, clock, uuid4),
        get_debit=GetWalletDebit(transaction),
        set_grant=SetWalletRule(transaction, catalogue, clock, Grant),
        end_grant=EndWalletRule(transaction, clock, Grant),
        list_grants=ListWalletRules(transaction, Grant),
        set_role=SetWalletRule(transaction, catalogue, clock, ParticipantRole),
        end_role=EndWalletRule(transaction, clock, ParticipantRole),
        list_roles=ListWalletRules(transaction, ParticipantRole),
        set_member=SetWalletRule(transaction, catalogue, clock, WalletMember),
        end_member=EndWalletRule(transaction, clock, WalletMember),
        list_members=ListWalletRules(transaction, WalletMember),
        move_value=MoveValue(transaction, chart, catalogue, clock, uuid4),
        reserve_card_load=ReserveCardLoad(transaction, chart, catalogue, clock),
        set_mandate=SetWalletRule(transaction, catalogue, clock, Mandate),
        end_mandate=EndWalletRule(transaction, clock, Mandate),
        list_mandates=ListWalletRules(transaction, Mandate),
        trigger_top_up=TriggerTopUp(transaction, chart, catalogue, clock, uuid4),
        resolve_top_up=ResolveTopUp(transaction, chart, catalogue, clock, uuid4),
    )
    return WalletParts(
        WalletApi(use_cases, catalogue), ExpireLots(transaction, chart, catalogue, clock, uuid4, sweep_s)
    )
