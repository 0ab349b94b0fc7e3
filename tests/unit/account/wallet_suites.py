"""What wallets must do, in memory or in PostgreSQL: the same tests run against both."""

import uuid
from collections.abc import Sequence
from datetime import timedelta

import pytest

from libs.errors import DomainError, NotYours, RequestIdReused, RequestMalformed
from services.account.adapters.wallet_kinds_file import standard_catalogue
from services.account.application.change_wallet_state import ChangeWalletState
from services.account.application.credit_wallet import CreditOrder, CreditWallet, WalletCredit
from services.account.application.debit_wallets import DebitWallets
from services.account.application.expire_lots import ExpireLots
from services.account.application.get_wallet import GetWallet, ListWalletLots, ListWallets
from services.account.application.get_wallet_debit import GetWalletDebit
from services.account.application.move_value import MoveValue
from services.account.application.open_wallet import OpenWallet
from services.account.application.reserve_card_load import ReserveCardLoad
from services.account.application.reverse_wallet_debit import ReverseWalletDebit
from services.account.application.set_wallet_rule import EndWalletRule, ListWalletRules, SetWalletRule
from services.account.application.top_ups import ResolveTopUp, TriggerTopUp
from services.account.domain.errors import (
    InsufficientBalance,
    JournalNotReversible,
    LimitExceeded,
    PurseUnknown,
    ReservationResolved,
)
from services.account.domain.wallet_debits import DebitState, WalletDebit
from services.account.domain.wallet_errors import (
    DebitNotReversible,
    DebitUnknown,
    GrantMissing,
    HolderMismatch,
    MemberUnknown,
    PassNotInForce,
    PurposeUnknown,
    ReversalAboveDebit,
    RuleBackdated,
    RuleUnknown,
    SourceForbidden,
    TenderShort,
    ValidityMismatch,
    WalletAccountUsed,
    WalletAssetMismatch,
    WalletControlled,
    WalletInsufficient,
    WalletKindUnknown,
    WalletLimitExceeded,
    WalletNotEmpty,
    WalletStateForbids,
    WalletUnknown,
    WalletUseForbidden,
)
from services.account.domain.wallet_plan import Purchase, TenderWish
from services.account.domain.wallet_rules import (
    Grant,
    GrantAction,
    Limits,
    Mandate,
    ParticipantRole,
    WalletMember,
)
from services.account.domain.wallets import Wallet, WalletState, card_holder
from tests.unit.account.builders import a_batch, a_key, a_posting, a_request, credit, debit, issued
from tests.unit.account.suites import Ledger

CARD = a_key(1)
MINE = card_holder(CARD)
OTHER = card_holder(a_key(2))
# Where what is put into a wallet of a kind comes from.
SOURCES = {
    "online": "1221.north",
    "pending": "1221.north",
    "deposit": "1221.north",
    "points": "3001.mall",
    "count_pass": "3011.bus",
    "period_pass": "3014.bus",
    "medical_personal": "2217.insurer",
    "medical_pooled": "2217.insurer",
    "housing_fund": "2217.fund",
    "subsidy": "1224.civil-aid",
}


