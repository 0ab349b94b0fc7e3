"""Everything about wallets in memory, written by hand; lives inside the state of the ledger in memory."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, TypeVar
from uuid import UUID

from services.account.domain.accounts import Account
from services.account.domain.mandates import TopUp, TopUpHistory, TopUpState
from services.account.domain.wallet_control import WalletControl
from services.account.domain.wallet_debits import WalletDebit
from services.account.domain.wallet_errors import DebitUnknown, RuleUnknown, TopUpUnknown, WalletUnknown
from services.account.domain.wallet_lots import EndedLot, Lot, LotChange
from services.account.domain.wallet_rules import Rule, Used, Version, rule_name, rule_scope
from services.account.domain.wallets import Wallet

R = TypeVar("R", bound=Rule)


@dataclass
class WalletsState:
    wallets: dict[str, Wallet] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)
    lots: dict[int, Lot] = field(default_factory=dict)
    rules: list[Version[Any]] = field(default_factory=list)
    debits: dict[UUID, WalletDebit] = field(default_factory=dict)
    top_ups: dict[UUID, tuple[TopUp, date]] = field(default_factory=dict)


class FakeWallets:
    def __init__(self, state: WalletsState, accounts: dict[str, Account]) -> None:
        self._state = state
        self._accounts = accounts

    async def find(self, names: Collection[str]) -> dict[str, Wallet]:
        for name in names:
            if name not in self._state.wallets:
                raise WalletUnknown(wallet=name)
        return {name: self._state.wallets[name] for name in names}

    async def list_page(
        self, after: tuple[str, str], limit: int, kind: str, holder: str, *, filled: bool
    ) -> list[Wallet]:
        found = [
            wallet
            for wallet in sorted(self._state.wallets.values(), key=lambda one: (one.holder, one.kind))
            if (wallet.holder, wallet.kind) > after
            and kind in ("", wallet.kind)
            and holder in ("", wallet.holder)
            and (not filled or self._accounts[self._state.accounts[wallet.name]].balance_fen)
        ]
        return found[:limit]

    async def add(self, wallet: Wallet, account: str, control: WalletControl) -> bool:
        if wallet.name in self._state.wallets:
            return False
        self._state.wallets[wallet.name] = wallet
        self._state.accounts[wallet.name] = account
        self._accounts[account] = replace(self._accounts[account], wallet=control)
        return True

    async def save(self, wallet: Wallet) -> None:
        assert wallet.name in self._state.wallets
        self._state.wallets[wallet.name] = wallet

    async def lots(self, names: Collection[str]) -> dict[str, list[Lot]]:
        alive = [lot for _, lot in sorted(self._state.lots.items()) if lot.balance_fen > 0]
        return {name: [lot for lot in alive if lot.wallet == name] for name in names}

    async def list_lots(self, name: str, after: int, limit: int) -> list[Lot]:
        return [lot for number, lot in sorted(self._state.lots.items()) if lot.wallet == name and number > after][
            :limit
        ]

    async def add_lot(self, lot: Lot) -> Lot:
        kept = replace(lot, id=len(self._state.lots) + 1)
        self._state.lots[kept.id] = kept
        return kept

    async def change_lots(self, changes: Sequence[LotChange]) -> None:
        for change in changes:
            lot = self._state.lots[change.lot_id]
            new = replace(lot, taken_fen=lot.taken_fen + change.taken_fen, held_fen=lot.held_fen + change.held_fen)
            assert min(new.taken_fen, new.held_fen, new.free_fen) >= 0
            self._state.lots[change.lot_id] = new

    def _ended(self, now: datetime) -> list[Lot]:
        over = [lot for lot in self._state.lots.values() if lot.valid_until is not None and lot.valid_until <= now]
        return [lot for lot in over if lot.free_fen > 0]

    async def ended_wallets(self, now: datetime, limit: int) -> list[str]:
        return sorted({lot.wallet for lot in self._ended(now)})[:limit]

    async def end_lots(self, names: Collection[str], now: datetime) -> list[EndedLot]:
        ended = [lot for lot in self._ended(now) if lot.wallet in names]
        for lot in ended:
            self._state.lots[lot.id] = replace(lot, expired_fen=lot.expired_fen + lot.free_fen)
        return [EndedLot(lot.wallet, lot.source, lot.free_fen) for lot in ended]


class FakeWalletRules:
    def __init__(self, state: WalletsState) -> None:
        self._rules = state.rules

    def _all(self, cls: type[R]) -> list[Version[R]]:
        found = [version for version in self._rules if isinstance(version.rule, cls)]
        return sorted(found, key=lambda version: (rule_name(version.rule), version.number))

    async def in_force(
        self, cls: type[R], scopes: Collection[str], at: datetime, names: Collection[str] | None = None
    ) -> list[Version[R]]:
        begun = {
            rule_name(version.rule): version
            for version in self._all(cls)
            if rule_scope(version.rule) in scopes
            and (names is None or rule_name(version.rule) in names)
            and version.effective_time <= at
        }
        return [version for _, version in sorted(begun.items()) if version.in_force(at)]

    async def get(self, cls: type[R], name: str, number: int = 0) -> Version[R]:
        found = [version for version in self._all(cls) if rule_name(version.rule) == name]
        found = [version for version in found if number in (0, version.number)]
        if not found:
            raise RuleUnknown(rule=name)
        return found[-1]

    async def add(self, version: Version[R]) -> Version[R]:
        before = [one for one in self._all(type(version.rule)) if rule_name(one.rule) == rule_name(version.rule)]
        kept = replace(version, number=len(before) + 1)
        self._rules.append(kept)
        return kept

    async def list_page(
        self, cls: type[R], after: tuple[str, int], limit: int, scope: str, name: str
    ) -> list[Version[R]]:
        found = [
            version
            for version in self._all(cls)
            if (rule_name(version.rule), version.number) > after
            and scope in ("", rule_scope(version.rule))
            and name in ("", rule_name(version.rule))
        ]
        return found[:limit]


class FakeWalletDebits:
    def __init__(self, state: WalletsState) -> None:
        self._debits = state.debits

    async def add(self, debit: WalletDebit) -> None:
        assert debit.id not in self._debits
        self._debits[debit.id] = debit

    async def get(self, debit_id: UUID) -> WalletDebit:
        if debit_id not in self._debits:
            raise DebitUnknown(debit=debit_id)
        return self._debits[debit_id]

    async def save(self, debit: WalletDebit) -> None:
        assert debit.id in self._debits
        self._debits[debit.id] = debit

    async def used(self, grants: Collection[tuple[str, str]], day: date) -> dict[tuple[str, str], Used]:
        rows = [
            ((tender.grant, tender.subject), tender.day, tender.left_fen)
            for debit in self._debits.values()
            for tender in debit.tenders
        ]
        return {pair: _used([(at, left) for key, at, left in rows if key == pair], day) for pair in grants}

    async def used_by_member(self, wallets: Collection[str], member: str, day: date) -> dict[str, Used]:
        rows = [
            (tender.wallet, tender.day, tender.left_fen)
            for debit in self._debits.values()
            if debit.member == member
            for tender in debit.tenders
        ]
        return {name: _used([(at, left) for wallet, at, left in rows if wallet == name], day) for name in wallets}


def _used(rows: Sequence[tuple[date, int]], day: date) -> Used:
    past = [(at, left) for at, left in rows if at <= day]
    return Used(
        sum(left for at, left in past if at == day),
        sum(left for at, left in past if (at.year, at.month) == (day.year, day.month)),
        sum(left for at, left in past if at.year == day.year),
    )


class FakeTopUps:
    def __init__(self, state: WalletsState) -> None:
        self._top_ups = state.top_ups

    async def add(self, top_up: TopUp, day: date) -> None:
        self._top_ups[top_up.id] = (top_up, day)

    async def get(self, top_up_id: UUID) -> TopUp:
        if top_up_id not in self._top_ups:
            raise TopUpUnknown(top_up=top_up_id)
        return self._top_ups[top_up_id][0]

    async def save(self, top_up: TopUp) -> None:
        before, day = self._top_ups[top_up.id]
        assert before.state is TopUpState.ASKED, "a top-up ends once"
        self._top_ups[top_up.id] = (top_up, day)

    async def history(self, mandate: str, since: datetime, day: date) -> TopUpHistory:
        mine = [(top_up, at) for top_up, at in self._top_ups.values() if top_up.mandate == mandate]
        ended = [(top_up.resolve_time, top_up.state) for top_up, _ in mine if top_up.resolve_time is not None]
        successes = [at for at, state in ended if state is TopUpState.SUCCEEDED]
        failures = [
            at
            for at, state in ended
            if state is TopUpState.FAILED and at >= since and (not successes or at > max(successes))
        ]
        return TopUpHistory(
            sum(top_up.amount_fen for top_up, at in mine if at == day and top_up.state is not TopUpState.FAILED),
            any(top_up.state is TopUpState.ASKED for top_up, _ in mine),
            len(failures),
            max(failures, default=None),
        )


class FakeWalletBooks:
    def __init__(self, state: WalletsState, accounts: dict[str, Account]) -> None:
        self.wallets = FakeWallets(state, accounts)
        self.rules = FakeWalletRules(state)
        self.debits = FakeWalletDebits(state)
        self.top_ups = FakeTopUps(state)
