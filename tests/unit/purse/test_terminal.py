"""Purchases as a terminal makes them: refusals, cards that leave at every step, recovery."""

from typing import Any

import pytest

from libs.purse import inspect, status, terminal
from libs.purse.card import CJ, JT, VirtualCard
from libs.purse.scheme import Scheme
from libs.purse.terminal import Finding, Purchase, Torn
from libs.purse.transceiver import CardGone, CardRefused, demand, exchange

BOTH = pytest.mark.parametrize("scheme", list(Scheme))


class Field:
    """A card in the field that can be pulled at the n-th command, before or after it obeyed."""

    def __init__(self, card: VirtualCard) -> None:
        self.card, self.pull_at, self.obeyed, self.count = card, -1, False, 0

    def __call__(self, command: bytes) -> bytes:
        self.count += 1
        if self.count - 1 == self.pull_at:
            if self.obeyed:
                self.card.transmit(command)
            self.card.reset()
            raise CardGone(command=command[:4].hex())
        return self.card.transmit(command)


def buy(city: Any, field: Any, sam: Any, amount_fen: int, journal: list[Purchase], scheme: Scheme = Scheme.CJ) -> Any:
    view = inspect.select(field, (CJ if scheme is Scheme.CJ else JT).aid)
    assert view is not None
    return terminal.purchase(field, sam, view, amount_fen, terminal=city.terminal, at=city.at, journal=journal.append)


@BOTH
@pytest.mark.parametrize("algorithm_id", [0, 4])
@pytest.mark.parametrize("version", [1, 2])
def test_a_purchase_tells_all_that_a_record_needs(city: Any, scheme: Scheme, algorithm_id: int, version: int) -> None:
    card = city.card(scheme, balance_fen=1000, algorithm_id=algorithm_id, version=version)
    journal: list[Purchase] = []
    done = buy(city, card, city.sam(scheme, first=77), 200, journal, scheme)
    assert done.view.identity == city.identity(scheme)
    assert (done.answer.real_balance_fen, done.answer.offline_counter) == (1000, 0)
    assert (done.answer.key_version, done.answer.algorithm_id) == (version, algorithm_id)
    assert (done.sequence, done.tti, done.stamp.hex()) == (77, 6, "20250102080910")
    assert done.sam_agreed
    assert [entry.grey for entry in journal] == [True, False]
    assert card.applications[0].purse.balance_fen == 800


def test_too_little_money_is_said_before_a_number_is_spent(city: Any) -> None:
    sam = city.sam()
    card = city.card(balance_fen=100)
    with pytest.raises(terminal.MoneyNotEnough):
        buy(city, card, sam, 101, [])
    assert buy(city, card, sam, 100, []).sequence == 1


def test_the_overdraft_limit_of_a_t_union_card_is_not_the_holders_money(city: Any) -> None:
    card = city.card(Scheme.JT, overdraft_limit_fen=800)
    done = buy(city, card, city.sam(Scheme.JT), 300, [], Scheme.JT)
    assert (done.answer.real_balance_fen, done.answer.overdraft_limit_fen) == (0, 800)
    assert buy(city, card, city.sam(Scheme.JT), 1, [], Scheme.JT).answer.real_balance_fen == -300


def test_a_journal_that_cannot_write_stops_the_debit(city: Any) -> None:
    card = city.card(balance_fen=100)
    view = inspect.select(card, CJ.aid)
    assert view is not None

    def full(_: Purchase) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        terminal.purchase(card, city.sam(), view, 10, terminal=city.terminal, at=city.at, journal=full)
    assert card.applications[0].purse.balance_fen == 100


def test_a_psam_of_another_terminal_makes_a_mac1_that_the_card_refuses(city: Any) -> None:
    card = city.card(balance_fen=100)
    view = inspect.select(card, CJ.aid)
    assert view is not None
    with pytest.raises(CardRefused) as refusal:
        terminal.purchase(card, city.sam(), view, 10, terminal=bytes(6), at=city.at, journal=lambda _: None)
    assert refusal.value.status == status.PURSE_MAC_WRONG
    assert card.applications[0].purse.balance_fen == 100


@pytest.mark.parametrize("pull_at", range(4))
@pytest.mark.parametrize("obeyed", [False, True])
def test_a_card_pulled_at_any_step_is_decided_when_it_returns(city: Any, pull_at: int, obeyed: bool) -> None:
    card, sam, journal = city.card(balance_fen=1000), city.sam(), []
    field = Field(card)
    field.pull_at, field.obeyed = pull_at, obeyed
    if pull_at < 3:
        with pytest.raises(CardGone):
            buy(city, field, sam, 200, journal)
        assert journal == []
        assert card.applications[0].purse.balance_fen == 1000
        return
    with pytest.raises(Torn) as torn:
        buy(city, field, sam, 200, journal)
    finding, done = terminal.recover(card, sam, torn.value.purchase, journal.append)
    assert card.applications[0].purse.balance_fen == (800 if obeyed else 1000)
    assert finding is (Finding.DONE if obeyed else Finding.NOT_DONE)
    assert done.grey is not obeyed
    assert done.sam_agreed is (True if obeyed else None)


def torn_debit(city: Any, card: VirtualCard, sam: Any, amount_fen: int = 200) -> Purchase:
    """A debit that the card obeyed and nobody heard of."""
    field = Field(card)
    field.pull_at, field.obeyed = 3, True
    with pytest.raises(Torn) as torn:
        buy(city, field, sam, amount_fen, [])
    return torn.value.purchase


