"""What must happen to value that moves between wallets and cards, and to mandates that move it by themselves."""

from datetime import timedelta

import pytest

from libs.errors import NotYours, RequestMalformed
from services.account.application.top_ups import TopUpDecision
from services.account.domain.errors import LimitExceeded, PurseUnknown
from services.account.domain.mandates import TopUpState, TopUpVerdict
from services.account.domain.wallet_debits import DebitState
from services.account.domain.wallet_errors import (
    DebitNotReversible,
    RuleUnknown,
    TopUpResolved,
    TopUpUnknown,
    WalletInsufficient,
    WalletStateForbids,
    WalletUnknown,
    WalletUseForbidden,
)
from services.account.domain.wallet_rules import Mandate
from services.account.domain.wallets import WalletState
from tests.unit.account.builders import a_key, a_request, an_id, issued
from tests.unit.account.wallet_suites import CARD, MINE, ONLINE, POINTS, Wallets

PENDING = f"pending.{MINE}"
PURSE = f"purse.{MINE}"


class MoveSuite:
    """Online account, what waits for the card, the card."""

    async def test_value_waits_at_the_centre_until_the_card_collects_it(self, wallets: Wallets) -> None:
        await wallets.ledger.issue(issued(CARD, opening_fen=100))
        await wallets.fill(ONLINE, 1000)
        moved = await wallets.move_value(ONLINE, PENDING, 300, "app/1", a_request())
        assert (moved.state, moved.purpose) == (DebitState.POSTED, "move")
        await wallets.fill(PENDING, 50)
        (waiting,) = await wallets.list(("", ""), 9, "pending", "", filled=True)
        assert (waiting.wallet.name, waiting.available_fen) == (PENDING, 350)
        held = await wallets.reserve_card_load(PENDING, CARD, 0, "loads/1", None, a_request())
        assert (await wallets.ledger.purse(CARD)).pending_loads_fen == 350
        with pytest.raises(WalletInsufficient):
            await wallets.reserve_card_load(PENDING, CARD, 1, "loads/2", None, a_request())
        await wallets.ledger.commit_reservation(held.id)
        purse = await wallets.ledger.purse(CARD)
        assert (purse.balance_fen, purse.loads_fen, purse.pending_loads_fen) == (450, 350, 0)
        assert (await wallets.get(PENDING)).balance_fen == 0
        assert await wallets.balance("2207") == 0
        # The card proved the load: the book expects it, and the next printed balance agrees.
        await wallets.ledger.fold_rows((CARD, 0, 50, 450))
        assert await wallets.ledger.list_purse_items(0, 9, open_only=True, kind=None, key=CARD) == []

    async def test_a_load_that_the_card_disproved_waits_again(self, wallets: Wallets) -> None:
        await wallets.ledger.issue(issued(CARD))
        await wallets.fill(PENDING, 50)
        held = await wallets.reserve_card_load(PENDING, CARD, 20, "loads/1", None, a_request())
        await wallets.ledger.void_reservation(held.id)
        assert (await wallets.get(PENDING)).available_fen == 50
        assert (await wallets.ledger.purse(CARD)).balance_fen == 0

    async def test_what_waits_for_a_card_goes_on_no_other(self, wallets: Wallets) -> None:
        await wallets.ledger.issue(issued(a_key(2)))
        await wallets.fill(PENDING, 50)
        with pytest.raises(WalletUseForbidden) as refused:
            await wallets.reserve_card_load(PENDING, a_key(2), 5, "loads/1", None, a_request())
        assert refused.value.facts["use"] == f"load {a_key(2).name}"

    async def test_a_card_is_loaded_from_an_online_account_in_two_steps(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        with pytest.raises(PurseUnknown):
            await wallets.reserve_card_load(ONLINE, CARD, 60, "loads/1", None, a_request())
        await wallets.ledger.issue(issued(CARD))
        request = a_request()
        held = await wallets.reserve_card_load(ONLINE, CARD, 60, "loads/1", None, request)
        assert await wallets.reserve_card_load(ONLINE, CARD, 60, "loads/1", None, request) == held
        assert (await wallets.get(ONLINE)).available_fen == 40
        with pytest.raises(WalletInsufficient):
            await wallets.reserve_card_load(ONLINE, CARD, 41, "loads/2", None, a_request())
        with pytest.raises(WalletInsufficient):
            await wallets.reserve_card_load(ONLINE, CARD, 0, "loads/2", None, a_request())
        await wallets.ledger.commit_reservation(held.id)
        assert (await wallets.ledger.purse(CARD)).loads_fen == 60
        with pytest.raises(DebitNotReversible):
            await wallets.give_back(held.id)

    async def test_value_moves_only_where_its_kind_lets_it(self, wallets: Wallets) -> None:
        await wallets.fill("medical_personal.p-1", 100)
        await wallets.fill(POINTS, 100)
        await wallets.fill(ONLINE, 100)
        await wallets.open("online.p-1")
        for source, target in (
            ("medical_personal.p-1", "online.p-1"),
            (POINTS, ONLINE),
            (ONLINE, POINTS),
            (ONLINE, ONLINE),
            (ONLINE, PURSE),
            ("online.p-1", "medical_personal.p-1"),
        ):
            with pytest.raises(WalletUseForbidden):
                await wallets.move_value(source, target, 1, "", a_request())
        with pytest.raises(WalletUseForbidden):
            await wallets.reserve_card_load("medical_personal.p-1", CARD, 1, "", None, a_request())

    async def test_value_moves_between_accounts_of_a_family(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        with pytest.raises(WalletUnknown):
            await wallets.move_value(ONLINE, "online.p-1", 40, "gift", a_request())
        await wallets.open("online.p-1", 50)
        with pytest.raises(LimitExceeded):
            await wallets.move_value(ONLINE, "online.p-1", 51, "gift", a_request())
        request = a_request()
        first = await wallets.move_value(ONLINE, "online.p-1", 40, "gift", request)
        assert await wallets.move_value(ONLINE, "online.p-1", 40, "gift", request) == first
        assert (await wallets.get("online.p-1")).balance_fen == 40
        with pytest.raises(DebitNotReversible):
            await wallets.give_back(first.id)
        await wallets.change_state(ONLINE, WalletState.FROZEN, a_request())
        with pytest.raises(WalletStateForbids):
            await wallets.move_value(ONLINE, "online.p-1", 1, "gift", a_request())

    async def test_what_waited_in_vain_goes_back_online(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 100)
        await wallets.move_value(ONLINE, PENDING, 60, "", a_request())
        await wallets.move_value(PENDING, ONLINE, 60, "", a_request())
        assert ((await wallets.get(ONLINE)).balance_fen, (await wallets.get(PENDING)).balance_fen) == (100, 0)


class MandateSuite:
    """Auto top-up."""

    async def mandate(self, wallets: Wallets, source: str, wallet: str = ONLINE, **more: int) -> None:
        values = {"threshold_fen": 100, "amount_fen": 500} | more
        rule = Mandate("m1", wallet, source, **values)
        await wallets.set_mandate(rule, None, None, "holder", a_request())

    async def ask(self, wallets: Wallets, observed_fen: int | None = None) -> TopUpDecision:
        return await wallets.trigger_top_up("m1", observed_fen, a_request())

    async def test_a_bank_is_asked_once_and_its_answer_credits_once(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 99)
        await self.mandate(wallets, "participants/icbc")
        decision = await self.ask(wallets)
        assert decision.verdict is TopUpVerdict.DUE
        assert decision.top_up is not None
        assert (decision.top_up.state, decision.top_up.amount_fen) == (TopUpState.ASKED, 500)
        assert (await self.ask(wallets)).verdict is TopUpVerdict.UNDER_WAY
        with pytest.raises(NotYours):
            await wallets.resolve_top_up(decision.top_up.id, "abc", succeeded=True, note="")
        for _ in range(2):
            done = await wallets.resolve_top_up(decision.top_up.id, "icbc", succeeded=True, note="")
            assert done.state is TopUpState.SUCCEEDED
        assert (await wallets.get(ONLINE)).balance_fen == 599
        assert await wallets.balance("2216.icbc") == -500
        with pytest.raises(TopUpResolved):
            await wallets.resolve_top_up(decision.top_up.id, "icbc", succeeded=False, note="late")
        assert (await self.ask(wallets)).verdict is TopUpVerdict.ENOUGH
        with pytest.raises(TopUpUnknown):
            await wallets.resolve_top_up(an_id(), None, succeeded=True, note="")

    async def test_a_repeated_trigger_is_one_top_up(self, wallets: Wallets) -> None:
        await wallets.open(ONLINE)
        await self.mandate(wallets, "participants/icbc")
        request = a_request()
        first = await wallets.trigger_top_up("m1", None, request)
        assert await wallets.trigger_top_up("m1", None, request) == first

    async def test_the_cap_is_the_days(self, wallets: Wallets) -> None:
        await wallets.open(ONLINE)
        await self.mandate(wallets, "participants/icbc", day_cap_fen=1000)
        for _ in range(2):
            top_up = (await self.ask(wallets, 0)).top_up
            assert top_up is not None
            await wallets.resolve_top_up(top_up.id, None, succeeded=True, note="")
        assert (await self.ask(wallets, 0)).verdict is TopUpVerdict.DAY_CAP
        wallets.clock.advance(days=1)
        assert (await self.ask(wallets, 0)).verdict is TopUpVerdict.DUE

    async def test_failures_wait_and_then_suspend_until_the_mandate_is_made_anew(self, wallets: Wallets) -> None:
        await wallets.open(ONLINE)
        await self.mandate(wallets, "participants/icbc", failures_max=2, retry_after_s=600, day_cap_fen=500)
        for _ in range(2):
            top_up = (await self.ask(wallets)).top_up
            assert top_up is not None
            wallets.clock.advance(seconds=1)
            await wallets.resolve_top_up(top_up.id, None, succeeded=False, note="no money")
            wallets.clock.advance(seconds=599)
            assert (await self.ask(wallets)).verdict in (TopUpVerdict.RETRY_LATER, TopUpVerdict.SUSPENDED)
            wallets.clock.advance(seconds=1)
        assert (await self.ask(wallets)).verdict is TopUpVerdict.SUSPENDED
        await self.mandate(wallets, "participants/icbc", failures_max=2)
        assert (await self.ask(wallets)).verdict is TopUpVerdict.DUE

    async def test_a_success_ends_a_row_of_failures(self, wallets: Wallets) -> None:
        await wallets.open(ONLINE)
        await self.mandate(wallets, "participants/icbc", failures_max=2, retry_after_s=1)
        for succeeded in (False, True, False):
            wallets.clock.advance(seconds=5)
            top_up = (await self.ask(wallets, 0)).top_up
            assert top_up is not None
            await wallets.resolve_top_up(top_up.id, None, succeeded=succeeded, note="")
        wallets.clock.advance(seconds=5)
        assert (await self.ask(wallets, 0)).verdict is TopUpVerdict.DUE

    async def test_a_purse_is_topped_up_by_what_then_waits_for_its_card(self, wallets: Wallets) -> None:
        await wallets.fill(ONLINE, 700)
        await wallets.ledger.issue(issued(CARD, opening_fen=50))
        await self.mandate(wallets, f"wallets/{ONLINE}", PURSE)
        decision = await self.ask(wallets)
        assert (decision.verdict, decision.balance_fen) == (TopUpVerdict.DUE, 50)
        assert decision.top_up is not None
        assert decision.top_up.state is TopUpState.SUCCEEDED
        assert (await wallets.get(PENDING)).available_fen == 500
        # What waits is the holder's already.
        assert (await self.ask(wallets)).verdict is TopUpVerdict.ENOUGH
        # The card itself says less: the next amount is not there, and that is a failure, not a defect.
        failed = (await self.ask(wallets, 20)).top_up
        assert failed is not None
        assert (failed.state, failed.note) == (TopUpState.FAILED, "WALLET_INSUFFICIENT")
        assert (await wallets.get(ONLINE)).available_fen == 200
        assert await wallets.resolve_top_up(failed.id, None, succeeded=False, note="") == failed

    async def test_a_mandate_counts_only_while_it_is_in_force(self, wallets: Wallets) -> None:
        await wallets.open(ONLINE)
        with pytest.raises(RuleUnknown):
            await self.ask(wallets)
        later = wallets.clock.now() + timedelta(hours=1)
        rule = Mandate("m1", ONLINE, "participants/icbc", 100, 500)
        await wallets.set_mandate(rule, later, None, "holder", a_request())
        assert (await self.ask(wallets)).verdict is TopUpVerdict.NOT_IN_FORCE
        wallets.clock.set(later)
        await wallets.end_mandate("m1", "holder", a_request())
        assert (await self.ask(wallets)).verdict is TopUpVerdict.NOT_IN_FORCE

    async def test_a_mandate_that_could_never_work_is_not_made(self, wallets: Wallets) -> None:
        await wallets.open(ONLINE)
        await wallets.open("medical_personal.p-1")
        for wallet, source in (
            ("medical_personal.p-1", "participants/icbc"),
            (ONLINE, "wallets/medical_personal.p-1"),
            (ONLINE, f"wallets/{ONLINE}"),
            ("purse.p-1", "participants/icbc"),
        ):
            with pytest.raises(WalletUseForbidden):
                await self.mandate(wallets, source, wallet)
        with pytest.raises(WalletUnknown):
            await self.mandate(wallets, "participants/icbc", "online.p-9")
        with pytest.raises(RequestMalformed):
            await self.mandate(wallets, "participants/icbc", day_cap_fen=499)
