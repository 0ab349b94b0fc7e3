"""A load's own rules: what decides it, and what cannot."""

from datetime import timedelta

import pytest

from libs.errors import DomainError, RequestMalformed
from services.card.domain.errors import LoadOpen, LoadStateForbids, LoadWasWritten
from services.card.domain.load import SETTLED, Evidence, Load, LoadState, Verdict
from tests.unit.card.fakes import NOON, FakeChip, an_order

L = LoadState


def a_load(state: L = L.AUTHORISED, verdict: Verdict | None = None, chip: FakeChip | None = None) -> Load:
    load = Load.requested("id", an_order(answer_a=(chip or FakeChip()).initialise()), 1, NOON)
    if state is not L.REQUESTED:
        load = load.authorised(mac2=b"MAC2", reservation="r", host_time=NOON, wait=timedelta(seconds=60))
    if state is L.UNCERTAIN:
        load = load.timed_out()
    if verdict is Verdict.WRITTEN:
        return load.proven(b"TAC!")
    if verdict is Verdict.UNWRITTEN:
        early = state is L.REQUESTED
        return load.given_up(Evidence.TIMEOUT) if early else load.disproven(b"\x93\x02", card_unchanged=False)
    return load


OPEN = [L.AUTHORISED, L.UNCERTAIN]


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize(("step", "verdict"), [(0, Verdict.UNWRITTEN), (1, Verdict.WRITTEN)])
def test_the_next_counter_decides_an_open_load(state: L, step: int, verdict: Verdict) -> None:
    chip = FakeChip()
    load = a_load(state, chip=chip)
    chip.online_counter += step
    decided = load.decided_by_next(an_order(answer_a=chip.initialise()))
    assert (decided.verdict, decided.evidence, decided.state) == (verdict, Evidence.COUNTER, state)


@pytest.mark.parametrize("state", OPEN)
@pytest.mark.parametrize("step", [-1, 2, 100])
def test_a_counter_that_fits_nowhere_decides_nothing(state: L, step: int) -> None:
    chip = FakeChip()
    load = a_load(state, chip=chip)
    chip.online_counter += step
    with pytest.raises(LoadOpen):
        load.decided_by_next(an_order(answer_a=chip.initialise()))


@pytest.mark.parametrize("state", OPEN)
def test_the_answer_that_a_load_was_made_of_proves_nothing_about_it(state: L) -> None:
    load = a_load(state)
    with pytest.raises(LoadOpen):
        load.decided_by_next(load.order)


def test_a_load_without_mac2_gives_way_to_the_next_order() -> None:
    decided = a_load(L.REQUESTED).decided_by_next(an_order())
    assert (decided.verdict, decided.evidence) == (Verdict.UNWRITTEN, Evidence.SUPERSEDED)


@pytest.mark.parametrize("verdict", Verdict)
def test_a_verdict_stands_whatever_the_counter_says_later(verdict: Verdict) -> None:
    load = a_load(L.AUTHORISED, verdict)
    assert load.decided_by_next(an_order(answer_a=FakeChip(online_counter=8).initialise())) is load


@pytest.mark.parametrize("state", OPEN)
def test_9302_or_an_unchanged_card_gives_the_money_back(state: L) -> None:
    by_answer = a_load(state).disproven(b"\x93\x02", card_unchanged=False)
    by_reading = a_load(state).disproven(b"", card_unchanged=True)
    assert (by_answer.verdict, by_answer.evidence) == (Verdict.UNWRITTEN, Evidence.STATUS_WORD)
    assert (by_reading.verdict, by_reading.evidence) == (Verdict.UNWRITTEN, Evidence.READ_AGAIN)


@pytest.mark.parametrize("state", OPEN)
def test_a_card_that_answered_9000_was_written_whatever_the_outlet_says(state: L) -> None:
    with pytest.raises(LoadWasWritten):
        a_load(state).disproven(b"\x90\x00", card_unchanged=True)


@pytest.mark.parametrize("status_word", [b"", b"\x69\x01", b"\x67\x00"])
def test_silence_is_no_evidence(status_word: bytes) -> None:
    with pytest.raises(RequestMalformed):
        a_load().disproven(status_word, card_unchanged=False)


@pytest.mark.parametrize("state", OPEN)
def test_a_load_proven_by_its_tac_cannot_be_reversed_while_the_ledger_is_being_told(state: L) -> None:
    with pytest.raises(LoadWasWritten):
        a_load(state, Verdict.WRITTEN).disproven(b"\x93\x02", card_unchanged=True)


def test_what_was_never_authorised_can_be_neither_confirmed_nor_reversed() -> None:
    load = a_load(L.REQUESTED)
    with pytest.raises(LoadStateForbids):
        load.check_confirmable()
    with pytest.raises(LoadStateForbids):
        load.disproven(b"\x93\x02", card_unchanged=True)


@pytest.mark.parametrize("state", OPEN)
def test_what_is_proven_unwritten_is_not_confirmed_by_a_later_tac(state: L) -> None:
    with pytest.raises(LoadStateForbids) as refused:
        a_load(state, Verdict.UNWRITTEN).proven(b"TAC!")
    assert refused.value.facts["state"] == "REVERSED"


@pytest.mark.parametrize("state", [L.REQUESTED, *OPEN])
@pytest.mark.parametrize("verdict", Verdict)
def test_a_verdict_ends_every_open_state_in_its_final_one_with_its_event(state: L, verdict: Verdict) -> None:
    if (state, verdict) not in SETTLED:
        assert (state, verdict) == (L.REQUESTED, Verdict.WRITTEN)
        with pytest.raises(DomainError):
            a_load(state, verdict)
        return
    final, events = a_load(state, verdict).settled(NOON)
    expected = L.REFUSED if state is L.REQUESTED else L.CONFIRMED if verdict is Verdict.WRITTEN else L.REVERSED
    assert (final.state, final.resolve_time, final.is_final) == (expected, NOON, True)
    names = {L.REFUSED: [], L.CONFIRMED: ["LoadConfirmed"], L.REVERSED: ["LoadReversed"]}
    assert [type(event).__name__ for event in events] == names[expected]
