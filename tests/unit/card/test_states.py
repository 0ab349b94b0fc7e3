"""Every state of a card against every verb, by the table of card-lifecycle-and-fares.md, section 1."""

import pytest

from libs.errors import DomainError
from services.card.domain.errors import CardAnonymous, CardClosed, CardNotAtOutlet, CardStateForbids, HolderRequired
from services.card.domain.events import CardLossCancelled, CardLossReported, CardsIssued
from services.card.domain.product import ProductKind
from services.card.domain.states import MAY_LOAD, MAY_PURCHASE, MOVES, CardState, Verb, state_after
from tests.unit.card.fakes import NOON, a_card, a_product

S = CardState

# Copied by hand from the page, not from the code.
NEXT_STATES = {
    S.BLANK: {S.STOCK, S.SCRAPPED},
    S.STOCK: {S.ACTIVE, S.SCRAPPED, S.LOST_STOCK},
    S.ACTIVE: {S.LOST, S.LOCKED, S.RETURNED, S.REPLACED, S.REFUND_WAIT, S.CLOSED},
    S.LOCKED: {S.ACTIVE, S.REFUND_WAIT, S.CLOSED},
    S.LOST: {S.ACTIVE, S.REPLACED, S.REFUND_WAIT},
    S.REFUND_WAIT: {S.CLOSED, S.RETURNED},
    S.REPLACED: {S.SCRAPPED},
    S.RETURNED: {S.STOCK, S.SCRAPPED},
    S.CLOSED: set(),
    S.LOST_STOCK: {S.SCRAPPED},
    S.SCRAPPED: set(),
}
ALLOWED = {
    Verb.PERSONALISE: {S.BLANK: S.STOCK},
    Verb.ISSUE: {S.STOCK: S.ACTIVE},
    Verb.REPORT_STOCK_LOSS: {S.STOCK: S.LOST_STOCK},
    Verb.SCRAP: {
        S.BLANK: S.SCRAPPED,
        S.STOCK: S.SCRAPPED,
        S.REPLACED: S.SCRAPPED,
        S.RETURNED: S.SCRAPPED,
        S.LOST_STOCK: S.SCRAPPED,
    },
    Verb.REPORT_LOSS: {S.ACTIVE: S.LOST},
    Verb.CANCEL_LOSS_REPORT: {S.LOST: S.ACTIVE},
    Verb.LOCK: {S.ACTIVE: S.LOCKED},
    Verb.UNLOCK: {S.LOCKED: S.ACTIVE},
    Verb.REPLACE: {S.ACTIVE: S.REPLACED, S.LOST: S.REPLACED},
    Verb.REQUEST_REFUND: {S.ACTIVE: S.REFUND_WAIT, S.LOCKED: S.REFUND_WAIT, S.LOST: S.REFUND_WAIT},
    Verb.RETURN: {S.ACTIVE: S.RETURNED, S.REFUND_WAIT: S.RETURNED},
    Verb.RECYCLE: {S.RETURNED: S.STOCK},
    Verb.CLOSE: {S.ACTIVE: S.CLOSED, S.LOCKED: S.CLOSED, S.REFUND_WAIT: S.CLOSED},
}


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("verb", Verb)
def test_a_verb_moves_a_state_as_the_page_says_and_is_refused_elsewhere(state: S, verb: Verb) -> None:
    expected = ALLOWED[verb].get(state)
    if expected is not None:
        assert state_after("jt-1", state, verb) is expected
        return
    with pytest.raises(CardClosed if state is S.CLOSED else CardStateForbids) as refused:
        state_after("jt-1", state, verb)
    assert refused.value.facts["card"] == "jt-1"


@pytest.mark.parametrize("state", S)
def test_the_verbs_together_lead_exactly_where_the_page_says(state: S) -> None:
    assert {moves[state] for moves in MOVES.values() if state in moves} == NEXT_STATES[state]


def test_only_an_active_card_loads_and_pays() -> None:
    assert {S.ACTIVE} == MAY_LOAD == MAY_PURCHASE


@pytest.mark.parametrize("state", [state for state in S if state is not S.STOCK])
def test_only_a_stocked_card_is_issued(state: S) -> None:
    with pytest.raises(CardStateForbids) as refused:
        a_card(state=state).issue(a_product(), outlet="north", with_holder=True, at=NOON, today=NOON.date())
    assert refused.value.facts["state"] == state


def test_a_card_that_lies_elsewhere_is_not_issued_here() -> None:
    with pytest.raises(CardNotAtOutlet):
        a_card(state=S.STOCK).issue(a_product(), outlet="south", with_holder=True, at=NOON, today=NOON.date())


@pytest.mark.parametrize("kind", [ProductKind.REGISTERED, ProductKind.CONCESSION, ProductKind.STAFF])
def test_a_personal_product_wants_its_holder(kind: ProductKind) -> None:
    card, product = a_card(state=S.STOCK, registered=False), a_product(kind=kind)
    with pytest.raises(HolderRequired):
        card.issue(product, outlet="north", with_holder=False, at=NOON, today=NOON.date())
    issued, _ = card.issue(product, outlet="north", with_holder=True, at=NOON, today=NOON.date())
    assert issued.registered


def test_an_issued_card_has_the_terms_of_the_newest_version_and_tells_it() -> None:
    card = a_card(state=S.STOCK, registered=False, deposit_fen=0, issue_time=None)
    product = a_product(version=3, deposit_fen=0, price_fen=15_00, validity_days=10)
    issued, (event,) = card.issue(product, outlet="north", with_holder=False, at=NOON, today=NOON.date())
    assert (issued.state, issued.product_version, issued.price_fen, issued.registered) == (S.ACTIVE, 3, 15_00, False)
    assert issued.expiry_date is not None
    assert (issued.expiry_date - NOON.date()).days == 10
    assert isinstance(event, CardsIssued)
    assert (event.numbers, event.price_fen, event.deposits_fen) == ((card.number,), 15_00, (0,))
    assert event.opening_balances_fen == (0,)


def test_reporting_twice_says_it_once() -> None:
    lost, events = a_card().report_loss(NOON)
    assert (lost.state, len(events), type(events[0])) == (S.LOST, 1, CardLossReported)
    assert lost.report_loss(NOON) == (lost, [])


def test_nobody_can_report_the_bearers_card() -> None:
    with pytest.raises(CardAnonymous):
        a_card(registered=False).report_loss(NOON)


@pytest.mark.parametrize("state", [state for state in S if state not in (S.ACTIVE, S.LOST)])
@pytest.mark.parametrize("registered", [True, False])
def test_the_state_is_refused_before_the_holder_is_asked_for(state: S, registered: bool) -> None:
    with pytest.raises(DomainError) as refused:
        a_card(state=state, registered=registered).report_loss(NOON)
    assert refused.value.reason == ("CARD_CLOSED" if state is S.CLOSED else "CARD_STATE_FORBIDS")


def test_a_found_card_is_active_again_and_told() -> None:
    found, (event,) = a_card(state=S.LOST).cancel_loss_report(NOON)
    assert found.state is S.ACTIVE
    assert isinstance(event, CardLossCancelled)


@pytest.mark.parametrize("state", [state for state in S if state is not S.LOST])
def test_a_card_that_is_not_lost_cannot_be_found(state: S) -> None:
    with pytest.raises(DomainError) as refused:
        a_card(state=state).cancel_loss_report(NOON)
    assert refused.value.reason == ("CARD_CLOSED" if state is S.CLOSED else "CARD_STATE_FORBIDS")