def test_another_card_keeps_the_record_grey(city: Any) -> None:
    sam = city.sam()
    grey = torn_debit(city, city.card(balance_fen=1000), sam)
    other = city.card(Scheme.JT, balance_fen=1000)
    assert terminal.recover(other, sam, grey, lambda _: None) == (Finding.UNKNOWN, grey)


def test_a_blocked_card_keeps_the_record_grey(city: Any) -> None:
    sam, card = city.sam(), city.card(balance_fen=1000)
    grey = torn_debit(city, card, sam)
    card.transmit(b"\x00\xa4\x04\x00\x09" + CJ.aid)
    terminal.lock_card(card, sam, grey.view)
    assert terminal.recover(card, sam, grey, lambda _: None) == (Finding.UNKNOWN, grey)


def test_a_proof_overwritten_by_a_free_entry_elsewhere_is_done_without_proof(city: Any) -> None:
    sam, card = city.sam(), city.card(balance_fen=1000)
    grey = torn_debit(city, card, sam)
    buy(city, card, city.sam(first=900), 0, [])
    assert terminal.recover(card, sam, grey, lambda _: None) == (Finding.DONE_WITHOUT_PROOF, grey)


def test_counters_and_balance_that_fit_nothing_stay_grey(city: Any) -> None:
    sam, card = city.sam(), city.card(balance_fen=1000)
    grey = torn_debit(city, card, sam)
    buy(city, card, city.sam(first=900), 5, [])
    assert terminal.recover(card, sam, grey, lambda _: None) == (Finding.UNKNOWN, grey)


def test_the_proof_of_the_transaction_before_is_not_taken_for_this_one(city: Any) -> None:
    sam, card = city.sam(), city.card(balance_fen=1000)
    buy(city, card, sam, 200, [])
    field = Field(card)
    field.pull_at = 3
    with pytest.raises(Torn) as torn:
        buy(city, field, sam, 200, [])
    assert terminal.recover(card, sam, torn.value.purchase, lambda _: None)[0] is Finding.NOT_DONE


def test_a_card_that_numbers_its_proofs_before_the_increment_is_understood(city: Any) -> None:
    sam, card = city.sam(), city.card(balance_fen=1000)
    grey = torn_debit(city, card, sam)

    def shifted(command: bytes) -> bytes:
        if command[1] == 0x5A:
            counter = int.from_bytes(command[5:7], "big")
            command = command[:5] + (counter + 1).to_bytes(2, "big") + command[7:]
        return card.transmit(command)

    finding, done = terminal.recover(shifted, sam, grey, lambda _: None)
    assert finding is Finding.DONE
    assert done.sam_agreed


def test_a_psam_that_disagrees_is_a_remark_the_card_has_paid(city: Any) -> None:
    card, sam = city.card(balance_fen=100), city.sam()

    def doubting(command: bytes) -> bytes:
        if command[1] == 0x72:
            return status.PURSE_MAC_WRONG
        return bytes(sam.transmit(command))

    done = buy(city, card, doubting, 10, [])
    assert done.sam_agreed is False
    assert done.tac


@BOTH
def test_a_blacklisted_card_is_locked_by_the_psams_key(city: Any, scheme: Scheme) -> None:
    card, sam = city.card(scheme), city.sam(scheme)
    view = inspect.detect(card)[0]
    terminal.lock_card(card, sam, view)
    card.reset()
    (blocked,) = inspect.detect(card)
    assert blocked.blocked


def test_a_card_that_was_never_personalised_is_refused_by_its_number(city: Any) -> None:
    public = bytearray(30)
    public[12:20] = b"\xff" * 8
    with pytest.raises(inspect.CardNumberMalformed):
        inspect.parse_public(CJ.aid, Scheme.CJ, bytes(public))


def test_a_contact_card_is_understood_like_a_contactless_one(city: Any) -> None:
    card = city.card(balance_fen=1000)
    waiting: list[bytes] = []

    def contact(command: bytes) -> bytes:
        if command[1] == 0xC0:
            return waiting.pop() + status.OK
        answer: bytes = card.transmit(command)
        if len(answer) > 2 and answer[-2:] == status.OK:
            waiting.append(answer[:-2])
            return bytes((0x61, len(answer) - 2))
        return answer

    assert buy(city, contact, city.sam(), 10, []).sam_agreed


def test_a_wrong_le_is_corrected_by_the_card(city: Any) -> None:
    card = city.card()
    card.transmit(b"\x00\xa4\x04\x00\x09" + CJ.aid)
    assert exchange(card, bytes.fromhex("805C000208")) == (bytes(4), status.OK)
    assert exchange(card, bytes.fromhex("00B09500FF"))[1] == status.OK


def test_an_answer_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(CardRefused):
        demand(lambda _: b"\x01\x02\x90\x00", bytes.fromhex("805C000204"), size=4)


def test_an_answer_without_status_word_is_a_lost_card() -> None:
    with pytest.raises(CardGone):
        exchange(lambda _: b"", bytes.fromhex("805C000204"))


def test_status_words_speak_both_languages() -> None:
    assert status.meaning(b"\x94\x01") == ("金额不足", "not enough money")
    assert "2" in status.meaning(b"\x63\xc2")[0]
    assert "6F00" in status.meaning(b"\x6f\x00")[1]