class Wallets:
    """Wallets under test: their use cases over the transaction of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        chart, clock, transaction = ledger.chart, ledger.clock, ledger.transaction
        self.clock = clock
        catalogue = self.catalogue = standard_catalogue(chart)
        self.open_wallet = OpenWallet(transaction, catalogue, clock)
        self.change_state = ChangeWalletState(transaction, catalogue, clock)
        self.credit_wallet = CreditWallet(transaction, chart, catalogue, clock, uuid.uuid4)
        self.debit_wallets = DebitWallets(transaction, chart, catalogue, clock, uuid.uuid4)
        self.reverse_debit = ReverseWalletDebit(transaction, chart, catalogue, clock, uuid.uuid4)
        self.get_debit = GetWalletDebit(transaction)
        self.get = GetWallet(transaction, catalogue, clock)
        self.list = ListWallets(transaction, catalogue, clock)
        self.list_lots = ListWalletLots(transaction, catalogue)
        self.set_grant = SetWalletRule(transaction, catalogue, clock, Grant)
        self.end_grant = EndWalletRule(transaction, clock, Grant)
        self.list_grants = ListWalletRules(transaction, Grant)
        self.set_role = SetWalletRule(transaction, catalogue, clock, ParticipantRole)
        self.set_member = SetWalletRule(transaction, catalogue, clock, WalletMember)
        self.end_member = EndWalletRule(transaction, clock, WalletMember)
        self.set_mandate = SetWalletRule(transaction, catalogue, clock, Mandate)
        self.end_mandate = EndWalletRule(transaction, clock, Mandate)
        self.move_value = MoveValue(transaction, chart, catalogue, clock, uuid.uuid4)
        self.reserve_card_load = ReserveCardLoad(transaction, chart, catalogue, clock)
        self.trigger_top_up = TriggerTopUp(transaction, chart, catalogue, clock, uuid.uuid4)
        self.resolve_top_up = ResolveTopUp(transaction, chart, catalogue, clock, uuid.uuid4)
        self.expire_lots = ExpireLots(transaction, chart, catalogue, clock, uuid.uuid4, 1.0)

    async def open(self, name: str, limit_fen: int = 0) -> Wallet:
        kind, _, holder = name.partition(".")
        return await self.open_wallet(kind, holder, limit_fen, a_request())

    async def fill(
        self,
        name: str,
        amount_fen: int,
        *,
        days: float | None = None,
        after_days: float | None = None,
        purposes: Sequence[str] = (),
        source: str = "",
        participant: str = "",
    ) -> WalletCredit:
        """Open a wallet and put something in; `days` says when it ends, `after_days` when it begins."""
        try:
            await self.get(name)
        except WalletUnknown:
            await self.open(name)
        now = self.clock.now()
        order = CreditOrder(
            wallet=name,
            amount_fen=amount_fen,
            source=source or SOURCES[name.partition(".")[0]],
            reference="tests/1",
            participant=participant,
            purposes=tuple(purposes),
            valid_from=None if after_days is None else now + timedelta(days=after_days),
            valid_until=None if days is None else now + timedelta(days=days),
        )
        return await self.credit_wallet(order, a_request())

    async def grant(
        self,
        kind: str,
        grantee: str = "participants/bus",
        *,
        name: str = "",
        wallet: str = "",
        action: GrantAction = GrantAction.DEBIT,
        purposes: Sequence[str] = (),
        limits: Limits | None = None,
        share_bp: int = 10_000,
        deductible_fen: int = 0,
    ) -> None:
        rule = Grant(
            name or f"{kind}-{grantee.partition('/')[2]}",
            grantee,
            action,
            kind,
            wallet,
            tuple(purposes),
            limits or Limits(),
            share_bp,
            deductible_fen,
        )
        await self.set_grant(rule, None, None, "administrators/anna", a_request())

    async def pay(
        self,
        amount_fen: int,
        *wallets: str | TenderWish,
        purpose: str = "transit",
        by: str = "bus",
        member: str = "",
        own_pay: bool = False,
        hold: bool = False,
        seconds: float | None = None,
    ) -> WalletDebit:
        purchase = Purchase(amount_fen, purpose, by, member, own_pay)
        wishes = [wish if isinstance(wish, TenderWish) else TenderWish(wish) for wish in wallets]
        if not hold:
            return await self.debit_wallets(purchase, wishes, "rides/1", a_request())
        expires = None if seconds is None else self.clock.now() + timedelta(seconds=seconds)
        return await self.debit_wallets.reserve(purchase, wishes, "rides/1", expires, a_request())

    async def balance(self, account: str) -> int:
        return (await self.ledger.account(account)).balance_fen

    async def give_back(self, debit_id: uuid.UUID, amount_fen: int = 0) -> WalletDebit:
        return await self.reverse_debit(debit_id, amount_fen, None, a_request())


ONLINE = f"online.{MINE}"
POINTS = f"points.{MINE}"


class OpeningSuite:
    """Kinds, holders, states, figures."""

    async def test_a_kind_that_nobody_knows_is_refused_before_everything_else(self, wallets: Wallets) -> None:
        with pytest.raises(WalletKindUnknown):
            await wallets.open(f"gold.{MINE}")
        with pytest.raises(WalletKindUnknown):
            await wallets.pay(1, f"gold.{MINE}")

    async def test_a_card_holds_no_housing_fund_and_a_person_no_pending_load(self, wallets: Wallets) -> None:
        with pytest.raises(HolderMismatch) as refused:
            await wallets.open(f"housing_fund.{MINE}")
        assert refused.value.facts["holders"] == "person"
        with pytest.raises(HolderMismatch):
            await wallets.open("pending.p-1")
        with pytest.raises(HolderMismatch):
            await wallets.open("medical_pooled.p-1")

    async def test_opening_twice_is_one_wallet_with_the_newer_limit(self, wallets: Wallets) -> None:
        first = await wallets.open(ONLINE)
        wallets.clock.advance(seconds=1)
        assert await wallets.open(ONLINE, 500) == first
        assert (await wallets.get(ONLINE)).limit_fen == 500
        with pytest.raises(LimitExceeded):
            await wallets.fill(ONLINE, 501)

    async def test_a_purse_opens_with_its_card_and_shows_what_the_books_say(self, wallets: Wallets) -> None:
        purse = f"purse.{MINE}"
        with pytest.raises(WalletUseForbidden):
            await wallets.open(purse)
        with pytest.raises(PurseUnknown):
            await wallets.get(purse)
        await wallets.ledger.issue(issued(CARD, opening_fen=1000))
        await wallets.ledger.fold_rows((CARD, 0, 150, 1000))
        view = await wallets.get(purse)
        assert (view.balance_fen, view.available_fen, view.purse, view.account) == (850, 850, CARD.name, "2201")

    async def test_a_number_that_the_chart_does_not_floor_is_floored_as_a_wallet(self, wallets: Wallets) -> None:
        await wallets.open(f"deposit.{MINE}")
        assert (await wallets.ledger.account(f"2202.{MINE}")).overdraft_fen == 0

    async def test_an_account_that_moved_before_does_not_become_a_wallet_that_counts_its_parts(
        self, wallets: Wallets
    ) -> None:
        await wallets.ledger.post(a_posting(debit("3001.mall", 5), credit(f"3002.{MINE}", 5)))
        with pytest.raises(WalletAccountUsed):
            await wallets.open(POINTS)
        await wallets.ledger.post(a_posting(debit("1002", 5), credit(f"2211.{MINE}", 5)))
        await wallets.open(ONLINE)
        assert (await wallets.get(ONLINE)).available_fen == 5

    async def test_a_frozen_wallet_takes_and_gives_nothing(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.grant("online")
        held = await wallets.pay(30, ONLINE, hold=True)
        await wallets.change_state(ONLINE, WalletState.FROZEN, a_request())
        with pytest.raises(WalletStateForbids) as refused:
            await wallets.pay(1, ONLINE)
        assert refused.value.facts == {"wallet": ONLINE, "account": f"2211.{MINE}", "state": "FROZEN"}
        await wallets.fill(ONLINE, 7)
        await wallets.ledger.commit_reservation(held.id)
        assert (await wallets.get(ONLINE)).balance_fen == 77
        assert (await wallets.get(ONLINE)).available_fen == 0
        await wallets.change_state(ONLINE, WalletState.OPEN, a_request())
        await wallets.pay(77, ONLINE)

    async def test_only_an_empty_wallet_is_closed_and_it_stays_closed(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        with pytest.raises(WalletNotEmpty) as refused:
            await wallets.change_state(ONLINE, WalletState.CLOSED, a_request())
        assert refused.value.facts["balance_fen"] == "100"
        await wallets.grant("online")
        paid = await wallets.pay(100, ONLINE)
        await wallets.change_state(ONLINE, WalletState.CLOSED, a_request())
        with pytest.raises(WalletStateForbids):
            await wallets.fill(ONLINE, 1)
        with pytest.raises(WalletStateForbids):
            await wallets.change_state(ONLINE, WalletState.OPEN, a_request())
        with pytest.raises(WalletStateForbids):
            await wallets.give_back(paid.id)

    async def test_wallets_are_listed_by_holder_and_kind_in_pages(self, wallets: Wallets) -> None:
        for name in (POINTS, ONLINE, f"online.{OTHER}"):
            await wallets.open(name)
        await wallets.fill(f"pending.{OTHER}", 5)
        page = await wallets.list(("", ""), 2, "", "", filled=False)
        assert [view.wallet.name for view in page] == [ONLINE, POINTS]
        rest = await wallets.list((MINE, "points"), 9, "", "", filled=False)
        assert [view.wallet.name for view in rest] == [f"online.{OTHER}", f"pending.{OTHER}"]
        waiting = await wallets.list(("", ""), 9, "pending", "", filled=True)
        assert [(view.wallet.holder, view.available_fen) for view in waiting] == [(OTHER, 5)]
        assert await wallets.list(("", ""), 9, "online", MINE, filled=True) == []


class CreditSuite:
    """What may be put in, from where, and for how long."""

    async def test_a_credit_is_a_journal_and_a_lot(self, wallets: Wallets) -> None:
        credited = await wallets.fill(POINTS, 50, days=10)
        entries = await wallets.ledger.list_entries(f"3002.{MINE}", (0, 0), 9)
        assert [(entry.journal, entry.event, entry.leg.amount_fen) for entry in entries] == [
            (credited.journal, "wallet_credit", 50)
        ]
        (lot,) = await wallets.list_lots(POINTS, 0, 9)
        assert (lot.id, lot.amount_fen, lot.source) == (credited.lot, 50, "3001.mall")
        assert lot.valid_until == wallets.clock.now() + timedelta(days=10)
        assert (await wallets.fill(ONLINE, 5)).lot == 0

    async def test_the_same_request_credits_once(self, wallets: Wallets) -> None:
        await wallets.open(POINTS)
        request = a_request()
        order = CreditOrder(POINTS, 5, "3001.mall", "tests/1")
        first = await wallets.credit_wallet(order, request)
        assert await wallets.credit_wallet(order, request) == first
        assert await wallets.balance(f"3002.{MINE}") == 5
        assert len(await wallets.list_lots(POINTS, 0, 9)) == 1

    async def test_a_wallet_is_filled_from_the_sources_of_its_kind_only(self, wallets: Wallets) -> None:
        for name, source in ((ONLINE, "2217.insurer"), ("medical_personal.p-1", "1221.north"), (POINTS, "1002")):
            await wallets.open(name)
            with pytest.raises(SourceForbidden) as refused:
                await wallets.fill(name, 1, source=source)
            assert refused.value.facts["source"] == source

    async def test_a_source_that_must_cover_it_gives_no_more_than_it_holds(self, wallets: Wallets) -> None:
        # The way out of the purse: a debit at a refund terminal came to 2206, from there it goes online.
        await wallets.ledger.fold(a_batch((CARD, 0, 80, 1000), account="2206"))
        with pytest.raises(InsufficientBalance) as refused:
            await wallets.fill(ONLINE, 81, source="2206")
        assert refused.value.facts["account"] == "2206"
        await wallets.fill(ONLINE, 80, source="2206")
        assert (await wallets.balance("2206"), await wallets.balance(f"2211.{MINE}")) == (0, 80)

    async def test_validity_and_earmark_fit_the_kind_or_the_rule_is_named(self, wallets: Wallets) -> None:
        pass_, subsidy = f"period_pass.{MINE}", f"subsidy.{MINE}"
        for name, kwargs, rule in (
            (ONLINE, {"days": 3}, "no validity and no earmark"),
            (f"pending.{MINE}", {"days": 3}, "no end"),
            (pass_, {}, "an end"),
            (subsidy, {}, "an earmark"),
            (f"count_pass.{MINE}", {"purposes": ["rent"]}, "no other purposes than the kind's"),
            (POINTS, {"days": -1}, "an end in the future and after its beginning"),
            (POINTS, {"days": 1, "after_days": 1}, "an end in the future and after its beginning"),
        ):
            with pytest.raises(ValidityMismatch) as refused:
                await wallets.fill(name, 1, **kwargs)  # type: ignore[arg-type]  # a table of keyword arguments
            assert refused.value.facts["rule"] == rule
        with pytest.raises(PurposeUnknown):
            await wallets.fill(subsidy, 1, purposes=["bread"])

    async def test_a_participant_credits_its_own_by_grant_only(self, wallets: Wallets) -> None:
        with pytest.raises(NotYours):
            await wallets.fill(POINTS, 5, source="3001.mall", participant="bus")
        with pytest.raises(GrantMissing) as refused:
            await wallets.fill(POINTS, 5, participant="mall")
        assert refused.value.facts["action"] == "credit"
        limits = Limits(per_transaction_fen=5)
        await wallets.grant("points", "participants/mall", action=GrantAction.CREDIT, limits=limits)
        await wallets.fill(POINTS, 5, participant="mall")
        with pytest.raises(WalletLimitExceeded):
            await wallets.fill(POINTS, 6, participant="mall")

    async def test_an_earmarked_grant_does_not_give_for_everything(self, wallets: Wallets) -> None:
        await wallets.grant(
            "subsidy", "participants/civil-aid", action=GrantAction.CREDIT, purposes=["meals"], name="aid"
        )
        with pytest.raises(GrantMissing):
            await wallets.fill(f"subsidy.{MINE}", 5, participant="civil-aid", purposes=["meals", "retail"])
        await wallets.fill(f"subsidy.{MINE}", 5, participant="civil-aid", purposes=["meals"])
        await wallets.grant(
            "subsidy", "participants/civil-aid", action=GrantAction.CREDIT, purposes=["elderly_care"], name="a-first"
        )
        await wallets.fill(f"subsidy.{MINE}", 5, participant="civil-aid", purposes=["meals"])

    async def test_a_pass_is_sold_for_money_in_the_same_journal(self, wallets: Wallets) -> None:
        await wallets.open(f"count_pass.{MINE}")
        order = CreditOrder(f"count_pass.{MINE}", 10, "3011.bus", "t", price_fen=1800, price_account="1221.north")
        await wallets.credit_wallet(order, a_request())
        assert (await wallets.balance("2208"), await wallets.balance("1221.north")) == (1800, 1800)
        assert await wallets.balance(f"3012.{MINE}") == 10
        await wallets.open(ONLINE)
        with pytest.raises(SourceForbidden):
            await wallets.credit_wallet(
                CreditOrder(ONLINE, 10, "1002", "t", price_fen=1, price_account="1221.north"), a_request()
            )

    async def test_postings_that_know_nothing_of_wallets_keep_their_hands_off(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        journal = (await wallets.fill(POINTS, 100)).journal
        post, hold = wallets.ledger.post, wallets.ledger.hold
        taking = a_posting(debit(f"2211.{MINE}", 1), credit("2203.bus", 1))
        for attempt in (post(taking), hold(taking)):
            with pytest.raises(WalletControlled) as refused:
                await attempt
            assert refused.value.facts == {"account": f"2211.{MINE}"}
        giving = a_posting(debit("3001.mall", 1), credit(f"3002.{MINE}", 1))
        for attempt in (post(giving), hold(giving)):
            with pytest.raises(WalletControlled):
                await attempt
        with pytest.raises(WalletControlled):
            await wallets.ledger.reverse_journal(journal, a_request())
        # What has no parts to count may be given anything, and an administrator may take a wrong credit back.
        given = await post(a_posting(debit("1002", 5), credit(f"2211.{MINE}", 5)))
        await wallets.ledger.reverse_journal(given.id, a_request())
        assert await wallets.balance(f"2211.{MINE}") == 100


class GrantSuite:
    """Which participant may debit which wallet for what."""

    async def test_without_a_grant_nobody_debits(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        with pytest.raises(GrantMissing) as refused:
            await wallets.pay(1, ONLINE)
        assert refused.value.facts == {
            "participant": "bus",
            "wallet": ONLINE,
            "account": f"2211.{MINE}",
            "action": "debit",
            "purpose": "transit",
        }
        await wallets.grant("online", "participants/metro")
        with pytest.raises(GrantMissing):
            await wallets.pay(1, ONLINE)

    async def test_a_grant_counts_from_its_moment_until_its_end_and_the_last_version_wins(
        self, wallets: Wallets
    ) -> None:
        await wallets.fill(ONLINE, 100)
        now = wallets.clock.now()
        rule = Grant("g", "participants/bus", GrantAction.DEBIT, "online")
        hour, day = now + timedelta(hours=1), now + timedelta(days=1)
        await wallets.set_grant(rule, hour, day, "administrators/anna", a_request())
        with pytest.raises(GrantMissing):
            await wallets.pay(1, ONLINE)
        wallets.clock.set(hour)
        await wallets.pay(1, ONLINE)
        narrow = Grant("g", "participants/bus", GrantAction.DEBIT, "online", limits=Limits(2))
        await wallets.set_grant(narrow, hour + timedelta(hours=1), None, "administrators/bo", a_request())
        paid = await wallets.pay(3, ONLINE)
        wallets.clock.advance(hours=1)
        with pytest.raises(WalletLimitExceeded):
            await wallets.pay(3, ONLINE)
        wallets.clock.set(day + timedelta(days=9))
        # The second version has no end, so the first one's end does not matter.
        assert (await wallets.pay(2, ONLINE)).tenders[0].grant_version == 2
        assert paid.tenders[0].grant_version == 1
        await wallets.end_grant("g", "administrators/anna", a_request())
        with pytest.raises(GrantMissing):
            await wallets.pay(1, ONLINE)
        history = await wallets.list_grants(("", 0), 9, "online", "g")
        assert [(version.number, version.set_by, version.ended) for version in history] == [
            (1, "administrators/anna", False),
            (2, "administrators/bo", False),
            (3, "administrators/anna", True),
        ]
        assert history[1].rule == narrow

    async def test_no_rule_begins_before_it_is_made(self, wallets: Wallets) -> None:
        rule = Grant("g", "participants/bus", GrantAction.DEBIT, "online")
        with pytest.raises(RuleBackdated):
            await wallets.set_grant(rule, wallets.clock.now() - timedelta(seconds=1), None, "a", a_request())
        with pytest.raises(RequestMalformed):
            await wallets.set_grant(rule, None, wallets.clock.now(), "a", a_request())

    async def test_a_repeated_request_makes_one_version(self, wallets: Wallets) -> None:
        rule, request, now = (
            Grant("g", "participants/bus", GrantAction.DEBIT, "online"),
            a_request(),
            wallets.clock.now(),
        )
        first = await wallets.set_grant(rule, now, None, "a", request)
        wallets.clock.advance(hours=1)
        assert await wallets.set_grant(rule, now, None, "a", request) == first
        assert len(await wallets.list_grants(("", 0), 9, "", "")) == 1

    async def test_a_rule_stays_about_what_it_was_about(self, wallets: Wallets) -> None:
        await wallets.grant("online", name="g")
        with pytest.raises(RequestMalformed):
            await wallets.grant("points", name="g")
        assert len(await wallets.list_grants(("", 0), 9, "", "g")) == 1

    async def test_a_rule_that_never_was_is_not_ended(self, wallets: Wallets) -> None:
        with pytest.raises(RuleUnknown):
            await wallets.end_grant("g", "a", a_request())

    async def test_a_grant_speaks_of_what_is_there(self, wallets: Wallets) -> None:
        with pytest.raises(WalletKindUnknown):
            await wallets.grant("gold")
        with pytest.raises(PurposeUnknown):
            await wallets.grant("online", purposes=["bread"])
        with pytest.raises(WalletUseForbidden):
            await wallets.grant("housing_fund", purposes=["meals"])
        with pytest.raises(WalletUseForbidden):
            await wallets.grant("pending")
        with pytest.raises(WalletUnknown):
            await wallets.grant("online", wallet=ONLINE)
        with pytest.raises(RequestMalformed):
            await wallets.grant("points", wallet=ONLINE)
        with pytest.raises(RequestMalformed):
            await wallets.grant("points", action=GrantAction.CREDIT, limits=Limits(per_day_fen=1))

    async def test_the_closest_grant_decides_alone(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.set_role(ParticipantRole("bus", "carrier"), None, None, "a", a_request())
        for number, (grantee, wallet, purposes) in enumerate(
            (
                ("roles/carrier", "", ()),
                ("participants/bus", "", ()),
                ("participants/bus", "", ("transit",)),
                ("roles/carrier", ONLINE, ()),
            ),
            1,
        ):
            await wallets.grant(
                "online", grantee, name=f"g{number}", wallet=wallet, purposes=purposes, limits=Limits(number)
            )
            with pytest.raises(WalletLimitExceeded) as refused:
                await wallets.pay(number + 1, ONLINE)
            assert refused.value.facts["limit"] == f"grants/g{number} per_transaction"

    async def test_a_role_is_one_only_while_the_participant_has_it(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.grant("online", "roles/carrier")
        with pytest.raises(GrantMissing):
            await wallets.pay(1, ONLINE)
        until = wallets.clock.now() + timedelta(hours=1)
        await wallets.set_role(ParticipantRole("bus", "carrier"), None, until, "a", a_request())
        await wallets.pay(1, ONLINE)
        wallets.clock.set(until)
        with pytest.raises(GrantMissing):
            await wallets.pay(1, ONLINE)

    async def test_limits_count_by_city_day_month_and_year_with_what_is_held(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 1000)
        # It is noon of 1 September in the city.
        await wallets.grant("online", limits=Limits(60, 100, 150, 200))
        with pytest.raises(WalletLimitExceeded) as refused:
            await wallets.pay(61, ONLINE)
        assert refused.value.facts == {
            "wallet": ONLINE,
            "account": f"2211.{MINE}",
            "limit": "grants/online-bus per_transaction",
            "limit_fen": "60",
            "used_fen": "0",
            "amount_fen": "61",
        }
        await wallets.pay(60, ONLINE)
        held = await wallets.pay(40, ONLINE, hold=True)
        with pytest.raises(WalletLimitExceeded) as refused:
            await wallets.pay(1, ONLINE)
        assert refused.value.facts["limit"] == "grants/online-bus per_day"
        assert refused.value.facts["used_fen"] == "100"
        await wallets.ledger.void_reservation(held.id)
        await wallets.pay(40, ONLINE)
        wallets.clock.advance(hours=12)
        await wallets.pay(50, ONLINE)
        with pytest.raises(WalletLimitExceeded) as refused:
            await wallets.pay(1, ONLINE)
        assert refused.value.facts["limit"] == "grants/online-bus per_month"
        wallets.clock.advance(days=30)
        await wallets.pay(50, ONLINE)
        with pytest.raises(WalletLimitExceeded) as refused:
            await wallets.pay(1, ONLINE)
        assert refused.value.facts["limit"] == "grants/online-bus per_year"
        wallets.clock.advance(days=120)
        await wallets.pay(60, ONLINE)

    async def test_a_limit_counts_every_wallet_for_itself(self, wallets: Wallets) -> None:
        await wallets.grant("online", limits=Limits(per_day_fen=10))
        for name in (ONLINE, f"online.{OTHER}"):
            await wallets.fill(name, 100)
            await wallets.pay(10, name)
            with pytest.raises(WalletLimitExceeded):
                await wallets.pay(1, name)

    async def test_what_is_given_back_frees_the_limit_of_its_day(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.grant("online", limits=Limits(per_day_fen=10, per_month_fen=15))
        paid = await wallets.pay(10, ONLINE)
        await wallets.give_back(paid.id, 4)
        await wallets.pay(4, ONLINE)
        wallets.clock.advance(days=1)
        await wallets.pay(5, ONLINE)
        await wallets.give_back(paid.id)
        await wallets.pay(5, ONLINE)
        with pytest.raises(WalletLimitExceeded):
            await wallets.pay(1, ONLINE)


class DebitSuite:
    """Debits, their order of refusals, what they leave behind."""

    async def test_a_debit_pays_the_participant_and_says_who_what_for_and_by_which_grant(
        self, wallets: Wallets
    ) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.grant("online")
        paid = await wallets.pay(30, ONLINE)
        assert paid.journal is not None
        posting = (await wallets.ledger.get_journal(paid.journal)).posting
        assert (posting.event, posting.participant, posting.purpose) == ("wallet_debit", "bus", "transit")
        assert posting.legs == (debit(f"2211.{MINE}", 30), credit("2203.bus", 30))
        assert (paid.state, paid.tenders[0].grant, paid.tenders[0].grant_version) == (
            DebitState.POSTED,
            "online-bus",
            1,
        )
        assert await wallets.get_debit(paid.id, "bus") == paid
        with pytest.raises(NotYours):
            await wallets.get_debit(paid.id, "metro")
        with pytest.raises(DebitUnknown):
            await wallets.get_debit(uuid.uuid4(), None)

    async def test_the_same_request_pays_once_and_other_content_is_refused(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.grant("online")
        one = uuid.uuid4()
        purchase = Purchase(30, "transit", "bus")
        first = await wallets.debit_wallets(purchase, [TenderWish(ONLINE)], "r", a_request(one))
        assert await wallets.debit_wallets(purchase, [TenderWish(ONLINE)], "r", a_request(one)) == first
        with pytest.raises(RequestIdReused):
            await wallets.debit_wallets(purchase, [TenderWish(ONLINE)], "r", a_request(one, "other"))
        assert await wallets.balance(f"2211.{MINE}") == 70

    async def test_refusals_come_in_their_order(self, wallets: Wallets) -> None:
        """Everything is wrong at once; one thing after the other is mended, and the next refusal shows."""
        fund = "housing_fund.p-1"

        async def refused(kind: type[DomainError], purpose: str = "meals", member: str = "p-2") -> None:
            with pytest.raises(kind):
                await wallets.pay(500, fund, purpose=purpose, member=member)

        await refused(PurposeUnknown, purpose="bread")
        await refused(WalletUnknown)
        await wallets.fill(fund, 100)
        await wallets.change_state(fund, WalletState.FROZEN, a_request())
        await refused(WalletStateForbids)
        await wallets.change_state(fund, WalletState.OPEN, a_request())
        await refused(WalletUseForbidden)
        await refused(GrantMissing, purpose="rent")
        await wallets.grant("housing_fund", limits=Limits(per_transaction_fen=200))
        await refused(MemberUnknown, purpose="rent")
        await refused(WalletLimitExceeded, purpose="rent", member="")
        await wallets.grant("housing_fund")
        await refused(WalletInsufficient, purpose="rent", member="p-1")
        await wallets.pay(100, fund, purpose="rent")

    async def test_what_is_missing_is_said_with_balance_held_and_available(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.grant("online")
        await wallets.pay(30, ONLINE, hold=True)
        with pytest.raises(WalletInsufficient) as refused:
            await wallets.pay(71, ONLINE)
        assert refused.value.facts == {
            "wallet": ONLINE,
            "account": f"2211.{MINE}",
            "balance_fen": "100",
            "held_fen": "30",
            "available_fen": "70",
            "amount_fen": "71",
        }

    async def test_an_overdraft_is_the_wallets_too(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 10)
        await wallets.grant("online")
        await wallets.ledger.open_account(f"2211.{MINE}", 0, a_request(), 5)
        await wallets.pay(15, ONLINE)
        assert (await wallets.get(ONLINE)).balance_fen == -5

    async def test_a_payee_with_a_limit_refuses_the_whole(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.grant("online")
        await wallets.ledger.open_account("2203.bus", 20, a_request())
        with pytest.raises(LimitExceeded):
            await wallets.pay(21, ONLINE)
        assert (await wallets.get(ONLINE)).available_fen == 100

    async def test_a_deposit_pays_for_damage_and_nothing_else(self, wallets: Wallets) -> None:
        deposit = f"deposit.{MINE}"
        await wallets.fill(deposit, 2000)
        await wallets.grant("deposit")
        with pytest.raises(WalletUseForbidden):
            await wallets.pay(500, deposit)
        await wallets.pay(500, deposit, purpose="damage")
        assert (await wallets.balance("6003"), await wallets.balance(f"2202.{MINE}")) == (500, 1500)
        await wallets.move_value(deposit, f"pending.{MINE}", 1500, "returned", a_request())
        assert await wallets.balance(f"2206.{MINE}") == 1500


class LotSuite:
    """Points, passes and subsidies: parts that end."""

    async def test_points_go_out_in_the_order_in_which_they_came(self, wallets: Wallets) -> None:
        await wallets.fill(POINTS, 10, days=90)
        await wallets.fill(POINTS, 10, days=5)
        await wallets.grant("points", "participants/mall")
        await wallets.pay(12, POINTS, purpose="retail", by="mall")
        assert [lot.free_fen for lot in await wallets.list_lots(POINTS, 0, 9)] == [0, 8]

    async def test_of_subsidies_the_one_that_ends_first_goes_first(self, wallets: Wallets) -> None:
        subsidy = f"subsidy.{MINE}"
        await wallets.fill(subsidy, 10, purposes=["meals"])
        await wallets.fill(subsidy, 10, days=90, purposes=["meals"])
        await wallets.fill(subsidy, 10, days=5, purposes=["meals"])
        await wallets.grant("subsidy")
        await wallets.pay(15, subsidy, purpose="meals")
        assert [lot.free_fen for lot in await wallets.list_lots(subsidy, 0, 9)] == [10, 5, 0]

    async def test_a_subsidy_pays_what_it_is_for_whatever_else_is_in_the_wallet(self, wallets: Wallets) -> None:
        subsidy = f"subsidy.{MINE}"
        await wallets.fill(subsidy, 40, purposes=["meals"])
        await wallets.fill(subsidy, 60, purposes=["elderly_care", "meals"])
        await wallets.grant("subsidy")
        with pytest.raises(WalletInsufficient) as refused:
            await wallets.pay(61, subsidy, purpose="elderly_care")
        assert (refused.value.facts["balance_fen"], refused.value.facts["available_fen"]) == ("100", "60")
        with pytest.raises(WalletInsufficient):
            await wallets.pay(1, subsidy, purpose="retail")
        await wallets.pay(60, subsidy, purpose="elderly_care")
        await wallets.pay(40, subsidy, purpose="meals")

    async def test_what_has_not_begun_is_not_spent_and_what_is_over_neither(self, wallets: Wallets) -> None:
        await wallets.fill(POINTS, 10, days=2, after_days=1)
        await wallets.grant("points", "participants/mall")
        with pytest.raises(WalletInsufficient):
            await wallets.pay(1, POINTS, purpose="retail", by="mall")
        wallets.clock.advance(days=1)
        await wallets.pay(1, POINTS, purpose="retail", by="mall")
        wallets.clock.advance(days=1)
        with pytest.raises(WalletInsufficient) as refused:
            await wallets.pay(1, POINTS, purpose="retail", by="mall")
        assert (refused.value.facts["balance_fen"], refused.value.facts["available_fen"]) == ("9", "0")

    async def test_what_ends_goes_back_where_it_came_from_in_one_journal(self, wallets: Wallets) -> None:
        other, subsidy = f"points.{OTHER}", f"subsidy.{MINE}"
        await wallets.fill(POINTS, 10, days=1)
        await wallets.fill(POINTS, 20, days=1, source="3001.cinema")
        await wallets.fill(POINTS, 40)
        await wallets.fill(other, 5, days=2)
        await wallets.fill(subsidy, 7, days=1, purposes=["meals"])
        wallets.clock.advance(days=1)
        assert await wallets.expire_lots.sweep() == 2
        assert await wallets.expire_lots.sweep() == 0
        assert await wallets.balance(f"3002.{MINE}") == 40
        assert await wallets.balance("3001.cinema") == 0
        assert await wallets.balance("3001.mall") == 45
        assert (await wallets.balance(f"2215.{MINE}"), await wallets.balance("1224.civil-aid")) == (0, 0)
        entries = await wallets.ledger.list_entries("3001.cinema", (0, 0), 9)
        assert [entry.event for entry in entries] == ["wallet_credit", "lots_expired"]
        lots = await wallets.list_lots(POINTS, 0, 9)
        assert [(lot.expired_fen, lot.balance_fen) for lot in lots] == [(10, 0), (20, 0), (0, 40)]

    async def test_what_is_held_outlives_the_end_and_what_is_given_up_then_ends(self, wallets: Wallets) -> None:
        await wallets.fill(POINTS, 10, days=1)
        await wallets.grant("points", "participants/mall")
        kept = await wallets.pay(4, POINTS, purpose="retail", by="mall", hold=True)
        voided = await wallets.pay(3, POINTS, purpose="retail", by="mall", hold=True)
        wallets.clock.advance(days=1)
        assert await wallets.expire_lots.sweep() == 1
        assert await wallets.balance(f"3002.{MINE}") == 7
        await wallets.ledger.commit_reservation(kept.id)
        await wallets.ledger.void_reservation(voided.id)
        assert await wallets.expire_lots.sweep() == 1
        assert await wallets.balance(f"3002.{MINE}") == 0
        # What is given back comes back to a lot that is over, and ends again.
        await wallets.give_back(kept.id)
        assert (await wallets.get(POINTS)).available_fen == 0
        assert await wallets.expire_lots.sweep() == 1
        assert await wallets.balance("3001.mall") == 0

    async def test_rides_of_a_count_pass_are_counted(self, wallets: Wallets) -> None:
        rides = f"count_pass.{MINE}"
        await wallets.fill(rides, 2, days=30)
        await wallets.grant("count_pass")
        await wallets.pay(1, rides)
        await wallets.pay(1, rides)
        with pytest.raises(WalletInsufficient):
            await wallets.pay(1, rides)

    async def test_a_period_pass_is_shown_and_never_used_up(self, wallets: Wallets) -> None:
        period = f"period_pass.{MINE}"
        await wallets.fill(period, 1, days=31, after_days=1)
        await wallets.grant("period_pass", limits=Limits(per_day_fen=3))
        with pytest.raises(PassNotInForce):
            await wallets.pay(1, period)
        wallets.clock.advance(days=1)
        for _ in range(3):
            ride = await wallets.pay(1, period)
        with pytest.raises(WalletLimitExceeded):
            await wallets.pay(1, period)
        assert (await wallets.balance(f"3016.{MINE}"), await wallets.balance("3017.bus")) == (3, 3)
        assert await wallets.balance(f"3015.{MINE}") == 1
        await wallets.give_back(ride.id)
        held = await wallets.pay(1, period, hold=True)
        await wallets.ledger.commit_reservation(held.id)
        assert (await wallets.balance(f"3016.{MINE}"), await wallets.balance("3017.bus")) == (3, 3)
        wallets.clock.advance(days=30)
        with pytest.raises(PassNotInForce) as refused:
            await wallets.pay(1, period)
        assert refused.value.facts["account"] == f"3015.{MINE}"
        assert await wallets.expire_lots.sweep() == 1
        assert (await wallets.balance(f"3015.{MINE}"), await wallets.balance("3014.bus")) == (0, 0)


class HoldSuite:
    """Held first, then posted, in part, or given up."""

    async def test_a_hold_is_a_reservation_that_ends_as_every_other(self, wallets: Wallets) -> None:
        await wallets.fill(POINTS, 30, days=9)
        await wallets.grant("points", "participants/mall")
        held = await wallets.pay(20, POINTS, purpose="retail", by="mall", hold=True)
        assert (held.state, held.journal) == (DebitState.HELD, None)
        view = await wallets.get(POINTS)
        assert (view.balance_fen, view.held_fen, view.available_fen) == (30, 20, 10)
        committed = await wallets.ledger.commit_reservation(held.id)
        posted = await wallets.get_debit(held.id, None)
        assert (posted.state, posted.journal) == (DebitState.POSTED, committed.journal)
        (lot,) = await wallets.list_lots(POINTS, 0, 9)
        assert (lot.taken_fen, lot.held_fen, lot.free_fen) == (20, 0, 10)
        assert await wallets.ledger.commit_reservation(held.id) == committed
        with pytest.raises(ReservationResolved):
            await wallets.ledger.void_reservation(held.id)

    async def test_a_part_posts_a_part_and_frees_the_rest(self, wallets: Wallets) -> None:
        await wallets.fill(POINTS, 6)
        await wallets.fill(POINTS, 6)
        await wallets.grant("points", "participants/mall", limits=Limits(per_day_fen=12))
        held = await wallets.pay(10, POINTS, purpose="retail", by="mall", hold=True)
        await wallets.ledger.commit_reservation(held.id, (7, 7))
        assert [lot.free_fen for lot in await wallets.list_lots(POINTS, 0, 9)] == [0, 5]
        await wallets.pay(5, POINTS, purpose="retail", by="mall")
        posted = await wallets.get_debit(held.id, None)
        assert (posted.left_fen, posted.tenders[0].released_fen) == (7, 3)
        await wallets.give_back(held.id)
        assert (await wallets.get(POINTS)).available_fen == 7

    async def test_a_hold_that_runs_out_of_time_gives_everything_back(self, wallets: Wallets) -> None:
        await wallets.fill(POINTS, 10)
        await wallets.grant("points", "participants/mall", limits=Limits(per_day_fen=10))
        held = await wallets.pay(10, POINTS, purpose="retail", by="mall", hold=True, seconds=60)
        wallets.clock.advance(seconds=60)
        with pytest.raises(ReservationResolved):
            await wallets.ledger.commit_reservation(held.id)
        await wallets.ledger.expiry.sweep()
        assert (await wallets.get_debit(held.id, None)).state is DebitState.GIVEN_UP
        await wallets.pay(10, POINTS, purpose="retail", by="mall")

    async def test_a_held_debit_is_voided_and_not_reversed(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 10)
        await wallets.grant("online")
        held = await wallets.pay(10, ONLINE, hold=True)
        with pytest.raises(DebitNotReversible):
            await wallets.give_back(held.id)
        await wallets.ledger.void_reservation(held.id)
        with pytest.raises(DebitNotReversible):
            await wallets.give_back(held.id)


class TenderSuite:
    """Split tender: several wallets bear one purchase."""

    async def medical(self, wallets: Wallets) -> tuple[str, str, str]:
        personal, pooled, own = "medical_personal.p-1", "medical_pooled.insurer", "online.p-1"
        await wallets.fill(personal, 3000)
        await wallets.fill(pooled, 1_000_000)
        await wallets.fill(own, 50_000)
        for kind in ("medical_personal", "online"):
            await wallets.grant(kind, "participants/hospital")
        # The fund bears 80 % of what is above 100 yuan, and no more than 300 yuan a year of one person.
        await wallets.grant(
            "medical_pooled",
            "participants/hospital",
            purposes=["inpatient"],
            share_bp=8000,
            deductible_fen=10_000,
            limits=Limits(per_year_fen=30_000),
        )
        return personal, pooled, own

    async def test_personal_first_then_the_fund_by_its_rule_then_own_pay(self, wallets: Wallets) -> None:
        tenders = await self.medical(wallets)
        paid = await wallets.pay(20_000, *tenders, purpose="inpatient", by="hospital", member="p-1")
        assert [(tender.wallet, tender.amount_fen) for tender in paid.tenders] == [
            (tenders[0], 3000),
            (tenders[1], 8000),
            (tenders[2], 9000),
        ]
        assert await wallets.balance("2203.hospital") == 20_000
        second = await wallets.pay(50_000, *tenders[1:], purpose="inpatient", by="hospital", member="p-1")
        # 80 % of 400 yuan are 320; the year leaves 220.
        assert [tender.amount_fen for tender in second.tenders] == [22_000, 28_000]
        # Another person's year has not begun.
        third = await wallets.pay(20_000, tenders[1], purpose="inpatient", by="hospital", member="p-2", own_pay=True)
        assert (third.tenders[0].amount_fen, third.own_pay_fen) == (8000, 12_000)

    async def test_all_or_nothing(self, wallets: Wallets) -> None:
        tenders = await self.medical(wallets)
        with pytest.raises(TenderShort) as refused:
            await wallets.pay(100_000, *tenders, purpose="inpatient", by="hospital", member="p-1")
        assert refused.value.facts == {
            "wallets": ", ".join(tenders),
            "amount_fen": "100000",
            "covered_fen": str(3000 + 30_000 + 50_000),
            "short_fen": "17000",
        }
        assert [(await wallets.get(name)).available_fen for name in tenders] == [3000, 1_000_000, 50_000]

    async def test_a_wallet_that_may_not_refuses_the_whole_unless_it_is_optional(self, wallets: Wallets) -> None:
        personal, pooled, own = await self.medical(wallets)
        with pytest.raises(GrantMissing):
            await wallets.pay(500, personal, pooled, own, purpose="pharmacy", by="hospital", member="p-1")
        wishes = (TenderWish(personal, optional=True), TenderWish(pooled, optional=True), TenderWish(own))
        paid = await wallets.pay(5000, *wishes, purpose="pharmacy", by="hospital", member="p-1")
        assert [tender.wallet for tender in paid.tenders] == [personal, own]

    async def test_a_fund_pays_for_a_named_person_only(self, wallets: Wallets) -> None:
        _, pooled, own = await self.medical(wallets)
        with pytest.raises(MemberUnknown):
            await wallets.pay(20_000, pooled, own, purpose="inpatient", by="hospital")

    async def test_the_share_of_the_fund_is_a_limit_that_is_named(self, wallets: Wallets) -> None:
        _, pooled, own = await self.medical(wallets)
        wishes = (TenderWish(pooled, 8001), TenderWish(own))
        with pytest.raises(WalletLimitExceeded) as refused:
            await wallets.pay(20_000, *wishes, purpose="inpatient", by="hospital", member="p-1")
        assert refused.value.facts["limit"] == "grants/medical_pooled-hospital share"

    async def test_fixed_amounts_are_set_aside_first(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.fill(f"subsidy.{MINE}", 100, purposes=["transit"])
        for kind in ("online", "subsidy"):
            await wallets.grant(kind)
        paid = await wallets.pay(50, f"subsidy.{MINE}", TenderWish(ONLINE, 20))
        assert [tender.amount_fen for tender in paid.tenders] == [30, 20]
        with pytest.raises(RequestMalformed):
            await wallets.pay(50, TenderWish(ONLINE, 30), TenderWish(f"subsidy.{MINE}", 21))
        with pytest.raises(RequestMalformed):
            await wallets.pay(50, ONLINE, TenderWish(ONLINE, 1))

    async def test_units_are_not_mixed(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.fill(POINTS, 100)
        for kind in ("online", "points"):
            await wallets.grant(kind)
        with pytest.raises(WalletAssetMismatch) as refused:
            await wallets.pay(150, ONLINE, POINTS)
        assert (refused.value.facts["asset"], refused.value.facts["other_asset"]) == ("POINT/0", "CNY/2")

    async def test_what_was_borne_last_is_given_back_first_until_nothing_is_left(self, wallets: Wallets) -> None:
        tenders = await self.medical(wallets)
        paid = await wallets.pay(20_000, *tenders, purpose="inpatient", by="hospital", member="p-1")
        await wallets.give_back(paid.id, 10_000)
        assert [(await wallets.get(name)).balance_fen for name in tenders] == [0, 993_000, 50_000]
        with pytest.raises(ReversalAboveDebit) as refused:
            await wallets.give_back(paid.id, 10_001)
        assert refused.value.facts == {"debit": str(paid.id), "left_fen": "10000", "amount_fen": "10001"}
        last = await wallets.give_back(paid.id)
        assert last.left_fen == 0
        assert [(await wallets.get(name)).balance_fen for name in tenders] == [3000, 1_000_000, 50_000]
        with pytest.raises(ReversalAboveDebit):
            await wallets.give_back(paid.id)
        assert paid.journal is not None
        with pytest.raises(JournalNotReversible):
            await wallets.ledger.reverse_journal(paid.journal, a_request())

    async def test_a_reversal_repeated_gives_back_once(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.grant("online")
        paid, request = await wallets.pay(50, ONLINE), a_request()
        first = await wallets.reverse_debit(paid.id, 10, "bus", request)
        assert await wallets.reverse_debit(paid.id, 10, "bus", request) == first
        assert (await wallets.get(ONLINE)).balance_fen == 60
        with pytest.raises(NotYours):
            await wallets.reverse_debit(paid.id, 10, "metro", a_request())


class MemberSuite:
    """Main card and sub-cards."""

    async def test_a_sub_card_pays_from_the_main_card_within_its_own_limits(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 1000)
        await wallets.grant("online")
        with pytest.raises(MemberUnknown) as refused:
            await wallets.pay(1, ONLINE, member=OTHER)
        assert refused.value.facts["member"] == OTHER
        rule = WalletMember(ONLINE, OTHER, Limits(30, 50, 70))
        await wallets.set_member(rule, None, None, "a", a_request())
        with pytest.raises(WalletLimitExceeded) as refused:
            await wallets.pay(31, ONLINE, member=OTHER)
        assert refused.value.facts["limit"] == f"members/{OTHER} per_transaction"
        paid = await wallets.pay(30, ONLINE, member=OTHER)
        assert paid.journal is not None
        assert (await wallets.ledger.get_journal(paid.journal)).posting.member == OTHER
        held = await wallets.pay(20, ONLINE, member=OTHER, hold=True)
        with pytest.raises(WalletLimitExceeded) as refused:
            await wallets.pay(1, ONLINE, member=OTHER)
        assert refused.value.facts["limit"] == f"members/{OTHER} per_day"
        # The main card has no such limits.
        await wallets.pay(300, ONLINE)
        await wallets.pay(300, ONLINE, member=MINE)
        await wallets.ledger.void_reservation(held.id)
        wallets.clock.advance(days=1)
        await wallets.pay(30, ONLINE, member=OTHER)
        with pytest.raises(WalletLimitExceeded) as refused:
            await wallets.pay(11, ONLINE, member=OTHER)
        assert refused.value.facts["limit"] == f"members/{OTHER} per_month"
        await wallets.end_member(f"{ONLINE}/{OTHER}", "a", a_request())
        with pytest.raises(MemberUnknown):
            await wallets.pay(1, ONLINE, member=OTHER)

    async def test_only_wallets_that_are_shared_have_members(self, wallets: Wallets) -> None:
        with pytest.raises(WalletUseForbidden):
            await wallets.set_member(WalletMember("medical_personal.p-1", "p-2"), None, None, "a", a_request())
        with pytest.raises(WalletUnknown):
            await wallets.set_member(WalletMember(ONLINE, OTHER), None, None, "a", a_request())
        await wallets.open(ONLINE)
        with pytest.raises(HolderMismatch):
            await wallets.set_member(WalletMember(ONLINE, MINE), None, None, "a", a_request())
